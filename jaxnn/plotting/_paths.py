"""The picture of a search: the paths it took over the curve, or the contours, of the function it climbed."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._errors import ConfigError
from jaxnn._models import leaf_name
from jaxnn._state import Status
from jaxnn._types import Params
from jaxnn.plotting._figure import BLUE, DARK, GREY, MARKERS, as_written, new_figure, plain
from jaxnn.search import Search
from jaxnn.search._flat import Flat
from jaxnn.search._given import check_function

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHO = "plotting.ascent_path"
GRID = 120  # points along each axis
LEVELS = 13
WIDE = 72  # characters of a legend
MARKED = 60  # steps of a path that are marked; more would run into each other
COLORS, DASHES = (BLUE, DARK, "0.4"), ("-", "--", ":", "-.")  # twelve pairs; in grey the dashes and marks tell


def ascent_path(g: Callable[[Any], Any], results: Any, labels: Sequence[str] | None = None) -> "Figure":
    """Draw the path of a search, or of several, over the function that it climbed.

    Args:
      g: the function, of one or two numbers.
      results: a `Search`; several, in a list; or one made under `jax.vmap`, a run a row.
      labels: one a path, such as its learning rate; None: how each ended.

    Returns:
      A figure: for two numbers the contours of g, closer in value towards the top, for one number its curve; on it each
      path, a mark a step (up to 60 steps), from an open ring to a star. It shows the surroundings of the highest point
      of all paths, half as far again as the farthest start; a path that leaves them is cut off.

    Raises:
      ConfigError: results of something else, or of more than two numbers; not one label a path.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxnn import plotting, search
      >>> def g(w):
      ...     return -(w[0] ** 2) - 5 * w[1] ** 2
      >>> result = search.gradient_ascent(g, jnp.ones(2), optax.sgd, learning_rate=0.05, num_steps=20)
      >>> plotting.ascent_path(g, result).axes[0].get_xlabel()
      'w[0]'
    """
    runs = _runs(results)
    if labels is not None and len(labels) != len(runs):
        raise ConfigError(f"{WHO}: one label a path; got {len(labels)} labels; pass {len(runs)}")
    w = jax.tree.map(jnp.asarray, runs[0].params)
    names = _names(w)
    if len(names) not in (1, 2):
        raise ConfigError(f"{WHO}: a path of one or two numbers can be drawn; got {len(names)}; draw values instead")
    check_function(WHO, g, w)
    paths = [_points(run, len(names)) for run in runs]
    low, high = _window(paths)
    axes = [np.linspace(a, b, GRID if len(names) == 2 else 4 * GRID) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(names))
    heights = _heights(g, w, grid)

    figure = new_figure(6.2, 5.2)
    ax = figure.subplots()
    if len(names) == 2:
        _contours(figure, ax, axes, heights.reshape(GRID, GRID))
        lines = [(points[:, 0], points[:, 1]) for points, _ in paths]
        ax.set_ylim(low[1], high[1])
        as_written(ax.set_ylabel(names[1]))
    else:
        ax.plot(axes[0], heights, color=GREY, linewidth=1.2)
        lines = [(points[:, 0], values) for points, values in paths]
        _look_at(ax, heights)
        ax.set_ylabel("g(w)")
        plain(ax)
    ax.set_xlim(low[0], high[0])
    as_written(ax.set_xlabel(names[0]))
    said = [_ending(run) for run in runs] if labels is None else [str(label) for label in labels]
    for k, ((x, y), label) in enumerate(zip(lines, said, strict=True)):
        color, dashes = COLORS[k % len(COLORS)], DASHES[k % len(DASHES)]
        mark = MARKERS[k % len(MARKERS)] if len(x) <= MARKED + 1 else ""
        ax.plot(x, y, color=color, linestyle=dashes, marker=mark, linewidth=1.4, markersize=3.5, label=label, zorder=3)
        ax.plot(x[:1], y[:1], "o", color=color, markerfacecolor="white", markersize=9, zorder=4)
        ax.plot(x[-1:], y[-1:], "*", color=color, markersize=13, markeredgecolor="white", zorder=5)
    columns = max(1, min(4, len(runs), WIDE // (6 + max(map(len, said)))))
    legend = figure.legend(loc="outside upper center", ncols=columns, frameon=False)
    as_written(*legend.get_texts())
    return figure


def _runs(results: Any) -> list[Search]:
    """Return the searches; one made under vmap as many."""
    several = [results] if isinstance(results, Search) else list(results) if isinstance(results, list | tuple) else []
    if not several or not all(isinstance(run, Search) for run in several):
        raise ConfigError(
            f"{WHO}: results are those of a search; got {type(results).__name__}; pass what gradient_ascent or "
            "hill_climb returned, or a list of that"
        )
    runs: list[Search] = []
    for run in several:
        many = np.ndim(run.values) == 2
        runs += [jax.tree.map(lambda a, i=i: a[i], run) for i in range(len(run.values))] if many else [run]
    return runs


def _names(w: Params) -> list[str]:
    """Return what each number of w is called, as its place in the tree says."""
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(w)[0]:
        name = leaf_name(path) or "w"
        names += [name + "".join(f"[{i}]" for i in index) for index in np.ndindex(leaf.shape)]
    return names


def _points(run: Search, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite points of a path, `float64[rows, size]`, and g at each."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(run.path)]
    points = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    values = np.asarray(run.values, np.float64)
    if len(points) != len(values):  # only the start and the end were kept
        values = np.array([values[0], float(run.value)])
    if points.shape[1] != size:
        raise ConfigError(f"{WHO}: all paths are of the same numbers; got {size} and {points.shape[1]}; draw one")
    kept = np.isfinite(points).all(axis=1)
    return points[kept], values[kept]


def _window(paths: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of what is shown: the points about the highest, out to 1.5 times where the farthest began."""
    points = np.concatenate([points for points, _ in paths])
    values = np.concatenate([values for _, values in paths])
    best = points[np.argmax(np.where(np.isfinite(values), values, -np.inf))]
    reach = max(np.linalg.norm(p[0] - best) for p, _ in paths)
    if reach == 0:  # from its highest point on it only went down: show a few of its first steps
        reach = max(np.linalg.norm(p[min(3, len(p) - 1)] - best) for p, _ in paths)
    near = points[np.linalg.norm(points - best, axis=1) <= 1.5 * reach]
    low, high = near.min(axis=0), near.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = np.maximum(half, max(half.max() / 3, 1e-3 * np.abs(best).max(), 1e-6))  # no slit, and no empty window
    return middle - 1.15 * half, middle + 1.15 * half


