"""Sums over the rows of a batch in chunks, so that a chunk can be cast or widened where the whole would not fit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_over_rows(f: Callable, *arrays: Array, chunk: int, keep: bool = False) -> Any:
    """Return Σ f(chunk of each array), over chunks of so many rows and a shorter last one.

    With `keep`, return instead what f gave for whole chunks, with the rows of all joined, and for the last.
    """
    n = arrays[0].shape[0]
    whole, rest = n // chunk, n % chunk
    last = f(*(a[n - rest :] for a in arrays)) if rest or not whole else None
    if not whole:
        return (last,) if keep else last

    def at(i: Array) -> Any:
        return f(*(jax.lax.dynamic_slice_in_dim(a, i * chunk, chunk) for a in arrays))

    if keep:
        kept = jax.lax.map(at, jnp.arange(whole))
        kept = kept.reshape(-1, *kept.shape[2:])
        return (kept,) if last is None else (kept, last)
    total = jax.lax.fori_loop(1, whole, lambda i, total: total + at(i), at(jnp.asarray(0)))
    return total if last is None else total + last
