"""Newton, Gauss-Newton and L-BFGS against scikit-learn, Newton's method in extended precision, a linear programme that
decides whether there is a maximum, and NumPy.

Nearly all share one shape, 150 rows of 4 features with weights, so that each method is compiled once: rows that a case
does not need have weight 0, columns are 0.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.optimize
from compiles import jax_log

import jaxnn
from jaxnn import Batch, optimum
from jaxnn.optimum import _certificate, _certify, _curvature, _gauss_newton, _lbfgs, _line_search, _newton, _penalised

# Their programs, compiled quickly; as users compile them they run in the examples.
PROGRAMS = {
    (_certify, "ascend_by_cholesky"): ["dtype", "rows", "chunk"],
    (_certify, "penalised_certificate"): ["chunk"],
    (_newton, "ascend_by_conjugate_gradients"): ["rows"],
    (_lbfgs, "_climb"): ["memory", "rows"],
    (_gauss_newton, "_climb"): ["rows"],
}
QUICK = {at: jax.jit(getattr(*at).__wrapped__, static_argnames=names) for at, names in PROGRAMS.items()}
N, D = 150, 4
NEWTON = functools.partial(optimum.newton, max_steps=60)
EXTENDED = np.finfo(np.longdouble).eps


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    for at, program in QUICK.items():
        monkeypatch.setattr(*at, program)


@functools.cache
def iris():
    (ds,) = jaxnn.data.standardise(jaxnn.data.load("iris"))
    return np.asarray(ds.batch.x, np.float64), np.asarray(ds.batch.y)


def padded(x, y, weight=None):
    """A batch of the shared shape: absent rows hold nonsense, absent columns zeros."""
    x = np.asarray(x, np.float64).reshape(len(y), -1)
    n, d = x.shape
    rows = np.full((N, D), 1e3)
    rows[:n], rows[:n, :d], rows[:n, d:] = 0, x, 0
    w = np.zeros(N)
    w[:n] = 1 if weight is None else weight
    return Batch(rows, np.r_[y, np.zeros(N - n, int)].astype(np.int32), w)


def linear(num_outputs, l2=0.0):
    likelihood = jaxnn.bernoulli if num_outputs == 1 else jaxnn.categorical
    return jaxnn.LogLikelihood(jaxnn.Linear(D, num_outputs), likelihood, l2)


def climb(num_outputs, batch, l2=0.0, method=NEWTON, start=None, **options):
    objective = linear(num_outputs, l2)
    return method(objective, objective.model.init(0) if start is None else start, batch, **options)


def present(batch):
    some = np.asarray(batch.weight) > 0
    return tuple(np.asarray(a)[some] for a in batch)


def oracle_value(num_outputs, params, batch, l2):
    likelihood = "bernoulli" if num_outputs == 1 else "categorical"
    return oracles.objective(likelihood, params, *present(batch), l2)


def best_by_sklearn(batch, l2, solver="newton-cholesky"):
    """The optimum by scikit-learn, C = 1 / (Σ weight l2), as parameters."""
    from sklearn.linear_model import LogisticRegression

    x, y, w = batch
    found = LogisticRegression(C=1 / (np.sum(w) * l2), solver=solver, tol=1e-12, max_iter=5000).fit(x, y, w)
    return [(found.coef_.T, found.intercept_)]


def blobs(seed, n=N):
    """Two overlapping classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D)) * [1, 5, 0.1, 1] + [0, 20, 0, 3]
    y = rng.random(n) < 1 / (1 + np.exp(-(x[:, 0] + 0.2 * (x[:, 1] - 20) + 5 * x[:, 2])))
    return padded(x, y.astype(int), rng.integers(1, 4, n))


