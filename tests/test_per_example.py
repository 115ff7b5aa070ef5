"""Tests per-example gradients as a value: every method and every function against NumPy on the gradients themselves.

Oracles: `oracles.gradient` on one row at a time (float64, chain rule by hand), then NumPy on the matrix [N, P] of them.
Not tested here: which functions come apart (test_per_example_models), what clipping promises (test_clipping).
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import by_name, problems, value_and_gradient
from compiles import jax_log
from gradients import DECAY, PREVIOUS, fits, functions, like, matrix, methods, numpy_says, vector
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn import Batch, ConfigError, DtypeError, MemoryBudgetError, ShapeError, categorical, per_example
from jaxnn.per_example import NoiseScale, _chunks, _measures

F32, F64 = np.finfo(np.float32).eps, np.finfo(np.float64).eps
SEVERAL = tuple(by_name[name] for name in ("logistic", "tanh_mlp", "deep_regression"))
LINEAR = jaxnn.LogLikelihood(jaxnn.Linear(3, 2), categorical)
SMALL = Batch(np.zeros((4, 3), np.float32), np.zeros(4, np.int32))


def by_hand(case, params, batch):
    """The gradients [N, P] of float64, zero where the weight is."""
    one = oracles.per_example_gradients(case.likelihood, params, batch.x, batch.y, case.activations)
    rows = np.stack([vector(g) for g in one])
    return rows if batch.weight is None else np.where((np.asarray(batch.weight) > 0)[:, None], rows, 0)


_methods = jax.jit(methods)


def said(*args):
    return jax.device_get(_methods(*args))


# --------------------------------------------------------------------------------------------------- against the oracle


@given(
    problem=problems(which=SEVERAL, magnitude=3.0),
    seed=st.integers(0, 2**32 - 1),
    few=st.booleans(),
    max_norm=st.sampled_from((0.0, 0.3, 2.0, 1e9)),
)
def test_every_method_equals_numpy_on_the_gradients_themselves(x64, problem, seed, few, max_norm):
    case, params, batch = problem
    rng = np.random.default_rng(seed)
    weight = rng.choice([0, 0, 1, 2, 3] if few else [0.25, 1.5, 7.0], case.n).astype(float)
    batch, c = batch._replace(weight=weight), rng.normal(size=case.n)
    g = by_hand(case, params, batch)
    v = rng.normal(size=g.shape[1])
    got = said(case.objective(0.3), params, batch, c, like(params, v), max_norm)
    if np.any((np.sqrt(np.sum(g**2, 1)) > max_norm) != (got["norms"] > max_norm)):
        return  # a norm at the limit to the last bit
    want = numpy_says(g, weight, c, v, max_norm)
    fits(got, want, g, F64, c, v)
    value = oracles.log_prob(case.likelihood, oracles.mlp(params, batch.x, case.activations), batch.y)
    np.testing.assert_allclose(got["log_likelihoods"], np.where(weight > 0, value, 0), rtol=1e-10, atol=1e-10)
    if few and weight.sum():  # a weight k is the row k times: but in the noise scale, whose weights are shares
        many = np.repeat(g, weight.astype(int), axis=0)
        repeated = numpy_says(many, None, np.ones(len(many)), v, max_norm)
        for name in ("mean", "second_moment", "variance", "clipped_sum", "fisher_vector_product"):
            want[name] = repeated[name]
        fits(got, want, g, F64, c, v)


@given(problem=problems(which=SEVERAL[:2], dtype=np.float32, magnitude=3.0), seed=st.integers(0, 2**32 - 1))
def test_every_method_equals_numpy_in_float32(problem, seed):
    case, params, batch = problem
    rng = np.random.default_rng(seed)
    c = rng.normal(size=case.n).astype(np.float32)
    g = by_hand(case, params, batch)
    v = rng.normal(size=g.shape[1]).astype(np.float32)
    got = said(case.objective(0.3), params, batch, c, like(params, v), np.float32(np.inf))
    scale = np.abs(g).max() + np.abs(vector(params)).max() * np.abs(batch.x).max() * np.abs(batch.x).max()
    oracles.assert_close(matrix(got["materialise"]), g, 10 * scale, F32)  # the network's own rounding
    exact = matrix(got["materialise"])  # and from there on, that of the methods alone
    fits(got, numpy_says(exact, batch.weight, c.astype(float), v.astype(float), np.inf), exact, F32, c, v, 256)
    for name in ("materialise", "weighted_sum", "clipped_sum", "mean", "second_moment", "variance"):
        assert {leaf.dtype for leaf in jax.tree.leaves(got[name])} == {np.dtype(np.float32)}
        assert jax.tree.structure(got[name]) == jax.tree.structure(params)


MUTANTS = {
    "weights ignored": ("mean", lambda g, w: g.mean(0)),
    "a sum for a mean": ("mean", lambda g, w: w @ g),
    "divided by N": ("second_moment", lambda g, w: w @ g**2 / len(g)),
    "not squared": ("second_moment", lambda g, w: w @ np.abs(g) / w.sum()),
    "squares of the mean": ("second_moment", lambda g, w: (w @ g / w.sum()) ** 2),
    "N - 1": ("variance", lambda g, w: len(g) / (len(g) - 1) * g.var(0)),
    "squared norms": ("norms", lambda g, w: np.sum(g**2, 1)),
    "norms of the kernels alone": ("norms", lambda g, w: np.sqrt(np.sum(g[:, :12] ** 2, 1))),
    "clipped after the sum": ("clipped_sum", lambda g, w: w @ g * min(1, 1.7 / np.linalg.norm(w @ g))),
    "weighted before clipping": ("clipped_sum", lambda g, w: np.sum(w[:, None] * g * np.minimum(
        1, 1 / np.maximum(w * np.linalg.norm(g, axis=1), 1e-9))[:, None], 0)),
    "all shrunk to C": ("clipped_sum", lambda g, w: w @ (g / np.maximum(np.linalg.norm(g, axis=1), 1e-9)[:, None])),
    "rows permuted": ("gram", lambda g, w: g @ g[::-1].T),
    "weighted": ("gram", lambda g, w: (w[:, None] * g) @ g.T),
    "weights in the inner product": ("inner", lambda g, w: w * g.sum(1)),
    "no weights in F": ("fisher_vector_product", lambda g, w: g.sum(1) @ g / len(g)),
    "biased noise": ("noise", lambda g, w: np.array([
        w @ np.sum(g**2, 1) / w.sum() - np.sum((w @ g / w.sum()) ** 2), np.sum((w @ g / w.sum()) ** 2)])),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_method_would_be_caught(x64, mutant):
    case, rng = by_name["tanh_mlp"], np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), case.model.init(0))
    batch = Batch(rng.normal(size=(case.n, 3)), np.arange(case.n, dtype=np.int32) % 3, np.array([1, 2, 0, 0.5, 3]))
    c, v, (name, wrong) = np.ones(case.n), np.ones(31), MUTANTS[mutant]
    got, g = said(case.objective(0.3), params, batch, c, like(params, v), 1.7), by_hand(case, params, batch)
    want = numpy_says(g, batch.weight, c, v, 1.7)
    assert 0 < want["clipped"] < 4
    fits(got, want, g, F64, c, v)
    with pytest.raises(AssertionError, match=name):
        fits(got, want | {name: wrong(g, batch.weight)}, g, F64, c, v)


@pytest.mark.parametrize("entry", range(31))
def test_a_gradient_wrong_in_one_entry_by_1e_9_would_be_caught(x64, entry):
    case, rng = by_name["tanh_mlp"], np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), case.model.init(0))
    batch = Batch(rng.normal(size=(case.n, 3)), np.arange(case.n, dtype=np.int32) % 3, np.array([1, 2, 0, 0.5, 3]))
    c, v = np.ones(case.n), np.ones(31)
    got, g = said(case.objective(0.3), params, batch, c, like(params, v), 0.5), by_hand(case, params, batch)
    g[1, entry] += 1e-9
    with pytest.raises(AssertionError, match="materialise"):
        fits(got, numpy_says(g, batch.weight, c, v, 0.5), g, F64, c, v)


@given(problem=problems(which=SEVERAL[:2]), seed=st.integers(0, 2**32 - 1))
def test_they_sum_to_the_gradient_of_the_objective_and_permute_with_the_examples(x64, problem, seed):
    case, params, batch = problem
    rng = np.random.default_rng(seed)
    order, c = rng.permutation(case.n), rng.normal(size=case.n)
    v = like(params, rng.normal(size=vector(params).size))
    objective = case.objective(0.0)
    got = said(objective, params, batch, c, v, 1.0)
    g = matrix(got["materialise"])
    size = np.abs(g).sum(0) + np.abs(g).max() + 1
    _, gradient = value_and_gradient(objective, params, batch)
    oracles.assert_close(vector(got["mean"]), vector(gradient), size, F64, 64)
    oracles.assert_close(batch.weight @ g / batch.weight.sum(), vector(gradient), size, F64, 64)

    gram = got["gram"]
    long = np.max(got["norms"]) ** 2 + 1e-30
    oracles.assert_close(gram, gram.T, long, F64)
    oracles.assert_close(np.diag(gram), got["norms"] ** 2, long, F64)
    assert np.linalg.eigvalsh((gram + gram.T) / 2).min() >= -16 * case.n * F64 * long

    # <g_i, Σ_j c_j g_j> = Σ_j c_j <g_i, g_j>, by two ways
    through = said(objective, params, batch, c, got["weighted_sum"], 1.0)["inner"]
    oracles.assert_close(through, gram @ c, np.abs(gram) @ np.abs(c) + long, F64, 64)

    moved = said(objective, params, jax.tree.map(lambda a: a[order], batch), c[order], v, 1.0)
    oracles.assert_close(matrix(moved["materialise"]), g[order], np.abs(g).max() + 1e-30, F64)
    oracles.assert_close(moved["gram"], gram[np.ix_(order, order)], long, F64)
    oracles.assert_close(moved["norms"], got["norms"][order], np.sqrt(long), F64)
    for name in ("mean", "second_moment", "variance", "clipped_sum", "weighted_sum"):
        scale = 64 * (1 + np.abs(g).sum(0)) ** 2
        oracles.assert_close(vector(moved[name]), vector(got[name]), scale, F64, 16, name)


# --------------------------------------------------------------------------------------- all forms at once, and absence


def every_form(p, x, y):
    """A look-up, a sequence, two products, an explicit leaf, one that is tied: T is that of the tokens."""
    h = jnp.tanh(p["table"][x["tokens"]] @ p["along"] + p["bias"])
    h = jnp.tanh(h.mean(0) + p["in"] @ x["numbers"])
    return categorical.log_prob(jnp.tanh(h @ p["tied"]) @ p["tied"].T, y)


_rng = np.random.default_rng(11)
N = 7
PARAMS = {
    "table": _rng.normal(size=(6, 8)), "along": 0.7 * _rng.normal(size=(8, 16)), "bias": _rng.normal(size=16),
    "in": _rng.normal(size=(16, 3)), "tied": 0.5 * _rng.normal(size=(16, 4)),
}  # fmt: skip
PARAMS = {name: leaf.astype(np.float32) for name, leaf in PARAMS.items()}
OBJECTIVE = jaxnn.from_function(every_form, l2=0.1)


def rows(n, length=3, seed=0):
    rng = np.random.default_rng(seed)
    x = {"tokens": rng.integers(0, 6, (n, length)).astype(np.int32), "numbers": rng.normal(size=(n, 3)).astype("f4")}
    return Batch(x, rng.integers(0, 5, n).astype(np.int32))


BATCH = rows(N)._replace(weight=np.array([1, 2, 0, 1, 0.5, 3, 1], np.float32))
LIMIT = 2.1
C = _rng.normal(size=N).astype(np.float32)
V = jax.tree.map(lambda a: _rng.normal(size=a.shape).astype(np.float32), PARAMS)


def program(memory):
    return jax.jit(lambda *args: functions(*args, memory=memory))


CHUNK = 3 * _chunks.example_bytes(OBJECTIVE, PARAMS, BATCH)  # 3 of the 7 at once: the last one is ragged
WHOLE, CHUNKED = jax.jit(functions), program(CHUNK)


def test_the_gradients_of_every_form_are_those_of_vmap_of_grad():
    got = jax.device_get(_methods(OBJECTIVE, PARAMS, BATCH, C, V, np.float32(LIMIT)))
    g = matrix(jax.jit(jax.vmap(jax.grad(every_form), (None, 0, 0)))(PARAMS, BATCH.x, BATCH.y))
    g = np.where(BATCH.weight[:, None] > 0, g, 0)
    want = numpy_says(g, BATCH.weight, C.astype(float), vector(V), LIMIT)
    assert 0 < want["clipped"] < N - 1
    fits(got, want, g, F32, C, vector(V), 128)


def test_the_functions_say_what_the_methods_say_and_chunks_say_what_the_whole_says():
    args = (OBJECTIVE, PARAMS, BATCH, C, V, np.float32(LIMIT))
    one_by_method, whole, chunked = (jax.device_get(f(*args)) for f in (_methods, WHOLE, CHUNKED))
    assert whole.keys() == chunked.keys() == one_by_method.keys() - {"smooth"}
    for name in whole:
        for other in (one_by_method, chunked):
            assert jax.tree.structure(whole[name]) == jax.tree.structure(other[name])
            for a, b in zip(*map(jax.tree.leaves, (whole[name], other[name])), strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6, err_msg=name)


def test_an_absent_example_is_zero_whatever_it_holds_to_the_last_bit():
    def filled(garbage):
        x = {name: a.copy() for name, a in BATCH.x.items()}
        y = BATCH.y.copy()
        x["numbers"][2], x["tokens"][2], y[2] = garbage, -(2**31) if np.isnan(garbage) else 5, 99
        return BATCH._replace(x=x, y=y)

    for f in (_methods, CHUNKED):
        a, b = (
            jax.device_get(f(OBJECTIVE, PARAMS, filled(garbage), C, V, np.float32(LIMIT))) for garbage in (np.nan, 1e38)
        )
        for name in a:
            for p, q in zip(*map(jax.tree.leaves, (a[name], b[name])), strict=True):
                assert p.tobytes() == q.tobytes() and np.all(np.isfinite(p)), name
        assert not matrix(a["materialise"])[2].any() and not a["gram"][2].any() and not a["gram"][:, 2].any()
        assert a["norms"][2] == a["inner"][2] == a["log_likelihoods"][2] == a["clipping"].norms[2] == 0


def test_an_absent_example_is_zero_beside_one_that_is_not_a_number():
    x = {name: a.copy() for name, a in BATCH.x.items()}
    x["numbers"][0] = np.nan  # present, and the row that stands in for those that are absent
    got = jax.device_get(_methods(OBJECTIVE, PARAMS, BATCH._replace(x=x), C, V, np.float32(LIMIT)))
    assert np.isnan(got["norms"][0]) and got["norms"][2] == 0 and got["log_likelihoods"][2] == 0
    assert np.all(np.isfinite(got["norms"][1:])) and np.all(np.isfinite(vector(got["clipped_sum"])))
    assert not matrix(got["materialise"])[2].any()
    assert got["inner"][2] == 0


def test_where_all_are_absent_there_is_nothing_and_no_mean():
    batch = BATCH._replace(weight=np.zeros(N, np.float32))
    for f in (_methods, CHUNKED):
        got = jax.device_get(f(OBJECTIVE, PARAMS, batch, C, V, np.float32(LIMIT)))
        for name in ("materialise", "norms", "weighted_sum", "clipped_sum", "clipping", "gram", "inner"):
            assert not any(leaf.any() for leaf in jax.tree.leaves(got[name])), name
        for name in ("mean", "second_moment", "noise"):
            assert all(np.all(np.isnan(leaf)) for leaf in jax.tree.leaves(got[name])), name
        np.testing.assert_array_equal(got.get("smooth", [3.0, 0.5]), [3.0, 0.5])


def test_inner_products_of_two_batches_whole_and_in_chunks():
    there = rows(4, length=5, seed=1)._replace(weight=np.array([1, 0, 2, 1], np.float32))  # other tokens, another T
    gradients = jax.jit(jax.vmap(jax.grad(every_form), (None, 0, 0)))
    g, h = (np.where(b.weight[:, None] > 0, matrix(gradients(PARAMS, b.x, b.y)), 0) for b in (BATCH, there))
    scale = np.sqrt(np.outer(np.sum(g**2, 1), np.sum(h**2, 1))) + 1e-9
    f = jax.jit(lambda a, b: per_example.gram(OBJECTIVE, PARAMS, a, b, memory=2 * CHUNK))
    oracles.assert_close(f(BATCH, there), g @ h.T, scale, F32, 128)

    @jax.jit
    def by_method(a, b):
        f, other = (per_example.factors(OBJECTIVE, PARAMS, part) for part in (a, b))
        return f.gram(other), other.gram(f)

    one, other = by_method(BATCH, there)
    oracles.assert_close(one, g @ h.T, scale, F32, 128)
    oracles.assert_close(other, h @ g.T, scale.T, F32, 128)


def test_inner_products_with_an_empty_batch_are_none_also_in_chunks():
    params, none = LINEAR.model.init(0), jax.tree.map(lambda a: a[:0], SMALL)
    many = jax.tree.map(lambda a: np.repeat(a, 10, 0), SMALL)
    assert per_example.gram(LINEAR, params, none, many, memory=1000).shape == (0, 40)
    assert per_example.gram(LINEAR, params, many, none, memory=1000).shape == (40, 0)


def test_factors_of_other_parameters_have_no_inner_products_with_these():
    f = per_example.factors(LINEAR, LINEAR.model.init(0), SMALL)
    with pytest.raises(ShapeError, match=r"^gram: both are factors of the same parameters"):
        f.gram(SMALL)


def test_parameters_of_two_precisions_keep_them(x64):
    def log_prob(p, x, y):
        return categorical.log_prob((x.astype(p["w"].dtype) @ p["w"]).sum(0) + p["b"], y)

    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": rng.normal(size=3)}
    batch = Batch(rng.normal(size=(5, 3, 4)).astype(np.float32), np.arange(5, dtype=np.int32) % 3)
    direction = jax.tree.map(np.ones_like, params)
    got = jax.device_get(_methods(jaxnn.from_function(log_prob), params, batch, np.ones(5), direction, 0.5))
    g = matrix(jax.vmap(jax.grad(log_prob), (None, 0, 0))(jax.tree.map(np.float64, params), *batch[:2]))
    fits(got, numpy_says(g, None, np.ones(5), np.ones(15), 0.5), g, F32, np.ones(5), np.ones(15), 128)
    for name in ("materialise", "weighted_sum", "clipped_sum", "mean", "fisher_vector_product"):
        assert {k: a.dtype.name for k, a in got[name].items()} == {"w": "float32", "b": "float64"}


def test_an_empty_leaf_and_an_empty_sequence_have_gradients_of_nothing():
    def log_prob(p, x, y):
        return categorical.log_prob((x @ p["w"]).sum(0) + p["b"], y)

    objective = jaxnn.from_function(log_prob)
    params = {"w": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32), "none": np.zeros((0, 3), np.float32)}
    batch = Batch(np.ones((4, 0, 3), np.float32), np.array([0, 1, 1, 0], np.int32))  # sequences of length 0
    f = per_example.factors(objective, params, batch)
    np.testing.assert_allclose(f.norms(), np.full(4, np.sqrt(0.5)), rtol=1e-6)
    np.testing.assert_allclose(f.gram(), 0.5 * np.outer([1, -1, -1, 1], [1, -1, -1, 1]), rtol=1e-6)
    for total in (f.weighted_sum(np.ones(4)), f.mean(), f.second_moment(), f.clipped_sum(0.1)[0]):
        assert {k: a.shape for k, a in total.items()} == {"w": (3, 2), "b": (2,), "none": (0, 3)}
        assert not total["w"].any()
    one = _chunks.example_bytes(objective, params, batch)
    np.testing.assert_allclose(per_example.norms(objective, params, batch, memory=one), f.norms())


def test_a_norm_that_almost_cancels_along_a_sequence_is_that_of_the_gradient():
    """Two views of one pattern through one matrix: the gradient is that of their difference, 1e-3 of either."""

    def log_prob(p, x, y):
        return jaxnn.gaussian.log_prob(0.1 * (x @ p["w"])[0] - 0.1 * (x @ p["w"])[1], y)

    rng = np.random.default_rng(0)
    pattern = rng.normal(size=(5, 1, 16))
    x = (pattern + 1e-4 * rng.normal(size=(5, 2, 16))).astype(np.float32)
    batch, params = Batch(x, rng.normal(size=(5, 16)).astype(np.float32)), {"w": np.zeros((16, 16), np.float32)}
    objective = jaxnn.from_function(log_prob)
    exact = np.linalg.norm(0.1 * (x[:, 0].astype(float) - x[:, 1]), axis=1) * np.linalg.norm(
        batch.y * 0.1 / 0.1, axis=1
    )
    np.testing.assert_allclose(per_example.norms(objective, params, batch), exact, rtol=1e-3)


# ------------------------------------------------------------------------------------------------------------- a pytree


def test_factors_go_through_jit_scan_and_flattening_unchanged():
    made = jax.jit(per_example.factors)(OBJECTIVE, PARAMS, BATCH)
    leaves, structure = jax.tree.flatten(made)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert jax.tree.structure(rebuilt) == structure and isinstance(hash(structure), int)
    norms = jax.jit(lambda f: f.norms())
    np.testing.assert_array_equal(norms(made), norms(rebuilt))

    @jax.jit
    def carried(made):
        def step(f, scale):
            return jax.tree.map(lambda a: a * scale if a.dtype == jnp.float32 else a, f), f.log_likelihoods

        return jax.lax.scan(step, made, jnp.ones(3, jnp.float32))

    end, seen = carried(made)
    np.testing.assert_array_equal(norms(end), norms(made))
    np.testing.assert_array_equal(seen, np.stack([made.log_likelihoods] * 3))


def test_factors_of_a_stack_of_parameters():
    stack = jax.tree.map(lambda a: np.stack([a, 0.5 * a, -a]), PARAMS)

    def measures(params):
        f = per_example.factors(OBJECTIVE, params, BATCH)
        return f.norms(), f.clipped_sum(0.4)[0], f.gram()

    many = jax.device_get(jax.jit(jax.vmap(measures))(stack))
    one = jax.jit(measures)
    for i in range(3):
        alone = one(jax.tree.map(lambda a, i=i: a[i], stack))
        for a, b in zip(*map(jax.tree.leaves, (many, alone)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5)


def test_what_is_made_of_the_gradients_can_itself_be_differentiated(x64):
    """Σ |g_i|² of logistic regression: its gradient against differences."""
    case, rng = by_name["logistic"], np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), case.model.init(0))
    batch = Batch(rng.normal(size=(case.n, 3)), np.arange(case.n, dtype=np.int32) % 2)

    def total(params):
        return jnp.sum(jnp.square(per_example.factors(case.objective(), params, batch).norms()))

    value_and_grad = jax.jit(jax.value_and_grad(total))
    _, slope = value_and_grad(params)
    v = jax.tree.map(lambda a: rng.normal(size=a.shape), params)
    up, down = (value_and_grad(jax.tree.map(lambda w, d, h=h: w + h * d, params, v))[0] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(vector(slope) @ vector(v), (up - down) / 2e-5, rtol=1e-6)


SHARDED = """
import sys; sys.path.insert(0, "tests")
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jaxnn
from jaxnn import per_example
from test_per_example import CHUNK, OBJECTIVE, PARAMS, rows
assert len(jax.devices()) == 4
batch = rows(8)._replace(weight=np.array([1, 2, 0, 1, 0.5, 3, 1, 1], np.float32))
split = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
there = jax.device_put(batch, split)
@jax.jit
def measures(b):
    f = per_example.factors(OBJECTIVE, PARAMS, b)
    return f.norms(), f.clipped_sum(0.4), per_example.clipped_sum(OBJECTIVE, PARAMS, b, 0.4, memory=CHUNK)
