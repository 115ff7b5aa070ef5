"""How a climb by gradients ended: certified where the model is linear, else stationary or not."""

import math
from typing import Any

import jax
import numpy as np

from jaxnn._state import Status
from jaxnn._types import Params
from jaxnn.optimum._certify import certify
from jaxnn.optimum._given import Given, is_linear
from jaxnn.optimum._optimum import INFINITE, Optimum, history_of
from jaxnn.optimum._problem import problem_of
from jaxnn.optimum._verdict import judged


def gradient_goal(given: Given, tolerance: float, gradient_tolerance: float) -> np.ndarray:
    """Return the gradient norm to stop at: where a penalty bounds the gap of a linear model, half of what that takes.

    objective* - objective <= |∇|² / (2 l2), but for the biases
    """
    l2 = float(getattr(given.objective, "l2", 0.0))
    goal = math.sqrt(2 * l2 * tolerance) / 2 if is_linear(given.objective) and l2 > 0 else gradient_tolerance
    return np.asarray(goal, jax.tree.leaves(given.params)[0].dtype)


def ended(
    who: str,
    given: Given,
    tolerance: float,
    goal: Any,
    max_steps: int,
    params: Params,
    steps: Any,
    passes: Any,
    values: Any,
    norms: Any,
) -> Optimum:
    """Return the optimum with its verdict."""
    steps, passes, history = int(steps), int(passes), history_of(values, norms, steps)
    params = jax.tree.map(jax.numpy.asarray, params)
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)) and np.isfinite(history["value"][-1])
    if is_linear(given.objective) and finite:
        problem = problem_of(who, given)
        params, seen = certify(problem, params, tolerance)
        return judged(problem, params, tolerance, max_steps, seen, steps, passes + 2, history)
    value, norm = (float(history[name][-1]) for name in ("value", "gradient_norm"))
    if not finite:
        status, message = Status.DIVERGED, "the objective is not finite; start elsewhere, or look at the data"
    elif norm <= goal:
        status = Status.STOPPED_EARLY
        message = (
            f"stationary: the gradient's norm is {norm:.2g}, within {float(goal):.2g}, after {steps} steps; for a "
            "function that need not be concave that proves no maximum"
        )
    elif steps >= max_steps:
        status = Status.MAX_EPOCHS
        message = f"took all {max_steps} steps; the gradient's norm is still {norm:.2g}; allow more steps"
    else:
        status = Status.STOPPED_EARLY
        message = (
            f"no step raises the objective any more in {jax.tree.leaves(params)[0].dtype}, after {steps} steps; the "
            f"gradient's norm is {norm:.2g}, not {float(goal):.2g}; use parameters in float64"
        )
    nothing = float("nan")
    return Optimum(params, value, status, message, INFINITE, norm, nothing, steps, passes, history)
