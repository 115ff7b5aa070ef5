"""Why not just try neighbours? The evaluations of g that 99 % of the climb takes, in 1 to 1,000 dimensions.

A chain of D numbers, each drawn to 0 and to its neighbours; the start is a random point with g(w) = -D:

    g(w) = -½ Σ_i w_i² - ½ c Σ_i (w_i+1 - w_i)²,      curvatures from 1 to at most 1 + 4c, whatever D

With c = 2 no axis is an axis of the hill, but in any dimension the hill is about as steep. What is counted is
evaluations of g until 99 % of the climb to the top is done, for

    best neighbour     look at all w ± step e_i, go to the highest; step <- ½ step where none is higher
    first neighbour    go to the first that is higher, and on along that axis as long as it helps
    differences        w <- w + 1/L ĝ, ĝ_i = (g(w + h e_i) - g(w)) / h: D + 1 evaluations a step
    SPSA               w <- w + 1/tr(A) ĝ, one difference along a random ±1 in every coordinate: 3 evaluations a step
    autodiff           w <- w + 1/L ∇g(w), reverse mode: 1 evaluation a step, and the backward pass

With g(w) = -½ wᵀA w, L is the largest curvature and tr(A) the sum of all: the rates for which theory promises the most
(Nocedal and Wright 2006, Numerical Optimization, chapter 3; Spall 1992, Multivariate Stochastic Approximation; for the
factor D Nesterov and Spokoiny 2017, Random Gradient-Free Minimization of Convex Functions). A backward pass costs as
much as 1 to 4 evaluations more; the band of the figure counts each gradient as 5.

Expected, before the run: best neighbour grows as D², for each of about D moves costs 2D looks. First neighbour and
differences grow as D. So does SPSA: 3 evaluations a step whatever D, but the noise allows only steps so short that it
takes D times as many. Autodiff is constant.

Found (5 starts, exponents fitted from D = 10 to 1,000): the orders are as expected, the exponents not all whole. Best
neighbour 1.92 (95 %: 1.89 to 1.96), SPSA 0.99; first neighbour 1.12 (1.10 to 1.14), for it looks at 8 neighbours a move
in 10 dimensions and at 18 in 1,000. Differences 0.92 and autodiff -0.06: a random start in many dimensions is an
average one and takes 7 steps, not 9. SPSA is no way round the dimension: it needs almost three times the evaluations of
plain differences. In one dimension nothing of this matters: all methods take 2 to 7 evaluations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments._figure import BLUE, PALE, STYLES, new_figure
from experiments._report import in_columns, interval, track
from jaxnn import search

COST_OF_A_GRADIENT = 5  # evaluations, at most: one forwards, and backwards up to four more


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      dimensions: the D.
      share: of the climb from the start to the top.
      coupling: c.
      num_seeds: starts of every dimension.
      seed: of the starts; SPSA draws with seed + 1, + 2 ...
      fitted_from: growth is fitted to dimensions from here on.
    """

    dimensions: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000)
    share: float = 0.99
    coupling: float = 2.0
    num_seeds: int = 5
    seed: int = 0
    fitted_from: int = 10


QUICK = Config(dimensions=(10, 100), num_seeds=3)


