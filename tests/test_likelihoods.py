"""Tests what outputs say about a label: values, gradients, both tails, masks, illegal labels, predictions.

Oracles: SciPy in float64, closed forms, and the identities between the likelihoods. Every trap has a naive version
beside it that falls in. Not tested here: batches, weights and penalties (test_objectives).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.special
import scipy.stats
from cases import arrays, edge_arrays, edge_floats, floats
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn._types import Likelihood

B = 8  # rows in every batch of logits here, so that each K and dtype compiles once
KS = (2, 3, 10)
F32, F64 = np.finfo(np.float32), np.finfo(np.float64)


@jax.jit
def log_probs(likelihood, z, y):
    return jax.vmap(likelihood.log_prob)(z, y)


@jax.jit
def values_and_gradients(likelihood, z, y):
    return jax.vmap(jax.value_and_grad(likelihood.log_prob))(z, y)


@jax.jit
def every_class(likelihood, z):
    """log P(y = k) of every class of every row, [B, K]."""
    labels = jnp.arange(max(2, z.shape[1]), dtype=jnp.int32)
    return jax.vmap(jax.vmap(likelihood.log_prob, (None, 0)), (0, None))(z, labels)


@jax.jit
def predictions(likelihood, z):
    return jax.vmap(likelihood.predict)(z), jax.vmap(likelihood.predict_proba)(z)


@st.composite
def logits(draw, dtype=np.float64, edge=False, ks=KS):
    """(z [B, K], y [B]), ordinary or edge logits."""
    k = draw(st.sampled_from(ks))
    z = draw((edge_arrays if edge else arrays)((B, k), dtype))
    y = draw(st.lists(st.integers(0, max(2, k) - 1), min_size=B, max_size=B))
    return z, np.array(y, np.int32)


def likelihood_of(z):
    return jaxnn.bernoulli if z.shape[1] == 1 else jaxnn.categorical


def name_of(z):
    return "bernoulli" if z.shape[1] == 1 else "categorical"


# ------------------------------------------------------------------------------------------------ values and gradients


@given(problem=logits(ks=(1, *KS)))
def test_values_and_gradients_equal_the_oracle_in_float64(x64, problem):
    z, y = problem
    value, gradient = values_and_gradients(likelihood_of(z), z, y)
    scale = 1 + np.log(B) + 2 * np.abs(z).max(axis=1)
    oracles.assert_close(value, oracles.log_prob(name_of(z), z, y), scale, F64.eps, what="log P")
    want = oracles.output_gradient(name_of(z), z, y)
    oracles.assert_close(gradient, want, scale[:, None], F64.eps, what="gradient")


@given(problem=logits(np.float32, ks=(1, *KS)))
def test_values_and_gradients_equal_the_oracle_in_float32(problem):
    z, y = problem
    value, gradient = values_and_gradients(likelihood_of(z), z, y)
    assert value.dtype == gradient.dtype == jnp.float32
    scale = 1 + np.log(B) + 2 * np.abs(z).max(axis=1)
    oracles.assert_close(value, oracles.log_prob(name_of(z), z, y), scale, F32.eps, what="log P")
    want = oracles.output_gradient(name_of(z), z, y)
    oracles.assert_close(gradient, want, scale[:, None], F32.eps, what="gradient")


def test_bfloat16_logits_cost_bfloat16_rounding_and_no_more():
    rng = np.random.default_rng(0)
    for k in (1, 10):
        z = jnp.asarray(rng.uniform(-10, 10, (B, k)), jnp.bfloat16)
        y = rng.integers(0, max(2, k), B).astype(np.int32)
        value, gradient = values_and_gradients(likelihood_of(z), z, y)
        assert value.dtype == gradient.dtype == jnp.bfloat16
        z64 = np.asarray(z, np.float64)
        scale = np.abs(z64).max(axis=1) + np.log(10)
        eps = float(jnp.finfo(jnp.bfloat16).eps)
        oracles.assert_close(value, oracles.log_prob(name_of(z), z64, y), scale, eps, c=2)
        oracles.assert_close(gradient, oracles.output_gradient(name_of(z), z64, y), 1 + scale[:, None], eps, c=2)


@given(problem=logits(np.float32, edge=True, ks=(1, *KS)))
def test_finite_logits_up_to_a_quarter_of_the_largest_float_give_finite_values_and_gradients(problem):
    z, y = problem
    value, gradient = values_and_gradients(likelihood_of(z), z, y)
    assert np.all(np.isfinite(value))
    assert np.all(np.asarray(value) <= 0)
    assert np.all(np.asarray(value, np.float64) >= -2 * np.abs(z).max(axis=1).astype(np.float64) - np.log(10) - 1e-6)
    assert np.all(np.isfinite(gradient))
    assert np.all(np.abs(gradient) <= 1 + 16 * F32.eps)


@given(problem=logits(edge=True, ks=(1, *KS)))
def test_edge_logits_equal_the_oracle_in_float64(x64, problem):
    z, y = problem
    value, gradient = values_and_gradients(likelihood_of(z), z, y)
    want = oracles.log_prob(name_of(z), z, y)
    oracles.assert_close(value, want, 1 + np.abs(want), F64.eps, what="log P")
    oracles.assert_close(gradient, oracles.output_gradient(name_of(z), z, y), 1, F64.eps, c=64, what="gradient")


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_logits_give_minus_log_k(k, dtype):
    with jax.enable_x64(dtype == np.float64):
        for level in (0.0, 3.0, -1e4):
            got = np.asarray(every_class(jaxnn.categorical, np.full((B, k), level, dtype)), np.float64)
            np.testing.assert_allclose(got, -np.log(k), rtol=0, atol=2 * np.finfo(dtype).eps * max(1, np.log(k)))


@given(problem=logits(ks=(1, *KS)))
def test_the_gradient_is_label_minus_probability_bounded_by_one_and_sums_to_zero(x64, problem):
    z, y = problem
    _, gradient = values_and_gradients(likelihood_of(z), z, y)
    _, p = predictions(likelihood_of(z), z)
    gradient, k = np.asarray(gradient), p.shape[1]
    want = (np.eye(k)[y] - p)[:, -z.shape[1] :]
    np.testing.assert_allclose(gradient, want, rtol=0, atol=4 * k * F64.eps)
    assert np.all(np.abs(gradient) <= 1)
    if z.shape[1] > 1:
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=4 * k * F64.eps)


# ----------------------------------------------------------------------------------------------------------- identities


@given(problem=logits(), shift=floats(magnitude=1000.0))
def test_adding_a_constant_to_all_logits_changes_nothing(x64, problem, shift):
    z, _ = problem
    scale = np.abs(z).max(axis=1, keepdims=True) + abs(shift)
    got, want = every_class(jaxnn.categorical, z + shift), every_class(jaxnn.categorical, z)
    oracles.assert_close(got, want, np.maximum(scale, 1), F64.eps, c=8)


@given(problem=logits(), data=st.data())
def test_probabilities_are_a_softmax_sum_to_one_and_follow_a_relabelling(x64, problem, data):
    z, _ = problem
    k = z.shape[1]
    order = np.array(data.draw(st.permutations(range(k))))
    label, p = (np.asarray(a) for a in predictions(jaxnn.categorical, z))
    assert np.all((p >= 0) & (p <= 1))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=4 * k * F64.eps)
    np.testing.assert_allclose(p, oracles.softmax(z), rtol=0, atol=4 * k * F64.eps)
    np.testing.assert_array_equal(label, np.argmax(z, axis=1))
    _, q = predictions(jaxnn.categorical, z[:, order])
    oracles.assert_close(q, p[:, order], 1, F64.eps)
    oracles.assert_close(
        every_class(jaxnn.categorical, z[:, order]),
        np.asarray(every_class(jaxnn.categorical, z))[:, order],
        1 + np.abs(z).max(),
        F64.eps,
    )
    oracles.assert_close(np.exp(every_class(jaxnn.categorical, z)), p, 1 + np.abs(z).max(), F64.eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_two_classes_are_logistic_regression_on_the_difference_of_logits_to_the_bit(dtype, data):
    with jax.enable_x64(dtype == np.float64):
        z, y = data.draw(logits(dtype, edge=True, ks=(2,)))
        two, slope2 = values_and_gradients(jaxnn.categorical, z, y)
        one, slope1 = values_and_gradients(jaxnn.bernoulli, z[:, 1:] - z[:, :1], y)
        np.testing.assert_array_equal(two, one)
        np.testing.assert_array_equal(slope2[:, 1:], slope1)
        np.testing.assert_array_equal(slope2[:, :1], -slope1)


@given(z=edge_arrays((B, 1), np.float32), y=st.lists(st.integers(0, 1), min_size=B, max_size=B))
def test_flipping_labels_and_negating_logits_changes_no_bit(z, y):
    y = np.array(y, np.int32)
    value, slope = values_and_gradients(jaxnn.bernoulli, z, y)
    flipped, flipped_slope = values_and_gradients(jaxnn.bernoulli, -z, 1 - y)
    np.testing.assert_array_equal(value, flipped)
    np.testing.assert_array_equal(slope, -flipped_slope)


# ---------------------------------------------------------------------------------------------------------------- tails


def tail_is_exact(log_prob_of_both):
    """log P(0) = -z and log P(1) = -e^-z for z in 40..700, float64."""
    z = np.array([40, 41.5, 60, 100, 200, 400, 600, 700.0])
    zero, one = (np.asarray(a, np.float64) for a in log_prob_of_both(z))
    np.testing.assert_allclose(zero, -z, rtol=2 * F64.eps)
    np.testing.assert_allclose(one, -np.exp(-z), rtol=1e-10)


def test_both_tails_of_a_bernoulli_are_exact(x64):
    tail_is_exact(lambda z: every_class(jaxnn.bernoulli, z[:, None]).T)


def test_both_tails_of_a_categorical_are_exact(x64):
    tail_is_exact(lambda z: every_class(jaxnn.categorical, np.stack([0 * z, z], axis=1)).T)
    z = np.tile([0.0, 50.0, 1.0], (B, 1))
    want = -np.log1p(np.exp(-50) + np.exp(-49))
    np.testing.assert_allclose(every_class(jaxnn.categorical, z)[0, 1], want, rtol=1e-10)


@pytest.mark.parametrize(
    "naive",
    [
        lambda z: (np.log1p(-scipy.special.expit(z)), np.log(scipy.special.expit(z))),
        lambda z: tuple(
            np.log(np.clip(p, 1e-15, 1 - 1e-15)) for p in (scipy.special.expit(-z), scipy.special.expit(z))
        ),
        lambda z: tuple(np.asarray(jax.nn.log_softmax(jnp.stack([0 * z, z], 1))).T),
    ],
    ids=["log of a probability", "clipped probability", "log_softmax"],
)
def test_naive_log_probabilities_fail_in_the_tails(x64, naive):
    with np.errstate(divide="ignore"), pytest.raises(AssertionError):
        tail_is_exact(naive)


def test_a_confident_mistake_still_has_a_full_gradient(x64):
    value, slope = values_and_gradients(jaxnn.bernoulli, np.full((B, 1), -200.0), np.ones(B, np.int32))
    np.testing.assert_array_equal(value, -200.0)
    np.testing.assert_array_equal(slope, 1.0)


# ---------------------------------------------------------------------------------------------------------------- masks


@partial(jax.jit, static_argnums=0)
def every_derivative(log_prob, z, y):
    """Value, reverse, forward, one direction forward, one cotangent back, and the Hessian forward over reverse."""

    def f(z):
        return log_prob(z, y)

    _, tangent = jax.jvp(f, (z,), (jnp.ones_like(z),))
    _, pull = jax.vjp(f, z)
    return f(z), jax.grad(f)(z), jax.jacfwd(f)(z), tangent, pull(jnp.ones_like(f(z)))[0], jax.jacfwd(jax.grad(f))(z)


def masked_log_prob_is_right(log_prob, dtype):
    """With classes masked by -inf, everything is as if they were not there, in forward and in reverse mode."""
    finite = np.array([1.0, 0, -2.0, 0.5, 3.0], dtype)
    for kept in ((0, 2, 3, 4), (0, 2), (2,), (0, 1, 2, 3, 4)):
        z = np.full(5, -np.inf, dtype)
        z[list(kept)] = finite[list(kept)]
        for y in kept:
            value, *derivatives = every_derivative(log_prob, z, y)
            want = finite[y] - scipy.special.logsumexp(finite[list(kept)].astype(np.float64))
            np.testing.assert_allclose(value, want, rtol=0, atol=32 * np.finfo(dtype).eps)
            for d in derivatives:
                assert np.all(np.isfinite(d))
            p = oracles.softmax(z)
            for gradient in (*derivatives[:2], derivatives[3]):
                np.testing.assert_allclose(gradient, np.eye(5)[y] - p, rtol=0, atol=32 * np.finfo(dtype).eps)
            np.testing.assert_allclose(
                derivatives[4], np.outer(p, p) - np.diag(p), rtol=0, atol=64 * np.finfo(dtype).eps
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_class_masked_by_minus_infinity_counts_as_absent_in_every_derivative(dtype):
    with jax.enable_x64(dtype == np.float64):
        masked_log_prob_is_right(jaxnn.categorical.log_prob, dtype)


def without_a_floor(z, y):
    """The library's formula as it would be written first: the others may all be masked, and inf - inf is NaN."""
    others = jnp.where(jnp.arange(len(z)) == y, -jnp.inf, z)
    top = jnp.max(others)
    return jax.nn.log_sigmoid(z[y] - top - jnp.log(jnp.sum(jnp.exp(others - top))))