def solve(a, b):
    """Gaussian elimination in the precision of a, which NumPy's is not."""
    a, b = a.copy(), b.copy()
    for i in range(len(b)):
        j = i + np.argmax(np.abs(a[i:, i]))
        a[[i, j]], b[[i, j]] = a[[j, i]], b[[j, i]]
        factors = a[i + 1 :, i] / a[i, i]
        a[i + 1 :] -= factors[:, None] * a[i]
        b[i + 1 :] -= factors * b[i]
    for i in reversed(range(len(b))):
        b[i] = (b[i] - a[i, i + 1 :] @ b[i + 1 :]) / a[i, i]
    return b


def extended(params, batch, l2):
    """The objective at the parameters and at its maximum, by Newton's method on the softmax in extended precision.

    Two classes are a softmax with logits 0 and z. Where nothing is penalised the last class stays where it is; columns
    of zeros are left out.
    """
    x, y, w = present(batch)
    ((kernel, bias),) = [tuple(np.asarray(a, np.longdouble) for a in layer) for layer in params]
    is_logistic = len(bias) == 1
    a = np.column_stack([x, np.ones(len(y))]).astype(np.longdouble)
    used = a.any(0) | (l2 > 0)
    a, w = a[:, used], w.astype(np.longdouble) / w.astype(np.longdouble).sum()
    matrix = np.vstack([kernel, bias])[used]
    if is_logistic:  # the logit is the last class's, and the first, which is fixed, is 0
        matrix = np.column_stack([matrix[:, 0], 0 * matrix[:, 0]])
        y = 1 - y
    penalty = np.full(matrix.shape, np.longdouble(l2))
    penalty[-1] = 0
    free = np.ones(matrix.shape, bool)
    free[-1, -1] = False
    if is_logistic or l2 == 0:
        free[:, -1] = False
    free = free.ravel()

    def value_of(m):
        z = a @ m
        z = z - z.max(1, keepdims=True)
        p = np.exp(z)
        p = p / p.sum(1, keepdims=True)
        own = z[np.arange(len(y)), y] - np.log(np.exp(z).sum(1))
        return w @ own - 0.5 * np.sum(penalty * m**2), p

    start, p = value_of(matrix)
    value = start
    for _ in range(100):
        g = a.T @ (w[:, None] * (np.eye(matrix.shape[1])[y] - p)) - penalty * matrix
        curve = p[:, :, None] * np.eye(matrix.shape[1]) - p[:, :, None] * p[:, None, :]
        h = np.zeros((matrix.size, matrix.size), np.longdouble) + np.diag(penalty.ravel())
        for i, j in np.ndindex(curve.shape[1:]):
            h[i :: curve.shape[1], j :: curve.shape[1]] += (a.T * (w * curve[:, i, j])) @ a
        step = np.zeros(matrix.size, np.longdouble)
        step[free] = solve(h[np.ix_(free, free)], g.ravel()[free])
        gain, t = g.ravel() @ step, np.longdouble(1)
        if gain < EXTENDED**1.1:
            return start, value + gain / 2
        while (
            not (new := value_of(matrix + t * step.reshape(matrix.shape)))[0] >= value + 1e-4 * t * gain - 8 * EXTENDED
        ):
            t = t / 2
        matrix, (value, p) = matrix + t * step.reshape(matrix.shape), new
    raise AssertionError("no maximum found")


def is_separated(x, y):
    """Whether a direction has every margin z_y - z_k >= 0 and one > 0: a linear programme (Albert & Anderson 1984)."""
    a, num_classes = np.column_stack([x, np.ones(len(y))]), max(y) + 1
    each = np.einsum("ik,id->ikd", np.eye(num_classes)[y], a)[:, None] - np.einsum(
        "jk,id->ijkd", np.eye(num_classes), a
    )
    margins = each.reshape(len(y) * num_classes, -1)
    best = scipy.optimize.linprog(-margins.sum(0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1))
    return -best.fun > 1e-7


