"""One line on a terminal that says how a fit is doing."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxnn._errors import ConfigError


class Progress(NamedTuple):
    """How far a fit is: what `fit(..., progress=function)` hands over about twice a second, and once at the end.

    Attributes:
      epoch: epochs completed, with the fraction of the present one.
      max_epochs: where it will end at the latest.
      row: the newest row of the history, as plain numbers.
      best_epoch: the epoch of the best parameters so far.
      seconds: since the start.
      status: "running", or how it ended.
    """

    epoch: float
    max_epochs: int
    row: dict[str, float]
    best_epoch: int
    seconds: float
    status: str


def drawer(who: str, progress: Any) -> Callable[[Progress], Any] | None:
    """Return what draws the progress, None for nothing; raise `ConfigError` for what is no answer.

    True draws a line, False nothing, None a line on a terminal only; a function is what draws.
    """
    if callable(progress):
        return progress
    if not isinstance(progress, bool | None):
        raise ConfigError(
            f"{who}: progress is True, False, None or a function; got progress={progress!r}; pass True to see a line"
        )
    return print_line if (sys.stderr.isatty() if progress is None else progress) else None


def print_line(progress: Progress) -> None:
    """Draw the progress over the last line of standard error; end the line when the run has ended."""
    done = progress.epoch / max(progress.max_epochs, 1)
    bar = "━" * round(16 * done) + "·" * (16 - round(16 * done))
    ended = progress.status != "running"
    text = f"{bar} epoch {progress.epoch:.0f}/{progress.max_epochs}  {describe(progress.row)}  {progress.seconds:.1f} s"
    text += f"  {progress.status}, best epoch {progress.best_epoch}" if ended else ""
    sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if ended else ""))
    sys.stderr.flush()


def describe(row: dict[str, float]) -> str:
    """Return the figures of a history row that apply, in words."""
    parts = []
    if row["epoch"] >= 0:  # a run that goes on has no row before its first epoch ends
        parts.append(f"log likelihood {row['log_likelihood']:.4f}")
    if row["hold_out_log_likelihood"] == row["hold_out_log_likelihood"]:  # not NaN
        parts.append(f"hold-out {row['hold_out_log_likelihood']:.4f}")
    if row["hold_out_accuracy"] == row["hold_out_accuracy"]:
        parts.append(f"accuracy {row['hold_out_accuracy']:.4f}")
    if row["update_ratio"] == row["update_ratio"]:
        parts.append(f"update {row['update_ratio']:.2%} of w")
    return "  ".join(parts)
