"""Pictures of a classifier: confusion, reliability, decision boundaries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn._errors import ConfigError
from jaxnn._evaluate import Evaluation, predict_proba
from jaxnn._scores import CALIBRATION_BINS
from jaxnn._types import Params
from jaxnn.data import Dataset
from jaxnn.plotting._figure import BLUE, DARK, GREY, MARKERS, PALE, as_written, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 200  # points along each axis of a decision boundary


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
    figure = new_figure(side, side)
    ax = figure.subplots()
    ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # the root: rare mistakes stay visible
    for (i, j), count in np.ndenumerate(counts):
        if count:
            ax.text(j, i, f"{count:.6g}", ha="center", va="center", color="white" if share[i, j] > 0.4 else DARK)
    is_long = num_classes * max(map(len, names)) > 24  # would run into each other
    ax.set_xticks(range(num_classes), names, rotation=45 if is_long else 0, ha="right" if is_long else "center")
    ax.set_yticks(range(num_classes), names)
    as_written(*ax.get_xticklabels(), *ax.get_yticklabels())
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
    figure = new_figure(5.2, 5.8)
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
        plain(ax)
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

    figure = new_figure(6.2, 5.2)
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
    as_written(*legend.get_texts(), ax.set_xlabel(first), ax.set_ylabel(second))
    return figure


def _classes_only(name: str, value: np.ndarray | None) -> np.ndarray:
    if value is None:
        raise ConfigError(f"plotting.{name}: classes are needed; got real targets; use learning_curves")
    return np.asarray(value)
