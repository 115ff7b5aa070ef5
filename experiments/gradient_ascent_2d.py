"""What does the learning rate do? Crawling, converging, oscillating, diverging, and where the border 2/L is.

On a hill with curvatures 1 and L = 10, turned by 30 degrees, w <- w + α ∇g(w) is run for four rates α. Along the
direction of curvature λ each step multiplies the distance to the top by 1 - αλ (Nocedal and Wright 2006, Numerical
Optimization, chapter 3; Goh 2017, Why Momentum Really Works):

    α λ << 1      hardly any progress               1 < α L < 2     from side to side of the ridge, still uphill
    α L <= 1      without crossing the ridge        α L > 2         farther away with every step

Then the border is measured. For random hills of two numbers, L between 1 and 100, bisection finds the rate at which the
gradient at the end of a run is longer than at its start, knowing nothing of L; and so for a log likelihood (logistic
regression of a kind of iris on two measures), from close to its maximum, where L is the largest curvature at it.

Expected, before the run: every measured border is within 1 % of 2/L. On the log likelihood, whose curvature falls away
from the maximum, a rate above the border does not diverge as on a quadratic: it ends up going to and fro.

Found (10 random hills, and the log likelihood): as expected, and closer: all borders are within 0.04 % of 2/L, of
which the last bracket of the bisection is 0.02 %, the rest the length of the runs. 10 % above its border the log
likelihood ends in a cycle of two points, 0.008 and 0.015 nats per example below the maximum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, STYLES
from experiments._petals import log_likelihood
from experiments._report import in_columns

RATES = {"crawling": 0.02, "converging": 0.8, "oscillating": 1.9, "diverging": 2.06}  # times 1 / L
SIDE = 61


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      curvature: L of the hill that is drawn; the other curvature is 1.
      num_steps: of the paths.
      num_hills: random hills whose border is measured.
      border_steps: steps of the runs that measure it.
      halvings: of the bracket, from 0.001 to 1,000 at first.
      seed: of the hills; the starts have seed + 1.
    """

    curvature: float = 10.0
    num_steps: int = 30
    num_hills: int = 10
    border_steps: int = 2000
    halvings: int = 16
    seed: int = 0


QUICK = Config(num_hills=2)
START = (-2.0, 1.4)


def hill(A: Any) -> Callable:
    """Return g(w) = -½ wᵀA w."""
    return lambda w: -0.5 * w @ jnp.asarray(A, jnp.float32) @ w


def turned(curvatures: Any, angle: float) -> np.ndarray:
    """Return the matrix of these curvatures, the first along a direction at this angle (radians)."""
    Q = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Q @ np.diag(curvatures) @ Q.T


def run(config: Config) -> dict[str, Any]:
    """Draw four paths on one hill; measure the border on random hills and on a log likelihood."""
    L = config.curvature
    A = turned((1, L), np.pi / 6)
    g = hill(A)

    def climb(rate: jax.Array) -> jaxnn.search.Search:
        return jaxnn.search.gradient_ascent(
            g, jnp.array(START), optax.sgd, learning_rate=rate, num_steps=config.num_steps
        )

    found = jax.vmap(climb)(jnp.array(list(RATES.values())) / L)  # all rates in one program
    steep = np.array([-np.sin(np.pi / 6), np.cos(np.pi / 6)])
    paths = {
        name: {
            "rate": RATES[name] / L,
            "path": np.asarray(found.path[i]),
            "values": np.asarray(found.values[i]),
            "turns": _turns(np.asarray(found.path[i]) @ steep),
        }
        for i, name in enumerate(RATES)
    }
    return {"A": A, "paths": paths, "borders": _hills(config), "log_likelihood": _log_likelihood(config)}


def _turns(along: np.ndarray) -> int:
    """Return how many of the first ten steps led to the other side of the top, along one direction."""
    return int(np.sum(along[:10] * along[1:11] < 0))


def _hills(config: Config) -> list[dict[str, float]]:
    """Return L, 2/L and the measured border of random hills."""
    rng, starts = np.random.default_rng(config.seed), np.random.default_rng(config.seed + 1)
    borders = []
    for _ in range(config.num_hills):
        L = 10 ** rng.uniform(0, 2)
        A = turned((L * rng.uniform(0.01, 1), L), rng.uniform(0, np.pi))
        borders.append(_compare(hill(A), jnp.asarray(starts.normal(size=2), jnp.float32), L, config))
    return borders


def _log_likelihood(config: Config) -> dict[str, Any]:
    """Return the border of a log likelihood at its maximum, and where a run 10 % above it ends."""
    g = log_likelihood()

    def climb(w: jax.Array, rate: float) -> jaxnn.search.Search:
        return jaxnn.search.gradient_ascent(
            g, w, optax.sgd, learning_rate=rate, num_steps=config.border_steps, keep_path=False
        )

    top = climb(jnp.zeros(2), 2.0)  # no curvature is above ¼ of the mean |x|², ½ here
    L = float(np.linalg.eigvalsh(-np.asarray(jax.jit(jax.hessian(g))(top.params), float))[-1])
    near = top.params + 0.01 * jax.random.normal(jax.random.key(config.seed + 1), (2,))
    found = _compare(g, near, L, config)
    above = climb(near, 1.1 * found["measured"])
    return found | {
        "maximum": top.value,
        "gradient_at_the_maximum": top.gradient_norms[-1],
        "last_values_above_the_border": above.values[-4:],
    }


def _compare(g: Callable, start: jax.Array, L: float, config: Config) -> dict[str, float]:
    measured = border(g, start, config)
    return {"L": L, "two_over_L": 2 / L, "measured": measured, "error": measured * L / 2 - 1}


