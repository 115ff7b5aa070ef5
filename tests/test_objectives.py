"""Tests the penalised mean log likelihood and its gradient: against NumPy, and by the properties of what it is.

Oracles: `oracles.objective` and `oracles.gradient` (float64, chain rule by hand), finite differences, calculus. The
table of mutants shows that the comparison can fail. Not tested here: the likelihoods' tails (test_likelihoods), steps
and epochs (test_ascent).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import (
    CASES,
    by_name,
    edge_arrays,
    per_example_gradients,
    problems,
    random_labels,
    random_params,
    value_and_gradient,
)
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn._models import Dense
from jaxnn._objectives import FunctionLogLikelihood
from jaxnn._types import Objective

F32, F64 = np.finfo(np.float32).eps, np.finfo(np.float64).eps
CONCAVE = tuple(case for case in CASES if case.is_concave)
SMOOTH = tuple(case for case in CASES if "relu" not in case.activations)
SEVERAL = CASES[1:]  # more than one example


def vector(value, gradient):
    """The value and every entry of the gradient in one row."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves((value, gradient))])


def right(case, params, batch, l2):
    """(the oracle's value and gradient in one row, their S)."""
    spec = (case.likelihood, params, *batch, l2, case.activations)
    return vector(oracles.objective(*spec), oracles.gradient(*spec)), vector(
        oracles.objective_scale(*spec), oracles.gradient_scale(*spec)
    )


def fits_oracle(case, params, batch, l2, got, eps):
    """Value and gradient equal the oracle's within 16 eps S."""
    want, scale = right(case, params, batch, l2)
    oracles.assert_close(vector(*got), want, scale, eps, what=case.name)