one, many = jax.device_get((measures(batch), measures(there)))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, many)
f = jax.jit(per_example.factors)(OBJECTIVE, PARAMS, there)
np.testing.assert_allclose(jax.jit(lambda f: f.norms())(f), one[0], rtol=1e-5, atol=1e-6)
assert f.log_likelihoods.sharding.is_equivalent_to(split, 1), f.log_likelihoods.sharding
print("same")
"""


def test_a_batch_spread_over_four_devices_gives_the_same():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=env, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == "same", done.stderr[-3000:]


# --------------------------------------------------------------------------------------------------- compiled once


def test_new_numbers_recompile_nothing():
    params, batch = LINEAR.model.init(0), SMALL._replace(x=SMALL.x + 1)
    other, c = jax.tree.map(lambda a: a + 1.5, params), np.ones(4, np.float32)
    calls = {
        "clipped_sum": [(0.4,), (2,), (np.float32(1.0),), (jnp.asarray(0.1),), (np.inf,)],
        "weighted_sum": [(c,), (2 * c,), (c.tolist(),)],
        "inner": [(params,), (other,)],
        "noise_scale": [(PREVIOUS, 0.5), (NoiseScale(jnp.float32(1.0), jnp.float32(2.0)), 0.25)],
        "norms": [(), ()],
    }
    for name, many in calls.items():
        function = getattr(per_example, name)
        with jax_log() as log:
            function(LINEAR, params, batch, *many[0])
        assert log.traced("measured") == 1, name
        with jax_log() as log:
            for more in many:
                for objective in (LINEAR, jaxnn.LogLikelihood(LINEAR.model, categorical, 0.9)):
                    function(objective, other, batch, *more)
        assert log.traced("measured") == 0 and log.compiled("measured") == 0, name


def test_one_look_at_the_model_serves_all_chunks():
    looks = 0

    def log_prob(p, x, y):
        nonlocal looks
        looks += 1
        return categorical.log_prob(p["w"] @ x, y)

    batch = Batch(np.ones((50, 4), np.float32), np.zeros(50, np.int32))
    params = {"w": np.ones((3, 4), np.float32)}
    memory = 4 * _chunks.example_bytes(jaxnn.from_function(log_prob), params, batch)  # 13 chunks
    looks = 0
    per_example.norms(jaxnn.from_function(log_prob), params, batch, memory=memory)
    first = looks
    assert first <= 8
    per_example.norms(jaxnn.from_function(log_prob), params, batch._replace(x=2 * batch.x), memory=memory)
    assert looks == first


# --------------------------------------------------------------------------------------------------------------- memory


WIDE = jaxnn.LogLikelihood(jaxnn.Linear(1000, 10), categorical)
MANY = Batch(np.zeros((4096, 1000), np.float32), np.zeros(4096, np.int32))
FACTORS = 4 * (1000 + 10 + 10)  # bytes of one example
OF_ONE = _chunks.example_bytes(WIDE, WIDE.model.init(0), MANY)


@pytest.mark.parametrize("name", ["MEAN", "NORMS", "CLIPPED", "SECOND_MOMENT"])
def test_a_program_in_chunks_needs_little_more_than_it_was_given(name):
    params, batch = WIDE.model.init(0), jax.tree.map(jnp.asarray, MANY)
    memory, shared = 256 * OF_ONE, jnp.float32(1) if name == "CLIPPED" else None
    assert len(MANY.y) % 256 == 0 and len(MANY.y) // 256 > 8
    measure = getattr(_measures, name)
    lowered = _measures.measured.lower(WIDE, params, batch, (), shared, who=name, measure=measure, memory=memory)
    needed = lowered.compile().memory_analysis().temp_size_in_bytes
    assert memory / 2 < needed <= 3.2 * memory  # some copy of the factors may be there, but no second chunk of many


def of_images(p, x, y):
    z = jax.lax.conv(x["numbers"][None, None], p["filters"], (1, 1), "VALID")[0]
    return categorical.log_prob(jnp.max(jnp.tanh(z), (1, 2)) @ p["out"], y)


def of_tokens(p, x, y):
    return categorical.log_prob(jnp.tanh(p["table"][x["tokens"]] @ p["w"]).mean(0) @ p["out"], y)


def weight_normed(p, x, y):
    return categorical.log_prob(x @ (p["v"] / jnp.linalg.norm(p["v"], axis=0) * p["g"]), y)


def test_what_becomes_of_a_parameter_alone_counts_in_chunks():
    """On the way back each example has derivatives of its own of the kernel that is made once for all."""
    objective, batch = jaxnn.from_function(weight_normed), Batch(jnp.ones((512, 64)), jnp.zeros(512, jnp.int32))
    params = {"v": jnp.ones((64, 10)), "g": jnp.ones(10)}
    memory, measure = 32 * _chunks.example_bytes(objective, params, batch), _measures.NORMS
    lowered = _measures.measured.lower(objective, params, batch, (), None, who="", measure=measure, memory=memory)
    assert memory / 4 < lowered.compile().memory_analysis().temp_size_in_bytes <= memory


@pytest.mark.parametrize("name", ["NORMS", "CLIPPED", "SECOND_MOMENT"])
@pytest.mark.parametrize("log_prob", [of_images, of_tokens])
def test_the_values_of_a_model_count_in_its_chunks(log_prob, name):
    """Those of a convolution are 50 times the size of its factors."""
    shapes = {"filters": (8, 1, 3, 3)} if log_prob is of_images else {"table": (1000, 64), "w": (64, 64)}
    params = {k: jnp.ones(shape) for k, shape in shapes.items()} | {"out": jnp.ones((64 if "w" in shapes else 8, 3))}
    x = {"numbers": jnp.ones((512, 16, 16)), "tokens": jnp.zeros((512, 20), jnp.int32)}
    objective, batch = jaxnn.from_function(log_prob), Batch(x, jnp.zeros(512, jnp.int32))
    memory = 16 * _chunks.example_bytes(objective, params, batch)
    shared, measure = jnp.float32(1) if name == "CLIPPED" else None, getattr(_measures, name)
    lowered = _measures.measured.lower(objective, params, batch, (), shared, who=name, measure=measure, memory=memory)
    needed = lowered.compile().memory_analysis().temp_size_in_bytes
    assert memory / 4 < needed <= 1.2 * memory
    if log_prob is of_images:
        assert needed > 20 * 16 * _chunks.factor_bytes(objective, params, batch)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda *it: per_example.gradients(*it, memory=10**8),
            r"^gradients: one an example fits in memory; got memory=95\.4 MiB for 4,096 examples x 10,010 parameters, "
            r"156\.4 MiB; raise memory, pass fewer examples, or ask for what you make of them \(norms, ",
        ),
        (
            lambda *it: per_example.factors(*it, memory=10**7),
            r"^factors: all examples at once fit in memory; got memory=9\.5 MiB for 4,096 examples that take 15\.9 MiB"
            r"; raise memory, or call the function you need \(norms, clipped_sum, \.\.\.\), which works in chunks",
        ),
        (
            lambda *it: per_example.gram(*it, memory=10**7),
            r"^gram: the matrix fits in memory; got memory=9\.5 MiB for 4,096 x 4,096 numbers, 64\.0 MiB; raise memory"
            r", or take fewer examples at a time$",
        ),
        (
            lambda *it: per_example.norms(*it, memory=OF_ONE - 1),
            r"^norms: one example fits in memory; got memory=4\.5 KiB where it takes 4\.5 KiB; raise memory",
        ),
        (lambda *it: per_example.clipped_sum(*it, 1.0, memory=1), r"^clipped_sum: one example .* got memory=1 bytes"),
        (lambda *it: per_example.noise_scale(*it, memory=100), r"^noise_scale: one example fits in memory; got"),
        (lambda *it: per_example.inner(*it, it[1], memory=100), r"^inner: one example fits in memory; got"),
    ],
)
def test_what_does_not_fit_in_memory_is_refused_before_anything_is_compiled(call, message):
    params = WIDE.model.init(0)
    jax.block_until_ready(params)
    with jax_log() as log, pytest.raises(MemoryBudgetError, match=message):
        call(WIDE, params, MANY)
    assert log.compiled("(measured|_factors|_gram|_gradients)") == 0


def test_what_just_fits_is_not_refused():
    params, few = WIDE.model.init(0), jax.tree.map(lambda a: a[:3], MANY)
    assert per_example.norms(WIDE, params, few, memory=OF_ONE).shape == (3,)
    per_example.factors(WIDE, params, few, memory=3 * FACTORS)
    with pytest.raises(MemoryBudgetError):
        per_example.factors(WIDE, params, few, memory=3 * FACTORS - 1)


# --------------------------------------------------------------------------------------------------------- noise scale


def test_a_single_example_says_nothing_of_noise_and_what_was_known_stands():
    x, y = np.array([[1, 0, 0], [0, 2, 0]], np.float32), np.array([0, 1], np.int32)
    one = jax.jit(lambda b: per_example.noise_scale(LINEAR, LINEAR.model.init(0), b))
    after = jax.jit(lambda b, known: per_example.noise_scale(LINEAR, LINEAR.model.init(0), b, known))
    both, single = Batch(x, y, np.array([1, 1], np.float32)), Batch(x, y, np.array([5, 0], np.float32))
    noise = one(Batch(x[:1], y[:1]))
    assert np.isnan(noise.trace) and np.isnan(noise.square) and np.isnan(noise.scale) and np.isnan(noise.batch_size)
    assert np.isnan(one(single).scale)  # five of the same is one
    known, nothing = NoiseScale(np.float32(3.0), np.float32(0.5)), NoiseScale(np.float32(np.nan), np.float32(np.nan))
    kept = after(single, known)
    assert (kept.trace, kept.square, kept.scale, kept.batch_size) == (3.0, 0.5, 6.0, 6.0)
    begun, alone = after(both, nothing), one(both)  # a first batch of one example is forgotten
    assert (begun.trace, begun.square) == (alone.trace, alone.square) and alone.trace > 0


def test_smoothing_takes_a_share_of_what_was_known():
    got = jax.device_get(_methods(OBJECTIVE, PARAMS, BATCH, C, V, np.float32(LIMIT)))
    np.testing.assert_allclose(got["smooth"], DECAY * np.array([3.0, 0.5]) + (1 - DECAY) * got["noise"], rtol=1e-5)


def test_the_scale_is_a_ratio_infinite_without_signal_and_a_batch_has_one_example_at_least():
    assert NoiseScale(jnp.float32(6.0), jnp.float32(2.0)).scale == 3
    assert NoiseScale(jnp.float32(1.0), jnp.float32(4.0)).batch_size == 1
    for square in (0.0, -1.0):
        assert NoiseScale(jnp.float32(1.0), jnp.float32(square)).scale == np.inf
    assert np.isnan(NoiseScale(jnp.float32(1.0), jnp.float32(np.nan)).scale)


@pytest.mark.parametrize("weighted", [False, True])
def test_over_random_batches_both_parts_are_those_of_the_population(x64, weighted):
    """Rows are drawn with replacement, so that tr(Σ) and |G|² are known; 4,000 batches of 6."""
    case, rng = by_name["logistic"], np.random.default_rng(5)
    params = jax.tree.map(lambda a: rng.normal(size=a.shape), case.model.init(0))
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40).astype(np.int32)
    g = by_hand(case, params, Batch(x, y))
    mean = g.mean(0)
    trace, square = np.sum((g - mean) ** 2) / len(g), mean @ mean
    which = rng.integers(0, len(g), (4000, 6))
    weight = np.broadcast_to([0.5, 1, 2, 0, 4, 1], which.shape) if weighted else np.ones(which.shape)

    @jax.jit
    def noise(x, y, weight):
        batch = Batch(x, y, weight)
        return jax.vmap(lambda b: per_example.factors(case.objective(), params, b).noise_scale())(batch)

    found = noise(x[which], y[which], weight)
    for got, want in ((found.trace, trace), (found.square, square)):
        error = np.std(got) / np.sqrt(len(which))
        assert abs(np.mean(got) - want) < 4 * error and error < 0.05 * trace
    naive = np.mean([np.sum(((w / w.sum()) @ g[i]) ** 2) for w, i in zip(weight, which, strict=True)])
    assert naive - square > 10 * np.std(found.square) / np.sqrt(len(which))  # |mean|² itself would be caught


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda *it: per_example.weighted_sum(*it, np.ones(3)),
            ShapeError,
            r"^weighted_sum: c is one number an example; got c\.shape=\(3,\), N=4; pass shape \(4,\)$",
        ),
        (lambda *it: per_example.weighted_sum(*it, 1.0), ShapeError, r"got c\.shape=\(\), N=4"),
        (
            lambda *it: per_example.inner(*it, np.ones(8)),
            ShapeError,
            r"^inner: a direction is a tree like the parameters; got \(8,\); pass a gradient, say$",
        ),
        (
            lambda *it: per_example.weighted_sum(*it, np.ones(4) * 1j),
            DtypeError,
            r"^weighted_sum: c holds integers or floats; got c=ndarray\[4\] of complex128; take the real part, say$",
        ),
        (
            lambda *it: per_example.weighted_sum(*it, ["a"] * 4),
            DtypeError,
            r"^weighted_sum: c holds integers or floats; got c=\['a', 'a', 'a', 'a'\]; encode it",
        ),
        (
            lambda *it: per_example.inner(*it, jax.tree.map(lambda a: a + 1j, it[1])),
            DtypeError,
            r"^inner: direction holds integers or floats; got direction=ArrayImpl\[3, 2\] of complex64; take",
        ),
        (
            lambda *it: per_example.fisher_vector_product(*it, jax.tree.map(lambda a: a[:1], it[1])),
            ShapeError,
            r"^fisher_vector_product: a direction is a tree like the parameters; got ",
        ),
        (
            lambda *it: per_example.noise_scale(*it, 3.0),
            ConfigError,
            r"^noise_scale: previous is what an earlier call returned; got float; pass that, or None$",
        ),
        (
            lambda *it: per_example.noise_scale(*it, decay=1.5),
            ConfigError,
            r"^noise_scale: decay is a .* and <= 1; got",
        ),
        (lambda *it: per_example.noise_scale(*it, decay=np.nan), ConfigError, r"^noise_scale: decay .*got decay=nan"),
        (
            lambda *it: per_example.norms(*it, memory=0),
            ConfigError,
            r"^norms: memory is a whole number >= 1; got memory=0",
        ),
        (lambda *it: per_example.gram(*it, memory=1e9), ConfigError, r"^gram: memory is a whole number >= 1; got"),
        (
            lambda *it: per_example.gram(*it, it[2]._replace(x=np.zeros((4, 5)))),
            ShapeError,
            r"^gram: the model reads D=3 features; got x\.shape=\(4, 5\)",
        ),
        (
            lambda o, p, b: per_example.factors(o, p, b.x),
            ConfigError,
            r"^factors: data is a Dataset or a Batch; got ndarray",
        ),
        (lambda o, p, b: per_example.norms(len, p, b), ConfigError, r"^norms: objective is a log likelihood; got"),
        (lambda o, p, b: per_example.mean(o, p[0], b), ShapeError, r"^mean: parameters fit the model; got"),
        (
            lambda o, p, b: per_example.explain(o, p, b._replace(y=b.y[:3])),
            ShapeError,
            r"^explain: x and y have one row",
        ),
    ],
)
def test_what_does_not_fit_together_is_named_before_anything_is_compiled(wrong_types, call, error, message):
    params = LINEAR.model.init(0)
    jax.block_until_ready(params)
    with jax_log() as log, pytest.raises(error, match=message):
        call(LINEAR, params, SMALL)
    assert log.compiled("(measured|_factors|_gram|_gradients)") == 0


def test_a_dataset_serves_as_a_batch():
    iris = jaxnn.data.load("iris")
    objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), categorical)
    params = objective.model.init(0)
    np.testing.assert_array_equal(
        per_example.norms(objective, params, iris), per_example.norms(objective, params, iris.batch)
    )
