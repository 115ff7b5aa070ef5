"""evaluate, predict and predict_proba, against scikit-learn and NumPy: every figure, weights, chunks, merging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from sklearn import metrics

import jaxnn
from jaxnn import Batch, ConfigError, LogLikelihood, ShapeError, evaluate, predict, predict_proba

N = 150
_rng = np.random.default_rng(5)
X = _rng.normal(size=(N, 3))
WEIGHT = np.where(_rng.random(N) < 0.2, 0.0, _rng.uniform(0.1, 3.0, N))
MULTI = LogLikelihood(jaxnn.Linear(3, 4), jaxnn.categorical)
BINARY = LogLikelihood(jaxnn.Linear(3, 1), jaxnn.bernoulli)
SOFTMAX2 = LogLikelihood(jaxnn.Linear(3, 2), jaxnn.categorical)
REAL = LogLikelihood(jaxnn.Linear(3, 1), jaxnn.gaussian)
REAL2 = LogLikelihood(jaxnn.Linear(3, 2), jaxnn.gaussian)


def setting(objective, seed=0):
    """Return parameters, labels that agree with them more often than not, and probabilities, all in float64."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: jnp.asarray(2 * rng.normal(size=leaf.shape)), objective.model.init(0))
    logits = X @ np.asarray(params[0].kernel) + np.asarray(params[0].bias)
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros((N, 1)), logits])
    proba = np.exp(logits - logits.max(1, keepdims=True))
    proba /= proba.sum(1, keepdims=True)
    y = (logits + rng.gumbel(size=logits.shape) * 2).argmax(1).astype(np.int32)
    return params, y, proba


@pytest.mark.parametrize(
    "objective, weight",
    [(MULTI, None), (MULTI, WEIGHT), (BINARY, WEIGHT), (SOFTMAX2, WEIGHT)],
    ids=["4 classes", "4 classes, weights", "bernoulli, weights", "2 classes, weights"],
)
def test_every_figure_is_that_of_scikit_learn(objective, weight, x64):
    params, y, proba = setting(objective)
    x = np.where((WEIGHT == 0)[:, None], np.nan, X) if weight is not None else X  # absent rows may hold anything
    found = evaluate(objective, params, Batch(x, y, weight))
    w = np.ones(N) if weight is None else weight
    classes = range(proba.shape[1])
    top = proba[:, 1] if len(classes) == 2 else proba
    expected = {
        "log_likelihood": -metrics.log_loss(y, proba, sample_weight=w, labels=classes),
        "accuracy": metrics.accuracy_score(y, proba.argmax(1), sample_weight=w),
        "brier": metrics.brier_score_loss(y, top, sample_weight=w, labels=list(classes)),
        "calibration_error": reference.calibration_error(proba, y, w),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-10, err_msg=name)
    confusion = metrics.confusion_matrix(y, proba.argmax(1), sample_weight=w, labels=classes)
    np.testing.assert_allclose(found.confusion, confusion, rtol=1e-12)
    assert found.num_examples == N and 0.3 < found.accuracy < 0.95 and (found.confusion > 0).sum() > len(classes)
    assert np.isnan(found.root_mean_squared_error)
    assert found.to_dict() == {
        "num_examples": N, **{name: getattr(found, name) for name in expected}, "confusion": found.confusion.tolist()
    }  # fmt: skip


def test_the_calibration_error_of_ten_lines_tells_faults_apart():
    _, y, proba = setting(MULTI)
    w = np.ones(N)
    right = reference.calibration_error(proba, y, w)
    assert 0.02 < right < 0.5
    assert abs(reference.calibration_error(proba, y, w, bins=10) - right) > 1e-4
    assert abs(reference.calibration_error(proba, (y + 1) % 4, w) - right) > 1e-2
    always = np.tile([0.75, 0.25], (4, 1))  # sure of class 0 to 3/4, and right three times in four
    assert reference.calibration_error(always, np.array([0, 0, 1, 0]), np.ones(4)) == 0


@pytest.mark.parametrize("confidence", [0.2, 0.6, 1.0])
def test_a_confidence_on_the_edge_of_a_bin_belongs_to_the_bin_below(confidence, x64):
    def log_prob(params, x, y):
        return jnp.log(jnp.where(y == 0, x, (1 - x) / 14))

    objective = jaxnn.from_function(log_prob, num_classes=15)
    x = np.full(2, confidence) if confidence == 1.0 else np.array([confidence - 1e-9, confidence + 1e-9])
    found = evaluate(objective, jnp.zeros(1), Batch(x, np.zeros(2, np.int32)))
    below = round(confidence * 15) - 1
    assert found.bins[:, 0].nonzero()[0].tolist() == ([below] if confidence == 1.0 else [below, below + 1])


