"""Tests the experiments on networks: what they report is what float64 NumPy and SciPy find."""

import copy

import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression
from trials import quick

import jaxnn
from experiments import activations, universal_approximation


def fails(check, report, path, value):
    """Assert that a check fails where the number at a path is another, and holds where it is not."""
    check(report)
    changed = copy.deepcopy(report)
    part = changed
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(AssertionError):
        check(changed)


@pytest.fixture(scope="module")
def found():
    return quick("activations")


def _train():
    return jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.15, 0.15), seed=activations.QUICK.seed)[0].batch


def test_functions_and_derivatives_are_those_of_the_textbook(found):
    z = np.linspace(-5, 5, 201)
    s = 1 / (1 + np.exp(-z))
    for name, g, derivative in (
        ("sigmoid", s, s * (1 - s)),
        ("tanh", np.tanh(z), 1 / np.cosh(z) ** 2),
        ("relu", np.maximum(z, 0), (z > 1e-9) * 1.0),
        ("identity", z, np.ones_like(z)),
    ):
        np.testing.assert_allclose(found["curves"][name]["g"], g, atol=1e-5)
        np.testing.assert_allclose(found["curves"][name]["derivative"], derivative, atol=1e-5)


def test_gradients_at_the_start_are_those_of_back_propagation_in_numpy(found):
    """The mean over the examples of a_{l-1} d_lᵀ, d_L = 1[y] - softmax(z_L), d_l = g'(z_l) W_{l+1} d_{l+1}."""
    train, small = _train(), activations.QUICK
    x, y = np.asarray(train.x, float), np.asarray(train.y)
    params = jaxnn.Mlp((64, *(small.hidden,) * small.depths[-1], 10)).init(small.seed + 2)
    layers = [(np.asarray(layer.kernel, float), np.asarray(layer.bias, float)) for layer in params]
    a = [x]
    for kernel, bias in layers[:-1]:
        a.append(np.tanh(a[-1] @ kernel + bias))
    d = np.eye(10)[y] - scipy.special.softmax(a[-1] @ layers[-1][0] + layers[-1][1], axis=1)
    norms = []
    for (kernel, _), below in zip(reversed(layers), reversed(a), strict=True):
        norms.append(np.linalg.norm(below.T @ d / len(x)))
        d = (d @ kernel.T) * (1 - below**2)
    np.testing.assert_allclose(found["gradient_norms"]["tanh"]["own"][0], norms[::-1], rtol=1e-4)


def test_the_maximum_of_softmax_regression_is_that_of_scikit_learn(found):
    train = _train()
    x, y = np.asarray(train.x, float), np.asarray(train.y)
    x = (x - x.mean(0)) @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][: activations.QUICK.components].T
    fitted = LogisticRegression(C=1e9, solver="newton-cholesky", tol=1e-8).fit(x / x.std(0), y)
    log_prob = fitted.predict_log_proba(x / x.std(0))[np.arange(len(y)), y]
    np.testing.assert_allclose(found["maximum"]["value"], log_prob.mean(), atol=1e-6)


def test_what_is_affine_has_no_part_that_is_not_and_a_square_has():
    x = np.random.default_rng(0).normal(size=(500, 3))
    outputs = np.stack([x @ np.ones((3, 2)) + 5, x[:, :2] + x[:, 1:] ** 2])
    affine, other = activations._not_affine(x, outputs)
    columns = np.c_[x, np.ones(len(x))]
    rest = outputs[1] - columns @ np.linalg.lstsq(columns, outputs[1], rcond=None)[0]
    assert affine < 1e-28
    np.testing.assert_allclose(other, rest.var(0).sum() / outputs[1].var(0).sum(), rtol=1e-9)


@pytest.mark.parametrize(
    "path, value",
    [
        (("learnt", "sigmoid", "one", -1, "accuracy", 0), 0.5),
        (("gradient_norms", "sigmoid", "one", 0, 1), 1.0),
        (("gradient_norms", "tanh", "one", 0, 1), 1e-6),
        (("learnt", "tanh", "own", -1, "accuracy", 0), 0.5),
        (("learnt", "identity", "own", -1, "not_affine", 0), 1e-6),
        (("learnt", "tanh", "own", -1, "not_affine", 0), 1e-6),
        (("maximum", "is_certified"), False),
        (("maximum", "climbs", "4", "missing"), -1e-3),
        (("maximum", "climbs", "4", "missing"), 1e-3),
    ],
)
def test_an_activation_that_is_not_as_found_fails(found, path, value):
    fails(activations.check, found, path, value)