# ---------------------------------------------------------------------------------------------------- the right maximum


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_softmax_regression_on_iris_is_scikit_learns(x64, l2, solver):
    batch = padded(*iris())
    found = climb(3, batch, l2, solver=solver, tolerance=1e-11)
    want = oracle_value(3, best_by_sklearn(batch, l2, "lbfgs"), batch, l2)
    assert found.converged and found.gap <= 1e-11 and str(found.status) == "converged"
    assert -1e-12 < found.value - want < 1e-8  # lbfgs leaves a little
    assert abs(found.value - oracle_value(3, found.params, batch, l2)) < 1e-13
    assert found.history["value"][-1] == pytest.approx(found.value, abs=1e-9) and len(found.history["value"]) > 2
    np.testing.assert_allclose(found.params[0].kernel.sum(1), 0, atol=1e-6)


def test_logistic_regression_is_scikit_learns(x64):
    batch = blobs(0)
    found = climb(1, batch, 1e-4, solver="cholesky", tolerance=1e-16)
    ((kernel, bias),) = best_by_sklearn(batch, 1e-4)
    assert found.converged
    np.testing.assert_allclose(found.params[0].kernel, kernel, atol=1e-6)
    np.testing.assert_allclose(found.params[0].bias, bias, atol=1e-6)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_float32_parameters_are_proven_as_they_are_returned(solver):
    batch, l2 = padded(*iris()), 0.1  # which float32 has not
    found = climb(3, batch, l2, solver=solver, tolerance=1e-7)
    assert found.params[0].kernel.dtype == found.params[0].bias.dtype == np.float32 and found.converged
    exact = batch._replace(x=batch.x.astype(np.float32))
    start, best = extended(found.params, exact, l2)
    assert abs(start - found.value) < 1e-14 and 0 <= best - start <= found.gap
    assert climb(3, batch, l2, solver=solver, tolerance=1e-30, max_steps=20).gap > 1e-17  # of rounded parameters


def test_gaussian_targets_are_least_squares_in_one_step(x64):
    batch = blobs(1)
    y = np.asarray(batch.x)[:, :2] @ [1.0, -0.3] + 2 + np.random.default_rng(0).normal(size=N)
    objective = jaxnn.LogLikelihood(jaxnn.Linear(D, 1), jaxnn.Gaussian(2.0))
    found = NEWTON(objective, objective.model.init(0), batch._replace(y=y))
    rows = np.column_stack([batch.x, np.ones(N)]) * np.sqrt(batch.weight)[:, None]
    want = np.linalg.lstsq(rows, y * np.sqrt(batch.weight), rcond=None)[0]
    assert found.converged and found.steps == 1 and found.gap > 1e-28  # rounding is counted
    np.testing.assert_allclose(np.append(found.params[0].kernel, found.params[0].bias), want, atol=1e-8)


# ------------------------------------------------------------------------------------------------- the claim is a proof


def hard_case(seed):
    """A problem that rounding or near separation makes hard, a start, and how to climb: outputs, batch, l2, options."""
    rng = np.random.default_rng(seed)
    num_outputs, n, d = (1, 3)[seed % 2], rng.integers(12, 60), rng.integers(1, D + 1)
    x = rng.normal(size=(n, d)) * (10.0 ** rng.uniform(-4, 4, d) if seed % 3 == 0 else 1)
    x += (seed % 5 == 0) * 1e3 * x.std(0)
    logits = (x / x.std(0)) @ rng.normal(size=(d, 3)) * rng.choice([0.3, 2, 30])
    y = np.argmax(logits + rng.gumbel(size=(n, 3)), 1)
    y[:4], y[-4:] = [0, 1, 2, 0], [0, 1, 2, 0]
    y = y if num_outputs > 1 else y % 2
    weight = 10.0 ** rng.uniform(-4, 2, n) if seed % 4 == 0 else np.ones(n)
    l2 = rng.choice([0, 0, 1e-8, 1e-3, 1.0])
    start = jax.tree.map(
        lambda a: a + rng.choice([0, 0, 1]) * rng.normal(size=a.shape), linear(num_outputs).model.init(0)
    )
    method = [NEWTON, NEWTON, optimum.lbfgs, optimum.gauss_newton][rng.integers(4)]
    solver = {"solver": "cholesky" if l2 == 0 else str(rng.choice(["cholesky", "cg"]))} if method is NEWTON else {}
    limit = int(rng.choice([1, 3, 60, 60, 60]))
    return num_outputs, padded(x, y, weight), l2, start, method, {"max_steps": limit, **solver}


