"""The compiled program of many runs in lockstep: one round of `_program`, vmapped over the lanes.

The counters of a run, its epoch and its step, are the same in every lane and stay outside of `vmap`. So a round is the
same code as that of a single run: the branches at the end of an epoch stay branches, indices are drawn once, and with a
shared data order the batch is read once, and the first layers of R networks are one matrix product.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._aggregates import Clipped, Plain
from jaxnn._layout import ColumnsLogLikelihood, can_turn, turned, turned_objective
from jaxnn._optimizer import Optimizer
from jaxnn._program import Limits, Run, make_round, resumed
from jaxnn._state import Best, State, Status
from jaxnn._types import Batch, Params
from jaxnn.data import Folds


class Lanes(NamedTuple):
    """What differs between R runs besides their states: `dtype[R]` each, or None where it is the same in all.

    Attributes:
      l2: the penalty.
      max_norm: of clipped gradients.
      fold: `int32[R]`, the row of `weights` that a lane learns with.
      options: of the optimiser, by name.
    """

    l2: Any
    max_norm: Any
    fold: Any
    options: dict[str, Any]


class Few(NamedTuple):
    """When to hand over to a smaller program: at most so many lanes are running at the end of an epoch before `until`.

    No clock decides, so that the same sweep always ends at the same bits.
    """

    running: Array
    until: Array


def state_axes(shared_order: bool) -> Any:
    """Return the axis of every part of the state of R runs that is theirs alone; None for what they share."""
    theirs: Any = dict.fromkeys(State._fields, 0)
    return State(**theirs | {"key": None if shared_order else 0, "epoch": None, "step": None})


@jax.jit
def begin_lanes(run: Run, lanes: Lanes, params: Params, learning_rate: Array, key: Array) -> State:
    """Return the states of R runs that have not begun: `params` is [R, ...], `learning_rate` [R], `key` one or [R]."""

    def one(lane: Lanes, params: Params, rate: Array, key: Array) -> State:
        zero, none = jnp.int32(0), jnp.zeros_like(rate)
        best = Best(params, jnp.full_like(rate, -jnp.inf), jnp.int32(-1), zero)
        opt_state = run_of(run, lane, None).optimizer.traced_init(params, rate)
        return State(params, opt_state, rate, key, zero, zero, none, none, none, best, zero, jnp.int32(Status.RUNNING))

    axes = state_axes(key.ndim == 0)
    return jax.vmap(one, (0, 0, 0, axes.key), axes)(lanes, params, learning_rate, key)


@jax.jit
def advance_lanes(
    run: Run, weights: Folds | None, lanes: Lanes, state: State, rows: Array, limits: Limits, few: Few
) -> tuple[State, Array]:
    """Take rounds until no lane is running, few are, or `limits.steps` are taken. A lane that has ended stays as it is.

    Args:
      run, weights: what the lanes share.
      lanes: what they do not.
      state: of R runs: every part `[R, ...]` but `epoch`, `step` and, with a shared order, `key`.
      rows: `dtype[R, E, 14]`, empty, for their histories from here on; it ends once they are full.
      limits: of all of them.
      few: when so few are running that a smaller program should take over.
    """
    turns = can_turn(run.objective, run.optimizer) and isinstance(run.aggregate, Plain | Clipped)
    axes = state_axes(state.key.ndim == 0)

    def of_lane(lane: Lanes) -> Run:
        mine = run_of(run, lane, weights)
        return replace(mine, objective=turned_objective(mine.objective, ColumnsLogLikelihood)) if turns else mine

    def start(lane, state):
        state = resumed(of_lane(lane), state, limits)
        return turned(state, state.params) if turns else state

    def one_round(lane, state, rows, left, begins):
        return make_round(of_lane(lane), limits)((state, rows, left, begins))

    def goes_on(carry):
        state, _, left, begins = carry
        running = jnp.sum(state.status == Status.RUNNING)
        enough = (running > few.running) | (state.epoch >= few.until) | (state.step > 0)
        full = state.epoch - limits.start + 1 >= rows.shape[1]
        return ((running > 0) & (left > 0) & enough & ~full) | begins

    def all_lanes(carry):
        state, rows, left, begins = carry
        new, new_rows, left, begins = jax.vmap(one_round, (0, axes, 0, None, None), (axes, 0, None, None))(
            lanes, state, rows, left, begins
        )
        runs = (state.status == Status.RUNNING) | carry[3]

        def kept(axis, new, old):
            return new if axis is None else jnp.where(runs.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)

        def kept_part(axis, new, old):
            return jax.tree.map(partial(kept, axis), new, old)

        state = jax.tree.map(kept_part, axes, new, state, is_leaf=lambda axis: axis is None)
        return state, kept(0, new_rows, rows), left, begins

    state = jax.vmap(start, (0, axes), axes)(lanes, state)
    state, rows, _, _ = jax.lax.while_loop(goes_on, all_lanes, (state, rows, limits.steps, limits.begin))
    if turns:
        state = jax.vmap(lambda s: turned(s, s.params), (axes,), axes)(state)
    return state, rows


def run_of(run: Run, lane: Lanes, weights: Folds | None) -> Run:
    """Return the run of one lane."""
    objective, aggregate, optimizer = run.objective, run.aggregate, run.optimizer
    train, hold_out = run.train, run.hold_out
    if lane.l2 is not None:
        objective = replace(objective, l2=lane.l2)
    if lane.max_norm is not None:
        aggregate = Clipped(lane.max_norm)
    if weights is not None:
        train = Batch(train.x, train.y, weights.train[lane.fold])
        hold_out = None if hold_out is None else Batch(hold_out.x, hold_out.y, weights.hold_out[lane.fold])
    if lane.options:
        optimizer = with_options(optimizer, lane.options)
    return replace(run, objective=objective, optimizer=optimizer, train=train, hold_out=hold_out, aggregate=aggregate)


def with_options(optimizer: Optimizer, options: dict[str, Any]) -> Optimizer:
    """Return the optimiser with options of a lane, which are data of the program."""
    return replace(optimizer, keywords=(*optimizer.keywords, *options.items()))
