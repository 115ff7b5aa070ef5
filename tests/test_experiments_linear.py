"""Tests the experiments on linear models and learned features against SciPy, scikit-learn and float64 NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from trials import must_fail, quick

import jaxnn
from experiments import learned_features, linear_classifier, logistic_regression, softmax_regression
from experiments._report import read


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Keep scikit-learn's threads from waiting for each other: on a busy machine they take fifty times as long."""
    with threadpool_limits(1):
        yield


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


def logistic(x, y, l2=0.0):
    """Return w and b by scikit-learn, in float64."""
    strength = np.inf if l2 == 0 else 1 / (len(y) * l2)
    found = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(x, y)
    return found.coef_[0], found.intercept_[0]


def arrays(ds):
    return np.asarray(ds.batch.x, np.float64), np.asarray(ds.batch.y)


# linear_classifier


def test_the_line_is_that_of_scikit_learn_and_the_truth_that_of_bayes():
    report, config = quick("linear_classifier"), linear_classifier.QUICK
    weights, errors = [], []
    for seed in range(config.num_seeds):
        x, y = arrays(jaxnn.data.load("gauss", num_examples=config.num_examples, noise=config.noise, seed=seed))
        x_test, _ = arrays(jaxnn.data.load("gauss", num_examples=config.num_test, noise=config.noise, seed=seed + 1000))
        w, b = logistic(x, y)
        density = [np.exp(-((x_test - c) ** 2).sum(axis=1) / (2 * 4.0)) for c in (-2, 2)]  # variance 0.5 + 7 / 2
        errors.append(np.abs(sigmoid(x_test @ w + b) - density[1] / (density[0] + density[1])).mean())
        weights.append(w.mean())
        if seed == 0:
            # A gap of 1e-9 nats, where the curvature is above 0.05, leaves √(2e-9 / 0.05) for w.
            np.testing.assert_allclose([*report["one"]["w"], report["one"]["b"]], [*w, b], atol=2e-4)
    np.testing.assert_allclose(report["w"]["mean"], np.mean(weights), atol=2e-4)
    np.testing.assert_allclose(report["error_of_p"]["mean"], np.mean(errors), rtol=1e-3)


def test_lines_of_one_probability_are_where_a_root_finder_finds_them():
    one = quick("linear_classifier")["one"]
    w, b = np.array(one["w"]), one["b"]
    foot, normal = -b * w / (w @ w) + 3 * np.array([-w[1], w[0]]), w / np.linalg.norm(w)
    for p, distance in zip(linear_classifier.LEVELS, one["distance"], strict=True):
        root = scipy.optimize.brentq(lambda r, p=p: sigmoid(w @ (foot + r * normal) + b) - p, -20, 20)
        np.testing.assert_allclose(distance, root, atol=1e-4)


def test_the_largest_activation_that_rounds_to_one_half_is_half_way_to_the_next_number():
    # 1 + e^-z is 2 in float32 until e^-z rounds to 1 + 2 * 2^-23, half-way from 1 + 2^-23: from z = -1.5 * 2^-23 on.
    found = quick("linear_classifier")["decisions"]["largest_z_that_parts"]
    np.testing.assert_allclose(found, 1.5 * 2.0**-23, rtol=3e-3)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("decisions.disagree", 1, "are one decision"),
        ("decisions.at_zero", [-1, 0.5], "activation of 0"),
        ("decisions.largest_z_that_parts", 1e-3, "part only where"),
        ("one.distance_error", 1e-2, "is a line"),
        ("w.mean", 1.2, "within 10 %"),
        ("error_of_p.mean", 0.03, "within 0.02"),
        ("most_changed", 1, "no scale"),
        ("best_scale.mean", 1.4, "near c = 1"),
    ],
)
def test_a_linear_classifier_that_is_another_fails(path, value, match):
    must_fail("linear_classifier", {path: value}, match)


# logistic_regression


@pytest.fixture(scope="module")
def tumours():
    return jaxnn.data.load("breast_cancer")