def dot(a, b):
    return sum(
        np.sum(np.asarray(x, np.float64) * np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def moved(params, step, direction):
    return jax.tree.map(lambda w, v: w + step * v, params, direction)


def direction_like(params, seed):
    """A random direction of length 1."""
    rng = np.random.default_rng(seed)
    v = jax.tree.map(lambda w: rng.normal(size=w.shape), params)
    return jax.tree.map(lambda a: a / np.sqrt(dot(v, v)), v)


# --------------------------------------------------------------------------------------------------- against the oracle


@given(problem=problems(), l2=st.sampled_from((0.0, 0.3)))
def test_value_and_gradient_equal_the_oracle_in_float64(x64, problem, l2):
    case, params, batch = problem
    fits_oracle(case, params, batch, l2, value_and_gradient(case.objective(l2), params, batch), F64)


@given(problem=problems(dtype=np.float32), l2=st.sampled_from((0.0, 0.25)))
def test_value_and_gradient_equal_the_oracle_in_float32(problem, l2):
    case, params, batch = problem
    got = value_and_gradient(case.objective(l2), params, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.float32)}
    fits_oracle(case, params, batch, l2, got, F32)


@pytest.mark.parametrize(
    "mutant",
    [
        "sign",
        "sum instead of mean",
        "weights ignored",
        "mean over rows instead of weights",
        "labels off by one",
        "last row dropped",
        "penalty not halved",
        "biases penalised",
        "penalty added",
    ],
)
def test_a_wrong_objective_would_be_caught(x64, mutant):
    case, rng, l2 = by_name["tanh_mlp"], np.random.default_rng(0), 0.3
    params = random_params(case, rng)
    x, y, weight = rng.normal(size=(case.n, 3)), random_labels(case, rng), rng.uniform(0.5, 2, case.n)
    batch, total = jaxnn.Batch(x, y, weight), weight.sum()

    def exact(batch, l2=l2):
        return right(case, params, batch, l2)[0]

    bare, penalty = exact(batch, 0.0), exact(batch, 0.0) - exact(batch)
    biases = vector(
        0.5 * l2 * sum(np.sum(b**2) for _, b in params), [Dense(np.zeros_like(k), l2 * b) for k, b in params]
    )
    wrong = {
        "sign": -exact(batch),
        "sum instead of mean": total * bare - penalty,
        "weights ignored": exact(jaxnn.Batch(x, y)),
        "mean over rows instead of weights": total / case.n * bare - penalty,
        "labels off by one": exact(batch._replace(y=(y + 1) % 3)),
        "last row dropped": exact(jaxnn.Batch(x[:-1], y[:-1], weight[:-1])),
        "penalty not halved": bare - 2 * penalty,
        "biases penalised": bare - penalty - biases,
        "penalty added": bare + penalty,
    }[mutant]
    got = value_and_gradient(case.objective(l2), params, batch)
    fits_oracle(case, params, batch, l2, got, F64)
    _, scale = right(case, params, batch, l2)
    for part in (slice(0, 1), slice(1, None)):  # the value alone and the gradient alone give it away
        with pytest.raises(AssertionError):
            oracles.assert_close(vector(*got)[part], wrong[part], scale[part], F64)


def test_a_gradient_wrong_in_any_one_entry_by_1e_9_would_be_caught(x64):
    case, rng = by_name["deep_regression"], np.random.default_rng(0)
    params, x, y = random_params(case, rng), rng.normal(size=(case.n, 3)), random_labels(case, rng)
    batch = jaxnn.Batch(x, y, np.ones(case.n))
    got = vector(*value_and_gradient(case.objective(), params, batch))
    want, scale = right(case, params, batch, 0.0)
    oracles.assert_close(got, want, scale, F64)
    for i in range(len(got)):
        with pytest.raises(AssertionError):
            oracles.assert_close(got + 1e-9 * (np.arange(len(got)) == i), want, scale, F64)


# ------------------------------------------------------------------------------------------------------- sums and means


@given(problem=problems(which=(CASES[0], CASES[2], CASES[4], CASES[7])))
def test_the_gradient_is_the_weighted_mean_of_one_gradient_an_example(x64, problem):
    case, params, batch = problem
    _, gradient = value_and_gradient(case.objective(0.0), params, batch)
    single = per_example_gradients(case.objective(0.0), params, batch)
    mean = jax.tree.map(lambda g: np.average(g, axis=0, weights=batch.weight), single)
    _, scale = right(case, params, batch, 0.0)
    oracles.assert_close(vector(0, gradient), vector(0, mean), scale, F64)
    by_hand = oracles.per_example_gradients(case.likelihood, params, batch.x, batch.y, case.activations)
    for i in range(case.n):
        _, scale = right(case, params, (batch.x[i : i + 1], batch.y[i : i + 1], None), 0.0)
        one = jax.tree.map(lambda g, i=i: g[i], single)
        oracles.assert_close(vector(0, one), vector(0, by_hand[i]), scale, F64)


@given(problem=problems(which=SEVERAL), data=st.data())
def test_the_order_of_examples_does_not_matter(x64, problem, data):
    case, params, batch = problem
    order = np.array(data.draw(st.permutations(range(case.n))))
    before = value_and_gradient(case.objective(0.3), params, batch)
    after = value_and_gradient(case.objective(0.3), params, jax.tree.map(lambda a: a[order], batch))
    oracles.assert_close(vector(*after), vector(*before), right(case, params, batch, 0.3)[1], F64)


@given(problem=problems(which=SEVERAL), data=st.data())
def test_batches_of_any_size_accumulate_to_the_full_batch(x64, problem, data):
    case, params, batch = problem
    size = data.draw(st.integers(1, case.n))
    whole = vector(*value_and_gradient(case.objective(0.0), params, batch))
    parts = np.zeros_like(whole)
    for start in range(0, case.n, size):
        inside = (np.arange(case.n) >= start) & (np.arange(case.n) < start + size)
        part = batch._replace(weight=np.where(inside, batch.weight, 0))
        parts += part.weight.sum() * vector(*value_and_gradient(case.objective(0.0), params, part))
    oracles.assert_close(parts / batch.weight.sum(), whole, right(case, params, batch, 0.0)[1], F64)


@given(problem=problems(which=SEVERAL), data=st.data())
def test_an_integer_weight_is_a_repeated_row(x64, problem, data):
    case, params, batch = problem
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=case.n, max_size=case.n).filter(any)))
    got = value_and_gradient(case.objective(0.3), params, batch._replace(weight=times.astype(float)))
    x, y = np.repeat(batch.x, times, axis=0), np.repeat(batch.y, times, axis=0)
    fits_oracle(case, params, (x, y, None), 0.3, got, F64)


