"""The host's driver of `ascend`: the same program in pieces of about half a second, so that people can watch and
interrupt, and so that what was reached can be saved.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._ascent import MOST_EPOCHS, check_opt_state, check_state, checked_run
from jaxnn._checks import check_integer
from jaxnn._ending import message_of, warn_of_one_class
from jaxnn._errors import CheckpointError
from jaxnn._facts import about_run
from jaxnn._interrupts import Interrupts
from jaxnn._optimizer import as_optimizer, check_rate
from jaxnn._plans import MiniBatch
from jaxnn._program import FOREVER, Run, advance, empty_rows, make_limits, monitored
from jaxnn._progress import Progress, drawer
from jaxnn._resume import Keeper, Reached, goes_on
from jaxnn._state import History, State, Status, begin, checked_start
from jaxnn._types import Params, Plan, num_examples, scalar
from jaxnn.checkpoint import Checkpoints

_PIECE_SECONDS = 0.4  # between looks at the keyboard: Ctrl-C is answered within a second


@dataclass(frozen=True)
class FitResult:
    """What a fit returns, however it ended.

    Attributes:
      params: the best on the hold-out; without one, the last finite.
      status: a `Status`: STOPPED_EARLY, MAX_EPOCHS, DIVERGED or INTERRUPTED.
      best_epoch: the epoch of `params`; 0 means the initial ones.
      history: a row an epoch, on the host, with `seconds`.
      state: the whole state; `fit(..., state=result.state)` goes on from here.
      message: one sentence on how it ended, with a hint where there is one.
    """

    params: Params
    status: Status
    best_epoch: int
    history: History
    state: State
    message: str


def fit(
    objective: Any,
    optimizer: Any,
    params: Params,
    train: Any,
    hold_out: Any = None,
    *,
    plan: Plan = MiniBatch(32),  # noqa: B008  (a frozen value)
    max_epochs: int = 200,
    patience: int | None = 10,
    min_delta: float = 0.0,
    monitor: str = "log_likelihood",
    key: Any = 0,
    learning_rate: Any = None,
    aggregate: Any = "mean",
    watch_gradients: bool = False,
    state: Any = None,
    progress: bool | Callable[[Progress], None] | None = None,
    checkpoint: Any = None,
) -> FitResult:
    """Maximise the objective by gradient ascent, with early stopping, progress and a Ctrl-C that loses nothing.

    Runs the program of `ascend` in pieces; histories agree bit for bit. The first Ctrl-C ends the run at the next
    piece, within about a second, with the best parameters so far; a second raises `KeyboardInterrupt`.

    With `checkpoint=folder` a run survives: it is saved every ten seconds and at its end, also on SIGTERM (which is
    then handed on, so that a program without a handler of its own ends), and the same call goes on where it stopped,
    mid-epoch, to the bits of a run that was never interrupted. See docs/run_folder.md.

    Args:
      objective: `LogLikelihood(model, likelihood)` or `from_function(log_prob)`.
      optimizer: an optax transformation, as `optax.adam(1e-3)`; or a factory, as `optax.adam`, with `learning_rate`.
      params: initial parameters; where a state is given, it has its own and these (and `key`) are not looked at.
      train: `Dataset` or `Batch` to learn from.
      hold_out: `Dataset` or `Batch` that picks the best epoch and stops the run. None: the last finite epoch counts as
        best.
      plan: which examples each step reads.
      max_epochs: the most epochs of the whole run, >= 0, those of a given state included.
      patience: epochs without a gain on the hold-out that end the run, >= 1; None: never. Without a hold-out, not used.
      min_delta: the absolute gain that resets patience, >= 0, in nats (or accuracy).
      monitor: "log_likelihood" or "accuracy", of the hold-out.
      key: typed key or int seed of the data order.
      learning_rate: finite, >= 0, with a factory only. With a state: the rate from here on.
      aggregate: "mean", "sum", `clipped(max_norm)` or your own, see `ascent_step`.
      watch_gradients: whether the history tells of the gradients of single examples, see `ascend`.
      state: of an earlier result, to go on from. One that ran out of epochs or of patience takes no step before it is
        given more.
      progress: True draws a line on standard error, False is silent, None draws on a terminal only; or a function of
        `Progress`.
      checkpoint: a folder to save the run in and to go on from, or `checkpoint.Checkpoints(folder, ...)`. A folder
        that holds another run (model, optimiser, data, seed ...) is refused; `max_epochs`, `patience` and `min_delta`
        may be others. None: nothing is saved.

    Returns:
      A `FitResult`.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: before anything is compiled.
      CheckpointError: the folder cannot be used, before anything is compiled; or a save failed, and then the error's
        `result` is the `FitResult` so far (see `Checkpoints`, `on_error`).

    Warns:
      RuntimeWarning: the run diverged; the message names the rate to try next.
      UserWarning: all training examples are of one class; the run goes on with other versions, flags, or on another
        machine; a damaged checkpoint was skipped.

    Example:
      >>> import jaxnn, optax
      >>> train, hold_out, test = jaxnn.data.split(jaxnn.data.load("iris"), (0.6, 0.2, 0.2), seed=0)
      >>> model = jaxnn.Mlp((4, 16, 3))
      >>> objective = jaxnn.LogLikelihood(model, jaxnn.categorical)
      >>> result = jaxnn.fit(objective, optax.adam, model.init(1), train, hold_out, learning_rate=0.01)
      >>> result.status.name, jaxnn.evaluate(objective, result.params, test).accuracy > 0.8
      ('STOPPED_EARLY', True)
    """
    start = time.perf_counter()
    max_epochs = check_integer("fit", "max_epochs", max_epochs, at_least=0, at_most=MOST_EPOCHS)
    if patience is not None:
        patience = check_integer("fit", "patience", patience, at_least=1, at_most=FOREVER)
    patience = None if hold_out is None else patience
    draw = drawer("fit", progress)
    checkpoints = checkpoint if isinstance(checkpoint, Checkpoints | None) else Checkpoints(checkpoint)
    run = Run(objective, optimizer, train, hold_out, plan, monitor, aggregate, bool(watch_gradients))
    anew, first = state is None, None
    if state is None:
        first = checked_start("fit", objective, optimizer, params, key, learning_rate)
        run = checked_run("fit", run, first[1], patience, min_delta)
    else:
        made = as_optimizer("fit", optimizer)
        check_state("fit", state)
        if learning_rate is not None:
            check_rate("fit", made, learning_rate)
            state = state._replace(learning_rate=scalar(learning_rate, state.learning_rate.dtype))
        check_opt_state("fit", made, state)
        run = checked_run("fit", run, state.params, patience, min_delta)
        key = state.key
    if checkpoints is not None:
        checkpoints.make_folder("fit")
    state = begin(*first) if first is not None else state
    warn_of_one_class(run, state.params)

    keeper, before = None, None
    if checkpoints is not None:
        asked = {"max_epochs": max_epochs, "patience": patience, "min_delta": float(min_delta)}
        about = about_run(run, state, train, asked, anew=anew)
        before = goes_on(checkpoints, about, key, state)
        keeper = Keeper(checkpoints, about)
    if before is not None:
        state = before.state
        start -= before.seconds[-1]

    first_epoch, first_step = int(state.epoch), int(state.step)
    fresh = int(state.best.epoch) < 0 or int(state.best.monitor) != monitored(monitor, run.hold_out)
    limits = make_limits(state, max_epochs, patience, min_delta)
    num_steps = plan.num_steps(num_examples(run.train))
    rows, table = empty_rows(max_epochs, state), _Table(before, skip=0 if fresh else 1)
    pace, steps, failure = Pace(), 0, None
    alone = contextlib.nullcontext() if keeper is None else keeper.alone()
    with alone, Interrupts(also_terminate=keeper is not None) as interrupts:
        while True:
            limits = limits._replace(begin=scalar(fresh and steps == 0, bool), steps=scalar(pace.steps, jnp.int32))
            state, rows = advance(run, state, rows, limits)
            epoch, step, status = map(int, jax.device_get((state.epoch, state.step, state.status)))
            now = time.perf_counter() - start
            taken = (epoch - first_epoch) * num_steps + step - first_step - steps
            steps += taken
            pace.update(taken, now)
            table.reach(epoch - first_epoch, now)
            if status == Status.RUNNING and interrupts.requested:
                status = int(Status.INTERRUPTED)
            if draw is not None:
                done = epoch + step / num_steps
                row = dict(zip(History._fields, np.asarray(rows)[epoch - first_epoch].tolist(), strict=False))
                draw(Progress(done, max_epochs, row, int(state.best.epoch), now, str(Status(status))))
            try:
                if keeper is not None and status == Status.RUNNING:
                    keeper.offer(partial(table.reached, state, rows, now))
            except CheckpointError as error:
                failure, status = error, int(Status.INTERRUPTED)
            if status != Status.RUNNING:
                break
        state = state._replace(status=scalar(status, jnp.int32))
        end = table.reached(state, rows, now)
        try:
            if keeper is not None and failure is None and (steps > 0 or before is None):
                keeper.finish(end)
        except CheckpointError as error:
            failure = error
        interrupts.too_late = status != Status.INTERRUPTED
    result = FitResult(
        params=state.best.params,
        status=Status(status),
        best_epoch=int(state.best.epoch),
        history=end.history,
        state=state,
        message=message_of(Status(status), state, patience, run, steps),
    )
    if failure is not None:
        failure.result = result
        raise failure
    if result.status == Status.DIVERGED:
        warnings.warn(result.message, RuntimeWarning, stacklevel=2)
    return result


class _Table:
    """The clock of every row of the history, and the rows of the part of the run that went `before`."""

    def __init__(self, before: Reached | None, skip: int):
        self.before = before
        self.skip = skip  # rows at the head of those of the program: the first is not that of a run that goes on
        self.seconds = [0.0 if before is None else float(before.seconds[-1])]

    def reach(self, row: int, now: float) -> None:
        """Spread the time since the last row over the rows that were reached since."""
        new = row - (len(self.seconds) - 1)
        self.seconds += np.linspace(self.seconds[-1], now, new + 1)[1:].tolist()

    def reached(self, state: State, rows: Any, now: float) -> Reached:
        """Return how far the run is."""
        rows = np.asarray(rows)[self.skip : len(self.seconds)]
        seconds = np.asarray([*self.seconds[self.skip :], now])
        if self.before is not None:
            rows = np.concatenate([self.before.rows, rows])
            seconds = np.concatenate([self.before.seconds[:-1], seconds])
        return Reached(state, rows, seconds)


class Pace:
    """How many steps a piece takes: begins with one, since it may take seconds, then follows the clock."""

    def __init__(self):
        self.steps = 1
        self.last = None  # the first piece compiles, so its time says nothing

    def update(self, taken: int, now: float) -> None:
        if self.last is not None and taken:
            per_step = (now - self.last) / taken
            self.steps = int(min(max(1, _PIECE_SECONDS / per_step), 16 * self.steps, FOREVER))
        self.last = now
