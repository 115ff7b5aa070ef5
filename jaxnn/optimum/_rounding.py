"""What rounding can do: parameters as they are returned, and a bound on the error of an output."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

EPS = float(jnp.finfo(jnp.float64).eps)
LOOSEST = 0.25  # the largest relative error of a Hessian with which anything is proven
TINY = 1e-200  # below, products of two numbers of such a size would be rounded to 0


def rounded_to(dtype: Any, a: Array) -> Array:
    """Return the numbers as the dtype can hold them, still in float64.

    A cast there and back would not do: XLA may leave both out.
    """
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(a, info.nexp, info.nmant)


def output_error(x: Any, w: Array) -> Array:
    """Return a bound on the error of the outputs Σ_j x_j w_kj, summed over k, of every example with features no larger
    than x [D], or than one number x; in float64.
    """
    return EPS * (w.shape[1] + 3) * jnp.sum(jnp.abs(x) * jnp.abs(w))