@given(problem=problems(dtype=np.float32), power=st.integers(-10, 10))
def test_only_the_ratios_of_weights_matter(problem, power):
    case, params, batch = problem
    before = value_and_gradient(case.objective(0.25), params, batch)
    after = value_and_gradient(
        case.objective(0.25), params, batch._replace(weight=batch.weight * np.float32(2.0**power))
    )
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_no_weights_are_weights_of_one():
    for case in (by_name["one_example"], by_name["tanh_mlp"]):
        rng = np.random.default_rng(1)
        params, y = random_params(case, rng, dtype=np.float32), random_labels(case, rng)
        batch = jaxnn.Batch(rng.normal(size=(case.n, case.sizes[0])).astype(np.float32), y)
        fits_oracle(case, params, batch, 0.25, value_and_gradient(case.objective(0.25), params, batch), F32)


def test_sums_are_made_in_float32_where_parameters_are_bfloat16():
    n, half = 4097, jnp.bfloat16
    objective = jaxnn.LogLikelihood(jaxnn.Linear(1, 2), jaxnn.categorical, 0.5)
    params = (Dense(np.array([[1.0, -1.125]], half), np.zeros(2, half)),)
    x, y = np.linspace(-2, 2, n, dtype=np.float32)[:, None], np.arange(n, dtype=np.int32) % 2
    each = jax.jit(jax.vmap(objective.per_example, (None, 0, 0)))(params, x, y)
    assert each.dtype == half
    want = np.mean(np.asarray(each, np.float64)) - 0.25 * (1 + 1.125**2)
    for weight in (None, np.ones(n, np.float32)):
        value, gradient = value_and_gradient(objective, params, jaxnn.Batch(x, y, weight))
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, want, rtol=1e-4)  # 4097 roundings of 2^-9 each, which XLA may leave out
        assert gradient[0].kernel.dtype == half
    exact = jaxnn.from_function(lambda w, x, y: w * x)  # terms that bfloat16 holds exactly: only the sum can lose
    terms = jnp.asarray(np.arange(n) % 128 / 64 - 3, half)
    value, _ = value_and_gradient(exact, half(1), jaxnn.Batch(terms, y))
    np.testing.assert_allclose(value, np.mean(np.asarray(terms, np.float64)), rtol=1e-5)  # bfloat16 knows three digits
    many = {"kernel": jnp.full((70, 70), 1.0078125, half)}
    np.testing.assert_allclose(objective.penalty(many), 0.25 * 4900 * 1.0078125**2, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ absent examples


def garbage(case, batch, absent, kind):
    """The batch with nonsense in its absent rows."""
    fill, label = {"nan": (np.nan, 99), "inf": (np.inf, -1), "huge": (3e38, 2**31 - 1)}[kind]
    x, y = batch.x.copy(), batch.y.copy()
    x[absent] = fill
    y[absent] = fill if case.likelihood == "gaussian" else label
    return batch._replace(x=x, y=y, weight=np.where(absent, 0, batch.weight).astype(batch.x.dtype))


@given(problem=problems(which=SEVERAL, dtype=np.float32), data=st.data())
def test_an_example_of_weight_zero_is_absent_whatever_it_holds_to_the_bit(problem, data):
    case, params, batch = problem
    absent = np.array(data.draw(st.lists(st.booleans(), min_size=case.n, max_size=case.n).filter(lambda a: not all(a))))
    filled = [
        value_and_gradient(case.objective(0.25), params, garbage(case, batch, absent, kind))
        for kind in ("nan", "inf", "huge")
    ]
    for other in filled[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, filled[0])
    present = jax.tree.map(lambda a: a[~absent], batch)
    fits_oracle(case, params, present, 0.25, filled[0], F32)


def test_naive_weights_let_an_absent_nan_through():
    case = by_name["softmax"]
    rng = np.random.default_rng(0)
    params, x = random_params(case, rng, dtype=np.float32), rng.normal(size=(case.n, 4)).astype(np.float32)
    batch = garbage(case, jaxnn.Batch(x, random_labels(case, rng), np.ones(case.n)), np.arange(case.n) == 2, "nan")
    objective = case.objective()

    def naive(params):
        log_probs = jax.vmap(objective.per_example, (None, 0, 0))(params, batch.x, batch.y)
        return jnp.sum(jnp.where(batch.weight > 0, batch.weight * log_probs, 0)) / jnp.sum(batch.weight)

    assert np.any(np.isnan(jax.jit(jax.grad(naive))(params)[0].kernel))  # 0 * NaN, although the value is right
    assert np.all(np.isfinite(value_and_gradient(objective, params, batch)[1][0].kernel))


def test_an_absent_example_may_stand_where_the_users_function_is_not_differentiable():
    def log_prob(w, x, y):
        return -jnp.sum((w * x / jnp.linalg.norm(x) - y) ** 2) / jnp.sum(x)  # zeros would give 0 / 0

    objective = jaxnn.from_function(log_prob)
    x, y = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]], np.float32), np.zeros(3, np.float32)
    value, gradient = value_and_gradient(objective, jnp.ones(2), jaxnn.Batch(x, y, np.array([1, 0, 1], np.float32)))
    want = value_and_gradient(objective, jnp.ones(2), jaxnn.Batch(x[[0, 2]], y[[0, 2]], np.ones(2, np.float32)))
    np.testing.assert_allclose(value, want[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, want[1], rtol=1e-6)


def test_a_batch_of_no_weight_at_all_has_no_mean():
    case = by_name["logistic"]
    batch = jaxnn.Batch(np.ones((case.n, 3), np.float32), np.zeros(case.n, np.int32), np.zeros(case.n, np.float32))
    params = random_params(case, np.random.default_rng(0), dtype=np.float32)
    assert np.isnan(value_and_gradient(case.objective(), params, batch)[0])


# ---------------------------------------------------------------------------------------------------------- the penalty


@given(problem=problems(), l2=st.floats(0, 10))
def test_the_penalty_is_half_l2_times_the_squared_kernels_and_leaves_biases_alone(x64, problem, l2):
    case, params, batch = problem
    with_penalty, without = (value_and_gradient(case.objective(strength), params, batch) for strength in (l2, 0.0))
    want = vector(0.5 * l2 * sum(np.sum(k**2) for k, _ in params), [Dense(l2 * k, np.zeros_like(b)) for k, b in params])
    got = vector(*without) - vector(*with_penalty)
    oracles.assert_close(got, want, right(case, params, batch, l2)[1], F64)
    assert all(np.all(a.bias == b.bias) for a, b in zip(without[1], with_penalty[1], strict=True))


def test_only_leaves_of_two_axes_or_more_are_penalised():
    objective = jaxnn.from_function(lambda w, x, y: 0.0 * x, l2=2.0)
    w = {"conv": jnp.full((2, 2, 1), 3.0), "scale": jnp.full(5, 100.0), "temperature": jnp.asarray(100.0)}
    assert objective.penalty(w) == 4 * 9
    assert jaxnn.from_function(lambda w, x, y: 0.0 * x, l2=2.0).penalty({"scale": jnp.ones(3)}) == 0


def test_a_new_penalty_does_not_recompile_and_can_be_swept():
    traces = []

    def log_prob(w, x, y):
        traces.append(1)
        return -((w[0] @ x - y) ** 2)

    w, batch = (jnp.ones((1, 2)),), jaxnn.Batch(jnp.ones((3, 2)), jnp.zeros(3))
    run = jax.jit(lambda objective: objective(w, batch))
    values = [run(jaxnn.from_function(lambda w, x, y: log_prob(w, x, y)[0], l2=0.0))]
    one = jaxnn.from_function(lambda w, x, y: log_prob(w, x, y)[0], l2=0.0)
    before = len(traces)
    values = [run(FunctionLogLikelihood(one.log_prob, None, l2)) for l2 in (0.0, 0.5, 3.0)]
    assert len(traces) == before + 1
    np.testing.assert_allclose(values, [-4, -4 - 0.5, -4 - 3])
    model = jaxnn.Linear(2, 3)
    swept = jax.vmap(
        lambda l2: jaxnn.LogLikelihood(model, jaxnn.categorical, l2).penalty((Dense(jnp.ones((2, 3)), 0),))
    )
    np.testing.assert_allclose(swept(jnp.array([0.0, 1.0, 2.0])), [0, 3, 6])


# ------------------------------------------------------------------------------------------------------------- calculus


@given(problem=problems(which=SMOOTH, magnitude=3.0), seed=st.integers(0, 2**32 - 1))
def test_the_gradient_is_the_limit_of_differences_in_five_random_directions(x64, problem, seed):
    case, params, batch = problem
    objective, h = case.objective(0.3), F64 ** (1 / 5)
    value, gradient = value_and_gradient(objective, params, batch)
    for i in range(5):
        v = direction_like(params, seed + i)
        f = {k: float(value_and_gradient(objective, moved(params, k * h, v), batch)[0]) for k in (-2, -1, 1, 2)}
        difference = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * h)
        slope = dot(gradient, v)
        assert abs(difference - slope) <= 1e-7 * (1 + abs(slope) + abs(value))


