"""What has been reached by every run of a sweep, on the host."""

import warnings
from typing import Any

import jax
import numpy as np

from jaxnn._program import Run, monitored
from jaxnn._state import COLUMNS, History, State, Status, history_of
from jaxnn._sweep._runs import Runs
from jaxnn._types import Params, as_jax

_LOG_LIKELIHOOD, _HELD, _ACCURACY, _UPDATE_RATIO = map(
    History._fields.index, ("log_likelihood", "hold_out_log_likelihood", "hold_out_accuracy", "update_ratio")
)


class Table:
    """Filled as runs end. A run that never began keeps its initial parameters, and is INTERRUPTED."""

    def __init__(self, run: Run, lanes: list[dict[str, Any]], params: Params, places: np.ndarray, dtype: Any):
        self.run, self.lanes, total = run, lanes, len(lanes)
        self.params = jax.tree.map(lambda leaf: leaf[places], params)
        self.rows = np.full((total, 0, COLUMNS), np.nan, dtype)
        self.value = np.full(total, -np.inf, dtype)
        self.best_epoch = np.full(total, -1, np.int32)
        self.status = np.full(total, Status.INTERRUPTED, np.int32)
        self.ended = np.zeros(total, bool)
        self._grow(1)

    def add(self, ids: np.ndarray, rows: np.ndarray, state: State) -> None:
        """Add what a piece told of each epoch, `[lanes, E, 14]`, and note the best values so far."""
        epochs = rows[:, :, 0].astype(int)
        self._grow(int(epochs.max()) + 1)
        lane, at = np.nonzero(epochs >= 0)
        self.rows[ids[lane], epochs[lane, at]] = rows[lane, at]
        self.value[ids] = np.asarray(state.best.value)

    def end(self, ids: np.ndarray, which: np.ndarray, state: State) -> None:
        """Keep what some of the lanes have reached: those that have ended, or all where somebody interrupted."""
        new = which & ~self.ended[ids]
        lanes, to = np.flatnonzero(new), ids[new]
        if not len(to):
            return
        for mine, best in zip(jax.tree.leaves(self.params), jax.tree.leaves(state.best.params), strict=True):
            mine[to] = np.asarray(best)[lanes]
        self.best_epoch[to] = np.asarray(state.best.epoch)[lanes]
        status = np.asarray(state.status)[lanes]
        self.status[to] = np.where(status == Status.RUNNING, Status.INTERRUPTED, status)
        self.ended[to] = status != Status.RUNNING

    def runs(self) -> Runs:
        """Return what was reached."""
        total, held = len(self.lanes), self.run.hold_out is not None
        rows = self.rows[:, : int(self.rows[:, :, 0].max(initial=0)) + 1]
        best = rows[np.arange(total), np.maximum(self.best_epoch, 0)]
        best = np.where((self.best_epoch >= 0)[:, None], best, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a run without a step has no ratio
            ratio = np.nanmedian(rows[:, :, _UPDATE_RATIO], axis=1)
        flat = history_of(rows.reshape(-1, COLUMNS), np.full(rows.shape[0] * rows.shape[1], np.nan))
        return Runs(
            settings={name: np.asarray([lane[name] for lane in self.lanes]) for name in self.lanes[0]},
            params=jax.tree.map(as_jax, self.params),
            status=self.status,
            epochs=np.maximum(rows[:, :, 0].max(axis=1), 0).astype(np.int32),
            best_epoch=self.best_epoch,
            value=self.value,
            log_likelihood=best[:, _HELD if held else _LOG_LIKELIHOOD],
            accuracy=best[:, _ACCURACY],
            update_ratio=ratio,
            history=History(*(column.reshape(rows.shape[:2]) for column in flat)),
            objective=self.run.objective,
            monitor=("training", "log_likelihood", "accuracy")[monitored(self.run.monitor, self.run.hold_out)],
        )

    def _grow(self, count: int) -> None:
        """Make room for so many epochs; twice as many as before, so that it is seldom done."""
        have = self.rows.shape[1]
        if count > have:
            more = np.full((len(self.rows), max(count, 2 * have) - have, COLUMNS), np.nan, self.rows.dtype)
            more[:, :, 0] = -1
            self.rows = np.concatenate([self.rows, more], axis=1)
