"""Tests that each activation and its closed-form derivative agree, and that `initial_gain` does what it promises.

Oracles: NumPy and SciPy formulas, `jax.grad`, and numerical integration by SciPy for the gain. Not tested here:
networks made of them (test_models).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from cases import arrays
from hypothesis import given

import jaxnn
from jaxnn._activations import ACTIVATIONS, Activation, initial_gain

NAMES = sorted(ACTIVATIONS)


@jax.jit
def all_of_them(z):
    """{name: (g, closed-form derivative, jax.grad of g)} at every z."""
    return {name: (g(z), g.derivative(z), jax.vmap(jax.grad(g))(z)) for name, g in ACTIVATIONS.items()}


def test_the_four_activations_are_public_and_print_their_names():
    assert [repr(g) for g in (jaxnn.sigmoid, jaxnn.tanh, jaxnn.relu, jaxnn.identity)] == [
        "sigmoid",
        "tanh",
        "relu",
        "identity",
    ]
    assert set(ACTIVATIONS) == set(oracles.ACTIVATIONS) == {"sigmoid", "tanh", "relu", "identity"}


@given(z=arrays(64, magnitude=40.0))
def test_value_and_derivative_equal_the_oracle_and_jax_grad(x64, z):
    eps = np.finfo(np.float64).eps
    for name, (value, derivative, slope) in all_of_them(jnp.asarray(z)).items():
        g, dg = oracles.ACTIVATIONS[name]
        oracles.assert_close(value, g(z), 1 + np.abs(g(z)), eps, what=name)
        oracles.assert_close(derivative, dg(z), 1, eps, what=f"{name} derivative")
        oracles.assert_close(slope, derivative, 1, eps, what=f"{name} jax.grad")


def test_derivatives_hold_in_float32_far_into_the_tails():
    z = np.array([-1e38, -1e4, -104, -89, -20, -1, 0, 1, 20, 89, 104, 1e4, 1e38], np.float32)
    for name, (value, derivative, slope) in all_of_them(jnp.asarray(z)).items():
        g, dg = oracles.ACTIVATIONS[name]
        z64 = z.astype(np.float64)
        assert value.dtype == derivative.dtype == jnp.float32
        oracles.assert_close(value, g(z64), np.abs(g(z64)) + 1, np.finfo(np.float32).eps, what=name)
        oracles.assert_close(derivative, dg(z64), 1, np.finfo(np.float32).eps, what=f"{name} derivative")
        oracles.assert_close(slope, derivative, 1, np.finfo(np.float32).eps, what=f"{name} jax.grad")


@pytest.mark.parametrize(
    "wrong",
    [lambda z: 1 - jnp.tanh(z), lambda z: jnp.tanh(z) ** 2 - 1, lambda z: 1 - jnp.tanh(z) ** 2 + 1e-12],
    ids=["forgotten square", "sign", "off by 1e-12"],
)
def test_a_wrong_derivative_would_be_caught(x64, wrong):
    z = np.linspace(-3, 3, 64)
    with pytest.raises(AssertionError):
        oracles.assert_close(wrong(jnp.asarray(z)), oracles.ACTIVATIONS["tanh"][1](z), 1, np.finfo(np.float64).eps)


def test_relu_is_zero_at_zero_with_derivative_zero_as_jax_grad_has_it():
    for zero in (0.0, -0.0):
        assert jaxnn.relu(zero) == 0.0
        assert jaxnn.relu.derivative(zero) == 0.0
        assert jax.grad(jaxnn.relu)(zero) == 0.0
    assert jaxnn.relu.derivative(np.float32(1e-30)) == 1.0


def test_an_activation_is_called_on_a_number_an_array_or_a_list_of_rows_alike():
    rows = np.array([[-1.0, 0.0], [2.0, 3.0]])
    for g in ACTIVATIONS.values():
        assert g(0.5).shape == ()
        assert g(rows).shape == rows.shape
        np.testing.assert_array_equal(g(rows)[1], g(rows[1]))


# -------------------------------------------------------------------------------------------------------- initial gain


def gain_by_quadrature(derivative, *kinks):
    """1 / sqrt(∫ g'(z)² φ(z) dz), by SciPy."""
    mean, _ = scipy.integrate.quad(
        lambda z: derivative(z) ** 2 * scipy.stats.norm.pdf(z), -12, 12, points=[0, *kinks], limit=200
    )
    return 1 / np.sqrt(mean)


def test_the_gain_is_exact_where_it_is_known():
    assert initial_gain(jaxnn.relu) == pytest.approx(np.sqrt(2), rel=1e-7)
    assert initial_gain(jaxnn.identity) == pytest.approx(1.0, rel=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_gain_is_the_integral_of_the_squared_derivative(name):
    want = gain_by_quadrature(oracles.ACTIVATIONS[name][1])
    assert initial_gain(ACTIVATIONS[name]) == pytest.approx(want, rel=1e-6)
    assert want == pytest.approx({"sigmoid": 4.72, "tanh": 1.47, "relu": 2**0.5, "identity": 1}[name], abs=0.005)


def test_the_gain_of_a_users_function_is_found_by_differentiating_it():
    def swish(z):
        return z / (1 + jnp.exp(-z))

    def swish_derivative(z):
        return scipy.special.expit(z) * (1 + z * scipy.special.expit(-z))

    assert initial_gain(swish) == pytest.approx(gain_by_quadrature(swish_derivative), rel=1e-5)
    assert initial_gain(lambda z: jnp.where(z > 0, z, 0.1 * z)) == pytest.approx((2 / 1.01) ** 0.5, rel=1e-6)


def test_the_gain_of_a_function_without_a_usable_slope_is_one():
    flat = Activation("flat", jnp.zeros_like, jnp.zeros_like)
    steep = Activation("steep", jnp.exp, lambda z: jnp.full_like(z, jnp.inf))
    undefined = Activation("undefined", jnp.log, lambda z: jnp.full_like(z, jnp.nan))
    assert initial_gain(flat) == initial_gain(steep) == initial_gain(undefined) == 1.0
    assert initial_gain(jnp.sign) == 1.0


def test_the_gain_can_be_asked_for_inside_a_compiled_program():
    initial_gain.cache_clear()
    assert jax.jit(lambda: jnp.asarray(initial_gain(jaxnn.tanh)))() == pytest.approx(1.4674, abs=1e-3)


@functools.cache
def normals(seeds=4, depth=20, width=256):
    """Kernels of standard deviation 1 / sqrt(in), inputs, and output directions, for every seed."""
    rng = np.random.default_rng(0)
    shapes = ((seeds, depth, width, width), (seeds, width), (seeds, width))
    kernels, x, v = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return kernels / np.float32(width**0.5), x, v


def gradient_growth(name):
    """|gradient| at the first of twenty hidden layers / at the last, the geometric mean over seeds."""
    g, gain = ACTIVATIONS[name], initial_gain(ACTIVATIONS[name])

    def growth(kernels, x, v):
        def layer(z, kernel):
            return g(z) @ (gain * kernel), None

        _, pull = jax.vjp(lambda z: jax.lax.scan(layer, z, kernels)[0], x)
        return jnp.log(jnp.linalg.norm(pull(v)[0]) / jnp.linalg.norm(v))

    return float(jnp.exp(jnp.mean(jax.jit(jax.vmap(growth))(*normals()))))


@pytest.mark.parametrize("name", ["relu", "tanh", "identity"])
def test_gradients_keep_their_size_through_twenty_layers_of_width_256(name):
    growth = gradient_growth(name)
    assert 1 / 4 < growth < 4
    if name != "identity":  # with gain 1, as LeCun et al. have it for every activation, this would fail
        assert growth / initial_gain(ACTIVATIONS[name]) ** 20 < 1 / 100


def test_gradients_of_sigmoid_layers_shrink_a_thousandfold_and_not_1e16_fold_as_with_gain_one():
    # A sigmoid's mean is 1/2, so its pre-activations leave N(0, 1), for which alone the gain is right.
    growth = gradient_growth("sigmoid")
    assert 1e-4 < growth < 1e-2
    assert growth / initial_gain(jaxnn.sigmoid) ** 20 < 1e-15
