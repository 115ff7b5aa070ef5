"""The host's driver of many runs: groups that fit in memory, pieces so that people can watch and interrupt, and lanes
dropped once half of them have ended.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnn._errors import MemoryBudgetError, said
from jaxnn._fit import Pace
from jaxnn._interrupts import Interrupts
from jaxnn._program import Limits, Run, empty_rows
from jaxnn._scores import CHUNK_SIZE
from jaxnn._state import State, Status
from jaxnn._sweep._grid import OWN
from jaxnn._sweep._program import Few, Lanes, advance_lanes, begin_lanes, state_axes
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._table import Table
from jaxnn._types import Params, as_jax, num_examples, one_example, scalar
from jaxnn.per_example._analysis import analyse

_FEWEST = 8  # lanes: a smaller program takes hardly less time
_FEWEST_SCORED = 64  # examples at a time: of 256 lanes the cache holds what they make of so many, and not of 1,024
_WORTH = 3e10  # FLOPs that dropping half of the lanes may save at most: below, compiling a program costs more


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
            settings = " ".join(f"{name}={value:g}" for name, value in self.best_settings.items())
            text += f"  best {self.best:.4f}" + (f" ({settings})" if settings else "")
        return f"{text}  {self.seconds:.1f} s"


def print_line(progress: SweepProgress) -> None:
    """Draw the progress over the last line of standard error; end the line when the sweep has ended."""
    over = progress.status != "running"
    sys.stderr.write(f"\r\x1b[K{progress}" + (f"  {progress.status}\n" if over else ""))
    sys.stderr.flush()


@dataclass(frozen=True)
class Starts:
    """Where R runs begin: their settings, the parameters of every seed, stacked, and the place of each run's."""

    lanes: list[dict[str, Any]]
    params: Params
    places: np.ndarray
    dtype: Any

    def column(self, name: str, ids: np.ndarray, dtype: Any, default: Any = None) -> Any:
        """Return the values of one setting as an array; None where the grid does not have it and nothing else is."""
        if name not in self.lanes[0] and default is None:
            return None
        return as_jax(np.asarray([self.lanes[i].get(name, default) for i in ids]), dtype)

    def settings(self, ids: np.ndarray) -> Lanes:
        """Return what differs between these lanes, but for their states."""
        options = {name: self.column(name, ids, self.dtype) for name in self.lanes[0] if name not in OWN}
        number = jax.dtypes.canonicalize_dtype(float)
        columns = (self.column("l2", ids, number), self.column("max_norm", ids, number))
        return Lanes(*columns, self.column("fold", ids, jnp.int32), options)

    def state(self, run: Run, ids: np.ndarray) -> State:
        """Return the states of these runs before they begin."""
        rates = self.column("learning_rate", ids, self.dtype, default=np.nan)
        orders = np.asarray([self.lanes[i].get("order", 0) for i in ids])
        # Whether the order is shared is that of the whole sweep, so that groups are the same program.
        shared = len({lane.get("order", 0) for lane in self.lanes}) == 1
        key = jax.random.key(int(orders[0])) if shared else jax.vmap(jax.random.key)(as_jax(orders, jnp.uint32))
        params = jax.tree.map(lambda leaf: as_jax(leaf[self.places[ids]]), self.params)
        return begin_lanes(run, self.settings(ids), params, rates, key)

    def one_state(self, run: Run) -> State:
        """Return the shapes of the state of one run; its numbers are those of the first, as far as they are shared."""
        state = self.state(run, np.zeros(1, int))
        return jax.tree.map(lambda axis, part: part if axis is None else jax.tree.map(lambda a: a[0], part),
                            state_axes(state.key.ndim == 0), state, is_leaf=lambda axis: axis is None)  # fmt: skip


