"""The direction of steepest ascent, which depends on how the length of a step is measured."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn._checks import check_choice, check_positive
from jaxnn._types import Params, scalar
from jaxnn.search._flat import Flat
from jaxnn.search._flat import norm as l2_norm
from jaxnn.search._given import checked

NORMS = ("l2", "l1", "linf")


def steepest_direction(g: Callable[[Any], Any], w: Any, epsilon: Any, norm: str = "l2") -> Params:
    """Return the step of length at most epsilon along which g rises most, to first order.

        argmax over |d| <= epsilon of ∇g(w)·d  =   epsilon ∇g / |∇g|₂                    l2: the gradient's direction
                                                   epsilon sign(∂_i g) e_i, |∂_i g| max  l1: the one steepest coordinate
                                                   epsilon sign(∇g)                      linf: every coordinate as far

    All leaves count as one vector. Gradient ascent takes the first; sign descent and, roughly, Adam take the last.

    Args:
      g: a pure function of w to a floating-point number; see `derivative`.
      w: where; a pytree of floating-point arrays.
      epsilon: the length, > 0, in the units of w.
      norm: "l2", "l1" or "linf", in which it is measured.

    Returns:
      A pytree like w. Zeros where the gradient is 0, as then no direction is steepest; for l1, the first of equal
      coordinates; NaN where the gradient is not finite.

    Raises:
      ConfigError, ShapeError, DtypeError: as `derivative`.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> def g(w):
      ...     return 3 * w[0] - 4 * w[1]
      >>> for norm in ("l2", "l1", "linf"):
      ...     print([round(d, 4) for d in jaxnn.search.steepest_direction(g, jnp.zeros(2), 0.5, norm).tolist()])
      [0.3, -0.4]
      [0.0, -0.5]
      [0.5, -0.5]

    References:
      S. Boyd, L. Vandenberghe, Convex Optimization (2004), section 9.4.
    """
    who = "steepest_direction"
    check_choice(who, "norm", norm, NORMS)
    check_positive(who, "epsilon", epsilon)
    w = checked(who, g, w)
    return _steepest(w, scalar(epsilon, Flat(w).dtype), g=g, length=norm)


@partial(jax.jit, static_argnames=("g", "length"))
def _steepest(w: Params, epsilon: Any, *, g: Callable[[Any], Any], length: str) -> Params:
    flat = Flat(w)
    slopes = flat.vector(jax.grad(g)(w))
    if length == "l2":
        largest = jnp.max(jnp.abs(slopes))  # first to the size of 1: the length of 1e-30 is 0 where it is squared
        ratios = slopes / jnp.where(largest > 0, largest, 1)
        size = l2_norm(ratios)
        direction = ratios / jnp.where(size > 0, size, 1)
    elif length == "l1":
        i = jnp.argmax(jnp.abs(slopes))
        direction = jnp.zeros_like(slopes).at[i].set(jnp.sign(slopes[i]))
    else:
        direction = jnp.sign(slopes)
    return flat.point(jnp.where(jnp.all(jnp.isfinite(slopes)), epsilon * direction, jnp.nan))
