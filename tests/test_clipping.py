"""Tests what clipping guarantees, for whoever relies on it (DP-SGD): norms, sums, exchanges, and rows that are broken.

Oracle: the gradients of each row by the chain rule in float64 (`oracles.gradient`), clipped by NumPy. The clipped
gradients themselves are looked at one at a time, as the clipped sum of a batch in which all other weights are 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import by_name
from compiles import jax_log
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn import Batch, ConfigError, per_example
from jaxnn.per_example import _chunks

EPS = np.finfo(np.float32).eps
CASE = by_name["tanh_mlp"]
OBJECTIVE = CASE.objective(0.3)  # whose penalty has no part in it
N = 6
PARAMS = jax.tree.map(lambda a: np.random.default_rng(2).normal(size=a.shape).astype(np.float32), CASE.model.init(0))


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def examples(seed=0, size=1.0, n=N):
    rng = np.random.default_rng(seed)
    return Batch((size * rng.normal(size=(n, 3))).astype("f4"), rng.integers(0, 3, n).astype("i4"), np.ones(n, "f4"))


def exact(batch, params=PARAMS):
    """The gradients [N, P] of float64."""
    return np.stack([flat(g) for g in oracles.per_example_gradients("categorical", params, *batch[:2], ("tanh",))])


@jax.jit
def _clipped(params, batch, max_norm):
    return per_example.clipped_sum(OBJECTIVE, params, batch, max_norm)


@jax.jit
def _chunked(params, batch, max_norm):
    two = 2 * _chunks.example_bytes(OBJECTIVE, params, batch)
    return per_example.clipped_sum(OBJECTIVE, params, batch, max_norm, memory=two)


@jax.jit
def _weighted(params, batch, c):
    return per_example.weighted_sum(OBJECTIVE, params, batch, c)


@jax.jit
def _each(params, batch, max_norm):
    """The clipped gradient of each example: clipped sums in which every other weight is 0."""

    def alone(weight):
        return per_example.clipped_sum(OBJECTIVE, params, batch._replace(weight=weight), max_norm)[0]

    return jax.lax.map(alone, jnp.eye(len(batch.y)))


def clipped(batch, max_norm, params=PARAMS, program=_clipped):
    return jax.device_get(program(params, batch, np.float32(max_norm)))


def each(batch, max_norm, params=PARAMS):
    leaves = jax.tree.leaves(jax.device_get(_each(params, batch, np.float32(max_norm))))
    return np.concatenate([np.asarray(leaf, np.float64).reshape(len(batch.y), -1) for leaf in leaves], axis=1)


def lengths(rows):
    return np.linalg.norm(rows, axis=-1)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


# ---------------------------------------------------------------------------------------------------------- guarantees


limits = st.sampled_from((0.0, 1e-30, 1e-3, 0.1, 1.0, 7.0, 1e6))


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((0.01, 1.0, 50.0)), limit=limits)
def test_every_norm_is_at_most_c_and_the_sum_at_most_n_c(seed, size, limit):
    batch = examples(seed, size)
    c = float(np.float32(limit))
    total, clipping = clipped(batch, limit)
    gradients = each(batch, limit)
    assert np.all(lengths(gradients) <= c * (1 + 4 * EPS))
    assert lengths(flat(total)) <= N * c * (1 + 4 * EPS)
    g, scale = exact(batch), 1 + 50 * size
    want = g * np.minimum(1, c / np.maximum(lengths(g), 1e-300))[:, None]
    np.testing.assert_allclose(gradients, want, atol=256 * EPS * min(scale, c) + 1e-36)
    np.testing.assert_allclose(flat(total), want.sum(0), atol=256 * EPS * N * min(scale, c) + 1e-36)
    np.testing.assert_allclose(clipping.norms, lengths(g), rtol=1e-4, atol=64 * EPS * scale)
    sure = np.abs(lengths(g) - c) > 1e-3 * c + 64 * EPS * scale
    if sure.all():
        assert clipping.clipped == np.sum(lengths(g) > c)
    assert clipping.non_finite == 0


@given(seed=st.integers(0, 2**32 - 1), limit=limits, weighted=st.booleans())
def test_exchanging_one_example_moves_the_sum_by_at_most_2_c(seed, limit, weighted):
    """Whatever comes in its place: another row, one 1,000 times longer, or a broken one."""
    c, batch, other = float(np.float32(limit)), examples(seed), examples(seed + 1, 1000.0)
    if weighted:  # absent rows do not change that
        batch = batch._replace(weight=np.array([1, 1, 0, 1, 0, 1], np.float32))
    before = flat(clipped(batch, limit)[0])
    for bad in (None, np.nan, np.inf):
        x, y = batch.x.copy(), batch.y.copy()
        x[0], y[0] = other.x[0] if bad is None else bad, other.y[0]
        after = flat(clipped(batch._replace(x=x, y=y), limit)[0])
        assert lengths(after - before) <= 2 * c + 4 * N * EPS * c


@given(seed=st.integers(0, 2**32 - 1), limit=st.sampled_from((1e-3, 0.5)))
def test_clipping_keeps_the_direction(seed, limit):
    batch = examples(seed)
    got, raw = each(batch, limit), each(batch, np.inf)
    cosine = np.sum(got * raw, 1) / (lengths(got) * lengths(raw))
    np.testing.assert_allclose(cosine, 1, atol=16 * EPS)
    short = lengths(raw) < limit * (1 - 1e-5)
    assert bits(got[short]) == bits(raw[short])  # and what is short is as it was
    np.testing.assert_allclose(lengths(got)[~short], limit, rtol=1e-5)


def test_a_mistake_of_clipping_would_be_caught():
    """The bounds are tight: clipped gradients sit at C, so a factor of 1 + 1e-5 breaks them."""
    got, limit = each(examples(), 0.05), np.float32(0.05)
    assert np.all(lengths(got) > limit * (1 - 8 * EPS)) and not np.all(
        lengths(got * (1 + 1e-5)) <= limit * (1 + 4 * EPS)
    )


# -------------------------------------------------------------------------------------------------------------- limits


def test_c_of_0_leaves_nothing_and_c_of_infinity_everything_to_the_last_bit():
    for program in (_clipped, _chunked):
        total, clipping = clipped(examples(), 0.0, program=program)
        assert not flat(total).any() and clipping.clipped == N and clipping.non_finite == 0
    batch = examples()._replace(weight=np.array([1, 2, 0, 0.5, 3, 1], np.float32))
    total, clipping = clipped(batch, np.inf)
    assert clipping.clipped == 0 and bits(total) == bits(_weighted(PARAMS, batch, batch.weight))
    total, clipping = clipped(batch, np.float32(3.4e38))
    assert clipping.clipped == 0 and bits(total) == bits(_weighted(PARAMS, batch, batch.weight))


def log_prob_of_products(p, x, y):
    return x @ p["w"] + jnp.sum(p["b"]) * y


PRODUCTS = jaxnn.from_function(log_prob_of_products)  # its gradients are x, and y: what I say


@jax.jit
def of_products(batch, max_norm):
    params = {"w": jnp.ones(2), "b": jnp.ones(1)}
    f = per_example.factors(PRODUCTS, params, batch)
    return *per_example.clipped_sum(PRODUCTS, params, batch, max_norm), f.norms()


def products(x, y, max_norm, weight=None):
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    batch = Batch(x, y, np.ones(len(y), np.float32) if weight is None else np.asarray(weight, np.float32))
    return jax.device_get(of_products(batch, np.float32(max_norm)))


def test_a_zero_gradient_stays_zero_and_is_not_clipped():
    for limit in (0.0, 1.0, np.inf):
        total, clipping, _ = products([[0, 0], [3, 4]], [0, 0], limit)
        np.testing.assert_allclose(total["w"], np.array([3, 4]) * min(1, limit / 5), rtol=1e-6)
        assert clipping.clipped == (limit < 5) and clipping.non_finite == 0
        np.testing.assert_array_equal(clipping.norms, [0, 5])


@pytest.mark.parametrize("size", [1e25, 1e30])
def test_gradients_whose_squares_are_infinite_count_as_not_finite(size):
    total, clipping, _ = products([[3 * size, 4 * size], [0, 2], [0, size]], [0, 0, 0], 1.0)
    np.testing.assert_allclose(total["w"], [0, 1], rtol=1e-6)
    np.testing.assert_array_equal(clipping.norms, [np.inf, 2, np.inf])
    assert clipping.non_finite == 2 and clipping.clipped == 1


@pytest.mark.parametrize("size", [1e-25, 1e-30])
def test_gradients_whose_squares_vanish_pass_as_they_are(size):
    total, clipping, _ = products([[3 * size, 4 * size], [0, size]], [0, 0], size)
    np.testing.assert_allclose(total["w"], [3 * size, 5 * size], rtol=1e-5)
    assert clipping.non_finite == clipping.clipped == 0


def test_huge_gradients_of_one_leaf_do_not_hide_those_of_another():
    total, clipping, _ = products([[3e18, 4e18], [0, 0]], [5e18, 1e-3], 1.0)
    np.testing.assert_allclose(clipping.norms, [np.sqrt(50) * 1e18, 1e-3], rtol=1e-5)
    np.testing.assert_allclose(total["b"], [np.sqrt(0.5) + 1e-3], rtol=1e-5)


@jax.jit
def of_sequences(x, max_norm):
    params = {"w": jnp.ones((8, 8))}  # T = 2: by the Gram matrices of what went in and what came back

    def log_prob(p, x, y):
        return jnp.sum(x @ p["w"])

    return per_example.clipped_sum(jaxnn.from_function(log_prob), params, Batch(x, jnp.zeros(len(x))), max_norm)


@pytest.mark.parametrize("size", [1.0, 1e12, 1e-12])
def test_sequences_of_any_size_are_clipped_to_c(size):
    x = (size * np.random.default_rng(0).normal(size=(3, 2, 8))).astype(np.float32)
    total, clipping = jax.device_get(of_sequences(x, np.float32(size)))
    g = np.repeat(x.astype(float).sum(1)[:, :, None], 8, axis=2).reshape(3, -1)
    np.testing.assert_allclose(clipping.norms, lengths(g), rtol=1e-4)
    want = (g * np.minimum(1, size / lengths(g))[:, None]).sum(0)
    np.testing.assert_allclose(flat(total) / size, want / size, atol=1e-4)


def test_a_gradient_that_almost_cancels_along_a_sequence_is_clipped_to_c():
    """Rows a and b ≈ -a: |a + b| is far below |a|, and still above C."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 1, 8))
    x = np.concatenate([a, -a * (1 + 1e-5 * rng.normal(size=(3, 1, 8)))], axis=1).astype(np.float32)
    g = np.repeat(x.astype(float).sum(1)[:, :, None], 8, axis=2).reshape(3, -1)
    limit = lengths(g).min() / 4
    for i in range(3):
        total, clipping = jax.device_get(of_sequences(x[i : i + 1].repeat(3, 0), np.float32(limit)))
        assert lengths(flat(total)) <= 3 * limit * (1 + 1e-2), clipping