def run_all(
    run: Run,
    starts: Starts,
    folds: Any,
    limits: Limits,
    memory: int,
    draw: Callable[[SweepProgress], Any] | None,
    begun: float,
) -> Runs:
    """Run every lane, group after group, until all have ended or somebody interrupts."""
    total, max_epochs = len(starts.lanes), int(limits.last_epoch)
    run = replace(run, chunk_size=max(_FEWEST_SCORED, CHUNK_SIZE // total))
    devices = jax.devices()
    size = _group_size(run, starts, max_epochs, memory * len(devices), len(devices))
    table = Table(run, starts, max_epochs + 1)
    weights = jax.tree.map(as_jax, folds)

    reached = 0.0

    def tell(epoch: float, running: np.ndarray, status: str = "running") -> None:
        nonlocal reached
        reached = epoch
        if draw is None:
            return
        best, statuses = int(np.argmax(table.value)), table.status.copy()
        statuses[running] = Status.RUNNING
        draw(
            SweepProgress(
                epoch=epoch,
                max_epochs=max_epochs,
                running=len(running),
                ended=int(np.sum(table.ended)),
                total=total,
                diverged=int(np.sum(table.status[table.ended] == Status.DIVERGED)),
                best=float(table.value[best]),
                best_settings=starts.lanes[best],
                seconds=time.perf_counter() - begun,
                status=status,
                settings=starts.lanes,
                values=table.value.copy(),
                statuses=statuses,
            )
        )

    with Interrupts() as interrupts:
        for low in range(0, total, size):
            ids = np.minimum(np.arange(low, low + size), total - 1)  # the last group is filled up with its last run
            _run_group(run, starts, weights, limits, ids, len(devices), table, interrupts, tell)
            if interrupts.requested:
                break
        interrupts.too_late = bool(np.all(table.ended))
    done, none = bool(np.all(table.ended)), np.zeros(0, int)
    tell(float(max_epochs) if done else reached, none, "done" if done else "interrupted")
    return table.runs()


def _run_group(
    run: Run,
    starts: Starts,
    weights: Any,
    limits: Limits,
    ids: np.ndarray,
    num_devices: int,
    table: Table,
    interrupts: Interrupts,
    tell: Callable,
) -> None:
    """Run lanes in one program, in pieces, and in a smaller program once half of them have ended."""
    state, lanes = starts.state(run, ids), starts.settings(ids)
    max_epochs, num_steps = int(limits.last_epoch), run.plan.num_steps(num_examples(run.train))
    one_row = empty_rows(max_epochs, starts.one_state(run))
    rows = as_jax(np.broadcast_to(np.asarray(one_row), (len(ids), *one_row.shape)))
    pace, begins, before, start = Pace(), True, 0, time.perf_counter()
    while True:
        few = _few(run, starts, len(ids), num_devices, max_epochs)
        limits = limits._replace(begin=scalar(begins, bool), steps=scalar(pace.steps, jnp.int32))
        state, lanes, rows = _spread(state, lanes, rows, num_devices)
        state, rows = advance_lanes(run, lanes, weights, state, rows, limits, few)
        status = np.asarray(state.status)
        running = status == Status.RUNNING
        reached = int(state.epoch) * num_steps + int(state.step)
        pace.update(reached - before, time.perf_counter() - start)
        before, begins = reached, False
        asked = bool(interrupts.requested)
        table.keep(ids, ~running | asked, state, rows)
        if asked or not running.any():
            return
        table.watch(ids, state)
        tell(reached / num_steps, np.unique(ids[running]))
        if running.sum() <= int(few.running) and int(state.step) == 0:
            left = _left(running, num_devices)
            ids, state = ids[left], _taken(state, left)
            lanes, rows = jax.tree.map(partial(_rows_of, left=left), (lanes, rows))


def _few(run: Run, starts: Starts, size: int, num_devices: int, max_epochs: int) -> Few:
    """Return when half of the lanes should be dropped: while that saves more than it costs to compile."""
    numbers = sum(leaf[0].size for leaf in jax.tree.leaves(starts.params))
    an_epoch = 6 * numbers * num_examples(run.train) * size / 2  # FLOPs: two a number forwards, four on the way back
    half = size // 2 if size >= 2 * _FEWEST * num_devices else 0
    return Few(scalar(half, jnp.int32), scalar(int(max(0, max_epochs - _WORTH / an_epoch)), jnp.int32))


def _left(running: np.ndarray, num_devices: int) -> np.ndarray:
    """Return the lanes of the next program: those running, and some that have ended to fill up its size."""
    size = len(running)
    while size >= 2 * _FEWEST * num_devices and running.sum() <= size // 2:
        size = -(-((size + 1) // 2) // num_devices) * num_devices
    return np.sort(np.argsort(~running, kind="stable")[:size])


def _taken(state: State, left: np.ndarray) -> State:
    """Return the states of some of the lanes. On the host: nothing is compiled for each new size."""

    def take(axis, part):
        return part if axis is None else jax.tree.map(partial(_rows_of, left=left), part)

    axes = state_axes(state.key.ndim == 0)
    return jax.tree.map(take, axes, state, is_leaf=lambda axis: axis is None)


def _rows_of(a: Any, left: np.ndarray) -> Any:
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(as_jax(np.asarray(jax.random.key_data(a))[left]), impl=jax.random.key_impl(a))
    return as_jax(np.asarray(a)[left])


def _spread(state: State, lanes: Lanes, rows: Any, num_devices: int) -> tuple[State, Lanes, Any]:
    """Return the lanes spread over the devices there are; a batch is on all of them."""
    if num_devices == 1:
        return state, lanes, rows
    mesh = Mesh(np.asarray(jax.devices()), ("lanes",))
    apart, everywhere = (NamedSharding(mesh, PartitionSpec(*names)) for names in (("lanes",), ()))
    axes = state_axes(state.key.ndim == 0)
    state = jax.tree.map(
        lambda axis, part: jax.device_put(part, everywhere if axis is None else apart),
        axes, state, is_leaf=lambda axis: axis is None,
    )  # fmt: skip
    return state, *jax.device_put((lanes, rows), apart)


def _group_size(run: Run, starts: Starts, max_epochs: int, memory: int, num_devices: int) -> int:
    """Return how many lanes run together: all of them, or as many as fit in memory, in groups of equal size."""
    state = starts.one_state(run)
    x, y = one_example(run.train.x), one_example(run.train.y)
    values = analyse(run.objective, state.params, x, y).num_bytes
    examples = 2 * run.plan.batch_size(num_examples(run.train))
    judged = 0 if run.hold_out is None else num_examples(run.hold_out)
    examples = max(examples, min(run.chunk_size, max(judged, num_examples(run.train))))
    params, opt_state = (sum(a.nbytes for a in jax.tree.leaves(t)) for t in (state.params, state.opt_state))
    # Parameters, the best ones, both from before the round, and a gradient and an update; the optimiser's state twice.
    one = 6 * params + 2 * opt_state + 2 * empty_rows(max_epochs, state).nbytes + examples * values
    if one > memory:
        raise MemoryBudgetError(
            f"sweep: one run fits in memory; got memory={said(memory)} where it takes {said(one)}; raise memory"
        )
    total = len(starts.lanes)
    groups = -(-total // (memory // one))
    return -(-total // groups // num_devices) * num_devices
