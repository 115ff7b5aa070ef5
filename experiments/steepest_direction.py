"""Is the gradient really the steepest? Every step of length ε around w, the best one against ε ∇g / |∇g|.

Around each of several points w of several functions g, all steps d of length ε are tried: 720 around the circle, then,
twice, 720 more about the best so far. Where the best one points is held against the gradient, for ε from 1 down to
0.001. With n the direction of the gradient, t the one at right angles, and H the second derivatives,

    g(w + d) = g + ∇g·d + ½ dᵀH d + ...        is highest on |d| = ε at an angle of about ε |nᵀH t| / |∇g| from n

(put d = ε (n cos θ + t sin θ), set the derivative by θ to 0, keep the first order). What is lost by following the
gradient instead, of what the best step gains, is then of second order in ε. The same is done for steps measured by
|d_1| + |d_2| and by max |d_i|, where "steepest" is one axis and a diagonal (Boyd and Vandenberghe 2004, Convex
Optimization, section 9.4).

Expected, before the run: on a plane and on a round hill the gradient is the best step at any ε; elsewhere the angle
shrinks in proportion to ε, with the constant above, and the loss as ε². With ε = 1 the best step may point anywhere.
For the other two lengths the best step is a corner of the diamond or the square, so once ε is small enough it is
exactly the predicted one, not only nearly.

Found (20 points of each function, ε from 1 to 0.001): as expected for the median point, with exponents of 0.99 to 1.01
for the angle and 2.00 to 2.01 for the loss. Not for every point: where the constant is nearly 0 (0.02 in the valley),
or so close to the floor of the valley that a step of 0.03 crosses it, ε is not small yet, and the exponents from 0.03
to 0.001 are anything from 0.6 to 2.1. So medians are asserted. With ε = 1 the best step can point the opposite way
(173 degrees from the gradient, on the waves). The corners are exact at every point once ε is below 0.006 or so, and at
two thirds to three quarters of the points at 0.3 already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments._figure import DARK, GREY, ORANGE, PALE, STYLES, new_figure
from experiments._petals import log_likelihood
from experiments._report import in_columns

NORMS = {"l2": 2, "l1": 1, "linf": jnp.inf}
SHOWN, POINT = "valley", (-0.9, 0.5)  # where the figure looks closely
REACH, SIDE = 1.05, 41
LEVELS = (-160, -120, -80, -50, -30, -20, -10, -6, -4, -3, -2, -1)  # of the valley, drawn
BEST = {"marker": "X", "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.7}  # the best steps, drawn
SAME = 1e-5  # radians; the steps that are tried lie closer
STRAIGHT = ("plane", "round hill")  # here all paths uphill are


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      functions: which of those below.
      directions: how many steps are tried at once, three times over.
      points: of each function, uniform in the square from -1 to 1.
      lengths: how many ε from 1 to `smallest`.
      smallest: the smallest ε.
      seed: of the points.
    """

    functions: tuple[str, ...] = ("plane", "round hill", "long hill", "valley", "waves", "log likelihood")
    directions: int = 720
    points: int = 20
    lengths: int = 13
    smallest: float = 1e-3
    seed: int = 0


QUICK = Config(functions=("round hill", "long hill", "log likelihood"), points=5, lengths=7)


def functions() -> dict[str, Callable]:
    """Return the functions of two numbers, the last one a log likelihood."""
    return {
        "plane": lambda w: 3 * w[0] - 4 * w[1],
        "round hill": lambda w: -0.5 * ((w[0] - 2) ** 2 + (w[1] - 1) ** 2),
        "long hill": lambda w: -0.5 * (w[0] - 2) ** 2 - 5 * (w[1] - 1) ** 2,
        "valley": lambda w: -((1 - w[0]) ** 2) - 10 * (w[1] - w[0] ** 2) ** 2,
        "waves": lambda w: jnp.sin(3 * w[0] + 1) * jnp.cos(2 * w[1]),
        "log likelihood": log_likelihood(),
    }