@jax.jit
def _second_order(objective, params, batch, v):

    def f(p):
        return objective(p, batch)

    gradient, curvature = jax.jvp(jax.grad(f), (params,), (v,))
    return jax.jvp(f, (params,), (v,))[1], gradient, curvature


def second_order(*args):
    """(jvp v, gradient, Hessian v), as NumPy arrays."""
    return jax.device_get(_second_order(*args))


@given(
    problem=problems(which=(by_name["softmax"], by_name["sigmoid_mlp"]), magnitude=3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_forward_and_reverse_mode_agree_and_the_hessian_is_the_derivative_of_the_gradient(x64, problem, seed):
    case, params, batch = problem
    objective, h = case.objective(0.3), F64 ** (1 / 5)
    v = direction_like(params, seed)
    slope, gradient, curvature = second_order(objective, params, batch, v)
    assert abs(slope - dot(gradient, v)) <= 1e-10 * (1 + abs(slope))
    at = {k: value_and_gradient(objective, moved(params, k * h, v), batch)[1] for k in (-2, -1, 1, 2)}
    difference = jax.tree.map(lambda a, b, c, d: (8 * (c - b) - (d - a)) / (12 * h), *(at[k] for k in (-2, -1, 1, 2)))
    error = jax.tree.map(np.subtract, difference, curvature)
    assert dot(error, error) ** 0.5 <= 1e-6 * (1 + dot(curvature, curvature) ** 0.5)
    u = direction_like(params, seed + 1)
    other = second_order(objective, params, batch, u)[2]
    assert abs(dot(u, curvature) - dot(v, other)) <= 1e-10 * (1 + abs(dot(u, curvature)))  # symmetric


# ------------------------------------------------------------------------------------------------------------ concavity


def is_concave_between(f, a, b, n):
    """f((a + b) / 2) >= (f(a) + f(b)) / 2, and the gradient is monotone."""
    middle = jax.tree.map(lambda p, q: (p + q) / 2, a, b)
    (fa, ga), (fb, gb), (fm, _) = f(a), f(b), f(middle)
    slack = 16 * F64 * (abs(fa) + abs(fb) + abs(fm) + n)
    assert fm >= (fa + fb) / 2 - slack
    step = jax.tree.map(np.subtract, a, b)
    assert dot(jax.tree.map(np.subtract, ga, gb), step) <= slack * (1 + dot(step, step))


@given(problem=problems(which=CONCAVE), seed=st.integers(0, 2**32 - 1), l2=st.sampled_from((0.0, 0.3)))
def test_without_hidden_layers_the_log_likelihood_is_concave(x64, problem, seed, l2):
    case, a, batch = problem
    b = random_params(case, np.random.default_rng(seed), 3.0)
    is_concave_between(lambda p: value_and_gradient(case.objective(l2), p, batch), a, b, case.n)


def test_with_a_hidden_layer_it_is_not_concave_and_the_checker_says_so(x64):
    case, rng = by_name["tanh_mlp"], np.random.default_rng(0)
    a, x = random_params(case, rng, 3.0), rng.normal(size=(case.n, 3))
    labels = np.argmax(oracles.mlp(a, x, case.activations), axis=1).astype(np.int32)  # as a has them, so f(a) is high
    batch = jaxnn.Batch(x, labels, np.ones(case.n))
    b = (Dense(-a[0].kernel, -a[0].bias), Dense(-a[1].kernel, a[1].bias))  # the same network, every tanh flipped
    with pytest.raises(AssertionError):
        is_concave_between(lambda p: value_and_gradient(case.objective(), p, batch), a, b, case.n)


def smoothness(case, batch):
    """L = λmax(Σ w x̃ x̃ᵀ / Σ w) times ¼ (logistic) or ½ (softmax, Böhning 1992), x̃ = (x, 1)."""
    x = np.column_stack([batch.x, np.ones(case.n)])
    gram = (x * batch.weight[:, None]).T @ x / batch.weight.sum()
    return np.linalg.eigvalsh(gram)[-1] * (0.25 if case.likelihood == "bernoulli" else 0.5)


@given(problem=problems(which=CONCAVE), fraction=st.sampled_from((1.0, 0.5, 0.01)))
def test_a_step_of_at_most_one_over_l_never_lowers_the_objective(x64, problem, fraction):
    case, params, batch = problem
    smooth = smoothness(case, batch)
    value, gradient = value_and_gradient(case.objective(0.0), params, batch)
    for _ in range(15):
        params = moved(params, fraction / smooth, gradient)
        before, steepness = value, dot(gradient, gradient)
        value, gradient = value_and_gradient(case.objective(0.0), params, batch)
        slack = 8 * F64 * (1 + abs(before))
        assert value >= before - slack
        if fraction == 1:
            assert value - before >= steepness / (2 * smooth) - slack


def test_a_step_of_four_over_l_can_lower_it(x64):
    case = by_name["one_example"]
    params = (Dense(np.array([[0.05]]), np.array([0.05])),)
    batch = jaxnn.Batch(np.ones((1, 1)), np.ones(1, np.int32), np.ones(1))
    two = jaxnn.LogLikelihood(
        case.model, jaxnn.bernoulli, 20.0
    )  # curvature 20 along the kernel: steps of 1/L overshoot
    value, gradient = value_and_gradient(two, params, batch)
    after, _ = value_and_gradient(two, moved(params, 4 / smoothness(case, batch), gradient), batch)
    assert after < value


# ------------------------------------------------------------------------------------------------------- converged fits


@partial(jax.jit, static_argnums=3)
def plain_ascent(objective, params, batch, steps, rate):
    """w <- w + α ∇ objective, so many times."""

    def step(_, p):
        return jax.tree.map(lambda w, g: w + rate * g, p, jax.grad(objective)(p, batch))

    return jax.lax.fori_loop(0, steps, step, params)


@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_at_a_converged_fit_the_mean_probability_is_the_frequency_of_the_class(x64, name):
    case, rng = by_name[name], np.random.default_rng(0)
    x, y, weight = (
        rng.normal(size=(case.n, case.sizes[0])),
        np.arange(case.n) % max(2, case.sizes[-1]),
        rng.uniform(1, 3, case.n),
    )
    batch = jaxnn.Batch(x, y.astype(np.int32), weight)
    objective = case.objective(0.1)
    rate = 1 / (smoothness(case, batch) + 0.1)
    params = plain_ascent(objective, random_params(case, rng), batch, 3000, rate)
    _, p = predictions(objective, params, x)
    share = weight / weight.sum()
    frequency = [share[y == k].sum() for k in range(p.shape[1])]
    np.testing.assert_allclose(share @ p, frequency, rtol=1e-10)
    assert np.ptp(p[:, 0]) > 0.1  # not by predicting the frequency for all
    _, gradient = value_and_gradient(objective, params, batch)
    assert dot(gradient, gradient) < 1e-24


def test_a_fit_of_the_bias_alone_is_the_log_odds(x64):
    case = by_name["logistic"]
    batch = jaxnn.Batch(np.zeros((7, 3)), np.array([1, 1, 0, 1, 0, 1, 1], np.int32), np.ones(7))
    start = case.model.init(0)
    ((kernel, bias),) = plain_ascent(case.objective(0.1), start, batch, 3000, 4.0)
    np.testing.assert_allclose(bias, [np.log(5 / 2)], rtol=1e-6)
    assert not np.any(kernel)


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from((0.1, 1.0, 30.0)))
def test_softmax_of_two_classes_is_logistic_regression_on_the_difference_of_weights(x64, seed, size):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(7, 3)), rng.integers(0, 2, 7).astype(np.int32)
    w, b = size * rng.normal(size=(3, 2)), rng.normal(size=2)
    batch = jaxnn.Batch(x, y, np.ones(7))
    two = jaxnn.LogLikelihood(jaxnn.Linear(3, 2), jaxnn.categorical)
    one = by_name["logistic"].objective(0.0)
    value, ((gk, gb),) = value_and_gradient(two, (Dense(w, b),), batch)
    want, ((wk, wb),) = value_and_gradient(one, (Dense(w[:, 1:] - w[:, :1], b[1:] - b[:1]),), batch)
    scale = 1 + np.mean(np.abs(x) @ np.abs(w).sum(axis=1) + np.abs(b).sum())
    oracles.assert_close(value, want, scale, F64)
    oracles.assert_close(gk[:, 1:], wk, scale * np.abs(x).max(), F64)
    oracles.assert_close(gb[1:], wb, scale, F64)
    oracles.assert_close(gk[:, :1], -wk, scale * np.abs(x).max(), F64)


