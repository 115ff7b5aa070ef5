"""Arithmetic of arrays with a row an example, in float32 or wider."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

BLOCK = 2**22  # numbers that a temporary of the sequence forms holds at once: 16 MB


def wide(a: Any) -> Array:
    """Return the array in float32 or wider."""
    a = jnp.asarray(a)
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def squares_of(a: Any) -> Array:
    """Return the sum of squares of every row, [B]."""
    a = wide(a)
    return jnp.sum(jnp.square(a), axis=tuple(range(1, a.ndim)))


def rounded_up(squares: Array, terms: Array, rows: int) -> Array:
    """Return |g|², [B], and what rounding comes to where g is a sum of so many rows, whose lengths add up to `terms`.

    Rows may cancel; then a sum of them is wrong by eps of the rows, not of the sum. The root is that of a random walk.
    """
    slack = (2 + math.sqrt(rows)) * jnp.finfo(squares.dtype).eps * terms
    return squares + jax.lax.stop_gradient(slack * (2 * jnp.sqrt(squares) + slack))


def rows_like(c: Array, a: Array) -> Array:
    """Return one number an example in the shape that scales the rows of `a`."""
    return c.reshape((-1,) + (1,) * (a.ndim - 1))


def scaled(c: Array, a: Array, keep: Array | None) -> Array:
    """Return the rows of `a` times one number an example, zeros where an example is not to be kept."""
    rows = a.reshape(len(c), math.prod(a.shape[1:]))  # a bias and its kernel share the result: XLA sees they are equal
    rows = c[:, None] * rows
    return (rows if keep is None else jnp.where(keep[:, None], rows, 0)).reshape(a.shape)


def by_blocks(f: Callable, rows: Any, numbers: int) -> Any:
    """Return `f` of every row, so many rows at once that a temporary of so many numbers a row stays within `BLOCK`."""
    return jax.lax.map(f, rows, batch_size=max(1, BLOCK // max(1, numbers)))
