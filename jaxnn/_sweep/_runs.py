"""What a sweep returns: a table with a row a run, the best one, and the parameters of all of them as one pytree."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn._checks import check_integer
from jaxnn._errors import ConfigError
from jaxnn._state import History, Status
from jaxnn._types import Params
from jaxnn._whole import write_whole
from jaxnn.data._files.parquet import write_parquet

_SHOWN = 20  # rows of a printed table


class OneRun(NamedTuple):
    """One run of a sweep.

    Attributes:
      number: its place in the sweep.
      settings: what the grid said of it.
      params: its best on the hold-out; without one, the last finite; of a run that never began, the first.
      status: how it ended.
      best_epoch: the epoch of `params`.
      log_likelihood: of `params` on the hold-out, nats per example; without one, that of the training data.
      accuracy: on the hold-out; NaN without one, or without classes.
      history: a row an epoch.
    """

    number: int
    settings: dict[str, Any]
    params: Params
    status: Status
    best_epoch: int
    log_likelihood: float
    accuracy: float
    history: History


@dataclass(frozen=True)
class Runs:
    """R runs of a sweep. Print it for a table, the best first.

    Attributes:
      settings: for every name of the grid its values, `[R]`.
      params: the best parameters of every run, one pytree, each leaf `[R, *leaf]`.
      status: `int32[R]`, a `Status` each: STOPPED_EARLY, MAX_EPOCHS, DIVERGED or INTERRUPTED.
      epochs: `int32[R]`, epochs completed.
      best_epoch: `int32[R]`, the epochs of `params`.
      value: `dtype[R]`, what was monitored, at the best epoch; -inf where no epoch had any.
      log_likelihood: `dtype[R]`, on the hold-out at the best epoch, nats per example; without one, on the training
        data, the mean over that epoch.
      accuracy: `dtype[R]`, on the hold-out at the best epoch; NaN without one, or without classes.
      update_ratio: `dtype[R]`, the median over the epochs of |update| / |w|.
      history: of every run, `[R, E]` each; no host watched single runs, so `seconds` is NaN.
      objective: what they maximised; `l2` is that of the objective given, also where the grid has others.
      monitor: what `value` is: "log_likelihood" or "accuracy" of the hold-out; "training" without one.
    """

    settings: dict[str, np.ndarray]
    params: Params
    status: np.ndarray
    epochs: np.ndarray
    best_epoch: np.ndarray
    value: np.ndarray
    log_likelihood: np.ndarray
    accuracy: np.ndarray
    update_ratio: np.ndarray
    history: History
    objective: Any
    monitor: str

    @property
    def ended_well(self) -> np.ndarray:
        """`bool[R]`: which did not diverge and have a value; these are judged."""
        return (self.status != Status.DIVERGED) & np.isfinite(self.value)

    def __len__(self) -> int:
        """Return R."""
        return len(self.status)

    def __iter__(self) -> Iterator[OneRun]:
        """Give one run after the other."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> OneRun:
        """Return one run; from the end where the index is negative."""
        check_integer("Runs", "index", index, at_least=-len(self), at_most=len(self) - 1)
        i = int(index) % len(self)
        return OneRun(
            number=i,
            settings={name: column[i].item() for name, column in self.settings.items()},
            params=jax.tree.map(lambda leaf: leaf[i], self.params),
            status=Status(int(self.status[i])),
            best_epoch=int(self.best_epoch[i]),
            log_likelihood=float(self.log_likelihood[i]),
            accuracy=float(self.accuracy[i]),
            history=History(*(column[i] for column in self.history)),
        )

    def best(self) -> OneRun:
        """Return the run of the largest value, the first on ties; raise `ConfigError` where none has any."""
        if not np.isfinite(self.value).any():
            raise ConfigError("Runs.best: a run has a value; got none among all of them; try smaller rates")
        return self[int(np.argmax(np.where(np.isfinite(self.value), self.value, -np.inf)))]

    def where(self, **settings: Any) -> np.ndarray:
        """Return the indices of the runs with these settings.

        Raises:
          ConfigError: a name that the grid did not have.
        """
        for name in settings:
            if name not in self.settings:
                raise ConfigError(
                    f"Runs.where: a setting is one of {', '.join(self.settings)}; got {name}={settings[name]!r}; pass "
                    "one of these"
                )
            if np.ndim(settings[name]) != 0:
                raise ConfigError(
                    f"Runs.where: a setting has one value; got {name}={settings[name]!r}; ask for one after the other"
                )
        matches = [self.settings[name] == value for name, value in settings.items()]
        return np.flatnonzero(np.all(matches, axis=0)) if matches else np.arange(len(self))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: settings, status and figures of every run, as plain numbers and words."""
        figures = ("epochs", "best_epoch", "log_likelihood", "accuracy", "update_ratio")
        return [
            {name: column[i].item() for name, column in self.settings.items()}
            | {"status": str(Status(int(self.status[i])))}
            | {name: getattr(self, name)[i].item() for name in figures}
            for i in range(len(self))
        ]

    def to_csv(self, path: str | PathLike[str]) -> Path:
        """Write the table as CSV, whole or not at all, and return the path."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(path), lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))
        return Path(path)

    def to_parquet(self, path: str | PathLike[str]) -> Path:
        """Write the table as Parquet, whole or not at all, and return the path; needs pyarrow (`jaxnn[data]`)."""
        rows = self.rows()
        columns = {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
        write_whole(Path(path), lambda temporary: write_parquet(temporary, columns))
        return Path(path)

    def __str__(self) -> str:
        rows = self.rows()
        order = sorted(range(len(rows)), key=lambda i: -self.value[i] if np.isfinite(self.value[i]) else np.inf)
        names = list(rows[0])
        cells = [[cell(rows[i][name]) for name in names] for i in order[:_SHOWN]]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in (names, *cells)]
        more = [f"... and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []
        return "\n".join(lines + more)

    __repr__ = __str__


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
