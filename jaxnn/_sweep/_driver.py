"""The host's driver of many runs: group after group, in pieces so that people can watch and interrupt."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn._fit import Pace
from jaxnn._interrupts import Interrupts
from jaxnn._program import Run, make_limits
from jaxnn._scores import CHUNK_SIZE
from jaxnn._state import COLUMNS, Status
from jaxnn._sweep._place import everywhere, few_of, group_size, lanes_at, spread, those_left
from jaxnn._sweep._program import advance_lanes
from jaxnn._sweep._progress import SweepProgress
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._starts import Starts
from jaxnn._sweep._table import Table
from jaxnn._types import as_jax, num_examples, scalar

_FEWEST_SCORED = 64  # examples at a time: of 256 lanes the cache holds what they make of so many, and not of 1,024
_ROWS = 64  # epochs that a piece may end; what they tell is kept on the host


class Stops(NamedTuple):
    """What ends a run, as for `fit`."""

    max_epochs: int
    patience: int | None
    min_delta: Any


class Driver:
    """What every group of a sweep shares."""

    def __init__(self, run: Run, starts: Starts, folds: Any, stops: Stops, draw: Callable | None, begun: float):
        self.run = replace(run, chunk_size=max(_FEWEST_SCORED, CHUNK_SIZE // len(starts.lanes)))
        self.starts, self.folds, self.stops, self.draw, self.begun = starts, folds, stops, draw, begun
        self.max_epochs = stops.max_epochs
        self.numbers = sum(leaf[0].size for leaf in jax.tree.leaves(starts.params))
        self.table = Table(run, starts.lanes, starts.params, starts.places, starts.dtype)
        self.reached = 0.0

    def run_all(self, memory: int) -> Runs:
        """Run every lane until all have ended or somebody interrupts."""
        total, row_bytes = len(self.starts.lanes), self._empty_rows(1).nbytes
        options = {"own_orders": not self.starts.shares_order, "folds": self.folds is not None}
        size = group_size(self.run, self.starts.shapes(self.run), row_bytes, total, memory, **options)
        shared = everywhere((self.run, jax.tree.map(as_jax, self.folds)))
        with Interrupts() as interrupts:
            for low in range(0, total, size):
                # The last group is filled up with the last run.
                self._run_group(np.minimum(np.arange(low, low + size), total - 1), shared, interrupts)
                if interrupts.requested:
                    break
            done = bool(np.all(self.table.ended))
            interrupts.too_late = done
        self._tell(np.zeros(0, int), "done" if done else "interrupted")
        return self.table.runs()

    def _run_group(self, ids: np.ndarray, shared: Any, interrupts: Interrupts) -> None:
        """Run lanes in one program, in pieces, and in a smaller program once half of them have ended."""
        state, lanes = self.starts.state(self.run, ids), self.starts.settings(ids)
        num_steps = self.run.plan.num_steps(num_examples(self.run.train))
        pace, begins, before, start = Pace(), True, 0, time.perf_counter()
        while True:
            limits = make_limits(state, *self.stops, steps=pace.steps)._replace(begin=scalar(begins, bool))
            few = few_of(self.run, self.numbers, len(ids), self.max_epochs)
            state, lanes, rows = spread(state, lanes, self._empty_rows(len(ids)))
            state, rows = advance_lanes(*shared, lanes, state, rows, limits, few)
            running = np.asarray(state.status) == Status.RUNNING
            epoch, step = int(state.epoch), int(state.step)
            taken = epoch * num_steps + step
            pace.update(taken - before, time.perf_counter() - start)
            before, begins, asked = taken, False, bool(interrupts.requested)
            self.table.add(ids, np.asarray(rows), state)
            self.table.end(ids, ~running | asked, state)
            self.reached = taken / num_steps
            if asked or not running.any():
                return
            self._tell(np.unique(ids[running]))
            if running.sum() <= int(few.running) and step == 0 and epoch < int(few.until):
                left = those_left(running)
                ids, (state, lanes) = ids[left], lanes_at(state, lanes, left)

    def _empty_rows(self, size: int) -> Any:
        rows = np.full((size, _ROWS, COLUMNS), np.nan, self.starts.dtype)
        rows[:, :, 0] = -1
        return as_jax(rows)

    def _tell(self, running: np.ndarray, status: str = "running") -> None:
        """Hand over how far it is; `running` are the runs that are going on."""
        if self.draw is None:
            return
        table = self.table
        best, statuses = int(np.argmax(table.value)), table.status.copy()
        statuses[running] = Status.RUNNING
        self.draw(
            SweepProgress(
                epoch=self.reached,
                max_epochs=self.max_epochs,
                running=len(running),
                ended=int(np.sum(table.ended)),
                total=len(statuses),
                diverged=int(np.sum(table.status[table.ended] == Status.DIVERGED)),
                best=float(table.value[best]),
                best_settings=self.starts.lanes[best],
                seconds=time.perf_counter() - self.begun,
                status=status,
                settings=self.starts.lanes,
                values=table.value.copy(),
                statuses=statuses,
            )
        )
