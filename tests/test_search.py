"""The ladder from hill climbing to automatic differentiation, against closed forms, SciPy and plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from compiles import jax_log

import jaxnn
from jaxnn import ConfigError, DtypeError, MemoryBudgetError, NonFiniteError, ShapeError, Status, search
from jaxnn.search import _ascend, _climb, _derivative, _flat, _random, _steepest
from jaxnn.search._derivative import METHODS

# Their programs compiled quickly, but for tests that ask for `as_users_do`.
PROGRAMS = {
    (_derivative, "_derivative"): ["g", "method", "samples"],
    (_steepest, "_steepest"): ["g", "length"],
    (_climb, "_climb"): ["g", "is_best", "count", "max_evaluations", "keep_path"],
    (_random, "_search"): ["g", "num_samples", "keep_path"],
    (_ascend, "_ascend"): ["g", "optimizer", "method", "samples", "num_steps", "keep_path"],
}
QUICK = {at: jax.jit(getattr(*at).__wrapped__, static_argnames=names) for at, names in PROGRAMS.items()}


@pytest.fixture
def as_users_do():
    """Every optimisation, for what one could break; and inside of another program."""


@pytest.fixture(autouse=True)
def _quickly(request, monkeypatch):
    if "as_users_do" not in request.fixturenames:
        for at, program in QUICK.items():
            monkeypatch.setattr(*at, program)


# ---------------------------------------------------------------------------------------------------------- functions

POINT = {"a": np.array([0.4, -1.3, 2.5]), "b": np.array(0.7)}


def mixed(w):
    """sin(a0) e^a1 + a2² b."""
    a, b = w["a"], w["b"]
    return jnp.sin(a[0]) * jnp.exp(a[1]) + a[2] ** 2 * b


def mixed_gradient(w):
    """In the order of the leaves: a0, a1, a2, b."""
    (a0, a1, a2), b = np.float64(w["a"]), np.float64(w["b"])
    return np.array([np.cos(a0) * np.exp(a1), np.sin(a0) * np.exp(a1), 2 * a2 * b, a2**2])


CURVES = np.array([1.0, 4.0, 0.5, 2.0])
TOP = np.array([1.0, -2.0, 3.0, 0.5])


def hill(w):
    """-½ Σ c_i (w_i - top_i)²: exact in binary, where w is."""
    return -0.5 * jnp.sum(jnp.asarray(CURVES, w.dtype) * (w - jnp.asarray(TOP, w.dtype)) ** 2)


def rosenbrock(w):
    """Highest, 0, at (1, 1), at the end of a bent ridge."""
    return -((1 - w[0]) ** 2) - 10 * (w[1] - w[0] ** 2) ** 2


def flatland(w):
    return 0 * jnp.sum(w) + 2.0


def straight(w):
    return jnp.sum(w)


class Counted:
    """-Σ (w - 2)² in NumPy, behind a callback that counts: what the program evaluates, and how often."""

    def __init__(self, bad=lambda w: False):
        self.points, self.bad = [], bad

    def __call__(self, w):
        def value(w):
            w = np.asarray(w)
            self.points.append(w)
            return np.float32(np.nan if self.bad(w) else -np.sum((w - 2) ** 2))

        return jax.pure_callback(value, jax.ShapeDtypeStruct((), jnp.float32), w, vmap_method="sequential")


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


# -------------------------------------------------------------------------------------------------------- derivatives


def error_of(method, dtype, **options):
    w = jax.tree.map(lambda a: jnp.asarray(a, dtype), POINT)
    found = search.derivative(mixed, w, method, **options)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), found.gradient) == jax.tree.map(lambda a: (a.shape, a.dtype), w)
    np.testing.assert_allclose(found.value, mixed(w), rtol=1e-6)
    return np.abs(flat(found.gradient) - mixed_gradient(w)).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["reverse", "forward", "one_sided", "central"])
def test_a_derivative_is_that_of_the_closed_form(x64, method, dtype):
    eps = np.finfo(dtype).eps
    power, scale = {"one_sided": (1 / 2, 20), "central": (2 / 3, 20)}.get(method, (1, 16))
    assert error_of(method, dtype) <= scale * eps**power


def test_the_bounds_would_find_a_wrong_power(x64):
    assert error_of("one_sided", "float64") > 20 * np.finfo(np.float64).eps ** (2 / 3)
    assert error_of("central", "float64") > 16 * np.finfo(np.float64).eps


@pytest.mark.parametrize("method, order", [("one_sided", 1), ("central", 2)])
def test_the_error_of_a_difference_falls_with_its_order(x64, method, order):
    steps = 2.0 ** -np.arange(4, 10)
    errors = [error_of(method, "float64", step=h) for h in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize("method", ["one_sided", "central"])
def test_the_default_step_is_near_the_best_there_is(x64, method):
    best = min(error_of(method, "float32", step=h) for h in 10.0 ** np.arange(-6, 0.1, 0.5))
    assert error_of(method, "float32") <= 20 * best


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_the_step_that_is_divided_by_is_the_one_that_was_made(x64, as_users_do, method, dtype):
    for at in (0.1, 3.3, -77.7):
        w = jnp.asarray(at, dtype)
        assert search.derivative(straight, w, method, key=0).gradient == 1, at


def test_leaves_of_several_dtypes_each_have_their_own_step(x64):
    w = {"a": jnp.array([0.3], "bfloat16"), "b": jnp.array([0.3], "float64")}

    def g(w):
        return jnp.sum(w["a"].astype("float64") ** 2) + jnp.sum(w["b"] ** 2)

    found = search.derivative(g, w, "central").gradient
    assert found["a"].dtype == jnp.bfloat16 and found["b"].dtype == jnp.float64
    np.testing.assert_allclose(found["b"], 0.6, rtol=1e-9)
    np.testing.assert_allclose(np.float64(found["a"]), 2 * np.float64(w["a"]), rtol=2**-8)


def estimates(samples):
    w = jnp.asarray(np.ones(4), "float64")
    one = lambda key: search.derivative(hill, w, "spsa", key=key, samples=samples).gradient  # noqa: E731
    return np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(1), 4096))), -CURVES * (1 - TOP)


@pytest.mark.parametrize("samples", [1, 4])
def test_spsa_is_the_gradient_on_average_and_as_noisy_as_said(x64, samples):
    found, want = estimates(samples)
    noise = np.sqrt((np.sum(want**2) - want**2) / samples)  # of one component
    assert np.all(np.abs(found.mean(axis=0) - want) <= 4.5 * noise / np.sqrt(len(found)))
    np.testing.assert_allclose(found.std(axis=0), noise, rtol=0.1)
    np.testing.assert_allclose(found.var(axis=0).mean(), 3 / 4 * np.sum(want**2) / samples, rtol=0.1)
    with pytest.raises(AssertionError):  # the bound would find a bias of a tenth
        assert np.all(np.abs(1.1 * found.mean(axis=0) - want) <= 4.5 * noise / np.sqrt(len(found)))


def test_spsa_of_one_number_is_the_central_difference():
    w = jnp.float32(0.3)
    np.testing.assert_allclose(search.derivative(jnp.sin, w, "spsa", key=3).gradient, np.cos(0.3), rtol=1e-3)


@pytest.mark.parametrize("method, count", [("one_sided", 6), ("central", 11), ("spsa", 7)])
def test_evaluations_are_those_that_were_made(method, count):
    g = Counted()
    found = search.derivative(g, jnp.arange(5.0), method, key=0, samples=3)
    jax.block_until_ready(found)
    assert found.evaluations == count == len(g.points)


def test_evaluations_of_the_exact_methods():
    w = jnp.ones(5)
    assert [search.derivative(straight, w, method).evaluations for method in ("reverse", "forward")] == [1, 5]


@pytest.mark.parametrize("method", ["forward", "one_sided", "central"])
def test_many_numbers_are_differentiated_in_chunks_to_the_same_gradient(method, monkeypatch):
    w = jnp.asarray(np.random.default_rng(0).normal(size=23), "float32")
    whole = search.derivative(lambda w: jnp.sum(jnp.sin(w)), w, method).gradient
    monkeypatch.setattr(_flat, "_TOGETHER", 100)  # chunks of 4, the last of 3
    parts = search.derivative(lambda w: jnp.sum(jnp.sin(w)), w, method).gradient
    np.testing.assert_allclose(whole, parts, atol={"forward": 1e-6}.get(method, 5e-3))
    np.testing.assert_allclose(parts, np.cos(w), atol={"forward": 1e-6}.get(method, 5e-3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [0.0, np.nan, np.inf, -1.0])
def test_no_finite_gradient_comes_of_a_value_that_is_not(method, at):
    found = search.derivative(log_sum, jnp.array([at, 2.0], "float32"), method, key=0)
    assert not np.isfinite(found.value)
    assert not np.isfinite(found.gradient[0]) or (method in ("reverse", "forward") and at in (-1.0, np.inf))


def log_sum(w):
    return jnp.sum(jnp.log(w))


@pytest.mark.parametrize("method", ["one_sided", "central", "spsa"])
def test_a_step_that_moves_nothing_gives_nan_not_zero(method):
    found = search.derivative(straight, jnp.array([1.0, 0.0]), method, step=1e-12, key=0).gradient
    assert np.isnan(found[0])


def test_one_trace_serves_all_points_and_steps():
    search.derivative(hill, jnp.zeros(4), "central", step=0.1)
    with jax_log() as log:
        for h in (0.2, np.float32(0.3), jnp.float32(0.4)):
            search.derivative(hill, jnp.ones(4), "central", step=h)
    assert log.traced("_derivative") == 0
    with jax_log() as log:  # another function is another program
        search.derivative(lambda w: hill(w), jnp.ones(4), "central", step=0.1)
    assert log.traced("_derivative") == 1


def test_a_log_likelihood_is_such_a_function():
    ds = jaxnn.data.load("iris")
    objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical, l2=0.1)
    g = lambda w: objective(w, ds.batch)  # noqa: E731
    w = jax.tree.map(lambda a: 0.1 + a, objective.model.init(0))
    exact, close = (search.derivative(g, w, method).gradient for method in ("reverse", "central"))
    np.testing.assert_allclose(flat(close), flat(exact), atol=5e-4)


def test_a_function_may_close_over_what_is_traced(as_users_do):
    def end(top):
        def g(w):
            return -((w - top) ** 2)

        return search.gradient_ascent(
            lambda w: -((w - top) ** 2), 0.0, optax.sgd, learning_rate=0.25, num_steps=3
        ).value

    np.testing.assert_allclose(jax.jit(jax.vmap(end))(jnp.array([1.0, 2.0])), [-(1 / 64), -(4 / 64)])


# -------------------------------------------------------------------------------------------------- steepest direction


def linear(slopes):
    """A function of this gradient."""
    return lambda w: jnp.vdot(jnp.asarray(slopes, w.dtype), w)


@pytest.mark.parametrize("seed", range(3))
def test_the_steepest_direction_is_the_solution_of_the_constrained_problem(x64, seed):
    slopes, epsilon = np.random.default_rng(seed).normal(size=5), 0.3
    d = {
        n: np.asarray(search.steepest_direction(linear(slopes), jnp.zeros(5), epsilon, n)) for n in ("l2", "l1", "linf")
    }
    box = scipy.optimize.linprog(-slopes, bounds=[(-epsilon, epsilon)] * 5)
    np.testing.assert_allclose(d["linf"], box.x, atol=1e-12)
    split = scipy.optimize.linprog(np.r_[-slopes, slopes], A_ub=np.ones((1, 10)), b_ub=[epsilon])  # d = p - n
    np.testing.assert_allclose(d["l1"], split.x[:5] - split.x[5:], atol=1e-12)
    ball = scipy.optimize.minimize(
        lambda d: -slopes @ d,
        np.full(5, 0.01),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda d: epsilon**2 - d @ d},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(d["l2"], ball.x, atol=1e-5)


@pytest.mark.parametrize("norm, order", [("l2", 2), ("l1", 1), ("linf", np.inf)])
def test_a_small_steepest_step_gains_more_than_any_random_one_of_its_length(x64, norm, order):
    w = jnp.array([0.3, -0.2])
    directions = np.random.default_rng(0).normal(size=(200, 2))
    steps = 1e-5 * directions / np.linalg.norm(directions, order, axis=1)[:, None]
    best = search.steepest_direction(rosenbrock, w, 1e-5, norm)
    np.testing.assert_allclose(np.linalg.norm(best, order), 1e-5)
    gains = jax.vmap(rosenbrock)(w + jnp.asarray(steps)) - rosenbrock(w)
    assert rosenbrock(w + best) - rosenbrock(w) > gains.max()


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_the_edges_of_a_steepest_direction(norm):
    direction = functools.partial(search.steepest_direction, epsilon=2.0, norm=norm)
    np.testing.assert_array_equal(direction(flatland, jnp.ones(3)), np.zeros(3))
    assert np.isnan(direction(log_sum, jnp.array([0.0, 1.0]))).all()
    one = direction(linear(-3.0), 1.0)
    assert one.shape == () and one == -2
    tree = direction(lambda w: 5 * w["b"] - jnp.sum(w["a"]), {"a": jnp.ones(2, "bfloat16"), "b": jnp.ones(())})
    assert tree["a"].dtype == jnp.bfloat16
    want = {"l2": [-2 / 27**0.5] * 2 + [10 / 27**0.5], "l1": [0, 0, 2], "linf": [-2, -2, 2]}[norm]
    np.testing.assert_allclose(flat(tree), want, rtol=1e-2)


def test_ties_are_given_to_the_first_and_no_gradient_is_too_small_or_large():
    np.testing.assert_array_equal(search.steepest_direction(linear([1, -3, 3]), jnp.zeros(3), 1.0, "l1"), [0, -1, 0])
    for size in (1e-30, 1e30):
        d = search.steepest_direction(linear([3 * size, -4 * size]), jnp.zeros(2), 1.0)
        np.testing.assert_allclose(d, [0.6, -0.8], rtol=1e-6)


# -------------------------------------------------------------------------------------------------------- hill climbing


def climbed(g, w, step, shrink, smallest, rule, most):
    """Hill climbing along the axes, written as it is told: a list of points, values, and the evaluations."""
    neighbours = [sign * np.eye(len(w))[i] for i in range(len(w)) for sign in (1, -1)]
    path, evaluations, k, misses = [np.array(w, float)], 1, 0, 0
    while step >= smallest:
        if evaluations + (len(neighbours) if rule == "best" else 1) > most:
            return path, evaluations, Status.MAX_EPOCHS
        now = g(path[-1])
        if rule == "best":
            values = [g(path[-1] + step * d) for d in neighbours]
            evaluations += len(values)
            if max(values) > now:
                path.append(path[-1] + step * neighbours[int(np.argmax(values))])
            else:
                step *= shrink
        else:
            evaluations += 1
            if g(path[-1] + step * neighbours[k]) > now:
                path.append(path[-1] + step * neighbours[k])
                misses = 0
            else:
                misses, k = misses + 1, (k + 1) % len(neighbours)
            if misses == len(neighbours):
                step, misses = step * shrink, 0
    return path, evaluations, Status.STOPPED_EARLY


def numpy_hill(w):
    return -0.5 * np.sum(CURVES * (w - TOP) ** 2)


START = np.array([-0.375, 0.25, 0.0, 2.0])


@pytest.mark.parametrize("most", [10_000, 101])
@pytest.mark.parametrize("rule", ["best", "first"])
def test_a_climb_is_the_one_written_in_plain_numpy(x64, rule, most):
    found = search.hill_climb(hill, START, smallest_step=0.01, rule=rule, max_evaluations=most)
    path, evaluations, status = climbed(numpy_hill, START, 1.0, 0.5, 0.01, rule, most)
    np.testing.assert_array_equal(found.path, path)
    assert (found.evaluations, found.status) == (evaluations, status) and evaluations <= most
    np.testing.assert_array_equal(found.values, [numpy_hill(w) for w in path])
    np.testing.assert_array_equal(found.params, path[-1])
    assert found.value == found.values[-1] and np.all(np.diff(found.values) > 0)
    assert isinstance(found.status, Status) and found.gradient_norms is None
    if most == 10_000:
        np.testing.assert_allclose(found.params, TOP, atol=0.02)


@pytest.mark.parametrize("rule", ["best", "first"])
@pytest.mark.parametrize("neighbours, options", [("axes", {}), ("random", {"key": 2, "directions": 5})])
def test_a_climb_evaluates_as_often_as_it_says_and_never_more_than_allowed(rule, neighbours, options):
    g, w = Counted(), np.zeros(3, "float32")
    found = search.hill_climb(g, w, rule=rule, neighbours=neighbours, max_evaluations=33, **options)
    assert found.evaluations == len(g.points) <= 33
    a_round = {"axes": 6, "random": 5}[neighbours] if rule == "best" else 1
    assert found.status == Status.MAX_EPOCHS and found.evaluations + a_round > 33
    assert found.value == max(-np.sum((p - 2) ** 2) for p in g.points)  # nothing better was seen and left


@pytest.mark.parametrize("rule", ["best", "first"])
def test_random_neighbours_lie_on_a_sphere_and_lead_to_the_top(rule):
    found = search.hill_climb(
        rosenbrock, [-1.2, 1.0], step=0.5, rule=rule, neighbours="random", directions=16, key=5, smallest_step=1e-4
    )
    path = np.stack(found.path, axis=1)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    halvings = np.log2(0.5 / lengths)
    np.testing.assert_allclose(halvings, np.round(halvings), atol=0.02)
    assert np.all(np.diff(np.round(halvings)) >= 0) and np.all(np.diff(found.values) > 0)
    assert found.status == Status.STOPPED_EARLY and found.value > -1e-3


def test_random_directions_are_uniform_and_all_different():
    g = Counted()
    search.hill_climb(g, np.full(2, 2, "float32"), neighbours="random", directions=400, key=0, max_evaluations=801)
    d = np.stack(g.points[1:]) - 2  # at the top, so none is accepted: 400 of length 1, 400 of 1/2
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), np.repeat([1, 0.5], 400), rtol=1e-5)
    angles = np.arctan2(*d.T)
    assert len(np.unique(angles)) == 800
    assert np.histogram(angles, 8, (-np.pi, np.pi))[0].min() > 65  # 100 each, standard deviation 9


@pytest.mark.parametrize("rule, g, w", [("best", hill, TOP), ("first", hill, TOP), ("best", flatland, np.ones(4))])
def test_at_the_top_and_on_flat_ground_it_stays_and_looks_closer(rule, g, w):
    found = search.hill_climb(g, np.float32(w), rule=rule, smallest_step=0.2)
    assert found.status == Status.STOPPED_EARLY and found.evaluations == 1 + 3 * 8  # steps 1, 1/2, 1/4
    np.testing.assert_array_equal(found.path, [w])
    np.testing.assert_array_equal(found.params, w)


@pytest.mark.parametrize("rule", ["best", "first"])
def test_a_neighbour_that_is_not_finite_is_never_gone_to(rule):
    found = search.hill_climb(spiked, jnp.zeros(2), rule=rule)
    assert np.isfinite(found.values).all() and np.all((found.path[:, 0] >= 0) & (found.path[:, 0] <= 1.5))
    np.testing.assert_array_equal(found.params, [1.5, 3])


def spiked(w):
    """Higher to the right, infinite beyond 1.5 and NaN to the left."""
    inside = w[0] - (w[1] - 3) ** 2
    return jnp.where(w[0] > 1.5, jnp.inf, jnp.where(w[0] < 0, jnp.nan, inside))


def test_from_a_point_of_probability_zero_it_climbs_to_one_that_has_some():
    found = search.hill_climb(log_one, jnp.float32(-0.5))
    assert found.values[0] == -np.inf and found.value > -1e-3 and np.isfinite(found.values[1:]).all()


def log_one(w):
    """Log of a triangle about 1: -inf outside (0, 2)."""
    return jnp.where(jnp.abs(w - 1) < 1, jnp.log1p(-jnp.abs(w - 1)), -jnp.inf)


def test_one_number_is_a_point_whatever_holds_it():
    for w in (0.0, np.float32(0), jnp.zeros(()), np.zeros((), "float64"), {"x": [0.0]}):
        found = search.hill_climb(one_hill, w)
        (params,), (path,) = jax.tree.leaves(found.params), jax.tree.leaves(found.path)
        assert params == 2.5 and params.shape == () and path.tolist() == [0, 1, 2, 2.5]
        assert jax.tree.structure(found.path) == jax.tree.structure(w)


def one_hill(w):
    return -((jax.tree.leaves(w)[0] - 2.5) ** 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_half_precision_the_points_are_those_that_were_evaluated(as_users_do, dtype):
    def g(w):  # in single precision, so that digits that the points cannot hold would be seen
        return -jnp.sum((w.astype("float32") - 1.3) ** 2)

    found = search.hill_climb(g, jnp.zeros(2, dtype), step=0.3, max_evaluations=400)
    assert found.params.dtype == found.path.dtype == dtype and found.status == Status.STOPPED_EARLY
    np.testing.assert_allclose(np.float32(found.params), 1.3, atol=0.01)
    np.testing.assert_allclose(-np.sum((np.float32(found.path) - 1.3) ** 2, axis=1), found.values, rtol=1e-5, atol=1e-6)


def test_a_climb_of_many_numbers_goes_in_chunks(monkeypatch):
    monkeypatch.setattr(_flat, "_TOGETHER", 100)
    found = search.hill_climb(lambda w: -jnp.sum((w - 1) ** 2), np.zeros(23, "float32"), smallest_step=0.5)
    assert found.value == 0 and len(found.path) == 24 and found.evaluations == 1 + 46 * 25
    np.testing.assert_array_equal(found.path.sum(axis=1), range(24))
    assert np.all(found.path[5] == (np.arange(23) < 5))  # the first of equals


def test_a_climb_can_be_transformed_and_then_keeps_its_rows():
    def climb(w):
        return search.hill_climb(rosenbrock, w, max_evaluations=201, smallest_step=0.05)

    starts = jnp.array([[-1.2, 1.0], [0.0, 0.5], [1.0, 1.0]])
    many = jax.vmap(climb)(starts)
    assert many.path.shape == (3, 51, 2) and many.evaluations.shape == (3,)
    for i, w in enumerate(starts):
        one = climb(w)
        rows = len(one.values)
        np.testing.assert_allclose(many.path[i, :rows], one.path, rtol=1e-5)
        assert np.isnan(many.path[i, rows:]).all() and np.isnan(many.values[i, rows:]).all()
        assert (many.evaluations[i], many.status[i]) == (one.evaluations, one.status)


def test_without_its_path_a_climb_is_the_same():
    whole, ends = (search.hill_climb(rosenbrock, jnp.array([-1.2, 1.0]), keep_path=keep) for keep in (True, False))
    np.testing.assert_array_equal(ends.path, whole.path[[0, -1]])
    np.testing.assert_array_equal(ends.values, whole.values)
    np.testing.assert_array_equal(ends.params, whole.params)


def test_one_trace_serves_all_starts_steps_and_keys():
    options = {"neighbours": "random", "max_evaluations": 50}
    search.hill_climb(hill, jnp.zeros(4), key=0, **options)
    search.gradient_ascent(hill, jnp.zeros(4), optax.sgd, learning_rate=0.1, num_steps=5)
    search.random_search(hill, jnp.zeros(4), 1.0, 20, 0)
    with jax_log() as log:
        search.hill_climb(hill, np.ones(4, "float32"), key=7, step=0.5, shrink=0.3, smallest_step=0.1, **options)
        search.gradient_ascent(hill, jnp.ones(4), optax.sgd, learning_rate=0.2, num_steps=5)
        search.gradient_ascent(hill, jnp.ones(4), optax.sgd, learning_rate=np.float64(0.3), num_steps=5, tolerance=1)
        search.random_search(hill, jnp.ones(4), 2.0, 20, 1)
    assert [log.traced(name) for name in ("_climb", "_ascend", "_search")] == [0, 0, 0]


# -------------------------------------------------------------------------------------------------------- random search


def test_random_search_keeps_what_was_higher_than_all_before():
    g = Counted(bad=lambda w: w[0] > 2.2)
    found = search.random_search(g, np.zeros(2, "float32"), 1.5, 200, key=4)
    assert found.evaluations == len(g.points) == 201 and found.status == Status.MAX_EPOCHS
    records, best = [], -np.inf
    for w in g.points:
        value = np.nan if w[0] > 2.2 else -np.sum((w - 2) ** 2)
        if value > best:
            records.append(w)
            best = value
    np.testing.assert_array_equal(found.path, records)
    np.testing.assert_array_equal(found.params, records[-1])
    assert found.value == best == found.values[-1] and len(records) > 3
    spread = np.stack(g.points[1:])
    assert np.all(np.abs(spread.mean(axis=0)) < 4 * 1.5 / 200**0.5) and np.allclose(spread.std(axis=0), 1.5, rtol=0.2)


def test_random_search_never_returns_less_than_the_start():
    for keep in (True, False):
        found = search.random_search(hill, np.float32(TOP), 1.0, 20, key=0, keep_path=keep)
        np.testing.assert_array_equal(found.params, TOP)
        assert found.value == 0 and np.all(found.path == TOP) and found.values.tolist() == [0]
    whole, ends = (search.random_search(hill, jnp.zeros(4), 1.0, 20, 0, keep_path=keep) for keep in (True, False))
    assert len(whole.path) > 2
    np.testing.assert_array_equal(ends.path, whole.path[[0, -1]])
    np.testing.assert_array_equal(ends.values, whole.values)


def test_random_search_can_be_transformed():
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.vmap(lambda key: search.random_search(hill, jnp.zeros(4), 1.0, 20, key))(keys)
    one = search.random_search(hill, jnp.zeros(4), 1.0, 20, keys[1])
    np.testing.assert_allclose(many.path[1, : len(one.path)], one.path, rtol=1e-6)
    assert many.path.shape == (2, 21, 4) and np.isnan(many.path[1, len(one.path) :]).all()


# ------------------------------------------------------------------------------------------------------ gradient ascent


def test_ascent_on_a_quadratic_is_the_closed_form(x64):
    found = search.gradient_ascent(hill, START, optax.sgd, learning_rate=0.3, num_steps=20)
    want = TOP + (1 - 0.3 * CURVES) ** np.arange(21)[:, None] * (START - TOP)
    np.testing.assert_allclose(found.path, want, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.values, -0.5 * np.sum(CURVES * (want - TOP) ** 2, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.gradient_norms, np.linalg.norm(CURVES * (want - TOP), axis=1), rtol=1e-12)
    assert found.status == Status.MAX_EPOCHS and found.evaluations == 21
    np.testing.assert_array_equal(found.params, found.path[-1])


def test_below_two_over_the_curvature_it_converges_and_one_per_cent_above_it_diverges(x64):
    limit = 2 / CURVES.max()
    climb = lambda rate: search.gradient_ascent(  # noqa: E731
        hill, START, optax.sgd, learning_rate=rate, num_steps=20_000, keep_path=False, tolerance=1e-6
    )
    found = jax.vmap(climb)(jnp.array([0.99, 1.01]) * limit)
    assert found.status.tolist() == [Status.CONVERGED, Status.DIVERGED]
    np.testing.assert_allclose(found.params[0], TOP, atol=1e-5)
    assert np.all(np.isfinite(found.params)) and found.evaluations[1] < 20_000
    assert 0 < found.evaluations[0] < 2000


def test_rates_can_be_mapped_over_and_give_what_each_gives_alone():
    rates = jnp.array([0.01, 0.1, 0.3])
    climb = lambda rate: search.gradient_ascent(rosenbrock, w, optax.adam, learning_rate=rate, num_steps=30)  # noqa: E731
    w = jnp.array([-1.2, 1.0])
    many = jax.vmap(climb)(rates)
    assert many.path.shape == (3, 31, 2) and many.status.tolist() == [Status.MAX_EPOCHS] * 3
    for i, rate in enumerate(rates):
        np.testing.assert_allclose(many.path[i], climb(rate).path, rtol=1e-3, atol=1e-4)


def test_a_line_search_and_curvature_find_the_top_of_a_bent_ridge():
    found = search.gradient_ascent(rosenbrock, jnp.array([-1.2, 1.0]), optax.lbfgs(), num_steps=100, tolerance=1e-4)
    assert found.status == Status.CONVERGED and len(found.values) < 60 and found.gradient_norms[-1] <= 1e-4
    np.testing.assert_allclose(found.params, [1, 1], atol=1e-3)
    assert np.all(found.gradient_norms[:-1] > 1e-4) and len(found.path) == len(found.values) == found.evaluations


def test_a_run_that_diverges_stops_at_the_last_finite_point():
    found = search.gradient_ascent(hill, jnp.zeros(4), optax.sgd, learning_rate=1e8, num_steps=50)
    assert found.status == Status.DIVERGED and len(found.values) < 10
    assert not np.isfinite(found.values[-1]) and np.isfinite(found.values[:-1]).all()
    np.testing.assert_array_equal(found.params, found.path[-2])
    assert found.value == found.values[-2]


def test_a_gradient_that_is_not_finite_ends_a_run_too():
    found = search.gradient_ascent(lambda w: -jnp.sqrt(jnp.abs(w)), 0.0, optax.sgd, learning_rate=0.1, num_steps=5)
    assert found.status == Status.DIVERGED and found.values.tolist() == [0] and found.params == 0


def test_without_a_tolerance_no_run_claims_to_have_converged():
    found = search.gradient_ascent(hill, np.float32(TOP), optax.sgd, learning_rate=0.1, num_steps=5)
    assert found.status == Status.MAX_EPOCHS and np.all(found.gradient_norms == 0) and len(found.path) == 6
    found = search.gradient_ascent(hill, np.float32(TOP), optax.sgd, learning_rate=0.1, num_steps=5, tolerance=1e-3)
    assert found.status == Status.CONVERGED and found.evaluations == 1 and found.path.shape == (1, 4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_climbs_and_counts(method):
    found = search.gradient_ascent(
        hill, jnp.zeros(4), optax.sgd, learning_rate=0.1, num_steps=60, method=method, key=0, samples=4
    )
    each = {"reverse": 1, "forward": 4, "one_sided": 5, "central": 9, "spsa": 9}[method]
    assert found.evaluations == 61 * each
    assert found.value > 0.01 * found.values[0]


def test_black_boxes_are_climbed_by_their_values():
    g = Counted()
    found = search.gradient_ascent(
        g, np.zeros(2, "float32"), optax.sgd, learning_rate=0.25, num_steps=8, method="central"
    )
    assert found.evaluations == len(g.points) == 9 * 5
    np.testing.assert_allclose(found.params, 2 - 2 * 0.5**8, rtol=1e-3)


def test_spsa_draws_anew_at_every_step_and_a_key_repeats_it():
    run = lambda key: search.gradient_ascent(  # noqa: E731
        straight, jnp.zeros(3), optax.sgd, learning_rate=1.0, num_steps=10, method="spsa", key=key
    )
    moves = np.round(np.diff(run(0).path, axis=0))
    assert len(np.unique(moves, axis=0)) > 1
    np.testing.assert_array_equal(run(0).path, run(0).path)
    assert np.any(run(0).path != run(1).path)


def test_it_is_full_batch_ascent_where_g_is_a_log_likelihood():
    ds = jaxnn.data.load("iris")
    objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical, l2=0.01)
    w = objective.model.init(0)
    found = search.gradient_ascent(lambda w: objective(w, ds.batch), w, optax.adam, learning_rate=0.1, num_steps=10)
    state = jaxnn.init_state(objective, optax.adam, w, learning_rate=0.1)
    for _ in range(10):
        state, _ = jaxnn.ascent_step(objective, optax.adam, state, ds)
    np.testing.assert_allclose(flat(found.params), flat(state.params), rtol=1e-4, atol=1e-5)
    assert found.path[0].kernel.shape == (11, 4, 3)


def test_half_precision_ascends_and_stays_half():
    found = search.gradient_ascent(
        lambda w: -jnp.sum((w - 1) ** 2), jnp.zeros(2, "bfloat16"), optax.adam, learning_rate=0.1, num_steps=40
    )
    assert found.params.dtype == found.path.dtype == jnp.bfloat16 and found.values[-1] > -0.05


def test_a_large_gradient_has_a_norm():
    found = search.gradient_ascent(linear([3e30, 4e30]), jnp.zeros(2), optax.sgd, learning_rate=0.0, num_steps=1)
    np.testing.assert_allclose(found.gradient_norms, 5e30, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------- refused

ASCENT = {"optimizer": optax.sgd, "learning_rate": 0.1}
W = jnp.zeros(2)


def pair(w):
    return w[0], w[1]


def broken(w):
    raise RuntimeError("no such file\nat all")


def python(w):
    return float(w[0])


def integer(w):
    return jnp.argmax(w)


def vector(w):
    return w * 2


CALLS = {
    "derivative": lambda g=straight, w=W, **more: search.derivative(g, w, **more),
    "steepest_direction": lambda g=straight, w=W, epsilon=1.0, **more: search.steepest_direction(g, w, epsilon, **more),
    "hill_climb": lambda g=straight, w=W, **more: search.hill_climb(g, w, **more),
    "random_search": lambda g=straight, w=W, scale=1.0, num_samples=9, key=0, **more: search.random_search(
        g, w, scale, num_samples, key, **more
    ),
    "gradient_ascent": lambda g=straight, w=W, **more: search.gradient_ascent(g, w, **(ASCENT | more)),
}


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize(
    "it, error, message",
    [
        ({"g": vector}, ShapeError, r"g returns one number; got shape \(2,\); return its sum, or its mean$"),
        ({"g": pair}, ShapeError, r"g returns one number; got \(Shape.*; return its sum"),
        ({"g": integer}, DtypeError, r"g returns a floating-point number; got int32; cast it"),
        (
            {"g": broken},
            ConfigError,
            r"g is a function of w that JAX can trace; got RuntimeError: no such file; write it with jax.numpy for a w "
            r"like this one, or wrap it in jax.pure_callback \(the cause stands above\)$",
        ),
        ({"g": python}, ConfigError, r"g is a function of w that JAX can trace; got ConcretizationTypeError: "),
        ({"g": 3}, ConfigError, r"g is a function of w; got g=3; pass lambda w: objective\(w, batch\), say$"),
        (
            {"g": jaxnn.LogLikelihood(jaxnn.Linear(2, 1), jaxnn.bernoulli, l2=np.ones(1))},
            ConfigError,
            r"g is compiled in, so it is hashable; got g=LogLikelihood; pass lambda w: g\(w\)$",
        ),
        ({"w": np.arange(3)}, DtypeError, r"w holds floating-point numbers; got w of type int64; use jnp.asarray"),
        ({"w": {"a": W, "n": 3}}, DtypeError, r"w holds floating-point numbers; got n of type int; use"),
        ({"w": W.astype(complex)}, DtypeError, r"w holds floating-point numbers; got w of type complex64"),
        ({"w": ()}, ShapeError, r"there is a number to move; got w=\(\); pass a pytree of arrays$"),
        ({"w": {"a": np.zeros((0, 3))}}, ShapeError, r"there is a number to move; got"),
    ],
)
def test_what_is_no_function_of_a_point_is_refused(wrong_types, verb, it, error, message):
    with jax_log() as log, pytest.raises(error, match=f"^{verb}: {message}"):
        CALLS[verb](**it)
    assert not any(log.compiled(name) for name in ("_derivative", "_steepest", "_climb", "_search", "_ascend"))


def test_an_error_of_ours_inside_a_function_is_not_wrapped():
    with pytest.raises(ShapeError, match=r"^log likelihood: a mean is over one example or more"):
        objective = jaxnn.from_function(lambda w, x, y: jnp.sum(w))
        search.derivative(lambda w: objective(w, jaxnn.Batch(np.zeros((0, 1)), np.zeros(0))), W)


@pytest.mark.parametrize("verb", ["hill_climb", "random_search", "gradient_ascent"])
def test_a_start_that_is_none_is_refused(verb):
    with pytest.raises(NonFiniteError, match=rf"^{verb}: w0 is finite; got w0\[1\]=nan; start from finite"):
        CALLS[verb](w=jnp.array([0.0, jnp.nan]))
    starts = {-1: "nan", 2: "inf"} | ({0: "-inf"} if verb == "gradient_ascent" else {})
    for at, value in starts.items():
        with pytest.raises(NonFiniteError, match=rf"^{verb}: g\(w0\) is a number to climb from; got g\(w0\)={value}; "):
            CALLS[verb](g=cliffs, w=jnp.full(2, at, "float32"))


def cliffs(w):
    """NaN below 0, -inf at 0, +inf above 1."""
    return jnp.where(w[0] > 1, jnp.inf, jnp.log(w[0]))


@pytest.mark.parametrize("verb", ["hill_climb", "random_search", "gradient_ascent"])
def test_under_a_transformation_such_a_start_is_told_by_its_status(verb):
    found = jax.vmap(lambda w: CALLS[verb](g=log_sum, w=w))(jnp.array([[-1.0, 2.0]]))
    assert found.status[0] == Status.DIVERGED
    np.testing.assert_array_equal(found.params, [[-1, 2]])


@pytest.mark.parametrize(
    "verb, it, error, message",
    [
        ("derivative", {"method": "magic"}, ConfigError, r"method is one of reverse, forward, .*; got method='magic'"),
        ("derivative", {"method": "spsa"}, ConfigError, r"spsa draws its directions; got key=None; pass key=0, or"),
        ("derivative", {"method": "spsa", "key": 0.5}, ConfigError, r"key is an int seed or a typed key; got key=0.5"),
        ("derivative", {"step": 0}, ConfigError, r"step is a finite number > 0, in float32, too; got step=0"),
        ("derivative", {"samples": 0}, ConfigError, r"samples is a whole number >= 1; got samples=0"),
        ("gradient_ascent", {"keep_path": 1}, ConfigError, r"keep_path is True or False; got keep_path=1; pass one"),
        (
            "gradient_ascent",
            {"num_steps": 10**8, "method": "central", "samples": 1, "keep_path": False, "w": jnp.zeros(50)},
            ConfigError,
            r"a search counts fewer than 2\*\*31 evaluations; got num_steps=100,000,000, 101 each; take",
        ),
        ("steepest_direction", {"norm": "l3"}, ConfigError, r"norm is one of l2, l1, linf; got norm='l3'"),
        ("steepest_direction", {"epsilon": -1}, ConfigError, r"epsilon is a finite number > 0"),
        ("hill_climb", {"rule": "worst"}, ConfigError, r"rule is one of best, first; got rule='worst'"),
        ("hill_climb", {"neighbours": "all"}, ConfigError, r"neighbours is one of axes, random; got neighbours='all'"),
        ("hill_climb", {"step": np.inf}, ConfigError, r"step is a finite number > 0"),
        ("hill_climb", {"shrink": 1.0}, ConfigError, r"shrink is below 1, in float32, too; got shrink=1.0; pass 0.5$"),
        ("hill_climb", {"shrink": 1 - 1e-12}, ConfigError, r"shrink is below 1, in float32, too"),
        (
            "hill_climb",
            {"smallest_step": 2.0},
            ConfigError,
            r"the smallest step is not above the first; got smallest_step=2",
        ),
        ("hill_climb", {"directions": 3}, ConfigError, r"along the axes there are 2P neighbours; got directions=3"),
        ("hill_climb", {"neighbours": "random"}, ConfigError, r"random neighbours are drawn; got key=None; pass key=0"),
        ("hill_climb", {"neighbours": "random", "key": 0, "directions": 0}, ConfigError, r"directions is a whole"),
        (
            "hill_climb",
            {"max_evaluations": 4},
            ConfigError,
            r"there are evaluations for the start and one round; got "
            "max_evaluations=4, a round takes 4; pass 5 or more",
        ),
        ("hill_climb", {"rule": "first", "max_evaluations": 1}, ConfigError, r"there are evaluations for the"),
        ("random_search", {"scale": 0.0}, ConfigError, r"scale is a finite number > 0"),
        ("random_search", {"num_samples": 0}, ConfigError, r"num_samples is a whole number >= 1"),
        ("random_search", {"key": None}, ConfigError, r"key is an int seed or a typed key; got key=None"),
        ("gradient_ascent", {"optimizer": 3}, ConfigError, r"optimizer is an optax transformation or a factory"),
        ("gradient_ascent", {"learning_rate": None}, ConfigError, r"a factory needs a rate; got learning_rate=None"),
        ("gradient_ascent", {"optimizer": optax.lbfgs()}, ConfigError, r"the rate is given once; got"),
        ("gradient_ascent", {"num_steps": 0}, ConfigError, r"num_steps is a whole number >= 1; got num_steps=0"),
        ("gradient_ascent", {"tolerance": -1.0}, ConfigError, r"tolerance is a finite number >= 0"),
        (
            "gradient_ascent",
            {"tolerance": 0.1, "method": "central"},
            ConfigError,
            r"a tolerance needs exact gradients; got tolerance=0.1 with "
            "method='central'; pass method='reverse', or leave tolerance out$",
        ),
        (
            "hill_climb",
            {"rule": "first", "max_evaluations": 10**8},
            MemoryBudgetError,
            r"the path takes at most 1.0 GiB; got 100,000,000 points of 12 "
            "bytes, 1.1 GiB; pass keep_path=False, or fewer max_evaluations$",
        ),
        ("random_search", {"num_samples": 10**8}, MemoryBudgetError, r"the path takes at most 1.0 GiB; got"),
        ("gradient_ascent", {"num_steps": 10**8}, MemoryBudgetError, r"the path takes at most 1.0 GiB; got"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_compiled(wrong_types, verb, it, error, message):
    if error is MemoryBudgetError:
        it = it | {"w": jnp.zeros(3)}
    with jax_log() as log, pytest.raises(error, match=f"^{verb}: {message}"):
        CALLS[verb](**it)
    assert not any(log.compiled(name) for name in ("_derivative", "_steepest", "_climb", "_search", "_ascend"))


# ------------------------------------------------------------------------------------- at the edges of dtypes and plots


def rises_for_ever(w):
    return jnp.tanh(1e-5 * w.astype(jnp.float32))


@pytest.mark.parametrize("method", ["one_sided", "central", "spsa"])
def test_a_difference_over_an_infinite_step_is_not_0(method):
    w = jnp.array([3e38], "float32")
    found = search.derivative(lambda w: jnp.tanh(w[0]), w, method, step=1e38, key=0)
    assert np.isnan(found.gradient).all()


def test_a_point_beyond_its_dtype_is_never_gone_to():
    climbed = search.hill_climb(rises_for_ever, jnp.float16(0), step=1e5)
    drawn = search.random_search(rises_for_ever, jnp.float16(0), 1e5, 50, 0)
    for found in (climbed, drawn):
        assert np.isfinite(found.params) and 0 < found.value < 1


def test_a_start_whose_gradient_is_not_finite_has_its_value():
    found = search.gradient_ascent(jnp.sqrt, 0.0, optax.sgd, learning_rate=0.1)
    assert (float(found.params), float(found.value), str(found.status)) == (0.0, 0.0, "diverged")


def test_numbers_of_numpy_serve_as_numbers(x64, wrong_types):
    def g(w):
        return -jnp.sum(w**2)

    start = jnp.ones(2)
    one = search.hill_climb(g, start, neighbours="random", directions=np.int64(4), key=0, max_evaluations=np.int32(50))
    same = search.hill_climb(g, start, neighbours="random", directions=4, key=0, max_evaluations=50)
    assert one.evaluations == same.evaluations and one.value == same.value
    assert search.derivative(g, start, "spsa", key=0, samples=np.int8(100)).evaluations == 201
    assert search.random_search(g, start, 1.0, np.uint8(255), 0).evaluations == 256
    with pytest.raises(
        ConfigError, match=r"^hill_climb: directions is at most 100,000,000; got directions=2,147,483,648"
    ):
        search.hill_climb(g, start, neighbours="random", directions=2**31, key=0)


def test_a_run_that_only_falls_can_be_drawn():
    def g(w):
        return -(w**2)

    run = search.gradient_ascent(g, 1.0, optax.sgd, learning_rate=1.5, num_steps=8)
    low, high = jaxnn.plotting.ascent_path(g, run).axes[0].get_xlim()
    assert low < -8 and high > 4  # the first three steps: -2, 4, -8
