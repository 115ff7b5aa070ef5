"""What has been reached by every run of a sweep, on the host."""

import warnings
from typing import Any

import jax
import numpy as np

from jaxnn._program import Run, monitored
from jaxnn._state import COLUMNS, State, Status, history_of
from jaxnn._sweep._runs import Runs
from jaxnn._types import as_jax

_LOG_LIKELIHOOD, _HELD, _ACCURACY, _UPDATE_RATIO = 1, 2, 3, 5  # columns of the rows of a program


class Table:
    """Filled as runs end. A run that never began keeps its initial parameters, and is INTERRUPTED."""

    def __init__(self, run: Run, starts: Any, num_rows: int):
        self.run, self.lanes, total = run, starts.lanes, len(starts.lanes)
        self.params = jax.tree.map(lambda leaf: leaf[starts.places], starts.params)
        self.rows = np.full((total, num_rows, COLUMNS), np.nan, starts.dtype)
        self.rows[:, :, 0] = -1
        self.value = np.full(total, -np.inf, starts.dtype)
        self.best_epoch = np.full(total, -1, np.int32)
        self.status = np.full(total, Status.INTERRUPTED, np.int32)
        self.ended = np.zeros(total, bool)

    def watch(self, ids: np.ndarray, state: State) -> None:
        """Note the best values so far."""
        self.value[ids] = np.asarray(state.best.value)

    def keep(self, ids: np.ndarray, which: np.ndarray, state: State, rows: Any) -> None:
        """Keep what some of the lanes have reached: those that have ended, or all where somebody interrupted."""
        new = which & ~self.ended[ids]
        lanes, to = np.flatnonzero(new), ids[new]
        if not len(to):
            return
        for mine, best in zip(jax.tree.leaves(self.params), jax.tree.leaves(state.best.params), strict=True):
            mine[to] = np.asarray(best)[lanes]
        self.rows[to] = np.asarray(rows)[lanes, : self.rows.shape[1]]
        self.value[to] = np.asarray(state.best.value)[lanes]
        self.best_epoch[to] = np.asarray(state.best.epoch)[lanes]
        status = np.asarray(state.status)[lanes]
        self.status[to] = np.where(status == Status.RUNNING, Status.INTERRUPTED, status)
        self.ended[to] = status != Status.RUNNING

    def runs(self) -> Runs:
        """Return what was reached."""
        total, held = len(self.lanes), self.run.hold_out is not None
        at = np.maximum(self.best_epoch, 0)
        best = np.where((self.best_epoch >= 0)[:, None], self.rows[np.arange(total), at], np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a run without a step has no ratio
            ratio = np.nanmedian(self.rows[:, :, _UPDATE_RATIO], axis=1)
        flat = history_of(self.rows.reshape(-1, COLUMNS), np.full(self.rows.shape[0] * self.rows.shape[1], np.nan))
        return Runs(
            settings={name: np.asarray([lane[name] for lane in self.lanes]) for name in self.lanes[0]},
            params=jax.tree.map(as_jax, self.params),
            status=self.status,
            epochs=self.rows[:, :, 0].max(axis=1).astype(np.int32),
            best_epoch=self.best_epoch,
            value=self.value,
            log_likelihood=best[:, _HELD if held else _LOG_LIKELIHOOD],
            accuracy=best[:, _ACCURACY],
            update_ratio=ratio,
            history=type(flat)(*(column.reshape(self.rows.shape[:2]) for column in flat)),
            objective=self.run.objective,
            monitor=("training", "log_likelihood", "accuracy")[monitored(self.run.monitor, self.run.hold_out)],
        )
