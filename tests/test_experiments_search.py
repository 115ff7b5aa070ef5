"""Tests the experiments on the ways uphill against NumPy in float64, SciPy, scikit-learn and closed forms."""

import copy

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from sklearn.linear_model import LogisticRegression
from trials import quick

import jaxnn
from experiments import gradient_ascent_2d, hill_climbing, steepest_direction


def fails(module, report, *changes):
    """Assert that the claim holds, and that it does not after any one of the changes: (path to a number, its value)."""
    module.check(report)
    for *path, value in changes:
        changed = copy.deepcopy(report)
        part = changed
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        with pytest.raises(AssertionError):
            module.check(changed)


# hill_climbing


@pytest.fixture(scope="module")
def climbs():
    return quick("hill_climbing")


def chain(D, coupling):
    """Return A of g(w) = -½ wᵀA w."""
    difference = np.diff(np.eye(D), axis=0)
    return np.eye(D) + coupling * difference.T @ difference


def starts(A, config):
    normal = np.random.default_rng(config.seed).normal(size=(config.num_seeds, len(A)))
    return [w * np.sqrt(2 * len(A) / (w @ A @ w)) for w in normal]


def looks_at_neighbours(A, w, goal, rule):
    """Return how many points plain hill climbing looks at, and how often it moves, until g is at the goal."""

    def g(w):
        return -0.5 * w @ A @ w

    directions = [sign * e for e in np.eye(len(A)) for sign in (1, -1)]
    here, step, looks, moves, in_vain, j = g(w), 1.0, 1, 0, 0, 0
    while True:
        if rule == "best":
            values = [g(w + step * d) for d in directions]
            looks += len(directions)
            k = int(np.argmax(values))
        else:
            k, values = j, {j: g(w + step * directions[j])}
            looks += 1
        if values[k] > here:
            w, here, moves, in_vain = w + step * directions[k], values[k], moves + 1, 0
            if here >= goal:
                return looks, moves
        else:
            in_vain += len(values)
            j = (j + 1) % len(directions)
        if in_vain >= len(directions):
            step, in_vain, j = step / 2, 0, 0


def test_neighbours_are_counted_as_plain_hill_climbing_counts_them(climbs):
    config = hill_climbing.QUICK
    for i, D in enumerate(config.dimensions):
        A = chain(D, config.coupling)
        for name, rule in (("best neighbour", "best"), ("first neighbour", "first")):
            found = climbs["methods"][name]
            expected = [looks_at_neighbours(A, w, -(1 - config.share) * D, rule) for w in starts(A, config)]
            assert list(zip(found["evaluations"][i], found["steps"][i], strict=True)) == expected


def test_gradients_are_counted_as_powers_of_a_matrix_count_them(climbs):
    config = hill_climbing.QUICK
    for i, D in enumerate(config.dimensions):
        A = chain(D, config.coupling)
        once = np.eye(D) - A / np.linalg.eigvalsh(A)[-1]
        expected = []
        for w in starts(A, config):
            steps = 0
            while -0.5 * w @ A @ w < -(1 - config.share) * D:
                w, steps = once @ w, steps + 1
            expected.append(steps)
        assert climbs["methods"]["autodiff"]["steps"][i] == expected
        assert climbs["methods"]["autodiff"]["evaluations"][i] == [steps + 1 for steps in expected]
        differences = climbs["methods"]["differences"]
        np.testing.assert_allclose(differences["steps"][i], expected, atol=1)  # its slopes are rounded
        assert differences["evaluations"][i] == [steps * (D + 1) + 1 for steps in differences["steps"][i]]
        spsa = climbs["methods"]["SPSA"]
        assert spsa["evaluations"][i] == [3 * steps + 1 for steps in spsa["steps"][i]]


def test_the_growth_is_the_slope_of_the_line_through_the_logarithms(climbs):
    D = climbs["config"]["dimensions"]
    for found in climbs["methods"].values():
        slopes = [
            scipy.stats.linregress(np.log(D), np.log(counts)).slope for counts in np.transpose(found["evaluations"])
        ]
        np.testing.assert_allclose(found["exponent"]["mean"], np.mean(slopes), rtol=1e-5, atol=1e-6)


def test_a_claim_about_neighbours_that_does_not_hold_fails(climbs):
    fails(
        hill_climbing,
        climbs,
        ("methods", "best neighbour", "exponent", "mean", 1.5),
        ("methods", "first neighbour", "exponent", "mean", 1.5),
        ("methods", "differences", "exponent", "mean", 0.5),
        ("methods", "SPSA", "exponent", "mean", 0.1),
        ("methods", "autodiff", "exponent", "mean", 0.5),
        ("methods", "differences", "exponent_of_steps", "mean", 1.0),
        ("methods", "SPSA", "exponent_of_steps", "mean", 0.0),
        ("methods", "differences", "evaluations", -1, [20, 20, 20]),
    )


# steepest_direction


@pytest.fixture(scope="module")
def directions():
    return quick("steepest_direction")


