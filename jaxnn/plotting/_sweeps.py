"""The picture of a sweep: what each learning rate reached."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn._errors import ConfigError
from jaxnn._state import Status
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._verdict import RULE_OF_THUMB, Verdict, verdict
from jaxnn.plotting._figure import BLUE, DARK, PALE, as_written, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 4.0  # times the value nearest 0: values that reach farther are drawn on a logarithmic scale


def sweep(runs: Runs) -> "Figure":
    """Draw what the runs of each learning rate reached, and how large their updates were.

    Args:
      runs: of `jaxnn.sweep`, with learning rates. Of other settings, such as `l2`, those of the verdict are drawn.

    Returns:
      A figure of two panels over the learning rate. Above: what was monitored, every run a ring, the mean of a rate
      with its standard deviation over seeds, orders and folds. Below: |update| / |w|, the median over the epochs of
      each run and over the runs of a rate, with the band from 0.1 to 1 % shaded. Rates at which runs diverged are
      hatched, densely where all did; such runs are crosses at the best value before, and count in no mean. Rates at
      which no run ever got above its start are shaded. A line stands at the rate that `jaxnn.verdict` recommends. Log
      likelihoods that spread over more than a factor of four are drawn on a logarithmic scale.

    Raises:
      ConfigError: runs of something else, without learning rates, or none that ended well.

    Example:
      >>> import jaxnn, optax
      >>> from jaxnn import plotting
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.7, 0.3))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> grid = {"learning_rate": [0.001, 0.01, 0.1], "order": range(4)}
      >>> runs = jaxnn.sweep(objective, optax.sgd, train, hold_out, grid=grid, max_epochs=10)
      >>> plotting.sweep(runs).axes[0].get_ylabel()
      'hold-out log likelihood\\n(nats per example)'
    """
    who = "plotting.sweep"
    check_runs(who, runs)
    if "learning_rate" not in runs.settings:
        raise ConfigError(
            f"{who}: there are learning rates along the axis; got settings {', '.join(runs.settings)}; use "
            "sweep_curves, or put learning_rate in the grid"
        )
    if not np.any(runs.ended_well):
        raise ConfigError(f"{who}: some run ends well; got none of {len(runs)}; use sweep_curves, or try smaller rates")
    found = verdict(runs)
    shown = runs.where(**found.settings)
    figure = new_figure(6.4, 5.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    rate = runs.settings["learning_rate"][shown].astype(float)
    edges = _edges(np.array([group.learning_rate for group in found.rates]))
    _lost(top, bottom, runs, found, edges)
    bottom.axhspan(*RULE_OF_THUMB, color=PALE, linewidth=0, zorder=0.5)
    good, broken = runs.ended_well[shown], (runs.status == Status.DIVERGED)[shown]
    for ax, values in ((top, runs.value[shown]), (bottom, runs.update_ratio[shown])):
        drawable = np.isfinite(values) & ((values > 0) | (ax is top))
        for which, mark, label in ((good, "o", "one run"), (broken, "x", "a run that diverged")):
            at = which & drawable
            if at.any():
                look: dict[str, Any] = {"markerfacecolor": "none"} if mark == "o" else {}
                ax.plot(rate[at], values[at], mark, color="0.45", markersize=4, linewidth=0, label=label, **look)
    _means(top, bottom, found)
    in_nats(top, runs.value[shown][np.isfinite(runs.value[shown])], runs.monitor)
    for ax in (top, bottom):
        ax.axvline(found.recommended, color=DARK, linewidth=1.2, linestyle="--", zorder=1.5)
        ax.set_xscale("log" if edges[0] > 0 else "linear")
        ax.set_xlim(edges[0], edges[-1])
        plain(ax)
    what = {"training": "training log likelihood", "accuracy": "hold-out accuracy"}
    units = "" if runs.monitor == "accuracy" else "\n(nats per example)"
    top.set_ylabel(what.get(runs.monitor, "hold-out log likelihood") + units)
    bottom.set_yscale("log")
    bottom.set_ylabel("|update| / |w|\n(shaded: 0.1 to 1 %)")
    bottom.set_xlabel("learning rate")
    others = ", ".join(f"{name} {value:g}" for name, value in found.settings.items())
    said = f"take {found.recommended:.3g}" + (f" (with {others})" if others else "")
    as_written(top.set_title(said, fontsize="medium"))
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def check_runs(who: str, runs: Any) -> None:
    """Raise `ConfigError` unless these are runs of a sweep."""
    if not isinstance(runs, Runs):
        raise ConfigError(f"{who}: runs are those of a sweep; got {type(runs).__name__}; call jaxnn.sweep first")


def _edges(rates: np.ndarray) -> np.ndarray:
    """Return where the region of each rate begins and ends: half-way between neighbours, on the scale of the axis."""
    log = bool(rates[0] > 0)
    at = np.log(rates) if log else rates
    middle = (at[1:] + at[:-1]) / 2
    half = np.array([middle[0] - at[0], at[-1] - middle[-1]]) if len(at) > 1 else np.ones(2)
    half = np.minimum(half, 1) if log else half  # the first and the last may have a far neighbour
    edges = np.concatenate([[at[0] - half[0]], middle, [at[-1] + half[1]]])
    return np.exp(edges) if log else edges


def _lost(top: "Axes", bottom: "Axes", runs: Runs, found: Verdict, edges: np.ndarray) -> None:
    """Hatch the rates at which runs diverged; shade those at which they did not, but the best epoch was the start."""
    said = set()
    for group, low, high in zip(found.rates, edges[:-1], edges[1:], strict=True):
        lanes = runs.where(learning_rate=group.learning_rate, **found.settings)
        look: dict[str, Any]
        if group.diverged:
            all_did = group.diverged == group.runs
            label = "all runs diverged" if all_did else "some runs diverged"
            look = {"hatch": "////" if all_did else "//", "edgecolor": "0.6"}
            bottom.axvspan(low, high, facecolor="none", linewidth=0, zorder=0.6, **look)
        elif np.all((runs.best_epoch[lanes] == 0) & (runs.epochs[lanes] > 0)):
            label, look = "no run gained on its start", {"edgecolor": "none"}
        else:
            continue
        name = f"_{label}" if label in said else label  # one entry of the legend for each kind
        top.axvspan(low, high, facecolor="0.93", linewidth=0, zorder=0.6, label=name, **look)
        said.add(label)


def _means(top: "Axes", bottom: "Axes", found: Verdict) -> None:
    """Draw the mean of each rate with its spread, and its median update ratio."""
    rate, mean, spread, ratio = np.array(
        [(r.learning_rate, r.mean, r.spread, r.update_ratio) for r in found.rates], np.float64
    ).T
    look: dict[str, Any] = {"color": BLUE, "marker": "D", "markersize": 4.5, "linewidth": 1.4, "zorder": 3}
    top.errorbar(rate, mean, spread, capsize=3, label="mean ± standard deviation", **look)
    bottom.plot(rate, np.where(ratio > 0, ratio, np.nan), **look)


def in_nats(ax: "Axes", values: np.ndarray, monitor: str) -> None:
    """Show these values; those of a log likelihood that reaches far below its top on a logarithmic scale."""
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if monitor != "accuracy" and high < 0 and low < WIDE * high:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        ax.set_yscale("function", functions=(lambda v: -np.log(np.maximum(-v, 1e-300)), lambda u: -np.exp(-u)))
        low, high = low * (low / high) ** 0.05, high * (high / low) ** 0.05
        decades = range(int(np.floor(np.log10(-high))), int(np.ceil(np.log10(-low))) + 1)
        digits = (1, 1.5, 2, 3, 5, 7) if low / high < 10 else (1, 2, 5) if low / high < 1e3 else (1,)
        ax.yaxis.set_major_locator(FixedLocator(sorted(-d * 10.0**k for k in decades for d in digits)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "\N{MINUS SIGN}")))
    else:
        margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
        low, high = low - margin, high + margin
    ax.set_ylim(low, high)
