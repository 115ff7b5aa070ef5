"""What the pictures share: an empty figure outside pyplot, lines that differ in grey, too, and plain axes."""

from typing import Any

import numpy as np

# Colours that keep their order in grey, each with a line and a marker of its own.
DARK, BLUE, ORANGE, GREY, PALE = "black", "#0b4a94", "#d1731c", "0.55", "0.88"
STYLES = (
    {"color": DARK, "linestyle": "-", "marker": "o"},
    {"color": BLUE, "linestyle": "--", "marker": "s"},
    {"color": ORANGE, "linestyle": "-.", "marker": "^"},
    {"color": GREY, "linestyle": ":", "marker": "D"},
)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure of so many inches and its axes, `[rows, columns]`, without lines at the top and at the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def grey(images: Any) -> np.ndarray:
    """Return images as a report keeps them, `int[n, P]`, 0 to 255."""
    a = np.asarray(images)
    return np.rint(255 * a / max(1.0, float(a.max()))).astype(int)


def show_image(ax: Any, image: Any, caption: str = "", **options: Any) -> None:
    """Show a square picture of `P` numbers, dark for large, without axes."""
    a = np.asarray(image, float)
    side = round(a.size**0.5)
    ax.imshow(a.reshape(side, side), **{"cmap": "gray_r"} | options)
    ax.set_axis_off()
    ax.set_title(caption, fontsize=8)