def run(config: Config) -> dict[str, Any]:
    """Climb by five methods, from several starts, in every dimension."""

    def g(w: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(w**2) - 0.5 * config.coupling * jnp.sum(jnp.diff(w) ** 2)

    counts = [_count_all(g, D, config) for D in track(config.dimensions, "dimensions")]
    used = np.array(config.dimensions) >= config.fitted_from
    methods = {}
    for name in counts[0]:
        evaluations, steps, reached = np.array([count[name] for count in counts]).transpose(2, 0, 1)
        methods[name] = {  # counts are [dimension, seed]
            "evaluations": evaluations,
            "steps": steps,
            "reached": reached.astype(bool),
            "exponent": _growth(np.array(config.dimensions)[used], evaluations[used]),
            "exponent_of_steps": _growth(np.array(config.dimensions)[used], steps[used]),
        }
    return {"methods": methods}


def _count_all(g: Callable, D: int, config: Config) -> dict[str, list[tuple[int, int, bool]]]:
    """Return (evaluations, steps, whether they reached the goal) of every method from every start."""
    goal = -(1 - config.share) * D
    normal = np.random.default_rng(config.seed).normal(size=(config.num_seeds, D)).astype(np.float32)
    starts = normal * np.sqrt(-D / np.array([g(w) for w in normal]))[:, None]  # on all g is -D
    laplacian = 2 * (1 - np.cos(np.pi * np.arange(D) / D))  # the curvatures of Σ (w_i+1 - w_i)²
    curvatures = 1 + config.coupling * laplacian
    exact, noisy = 1 / curvatures.max(), 1 / curvatures.sum()
    return {
        "best neighbour": _by_neighbours(g, starts, goal, "best"),
        "first neighbour": _by_neighbours(g, starts, goal, "first"),
        "differences": _by_gradients(g, starts, goal, "one_sided", exact, num_steps=60),
        "SPSA": _by_gradients(g, starts, goal, "spsa", noisy, num_steps=200 + 30 * D, seed=config.seed + 1),
        "autodiff": _by_gradients(g, starts, goal, "reverse", exact, num_steps=60),
    }


def _by_neighbours(g: Callable, starts: np.ndarray, goal: float, rule: str) -> list[tuple[int, int, bool]]:
    """Return evaluations and moves of hill climbing from each start until g is at the goal, and whether it is."""
    D = starts.shape[1]
    most = 60 * D * (20 + D if rule == "best" else 20)

    def capped(w: jax.Array) -> jax.Array:
        return jnp.minimum(g(w), goal)  # nothing is higher than the goal, so a search there ends after a round in vain

    def count(w: Any) -> tuple[int, int, bool]:
        looks, moves = 1, 0
        for halvings in range(10):  # one length of step a search, so that the round in vain is counted off exactly
            step = 0.5**halvings
            found = search.hill_climb(
                capped, w, step=step, smallest_step=step, rule=rule, max_evaluations=most, keep_path=False
            )
            w, looks, moves = found.params, looks + found.evaluations - 1, moves + len(found.values) - 1
            if found.value >= goal:
                return looks - 2 * D, moves, True
        return looks, moves, False

    return [count(w) for w in starts]


def _by_gradients(
    g: Callable, starts: np.ndarray, goal: float, method: str, rate: float, num_steps: int, seed: int | None = None
) -> list[tuple[int, int, bool]]:
    """Return evaluations and steps of gradient ascent from each start until g is at the goal, and whether it is."""

    def count(i: int, w: np.ndarray) -> tuple[int, int, bool]:
        key = None if seed is None else seed + i
        found = search.gradient_ascent(
            g, w, optax.sgd, learning_rate=rate, num_steps=num_steps, method=method, key=key, keep_path=False
        )
        there = found.values >= goal
        reached = bool(there.any())
        steps, each = int(there.argmax()) if reached else num_steps, found.evaluations // len(there)
        return steps * each + 1, steps, reached  # that the goal is reached is seen at the next evaluation

    return [count(i, w) for i, w in enumerate(starts)]


def _growth(D: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Return the exponent p of counts ∝ D^p: the slope of the line through the logarithms, over the seeds."""
    return interval(np.polyfit(np.log(D), np.log(counts), 1)[0])


def table(report: dict[str, Any]) -> str:
    """Return the mean evaluations for each method and dimension, and how they grow."""
    rows = [["evaluations of g", *(f"D = {D:,}" for D in report["config"]["dimensions"]), "grow as", "95 %"]]
    for name, found in report["methods"].items():
        p = found["exponent"]
        means = [f"{np.mean(counts):,.0f}" for counts in found["evaluations"]]
        rows.append([name, *means, f"D^{p['mean']:.2f}", f"{p['low']:.2f} to {p['high']:.2f}"])
    return in_columns(rows)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    D = report["config"]["dimensions"][-1]
    needed = {name: np.mean(found["evaluations"][-1]) for name, found in report["methods"].items()}
    p = {name: found["exponent"]["mean"] for name, found in report["methods"].items()}
    return (
        f"Because each look tells of one direction only: in {D:,} dimensions {report['config']['share']:.0%} of the "
        f"climb takes {needed['autodiff']:.0f} evaluations with automatic differentiation (and as many backward "
        f"passes), "
        f"but {needed['differences']:,.0f} with differences, {needed['SPSA']:,.0f} with SPSA, "
        f"{needed['first neighbour']:,.0f} at the first higher neighbour and "
        f"{needed['best neighbour']:,.0f} at the best; "
        f"they grow as D to the power of {p['autodiff']:.2f}, {p['differences']:.2f}, {p['SPSA']:.2f}, "
        f"{p['first neighbour']:.2f} and {p['best neighbour']:.2f}."
    )


LINES = {
    "best neighbour": STYLES[0],
    "first neighbour": STYLES[1],
    "SPSA": STYLES[2],
    "differences": STYLES[3] | {"markersize": 8},
    "autodiff": {"color": BLUE, "linestyle": "-", "marker": "v"},
}


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: evaluations, and the steps they were spent on, against the dimension."""
    D = np.array(report["config"]["dimensions"])
    share = report["config"]["share"]
    figure, axes = new_figure(10, 4.6, columns=2, sharey=True)
    for ax, counted, growth in zip(axes[0], ("evaluations", "steps"), ("exponent", "exponent_of_steps"), strict=True):
        for name, style in LINES.items():
            found = report["methods"][name]
            counts = np.array(found[counted])
            label = f"{name}  $D^{{\\,{found[growth]['mean']:.2f}}}$"
            ax.plot(D, counts.mean(axis=1), **{"markersize": 5} | style, label=label)
            ax.fill_between(D, counts.min(axis=1), counts.max(axis=1), color=style["color"], alpha=0.15, linewidth=0)
        ax.set(
            xscale="log", yscale="log", xlabel=f"dimension D (growth fitted from {report['config']['fitted_from']} on)"
        )
        ax.legend(frameon=False, loc="upper left", fontsize=9)
        ax.grid(color=PALE, linewidth=0.6)
    once = np.mean(report["methods"]["autodiff"]["evaluations"], axis=1)
    axes[0, 0].fill_between(
        D, once, COST_OF_A_GRADIENT * once, facecolor="none", edgecolor=BLUE, hatch="////", linewidth=0, alpha=0.5
    )
    axes[0, 0].text(
        D[-1],
        1.15 * COST_OF_A_GRADIENT * once[-1],
        "hatched: with the backward passes, at most",
        ha="right",
        va="bottom",
        fontsize=8,
        color=BLUE,
    )
    axes[0, 0].set_ylabel(f"count until {share:.0%} of the climb is done")
    bands = f"(mean of {report['config']['num_seeds']} starts; shaded: lowest to highest)"
    axes[0, 0].set_title(f"Evaluations of g {bands}", fontsize=10)
    axes[0, 1].set_title(f"Steps taken {bands}", fontsize=10)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    p = {name: found["exponent"]["mean"] for name, found in report["methods"].items()}
    steps = {name: found["exponent_of_steps"]["mean"] for name, found in report["methods"].items()}
    needed = {name: np.mean(found["evaluations"][-1]) for name, found in report["methods"].items()}
    for name, found in report["methods"].items():
        assert np.all(found["reached"]), (
            f"{name} reaches the goal from every start, so that the counts are of the climb"
        )
    assert abs(p["best neighbour"] - 2) < 0.25, "the best neighbour costs D²"
    for name in ("first neighbour", "differences", "SPSA"):
        assert abs(p[name] - 1) < 0.25, f"{name} costs D"
    assert abs(p["autodiff"]) < 0.25, "autodiff costs the same in any dimension"
    assert abs(steps["differences"]) < 0.25 and abs(steps["SPSA"] - 1) < 0.25, (
        "one pays by the step, the other in steps"
    )
    others = min(count for name, count in needed.items() if name != "autodiff")
    assert others > COST_OF_A_GRADIENT * needed["autodiff"], "autodiff is cheapest, its backward passes counted"
