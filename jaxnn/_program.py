"""The compiled program of gradient ascent: epochs with hold-out and early stopping, on `step`.

`ascend` runs it whole, `fit` in pieces bounded in steps; both get the same bits, for it is the same program.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._aggregates import Clipped, Plain
from jaxnn._layout import can_turn, turned, turned_objective
from jaxnn._objectives import weighted_log_likelihood
from jaxnn._scores import CHUNK_SIZE, hold_out_scores, sum_over_chunks
from jaxnn._state import COLUMNS, WATCHED, Best, State, Status
from jaxnn._step import norm, step
from jaxnn._types import Batch, as_jax, num_examples, scalar
from jaxnn._watch import watched

FOREVER = 2**31 - 1  # more steps, epochs or misses than any run has
# Steps are taken in blocks. Their indices are drawn at once: enough to cost nothing per step, few enough to need no
# memory. Their log probabilities are summed apart: a float32 sum of a million equal terms is wrong by 1 %.
BLOCK_INDICES, _BLOCK_STEPS = 2**16, 2**13


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("objective", "train", "hold_out", "aggregate"),
    meta_fields=("optimizer", "plan", "monitor", "watch_gradients", "chunk_size"),
)
@dataclass(frozen=True)
class Run:
    """What stays the same from the first step of a run to the last.

    Attributes:
      objective: what is maximised.
      optimizer: how; compiled in, as are `plan` and `monitor`.
      train: the examples to learn from.
      hold_out: those that pick the best epoch, or None.
      plan: which examples each step reads.
      monitor: "log_likelihood" or "accuracy", of the hold-out.
      aggregate: what is made of the gradients of a batch, see `_aggregates`; its numbers are data.
      watch_gradients: whether the history tells of the gradients of single examples.
      chunk_size: examples that are scored at a time.
    """

    objective: Any
    optimizer: Any
    train: Any
    hold_out: Any
    plan: Any
    monitor: str
    aggregate: Any
    watch_gradients: bool = False
    chunk_size: int = CHUNK_SIZE


class Limits(NamedTuple):
    """Where a piece of a run ends: data of the program, so that no value recompiles.

    Attributes:
      start: `int32[]`, the epoch of history row 0.
      begin: `bool[]`, whether row 0 is to be measured.
      last_epoch: `int32[]`, epochs completed at which the run is over.
      patience: `int32[]`, misses that stop it.
      min_delta: `dtype[]`, the gain that counts.
      steps: `int32[]`, the most steps to take in this piece.
    """

    start: Array
    begin: Array
    last_epoch: Array
    patience: Array
    min_delta: Array
    steps: Array


def make_limits(state: State, last_epoch: Any, patience: int | None, min_delta: Any, steps: int = FOREVER) -> Limits:
    """Return the limits of a run from this state on."""
    return Limits(
        start=state.epoch,
        begin=scalar(True, bool),
        last_epoch=scalar(last_epoch, jnp.int32),
        patience=scalar(FOREVER if patience is None else patience, jnp.int32),
        min_delta=scalar(min_delta, state.best.value.dtype),
        steps=scalar(steps, jnp.int32),
    )


def monitored(monitor: str, hold_out: Any) -> int:
    """Return what the best value of a run measures: 0 training, 1 hold-out log likelihood, 2 hold-out accuracy."""
    return 0 if hold_out is None else 1 if monitor == "log_likelihood" else 2


def empty_rows(num_epochs: int, state: State) -> Array:
    """Return the history the program fills, `dtype[E, 14]`: E a power of two, so that few programs serve all numbers
    of epochs.
    """
    rows = max(64, 1 << num_epochs.bit_length())
    empty = np.full((rows, COLUMNS), np.nan, state.best.value.dtype)
    empty[:, 0] = -1
    return as_jax(empty)


@jax.jit
def advance(run: Run, state: State, rows: Array, limits: Limits) -> tuple[State, Array]:
    """Run until the run is over or `limits.steps` are taken, from any state, mid-epoch too: the program of `ascend`
    and `fit`.
    """
    if not can_turn(run.objective, run.optimizer) or not isinstance(run.aggregate, Plain | Clipped):
        return _advance(run, state, rows, limits)
    run = replace(run, objective=turned_objective(run.objective))
    state, rows = _advance(run, turned(state, state.params), rows, limits)
    return turned(state, state.params), rows


def _advance(run: Run, state: State, rows: Array, limits: Limits) -> tuple[State, Array]:
    """Take the steps, in rounds: see `make_round`."""
    take_round = make_round(run, limits)

    def goes_on(carry):
        state, _, left, begins = carry
        return ((state.status == Status.RUNNING) & (left > 0)) | begins

    state = resumed(run, state, limits)
    carry = state, rows, limits.steps, limits.begin
    state, rows, _, _ = jax.lax.while_loop(goes_on, take_round, carry)
    return state, rows


def resumed(run: Run, state: State, limits: Limits) -> State:
    """Return a state as a run goes on from it: with a best that can be compared, and the status it has by now."""
    now = monitored(run.monitor, run.hold_out)
    same = state.best.monitor == now
    best = Best(
        state.best.params,
        jnp.where(same, state.best.value, -jnp.inf),
        jnp.where(same, state.best.epoch, -1),
        jnp.full_like(state.best.monitor, now),
    )
    state = state._replace(best=best, misses=jnp.where(same, state.misses, 0))
    rate = state.learning_rate  # one that was traced passed the door unseen: below 0 it would climb down
    usable = (rate >= 0) & jnp.isfinite(rate) if run.optimizer.is_factory else True
    return state._replace(
        status=_status(state, limits, (state.status != Status.DIVERGED) & usable),
        step=jnp.minimum(state.step, run.plan.num_steps(num_examples(run.train)) - 1),  # of a plan with more steps
    )


def make_round(run: Run, limits: Limits) -> Callable:
    """Return the round of a run, a function of (state, rows, steps left, whether row 0 is due) that returns the same.

    A round takes the steps up to the end of the epoch, of the piece, or of the block, whichever comes first; row 0 is
    a round without steps. The last step of an epoch stands apart: only there are norms and the hold-out measured.
    """
    objective, train, hold_out, plan = run.objective, run.train, run.hold_out, run.plan
    total_rows = num_examples(train)
    num_steps = plan.num_steps(total_rows)
    block = min(num_steps, _BLOCK_STEPS, max(1, BLOCK_INDICES // plan.batch_size(total_rows)))
    pads = jax.eval_shape(lambda: plan.indices(jax.random.key(0), 0, 0, total_rows)[1]) is not None
    equal_weights = train.weight is None and not pads
    nan = jnp.full_like(limits.min_delta, jnp.nan)
    zero = jnp.zeros_like(nan)

    def batches(state):
        """Return the function from j to the batch of step `state.step + j`, for j in [0, block)."""
        steps = state.step + jnp.arange(block, dtype=jnp.int32)
        indices, weights = jax.vmap(plan.indices, (None, None, 0, None))(state.key, state.epoch, steps, total_rows)

        def batch(j):
            x, y, weight = train
            if indices is not None:
                i = indices[j]
                x, y, weight = jax.tree.map(lambda a: a.at[i].get(mode="promise_in_bounds"), train)
            if weights is not None:
                weight = weights[j] if weight is None else weight * weights[j]
            return Batch(x, y, weight)

        return batch

    def take(state, batch, report=False):
        # Without sample weights every batch holds a whole example, the ragged last one too.
        (params, opt_state), (total, weight), norms = step(
            objective, run.optimizer, run.aggregate, state, batch, may_be_empty=train.weight is not None, report=report
        )
        state = state._replace(params=params, opt_state=opt_state, block=state.block + total)
        if not equal_weights:  # else it is known at the epoch's end: one sum fewer in every step
            state = state._replace(weight=state.weight + weight)
        return (state, norms) if report else state

    def first_row(state, batch):
        """Return the exact mean log likelihood of the parameters as they came; no step, so no norms."""
        del batch

        def sums(part):
            return tuple(map(jnp.asarray, weighted_log_likelihood(objective, state.params, part)))

        total, weight = sum_over_chunks(sums, train, run.chunk_size)
        return state, (total / weight, jnp.isfinite(total), nan, nan)

    def last_step(state, batch):
        """Take the epoch's last step, with its norms, and return the running mean of the epoch."""
        state, norms = take(state, batch, report=True)
        total = state.log_prob + state.block
        mean = total / (num_steps * plan.batch_size(total_rows) if equal_weights else state.weight)
        finite = jnp.isfinite(total)  # not of the mean: an epoch that drew only absent rows has none
        state = state._replace(epoch=state.epoch + 1, step=jnp.int32(0), log_prob=zero, block=zero, weight=zero)
        return state, (mean, finite, *norms)

    def score(params):
        return (nan, nan) if hold_out is None else hold_out_scores(objective, params, hold_out, run.chunk_size)

    def measure(state, rows, begins, mean, finite, norms):
        """Score the hold-out, keep the best, decide whether to go on, and write the row of this epoch."""
        held, accuracy = score(state.params)
        finite &= jnp.isfinite(norm(state.params))
        if hold_out is None:
            value, better, gained = jnp.where(jnp.isfinite(mean), mean, state.best.value), finite, finite
        else:
            value = accuracy if run.monitor == "accuracy" else held
            value = jnp.where(jnp.isnan(value), -jnp.inf, value)  # never an improvement
            better = finite & (value > state.best.value)
            gained = better & ~(value <= state.best.value + limits.min_delta)
        # Row 0 counts for a run that has not begun; one that goes on has been measured before.
        better = jnp.where(begins, state.best.epoch < 0, better)
        now = Best(state.params, value, state.epoch, state.best.monitor)
        best = jax.lax.cond(better, lambda: now, lambda: state.best)
        misses = jnp.where(begins, state.misses, jnp.where(gained, 0, state.misses + 1))
        state = state._replace(best=best, misses=misses)
        seen = watched(objective, state.params, train) if run.watch_gradients else [nan] * len(WATCHED)
        row = jnp.stack([state.epoch.astype(rows.dtype), mean, held, accuracy, *norms, state.learning_rate, *seen])
        rows = rows.at[state.epoch - limits.start].set(row, mode="drop")
        finite &= state.status != Status.DIVERGED  # such a run does not go on, whatever parameters it is given
        return state._replace(status=_status(state, limits, finite)), rows

    def take_round(carry):
        state, rows, left, begins = carry
        n = jnp.minimum(jnp.minimum(num_steps - state.step, left), block - state.step % block)
        n = jnp.where(begins, 0, n)
        ends = ~begins & (state.step + n == num_steps)
        plain = n - ends.astype(jnp.int32)
        batch = batches(state)
        state = jax.lax.fori_loop(0, plain, lambda j, s: take(s, batch(j)), state)
        taken = state.step + plain
        full = taken % block == 0
        state = state._replace(
            step=taken,
            log_prob=jnp.where(full, state.log_prob + state.block, state.log_prob),
            block=jnp.where(full, zero, state.block),
        )
        which = jnp.where(begins, 1, jnp.where(ends, 2, 0))
        neither = lambda s, b: (s, (nan, jnp.asarray(False), nan, nan))  # noqa: E731
        state, (mean, finite, *norms) = jax.lax.switch(which, [neither, first_row, last_step], state, batch(plain))
        state, rows = jax.lax.cond(
            which > 0, measure, lambda s, r, *_: (s, r), state, rows, begins, mean, finite, norms
        )
        return state, rows, left - n, jnp.asarray(False)

    return take_round


def _status(state: State, limits: Limits, finite: Array) -> Array:
    """Return the status after an epoch: diverged, then stopped early, then out of epochs, else running."""
    status = jnp.where(state.epoch >= limits.last_epoch, Status.MAX_EPOCHS, Status.RUNNING)
    status = jnp.where(state.misses >= limits.patience, Status.STOPPED_EARLY, status)
    return jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