@pytest.mark.parametrize("shape", ["[N]", "[N, 1]", "[N, 2]"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["no weights", "weights"])
def test_real_targets_have_a_root_mean_squared_error_and_no_classes(shape, weight, x64):
    objective = REAL2 if shape == "[N, 2]" else REAL
    params = setting(objective)[0]
    mean = X @ np.asarray(params[0].kernel) + np.asarray(params[0].bias)
    y = mean + np.random.default_rng(1).normal(size=mean.shape)
    squared = ((y - mean) ** 2).sum(1)
    found = evaluate(objective, params, Batch(X, y[:, 0] if shape == "[N]" else y, weight))
    np.testing.assert_allclose(found.root_mean_squared_error, np.sqrt(np.average(squared, weights=weight)), rtol=1e-12)
    density = -0.5 * squared - y.shape[1] * 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found.log_likelihood, np.average(density, weights=weight), rtol=1e-12)
    assert np.isnan([found.accuracy, found.brier, found.calibration_error]).all()
    assert found.confusion is None and found.bins is None
    assert set(found.to_dict()) == {"num_examples", "log_likelihood", "root_mean_squared_error"}


def figures(found):
    return np.concatenate(
        [[found.num_examples, found.weight, found.log_prob, found.correct, found.squared], found.confusion.ravel(),
         found.bins.ravel()]
    )  # fmt: skip


@pytest.mark.parametrize("chunk_size", [1, 7, 149])
def test_the_size_of_the_chunks_does_not_matter(chunk_size, x64):
    params, y, _ = setting(MULTI)
    batch = Batch(X, y, WEIGHT)
    whole, chunked = evaluate(MULTI, params, batch), evaluate(MULTI, params, batch, chunk_size=chunk_size)
    np.testing.assert_allclose(figures(chunked), figures(whole), rtol=1e-12, atol=1e-12)