@pytest.fixture(scope="module")
def report():
    return quick("universal_approximation")


X = np.linspace(-1, 1, universal_approximation.QUICK.fine_points[0])
SMOOTH, OSCILLATING = np.exp(-4 * X**2), np.sin(4 * np.pi * X)


def test_powers_are_the_best_polynomials_of_their_degree(report):
    x = np.linspace(-1, 1, universal_approximation.QUICK.points[0])
    for name, degree in (("square", 2), ("cube", 3)):
        fit = np.polynomial.Polynomial.fit(x, np.sin(4 * np.pi * x), degree)
        of = report["output_layer"]["1"][name]["oscillating"]
        np.testing.assert_allclose(of["sup"][-1], np.abs(fit(X) - OSCILLATING).max(), rtol=1e-4)
        off = (fit.deriv()(X) - 4 * np.pi * np.cos(4 * np.pi * X)) ** 2
        np.testing.assert_allclose(of["slope_l2"][-1], np.sqrt(off.mean()), rtol=5e-3)  # without the points at the jump


def test_the_construction_is_a_sum_of_sigmoids_and_its_bound_that_of_the_modulus_of_continuity(report):
    of, H = report["constructed"]["smooth"], 16
    nodes = np.linspace(-1, 1, H + 1)
    f = np.exp(-4 * nodes**2)
    y = f[0] + sum(
        (f[k] - f[k - 1]) * scipy.special.expit(5 * H * (X - (nodes[k] + nodes[k - 1]) / 2)) for k in range(1, H + 1)
    )
    at = report["config"]["widths"].index(H)
    np.testing.assert_allclose(of["sup"][at], np.abs(y - SMOOTH).max(), rtol=1e-4)
    start = np.linspace(-1, 1 - 2 / H, 20_001)
    largest = np.abs(np.exp(-4 * (start + 2 / H) ** 2) - np.exp(-4 * start**2)).max()  # steepest at its turning point
    np.testing.assert_allclose(of["bound"][at], (1.5 + 0.2 * np.log(2)) * largest, rtol=2e-3)


def test_output_layers_are_least_squares(report):
    """Four units, in a normalised basis, by NumPy; the better of two seeds."""
    small, off = universal_approximation.QUICK, []
    x = np.linspace(-1, 1, small.points[0])
    for seed in range(small.seed, small.seed + small.num_seeds):
        hidden = universal_approximation.draw_hidden(small, 1, seed)
        a, b = (np.tanh(points[:, None] * hidden.kernel[0, :4] + hidden.bias[:4]) for points in (x, X))
        v = np.linalg.lstsq(np.c_[a, np.ones(len(a))], np.exp(-4 * x**2), rcond=None)[0]
        off.append(np.abs(b @ v[:-1] + v[-1] - SMOOTH).max())
    at = report["config"]["widths"].index(4)
    np.testing.assert_allclose(report["output_layer"]["1"]["tanh"]["smooth"]["sup"][at], min(off), rtol=1e-4)


def test_two_rectified_units_are_the_kink(report):
    assert report["all_layers"]["relu"]["kinked"]["l2"][0] < 1e-6 < report["all_layers"]["tanh"]["kinked"]["l2"][0]


@pytest.mark.parametrize(
    "path, value",
    [
        (("output_layer", "2", "relu", "jump", "l2", -1), 0.9),
        (("output_layer", "1", "tanh", "smooth", "l2", 0), 1e-12),
        (("output_layer", "1", "cube", "kinked", "l2", -1), 0.07),
        (("output_layer", "1", "tanh", "smooth", "l2", -1), 1e-6),
        (("output_layer", "1", "sigmoid", "jump", "sup", -1), 0.99),
        (("constructed", "kinked", "sup", -1), 1.0),
        (("constructed", "smooth", "slope_l2", -1), 0.1),
        (("output_layer", "1", "tanh", "smooth", "slope_l2", -1), 0.1),
        (("all_layers", "relu", "kinked", "l2", 0), 0.01),
    ],
)
def test_an_approximation_that_is_not_as_found_fails(report, path, value):
    fails(universal_approximation.check, report, path, value)