@pytest.mark.parametrize(
    "naive",
    [
        without_a_floor,
        lambda z, y: jnp.sum(jax.nn.one_hot(y, 5) * jnp.log(jax.nn.softmax(z))),
        lambda z, y: jax.nn.log_softmax(jnp.maximum(z, -10.0))[y],
    ],
    ids=["no floor", "log of a probability of 0", "a floor that is felt"],
)
def test_naive_masking_is_caught(naive):
    with pytest.raises(AssertionError):
        masked_log_prob_is_right(naive, np.float32)


def test_a_label_on_a_masked_class_is_impossible():
    z = np.array([[0.0, -np.inf, 1.0], [-np.inf, -np.inf, 1.0]], np.float32)
    value, slope = values_and_gradients(jaxnn.categorical, z, np.ones(2, np.int32))
    np.testing.assert_array_equal(value, -np.inf)
    assert np.all(np.isfinite(slope))
    never = np.full((2, 1), -np.inf, np.float32)
    np.testing.assert_array_equal(log_probs(jaxnn.bernoulli, never, np.array([0, 1])), [0, -np.inf])
    _, p = predictions(jaxnn.categorical, z)
    np.testing.assert_allclose(p, oracles.softmax(z), atol=1e-7)


# ------------------------------------------------------------------------------------------------------- illegal labels

