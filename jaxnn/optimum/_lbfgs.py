"""L-BFGS with a strong Wolfe line search, for any objective that can be differentiated."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._checks import check_integer, check_positive
from jaxnn._optimizer import found_by_line_search
from jaxnn._optimizer import lbfgs as make_lbfgs
from jaxnn._types import Batch, Params
from jaxnn.optimum._ended import ended, gradient_goal
from jaxnn.optimum._given import checked, in_own_dtype
from jaxnn.optimum._optimum import Optimum, rows_for

WHO = "optimum.lbfgs"
STALLS = 5


def lbfgs(
    objective: Any,
    params: Params,
    train: Any,
    *,
    tolerance: float = 1e-9,
    gradient_tolerance: float = 1e-5,
    max_steps: int = 1000,
    memory: int = 10,
) -> Optimum:
    """Climb by L-BFGS on the whole of the data: an estimate of the curvature from the last few gradients.

        w <- w + t B ∇,        t by a zoom line search that meets the strong Wolfe conditions

    Args:
      objective: any, `from_function` included; it is differentiated once.
      params: where to start, float32 or float64.
      train: `Batch` or `Dataset`, all of it read in every step; weights count.
      tolerance: for a linear model: largest proven gap to the maximum, nats per example, > 0.
      gradient_tolerance: otherwise, and without a penalty: stop where |∇| is no longer than this, > 0.
      max_steps: >= 0; beyond 63 another power of two recompiles.
      memory: how many past steps the estimate is made of, >= 1.

    Returns:
      An `Optimum`. `CONVERGED` for linear models only, with the certificate of `newton`; for others a short gradient
      says that the point is stationary, which is `STOPPED_EARLY`: it may be a local maximum or a saddle.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: as for `newton`.

    Example:
      >>> import jaxnn
      >>> (train,) = jaxnn.data.standardise(jaxnn.data.load("iris"))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical, l2=1e-2)
      >>> found = jaxnn.optimum.lbfgs(objective, objective.model.init(0), train, tolerance=1e-6)
      >>> str(found.status), found.gap <= 1e-6
      ('converged', True)

    References: Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 3.5, 3.6 and 7.5.
    """
    check_integer(WHO, "memory", memory, at_least=1, at_most=1000)
    check_positive(WHO, "gradient_tolerance", gradient_tolerance)
    given = checked(WHO, objective, params, train, tolerance, max_steps)
    goal = gradient_goal(given, tolerance, gradient_tolerance)
    found = jax.device_get(_climb(*in_own_dtype(given), goal, max_steps, memory=memory, rows=rows_for(max_steps)))
    return ended(WHO, given, tolerance, goal, max_steps, *found)


@partial(jax.jit, static_argnames=("memory", "rows"))
def _climb(objective: Any, params: Params, batch: Batch, goal: Any, max_steps: Any, *, memory: int, rows: int) -> tuple:
    """Return the parameters, steps, passes, and values and gradient norms by step."""
    optimizer = make_lbfgs(memory)

    def value_of(w: Params) -> Array:
        return objective(w, batch)

    def go_on(carry: tuple) -> Array:
        i, _, _, value, gradient, _, stalls, _, _ = carry
        return (i < max_steps) & (_norm(gradient) > goal) & (stalls < STALLS) & jnp.isfinite(value)

    def step(carry: tuple) -> tuple:
        i, w, state, value, gradient, passes, stalls, values, norms = carry
        slack = 4 * jnp.finfo(value.dtype).eps * (1 + jnp.abs(value))  # next to a maximum gains are below rounding
        update, state = optimizer.update(gradient, state, w, jnp.nan, value, value_of)
        new, slope, looked = found_by_line_search(state)
        better = new >= value - slack
        # Where no step is better, all that changes is the estimate of the curvature.
        w = jax.tree.map(lambda a, u: jnp.where(better, a + u, a), w, update)
        slope = jax.tree.map(lambda a, b: jnp.where(better, a, b), slope, gradient)
        value, stalls = jnp.where(better, new, value), jnp.where(new > value, 0, stalls + 1)
        i = i + 1
        passes = passes + jnp.maximum(looked, 1).astype(passes.dtype)
        return i, w, state, value, slope, passes, stalls, values.at[i].set(value), norms.at[i].set(_norm(slope))

    value, gradient = jax.value_and_grad(value_of)(params)
    blank = jnp.full(rows, jnp.nan, value.dtype)
    carry = (0, params, optimizer.init(params, jnp.nan), value, gradient, jnp.asarray(1), jnp.asarray(0))
    end = jax.lax.while_loop(go_on, step, (*carry, blank.at[0].set(value), blank.at[0].set(_norm(gradient))))
    i, w, _, _, _, passes, _, values, norms = end
    return w, i, passes, values, norms


def _norm(tree: Params) -> Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
