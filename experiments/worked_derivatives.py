"""Does automatic differentiation find what the rules of the textbook give by hand, row by row?

Every row of the standard table (constants, sums, products, quotients, powers, roots, exponentials, logarithms, u^v,
trigonometric functions), compositions by the chain rule and partial derivatives, at one point each: the number that the
rule gives, written out, against jax.grad, in float32 and in float64. All rows at once are one function, their sum, of
as many variables, so that `jaxnn.search.derivative` differentiates it by central differences, too. And, with a matrix,

    g(x, y, M) = yᵀ M⁻¹ x    ∂g/∂x = M⁻ᵀ y    ∂g/∂y = M⁻¹ x    ∂g/∂M = -M⁻ᵀ y xᵀ M⁻ᵀ

for a 4 x 4 matrix of integers, det M = 54, whose derivatives by elimination are integers over 54 and 54². The rules are
those of any calculus textbook; the last one is in K. Petersen, M. Pedersen, The Matrix Cookbook (2012), section 2.2.
What reverse mode does, and why its error stays near rounding: A. Griewank, A. Walther, Evaluating Derivatives (2008),
chapter 3.

Expected, before the run: all agree, in float32 within four roundings (4 eps, of the number or of 1, whichever is
larger), in float64 within four of those; powers, sums and products of round numbers exactly. Central differences in
float64 agree to nine digits, for 2P + 1 evaluations where reverse mode takes one. The matrix example agrees to four
decimals and, as M is far from singular, to six.

Found (nothing here is random): rules and jax.grad agree, and better than expected, within 0.5 eps of float32 and 1.2 of
float64, where 37 of 49 equal Python's own floats to the last bit; sums, products and powers of round numbers do so in
float32, too. Central differences fall short of what was expected: 99 evaluations give eight digits, not nine. What
limits them is the rounding of the sum of all rows, 425, over a step of 6e-6; differences of one function at a time
would be better, and reverse mode does not mind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, cosh, e, exp, log, pi, sin, sinh, sqrt, tan, tanh
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE
from experiments._report import in_columns


class Row(NamedTuple):
    """A row of the table: `by_hand` has one number for each of the variables in `at`."""

    rule: str
    function: str
    f: Callable[..., Any]
    derivative: str
    at: tuple[float, ...]
    by_hand: tuple[float, ...]


HALF = 1 / (1 + exp(-0.5))
ROWS = (
    Row("constant", "5", lambda x: 5.0, "0", (2.0,), (0,)),
    Row("identity", "x", lambda x: x, "1", (2.0,), (1,)),
    Row("multiple", "4x", lambda x: 4 * x, "4", (3.0,), (4,)),
    Row("sum", "x² + 3", lambda x: x**2 + 3, "2x", (5.0,), (10,)),
    Row("difference", "x³ - x", lambda x: x**3 - x, "3x² - 1", (2.0,), (3 * 4 - 1,)),
    Row("product", "x eˣ", lambda x: x * jnp.exp(x), "eˣ + x eˣ", (1.0,), (2 * e,)),
    Row("product", "x² sin x", lambda x: x**2 * jnp.sin(x), "2x sin x + x² cos x", (2.0,), (4 * sin(2) + 4 * cos(2),)),
    Row("quotient", "x / (x² + 1)", lambda x: x / (x**2 + 1), "(1 - x²) / (x² + 1)²", (2.0,), (-3 / 25,)),
    Row("quotient", "sin x / x", lambda x: jnp.sin(x) / x, "(x cos x - sin x) / x²", (pi,), (-1 / pi,)),
    Row("power", "x³", lambda x: x**3, "3x²", (2.0,), (3 * 4,)),
    Row("power", "1 / x²", lambda x: x**-2, "-2 / x³", (2.0,), (-2 / 8,)),
    Row("power", "x^2.5", lambda x: x**2.5, "2.5 x^1.5", (4.0,), (2.5 * 8,)),
    Row("root", "√x", jnp.sqrt, "1 / (2√x)", (4.0,), (1 / 4,)),
    Row("root", "∛x", jnp.cbrt, "1 / (3 ∛x²)", (8.0,), (1 / 12,)),
    Row("exponential", "eˣ", jnp.exp, "eˣ", (2.0,), (e * e,)),
    Row("exponential", "2ˣ", lambda x: 2.0**x, "2ˣ ln 2", (3.0,), (8 * log(2),)),
    Row("logarithm", "ln x", jnp.log, "1 / x", (4.0,), (1 / 4,)),
    Row("logarithm", "log₂ x", jnp.log2, "1 / (x ln 2)", (4.0,), (1 / (4 * log(2)),)),
    Row("logarithm", "log₁₀ x", jnp.log10, "1 / (x ln 10)", (5.0,), (1 / (5 * log(10)),)),
    Row("u^v", "xˣ", lambda x: x**x, "xˣ (ln x + 1)", (2.0,), (4 * (log(2) + 1),)),
    Row("u^v", "(x + 1)^x²", lambda x: (x + 1) ** (x**2), "u^v (2x ln u + x²/u)", (1.0,), (2 * (2 * log(2) + 1 / 2),)),
    Row("trigonometric", "sin x", jnp.sin, "cos x", (1.0,), (cos(1),)),
    Row("trigonometric", "cos x", jnp.cos, "-sin x", (1.0,), (-sin(1),)),
    Row("trigonometric", "tan x", jnp.tan, "1 / cos² x", (1.0,), (1 / cos(1) ** 2,)),
    Row("trigonometric", "cot x", lambda x: 1 / jnp.tan(x), "-1 / sin² x", (1.0,), (-1 / sin(1) ** 2,)),
    Row("trigonometric", "sec x", lambda x: 1 / jnp.cos(x), "tan x / cos x", (1.0,), (tan(1) / cos(1),)),
    Row("inverse", "arcsin x", jnp.arcsin, "1 / √(1 - x²)", (0.6,), (1 / 0.8,)),
    Row("inverse", "arccos x", jnp.arccos, "-1 / √(1 - x²)", (0.6,), (-1 / 0.8,)),
    Row("inverse", "arctan x", jnp.arctan, "1 / (1 + x²)", (2.0,), (1 / 5,)),
    Row("hyperbolic", "sinh x", jnp.sinh, "cosh x", (1.0,), (cosh(1),)),
    Row("hyperbolic", "cosh x", jnp.cosh, "sinh x", (1.0,), (sinh(1),)),
    Row("hyperbolic", "tanh x", jaxnn.tanh, "1 - tanh² x", (0.5,), (1 - tanh(0.5) ** 2,)),
    Row("chain", "(x² + 3)⁴", lambda x: (x**2 + 3) ** 4, "4 (x² + 3)³ 2x", (1.0,), (4 * 64 * 2,)),
    Row("chain", "exp(-x²/2)", lambda x: jnp.exp(-(x**2) / 2), "-x exp(-x²/2)", (1.0,), (-1 / sqrt(e),)),
    Row("chain", "√(1 + x²)", lambda x: jnp.sqrt(1 + x**2), "x / √(1 + x²)", (0.75,), (0.75 / 1.25,)),
    Row("chain", "ln(ln x)", lambda x: jnp.log(jnp.log(x)), "1 / (x ln x)", (2.0,), (1 / (2 * log(2)),)),
    Row("chain", "ln(1 + eˣ)", lambda x: jnp.log(1 + jnp.exp(x)), "1 / (1 + e⁻ˣ)", (0.5,), (HALF,)),
    Row("chain", "1 / (1 + e⁻ˣ)", jaxnn.sigmoid, "e⁻ˣ / (1 + e⁻ˣ)²", (0.5,), (HALF * (1 - HALF),)),
    Row("chain", "sin²(3x)", lambda x: jnp.sin(3 * x) ** 2, "6 sin(3x) cos(3x)", (0.5,), (6 * sin(1.5) * cos(1.5),)),
    Row("chain", "sin(cos x)", lambda x: jnp.sin(jnp.cos(x)), "-cos(cos x) sin x", (1.0,), (-cos(cos(1)) * sin(1),)),
    Row("partial", "x²y", lambda x, y: x**2 * y, "2xy, x²", (0.5, 0.5), (0.5, 0.25)),
    Row("partial", "xy + x²", lambda x, y: x * y + x**2, "y + 2x, x", (2.0, 3.0), (7, 2)),
    Row("partial", "x^y", lambda x, y: x**y, "y x^(y-1), x^y ln x", (2.0, 3.0), (3 * 4, 8 * log(2))),
    Row("partial", "√(x² + y²)", lambda x, y: jnp.sqrt(x**2 + y**2), "x / r, y / r", (3.0, 4.0), (3 / 5, 4 / 5)),
    Row("total", "xy; x = cos t, y = sin t", lambda t: jnp.cos(t) * jnp.sin(t), "cos 2t", (1.0,), (cos(2),)),
)  # fmt: skip

VARIABLES = ("x", "y", "M")
CURVES = (("x² + 3", 0, 8), ("xˣ", 0.1, 2.8), ("exp(-x²/2)", -1, 3))  # drawn, with their tangents
EPS32, EPS64 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64))


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      decimals: to how many decimals the matrix example is compared.
      points: of each curve of the figure.
    """

    decimals: int = 4
    points: int = 61