def test_the_maximum_is_that_of_scipy(tumours):
    report, l2 = quick("logistic_regression")["solvers"], logistic_regression.QUICK.l2
    x, y = arrays(logistic_regression.parts(tumours, 0)[0])

    def negative(v):
        z, sign = x @ v[:-1] + v[-1], 2 * y - 1
        slope = -sigmoid(-sign * z) * sign / len(y)
        value = np.logaddexp(0, -sign * z).mean() + 0.5 * l2 * v[:-1] @ v[:-1]
        return value, np.r_[x.T @ slope + l2 * v[:-1], slope.sum()]

    found = scipy.optimize.minimize(negative, np.zeros(31), jac=True, method="L-BFGS-B",
                                    options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000})  # fmt: skip
    np.testing.assert_allclose(report["value"], -found.fun, rtol=1e-5)
    np.testing.assert_allclose(report["largest_w"], np.abs(found.x[:-1]).max(), rtol=1e-4)
    np.testing.assert_allclose(report["gradient_norm"][0], np.linalg.norm(negative(np.zeros(31))[1]), rtol=1e-5)


def test_lines_are_those_of_numpy(tumours):
    report, config = quick("logistic_regression")["concave"]["linear"], logistic_regression.QUICK
    x, y = arrays(logistic_regression.parts(tumours, 0)[0])
    x, t = np.c_[x, np.ones(len(x))], np.array(report["t"])
    a, d = np.random.default_rng(config.seed + 1).normal(size=(2, config.num_lines, 31)) / 30**0.5
    z = (x @ a.T)[:, :, None] + (x @ d.T)[:, :, None] * t
    values = -np.logaddexp(0, np.where(y == 1, -1, 1)[:, None, None] * z).mean(axis=0)
    np.testing.assert_allclose(report["lines"], values[:6], rtol=1e-4)
    second = np.diff(values, 2, axis=1) / (t[1] - t[0]) ** 2
    np.testing.assert_allclose(report["largest"], second.max(), rtol=1e-3)


def test_the_classes_are_separated_where_a_linear_program_says_so_and_calibration_is_that_of_numpy(tumours):
    report, config = quick("logistic_regression")["splits"], logistic_regression.QUICK
    separated, errors = 0, []
    for i in range(config.num_splits):
        (x, y), _, (x_test, y_test) = map(arrays, logistic_regression.parts(tumours, i))
        rows = -(2 * y - 1)[:, None] * np.c_[x, np.ones(len(x))]
        program = scipy.optimize.linprog(np.zeros(31), rows, -np.ones(len(x)), bounds=(None, None))
        separated += program.status == 0  # a w with y (w·x + b) >= 1 for all
        w, b = logistic(x, y, report["picked_l2"][i])
        p = sigmoid(x_test @ w + b)
        confidence, right = np.maximum(p, 1 - p), (p >= 0.5) == y_test
        in_bin = np.digitize(confidence, np.linspace(0, 1, 16)[1:-1])
        errors.append(sum(abs((confidence - right)[in_bin == k].sum()) for k in range(15)) / len(p))
    assert report["separated_without_penalty"] == separated
    np.testing.assert_allclose(report["picked"]["calibration_error"]["mean"], np.mean(errors), rtol=1e-3)


def test_test_rows_are_those_of_the_split_and_no_tumour_counts_twice(tumours):
    x, y = arrays(tumours)
    _, _, test = jaxnn.data.split(tumours, logistic_regression.SHARES, seed=1)
    rows = logistic_regression.rows_of_test(tumours, 1)
    np.testing.assert_array_equal(x[rows], test.batch.x)
    np.testing.assert_array_equal(y[rows], test.batch.y)
    for name in ("picked", "smallest_l2"):
        at = quick("logistic_regression")["splits"][name]
        assert all(w <= t <= n for w, t, n in zip(at["wrong_tumours"], at["tumours"], at["count"], strict=True))


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("solvers.difference", 1e-2, "the same w"),
        ("solvers.gap", 1e-6, "proven"),
        ("solvers.above_peer", 1e-6, "peer's value"),
        ("solvers.gradient_norm", [1.4, 1e-3], "gradient vanishes"),
        ("solvers.mean_p", 0.6, "share of ones"),
        ("concave.linear.largest", 1e-6, "no line is convex"),
        ("concave.network.share_of_lines_with_positive", 0.2, "a network's are"),
        ("splits.separated_without_penalty", 0, "no maximum"),
        ("splits.value.test", [{"mean": -0.1}] * 4, "more than 0.1 nats"),
        ("splits.picked.calibration_error.mean", 0.2, "as calibrated"),
        ("splits.smallest_l2.calibration_error.mean", 0.0, "not calibrated"),
        ("splits.smallest_l2.wrong", [0], "than it claims"),
    ],
)
def test_a_logistic_regression_that_is_another_fails(path, value, match):
    must_fail("logistic_regression", {path: value}, match)


# softmax_regression


