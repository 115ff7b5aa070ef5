"""Sums over the examples of a batch in chunks, so that a chunk can be cast or widened where the whole would not fit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def sum_over_rows(f: Callable, *arrays: Array, axes: tuple[int, ...], chunk: int, keep: bool = False) -> Any:
    """Return Σ f(chunk of each array), over chunks of so many examples, which lie along these axes, and a last one.

    With `keep`, return instead what f gave, with the examples along its last axis.
    """
    n = arrays[0].shape[axes[0]]
    whole, rest = n // chunk, n % chunk

    def at(start: Any, size: int) -> Any:
        cut = zip(arrays, axes, strict=True)
        return f(*(jax.lax.dynamic_slice_in_dim(a, start, size, axis) for a, axis in cut))

    last = at(n - rest, rest) if rest or not whole else None
    if not whole:
        return last
    if keep:
        kept = jnp.moveaxis(jax.lax.map(lambda i: at(i * chunk, chunk), jnp.arange(whole)), 0, -2)
        kept = kept.reshape(*kept.shape[:-2], -1)
        return kept if last is None else jnp.concatenate([kept, last], axis=-1)
    total = jax.lax.fori_loop(1, whole, lambda i, total: total + at(i * chunk, chunk), at(0, chunk))
    return total if last is None else total + last
