"""The host's driver of `ascend`: the same program in pieces of about half a second, so that people can watch and
interrupt.
"""

import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._ascent import MOST_EPOCHS, check_opt_state, check_state, checked_run
from jaxnn._checks import check_integer
from jaxnn._optimizer import as_optimizer, check_rate
from jaxnn._plans import MiniBatch
from jaxnn._program import FOREVER, Run, advance, empty_rows, make_limits, monitored
from jaxnn._progress import Progress, drawer
from jaxnn._state import History, State, Status, begin, checked_start
from jaxnn._types import Params, Plan, num_examples, one_example, scalar

_PIECE_SECONDS = 0.4  # between looks at the keyboard: Ctrl-C is answered within a second
_LARGE = 1e3  # features of this size want scaling: gradients grow with them, and curvature with their square


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
    aggregate: str = "mean",
    state: Any = None,
    progress: bool | Callable[[Progress], None] | None = None,
) -> FitResult:
    """Maximise the objective by gradient ascent, with early stopping, progress and a Ctrl-C that loses nothing.

    Runs the program of `ascend` in pieces; histories agree bit for bit. The first Ctrl-C ends the run at the next
    piece, within about a second, with the best parameters so far; a second raises `KeyboardInterrupt`.

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
      aggregate: "mean" or "sum", see `ascent_step`.
      state: of an earlier result, to go on from. One that ran out of epochs or of patience takes no step before it is
        given more.
      progress: True draws a line on standard error, False is silent, None draws on a terminal only; or a function of
        `Progress`.

    Returns:
      A `FitResult`.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: before anything is compiled.

    Warns:
      RuntimeWarning: the run diverged; the message names the rate to try next.
      UserWarning: all training examples are of one class.

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
    check_integer("fit", "max_epochs", max_epochs, at_least=0, at_most=MOST_EPOCHS)
    if patience is not None:
        check_integer("fit", "patience", patience, at_least=1, at_most=FOREVER)
    patience = None if hold_out is None else patience
    draw = drawer("fit", progress)
    run = Run(objective, optimizer, train, hold_out, plan, monitor, aggregate)
    if state is None:
        first = checked_start("fit", objective, optimizer, params, key, learning_rate)
        run = checked_run("fit", run, first[1], patience, min_delta)
        state = begin(*first)
    else:
        made = as_optimizer("fit", optimizer)
        check_state("fit", state)
        if learning_rate is not None:
            check_rate("fit", made, learning_rate)
            state = state._replace(learning_rate=scalar(learning_rate, state.learning_rate.dtype))
        check_opt_state("fit", made, state)
        run = checked_run("fit", run, state.params, patience, min_delta)
    _warn_of_one_class(run, state.params)

    first_epoch = int(state.epoch)
    fresh = int(state.best.epoch) < 0 or int(state.best.monitor) != monitored(monitor, run.hold_out)
    limits = make_limits(state, max_epochs, patience, min_delta)
    num_steps = plan.num_steps(num_examples(run.train))
    rows, seconds = empty_rows(max_epochs, state), [0.0]
    pace, steps = _Pace(), 0
    with _Interrupts() as interrupts:
        while True:
            limits = limits._replace(begin=scalar(fresh and steps == 0, bool), steps=scalar(pace.steps, jnp.int32))
            state, rows = advance(run, state, rows, limits)
            epoch, step, status = map(int, jax.device_get((state.epoch, state.step, state.status)))
            now = time.perf_counter() - start
            taken = (epoch - first_epoch) * num_steps + step - steps
            steps += taken
            pace.update(taken, now)
            new = epoch - first_epoch - (len(seconds) - 1)
            seconds += np.linspace(seconds[-1], now, new + 1)[1:].tolist()
            if status == Status.RUNNING and interrupts.requested:
                status = int(Status.INTERRUPTED)
            if draw is not None:
                done = epoch + step / num_steps
                row = dict(zip(History._fields, np.asarray(rows)[epoch - first_epoch].tolist(), strict=False))
                draw(Progress(done, max_epochs, row, int(state.best.epoch), now, str(Status(status))))
            if status != Status.RUNNING:
                break
    state = state._replace(status=scalar(status, jnp.int32))
    history = _host_history(np.asarray(rows), seconds, skip=0 if fresh else 1)
    result = FitResult(
        params=state.best.params,
        status=Status(status),
        best_epoch=int(state.best.epoch),
        history=history,
        state=state,
        message=_message(Status(status), state, patience, run, steps),
    )
    if result.status == Status.DIVERGED:
        warnings.warn(result.message, RuntimeWarning, stacklevel=2)
    return result


class _Pace:
    """How many steps a piece takes: begins with one, since it may take seconds, then follows the clock."""

    def __init__(self):
        self.steps = 1
        self.last = None  # the first piece compiles, so its time says nothing

    def update(self, taken: int, now: float) -> None:
        if self.last is not None and taken:
            per_step = (now - self.last) / taken
            self.steps = int(min(max(1, _PIECE_SECONDS / per_step), 16 * self.steps, FOREVER))
        self.last = now


class _Interrupts:
    """Turns the first Ctrl-C into a request, the second into `KeyboardInterrupt`; puts the old handler back.

    Outside the main thread Python lets nobody handle signals: there it does nothing.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self.active = threading.current_thread() is threading.main_thread()
        if self.active:
            self.old = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error):
        if self.active:
            signal.signal(signal.SIGINT, signal.SIG_DFL if self.old is None else self.old)  # None: set outside Python

    def _handle(self, number, frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _warn_of_one_class(run: Run, params: Params) -> None:
    """Warn where all training examples are of one class: nothing tells it from the others, so no optimum exists."""
    if run.objective.classes(params, one_example(run.train.x)) is None:
        return
    y = np.asarray(run.train.y)
    if y.min() == y.max():
        warnings.warn(
            f"fit: training data show two classes or more; got only class {y[0]} in {len(y)} examples; the log "
            "likelihood climbs to 0 and kernels grow without end: add examples of another class, or an l2",
            UserWarning,
            stacklevel=3,
        )


def _host_history(rows: np.ndarray, seconds: list[float], skip: int) -> History:
    rows = rows[skip : len(seconds)]
    epoch, *columns = rows.T
    host: Any = np.asarray(seconds[skip:])
    return History(epoch.astype(np.int32), *columns, seconds=host)


def _message(status: Status, state: State, patience: int | None, run: Run, steps: int) -> str:
    epoch, best = int(state.epoch), int(state.best.epoch)
    if steps == 0 < epoch and status in (Status.STOPPED_EARLY, Status.MAX_EPOCHS):
        had, more = ("stopped early", "patience") if status == Status.STOPPED_EARLY else ("run all", "max_epochs")
        return f"took no step: the state had {had} after epoch {epoch}; returned epoch {best}; raise {more} to go on"
    rate = float(state.learning_rate)
    hint = f"learning_rate={rate / 10:.3g}" if run.optimizer.is_factory else "a tenth of the learning rate"
    nothing = f"; nothing beat the initial parameters: try {hint}" if best == 0 < epoch and rate != 0 else ""
    if status == Status.STOPPED_EARLY:
        why = f"no gain on the hold-out in {patience} epochs"
        return f"stopped early after epoch {epoch}: {why}; returned epoch {best}{nothing}"
    if status == Status.INTERRUPTED:
        return f"interrupted in epoch {epoch + 1}; returned epoch {best}; go on with fit(..., state=result.state)"
    if status == Status.DIVERGED and epoch == 0:
        return (
            "diverged before the first step: the log likelihood of the initial parameters is not finite; look at them"
        )
    if status == Status.DIVERGED:
        return (
            f"diverged in epoch {epoch}: the log likelihood or a parameter is not finite; "
            f"returned epoch {best}; try {hint}{_scaling_hint(run.train.x)}"
        )
    return f"ran all {epoch} epochs; returned epoch {best}{nothing}"


def _scaling_hint(x: Any) -> str:
    """Return the advice to scale features far from size 1, which no rate makes up for; integers may be tokens."""
    numbers = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    largest = max((float(np.abs(np.asarray(leaf)).max(initial=0)) for leaf in numbers), default=0)
    return f", or scale x, which reaches {largest:.0e}, with jaxnn.data.standardise" if largest > _LARGE else ""