def run(config: Config) -> dict[str, Any]:
    """Compare the best step with the predicted one, for every function, point, norm and length."""
    lengths = np.geomspace(1, config.smallest, config.lengths)
    points = np.random.default_rng(config.seed).uniform(-1, 1, (config.points, 2))
    with jax.enable_x64(True):  # along the circle g is flat at its best: float32 could not tell such steps apart
        every = functions()
        found = {name: _compare(every[name], points, lengths, config) for name in config.functions}
        return {"lengths": lengths, "functions": found, "close": _closely(every[SHOWN], config)}


def _compare(g: Callable, points: np.ndarray, lengths: np.ndarray, config: Config) -> dict[str, Any]:
    """Return the angle between best and predicted step for each norm, and what is lost by l2's, `[length, point]`."""

    def compare(w: jax.Array, epsilon: jax.Array) -> dict[str, Any]:
        best = {norm: best_step(g, w, epsilon, norm, config.directions) for norm in NORMS}
        step = {norm: jaxnn.search.steepest_direction(g, w, epsilon, norm) for norm in NORMS}
        gained, possible = g(w + step["l2"]) - g(w), g(w + best["l2"]) - g(w)
        return {"angle": jax.tree.map(_angle, step, best), "lost": 1 - gained / possible}

    @jax.jit
    def all_points(w: jax.Array, lengths: jax.Array) -> dict[str, Any]:
        of_points = jax.vmap(compare, (0, None))
        turning = jax.vmap(lambda w: _turning(g, w))(w)
        return jax.lax.map(lambda epsilon: of_points(w, epsilon), lengths) | {"turning": turning}

    return jax.device_get(all_points(points, lengths))