def points(config):
    return np.random.default_rng(config.seed).uniform(-1, 1, (config.points, 2))


def angle_between(a, b):
    return abs(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))


def test_the_best_step_on_a_quadratic_solves_the_secular_equation(directions):
    H = np.diag([-1.0, -10.0])
    found = directions["functions"]["long hill"]
    for k, w in enumerate(points(steepest_direction.QUICK)):
        gradient = H @ (w - [2, 1])
        for i, epsilon in enumerate(directions["lengths"]):
            # ∇g + H d = m d on |d| = ε, with m above every curvature (Moré and Sorensen 1983)

            def step(m, gradient=gradient):
                return np.linalg.solve(m * np.eye(2) - H, gradient)

            m = scipy.optimize.brentq(lambda m, e=epsilon: np.linalg.norm(step(m)) - e, -1 + 1e-9, 1e6, xtol=1e-12)
            assert abs(found["angle"]["l2"][i][k] - angle_between(step(m), gradient)) < 2e-6


def test_the_best_step_on_a_log_likelihood_is_that_of_scipy(directions):
    x, y = petals()
    found = directions["functions"]["log likelihood"]
    for k, w in enumerate(points(steepest_direction.QUICK)):
        gradient = x.T @ (y - 1 / (1 + np.exp(-x @ w))) / len(y)
        first = np.arctan2(gradient[1], gradient[0])

        def fall(turn, w=w, first=first):
            d = np.array([np.cos(first + turn), np.sin(first + turn)])  # ε = 1
            return np.mean(np.logaddexp(0, np.where(y == 1, -1, 1) * (x @ (w + d))))

        turn = scipy.optimize.minimize_scalar(fall, bounds=(-np.pi / 2, np.pi / 2), options={"xatol": 1e-9}).x
        assert abs(found["angle"]["l2"][0][k] - abs(turn)) < 1e-5


def test_a_claim_about_directions_that_does_not_hold_fails(directions):
    found = directions["functions"]["log likelihood"]
    constant = [found["angle"]["l2"][0]] * len(found["lost"])
    nowhere = [1.0] * len(constant[0])
    fails(
        steepest_direction,
        directions,
        ("functions", "round hill", "angle", "l2", 0, 0, 0.1),
        ("functions", "log likelihood", "angle", "l2", constant),
        ("functions", "log likelihood", "lost", constant),
        ("functions", "log likelihood", "turning", [2 * c for c in found["turning"]]),
        ("functions", "long hill", "angle", "l1", -1, nowhere),
        ("functions", "long hill", "angle", "linf", -1, nowhere),
    )


# gradient_ascent_2d


@pytest.fixture(scope="module")
def paths():
    return quick("gradient_ascent_2d")


def petals():
    iris = jaxnn.data.load("iris").batch
    x = np.asarray(iris.x, float)[:, 2:]
    return (x - x.mean(0)) / x.std(0), np.asarray(iris.y) == 2


def test_the_paths_are_powers_of_a_matrix(paths):
    curvatures, Q = np.linalg.eigh(paths["A"])
    np.testing.assert_allclose(curvatures, [1, gradient_ascent_2d.QUICK.curvature], rtol=1e-5)
    for run in paths["paths"].values():
        powers = (1 - run["rate"] * curvatures) ** np.arange(len(run["path"]))[:, None]
        expected = (powers * (Q.T @ gradient_ascent_2d.START)) @ Q.T
        np.testing.assert_allclose(run["path"], expected, rtol=1e-4, atol=1e-4)


def test_the_curvature_of_the_log_likelihood_is_that_at_scikit_learns_maximum(paths):
    x, y = petals()
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    p = model.predict_proba(x)[:, 1]
    L = np.linalg.eigvalsh((x * (p * (1 - p))[:, None]).T @ x / len(x))[-1]
    found = paths["log_likelihood"]
    np.testing.assert_allclose(found["L"], L, rtol=1e-3)
    np.testing.assert_allclose(found["measured"], 2 / L, rtol=1e-2)


def test_a_claim_about_rates_that_does_not_hold_fails(paths):
    first = paths["paths"]["crawling"]["values"][0]
    fails(
        gradient_ascent_2d,
        paths,
        ("paths", "crawling", "values", -1, 0.01 * first),
        ("paths", "crawling", "turns", 1),
        ("paths", "converging", "values", -1, 0.1 * first),
        ("paths", "converging", "turns", 3),
        ("paths", "oscillating", "values", -1, 0.1 * first),
        ("paths", "oscillating", "turns", 0),
        ("paths", "diverging", "values", -1, 0.5 * first),
        ("paths", "diverging", "turns", 0),
        ("borders", 0, "error", 0.02),
        ("log_likelihood", "error", -0.02),
        ("log_likelihood", "last_values_above_the_border", [-5.0, -6.0, -7.0, -8.0]),
        ("log_likelihood", "last_values_above_the_border", [paths["log_likelihood"]["maximum"]] * 4),
    )
