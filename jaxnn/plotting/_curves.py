"""The picture of a run: learning curves."""

from typing import TYPE_CHECKING

import numpy as np

from jaxnn._state import History
from jaxnn.plotting._figure import BLUE, DARK, GREY, PALE, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USUAL_UPDATES = (1e-3, 1e-2)  # |update| / |w|: below it learns slowly, above it jumps


def learning_curves(history: History, best_epoch: int | None = None) -> "Figure":
    """Draw log likelihoods, accuracy and update ratio against the epoch, with the best and the last epoch marked.

    Args:
      history: of `fit` or `ascend`.
      best_epoch: whose parameters were returned; None or -1: no mark.

    Returns:
      A figure of one panel for each quantity the history has: log likelihood (train, a running mean over the epoch, and
      hold-out), hold-out accuracy, |update| / |w| at the epoch's last step with the band from 0.1 to 1 % shaded, and
      with `watch_gradients` the norms of single examples' gradients and the gradient noise scale. Panels show where the
      curves end up; a much lower start is cut off and said in words.

    Example:
      >>> import jaxnn, optax
      >>> from jaxnn import plotting
      >>> ds = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> result = jaxnn.fit(objective, optax.adam, objective.model.init(0), ds, learning_rate=0.1, max_epochs=3)
      >>> plotting.learning_curves(result.history).axes[0].get_ylabel()
      'log likelihood\\n(nats per example)'
    """
    reached = np.asarray(history.epoch) >= 0
    h = {name: np.asarray(column, np.float64)[reached] for name, column in history._asdict().items()}
    epoch, train, ratio = h["epoch"], h["log_likelihood"], h["update_ratio"]
    held, accuracy = h["hold_out_log_likelihood"], h["hold_out_accuracy"]
    has_accuracy, has_ratio = bool(np.isfinite(accuracy).any()), bool(np.any(ratio > 0))
    is_watched = bool(np.any(h["norm_max"] > 0))
    heights = [2.2] + [1.0] * (has_accuracy + has_ratio + 2 * is_watched)
    figure = new_figure(6.4, 1.0 + 1.4 * sum(heights))
    top, *others = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]

    top.plot(epoch, train, color=GREY, linewidth=1.5, label="training (mean over the epoch)")
    if np.isfinite(held).any():
        top.plot(epoch, held, color=BLUE, linewidth=2.2, label="hold-out")
    top.set_ylabel("log likelihood\n(nats per example)")
    _look_at_the_end(top, train, held)
    if has_accuracy:
        ax = others.pop(0)
        ax.plot(epoch, accuracy, color=BLUE, linewidth=2.2)
        ax.set_ylabel("hold-out\naccuracy")
        _look_at_the_end(ax, accuracy)
    if has_ratio:
        ax = others.pop(0)
        ax.axhspan(*USUAL_UPDATES, color=PALE, linewidth=0)
        ax.plot(epoch, ratio, color=GREY, linewidth=1.5)
        ax.set_yscale("log")
        ax.set_ylabel("|update| / |w|\n(shaded: 0.1 to 1 %)")
    if is_watched:
        _gradients(h, np.asarray(history.noise_scale, np.float64)[reached], *others)
    for ax in figure.axes:
        plain(ax)
        for at, style, what in ((best_epoch, "--", "returned"), (epoch.max(initial=-1), ":", "last")):
            if at is not None and at in epoch:
                ax.axvline(at, color=DARK, linewidth=1.2, linestyle=style, label=f"{what}: epoch {at:.0f}")
    top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    figure.axes[-1].set_xlabel("epoch")
    figure.axes[-1].locator_params(axis="x", integer=True)
    return figure


def _gradients(h: dict[str, np.ndarray], noise_scale: np.ndarray, norms: "Axes", noise: "Axes") -> None:
    """Draw how the norms of single examples' gradients spread, and the noise scale, both on a logarithmic scale."""
    low, high = np.where(h["norm_min"] > 0, h["norm_min"], np.nan), h["norm_max"]
    norms.fill_between(h["epoch"], low, high, color=PALE, linewidth=0)
    norms.fill_between(h["epoch"], h["norm_q25"], h["norm_q75"], color="0.75", linewidth=0)
    norms.plot(h["epoch"], h["norm_median"], color=BLUE, linewidth=1.8)
    norms.set_ylabel("|gradient| of one\nexample (median,\nhalf, all)")
    noise.plot(h["epoch"], np.where(np.isfinite(noise_scale), noise_scale, np.nan), color=BLUE, linewidth=1.8)
    noise.set_ylabel("gradient noise\nscale (examples)")
    for ax in (norms, noise):
        ax.set_yscale("log")


def _look_at_the_end(ax: "Axes", *curves: np.ndarray) -> None:
    """Cut off what lies far below the level the curves spend most epochs at, and say where they start."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    high, low = values.max(), values.min()
    floor = high - 4 * (high - np.quantile(values, 0.25))
    if low < floor < high:
        ax.set_ylim(floor, high + 0.05 * (high - floor))
        starts = curves[-1][0] if np.isfinite(curves[-1][0]) else curves[0][0]
        ax.text(0.12, 0.05, f"starts at {starts:.3g}", transform=ax.transAxes, fontsize=8)
