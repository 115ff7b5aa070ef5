"""Tests the experiments on derivatives: the worked ones against complex steps, the FLOPs against a count by hand."""

import copy

import numpy as np
import pytest
from trials import must_fail, quick

from experiments import autodiff_cost, worked_derivatives

# f(x + ih) = f(x) + ih f'(x) up to h²: without a difference, so without rounding (Squire and Trapp 1998).
FUNCTIONS = {
    "5": lambda x: 5 + 0 * x,
    "x": lambda x: x,
    "4x": lambda x: 4 * x,
    "x² + 3": lambda x: x * x + 3,
    "x³ - x": lambda x: x * x * x - x,
    "x eˣ": lambda x: x * np.exp(x),
    "x² sin x": lambda x: x * x * np.sin(x),
    "x / (x² + 1)": lambda x: x / (x * x + 1),
    "sin x / x": lambda x: np.sin(x) / x,
    "x³": lambda x: x * x * x,
    "1 / x²": lambda x: 1 / (x * x),
    "x^2.5": lambda x: x * x * np.sqrt(x),
    "√x": np.sqrt,
    "∛x": lambda x: np.exp(np.log(x) / 3),
    "eˣ": np.exp,
    "2ˣ": lambda x: np.exp(x * np.log(2)),
    "ln x": np.log,
    "log₂ x": lambda x: np.log(x) / np.log(2),
    "log₁₀ x": lambda x: np.log(x) / np.log(10),
    "xˣ": lambda x: np.exp(x * np.log(x)),
    "(x + 1)^x²": lambda x: np.exp(x * x * np.log(x + 1)),
    "sin x": np.sin,
    "cos x": np.cos,
    "tan x": np.tan,
    "cot x": lambda x: np.cos(x) / np.sin(x),
    "sec x": lambda x: 1 / np.cos(x),
    "arcsin x": np.arcsin,
    "arccos x": np.arccos,
    "arctan x": np.arctan,
    "sinh x": np.sinh,
    "cosh x": np.cosh,
    "tanh x": np.tanh,
    "(x² + 3)⁴": lambda x: (x * x + 3) ** 4,
    "exp(-x²/2)": lambda x: np.exp(-x * x / 2),
    "√(1 + x²)": lambda x: np.sqrt(1 + x * x),
    "ln(ln x)": lambda x: np.log(np.log(x)),
    "ln(1 + eˣ)": lambda x: np.log(1 + np.exp(x)),
    "1 / (1 + e⁻ˣ)": lambda x: 1 / (1 + np.exp(-x)),
    "sin²(3x)": lambda x: np.sin(3 * x) ** 2,
    "sin(cos x)": lambda x: np.sin(np.cos(x)),
    "x²y": lambda x, y: x * x * y,
    "xy + x²": lambda x, y: x * y + x * x,
    "x^y": lambda x, y: np.exp(y * np.log(x)),
    "√(x² + y²)": lambda x, y: np.sqrt(x * x + y * y),
    "xy; x = cos t, y = sin t": lambda t: np.cos(t) * np.sin(t),
}


def complex_step(f, at, h=1e-30):
    """Return ∂f/∂x_i for every number in `at`."""
    at = np.asarray(at, complex)
    return np.array([f(*(at + 1j * h * direction)).imag / h for direction in np.eye(len(at))])


@pytest.fixture(scope="module")
def worked():
    return quick("worked_derivatives")


@pytest.fixture(scope="module")
def cost():
    return quick("autodiff_cost")


def test_numbers_by_hand_and_those_of_jax_grad_are_those_of_a_complex_step(worked):
    assert [row["function"] for row in worked["rows"]] == list(FUNCTIONS)
    for row in worked["rows"]:
        true = complex_step(FUNCTIONS[row["function"]], row["at"])
        for name in ("by_hand", "found"):
            np.testing.assert_allclose(row[name], true, rtol=2e-6, atol=2e-7, err_msg=f"{name}: {row['function']}")