ILLEGAL = (-1, -2, 3, 4, 7, 2**31 - 1, -(2**31))


def illegal_labels_are_nan(log_prob, k=3):
    """The value is NaN, the gradient NaN or zero: nothing that belongs to another class."""
    z = jnp.arange(float(k))
    labels = (
        np.array(ILLEGAL, np.int32),
        np.array([-1, 3, 127], np.int8),
        np.array([3, 255], np.uint8),
        np.array([0.5, -1, 3, np.nan], np.float32),
    )
    both = jax.vmap(jax.value_and_grad(log_prob), (None, 0))
    for values, gradients in jax.device_get(jax.jit(lambda *labels: [both(z, y) for y in labels])(*labels)):
        np.testing.assert_array_equal(values, np.nan)
        np.testing.assert_array_equal(gradients, np.nan)


def test_a_label_that_is_no_class_gives_nan_and_never_another_class():
    illegal_labels_are_nan(jaxnn.categorical.log_prob)
    run = jax.jit(lambda: [jaxnn.bernoulli.log_prob(jnp.array([0.3]), y) for y in (-1, 2, 0.5, np.nan, 2**31 - 1)])
    np.testing.assert_array_equal(run(), np.nan)


@pytest.mark.parametrize(
    "naive",
    [
        lambda z, y: jax.nn.log_softmax(z)[y.astype(jnp.int32)],
        lambda z, y: jnp.sum(jax.nn.one_hot(y.astype(jnp.int32), 3) * jax.nn.log_softmax(z)),
        lambda z, y: jnp.take(jax.nn.log_softmax(z), y.astype(jnp.int32), mode="clip"),
    ],
    ids=["indexing wraps -1 to the last class", "one-hot is all zeros", "clipping takes the last class"],
)
def test_naive_reading_of_labels_is_caught(naive):
    with pytest.raises(AssertionError):
        illegal_labels_are_nan(naive)


