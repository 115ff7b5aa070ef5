"""Tests the experiments on the ways uphill against NumPy in float64, SciPy, scikit-learn and closed forms."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from sklearn.linear_model import LogisticRegression
from trials import must_fail, quick

import jaxnn
from experiments import gradient_ascent_2d, hill_climbing, steepest_direction

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


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"best neighbour.exponent.mean": 1.5}, "costs D²"),
        ({"first neighbour.exponent.mean": 1.5}, "first neighbour costs D"),
        ({"differences.exponent.mean": 0.5}, "differences costs D"),
        ({"SPSA.exponent.mean": 0.1}, "SPSA costs D"),
        ({"autodiff.exponent.mean": 0.5}, "the same in any dimension"),
        ({"differences.exponent_of_steps.mean": 1.0}, "pays by the step"),
        ({"SPSA.exponent_of_steps.mean": 0.0}, "pays by the step"),
        ({"differences.evaluations.1": [20, 20, 20]}, "autodiff is cheapest"),
        ({"SPSA.reached.1.0": False}, "SPSA reaches the goal"),
    ],
)
def test_a_claim_about_neighbours_that_does_not_hold_fails(changes, match):
    must_fail("hill_climbing", {f"methods.{path}": value for path, value in changes.items()}, match)


def test_a_climb_that_does_not_reach_the_goal_says_so():
    def g(w):
        return -0.5 * w @ w

    start = np.ones((1, 2), np.float32)
    found = hill_climbing._by_gradients(g, start, -0.01, "reverse", 0.1, num_steps=3)
    assert found == [(4, 3, False)]


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


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("round hill", {"angle.l2.0.0": 0.1}, "round hill: the gradient is the best step"),
        ("log likelihood", {"angle.l2": "constant"}, "the angle shrinks as ε"),
        ("log likelihood", {"lost": "constant"}, "the loss shrinks as ε²"),
        ("log likelihood", {"turning": "doubled"}, "that of the first order"),
        ("long hill", {"angle.l1.6": [1.0] * 5}, "l1: the best short step is a corner"),
        ("long hill", {"angle.linf.6": [1.0] * 5}, "linf: the best short step is a corner"),
    ],
)
def test_a_claim_about_directions_that_does_not_hold_fails(directions, name, changes, match):
    found = directions["functions"][name]
    instead = {
        "constant": [found["angle"]["l2"][0]] * len(found["lost"]),
        "doubled": [2 * c for c in found["turning"]],
    }
    changes = {
        f"functions.{name}.{path}": instead[value] if isinstance(value, str) else value
        for path, value in changes.items()
    }
    must_fail("steepest_direction", changes, match)


def test_a_claim_about_directions_is_not_held_by_no_function(directions):
    functions = directions["functions"]
    must_fail("steepest_direction", {"functions": {"long hill": functions["long hill"]}}, "plane or a round hill")
    must_fail("steepest_direction", {"functions": {"round hill": functions["round hill"]}}, "is curved")


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


@pytest.mark.parametrize(
    ("name", "share_left", "turns", "match"),
    [
        ("crawling", 0.01, None, "a small rate crawls"),
        ("crawling", None, 1, "a small rate crawls"),
        ("converging", 0.1, None, "without crossing the ridge"),
        ("converging", None, 3, "without crossing the ridge"),
        ("oscillating", 0.1, None, "from side to side"),
        ("oscillating", None, 0, "from side to side"),
        ("diverging", 0.5, None, "it leaves"),
        ("diverging", None, 0, "it leaves"),
    ],
)
def test_a_claim_about_rates_that_does_not_hold_fails(paths, name, share_left, turns, match):
    first = paths["paths"][name]["values"][0]
    change = {"turns": turns} if share_left is None else {"values.30": share_left * first}
    must_fail("gradient_ascent_2d", {f"paths.{name}.{path}": value for path, value in change.items()}, match)


def test_a_claim_about_borders_that_does_not_hold_fails(paths):
    maximum = paths["log_likelihood"]["maximum"]
    must_fail("gradient_ascent_2d", {"borders.0.error": 0.02}, "the border is 2/L")
    must_fail("gradient_ascent_2d", {"log_likelihood.error": -0.02}, "curvature at the maximum")
    ends = "log_likelihood.last_values_above_the_border"
    must_fail("gradient_ascent_2d", {ends: [-5.0, -6.0, -7.0, -8.0]}, "to and fro")
    must_fail("gradient_ascent_2d", {ends: [maximum] * 4}, "two points below the maximum")