def _angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the angle between two vectors (radians); the cosine would not tell small ones."""
    return jnp.abs(jnp.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))


def best_step(g: Callable, w: jax.Array, epsilon: Any, norm: str, directions: int) -> jax.Array:
    """Return the highest of the steps of one length: of all directions, then, twice, of those about the best."""

    def closer(_: int, about: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        middle, width, _ = about
        angles = middle + width * (jnp.arange(directions) / directions - 0.5)
        steps = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        steps = epsilon * steps / jnp.linalg.norm(steps, NORMS[norm], axis=1, keepdims=True)
        best = jnp.argmax(jax.vmap(lambda d: g(w + d))(steps))
        return angles[best], 4 * width / directions, steps[best]

    return jax.lax.fori_loop(0, 3, closer, (0.0, 2 * jnp.pi, jnp.zeros(2)))[2]


def _turning(g: Callable, w: jax.Array) -> jax.Array:
    """Return |nᵀH t| / |∇g|: how fast the direction of the gradient turns on the way uphill."""
    gradient = jax.grad(g)(w)
    size = jnp.linalg.norm(gradient)
    n = gradient / size
    t = jnp.array([-n[1], n[0]])
    return jnp.abs(n @ jax.hessian(g)(w) @ t) / size


def _closely(g: Callable, config: Config) -> dict[str, Any]:
    """Return what the figure shows of one point: heights around it, best and predicted steps."""
    w = jnp.array(POINT)
    side = jnp.linspace(-REACH, REACH, SIDE)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)

    @jax.jit
    def look() -> dict[str, Any]:
        def best(epsilon: Any, norm: str) -> jax.Array:
            return best_step(g, w, epsilon, norm, config.directions)

        return {
            "heights": jax.vmap(lambda d: g(w + d))(grid).reshape(SIDE, SIDE),
            "best": jax.lax.map(lambda epsilon: best(epsilon, "l2"), jnp.linspace(0.1, 1, 10)),
            "steps": {norm: jaxnn.search.steepest_direction(g, w, 1.0, norm) for norm in NORMS},
            "best_of_short": {norm: best(config.smallest, norm) / config.smallest for norm in NORMS},
        }

    return jax.device_get(look())


def slopes(report: dict[str, Any], name: str, what: str) -> np.ndarray:
    """Return the exponent p of angle ∝ ε^p (or of the loss) over the smaller half of the ε: quartiles of the points."""
    found = report["functions"][name]
    values = np.array(found["angle"]["l2"] if what == "angle" else found["lost"])
    small = slice(len(values) // 2, None)
    return np.quantile(np.polyfit(np.log(report["lengths"][small]), np.log(values[small]), 1)[0], (0.25, 0.5, 0.75))


def curved(report: dict[str, Any]) -> list[str]:
    """Return the functions on which the best direction changes with the length."""
    return [name for name in report["functions"] if name not in STRAIGHT]


def at_corner(report: dict[str, Any], norm: str) -> np.ndarray:
    """Return the share of all points, for each ε, where the best step is the predicted one and not only near it."""
    angles = np.concatenate([found["angle"][norm] for found in report["functions"].values()], axis=1)
    return (angles < SAME).mean(axis=1)


def table(report: dict[str, Any]) -> str:
    """Return the angles between best step and gradient, and the shares of exact corners."""
    lengths = report["lengths"]
    shown = range(0, len(lengths), max(1, len(lengths) // 6))
    rows = [["median angle (degrees)", *(f"ε = {lengths[i]:.2g}" for i in shown), "shrinks as", "loss as"]]
    for name, found in report["functions"].items():
        angle = np.median(np.degrees(found["angle"]["l2"]), axis=1)
        powers = ["", ""]
        if name not in STRAIGHT:
            quartiles = (slopes(report, name, what) for what in ("angle", "lost"))
            powers = [f"ε^{median:.2f} ({low:.2f} to {high:.2f})" for low, median, high in quartiles]
        rows.append([name, *(f"{angle[i]:.2g}" for i in shown), *powers])
    for norm in ("l1", "linf"):
        rows.append([f"{norm}: exactly predicted", *(f"{at_corner(report, norm)[i]:.0%}" for i in shown), "", ""])
    return in_columns(rows)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    angle = np.degrees([report["functions"][name]["angle"]["l2"] for name in curved(report)])  # [function, ε, point]
    first, last = report["lengths"][0], report["lengths"][-1]
    powers = [slopes(report, name, "angle")[1] for name in curved(report)]
    return (
        f"Yes, for short steps: of all steps of length {last:g} the best is within {angle[:, -1].max():.2g}° of the "
        f"gradient (half of them within {np.median(angle[:, -1]):.2g}°), and the angle shrinks as ε to the power of "
        f"{min(powers):.2f} to {max(powers):.2f}; at length {first:g} it is up to {angle[:, 0].max():.0f}°."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: the best steps around one point, the angle against ε, and three ways to measure a step."""
    figure, axes = new_figure(11, 4, columns=3, width_ratios=(1, 1.1, 1))
    _draw_around(axes[0, 0], report["close"])
    ax, lengths = axes[0, 1], np.array(report["lengths"])
    for name, style in zip(curved(report), STYLES, strict=False):
        found = report["functions"][name]
        ax.plot(lengths, np.median(np.degrees(found["angle"]["l2"]), axis=1), **style, markersize=4, label=name)
        ax.plot(lengths, np.degrees(np.median(found["turning"]) * lengths), color=style["color"], linewidth=0.6)
    ax.set(xscale="log", yscale="log", xlabel="length of the step, ε", ylabel="angle to the gradient (degrees)")
    ax.set_title(f"Median of {report['config']['points']} points (thin: first order)", fontsize=10)
    ax.grid(color=PALE, linewidth=0.6)
    ax.legend(frameon=False, fontsize=8)
    _draw_lengths(axes[0, 2], report["close"])
    return figure