def test_legal_labels_of_every_integer_and_float_dtype_say_the_same():
    z = jnp.array([0.5, -1.0, 2.0])
    dtypes = (jnp.int32, jnp.int8, jnp.uint8, jnp.int16, jnp.uint32, jnp.float32)

    @jax.jit
    def say():
        two = [jaxnn.categorical.log_prob(z, jnp.asarray(2, dtype)) for dtype in dtypes]
        return two, [jaxnn.bernoulli.log_prob(z[:1], jnp.asarray(1, dtype)) for dtype in dtypes]

    for values in say():
        assert np.isfinite(values[0])
        np.testing.assert_array_equal(values, values[0])


# ---------------------------------------------------------------------------------------------------------- predictions


def test_ties_go_to_the_first_class_and_zero_decides_plus_one():
    assert jaxnn.categorical.predict(jnp.array([1.0, 3.0, 3.0])) == 1
    assert jaxnn.categorical.predict(jnp.zeros(4)) == 0
    for z, label in ((0.0, 1), (-0.0, 1), (1e-30, 1), (-1e-30, 0)):
        assert jaxnn.bernoulli.predict(jnp.array([z])) == label
        assert jaxnn.bernoulli.decide(jnp.array([z])) == 2 * label - 1
    assert jaxnn.categorical.predict(jnp.zeros(4)).dtype == jaxnn.bernoulli.predict(jnp.zeros(1)).dtype == jnp.int32