def test_derivatives_of_the_matrix_example_are_those_of_the_inverse(worked):
    x, y, M = (np.array(worked["matrix"]["given"][name], float) for name in ("x", "y", "M"))
    inverse = np.linalg.inv(M)
    assert round(np.linalg.det(M)) == 54
    np.testing.assert_allclose(worked["matrix"]["value"], y @ inverse @ x, rtol=1e-5)
    true = {"x": inverse.T @ y, "y": inverse @ x, "M": -np.outer(inverse.T @ y, x) @ inverse.T}
    for name, derivative in true.items():
        np.testing.assert_allclose(worked["matrix"]["by_hand"][name], derivative, atol=1e-6)
        assert (np.round(worked["matrix"]["found"][name], 4) == np.round(derivative, 4)).all()


def test_products_of_matrices_make_up_the_flops_and_their_ratio(cost):
    B = cost["config"]["batch_size"]
    for row in cost["by_parameters"] + cost["by_depth"]:
        L = row.get("layers", cost["config"]["layers"])
        n = autodiff_cost.width_of(L, row["parameters"])
        assert row["parameters"] == L * (n * n + n)
        product = 2 * B * n * n
        for name, products in (("value", L), ("gradient", 3 * L - 1)):
            rest = row["flops"][name] - products * product
            assert 0 <= rest <= 15 * B * n * (L + 1) + 5 * row["parameters"], (
                name,
                L,
                n,
            )  # activations, softmax; penalty


ROW = {row.function: i for i, row in enumerate(worked_derivatives.ROWS)}
NUMBER = {  # of the first derivative of a row, among all
    row.function: sum(len(above.at) for above in worked_derivatives.ROWS[:i])
    for i, row in enumerate(worked_derivatives.ROWS)
}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({f"rows.{ROW['x² + 3']}.found.0": 10.1}, "at 5 is 10"),
        ({f"rows.{ROW['x²y']}.found.1": 0.26}, "0.5, 0.25"),
        ({f"rows.{ROW['xy + x²']}.found.0": 7.1}, "7, 2"),
        ({f"differences.float32.{NUMBER['x² + 3']}": 1e-9}, r"x² \+ 3 are exact"),
        ({f"differences.float32.{NUMBER['x²y'] + 1}": 1e-9}, "x²y are exact"),
        ({f"differences.float32.{NUMBER['xy + x²']}": 1e-9}, r"xy \+ x² are exact"),
        ({f"rows.{ROW['tan x']}.found.0": 3.4256}, "tan x"),
        ({"differences.float32.0": 1e-6}, "float32, four"),
        ({"differences.float64.0": 1e-14}, "float64, four"),
        ({"differences.central.0": 1e-6}, "eight digits"),
        ({"evaluations": 98}, "two evaluations"),
        ({"matrix.found.M.2.1": 0.1096}, "by M, to 4"),
    ],
)
def test_a_claim_about_derivatives_that_does_not_hold_fails(changes, match):
    must_fail("worked_derivatives", changes, match)


def test_a_claim_about_costs_that_does_not_hold_fails(cost):
    value, by_depth = cost["by_parameters"][0]["flops"]["value"], cost["by_depth"][0]["flops"]["value"]
    must_fail("autodiff_cost", {"by_parameters.0.flops.gradient": 3 * value}, "fewer FLOPs")
    must_fail("autodiff_cost", {"by_parameters.0.flops.gradient": 2 * value}, "flat")
    must_fail("autodiff_cost", {"by_depth.0.flops.gradient": 3 * by_depth}, "by depth")
    must_fail("autodiff_cost", {"by_parameters.0.differences.evaluations": 7}, "evaluations")
    must_fail("autodiff_cost", {"by_parameters.0.differences.relative_error": 0.5}, "same gradient")


def test_no_claim_about_costs_depends_on_seconds(cost):
    changed = copy.deepcopy(cost)
    for row in changed["by_parameters"]:
        row["seconds"] = {"value": 1.0, "gradient": 100.0}
        if "differences" in row:
            row["differences"]["seconds"] = 1e-9
    autodiff_cost.check(changed)