def _draw_around(ax: Any, close: dict[str, Any]) -> None:
    """Draw heights around a point, circles, the gradient, and the best step of every length."""
    side = np.linspace(-REACH, REACH, SIDE)
    heights = np.array(close["heights"])
    lines = ax.contour(side, side, heights, levels=LEVELS, colors="0.7", linewidths=0.7, linestyles="solid")
    ax.clabel(lines, LEVELS[2::2], fmt="%g", fontsize=8, colors="0.3")
    around = np.linspace(0, 2 * np.pi, 200)
    for radius in (0.25, 0.5, 0.75, 1):
        ax.plot(radius * np.cos(around), radius * np.sin(around), color=GREY, linewidth=0.7, linestyle=":")
    best, n = np.array(close["best"]), np.array(close["steps"]["l2"])
    ax.annotate(
        "", n, (0, 0), arrowprops={"arrowstyle": "-|>", "color": DARK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    )
    x, y = 0.62 * n + (0.03, -0.1)
    turn = np.degrees(np.arctan2(n[1], n[0]))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.text(x, y, "gradient", ha="center", va="center", fontsize=9, rotation=turn, bbox=box)
    ax.plot(*best.T, color=ORANGE, **BEST, linestyle="", label="best step of each length")
    ax.plot(0, 0, "o", color=DARK, markersize=5)
    ax.legend(fontsize=8, loc="lower left", handletextpad=0.2, edgecolor="none", framealpha=1)
    ax.set_aspect("equal")
    ax.set(xlabel="$d_1$", ylabel="$d_2$")
    ax.set_title(f"The {SHOWN} around ({POINT[0]:g}, {POINT[1]:g}): heights g", fontsize=10)


def _draw_lengths(ax: Any, close: dict[str, Any]) -> None:
    """Draw the three shapes of "length 1", and on each the predicted step and the best short one."""
    n = np.array(close["steps"]["l2"])
    for level in np.linspace(-1.4, 1.4, 8):  # of so short a step all heights are those of the tangent plane
        ax.axline(level * n, level * n + np.array([-n[1], n[0]]), color="0.8", linewidth=0.7)
    around = np.linspace(0, 2 * np.pi, 721)
    circle = np.stack([np.cos(around), np.sin(around)])
    labels = {"l2": "|d|₂: the gradient", "l1": "|d|₁: one axis", "linf": "max |d|: a diagonal"}
    styles = (STYLES[0], STYLES[1], {"color": GREY, "linestyle": "-."})
    for (norm, label), style in zip(labels.items(), styles, strict=True):
        shape = circle / np.linalg.norm(circle, NORMS[norm], axis=0)
        ax.plot(*shape, color=style["color"], linestyle=style["linestyle"], linewidth=1.2, label=label)
        end = np.array(close["steps"][norm])
        ax.annotate(
            "", end, (0, 0), arrowprops={"arrowstyle": "-|>", "color": style["color"], "shrinkA": 0, "shrinkB": 0}
        )
    ends = np.array([close["best_of_short"][norm] for norm in NORMS])
    ax.plot(*ends.T, color=ORANGE, **BEST | {"markersize": 9}, linestyle="", label="best short step of each")
    ax.set_aspect("equal")
    ax.set(xlim=(-1.7, 1.7), ylim=(-2.1, 1.3), xlabel="$d_1 / ε$", ylabel="$d_2 / ε$", yticks=(-1, 0, 1))
    ax.set_title("Steepest depends on the ruler", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="lower left")


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    functions = report["functions"]
    assert not set(STRAIGHT).isdisjoint(functions), f"one of the functions is a {' or a '.join(STRAIGHT)}"
    assert curved(report), "one of the functions is curved"
    for name in set(functions) & set(STRAIGHT):
        assert np.max(functions[name]["angle"]["l2"]) < SAME, f"{name}: the gradient is the best step of any length"
    for name in curved(report):
        found = functions[name]
        assert abs(slopes(report, name, "angle")[1] - 1) < 0.05, f"{name}: the angle shrinks as ε"
        assert abs(slopes(report, name, "lost")[1] - 2) < 0.1, f"{name}: the loss shrinks as ε²"
        ratio = np.median(np.divide(found["angle"]["l2"][-1], found["turning"])) / report["lengths"][-1]
        assert abs(ratio - 1) < 0.01, f"{name}: the angle is that of the first order"
    for norm in ("l1", "linf"):
        assert at_corner(report, norm)[-1] > 0.9, f"{norm}: the best short step is a corner, exactly"