def test_no_gap_that_is_claimed_is_too_small(x64):
    finite = converged = 0
    for seed in range(60):
        num_outputs, batch, l2, start, method, options = hard_case(seed)
        tolerance = 10.0 ** np.random.default_rng(seed).uniform(-14, -1)
        found = climb(num_outputs, batch, l2, start=start, method=method, tolerance=tolerance, **options)
        assert found.converged == (found.gap <= tolerance)
        if found.gap < np.inf:
            value, best = extended(found.params, batch, l2)
            assert best - value <= found.gap + 200 * EXTENDED * (1 + abs(value)), (seed, best - value, found.gap)
            assert abs(value - found.value) <= 1e-13 * (1 + abs(value)), seed
            finite, converged = finite + 1, converged + found.converged
    assert finite > 36 and converged > 24


def test_the_curvature_of_a_softmax_keeps_its_digits(x64):
    """uᵀ A u of examples that are almost certain: from diag(p) - p pᵀ it would be all rounding."""
    p = np.array([[1.0, 1e-20, 3e-20], [2e-30, 1.0, 1e-25], [0.25, 0.25, 0.5]])
    basis = _curvature.basis_of(True, 3)
    got = jax.jit(_curvature.matrices)(jaxnn.categorical, p.T, basis)
    weight = np.array([1.0, 2.0, 0.0])  # the third would hide the others
    mean = jax.jit(_curvature.mean_matrix)(jaxnn.categorical, p.T, weight, basis)
    for u in (np.array([1.0, 0]), np.array([0, 1.0]), np.array([2.0, -0.7])):
        v = basis @ u
        want = sum(p[:, k] * p[:, m] * (v[k] - v[m]) ** 2 for k in range(3) for m in range(k))
        np.testing.assert_allclose(np.einsum("i,ijn,j->n", u, got, u), want, rtol=1e-13)
        np.testing.assert_allclose(u @ np.asarray(mean) @ u, weight @ want, rtol=1e-13)


def test_the_bound_on_h_and_the_length_of_the_path_hold():
    """The two numbers that stand for functions in the proofs: h(a) <= ½ + a/4 and 1.66, up to a = ½."""
    a = np.linspace(1e-3, 0.5, 500)
    s = -np.log1p(-a)
    assert ((a + (1 - a) * np.log1p(-a)) / a**2 <= 0.5 + a / 4).all()
    assert ((s / a) * np.expm1(s / 2) / (s / 2) <= _penalised.PATH).all()
    assert np.isinf(_certificate.gap_of(jnp.ones(2), jnp.array([0.501, np.nan]))).all()


def test_a_step_grows_while_it_gains(x64):
    lengthen = jax.jit(lambda peak, t: _line_search.lengthen(lambda t: -((t - peak) ** 2), t, -((t - peak) ** 2), 1e-9))
    lengths = 1.5 ** np.arange(11)
    for peak, t in ((0.9, 1.0), (3.0, 1.0), (20.0, 1.0), (1e9, 1.0), (1.0, 0.5), (1.0, 0.0)):
        nearest = lengths[np.argmax(-((lengths - peak) ** 2))]
        assert np.isclose(lengthen(peak, t), nearest if t == 1 else t)
    assert lengths[-1] <= _line_search.LONGEST < 1.5 * lengths[-1]  # what 1e9 gets