def _heights(g: Callable[[Any], Any], w: Params, grid: np.ndarray) -> np.ndarray:
    """Return g at each point of the grid, NaN where it is not finite."""
    flat = Flat(w)
    heights = jax.jit(lambda points: jax.lax.map(lambda v: g(flat.point(v)), points, batch_size=1024))(
        jnp.asarray(grid, flat.dtype)
    )
    heights = np.asarray(heights, np.float64)
    return np.where(np.isfinite(heights), heights, np.nan)


def _contours(figure: "Figure", ax: "Axes", axes: list[np.ndarray], heights: np.ndarray) -> None:
    """Shade and line out equal heights; their differences grow with the square of the distance from the top."""
    if not np.isfinite(heights).any() or np.nanmax(heights) == np.nanmin(heights):
        return
    top, bottom = np.nanmax(heights), np.nanmin(heights)
    levels = top - (top - bottom) * np.linspace(1, 0, LEVELS) ** 2
    greys = [str(grey) for grey in np.linspace(0.72, 1, LEVELS - 1)]
    masked = np.ma.masked_invalid(heights)
    shades = ax.contourf(*axes, masked, levels=levels, colors=greys)
    ax.contour(*axes, masked, levels=levels[1:-1], colors="0.6", linewidths=0.6, linestyles="solid")
    ticks = levels[::3]
    digits = 2 - int(np.floor(np.log10(top - bottom)))
    bar = figure.colorbar(shades, ax=ax, label="g(w)", ticks=ticks, spacing="uniform")
    bar.ax.set_yticklabels([f"{round(tick, digits) + 0.0:.6g}" for tick in ticks.tolist()])


def _look_at(ax: "Axes", heights: np.ndarray) -> None:
    """Show the heights of the curve, whatever a path did elsewhere."""
    finite = heights[np.isfinite(heights)]
    if finite.size and finite.max() > finite.min():
        margin = 0.06 * (finite.max() - finite.min())
        ax.set_ylim(finite.min() - margin, finite.max() + margin)


def _ending(run: Search) -> str:
    steps = int((np.asarray(run.values) < np.inf).sum()) - 1  # a start may have -inf, rows never reached have NaN
    status = Status(int(run.status))
    ended = "" if status == Status.MAX_EPOCHS else f" ({str(status).replace('_', ' ')})"
    return f"{steps} step{'s' * (steps != 1)} to g = {float(run.value):.4g}{ended}"
