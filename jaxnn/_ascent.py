"""Gradient ascent: one step, and whole epochs with hold-out and early stopping as one compiled program.

    w <- w + update(∇ objective(w, batch))

Batch, mini-batch and stochastic ascent differ only in which indices a step reads (`_plans`).
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._aggregates import as_aggregate, check_aggregate
from jaxnn._checks import check_choice, check_integer, check_number
from jaxnn._door import batch_arrays, check_objective, check_one_example, checked_batch, classes_of, strong
from jaxnn._errors import ConfigError
from jaxnn._objectives import without_absent
from jaxnn._optimizer import Optimizer, as_optimizer
from jaxnn._plans import MiniBatch
from jaxnn._program import Run, advance, empty_rows, make_limits
from jaxnn._state import History, State, StepInfo
from jaxnn._step import step
from jaxnn._types import Batch, Params, Plan, num_examples, one_example

MONITORS = ("log_likelihood", "accuracy")
MOST_EPOCHS = 10**6  # their history has to fit in memory; a state goes on for as long as you like


def ascent_step(
    objective: Any, optimizer: Any, state: Any, batch: Any, *, aggregate: Any = "mean"
) -> tuple[State, StepInfo]:
    """Take one step uphill on the objective of a batch.

        w <- w + update(∇ objective(w, batch))

    Args:
      objective: what is maximised.
      optimizer: as given to `init_state`.
      state: from `init_state`, or from the step before.
      batch: the examples of this step, a `Batch` or `Dataset`. One of zero total weight makes no step.
      aggregate: "mean", or "sum": the gradient times the batch's total weight (with `optax.sgd` and no penalty that is
        the textbook's w + α Σ_i ∇ log P(y_i | x_i; w)); or `clipped(max_norm)`, or one of your own, see `clipped`.

    Returns:
      The next state (its epoch and step are those of a plan, so they stay), and a `StepInfo`: log likelihood before
      the step, gradient norm, update ratio.

    Raises:
      ConfigError, ShapeError, DtypeError: before anything is compiled. Values (labels, NaN) are not looked at here, so
        that a loop of steps does not wait for the device; `fit`, `ascend` and `data.dataset` do look.

    Example:
      >>> import jaxnn, optax
      >>> ds = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> state = jaxnn.init_state(objective, optax.sgd, objective.model.init(1), learning_rate=0.1)
      >>> state, info = jaxnn.ascent_step(objective, optax.sgd, state, ds.batch)
      >>> round(info.log_likelihood.item(), 4)  # log(1/3)
      -1.0986
    """
    who = "ascent_step"
    aggregate = as_aggregate(who, aggregate)
    made = as_optimizer(who, optimizer)
    check_state(who, state)
    check_objective(who, objective)
    batch = batch_arrays(who, objective, state.params, batch)
    return _ascent_step(strong(objective), state, batch, aggregate, optimizer=made)


def ascend(
    objective: Any,
    optimizer: Any,
    state: State,
    train: Any,
    plan: Plan = MiniBatch(32),  # noqa: B008  (a frozen value)
    num_epochs: int = 1,
    *,
    hold_out: Any = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    monitor: str = "log_likelihood",
    aggregate: Any = "mean",
    watch_gradients: bool = False,
) -> tuple[State, History]:
    """Run epochs of gradient ascent, hold-out and early stopping included, as one compiled program.

    A pure function: use it under `jit`, and under `vmap` over states (rates, keys, initial parameters), where a run
    that has finished is frozen. `fit` drives the same program in pieces, with the same bits.

    Args:
      objective: what is maximised.
      optimizer: as given to `init_state`.
      state: from `init_state`, or of an earlier run, which goes on where it stopped.
      train: `Dataset` or `Batch` to learn from.
      plan: `FullBatch()`, `MiniBatch(size)`, `Stochastic()`.
      num_epochs: epochs to run, >= 0.
      hold_out: `Dataset` or `Batch`, never learnt from: its best epoch picks `state.best`. None: the last finite epoch
        does.
      patience: stop after so many epochs without a gain above `min_delta` over the best so far, >= 1; None: never.
      min_delta: an absolute gain, in the monitored unit, >= 0.
      monitor: "log_likelihood" or "accuracy", of the hold-out.
      aggregate: "mean", "sum", `clipped(max_norm)` or your own, see `ascent_step`.
      watch_gradients: whether the history tells, after every epoch, the gradient noise scale and how the norms of one
        example's gradient spread. Costs about as much as a step with 2,048 examples.

    Returns:
      The state (`state.best.params`, `state.status`) and a `History` of `num_epochs + 1` rows, row 0 the state as it
      came.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: before anything is compiled.

    Example:
      >>> import jaxnn, optax
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.8, 0.2))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> state = jaxnn.init_state(objective, optax.sgd, objective.model.init(1), learning_rate=0.1)
      >>> state, history = jaxnn.ascend(objective, optax.sgd, state, train, num_epochs=20, hold_out=hold_out)
      >>> history.log_likelihood[-1].item() > history.log_likelihood[0].item()
      True
    """
    num_epochs = check_integer("ascend", "num_epochs", num_epochs, at_least=0, at_most=MOST_EPOCHS)
    run = Run(objective, optimizer, train, hold_out, plan, monitor, aggregate, bool(watch_gradients))
    check_state("ascend", state)
    check_opt_state("ascend", as_optimizer("ascend", optimizer), state)
    run = checked_run("ascend", run, state.params, patience, min_delta)
    limits = make_limits(state, state.epoch + num_epochs, patience, min_delta)
    state, rows = advance(run, state, empty_rows(num_epochs, state), limits)
    return state, _as_history(rows, num_epochs + 1)


def checked_run(who: str, run: Run, params: Params, patience: Any, min_delta: Any) -> Run:
    """Return a run as the program takes it; raise for what `ascend` and `fit` refuse."""
    optimizer = as_optimizer(who, run.optimizer)
    if not isinstance(run.plan, Plan) or isinstance(run.plan, type):
        raise ConfigError(
            f"{who}: plan says which examples a step reads; got plan={run.plan!r}; pass jaxnn.MiniBatch(32), "
            "FullBatch() or Stochastic()"
        )
    check_choice(who, "monitor", run.monitor, MONITORS)
    aggregate = as_aggregate(who, run.aggregate)
    check_number(who, "min_delta", min_delta)
    if patience is not None:
        check_integer(who, "patience", patience, at_least=1, at_most=2**31 - 1)
        if run.hold_out is None:
            raise ConfigError(
                f"{who}: patience watches a hold-out; got patience={patience} and hold_out=None; "
                "split one off with jaxnn.data.split, or leave patience out"
            )
    batch = checked_batch(who, run.objective, params, run.train)
    held = None
    if run.hold_out is not None:
        held = checked_batch(f"{who} (hold-out)", run.objective, params, run.hold_out)
        if run.monitor == "accuracy" and run.objective.classes(params, one_example(batch.x)) is None:
            raise ConfigError(
                f"{who}: accuracy needs classes; got monitor='accuracy' for an objective without; use 'log_likelihood'"
            )
    run = replace(
        run, objective=strong(run.objective), optimizer=optimizer, train=batch, hold_out=held, aggregate=aggregate
    )
    check_aggregate(who, aggregate, run.objective, params, batch, run.plan.batch_size(num_examples(batch)))
    return run


def check_state(who: str, state: Any) -> None:
    """Raise `ConfigError` unless this is a state."""
    if not isinstance(state, State):
        raise ConfigError(
            f"{who}: state comes from init_state; got {type(state).__name__}; call jaxnn.init_state first"
        )


def check_opt_state(who: str, optimizer: Optimizer, state: State) -> None:
    """Raise `ConfigError` unless the state is of this optimiser and has a rate it can use; only shapes are computed."""
    want = optimizer.state_shapes(state.params, state.learning_rate)
    if jax.tree.structure(state.opt_state) != jax.tree.structure(want):
        raise ConfigError(
            f"{who}: state and optimizer belong together; got optimizer={optimizer.name} for the state of another; "
            "pass the one given to init_state"
        )
    for (path, leaf), shape in zip(
        jax.tree_util.tree_flatten_with_path(state.opt_state)[0], jax.tree.leaves(want), strict=True
    ):
        if jnp.shape(leaf) != shape.shape:
            raise ConfigError(
                f"{who}: state.opt_state belongs to state.params; got opt_state{jax.tree_util.keystr(path)} of shape "
                f"{jnp.shape(leaf)}, not {shape.shape}; pass the state as it was returned"
            )
    if optimizer.is_factory:
        check_number(who, "state.learning_rate", state.learning_rate)


@partial(jax.jit, static_argnames="optimizer")
def _ascent_step(
    objective: Any, state: State, batch: Batch, aggregate: Any, *, optimizer: Optimizer
) -> tuple[State, StepInfo]:
    # Checked while tracing, so that a loop of steps does not pay for it.
    check_opt_state("ascent_step", optimizer, state)
    num_classes = classes_of("ascent_step", objective, state.params, batch.x)
    check_one_example("ascent_step", objective, state.params, batch, num_classes)
    batch = without_absent(batch)
    check_aggregate("ascent_step", aggregate, objective, state.params, batch, num_examples(batch))
    (params, opt_state), (total, weight), norms = step(
        objective, optimizer, aggregate, state, batch, may_be_empty=batch.weight is not None, report=True
    )
    state = state._replace(params=params, opt_state=opt_state)
    return state, StepInfo(total / weight, *norms)


@partial(jax.jit, static_argnums=1)
def _as_history(rows: Array, num_rows: int) -> History:
    epoch, *columns = rows[:num_rows].T
    return History(epoch.astype(jnp.int32), *columns, seconds=jnp.full(num_rows, jnp.nan, rows.dtype))