def test_parts_add_up_to_the_whole(x64):
    params, y, _ = setting(MULTI)
    whole = evaluate(MULTI, params, Batch(X, y, WEIGHT))
    halves = slice(0, N // 2), slice(N // 2, N)
    parts = [evaluate(MULTI, params, Batch(X[s], y[s], WEIGHT[s])) for s in halves]
    np.testing.assert_allclose(figures(parts[0] + parts[1]), figures(whole), rtol=1e-12)
    np.testing.assert_allclose((parts[0] + parts[1]).log_likelihood, whole.log_likelihood, rtol=1e-12)
    assert abs(np.mean([p.log_likelihood for p in parts]) - whole.log_likelihood) > 1e-6  # a mean of means is not it
    params = setting(REAL)[0]
    *real, whole = [evaluate(REAL, params, Batch(X[s], X[s, 0]), chunk_size=7) for s in (*halves, slice(0, N))]
    merged = real[0] + real[1]
    np.testing.assert_allclose(merged.root_mean_squared_error, whole.root_mean_squared_error, rtol=1e-12)
    assert merged.confusion is None


def test_single_precision_sums_are_right_to_single_precision():
    params, y, proba = setting(MULTI)
    params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    found = evaluate(MULTI, params, Batch(np.tile(X, (40, 1)), np.tile(y, 40)), chunk_size=1000)
    np.testing.assert_allclose(found.log_likelihood, -metrics.log_loss(y, proba, labels=range(4)), rtol=2e-6)
    assert found.confusion.sum() == 40 * N and found.confusion.dtype == np.float64


def test_half_precision_parameters_are_counted_in_single_precision():
    params = MULTI.model.init(0, dtype="bfloat16")
    found = evaluate(MULTI, params, Batch(np.zeros((1001, 3), np.float32), np.zeros(1001, np.int32)))
    assert found.weight == found.correct == 1001
    np.testing.assert_allclose(found.log_likelihood, -np.log(4), rtol=1e-2)
    np.testing.assert_allclose(found.confusion.sum(), 1001)


def test_the_penalty_plays_no_part(x64):
    params, y, _ = setting(MULTI)
    penalised = LogLikelihood(MULTI.model, MULTI.likelihood, l2=3.0)
    assert (
        evaluate(penalised, params, Batch(X, y)).log_likelihood == evaluate(MULTI, params, Batch(X, y)).log_likelihood
    )


def test_it_prints_its_figures():
    params = setting(MULTI)[0]
    found = evaluate(MULTI, jax.tree.map(jnp.zeros_like, params), Batch(X, np.zeros(N, np.int32)))
    lines = str(found).splitlines()
    assert lines[0].split() == ["num", "examples", "150"] and lines[1].split() == ["log", "likelihood", "-1.3863"]
    assert [line.rsplit(None, 1)[0] for line in lines[2:]] == ["accuracy", "brier", "calibration error"]


# Predictions.


@pytest.mark.parametrize("chunk_size", [7, 4096])
def test_predictions_are_those_of_numpy_in_chunks_of_any_size(chunk_size, x64):
    for objective in (MULTI, BINARY):
        params, _, proba = setting(objective)
        np.testing.assert_allclose(predict_proba(objective, params, X, chunk_size=chunk_size), proba, rtol=1e-12)
        guess = predict(objective, params, X, chunk_size=chunk_size)
        assert guess.dtype == jnp.int32 and (np.asarray(guess) == proba.argmax(1)).all()
    params = setting(REAL2)[0]
    mean = X @ np.asarray(params[0].kernel) + np.asarray(params[0].bias)
    np.testing.assert_allclose(predict(REAL2, params, X, chunk_size=chunk_size), mean, rtol=1e-11, atol=1e-12)


def test_predictions_of_a_row_do_not_depend_on_the_others(x64):
    params = setting(MULTI)[0]
    np.testing.assert_allclose(
        predict_proba(MULTI, params, X[:30])[11], predict_proba(MULTI, params, X[11:12])[0], rtol=1e-12
    )


def test_no_rows_give_an_empty_answer():
    params = setting(MULTI)[0]
    assert predict(MULTI, params, X[:0]).shape == (0,) and predict(MULTI, params, X[:0]).dtype == jnp.int32
    assert predict_proba(MULTI, params, X[:0]).shape == (0, 4)
    assert predict(REAL2, setting(REAL2)[0], X[:0]).shape == (0, 2)


def test_predict_takes_a_data_set_a_batch_or_an_array_and_looks_at_no_label():
    params, y, _ = setting(MULTI)
    x = X.astype(np.float32)
    of_array = predict(MULTI, params, x)
    for data in (Batch(x, y), Batch(x, np.full(N, -7)), jaxnn.data.dataset(x, y, num_classes=4)):
        assert (predict(MULTI, params, data) == of_array).all()


def test_of_a_function_the_classes_are_asked_for_one_by_one():
    def log_prob(params, x, y):
        return jaxnn.categorical.log_prob(x @ params[0].kernel + params[0].bias, y) + 1.0  # not normalised

    params, y, proba = setting(MULTI)
    objective = jaxnn.from_function(log_prob, num_classes=4)
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(predict_proba(objective, params, x), proba, rtol=1e-4)
    assert (np.asarray(predict(objective, params, x)) == proba.argmax(1)).all()
    found = evaluate(objective, params, Batch(x, y))
    np.testing.assert_allclose(found.accuracy, metrics.accuracy_score(y, proba.argmax(1)), rtol=1e-6)
    nameless = jaxnn.from_function(log_prob)
    for verb in (predict, predict_proba, evaluate):
        with pytest.raises(
            ConfigError, match=r"^predict: .*; got num_classes=None; pass from_function\(log_prob, num_"
        ):
            verb(nameless, params, Batch(x, y))


@pytest.mark.parametrize(
    "call, kind, text",
    [
        (lambda p: predict(MULTI, p, X[0, 0]), ShapeError, r"^predict: x holds one row an example; got "),
        (
            lambda p: predict(MULTI, p, X[0]),
            ShapeError,
            r"^predict: the model reads D=3 features; got x\.shape=\(3,\); ",
        ),
        (lambda p: predict(MULTI, p, X[:, :2]), ShapeError, r"the model reads D=3 features; got x\.shape=\(\d+, 2\); "),
        (
            lambda p: predict(MULTI, p, X, chunk_size=0),
            ConfigError,
            r"^predict: chunk_size is a whole number >= 1; got ",
        ),
        (
            lambda p: evaluate(MULTI, p, Batch(X, np.full(N, 4))),
            jaxnn.LabelError,
            r"^evaluate: labels lie in \[0, 4\); ",
        ),
        (lambda p: evaluate(MULTI, p, (X, X)), ConfigError, r"^evaluate: data is a Dataset or a Batch; got tuple; "),
        (lambda p: evaluate(MULTI, p[:0], Batch(X, X)), ShapeError, r"^evaluate: there are parameters; got "),
        (lambda p: evaluate(BINARY, p, Batch(X, X)), ShapeError, r"^evaluate: parameters fit the model; got "),
        (lambda p: predict(BINARY, p, X), ShapeError, r"^predict: parameters fit the model; got "),
        (lambda p: predict(MULTI, p, X.astype(str)), jaxnn.DtypeError, r"^predict: x holds numbers; got "),
        (lambda p: predict(MULTI, p, X * np.nan), jaxnn.NonFiniteError, r"^predict: x is finite; got x\[0, 0\]=nan; "),
        (lambda p: predict_proba(REAL, REAL.model.init(0), X), ConfigError, r"only classes have probabilities; got "),
    ],
)
def test_bad_input_is_named(call, kind, text):
    with pytest.raises(kind, match=text):
        call(MULTI.model.init(0))