def test_where_rounding_could_decide_nothing_is_proven(x64):
    """A Hessian whose factor has lost its digits, from two columns that are nearly one; its ratio is small enough."""
    column, noise = np.random.default_rng(0).normal(size=(2, 50))
    certify = jax.jit(_certificate.dense_certificate)
    for apart, is_proven in ((1e-3, True), (1e-7, False)):
        rows = np.column_stack([column, column + apart * noise])
        hessian = rows.T @ rows / 50
        gap, ratio = certify(
            jaxnn.bernoulli,
            np.linalg.cholesky(hessian),
            hessian,
            rows.T,
            np.full(2, 1e-10),
            np.float64(0),
            np.float64(1e-9),
        )
        assert np.isfinite(gap) == is_proven and np.isfinite(ratio) == is_proven


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_the_bound_holds_far_from_the_maximum(x64, solver):
    batch, l2 = padded(*iris()), 0.05
    best = climb(3, batch, l2, tolerance=1e-12, solver=solver)
    for steps in (1, 2, 3):
        found = optimum.newton(linear(3, l2), linear(3).model.init(0), batch, max_steps=steps, solver=solver)
        assert found.status == jaxnn.Status.MAX_EPOCHS and not found.converged and "took all" in found.message
        assert best.value - found.value <= found.gap
        assert solver == "cholesky" or found.gap < 1


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_it_converges_exactly_where_a_linear_programme_finds_no_separation(x64, num_outputs):
    separated = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        x, y = rng.integers(-2, 3, size=(14 + seed, 3)), rng.integers(0, max(2, num_outputs), 14 + seed)
        if seed % 2:  # many of these are separated, or touch
            side = x @ [2, -1, 1] + (rng.random(len(y)) < 0.1) * rng.choice([-1, 1], len(y))
            y = np.where(side > 0, y if num_outputs > 1 else 1, 0)
        y[: max(2, num_outputs)] = range(max(2, num_outputs))
        found = climb(num_outputs, padded(x, y))
        separated += is_separated(x, y)
        assert found.converged == (not is_separated(x, y)), (seed, found.message)
        if not found.converged:
            assert found.gap == np.inf and "add a penalty" in found.message
    assert 4 <= separated <= 20