# -------------------------------------------------------------------------------------- from_function, predict, classes


@jax.jit
def predictions(objective, params, x):
    """Labels and, where there are classes, probabilities of every row."""
    label = jax.vmap(objective.predict, (None, 0))(params, x)
    if objective.classes(params, x[0]) is None:
        return label, None
    return label, jax.vmap(objective.predict_proba, (None, 0))(params, x)


def logistic_by_hand(params, x, y):
    return jax.nn.log_sigmoid(jnp.where(y == 1, 1, -1) * (x @ params[0].kernel[:, 0] + params[0].bias[0]))


def test_a_function_written_by_hand_is_the_same_objective_as_the_model():
    case, rng = by_name["logistic"], np.random.default_rng(0)
    params, x = random_params(case, rng, dtype=np.float32), rng.normal(size=(case.n, 3)).astype(np.float32)
    batch = jaxnn.Batch(x, random_labels(case, rng), rng.uniform(1, 2, case.n).astype(np.float32))
    by_hand, built = jaxnn.from_function(logistic_by_hand, num_classes=2, l2=0.25), case.objective(0.25)
    fits_oracle(case, params, batch, 0.25, value_and_gradient(by_hand, params, batch), F32)
    through = jaxnn.from_function(built.per_example, num_classes=2, l2=0.25)  # the very same operations
    jax.tree.map(
        np.testing.assert_array_equal,
        value_and_gradient(through, params, batch),
        value_and_gradient(built, params, batch),
    )
    for objective in (by_hand, built):
        label, p = predictions(objective, params, x)
        np.testing.assert_allclose(p[:, 1:], oracles.sigmoid(oracles.mlp(params, x)), atol=16 * F32)
        np.testing.assert_array_equal(label, p[:, 1] >= 0.5)
        assert objective.classes(params, x[0]) == 2


