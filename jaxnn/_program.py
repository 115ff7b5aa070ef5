"""The compiled program of gradient ascent: one step, and epochs with hold-out and early stopping.

    w <- w + update(∇ objective(w, batch))

`ascend` runs it whole, `fit` in pieces bounded in steps; both get the same bits, for it is the same program.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._evaluate import CHUNK_SIZE, hold_out_scores, sum_over_chunks
from jaxnn._objectives import weighted_log_likelihood
from jaxnn._optimizer import Optimizer
from jaxnn._state import Best, History, State, Status
from jaxnn._types import Batch, Params, Plan, num_examples

FOREVER = 2**31 - 1  # more steps, epochs or misses than any run has
_BLOCK = 2**16  # indices drawn at a time: enough to cost nothing per step, few enough to need no memory


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
        begin=jnp.asarray(True),
        last_epoch=jnp.asarray(last_epoch, jnp.int32),
        patience=jnp.asarray(FOREVER if patience is None else patience, jnp.int32),
        min_delta=jnp.asarray(min_delta, state.best.value.dtype),
        steps=jnp.asarray(steps, jnp.int32),
    )


def empty_rows(num_epochs: int, state: State) -> Array:
    """Return the history the program fills, `dtype[E, 7]`: E a power of two, so that few programs serve all numbers
    of epochs.
    """
    rows = max(64, 1 << num_epochs.bit_length())
    return jnp.full((rows, len(History._fields) - 1), jnp.nan, state.best.value.dtype).at[:, 0].set(-1)


def step(
    objective: Any,
    optimizer: Optimizer,
    aggregate: str,
    state: State,
    batch: Batch,
    *,
    may_be_empty: bool,
    report: bool = False,
) -> tuple[tuple[Params, Any], tuple[Array, Array], tuple[Array, Array] | None]:
    """Return the next (params, opt_state), the batch's sums of log P and of weight, and, if asked, the two norms.

    The gradient is that of the weighted sum of vmap(log_prob), with the weights inside: applied after vmap(grad) they
    would make XLA hold one gradient an example (257 MiB against 4 for tied layers).
    """

    def value(params):
        total, weight = weighted_log_likelihood(objective, params, batch)
        # A batch without weight has nothing to say: any finite value will do here, the step is undone below.
        mean = total / (jnp.where(weight > 0, weight, 1) if may_be_empty else weight)
        scale = weight if aggregate == "sum" else 1
        return scale * (mean - objective.penalty(params)), (total, weight)

    (v, (total, weight)), gradient = jax.value_and_grad(value, has_aux=True)(state.params)
    update, opt_state = optimizer.update(
        gradient, state.opt_state, state.params, state.learning_rate, v, lambda p: value(p)[0]
    )
    params = jax.tree.map(jnp.add, state.params, update)
    if may_be_empty:
        moved = weight > 0
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(moved, new, old), (params, opt_state), (state.params, state.opt_state)
        )
    norms = None
    if report:
        size = _norm(state.params)
        norms = _norm(gradient), jnp.where(size > 0, _norm(update) / size, jnp.nan)
    return (params, opt_state), (total, weight), norms


def _norm(tree: Params) -> Array:
    return jnp.sqrt(
        sum(
            jnp.sum(jnp.square(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))))
            for leaf in jax.tree.leaves(tree)
        )
    )


@partial(jax.jit, static_argnames=("optimizer", "plan", "monitor", "aggregate"))
def advance(
    objective: Any,
    state: State,
    rows: Array,
    train: Batch,
    hold_out: Batch | None,
    limits: Limits,
    *,
    optimizer: Optimizer,
    plan: Plan,
    monitor: str,
    aggregate: str,
) -> tuple[State, Array]:
    """Run until the run is over or `limits.steps` are taken, from any state, mid-epoch too: the program of `ascend`
    and `fit`.

    Each round of the outer loop takes the steps up to the end of the epoch, of the piece, or of the block of indices,
    whichever comes first. The last step of an epoch stands apart: only there are norms and the hold-out measured.
    """
    total_rows = num_examples(train)
    num_steps = plan.num_steps(total_rows)
    block = min(num_steps, max(1, _BLOCK // plan.batch_size(total_rows)))
    pads = jax.eval_shape(lambda s: plan.indices(s.key, s.epoch, s.step, total_rows)[1], state) is not None
    equal_weights = train.weight is None and not pads

    def batches(state):
        """Return the function from j to the batch of step `state.step + j`, for j in [0, block)."""
        steps = state.step + jnp.arange(block, dtype=jnp.int32)
        indices, weights = jax.vmap(plan.indices, (None, None, 0, None))(state.key, state.epoch, steps, total_rows)

        def batch(j):
            if indices is None:
                return train
            i = indices[j]
            x, y, weight = jax.tree.map(lambda a: a.at[i].get(mode="promise_in_bounds"), train)
            if weights is not None:
                weight = weights[j] if weight is None else weight * weights[j]
            return Batch(x, y, weight)

        return batch

    def take(state, batch, report=False):
        # Without sample weights every batch holds a whole example, the ragged last one too.
        (params, opt_state), (total, weight), norms = step(
            objective,
            optimizer,
            aggregate,
            state,
            batch,
            may_be_empty=train.weight is not None,
            report=report,
        )
        state = state._replace(params=params, opt_state=opt_state, log_prob=state.log_prob + total)
        if not equal_weights:  # else it is known at the epoch's end: one sum fewer in every step
            state = state._replace(weight=state.weight + weight)
        return (state, norms) if report else state

    def scores(params):
        if hold_out is None:
            return jnp.asarray(jnp.nan, state.best.value.dtype), jnp.asarray(jnp.nan, state.best.value.dtype)
        return hold_out_scores(objective, params, hold_out)

    def begin(carry):
        """Measure the parameters as they came: row 0, and the best so far of a run that has not begun."""
        state, rows = carry
        total, weight = sum_over_chunks(
            lambda part: tuple(map(jnp.asarray, weighted_log_likelihood(objective, state.params, part))),
            train,
            CHUNK_SIZE,
        )
        held, accuracy = scores(state.params)
        value = _or_worst(accuracy if monitor == "accuracy" else held)
        fresh = state.best.epoch < 0
        best = Best(
            state.best.params,
            jnp.where(fresh, value, state.best.value),
            jnp.where(fresh, state.epoch, state.best.epoch),
        )
        nan = jnp.asarray(jnp.nan, held.dtype)
        rows = _write(rows, 0, state, total / weight, held, accuracy, nan, nan)
        status = jnp.where(jnp.isfinite(total), state.status, Status.DIVERGED)
        return state._replace(best=best, status=status), rows

    def end_epoch(state, rows, batch):
        """Take the epoch's last step, measure, keep the best, and decide whether to go on."""
        state, (gradient_norm, update_ratio) = take(state, batch, report=True)
        epoch = state.epoch + 1
        mean = state.log_prob / (num_steps * plan.batch_size(total_rows) if equal_weights else state.weight)
        held, accuracy = scores(state.params)
        finite = jnp.isfinite(mean)
        for leaf in jax.tree.leaves(state.params):
            finite &= jnp.all(jnp.isfinite(leaf))
        if hold_out is None:
            better, gained = finite, finite
            value = jnp.where(finite, mean, state.best.value)
        else:
            value = _or_worst(accuracy if monitor == "accuracy" else held)
            better = finite & (value > state.best.value)
            gained = better & ~(value <= state.best.value + limits.min_delta)
        best = Best(state.params, value, epoch)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), best, state.best)
        rows = _write(
            rows,
            epoch - limits.start,
            state._replace(epoch=epoch),
            mean,
            held,
            accuracy,
            gradient_norm,
            update_ratio,
        )
        zero = jnp.zeros_like(state.log_prob)
        state = state._replace(
            epoch=epoch, step=jnp.zeros_like(state.step), log_prob=zero, weight=zero, best=best,
            misses=jnp.where(gained, 0, state.misses + 1),
        )  # fmt: skip
        return state._replace(status=_status(state, limits, finite)), rows

    def piece(carry):
        state, rows, left = carry
        n = jnp.minimum(jnp.minimum(num_steps - state.step, left), block)
        ends = state.step + n == num_steps
        batch = batches(state)
        plain = n - ends.astype(jnp.int32)
        state = jax.lax.fori_loop(0, plain, lambda j, s: take(s, batch(j)), state)
        state = state._replace(step=state.step + plain)
        state, rows = jax.lax.cond(ends, lambda s, r: end_epoch(s, r, batch(plain)), lambda s, r: (s, r), state, rows)
        return state, rows, left - n

    state = state._replace(status=_status(state, limits, state.status != Status.DIVERGED))
    state, rows = jax.lax.cond(limits.begin, begin, lambda carry: carry, (state, rows))
    state, rows, _ = jax.lax.while_loop(
        lambda carry: (carry[0].status == Status.RUNNING) & (carry[2] > 0), piece, (state, rows, limits.steps)
    )
    return state, rows


def _status(state: State, limits: Limits, finite: Array) -> Array:
    """Return the status after an epoch: diverged, then stopped early, then out of epochs, else running."""
    status = jnp.where(state.epoch >= limits.last_epoch, Status.MAX_EPOCHS, Status.RUNNING)
    status = jnp.where(state.misses >= limits.patience, Status.STOPPED_EARLY, status)
    return jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)


def _or_worst(value: Array) -> Array:
    """Return -inf for NaN: never an improvement."""
    return jnp.where(jnp.isnan(value), -jnp.inf, value)


def _write(rows: Array, row: Any, state: State, *measured: Array) -> Array:
    return rows.at[row].set(jnp.stack([state.epoch.astype(rows.dtype), *measured, state.learning_rate]), mode="drop")
