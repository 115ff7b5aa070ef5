"""How far a sweep is, and one line on a terminal that says so."""

import sys
from typing import Any, NamedTuple

import numpy as np

from jaxnn._sweep._runs import cell


class SweepProgress(NamedTuple):
    """How far a sweep is: what `sweep(..., progress=function)` hands over about twice a second, and once at the end.

    Attributes:
      epoch: epochs completed by the runs that are going on, with the fraction of the present one.
      max_epochs: where they end at the latest.
      running: how many are going on.
      ended: how many have ended.
      total: R.
      diverged: how many of those that have ended.
      best: the best value so far; -inf: none yet.
      best_settings: of the run that has it.
      seconds: since the start.
      status: "running", "done" or "interrupted".
      settings: of every run, R dictionaries.
      values: `dtype[R]`, the best value of each so far; -inf: none yet.
      statuses: `int32[R]`, a `Status` each; INTERRUPTED: not begun, or, at the end, not ended.
    """

    epoch: float
    max_epochs: int
    running: int
    ended: int
    total: int
    diverged: int
    best: float
    best_settings: dict[str, Any]
    seconds: float
    status: str
    settings: list[dict[str, Any]]
    values: np.ndarray
    statuses: np.ndarray

    def __str__(self) -> str:
        text = f"{self.ended}/{self.total} runs ended"
        text += f", {self.running} at epoch {self.epoch:.0f}/{self.max_epochs}" if self.running else ""
        if self.diverged:
            text += f", {self.diverged} diverged"
        if np.isfinite(self.best):
            settings = " ".join(f"{name}={cell(value)}" for name, value in self.best_settings.items())
            text += f"  best {self.best:.4f}" + (f" ({settings})" if settings else "")
        return f"{text}  {self.seconds:.1f} s"


def print_line(progress: SweepProgress) -> None:
    """Draw the progress over the last line of standard error; end the line when the sweep has ended."""
    over = progress.status != "running"
    sys.stderr.write(f"\r\x1b[K{progress}" + (f"  {progress.status}\n" if over else ""))
    sys.stderr.flush()