@jax.jit
def clipped_one_by_one(w, x, y, max_norm):
    """The norm and the clipped gradient of every sequence, each a batch of its own."""
    objective = jaxnn.from_function(lambda w, x, y: jaxnn.gaussian.log_prob((x @ w).sum(0), y))

    def alone(row):
        total, clipping = per_example.clipped_sum(objective, w, Batch(*(a[None] for a in row)), max_norm)
        return total, clipping.norms[0]

    return jax.lax.map(alone, (x, y))


@pytest.mark.parametrize("opposed", [0.0, 0.5, 0.9, 0.99])
def test_clipped_gradients_of_sequences_are_at_most_c_to_the_last_bits(opposed):
    """T = 4, by Gram matrices, whose terms of both signs leave an error: it is on the safe side."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4, 16))
    x[:, 1::2] = (1 - opposed) * x[:, 1::2] - opposed * x[:, ::2]
    w, x, y = (a.astype(np.float32) for a in (0.3 * rng.normal(size=(16, 32)), x, rng.normal(size=(300, 32))))
    c = np.float32(0.05)
    totals, norms = jax.device_get(clipped_one_by_one(w, x, y, c))
    raw, _ = jax.device_get(clipped_one_by_one(w, x, y, np.float32(np.inf)))
    exact, sizes = (lengths(a.reshape(300, -1).astype(float)) for a in (raw, totals))
    assert np.all(exact > c) and np.all(sizes <= c * (1 + 4 * EPS)) and np.all(sizes >= c * (1 - 1e-3))
    assert np.all(norms >= exact)  # rounded up, by more than it can be wrong


@pytest.mark.parametrize("difference", [1e-2, 1e-5])
def test_a_token_read_twice_with_derivatives_that_cancel_is_clipped_to_c(difference):
    objective = jaxnn.from_function(
        lambda w, x, y: jnp.sum(w[x] * jnp.array([1.0, difference - 1])[:, None] * y)  # one row: the sum, small
    )
    rng = np.random.default_rng(0)
    batch = Batch(np.zeros((50, 2), np.int32), rng.normal(size=(50, 40)).astype(np.float32))
    w, c = jnp.zeros((400, 40)), np.float32(difference)
    assert per_example.explain(objective, w, batch).leaves[0].way == "look-up"

    @jax.jit
    def one_by_one(x, y):
        return jax.lax.map(
            lambda row: per_example.clipped_sum(objective, w, Batch(*(a[None] for a in row)), c)[0], (x, y)
        )

    sizes = lengths(np.asarray(one_by_one(batch.x, batch.y), float).reshape(50, -1))
    assert np.all(sizes <= c * (1 + 4 * EPS)) and np.all(sizes >= 0.9 * c)


# --------------------------------------------------------------------------------------------------------- broken rows


BROKEN = {
    "a NaN": (np.nan, 0),
    "an infinity": (np.inf, 1),
    "an infinity of the other sign": (-np.inf, 2),
    "an illegal label": (0.5, 3),
    "a negative label": (0.5, -1),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("program", [_clipped, _chunked], ids=["whole", "chunked"])
@pytest.mark.parametrize("at", [0, 3, N - 1])
def test_a_broken_example_contributes_zero_and_is_counted(fault, program, at):
    batch = examples()
    x, y = batch.x.copy(), batch.y.copy()
    x[at], y[at] = BROKEN[fault]
    weight = np.ones(N, np.float32)
    weight[at] = 0
    for limit in (0.1, np.inf, 0.0):
        total, clipping = clipped(batch._replace(x=x, y=y), limit, program=program)
        without, known = clipped(batch._replace(weight=weight), limit, program=program)
        assert clipping.non_finite == 1 and known.non_finite == 0
        assert clipping.clipped == known.clipped
        assert not np.isfinite(clipping.norms[at])
        np.testing.assert_array_equal(np.delete(clipping.norms, at), np.delete(known.norms, at))
        np.testing.assert_allclose(flat(total), flat(without), rtol=1e-6, atol=1e-7)  # summed in another order


def test_a_broken_example_that_is_absent_is_not_counted():
    batch = examples()
    x = batch.x.copy()
    x[2] = np.nan
    weight = np.array([1, 1, 0, 1, 1, 1], np.float32)
    total, clipping = clipped(Batch(x, batch.y, weight), 0.05)
    want, known = clipped(batch._replace(weight=weight), 0.05)
    assert bits(total) == bits(want) and bits(clipping) == bits(known) and clipping.non_finite == 0
    assert clipping.norms[2] == 0 and clipping.clipped == 5


@pytest.mark.parametrize("program", [_clipped, _chunked], ids=["whole", "chunked"])
def test_all_padding_is_zero(program):
    for x in (np.zeros((N, 3)), np.full((N, 3), np.nan)):
        nothing = Batch(x.astype(np.float32), np.zeros(N, np.int32), np.zeros(N, np.float32))
        total, clipping = clipped(nothing, 1.0, program=program)
        assert not flat(total).any() and not clipping.norms.any()
        assert clipping.clipped == clipping.non_finite == 0


def test_all_broken_is_zero_too():
    batch = examples()
    total, clipping = clipped(batch._replace(x=np.full_like(batch.x, np.inf)), 1.0)
    assert not flat(total).any() and clipping.non_finite == N and clipping.clipped == 0


def test_a_weight_k_is_the_clipped_gradient_k_times():
    batch = examples()
    weight = np.array([1, 3, 0, 2, 1, 1], np.float32)
    many = jax.tree.map(lambda a: np.repeat(a, [1, 3, 0, 2, 1, 1], axis=0), batch)
    total, clipping = clipped(batch._replace(weight=weight), 0.05)
    repeated, known = clipped(many._replace(weight=np.ones(8, np.float32)), 0.05)
    np.testing.assert_allclose(flat(total), flat(repeated), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.repeat(clipping.norms, [1, 3, 0, 2, 1, 1]), known.norms, rtol=1e-6)
    assert clipping.clipped == 5  # examples, not weights


def test_small_dtypes_are_clipped_within_their_precision():
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), PARAMS)
    batch = examples()
    total, clipping = jax.device_get(jax.jit(per_example.clipped_sum)(OBJECTIVE, params, batch, 0.05))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(total)} == {"bfloat16"}
    assert clipping.norms.dtype == np.float32 and clipping.clipped == N
    assert lengths(flat(total)) <= N * 0.05 * (1 + 2**-7)
    want = exact(batch)
    np.testing.assert_allclose(flat(total), (want * 0.05 / lengths(want)[:, None]).sum(0), atol=0.01)


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("max_norm", [-1.0, -1e-30, np.nan, -np.inf, "1", None, True, np.ones(3)])
def test_a_max_norm_that_is_none_is_refused(wrong_types, max_norm):
    with (
        jax_log() as log,
        pytest.raises(ConfigError, match=r"^clipped_sum: max_norm is a .*number >= 0.*; got max_norm="),
    ):
        per_example.clipped_sum(OBJECTIVE, PARAMS, examples(), max_norm)
    assert log.compiled("measured") == 0


@pytest.mark.parametrize("max_norm", [np.inf, np.float32(np.inf), jnp.inf, np.array(np.inf), jnp.asarray(np.inf)])
def test_infinity_is_a_limit_of_any_type(max_norm):
    assert per_example.clipped_sum(OBJECTIVE, PARAMS, examples(), max_norm)[1].clipped == 0


@pytest.mark.parametrize("max_norm", [-1.0, np.nan])
def test_the_method_refuses_the_same_limits(max_norm):
    f = per_example.factors(OBJECTIVE, PARAMS, examples())
    with pytest.raises(ConfigError, match=r"max_norm"):
        f.clipped_sum(max_norm)


def test_a_limit_that_is_nan_where_it_cannot_be_refused_lets_nothing_through():
    """Traced, it cannot be looked at; then the sum must not be that of gradients without a limit."""
    total, _ = clipped(examples(), np.nan)
    assert not np.isfinite(flat(total)).all() or not flat(total).any()


def test_the_norms_are_over_all_leaves_together():
    _, clipping, _ = products([[3, 0], [0, 0]], [4, 0], 1.0)
    np.testing.assert_allclose(clipping.norms, [5, 0])


def test_a_negative_limit_where_it_cannot_be_refused_lets_nothing_through():
    total, _ = jax.device_get(jax.jit(lambda c: per_example.clipped_sum(OBJECTIVE, PARAMS, examples(), c))(-1.0))
    assert np.isnan(flat(total)).any()


def test_norms_have_derivatives_beside_an_absent_example():
    batch = examples()._replace(weight=np.array([1, 1, 0, 1, 1, 1], np.float32))
    slope = jax.grad(lambda p: per_example.factors(OBJECTIVE, p, batch).norms().sum())(PARAMS)
    assert np.isfinite(flat(slope)).all() and flat(slope).any()
