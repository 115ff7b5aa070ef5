"""Tests the experiments on linear models and learned features against SciPy, scikit-learn and float64 NumPy."""

import copy

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from trials import quick

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


def assert_each_fails(check, report, changes):
    """Assert that a report passes, and that none does in which one number is another: `path, to, it: number`."""
    check(report)
    for path, value in changes.items():
        changed = copy.deepcopy(report)
        *way, last = path
        part = changed
        for key in way:
            part = part[key]
        part[last] = value
        with pytest.raises(AssertionError):
            check(changed)


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


def test_a_linear_classifier_that_is_another_fails():
    changes = {
        ("decisions", "disagree"): 1,
        ("decisions", "at_zero"): [-1, 0.5],
        ("decisions", "largest_z_that_parts"): 1e-3,
        ("one", "distance_error"): 1e-2,
        ("w", "mean"): 1.2,
        ("error_of_p", "mean"): 0.03,
        ("most_changed",): 1,
        ("best_scale", "mean"): 1.4,
    }
    assert_each_fails(linear_classifier.check, quick("linear_classifier"), changes)


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


def test_a_logistic_regression_that_is_another_fails():
    changes = {
        ("solvers", "difference"): 1e-2,
        ("solvers", "gap"): 1e-6,
        ("solvers", "above_peer"): 1e-6,
        ("solvers", "gradient_norm"): [1.4, 1e-3],
        ("solvers", "mean_p"): 0.6,
        ("concave", "linear", "largest"): 1e-6,
        ("concave", "network", "share_of_lines_with_positive"): 0.2,
        ("splits", "separated_without_penalty"): 0,
        ("splits", "value", "test"): [{"mean": -0.1}] * 4,
        ("splits", "picked", "calibration_error", "mean"): 0.2,
        ("splits", "smallest_l2", "calibration_error", "mean"): 0.0,
        ("splits", "smallest_l2", "wrong"): [0],
    }
    assert_each_fails(logistic_regression.check, quick("logistic_regression"), changes)


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


def test_a_softmax_regression_that_is_another_fails():
    report = quick("softmax_regression")
    changes = {
        ("two_classes", "p_difference"): 1e-3,
        ("two_classes", "w_difference"): 1e-3,
        ("two_classes", "w_sum"): 1e-3,
        ("two_classes", "value_difference"): 1e-3,
        ("iris", "accuracy", "mean"): 0.9,
        ("digits", "accuracy", "mean"): 0.9,
        ("digits", "accuracy", "low"): 0.85,
        ("digits", "correlation", "mean"): 0.99,
    }
    assert_each_fails(softmax_regression.check, report, changes)


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
    model, by_kind = jaxnn.Mlp((2, 4, 1)), {"raw": [], "by_hand": [], "random": []}
    for seed in range(config.num_seeds):
        train, _, test = learned_features.load(config, name, seed)
        (x, y), (x_test, y_test) = arrays(train), arrays(test)
        layers = [model.init(seed)[0] for seed in range(1, 1 + config.num_inits)]

        def hidden(x, layers=layers):
            return [np.tanh(x @ np.asarray(w, float) + np.asarray(b, float)) for w, b in layers]

        def by_hand(x):
            return [np.c_[x, x**2, x[:, 0] * x[:, 1], np.sin(x)]]

        for kind, f in (("raw", lambda x: [x]), ("by_hand", by_hand), ("random", hidden)):
            right = []
            for a, b in zip(f(x), f(x_test), strict=True):
                w, bias = logistic(a, y, config.l2)
                right.append(((b @ w + bias >= 0) == y_test).mean())
            by_kind[kind].append(np.mean(right))
    for kind, accuracy in by_kind.items():
        assert abs(report["accuracy"][kind]["mean"] - np.mean(accuracy)) < 2e-3


def test_the_network_is_as_good_as_its_forward_pass_in_numpy():
    report, config = quick("learned_features")["found"]["circle"], learned_features.QUICK
    right = []
    for seed in range(config.num_seeds):
        train, hold_out, test = learned_features.load(config, "circle", seed)
        runs = jaxnn.sweep(
            jaxnn.LogLikelihood(jaxnn.Mlp((2, 4, 1)), jaxnn.bernoulli), optax.adam, train, hold_out,
            grid={"learning_rate": config.learning_rate, "seed": range(1, 1 + config.num_inits), "order": 2},
            max_epochs=config.max_epochs, patience=config.patience,
        )  # fmt: skip
        x, y = arrays(test)
        for one in runs:
            (w, b), (v, c) = [[np.asarray(a, float) for a in layer] for layer in one.params]
            right.append(((np.tanh(x @ w + b) @ v + c >= 0)[:, 0] == y).mean())
    np.testing.assert_allclose(report["accuracy"]["network"]["mean"], np.mean(right), atol=1e-3)


def test_learned_features_that_are_others_fail():
    report = quick("learned_features")
    assert_each_fails(
        learned_features.check,
        report,
        {
            ("found", "circle", "accuracy", "raw", "mean"): 0.7,
            ("found", "xor", "accuracy", "random", "mean"): 0.7,
            ("found", "xor", "accuracy", "by_hand", "mean"): 0.9,
            ("found", "xor", "gain_over", "random", "mean"): 0.0,
            ("found", "circle", "accuracy", "network", "mean"): 0.9,
        },
    )
    assert_each_fails(
        learned_features.check,
        read("learned_features"),
        {
            ("found", "spiral", "accuracy", "network", "mean"): 0.9,
            ("found", "spiral", "accuracy", "by_hand", "mean"): 0.8,
            ("found", "digits", "gain_over", "random", "low"): -0.01,
            ("found", "digits", "gain_over", "raw", "low"): 0.01,
            ("found", "digits", "gain_over", "by_hand", "mean"): 0.01,
        },
    )