def test_saturated_classes_that_overlap_elsewhere_are_never_certified(x64):
    """From a start where one part of the data is certain to the last bit, its curvature is all rounding."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x, y = np.zeros((40, 2)), rng.integers(0, 3, 40)
        x[:20, 0], y[:20] = np.repeat([1.0, -1.0], 10), np.repeat(rng.choice(3, 2, replace=False), 10)
        x[20:, 1] = rng.normal(size=20)
        kernel = np.zeros((D, 3))
        kernel[0, y[0]], kernel[0, y[10]] = rng.uniform(15, 60) * np.array([1, -1])
        start = (type(linear(3).model.init(0)[0])(kernel, np.zeros(3)),)
        assert is_separated(x, y)
        assert climb(3, padded(x, y), start=start, tolerance=10.0 ** -rng.integers(1, 13)).gap == np.inf


LINE = np.array([-2.0, -1, -0.5, 0.5, 1, 2])
NO_MAXIMUM = {
    "separated": (LINE, [0, 0, 0, 1, 1, 1], "diverged", "the classes are separated"),
    "separated by a hair": (LINE + 1e6, [0, 0, 0, 1, 1, 1], "diverged", "the classes are separated"),
    "touching": (
        [-2.0, -1, 0, 0, 1, 2],
        [0, 0, 0, 1, 1, 1],
        "max_epochs",
        "in part: take more steps, or add a penalty",
    ),
    "one class": (LINE, [1] * 6, "diverged", "class 0 has no example"),
}


@pytest.mark.parametrize("case", NO_MAXIMUM)
def test_without_a_maximum_nothing_is_claimed(x64, case):
    x, y, status, text = NO_MAXIMUM[case]
    found = climb(1, padded(x, y))
    assert not found.converged and found.gap == np.inf
    assert str(found.status) == status and text in found.message
    with_penalty = climb(1, padded(x, y), 0.1)
    assert with_penalty.converged == (case != "one class")  # biases are not penalised


def test_extremes_of_size_end_with_a_word(x64):
    batch = blobs(0)
    for scale in (1e-200, 1e150):
        found = climb(1, batch._replace(x=(batch.x - [0, 20, 0, 3]) * scale))
        assert found.converged and found.gap <= 1e-9
    penalised = climb(1, batch._replace(x=batch.x * 1e200), 0.1, solver="cg")
    assert not penalised.converged and penalised.gap == np.inf and np.isfinite(penalised.params[0].kernel).all()
    saturated = jax.tree.map(lambda a: a + 1e5, linear(1).model.init(0))
    found = climb(1, batch, start=saturated)
    assert not found.converged and found.gap == np.inf and "start from model.init(0)" in found.message
    exact = climb(1, batch, tolerance=1e-30)
    assert not exact.converged and exact.steps < 20 and exact.gap < 1e-20 and "without a further gain" in exact.message


def test_one_separated_class_of_three_is_no_maximum(x64):
    found = climb(3, padded(*iris()))  # setosa
    assert not found.converged and found.gap == np.inf
    other = climb(3, padded(*iris()), method=optimum.lbfgs)
    assert not other.converged and other.gap == np.inf
    absent = climb(3, padded(iris()[0], iris()[1] % 2), 0.1)
    assert str(absent.status) == "diverged" and "class 2 has no example" in absent.message and absent.steps == 0
    assert np.isfinite(np.asarray(absent.params[0].bias)).all()


# --------------------------------------------------------------------------------------------------------- invariances


def test_redundant_directions_are_left_alone(x64):
    batch = padded(blobs(3).x[:100, :2], np.arange(100) % 3)
    x = np.array(batch.x)
    x[:, 2], x[:, 3] = 7.0, x[:, 0] - x[:, 1]  # a constant, and what two others say
    plain, redundant = (climb(3, b, tolerance=1e-12) for b in (batch, batch._replace(x=x)))
    assert plain.converged and redundant.converged
    assert redundant.value == pytest.approx(plain.value, abs=1e-12)
    start = jax.tree.map(lambda a: a + 5.0, linear(3).model.init(0))  # one number added to all classes
    moved = climb(3, batch, start=start, tolerance=1e-12)
    np.testing.assert_allclose(moved.params[0].kernel - plain.params[0].kernel, 5, atol=1e-4)
    np.testing.assert_allclose(moved.params[0].bias - plain.params[0].bias, 5, atol=1e-4)


def test_scaling_and_shifting_features_changes_nothing_without_a_penalty(x64):
    batch = blobs(4)
    found, scaled = (
        climb(1, batch._replace(x=x), tolerance=1e-12) for x in (batch.x, (batch.x + 9) * [1e6, 1, 1e-5, 1])
    )
    assert found.converged and scaled.converged and found.steps == scaled.steps
    assert scaled.value == pytest.approx(found.value, abs=1e-11)
    assert scaled.gap == pytest.approx(found.gap, abs=1e-13)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_a_weight_is_a_repetition(x64, solver):
    x, y = (a[::3] for a in iris())
    times = np.arange(50) % 3 + 1
    rows = np.repeat(np.arange(50), times)
    weighted = climb(3, padded(x, y, times), 0.01, solver=solver, tolerance=1e-12)
    repeated = climb(3, padded(x[rows], y[rows]), 0.01, solver=solver, tolerance=1e-12)
    assert weighted.value == pytest.approx(repeated.value, abs=1e-11)
    np.testing.assert_allclose(weighted.params[0].kernel, repeated.params[0].kernel, atol=1e-4)


def test_penalties_and_data_of_one_shape_share_a_program(x64):
    for solver in ("cholesky", "cg"):
        climb(3, padded(*iris()), 0.3, solver=solver)
        with jax_log() as log:
            for l2, scale in ((0.2, 1.0), (0.02, 2.0), (0.0, 1.0)):
                climb(3, padded(iris()[0] * scale, iris()[1]), l2, solver=solver, tolerance=1e-3 * scale)
        assert log.compiled() == 0, log


# ------------------------------------------------------------------------------------------------- networks, functions


def test_lbfgs_certifies_a_linear_model_as_newton_does(x64):
    batch = padded(*iris())
    found, best = climb(3, batch, 0.01, method=optimum.lbfgs, tolerance=1e-8), climb(3, batch, 0.01)
    assert found.converged and found.gap <= 1e-8 and 0 <= best.value - found.value + 1e-9 <= found.gap + 2e-9
    assert found.evaluations >= found.steps > 5


def quadratic(w, x, y):
    return -0.5 * jnp.sum((w - x) ** 2 * jnp.array([1.0, 100.0])) + 0 * y


def test_lbfgs_climbs_any_function_and_claims_no_maximum(x64):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = optimum.lbfgs(jaxnn.from_function(quadratic), np.zeros(2), Batch(x, np.zeros(2)), gradient_tolerance=1e-9)
    np.testing.assert_allclose(found.params, [2, 3], atol=1e-9)
    assert str(found.status) == "stopped_early" and "stationary" in found.message and found.gap == np.inf
    assert found.gradient_norm <= 1e-9 and np.isnan(found.decrement)


def test_gauss_newton_climbs_a_regression_higher_than_lbfgs_in_fewer_steps(x64):
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (N, 1))
    batch = Batch(x, np.sin(2 * x[:, 0]), rng.integers(1, 3, N).astype(float))
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((1, 20, 1)), jaxnn.gaussian, 1e-6)
    start = objective.model.init(3)
    found = optimum.gauss_newton(objective, start, batch, gradient_tolerance=1e-3)
    other = optimum.lbfgs(objective, start, batch, gradient_tolerance=1e-3, max_steps=found.steps)
    assert found.steps < 200
    gradient = oracles.gradient("gaussian", found.params, *batch, l2=1e-6, activations=["tanh"])
    norm = np.sqrt(sum(np.sum(a**2) for layer in gradient for a in layer))
    assert norm < 1e-3 and found.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert not found.converged and "proves no maximum" in found.message and found.gap == np.inf
    assert found.value > other.value
    assert (np.diff(found.history["value"]) >= -1e-14).all() and len(found.history["value"]) == found.steps + 1
    assert found.history["value"][-1] == found.value


def test_out_of_steps_and_not_finite_are_said(x64):
    objective = jaxnn.from_function(quadratic)
    batch = Batch(np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros(2))
    found = optimum.lbfgs(objective, np.zeros(2), batch, max_steps=1)
    assert str(found.status) == "max_epochs" and "allow more steps" in found.message and found.steps == 1
    huge = optimum.lbfgs(objective, np.full(2, 1e200), batch)
    assert str(huge.status) == "diverged" and "not finite" in huge.message


# ------------------------------------------------------------------------------------------------------------- refusals

OBJECTIVE, PARAMS = linear(3), linear(3).model.init(0)
GOOD = Batch(np.zeros((5, D)), np.arange(5) % 3)
NETWORK = jaxnn.LogLikelihood(jaxnn.Mlp((D, 2, 3)), jaxnn.categorical)
MIXED = jax.tree.map(lambda a: a.astype(np.float64 if a.ndim > 1 else np.float32), jax.tree.map(np.asarray, PARAMS))


class Tempered(jaxnn.Bernoulli):
    """Another likelihood, whose curvature nobody has told."""

    def log_prob(self, outputs, y):
        return super().log_prob(outputs, y) / 2


FEATURES = jaxnn.LogLikelihood(jaxnn.Linear(D, 3, features=jnp.log), jaxnn.categorical)
TEMPERED = jaxnn.LogLikelihood(jaxnn.Linear(D, 1), Tempered())
HALF = jax.tree.map(lambda a: a.astype(np.float16), PARAMS)
REFUSED = {
    "a network": (NETWORK, NETWORK.model.init(0), GOOD, {}, jaxnn.ConfigError, "linear in its parameters"),
    "a function": (jaxnn.from_function(quadratic), np.zeros(2), GOOD, {}, jaxnn.ConfigError, "FunctionLogLikelihood"),
    "a NaN": (OBJECTIVE, PARAMS, Batch(np.full((5, D), np.nan), GOOD.y), {}, jaxnn.NonFiniteError, "x is finite"),
    "no rows": (OBJECTIVE, PARAMS, Batch(np.zeros((0, D)), np.zeros(0, int)), {}, jaxnn.ShapeError, "at least one"),
    "no weight": (OBJECTIVE, PARAMS, GOOD._replace(weight=np.zeros(5)), {}, jaxnn.ConfigError, "some weight is"),
    "half": (OBJECTIVE, HALF, GOOD, {}, jaxnn.DtypeError, "all float64; got float16"),
    "a likelihood": (TEMPERED, TEMPERED.model.init(0), GOOD, {}, jaxnn.ConfigError, "got Tempered"),
    "a label": (OBJECTIVE, PARAMS, GOOD._replace(y=np.full(5, 3)), {}, jaxnn.LabelError, r"labels lie in \[0, 3\)"),
    "a solver": (OBJECTIVE, PARAMS, GOOD, {"solver": "cholesk"}, jaxnn.ConfigError, "did you mean 'cholesky'"),
    "a tolerance": (OBJECTIVE, PARAMS, GOOD, {"tolerance": 0.0}, jaxnn.ConfigError, "tolerance is a finite number > 0"),
    "steps": (OBJECTIVE, PARAMS, GOOD, {"max_steps": -1}, jaxnn.ConfigError, "max_steps is a whole number >= 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_newton_cannot_use_is_refused_before_anything_is_compiled(case, wrong_types):
    objective, params, batch, options, error, text = REFUSED[case]
    with jax_log() as log, pytest.raises(error, match=f"optimum.newton: .*{text}"):
        optimum.newton(objective, params, batch, **options)
    assert log.compiled() == 0


def test_gauss_newton_and_lbfgs_refuse_what_they_cannot_use(wrong_types):
    with pytest.raises(jaxnn.NonFiniteError, match=r"optimum.newton: features\(x\) is finite; got"):
        optimum.newton(FEATURES, PARAMS, GOOD)
    with jax.enable_x64(True), pytest.raises(jaxnn.DtypeError, match=r"all float32, or all float64; got float32 and"):
        optimum.newton(OBJECTIVE, MIXED, GOOD)
    function = jaxnn.from_function(quadratic)
    with pytest.raises(jaxnn.ConfigError, match=r"optimum.gauss_newton: the curvature .* use jaxnn.optimum.lbfgs"):
        optimum.gauss_newton(function, np.zeros(2), GOOD)
    with pytest.raises(jaxnn.ConfigError, match=r"optimum.lbfgs: memory is a whole number >= 1; got memory=0"):
        optimum.lbfgs(OBJECTIVE, PARAMS, GOOD, memory=0)
    with pytest.raises(jaxnn.ConfigError, match=r"optimum.gauss_newton: products is a whole number"):
        optimum.gauss_newton(OBJECTIVE, PARAMS, GOOD, products=0)
    with pytest.raises(jaxnn.ConfigError, match="decided on the host; got traced values"):
        jax.jit(lambda p: optimum.newton(OBJECTIVE, p, GOOD))(PARAMS)