def test_the_ascent_is_that_of_numpy(tumours):
    report, config = quick("softmax_regression")["two_classes"], softmax_regression.QUICK
    x, y = arrays(jaxnn.data.standardise(tumours)[0])
    w, b, values = np.zeros(30), 0.0, []
    for _ in range(config.num_steps + 1):
        last, z = w, x @ w + b
        values.append(-np.logaddexp(0, np.where(y == 1, -z, z)).mean() - config.l2 / 4 * w @ w)
        residual = (y - sigmoid(z)) / len(y)
        w = w + 2 * config.learning_rate * (x.T @ residual - config.l2 / 2 * w)
        b = b + 2 * config.learning_rate * residual.sum()
    for name in ("softmax", "logistic"):
        np.testing.assert_allclose(report[name], np.array(values)[report["step"]], rtol=1e-4)
    np.testing.assert_allclose(report["w"], last, rtol=1e-4, atol=1e-5)


def test_accuracies_on_iris_and_digits_are_those_of_scikit_learn():
    report, config = quick("softmax_regression"), softmax_regression.QUICK
    for name in ("iris", "digits"):
        right, of_means = [], []
        for i in range(config.num_splits):
            (x, y), (x_test, y_test) = map(arrays, jaxnn.data.split(jaxnn.data.load(name), (0.7, 0.3), seed=i))
            if name == "iris":
                x, x_test = x[:, 2:], x_test[:, 2:]
            peer = LogisticRegression(C=1 / (len(y) * config.l2), solver="newton-cholesky").fit(x, y)
            right.append(peer.score(x_test, y_test))
            means = [x[y == k].mean(axis=0) for k in range(y.max() + 1)]
            of_means.append((cdist(x_test, means).argmin(axis=1) == y_test).mean())
        assert abs(report[name]["accuracy"]["mean"] - np.mean(right)) < 2e-3  # a test image or two on the border
    assert abs(report["digits"]["accuracy_of_templates"]["mean"] - np.mean(of_means)) < 2e-3


def test_the_maximum_of_two_classes_is_that_of_scikit_learn(tumours):
    x, y = arrays(jaxnn.data.standardise(tumours)[0])
    w, _ = logistic(x, y, softmax_regression.QUICK.l2 / 2)
    np.testing.assert_allclose(quick("softmax_regression")["two_classes"]["at_the_maximum"]["w"], w, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("two_classes.p_difference", 1e-3, "the probabilities of"),
        ("two_classes.w_difference", 1e-3, "its weights differ"),
        ("two_classes.w_sum", 1e-3, "w_1 = -w_0"),
        ("two_classes.value_difference", 1e-3, "same path"),
        ("two_classes.at_the_maximum.gap", 1e-6, "both maxima"),
        ("two_classes.at_the_maximum.p_difference", 1e-3, "probabilities are the same"),
        ("two_classes.at_the_maximum.w_difference", 1e-2, "and the weights"),
        ("iris.accuracy.mean", 0.9, "iris is right"),
        ("digits.accuracy.mean", 0.9, "digits in more"),
        ("digits.accuracy.low", 0.85, "better than templates"),
        ("digits.correlation.mean", 0.99, "look like them"),
    ],
)
def test_a_softmax_regression_that_is_another_fails(path, value, match):
    must_fail("softmax_regression", {path: value}, match)


# learned_features


