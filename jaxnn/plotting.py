"""Pictures of a run: learning curves, confusion, reliability, decision boundaries. Each returns a matplotlib Figure.

Nothing global is touched: no pyplot, no settings; matplotlib is imported by the first picture. All read in grey.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn._checks import ConfigError
from jaxnn._evaluate import Evaluation, predict_proba
from jaxnn._scores import CALIBRATION_BINS
from jaxnn._state import History
from jaxnn._types import Params
from jaxnn.data import Dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DARK, BLUE, GREY, PALE = "black", "#0b4a94", "0.55", "0.9"
USUAL_UPDATES = (1e-3, 1e-2)  # |update| / |w|: below it learns slowly, above it jumps
GRID = 200  # points along each axis of a decision boundary
MARKERS = "o^sDvPX*<>"


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
    figure = _figure(6.4, 1.0 + 1.4 * sum(heights))
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
        _plain(ax)
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


def confusion(evaluation: Evaluation, class_names: Sequence[str] | None = None) -> "Figure":
    """Draw the confusion matrix: true classes in rows, shaded by the share of the row, numbered by the count.

    Args:
      evaluation: of data with classes.
      class_names: one name a class; None: their numbers.

    Raises:
      ConfigError: real targets, or not one name a class.
    """
    counts = _classes_only("confusion", evaluation.confusion)
    num_classes = len(counts)
    names = [str(k) for k in range(num_classes)] if class_names is None else [str(n) for n in class_names]
    if len(names) != num_classes:
        raise ConfigError(f"plotting.confusion: one name a class; got {len(names)} class_names; pass {num_classes}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-30)
    side = 1.6 + 0.42 * max(num_classes, 6)
    figure = _figure(side, side)
    ax = figure.subplots()
    ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # the root: rare mistakes stay visible
    for (i, j), count in np.ndenumerate(counts):
        if count:
            ax.text(j, i, f"{count:.6g}", ha="center", va="center", color="white" if share[i, j] > 0.4 else DARK)
    is_long = num_classes * max(map(len, names)) > 24  # would run into each other
    ax.set_xticks(range(num_classes), names, rotation=45 if is_long else 0, ha="right" if is_long else "center")
    ax.set_yticks(range(num_classes), names)
    _as_written(*ax.get_xticklabels(), *ax.get_yticklabels())
    ax.set_xticks(np.arange(num_classes - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(num_classes - 1) + 0.5, minor=True)
    ax.grid(which="minor", color=PALE)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    wrong = evaluation.weight - evaluation.correct
    ax.set_title(f"accuracy {evaluation.accuracy:.4f}: {wrong:.6g} of {evaluation.weight:.6g} wrong", fontsize="medium")
    return figure


def reliability(evaluation: Evaluation) -> "Figure":
    """Draw how often the model is right against how sure it is, in 15 bins, and how many examples each bin has.

    Args:
      evaluation: of data with classes.

    Raises:
      ConfigError: real targets.

    References:
      C. Guo, G. Pleiss, Y. Sun, K. Weinberger, On Calibration of Modern Neural Networks (2017), section 2.
    """
    count, confidence, correct = _classes_only("reliability", evaluation.bins).T
    full = count > 0
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    middle, width = (edges[1:] + edges[:-1]) / 2, 1 / CALIBRATION_BINS
    figure = _figure(5.2, 5.8)
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    top.plot([0, 1], [0, 1], color=DARK, linewidth=1, linestyle="--", label="perfectly calibrated")
    accuracy, mean = correct[full] / count[full], confidence[full] / count[full]
    top.bar(middle[full], accuracy, width, color="0.8", edgecolor=GREY, label="accuracy of the bin")
    top.plot(mean, accuracy, "o", color=BLUE, clip_on=False, zorder=3, label="at its mean confidence")
    top.set_ylabel("accuracy")
    top.set_ylim(0, 1.02)
    top.set_title(f"expected calibration error {evaluation.calibration_error:.4f}")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    bottom.bar(middle[full], count[full], width, color="0.8", edgecolor=GREY)
    for x, n in zip(middle[full], count[full], strict=True):
        bottom.text(x, n, f"{n:.4g}", ha="center", va="bottom", fontsize=8)
    bottom.set_yscale("log")
    bottom.set_ylim(min(0.5, count[full].min() / 2), count.max() * 4)
    bottom.set_ylabel("examples")
    bottom.set_xlabel("confidence: probability of the predicted class")
    bottom.set_xlim(0, 1)
    for ax in (top, bottom):
        _plain(ax)
    return figure


def decision_boundary(objective: Any, params: Params, dataset: Dataset) -> "Figure":
    """Draw what a classifier of two features says about the plane, with the examples on it.

    Args:
      objective: a `LogLikelihood` with classes.
      params: its parameters.
      dataset: examples of two features; drawn in raw units where they were standardised.

    Returns:
      A figure: shades of P(y=1) for two classes, of the largest probability for more; lines where the two most
      probable classes are equally so (for two classes: at 1/2).

    Raises:
      ConfigError: real targets, or not two features.
    """
    who = "plotting.decision_boundary"
    schema = dataset.schema
    num_classes = schema.num_classes
    if num_classes is None or dataset.num_features != 2:
        raise ConfigError(f"{who}: data have two features and classes; got {dataset!r}; pass such data")
    x, y = np.asarray(dataset.batch.x, np.float64), np.asarray(dataset.batch.y)
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.08 * np.maximum(high - low, 1e-6)
    across, up = (np.linspace(a, b, GRID) for a, b in zip(low - margin, high + margin, strict=True))
    points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    p = np.asarray(predict_proba(objective, params, points.astype(np.asarray(dataset.batch.x).dtype)))
    p = p.reshape(GRID, GRID, -1)
    scale, mean = np.array(schema.scale or (1, 1)), np.array(schema.mean or (0, 0))
    x, across, up = x * scale + mean, across * scale[0] + mean[0], up * scale[1] + mean[1]  # in raw units

    figure = _figure(6.2, 5.2)
    ax = figure.subplots()
    shade = p[..., 1] if num_classes == 2 else p.max(axis=-1)
    greys = [str(1 - 0.05 * i) for i in range(10)]
    shades = ax.contourf(across, up, shade, levels=np.linspace(0, 1, 11), colors=greys)
    figure.colorbar(shades, ax=ax, label="P(y=1 | x), line at 1/2" if num_classes == 2 else "largest P(y | x)")
    for k in range(1, num_classes):
        lead = p[..., k] - np.delete(p, k, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            ax.contour(across, up, lead, levels=[0], colors=DARK, linewidths=1.8)
    names = schema.class_names or tuple(str(k) for k in range(num_classes))
    for k in range(num_classes):
        face = ("white", BLUE, "0.6")[k % 3]
        marker = MARKERS[k % len(MARKERS)]
        look = {"s": 22, "marker": marker, "facecolor": face, "edgecolor": DARK, "linewidth": 0.6}
        ax.scatter(*x[y == k].T, **look, label=f"class {names[k]}")
    legend = figure.legend(loc="outside upper center", ncols=min(num_classes, 4), frameon=False)
    first, second = schema.feature_names or ("feature 0", "feature 1")
    _as_written(*legend.get_texts(), ax.set_xlabel(first), ax.set_ylabel(second))
    return figure


def _as_written(*texts: "Text") -> None:
    """Let names of a user's be drawn as they are: $ begins no formula."""
    for text in texts:
        text.set_parse_math(False)


def _figure(width: float, height: float) -> "Figure":
    """Return an empty figure with a canvas of its own, outside pyplot's registry."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "plotting: pictures need matplotlib; got no module matplotlib; pip install 'jaxnn[plot]'"
        ) from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


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


def _plain(ax: "Axes") -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _classes_only(name: str, value: np.ndarray | None) -> np.ndarray:
    if value is None:
        raise ConfigError(f"plotting.{name}: classes are needed; got real targets; use learning_curves")
    return np.asarray(value)