def border(g: Callable, start: jax.Array, config: Config) -> float:
    """Return, by bisection, the learning rate above which gradient ascent moves away from the top."""
    low, high = 1e-3, 1e3
    for _ in range(config.halvings):
        middle = (low * high) ** 0.5
        norms = jaxnn.search.gradient_ascent(
            g, start, optax.sgd, learning_rate=middle, num_steps=config.border_steps, keep_path=False
        ).gradient_norms
        if norms[-1] < norms[0]:
            low = middle
        else:  # longer, or no longer finite
            high = middle
    return (low * high) ** 0.5


def table(report: dict[str, Any]) -> str:
    """Return how the four runs went, and the measured borders."""
    L = report["config"]["curvature"]
    rows = [["run", "rate", "rate L", "g, first", f"g, step {report['config']['num_steps']}", "turns in 10 steps"]]
    for name, run in report["paths"].items():
        rows.append([name, run["rate"], run["rate"] * L, run["values"][0], run["values"][-1], str(run["turns"])])
    more = [["border", "L", "2/L", "measured", "error"]]
    named = [(f"hill {i + 1}", found) for i, found in enumerate(report["borders"])]
    for name, found in [*named, ("log likelihood", report["log_likelihood"])]:
        more.append([name, found["L"], found["two_over_L"], found["measured"], f"{found['error']:+.3%}"])
    return f"{in_columns(rows)}\n\n{in_columns(more)}"


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    worst = max(abs(found["error"]) for found in report["borders"])
    ll = report["log_likelihood"]
    return (
        f"Too small a rate crawls, one up to 1/L climbs without crossing the ridge, one between 1/L and 2/L goes from "
        f"side to side, and one above 2/L diverges: on "
        f"{len(report['borders'])} random quadratics bisection finds the border within {worst:.2%} of 2/L, and at the "
        f"maximum of a log likelihood within {abs(ll['error']):.2%}."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: four paths, their values, and the measured borders."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    axes = above.subplots(1, 4, sharey=True)
    for ax, (name, run) in zip(axes, report["paths"].items(), strict=True):
        _draw_path(ax, name, run, np.array(report["A"]), report["config"]["curvature"])
    axes[0].set_ylabel("$w_2$")

    ax, right = below.subplots(1, 2)
    for (name, run), style in zip(report["paths"].items(), STYLES, strict=True):
        ax.plot(-np.array(run["values"]), **style, markersize=3.5, markevery=3, label=name)
    ax.set(yscale="log", ylim=(1e-3, 2e3), xlabel="step", ylabel="g(top) - g(w)")
    ax.set_title("What is left of the climb", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left")

    ax = right
    L = np.geomspace(0.1, 120, 50)
    ax.plot(L, 2 / L, color=GREY, linewidth=1, label="2 / L")
    found = report["borders"]
    ax.plot([f["L"] for f in found], [f["measured"] for f in found], "o", color=DARK, markersize=5, label="quadratics")
    ll = report["log_likelihood"]
    ax.plot(ll["L"], ll["measured"], "^", color=ORANGE, markersize=8, label="a log likelihood, at its maximum")
    ax.set(xscale="log", yscale="log", xlabel="largest curvature, L", ylabel="largest rate that converges")
    worst = max(abs(f["error"]) for f in [*found, ll])
    ax.set_title(f"The border by bisection: within {worst:.2%} of 2 / L", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_path(ax: Any, name: str, run: dict[str, Any], A: np.ndarray, L: float) -> None:
    """Draw one path over the contours of the hill, an open ring at its start and a star at its end."""
    a, b = np.linspace(-2.6, 2.6, SIDE), np.linspace(-2.2, 2.2, SIDE)
    grid = np.stack(np.meshgrid(a, b), axis=-1)
    heights = -0.5 * np.einsum("...i,ij,...j", grid, A, grid)
    levels = heights.min() * np.linspace(1, 0, 13) ** 2  # closer in value towards the top
    ax.contourf(a, b, heights, levels=levels, colors=[str(grey) for grey in np.linspace(0.72, 1, 12)])
    path = np.array(run["path"])
    ax.plot(*path.T, color=BLUE, marker="o", markersize=2.5, linewidth=0.8)
    ax.plot(*path[0], "o", color=DARK, markerfacecolor="white", markersize=8)
    ax.plot(*path[-1], "*", color=DARK, markersize=12, markeredgecolor="white")
    ax.set(xlim=(a[0], a[-1]), ylim=(b[0], b[-1]), xlabel="$w_1$")
    ax.set_aspect("equal")
    ax.set_title(f"{name}: rate {run['rate'] * L:g} / L", fontsize=10)


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    left = {name: run["values"][-1] / run["values"][0] for name, run in report["paths"].items()}
    turns = {name: run["turns"] for name, run in report["paths"].items()}
    assert left["crawling"] > 0.1 and turns["crawling"] == 0, "a small rate crawls"
    assert left["converging"] < 0.01 and turns["converging"] == 0, "a rate below 1/L climbs without crossing the ridge"
    assert left["oscillating"] < 0.01 and turns["oscillating"] == 10, "between 1/L and 2/L it goes from side to side"
    assert left["diverging"] > 1 and turns["diverging"] == 10, "above 2/L it leaves"
    assert all(abs(found["error"]) < 0.01 for found in report["borders"]), "the border is 2/L, to 1 %"
    ll = report["log_likelihood"]
    assert abs(ll["error"]) < 0.01, "and that of the curvature at the maximum of a log likelihood"
    a, b, c, d = ll["last_values_above_the_border"]
    assert np.allclose((a, b), (c, d), rtol=1e-3), "above it, that does not diverge, but goes to and fro"
    assert ll["maximum"] - 1e-3 > max(a, b), "between two points below the maximum"