def test_features_by_hand_are_as_they_say():
    x = np.random.default_rng(0).normal(size=64)
    a, pairs = x.reshape(8, 8), []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for i in range(8):
            for j in range(8):
                if 0 <= i + down < 8 and 0 <= j + right < 8:
                    pairs.append(a[i, j] * a[i + down, j + right])
    found = np.asarray(learned_features.digits_by_hand(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(np.sort(found), np.sort([*x, *pairs]), atol=1e-6)
    found = learned_features.plane_by_hand(jnp.array([0.5, -2.0]))
    np.testing.assert_allclose(found, [0.5, -2, 0.25, 4, -1, np.sin(0.5), np.sin(-2)], rtol=1e-6)


@pytest.mark.parametrize("name", ["circle", "xor"])
def test_linear_models_are_as_good_as_those_of_scikit_learn(name):
    report, config = quick("learned_features")["found"][name], learned_features.QUICK
    model, by_kind = jaxnn.Mlp((2, 4, 1), activation=jaxnn.tanh), {"raw": [], "by_hand": [], "random": []}
    for i in range(config.num_seeds):
        (x, y), (x_hold_out, y_hold_out), (x_test, y_test) = map(arrays, learned_features.load(config, name, i))
        layers = [model.init(3000 + config.num_inits * i + j)[0] for j in range(config.num_inits)]

        def hidden(x, layers=layers):
            return [np.tanh(x @ np.asarray(w, float) + np.asarray(b, float)) for w, b in layers]

        def by_hand(x):
            return [np.c_[x, x**2, x[:, 0] * x[:, 1], np.sin(x)]]

        for kind, f in (("raw", lambda x: [x]), ("by_hand", by_hand), ("random", hidden)):
            right = []
            for a, a_hold_out, a_test in zip(f(x), f(x_hold_out), f(x_test), strict=True):
                found = [logistic(a, y, l2) for l2 in config.l2s]
                sign = 2 * y_hold_out - 1
                w, b = max(found, key=lambda wb: -np.logaddexp(0, -sign * (a_hold_out @ wb[0] + wb[1])).mean())
                right.append(((a_test @ w + b >= 0) == y_test).mean())
            by_kind[kind].append(np.mean(right))
    for kind, accuracy in by_kind.items():
        assert abs(report["accuracy"][kind]["mean"] - np.mean(accuracy)) < 2e-3


def test_the_network_is_as_good_as_its_forward_pass_in_numpy_and_has_moved_as_far():
    report, config = quick("learned_features")["found"]["circle"], learned_features.QUICK
    network = jaxnn.Mlp((2, 4, 1), activation=jaxnn.tanh)
    right, moved = [], []
    for i in range(config.num_seeds):
        train, hold_out, test = learned_features.load(config, "circle", i)
        seeds = range(3000 + config.num_inits * i, 3000 + config.num_inits * (i + 1))
        runs = jaxnn.sweep(
            jaxnn.LogLikelihood(network, jaxnn.bernoulli), optax.adam, train, hold_out,
            grid={"learning_rate": config.learning_rate, "seed": seeds, "order": 4000 + i},
            max_epochs=config.max_epochs, patience=config.patience,
        )  # fmt: skip
        x, y = arrays(test)
        for seed, one in zip(seeds, runs, strict=True):
            (w, b), (v, c) = [[np.asarray(a, float) for a in layer] for layer in one.params]
            right.append(((np.tanh(x @ w + b) @ v + c >= 0)[:, 0] == y).mean())
            w_0 = np.asarray(network.init(seed)[0].kernel, float)
            moved.append((((w - w_0) ** 2).sum() / (w_0**2).sum()) ** 0.5)
    np.testing.assert_allclose(report["accuracy"]["network"]["mean"], np.mean(right), atol=1e-3)
    np.testing.assert_allclose(report["solved"], np.mean(np.array(right) > 0.98))
    np.testing.assert_allclose(report["moved"]["mean"], np.mean(moved), rtol=1e-4)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("circle.accuracy.raw.mean", 0.7, "circle: neither"),
        ("xor.accuracy.random.mean", 0.7, "xor: neither"),
        ("xor.accuracy.by_hand.mean", 0.9, "xor: the feature"),
        ("xor.gain_over.random.mean", 0.0, "xor: the network has learnt"),
        ("circle.moved.mean", 0.1, "circle: hidden kernels move"),
        ("circle.solved", 0.9, "circle: networks solve"),
        ("xor.solved", 1.0, "xor: some networks"),
        ("xor.solved", 0.0, "xor: some networks"),
    ],
)
def test_learned_features_that_are_others_fail(path, value, match):
    must_fail("learned_features", {f"found.{path}": value}, match)


def test_learned_features_without_xor_fail():
    found = quick("learned_features")["found"]
    must_fail("learned_features", {"found": {"circle": found["circle"]}}, "circle and xor")


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("spiral", "solved"), 0.9, "spiral: networks solve"),
        (("spiral", "accuracy", "by_hand", "mean"), 0.8, "spiral: nobody"),
        (("digits", "gain_over", "random", "low"), -0.01, "better than random"),
        (("digits", "gain_over", "raw", "low"), 0.01, "than raw pixels"),
        (("digits", "gain_over", "by_hand", "low"), 0.01, "products of neighbours"),
    ],
)
def test_learned_features_of_spiral_and_digits_that_are_others_fail(path, value, match):
    report = read("learned_features")  # the quick form has neither
    learned_features.check(report)
    *above, last = path
    place = report["found"]
    for key in above:
        place = place[key]
    place[last] = value
    with pytest.raises(AssertionError, match=match):
        learned_features.check(report)
