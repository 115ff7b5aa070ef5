"""The picture of a sweep: the learning curves of all runs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn._state import Status
from jaxnn._sweep._runs import Runs
from jaxnn.plotting._figure import DARK, GREY, as_written, new_figure, plain
from jaxnn.plotting._sweeps import check_runs, in_nats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 6  # rates that a colour bar has a tick for each


def sweep_curves(runs: Runs) -> "Figure":
    """Draw the learning curves of all runs of a sweep, coloured by learning rate.

    Args:
      runs: of `jaxnn.sweep`, with any settings.

    Returns:
      A figure: the hold-out log likelihood of every run against its epoch; that of the training data where there was no
      hold-out. Runs that diverged are dashed, up to a cross; the best one is thick. What lies below the lowest start is
      cut off.

    Raises:
      ConfigError: runs of something else.

    Example:
      >>> import jaxnn, optax
      >>> from jaxnn import plotting
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.7, 0.3))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> grid = {"learning_rate": [0.001, 0.01, 0.1], "order": range(4)}
      >>> runs = jaxnn.sweep(objective, optax.sgd, train, hold_out, grid=grid, max_epochs=10)
      >>> plotting.sweep_curves(runs).axes[0].get_xlabel()
      'epoch'
    """
    check_runs("plotting.sweep_curves", runs)
    held = np.isfinite(runs.history.hold_out_log_likelihood).any()
    values = np.asarray(runs.history.hold_out_log_likelihood if held else runs.history.log_likelihood, np.float64)
    epochs = np.asarray(runs.history.epoch)
    finite = np.isfinite(values) & (epochs >= 0)
    curves = [np.stack([epochs[i], values[i]], axis=1)[finite[i]] for i in range(len(runs))]
    broken = runs.status == Status.DIVERGED
    figure = new_figure(6.4, 4.4)
    ax = figure.subplots()
    from matplotlib.collections import LineCollection

    rates = runs.settings.get("learning_rate")
    norm, shades = _shades(rates)
    best = runs.best().number if np.isfinite(runs.value).any() else None
    for which, dashes, label in ((~broken, "-", "one run"), (broken, "--", "diverged")):
        lanes = [i for i in np.flatnonzero(which) if len(curves[i])]
        if lanes:
            look: dict[str, Any] = (
                {"color": GREY} if rates is None else {"array": rates[lanes], "cmap": shades, "norm": norm}
            )
            drawn = LineCollection([curves[i] for i in lanes], linewidths=0.8, linestyles=dashes, label=label, **look)
            ax.add_collection(drawn)
    varied = [(name, column) for name, column in runs.settings.items() if len(np.unique(column)) > 1]
    if best is not None:
        color = DARK if rates is None else shades(norm(rates[best]))
        settings = ", ".join(f"{name} {_short(column[best])}" for name, column in varied)
        label = f"best: {settings}" if settings else "best"
        ax.plot(*curves[best].T, color=DARK, linewidth=4.5, zorder=3)
        ax.plot(*curves[best].T, color=color, linewidth=2.8, zorder=4, label=label)
    starts = [curve[0, 1] for curve in curves if len(curve)]
    lowest = min(starts, default=-np.inf)
    ends = [curves[i][-1] for i in np.flatnonzero(broken) if len(curves[i]) and curves[i][-1, 1] >= lowest]
    ax.plot(*np.reshape(ends, (-1, 2)).T, "x", color=DARK, markersize=5, zorder=5, clip_on=False)
    is_low = values < lowest
    in_nats(ax, values[finite & ~is_low], "log_likelihood")
    if (finite & is_low).any():
        box = {"facecolor": "white", "linewidth": 0, "alpha": 0.8, "pad": 1.5}
        note = "cut off below the lowest start"
        ax.text(0.99, 0.02, note, transform=ax.transAxes, fontsize=8, ha="right", bbox=box, zorder=6)
    ax.set_xlim(0, max(1, epochs.max()))
    ax.locator_params(axis="x", integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel(f"{'hold-out' if held else 'training'} log likelihood\n(nats per example)")
    plain(ax)
    legend = figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    as_written(*legend.get_texts())
    if rates is not None and len(np.unique(rates)) > 1:
        _colour_bar(figure, ax, norm, shades, np.unique(rates))
    return figure


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, np.floating) else str(value)


def _shades(rates: np.ndarray | None) -> tuple[Any, Any]:
    """Return the scale of the colours of rates, and the colours: dark for small ones, none too pale for white paper."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    if rates is None:
        return None, None
    scale = LogNorm if rates.min() > 0 else Normalize
    low, high = float(rates.min()), float(rates.max())
    return scale(low, high if high > low else low * 1.1 + (low == 0)), ListedColormap(
        colormaps["viridis"](np.linspace(0, 0.9, 256))
    )


def _colour_bar(figure: "Figure", ax: "Axes", norm: Any, shades: Any, rates: np.ndarray) -> None:
    """Say which colour is which rate; tick every rate where they are few."""
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(norm, shades), ax=ax, label="learning rate")
    if len(rates) <= FEW:
        bar.set_ticks(rates.tolist(), labels=[f"{rate:.3g}" for rate in rates])
        bar.ax.minorticks_off()
