"""Gauss-Newton for networks: the curvature of the likelihood, seen through the model's first derivative."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from jaxnn._checks import check_integer, check_positive
from jaxnn._models import kernel_mask
from jaxnn._types import Batch, Params
from jaxnn.optimum._curvature import curve, log_probs, residuals, spread
from jaxnn.optimum._ended import ended, gradient_goal
from jaxnn.optimum._given import check_outputs, checked, in_own_dtype
from jaxnn.optimum._optimum import Optimum, rows_for

WHO = "optimum.gauss_newton"
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 0.1, 1e-12, 1e12
POOR, GOOD = 0.25, 0.75  # gain over predicted gain: below, damp more; above, less


def gauss_newton(
    objective: Any,
    params: Params,
    train: Any,
    *,
    tolerance: float = 1e-9,
    gradient_tolerance: float = 1e-5,
    max_steps: int = 200,
    products: int = 100,
) -> Optimum:
    """Climb by damped Gauss-Newton steps on the whole of the data, solved by conjugate gradients.

        (Σ_i ω_i J_iᵀ A_i J_i + l2 + λ) d = ∇,        w <- w + d if that is better

    J_i is the derivative of the outputs of example i, A_i the curvature of its likelihood in them: for bernoulli,
    categorical and gaussian the matrix is Fisher's information, never indefinite, and products with it take one
    derivative forward and one back. λ (Levenberg and Marquardt) falls where a step gains what it promised, and grows
    where it does not.

    Args:
      objective: `LogLikelihood` of any model with bernoulli, categorical or gaussian.
      params: where to start, float32 or float64. Not zeros: hidden units that are alike stay so.
      train: `Batch` or `Dataset`, all of it read in every step; weights count.
      tolerance, gradient_tolerance: as for `lbfgs`.
      max_steps: steps tried, better or not, >= 0; beyond 63 another power of two recompiles.
      products: the most products of one step, each one pass over the data, >= 1.

    Returns:
      An `Optimum`, as `lbfgs` does: of a network nothing is ever proven beyond that it is stationary.

    Notes:
      Its matrix leaves out the curvature of the model itself, which matters little where the model fits the data well:
      there, as in regression with little noise, it climbs far higher than L-BFGS in as many steps. Where much is left
      unexplained `lbfgs` is often the quicker of the two.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: as for `newton`.

    Example:
      >>> import jaxnn
      >>> (train,) = jaxnn.data.standardise(jaxnn.data.load("iris"))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Mlp((4, 5, 3)), jaxnn.categorical, l2=1e-3)
      >>> found = jaxnn.optimum.gauss_newton(objective, objective.model.init(0), train, gradient_tolerance=1e-4)
      >>> str(found.status), found.gradient_norm <= 1e-4, found.steps < 100
      ('stopped_early', True, True)

    References: Schraudolph 2002; Martens 2010, "Deep learning via Hessian-free optimization"; Marquardt 1963.
    """
    check_outputs(WHO, objective)
    check_integer(WHO, "products", products, at_least=1)
    check_positive(WHO, "gradient_tolerance", gradient_tolerance)
    given = checked(WHO, objective, params, train, tolerance, max_steps)
    goal = gradient_goal(given, tolerance, gradient_tolerance)
    found = jax.device_get(_climb(*in_own_dtype(given), goal, products, max_steps, rows=rows_for(max_steps)))
    return ended(WHO, given, tolerance, goal, max_steps, *found)


@partial(jax.jit, static_argnames="rows")
def _climb(
    objective: Any, params: Params, batch: Batch, goal: Any, products: Any, max_steps: Any, *, rows: int
) -> tuple:
    """Return the parameters, steps, passes, and values and gradient norms by step."""
    likelihood, model = objective.likelihood, objective.model
    start, unravel = ravel_pytree(params)
    dtype = start.dtype
    ones = jax.tree.map(lambda a, is_kernel: jnp.full_like(a, is_kernel), params, kernel_mask(params))
    penalty = objective.l2.astype(dtype) * ravel_pytree(ones)[0]
    weight = jnp.ones(len(batch.y), dtype) if batch.weight is None else batch.weight.astype(dtype)
    weight = weight / jnp.sum(weight)

    def outputs(w: Array) -> Array:
        return jax.vmap(model.apply, (None, 0), 1)(unravel(w), batch.x)

    def value_of(w: Array, z: Array) -> Array:
        return weight @ log_probs(likelihood, z, batch.y) - 0.5 * jnp.sum(penalty * w**2)

    def solve(multiply: Any, g: Array) -> tuple[Array, Array, Any]:
        """Return d, g - multiply(d) and the number of products: conjugate gradients, to a relative residual."""
        gg = g @ g
        enough = gg * jnp.minimum(0.01, jnp.sqrt(gg))

        def go_on(carry: tuple) -> Array:
            k, _, _, _, rr = carry
            return (k < products) & (rr > enough)

        def better(carry: tuple) -> tuple:
            k, d, r, direction, rr = carry
            along = multiply(direction)
            t = rr / (direction @ along)
            d, r = d + t * direction, r - t * along
            return k + 1, d, r, r + (r @ r) / rr * direction, r @ r

        k, d, r, _, _ = jax.lax.while_loop(go_on, better, (0, jnp.zeros_like(g), g, g, gg))
        return d, r, k

    def step(carry: tuple) -> tuple:
        """Look where it stands, and try a step from there, unless this was the last look."""
        i, w, damping, passes, _, values, norms = carry
        z, push = jax.linearize(outputs, w)
        pull = jax.linear_transpose(push, w)
        value, p = value_of(w, z), spread(likelihood, z)
        g = pull(weight * residuals(likelihood, z, batch.y))[0] - penalty * w
        norm = jnp.linalg.norm(g)
        go_on = (i < max_steps) & (norm > goal) & (damping < MOST_DAMPING)

        def multiply(v: Array) -> Array:
            return pull(weight * curve(likelihood, p, push(v)))[0] + (penalty + damping) * v

        d, r, k = solve(multiply, jnp.where(go_on, g, 0))
        promised = g @ d - 0.5 * (d @ (g - r) - damping * (d @ d))
        new = value_of(w + d, outputs(w + d))
        # Next to a maximum gains are below the rounding of a value, and the step is right nevertheless.
        slack = 4 * jnp.finfo(dtype).eps * (1 + jnp.abs(value))
        ratio = jnp.where(promised < slack, jnp.where(new >= value - slack, 1, 0), (new - value) / promised)
        is_better = go_on & (ratio > 0) & jnp.isfinite(new)
        factor = jnp.where(ratio > GOOD, 1 / 3, jnp.where(ratio > POOR, 1.0, 4.0))  # NaN: 4
        damping = jnp.clip(damping * factor, LEAST_DAMPING, None)
        values, norms = values.at[i].set(value), norms.at[i].set(norm)
        return i + go_on, jnp.where(is_better, w + d, w), damping, passes + 2 + k, go_on, values, norms

    blank = jnp.full(rows, jnp.nan, dtype)
    first = (0, start, jnp.asarray(FIRST_DAMPING, dtype), jnp.asarray(0), jnp.asarray(True), blank, blank)
    i, w, _, passes, _, values, norms = jax.lax.while_loop(lambda carry: carry[4], step, first)
    return unravel(w), i, passes, values, norms