@given(z=st.lists(edge_floats(np.float32), min_size=B, max_size=B))
def test_bernoulli_probabilities_are_sigmoids_of_both_signs(z):
    z = np.array(z, np.float32)[:, None]
    label, p = (np.asarray(a) for a in predictions(jaxnn.bernoulli, z))
    want = oracles.sigmoid(np.concatenate([-z, z], axis=1))
    np.testing.assert_allclose(p, want, rtol=16 * F32.eps, atol=F32.tiny)  # relative: small probabilities stay right
    np.testing.assert_array_equal(label, (z[:, 0] >= 0).astype(int))


# ------------------------------------------------------------------------------------------------------------ Gaussian


@given(mean=arrays((B, 2)), y=arrays((B, 2)), scale=st.floats(0.01, 100))
def test_a_gaussian_is_scipys_normal_density(x64, mean, y, scale):
    value, slope = values_and_gradients(jaxnn.Gaussian(jnp.float64(scale)), mean, y)
    z = (y - mean) / scale
    want = scipy.stats.norm.logpdf(y, mean, scale).sum(axis=1)
    oracles.assert_close(value, want, np.sum(z**2, axis=1) + 2 * abs(np.log(scale)) + 4, F64.eps)
    oracles.assert_close(slope, z / scale, np.maximum(np.abs(y) + np.abs(mean), 1e-300) / scale**2, F64.eps)


def test_the_width_of_a_gaussian_is_a_leaf_with_its_own_gradient(x64):
    mean, y = jnp.array([1.0, -2.0]), jnp.array([1.5, 0.0])
    assert jax.tree.leaves(jaxnn.Gaussian(2.0)) == [2.0]
    slope = jax.jit(jax.grad(lambda g: g.log_prob(mean, y)))(jaxnn.Gaussian(jnp.asarray(2.0))).scale
    residual = np.array([0.5, 2.0])
    np.testing.assert_allclose(slope, np.sum(residual**2 / 2.0**3 - 1 / 2.0), rtol=1e-14)
    many = jax.jit(jax.vmap(lambda s: jaxnn.Gaussian(s).log_prob(mean, y)))(jnp.array([0.5, 1.0, 2.0]))
    np.testing.assert_allclose(many, [scipy.stats.norm.logpdf(y, mean, s).sum() for s in (0.5, 1, 2)], rtol=1e-14)