def test_x_can_be_any_tree_of_arrays():
    def log_prob(w, x, y):
        return jaxnn.gaussian.log_prob((w["a"] @ x["left"] + w["b"] * x["right"])[None], y)

    rng = np.random.default_rng(0)
    w = {"a": np.array([1.0, -2.0], np.float32), "b": np.float32(0.5)}
    x = {"left": rng.normal(size=(5, 2)).astype(np.float32), "right": rng.normal(size=5).astype(np.float32)}
    y, weight = rng.normal(size=5).astype(np.float32), np.array([1, 2, 0, 1, 1], np.float32)
    x["left"][2] = np.nan
    got = jaxnn.from_function(log_prob)(w, jaxnn.Batch(x, y, weight))
    mean = x["left"] @ w["a"] + w["b"] * x["right"]
    terms = -0.5 * (y - mean) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(got, np.sum((weight * terms)[weight > 0]) / 5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_objective_knows_its_classes_from_shapes_alone(case):
    params = jax.eval_shape(lambda: case.model.init(0))
    one = jax.ShapeDtypeStruct((case.sizes[0],), jnp.float32)
    want = {"bernoulli": 2, "categorical": case.sizes[-1], "gaussian": None}[case.likelihood]
    assert case.objective().classes(params, one) == want


def test_predictions_are_those_of_the_likelihood_on_the_outputs():
    for name in ("tanh_mlp", "sigmoid_mlp", "deep_regression"):
        case, rng = by_name[name], np.random.default_rng(0)
        params, x = (
            random_params(case, rng, dtype=np.float32),
            rng.normal(size=(case.n, case.sizes[0])).astype(np.float32),
        )
        out = oracles.mlp(params, x, case.activations)
        got, p = predictions(case.objective(), params, x)
        if case.likelihood == "gaussian":
            np.testing.assert_allclose(got, out, rtol=1e-5, atol=1e-5)
        else:
            want = oracles.softmax(out) if case.likelihood == "categorical" else oracles.sigmoid(np.hstack([-out, out]))
            np.testing.assert_allclose(p, want, atol=1e-5)
            np.testing.assert_array_equal(got, np.argmax(want, axis=1))


def test_objectives_are_values_with_the_penalty_and_the_likelihoods_numbers_as_leaves():
    case = by_name["tanh_mlp"]
    assert case.objective(0.5) == case.objective(0.5) != case.objective(0.25)
    assert jax.tree.leaves(case.objective(0.5)) == [0.5]
    assert jax.tree.leaves(jaxnn.LogLikelihood(case.model, jaxnn.Gaussian(2.0), 0.5)) == [2.0, 0.5]
    for objective in (case.objective(), jaxnn.from_function(logistic_by_hand)):
        assert isinstance(objective, Objective)
        rebuilt = jax.tree.map(lambda leaf: leaf, objective)
        assert rebuilt == objective
    assert repr(case.objective()).startswith("LogLikelihood(model=Mlp(sizes=(3, 4, 3), activation=(tanh,)")


class Unhashable:
    __hash__ = None

    def apply(self, params, x):
        return x


MODEL = jaxnn.Linear(2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: jaxnn.LogLikelihood(len, jaxnn.categorical),
            r"LogLikelihood: a model has apply\(params, x\); got model=<built-in",
        ),
        (lambda: jaxnn.LogLikelihood("mlp", jaxnn.categorical), r"or wrap a pure function with jaxnn\.from_function"),
        (
            lambda: jaxnn.LogLikelihood(Unhashable(), jaxnn.categorical),
            r"a model is hashable.*got model=Unhashable; keep arrays",
        ),
        (
            lambda: jaxnn.LogLikelihood(MODEL, jaxnn.Categorical),
            r"LogLikelihood: likelihood is a value; got likelihood=<class",
        ),
        (lambda: jaxnn.LogLikelihood(MODEL, "softmax"), r"got likelihood='softmax'; pass jaxnn\.categorical"),
        (
            lambda: jaxnn.LogLikelihood(MODEL, jaxnn.categorical, -0.1),
            r"LogLikelihood: l2 is a finite number >= 0; got l2=-0\.1",
        ),
        (lambda: jaxnn.LogLikelihood(MODEL, jaxnn.categorical, np.nan), r"got l2=nan"),
        (lambda: jaxnn.LogLikelihood(MODEL, jaxnn.categorical, "0.1"), r"got l2='0\.1'"),
        (lambda: jaxnn.LogLikelihood(MODEL, jaxnn.categorical, True), r"got l2=True"),
        (
            lambda: jaxnn.from_function(3),
            r"from_function: log_prob is a function of \(params, x, y\); got log_prob=3; pass one",
        ),
        (
            lambda: jaxnn.from_function(len, num_classes=1),
            r"from_function: num_classes is a whole number >= 2; got num_classes=1",
        ),
        (lambda: jaxnn.from_function(len, num_classes=2.0), r"got num_classes=2\.0"),
        (lambda: jaxnn.from_function(len, l2=np.inf), r"from_function: l2 is a finite number >= 0; got l2=inf"),
        (lambda: jaxnn.from_function(len, l2=-1), r"got l2=-1"),
        (
            lambda: jaxnn.from_function(logistic_by_hand).predict((), 0),
            r"predict: .*got num_classes=None; pass from_function\(",
        ),
        (lambda: jaxnn.from_function(logistic_by_hand).predict_proba((), 0), r"got num_classes=None"),
    ],
)
def test_an_objective_that_means_nothing_is_refused(wrong_types, make, message):
    with pytest.raises(jaxnn.ConfigError, match=message):
        make()


# -------------------------------------------------------------------------------------------- the strategies themselves


def test_what_is_drawn_varies_and_reaches_the_edges():
    seen = {"case": set(), "x": set(), "params": set(), "y": set(), "edge": set()}

    @given(problem=problems(dtype=np.float32), edge=edge_arrays((4, 3), np.float32))
    def collect(problem, edge):
        case, params, batch = problem
        seen["case"].add(case.name)
        seen["x"].add(batch.x.tobytes())
        seen["params"].add(params[0].kernel.tobytes())
        seen["y"].add(batch.y.tobytes())
        seen["edge"].update(np.abs(edge).ravel().tolist())
        assert np.all(np.abs(batch.x) <= 10)
        assert batch.x.dtype == params[0].kernel.dtype == batch.weight.dtype == np.float32

    collect()
    assert len(seen["case"]) >= 6
    assert min(len(seen[name]) for name in ("x", "params", "y")) >= 10
    assert {0.0, float(np.finfo(np.float32).max / 4)} <= seen["edge"]
