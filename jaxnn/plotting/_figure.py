"""What every picture shares: an empty figure outside pyplot, few colours that read in grey, plain axes and names."""

from typing import TYPE_CHECKING

from jaxnn._errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

DARK, BLUE, GREY, PALE = "black", "#0b4a94", "0.55", "0.9"
MARKERS = "o^sDvPX*<>"


def new_figure(width: float, height: float) -> "Figure":
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


def plain(ax: "Axes") -> None:
    """Leave out the lines at the top and at the right."""
    ax.spines[["top", "right"]].set_visible(False)


def as_written(*texts: "Text") -> None:
    """Let names of a user's be drawn as they are: $ begins no formula."""
    for text in texts:
        text.set_parse_math(False)