def test_gaussian_targets_can_be_scalars_where_there_is_one_output():
    one, two = jnp.array([0.5]), jnp.array([0.5, 1.0])
    assert jaxnn.gaussian.log_prob(one, 2.0) == jaxnn.gaussian.log_prob(one, jnp.array([2.0]))
    assert jaxnn.gaussian.predict(one).shape == ()
    assert jaxnn.gaussian.predict(two).shape == (2,)
    with pytest.raises(jaxnn.ShapeError, match=r"one target an output; got shape \(\) for an example with 2 outputs"):
        jaxnn.gaussian.log_prob(two, jnp.array(2.0))  # never broadcast over outputs


@pytest.mark.parametrize(("z", "y", "slope"), [(np.inf, 1, 0), (-np.inf, 0, 0), (-np.inf, 1, 1), (np.inf, 0, -1)])
def test_an_infinite_logit_has_the_slope_of_its_limit(z, y, slope):
    assert jax.grad(lambda z: jaxnn.bernoulli.log_prob(z, y))(jnp.array([z])).item() == slope


def test_second_derivatives_are_those_of_the_closed_form(x64):
    z = np.array([-30.0, -1.0, 0.0, 0.5, 30.0])  # 0 is where |z| and max(z, 0) have none
    curvature = jax.vmap(jax.hessian(lambda z: jaxnn.bernoulli.log_prob(z, 1)))(z[:, None])[:, 0, 0]
    np.testing.assert_allclose(curvature, -1 / ((1 + np.exp(-z)) * (1 + np.exp(z))), rtol=1e-12)
    many = np.random.default_rng(0).normal(size=(4, 5)) * 3
    many[0] = 0
    p = oracles.softmax(many)
    want = np.einsum("ni,nj->nij", p, p) - np.einsum("ni,ij->nij", p, np.eye(5))
    for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))):
        got = jax.vmap(mode(lambda z: jaxnn.categorical.log_prob(z, 2)))(many)
        np.testing.assert_allclose(got, want, atol=1e-14)


def test_many_equal_classes_do_not_overflow_in_float16():
    value, slope = jax.value_and_grad(lambda z: jaxnn.categorical.log_prob(z, 0))(jnp.zeros(70_000, jnp.float16))
    assert value == np.float16(-np.log(70_000)) and np.all(np.isfinite(slope))


# -------------------------------------------------------------------------------------------------- values and messages


def test_likelihoods_are_printable_values_that_keep_the_contract():
    for likelihood in (jaxnn.bernoulli, jaxnn.categorical, jaxnn.gaussian):
        assert isinstance(likelihood, Likelihood)
        assert likelihood == type(likelihood)()
        assert hash(likelihood) == hash(type(likelihood)())
    assert repr(jaxnn.Gaussian(0.5)) == "Gaussian(scale=0.5)"
    assert jaxnn.Gaussian(0.5) != jaxnn.gaussian


def test_the_number_of_classes_follows_from_the_number_of_outputs():
    assert jaxnn.bernoulli.classes(1) == 2
    assert [jaxnn.categorical.classes(k) for k in (2, 3, 10)] == [2, 3, 10]
    assert jaxnn.gaussian.classes(1) is jaxnn.gaussian.classes(7) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jaxnn.bernoulli.classes(2),
            r"Bernoulli: the model has one output.*got num_outputs=2; end sizes with 1",
        ),
        (
            lambda: jaxnn.categorical.classes(1),
            r"Categorical: there are at least two classes; got num_outputs=1; end sizes",
        ),
        (
            lambda: jaxnn.gaussian.predict_proba(jnp.zeros(3)),
            r"Gaussian\.predict_proba: only classes .*shape \(3,\); use predict",
        ),
        (lambda: jaxnn.Gaussian(-1.0), r"Gaussian: scale is a finite number > 0, in float32, too; got scale=-1\.0"),
        (
            lambda: jaxnn.Gaussian(0),
            r"Gaussian: scale is a finite number > 0, in float32, too; got scale=0; pass such a number",
        ),
        (lambda: jaxnn.Gaussian(np.nan), r"got scale=nan"),
        (lambda: jaxnn.Gaussian("wide"), r"got scale='wide'"),
    ],
)
def test_a_likelihood_that_means_nothing_is_refused(make, message):
    with pytest.raises(jaxnn.ConfigError, match=message):
        make()
