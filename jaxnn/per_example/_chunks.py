"""Batches in chunks whose gradients fit in a budget of memory: how large a chunk, and the chunks themselves."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._errors import MemoryBudgetError, said
from jaxnn._types import Batch, Params, num_examples, one_example
from jaxnn.per_example._analysis import analyse
from jaxnn.per_example._factors import make_factors


def chunk_size(
    who: str, objective: Any, params: Params, batch: Batch, memory: int, shares: int = 1, besides: int = 0
) -> int:
    """Return how many examples at once fit in one of so many shares of memory, with so many bytes besides for each;
    raise where not even one does.
    """
    one = max(1, shares * (example_bytes(objective, params, batch) + besides))
    if one > memory:
        raise MemoryBudgetError(
            f"{who}: one example fits in memory; got memory={said(memory)} where it takes {said(one)}; raise memory"
        )
    return min(num_examples(batch), memory // one)


# Only its shapes are asked for, and `jit` remembers them, where `jax.eval_shape` would trace again.
factor_shapes = jax.jit(make_factors).eval_shape


def factor_bytes(objective: Any, params: Params, batch: Batch) -> int:
    """Return the bytes that the factors of one example take; only shapes are computed."""
    return _held(_forms_of_one(objective, params, batch))


def example_bytes(objective: Any, params: Params, batch: Batch) -> int:
    """Return the bytes that one example takes on its way: its factors, all that log P makes of it, and what the norms
    of sequences need.
    """
    x, y = one_example(batch.x), one_example(batch.y)
    forms = _forms_of_one(objective, params, batch)
    working = sum(form.working * max(4, form.dtype.itemsize) for form in forms)
    return _held(forms) + analyse(objective, params, x, y).num_bytes + working


def direction_bytes(objective: Any, params: Params, batch: Batch) -> int:
    """Return the bytes that products with one more direction take for each example, where many are had at once."""
    return sum(form.along * max(4, form.dtype.itemsize) for form in _forms_of_one(objective, params, batch))


def _forms_of_one(objective: Any, params: Params, batch: Batch) -> Any:
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), batch)
    return factor_shapes(objective, params, one).forms


def _held(forms: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(forms))


def chunk_numbers(n: int, size: int) -> Array:
    """Return the numbers of the chunks of n examples."""
    return jnp.arange(-(-n // size), dtype=jnp.int32)


def chunk_at(batch: Batch, i: Array, size: int) -> Batch:
    """Return chunk i of a batch. The last one begins early, with the examples it shares with the one before absent: so
    nothing is copied to fill it up.
    """
    n = num_examples(batch)
    x, y, weight = rows_at(tuple(batch), i, size)
    if n % size:
        new = _start(n, i, size) + jnp.arange(size) >= i * size
        weight = jnp.where(new, 1.0 if weight is None else weight, 0)
    return Batch(x, y, weight)


def rows_at(rows: Any, i: Array, size: int) -> Any:
    """Return the rows of chunk i of arrays with a row an example."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, _start(a.shape[0], i, size), size), rows)


def joined(each: Array, n: int) -> Array:
    """Return what every chunk said of its examples, [chunks, size, ...], as [n, ...]."""
    count, size = each.shape[:2]
    whole = each[:-1].reshape((count - 1) * size, *each.shape[2:])
    return jnp.concatenate([whole, each[-1, count * size - n :]])


def _start(n: int, i: Array, size: int) -> Array:
    return jnp.minimum(i * size, n - size)