QUICK = Config(points=21)


def bilinear(x: jax.Array, y: jax.Array, M: jax.Array) -> jax.Array:
    """Return yᵀ M⁻¹ x."""
    return y @ jnp.linalg.solve(M, x)


def sum_of_rows(points: tuple[Any, ...]) -> jax.Array:
    """Return the sum of all functions, each of variables of its own: its gradient is the gradient of every row."""
    return sum(row.f(*at) for row, at in zip(ROWS, points, strict=True))


@jax.jit
def gradients(points: tuple[Any, ...]) -> list[tuple[jax.Array, ...]]:
    """Return jax.grad of each row at its point."""
    return [jax.grad(row.f, tuple(range(len(at))))(*at) for row, at in zip(ROWS, points, strict=True)]


def matrix_example() -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return x, y and M, and the derivatives by them, worked out by hand."""
    M = np.array([[2, 1, 0, 0], [0, 3, 1, 0], [1, 0, 2, 1], [0, 1, 0, 4]])
    x, y = np.array([1, 2, 3, 4]), np.array([1, 0, -1, 2])
    a = np.array([17, 20, 48, 49]) / 54  # M a = x, by elimination
    b = np.array([35, -22, -16, 31]) / 54  # Mᵀ b = y
    return (x, y, M), (b, a, -np.outer(b, a))


def run(config: Config) -> dict[str, Any]:
    """Differentiate every row in float32 and in float64, and by differences; compare with the numbers by hand."""
    points, (matrices, matrices_by_hand) = tuple(row.at for row in ROWS), matrix_example()
    single = gradients(jax.tree.map(jnp.float32, points))
    found = jax.jit(jax.grad(bilinear, (0, 1, 2)))(*map(jnp.float32, matrices))
    with jax.enable_x64(True):
        points = jax.tree.map(jnp.float64, points)
        double, central = gradients(points), jaxnn.search.derivative(sum_of_rows, points, "central")
    by_hand = _numbers([row.by_hand for row in ROWS])
    side = np.linspace(0, 1, config.points)
    return {
        "rows": [
            {"rule": row.rule, "function": row.function, "derivative": row.derivative, "at": row.at}
            | {"by_hand": row.by_hand, "found": [float(number) for number in numbers]}
            for row, numbers in zip(ROWS, single, strict=True)
        ],
        "differences": {
            name: np.abs(_numbers(tree) - by_hand) / np.maximum(1, np.abs(by_hand))
            for name, tree in (("float32", single), ("float64", double), ("central", central.gradient))
        },
        "evaluations": central.evaluations,
        "matrix": {
            "value": float(matrices_by_hand[0] @ matrices[0]),
            "given": dict(zip(VARIABLES, matrices, strict=True)),
            "by_hand": dict(zip(VARIABLES, matrices_by_hand, strict=True)),
            "found": dict(zip(VARIABLES, found, strict=True)),
        },
        "curves": [_curve(function, *span, config.points) for function, *span in CURVES],
        "surface": side**2 * side[:, None],  # x²y, a row for each y
    }


def _numbers(tree: Any) -> np.ndarray:
    return np.array([float(number) for number in jax.tree.leaves(tree)])


def _curve(function: str, low: float, high: float, points: int) -> dict[str, Any]:
    row = next(row for row in ROWS if row.function == function)
    x = np.linspace(low, high, points, dtype=np.float32)
    return {"function": function, "x": x, "value": jax.vmap(row.f)(x)}


def table(report: dict[str, Any]) -> str:
    """Return every row, and the matrix example below."""

    def text(numbers: list[float]) -> str:
        return ", ".join(f"{number:.6g}" for number in numbers)

    rows = [["rule", "function", "derivative", "at", "by hand", "jax.grad", "difference"]]
    differences = differences_by_row(report)
    for row in report["rows"]:
        numbers = [text(row[name]) for name in ("at", "by_hand", "found")]
        difference = f"{max(differences[row['function']]):.1g}"
        rows.append([row["rule"], row["function"], row["derivative"], *numbers, difference])
    lines = [in_columns(rows), ""]
    for name in VARIABLES:
        lines += [f"∂(yᵀ M⁻¹ x)/∂{name}:", np.array2string(np.array(report["matrix"]["found"][name]), precision=4)]
    lines += [f"{name}: largest difference {far:.2g}" for name, far in largest_differences(report).items()]
    return "\n".join(lines)


def differences_by_row(report: dict[str, Any]) -> dict[str, list[float]]:
    """Return |difference| / max(1, |by hand|) in float32 by function: taken before rounding, so 0 is the last bit."""
    differences = iter(report["differences"]["float32"])  # one for each number by hand
    return {row["function"]: [next(differences) for _ in row["by_hand"]] for row in report["rows"]}


def largest_differences(report: dict[str, Any]) -> dict[str, float]:
    """Return the largest |difference| / max(1, |by hand|), for each way to differentiate."""
    return {name: max(values) for name, values in report["differences"].items()}


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    count, far = len(report["differences"]["float32"]), largest_differences(report)
    places = sum(np.size(part) for part in report["matrix"]["found"].values())
    return (
        f"Yes: `jax.grad` gives the {count} derivatives of {len(report['rows'])} functions as the rules do by hand, "
        f"within {far['float32'] / EPS32:.1f} eps in float32 and {far['float64'] / EPS64:.1f} eps in float64, and "
        f"the {places} of yᵀ M⁻¹ x to {report['config']['decimals']} decimals."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: tangents and a gradient, the matrix example, and every difference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(1.15, 1.1, 0.8))
    axes = top.subplots(1, 4)
    rows = {row["function"]: row for row in report["rows"]}
    for ax, curve in zip(axes, report["curves"], strict=False):
        _draw_tangent(ax, curve, rows[curve["function"]])
    _draw_gradient(axes[3], report["surface"], rows["x²y"])
    _draw_matrices(middle, report["matrix"])
    _draw_differences(bottom.subplots(), report)
    return figure


def _draw_tangent(ax: Any, curve: dict[str, Any], row: dict[str, Any]) -> None:
    (at,), (slope,) = row["at"], row["found"]
    height = float(np.interp(at, curve["x"], curve["value"]))
    x = np.array(curve["x"])
    ax.plot(x, curve["value"], color=DARK)
    ax.plot(x, height + slope * (x - at), color=ORANGE, linestyle="--")
    ax.plot(at, height, "o", color=ORANGE)
    room = 0.15 * np.ptp(curve["value"])
    ax.set(ylim=(min(curve["value"]) - room, max(curve["value"]) + room), xlabel="x")
    ax.set_title(f"{row['function']} at {at:g}: slope {slope:.4g}", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_gradient(ax: Any, surface: Any, row: dict[str, Any]) -> None:
    side = np.linspace(0, 1, len(surface))
    levels = (0.02, 0.1, 0.2, 0.4, 0.6)
    lines = ax.contour(side, side, surface, levels=levels, colors=GREY, linewidths=1)
    ax.clabel(lines, fmt="%g", fontsize=8, manual=[((level / 0.9) ** 0.5, 0.9) for level in levels])
    ax.annotate(
        "", np.add(row["at"], row["found"]), row["at"], arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 2}
    )
    ax.plot(*row["at"], "o", color=ORANGE)
    ax.set(xlabel="x", ylabel="y", aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_title(f"x²y at (0.5, 0.5): ({row['found'][0]:g}, {row['found'][1]:g})", fontsize=10)


def _draw_matrices(figure: Any, matrix: dict[str, Any]) -> None:
    given, found = matrix["given"], matrix["found"]
    parts = (
        (given["M"], "M", "d"),
        (given["x"], "x", "d"),
        (given["y"], "y", "d"),
        (found["x"], "∂/∂x = M⁻ᵀ y", ".4f"),
        (found["y"], "∂/∂y = M⁻¹ x", ".4f"),
        (found["M"], "∂/∂M = -M⁻ᵀ y xᵀ M⁻ᵀ", ".4f"),
    )
    figure.suptitle(f"g = yᵀ M⁻¹ x = {matrix['value']:.4f} and its derivatives by jax.grad", fontsize=10)
    axes = figure.subplots(1, len(parts), width_ratios=(2.6, 0.7, 0.7, 1.4, 1.4, 4.2))
    for ax, (numbers, heading, form) in zip(axes, parts, strict=True):
        a = np.array(numbers).reshape(4, -1)
        shade = np.abs(a) / np.abs(a).max()
        ax.imshow(shade, cmap="gray_r", vmin=0, vmax=2.2, aspect="auto")  # no darker than black letters can bear
        for i, j in np.ndindex(a.shape):
            ax.text(j, i, format(a[i, j], form), ha="center", va="center", fontsize=9)
        ax.set(xticks=(), yticks=())
        ax.set_title(heading, fontsize=10)


def _draw_differences(ax: Any, report: dict[str, Any]) -> None:
    exact_at = 1e-19
    ways = (
        ("float32", "jax.grad, float32", DARK, "o"),
        ("float64", "jax.grad, float64", BLUE, "s"),
        ("central", f"central differences,\nfloat64, {report['evaluations']} evaluations", ORANGE, "^"),
    )
    for place, (name, _, colour, marker) in enumerate(ways):
        d = np.array(report["differences"][name])
        spread = np.linspace(0.25, -0.25, len(d))  # in the order of the table, so that no two lie on each other
        ax.plot(np.maximum(d, exact_at), place + spread, marker, color=colour, markersize=4, alpha=0.7)
        ax.annotate(
            f"{np.sum(d == 0)} exact",
            (exact_at, place),
            xytext=(-12, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
        )
    for eps, text in ((EPS32, "eps of float32"), (EPS64, "eps of float64")):
        ax.axvline(eps, color=GREY, linestyle=":")
        ax.text(eps, -0.55, text, ha="center", va="bottom", fontsize=9)
    ax.set(xscale="log", xlim=(2e-21, 1e-5), ylim=(2.5, -0.5), xlabel="|found - by hand| / max(1, |by hand|)")
    ax.set_yticks(range(3), [label for _, label, _, _ in ways])
    ax.set_xticks([10.0**k for k in range(-17, -4, 2)])
    ax.spines[["top", "right"]].set_visible(False)


def check(report: dict[str, Any]) -> None:
    """Assert the answer, as it was found."""
    found = {row["function"]: row["found"] for row in report["rows"]}
    assert found["x² + 3"] == [10], "the slope of x² + 3 at 5 is 10"
    assert found["x²y"] == [0.5, 0.25], "the gradient of x²y at (0.5, 0.5) is (0.5, 0.25)"
    assert found["xy + x²"] == [7, 2], "the gradient of xy + x² at (2, 3) is (7, 2)"
    differences = differences_by_row(report)
    for function in ("x² + 3", "x²y", "xy + x²"):
        assert max(differences[function]) == 0, f"the derivatives of {function} are exact in float32, to the last bit"
    for row in report["rows"]:
        np.testing.assert_allclose(row["found"], row["by_hand"], rtol=1e-5, atol=1e-6, err_msg=row["function"])
    far = largest_differences(report)
    assert far["float32"] <= 4 * EPS32, "in float32, four roundings"
    assert far["float64"] <= 4 * EPS64, "in float64, four of its roundings"
    assert far["central"] <= 1e-8, "central differences in float64, eight digits"
    assert report["evaluations"] == 2 * len(report["differences"]["central"]) + 1, (
        "two evaluations a derivative, and one"
    )
    matrix, decimals = report["matrix"], report["config"]["decimals"]
    for name in VARIABLES:
        same = np.round(matrix["found"][name], decimals) == np.round(matrix["by_hand"][name], decimals)
        assert same.all(), f"the derivative of yᵀ M⁻¹ x by {name}, to {decimals} decimals"
