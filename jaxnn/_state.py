"""The state of a run as one pytree, its status, and the history of its epochs."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._checks import as_key, check_key
from jaxnn._door import checked_params
from jaxnn._optimizer import Optimizer, as_optimizer, check_rate, check_works
from jaxnn._types import Params, scalar
from jaxnn.per_example import NoiseScale


class Status(enum.IntEnum):
    """How a run stands. `CONVERGED` is claimed only by methods that certify it."""

    RUNNING = 0
    CONVERGED = 1
    STOPPED_EARLY = 2
    MAX_EPOCHS = 3
    DIVERGED = 4
    INTERRUPTED = 5

    def __str__(self) -> str:
        return self.name.lower()


class Best(NamedTuple):
    """The best parameters so far, the value they reached, the epoch (-1: none yet), and what the value measures.

    `monitor` is `int32[]`, see `_program.monitored`: values of two monitors are never compared.
    """

    params: Params
    value: Array
    epoch: Array
    monitor: Array


class State(NamedTuple):
    """Everything a run needs to go on, and nothing else: give it back and training continues, also mid-epoch.

    Attributes:
      params: the current parameters.
      opt_state: the optimiser's.
      learning_rate: `dtype[]`, data of the program; NaN where the optimiser has its own.
      key: typed key of the data order. Never consumed: steps fold in epoch and step.
      epoch, step: `int32[]`, epochs completed, and steps taken in the present one.
      log_prob, block, weight: `dtype[]`, running sums over the present epoch: of weight_i log P_i up to the present
        block of steps, the same within the block, and of weight_i (only where examples or batches differ in weight).
      best: the best on the hold-out; without one, the last finite.
      misses: `int32[]`, epochs since a gain above `min_delta`.
      status: `int32[]`, a `Status`.
    """

    params: Params
    opt_state: Any
    learning_rate: Array
    key: Array
    epoch: Array
    step: Array
    log_prob: Array
    block: Array
    weight: Array
    best: Best
    misses: Array
    status: Array


class StepInfo(NamedTuple):
    """What one step reports: the batch's mean log likelihood before it, the gradient's norm, and |update| / |w|."""

    log_likelihood: Array
    gradient_norm: Array
    update_ratio: Array


class History(NamedTuple):
    """One row an epoch, `dtype[E]` each; row 0 is the parameters at the start. Rows never reached hold NaN.

    Attributes:
      epoch: `int32[E]`, epochs completed; -1 in rows never reached.
      log_likelihood: on the training data, nats per example, unpenalised: the running mean over the epoch, as the
        steps saw it (row 0: of the initial parameters on all of it).
      hold_out_log_likelihood, hold_out_accuracy: after the epoch; NaN without a hold-out (accuracy: without classes).
      gradient_norm, update_ratio: of the direction (the objective's gradient, or the aggregate less that of the
        penalty), and |update| / |w|, at the epoch's last step; NaN in row 0.
      learning_rate: as the state has it.
      noise_trace, noise_square: tr(Σ) and |G|² of the gradient noise scale; with those below, only where
        `watch_gradients` asked for it, else NaN. Measured after the epoch (row 0: before the first) on up to 2,048
        training examples, evenly spread.
      norm_min, norm_q25, norm_median, norm_q75, norm_max: of the norms of single examples' gradients, there.
      seconds: host time since the start of the run; NaN where no host was watching (`ascend`).
    """

    epoch: Array
    log_likelihood: Array
    hold_out_log_likelihood: Array
    hold_out_accuracy: Array
    gradient_norm: Array
    update_ratio: Array
    learning_rate: Array
    noise_trace: Array
    noise_square: Array
    norm_min: Array
    norm_q25: Array
    norm_median: Array
    norm_q75: Array
    norm_max: Array
    seconds: Array

    @property
    def noise_scale(self) -> Array:
        """tr(Σ) / |G|², examples, `dtype[E]`; infinite where no signal is left, NaN where nothing was watched."""
        return NoiseScale(jnp.asarray(self.noise_trace), jnp.asarray(self.noise_square)).scale

    def rows(self) -> list[dict[str, int | float]]:
        """Return the rows reached, as dictionaries of plain numbers; what was not watched is left out."""
        columns = {name: np.asarray(column) for name, column in self._asdict().items()}
        if np.isnan(columns["noise_trace"]).all() and np.isnan(columns["norm_median"]).all():
            columns = {name: column for name, column in columns.items() if name not in WATCHED}
        return [
            {name: column[i].item() for name, column in columns.items()} for i in np.flatnonzero(columns["epoch"] >= 0)
        ]


WATCHED = tuple(name for name in History._fields if name.startswith(("noise_", "norm_")))
COLUMNS = len(History._fields) - 1  # of the rows of the program, which has no clock


def full_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows that were saved before anything could be watched with columns for it."""
    return np.pad(rows, [(0, 0), (0, COLUMNS - rows.shape[1])], constant_values=np.nan)


def history_of(rows: np.ndarray, seconds: np.ndarray) -> History:
    """Return host rows `dtype[E, 14]` and their clock `float64[E]` as a history."""
    epochs, *columns = rows.T
    host: Any = (*columns, seconds)
    return History(epochs.astype(np.int32), *host)


def init_state(objective: Any, optimizer: Any, params: Params, key: Any = 0, *, learning_rate: Any = None) -> State:
    """Return the state of a run that has not begun.

    Args:
      objective: what will be maximised.
      optimizer: an optax transformation, as `optax.adam(1e-3)`; or a factory, as `optax.sgd`, with `learning_rate`:
        then the rate is data, and a new one does not recompile.
      params: initial parameters, a pytree of floating-point arrays.
      key: typed key or int seed of the data order. Use another for `model.init`.
      learning_rate: a finite number >= 0, with a factory only; can be traced.

    Raises:
      ConfigError: an optimiser that cannot be used, a rate or key that means nothing.
      ShapeError, DtypeError, NonFiniteError: parameters that do not fit the model or are not finite.

    Example:
      >>> import jaxnn, optax
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> state = jaxnn.init_state(objective, optax.sgd, objective.model.init(1), key=0, learning_rate=0.1)
      >>> state.epoch.item(), state.learning_rate.item() > 0
      (0, True)
    """
    return begin(*checked_start("init_state", objective, optimizer, params, key, learning_rate))


def checked_start(
    who: str, objective: Any, optimizer: Any, params: Any, key: Any, learning_rate: Any
) -> tuple[Optimizer, Params, Any, Array]:
    """Return the optimiser, parameters, key and rate of a run that can begin; raise for another. Nothing is compiled,
    and no key is made, so that `fit` can look at its data before `begin`.
    """
    made = as_optimizer(who, optimizer)
    check_rate(who, made, learning_rate)
    check_key(who, key)
    params = checked_params(who, objective, params)
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
    rate = scalar(jnp.nan if learning_rate is None else learning_rate, dtype)
    check_works(who, made, params, rate)
    return made, params, key, rate


def begin(optimizer: Optimizer, params: Params, key: Any, rate: Array) -> State:
    """Return the state of a run that has not begun, from what `checked_start` let pass."""
    key = as_key("init_state", key)
    zero, none = scalar(0, jnp.int32), scalar(0, rate.dtype)
    opt_state = optimizer.init(params, rate)
    best = Best(params, scalar(-jnp.inf, rate.dtype), scalar(-1, jnp.int32), scalar(0, jnp.int32))
    return State(
        params,
        opt_state,
        rate,
        key,
        zero,
        zero,
        none,
        none,
        none,
        best,
        zero,
        scalar(Status.RUNNING, jnp.int32),
    )
