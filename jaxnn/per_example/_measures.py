"""What is asked of the factors of a batch, so that it can be had in one pass, or in chunks that fit in memory."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._checks import MemoryBudgetError
from jaxnn._objectives import without_absent
from jaxnn._types import Batch, Params, num_examples
from jaxnn.per_example._factors import Clipping, Factors, make_factors, variance_of
from jaxnn.per_example._given import said
from jaxnn.per_example._noise import noise_of


class Measure(NamedTuple):
    """What is asked of the factors, in a form that chunks can be put together from.

    Attributes:
      part: (factors, rows, shared) -> something of each example, and sums over them; `rows` are cut with the batch.
      finish: (params, each, total, shared) -> the result.
    """

    part: Callable
    finish: Callable = lambda params, each, total, shared: each


def _gradient(params: Params, each: Any, total: Params, shared: Any) -> Params:
    return jax.tree.map(lambda leaf, w: leaf.astype(w.dtype), total, params)


def _clipped(f: Factors, rows: Any, max_norm: Any) -> tuple[Any, Any]:
    total, clipping = f.wide_clipped_sum(max_norm)
    return clipping.norms, (total, clipping.clipped, clipping.non_finite)


def _clipping(params: Params, each: Any, total: Any, shared: Any) -> tuple[Params, Clipping]:
    return _gradient(params, each, total[0], shared), Clipping(each, *total[1:])


def _moments(f: Factors, rows: Any, shared: Any) -> tuple[Any, Any]:
    weight = f.weights()
    return (), (f.sum_of_squares(), f.wide_sum(weight), jnp.sum(weight))


def _noise_sums(f: Factors, rows: Any, shared: Any) -> tuple[Any, Any]:
    weight = f.weights()
    squares = jnp.sum(weight * jnp.square(f.norms()))
    return (), (squares, f.wide_sum(weight), jnp.sum(weight), jnp.sum(weight * weight))


def _mean_sums(f: Factors, rows: Any, direction: Any) -> tuple[Any, Any]:
    c = f.weights() if direction is None else f.weights() * f.inner(direction)
    return (), (f.wide_sum(c), jnp.sum(f.weights()))


def _mean_gradient(params: Params, each: Any, total: Any, shared: Any) -> Params:
    return _gradient(params, each, _over(*total), shared)


NORMS = Measure(lambda f, rows, shared: (f.norms(), ()))
WEIGHTED = Measure(lambda f, c, shared: ((), f.wide_sum(c)), _gradient)
CLIPPED = Measure(_clipped, _clipping)
MEAN = Measure(_mean_sums, _mean_gradient)  # with a direction: the Fisher matrix times it
SECOND_MOMENT = Measure(_moments, lambda params, each, total, shared: _over(total[0], total[2]))
VARIANCE = Measure(_moments, lambda params, each, t, shared: variance_of(_over(t[0], t[2]), _over(t[1], t[2])))
INNER = Measure(lambda f, rows, direction: (f.inner(direction), ()))
NOISE = Measure(_noise_sums, lambda params, each, t, shared: noise_of(t[0], _over(t[1], t[2]), *t[2:], *shared))


@partial(jax.jit, static_argnames=("who", "measure", "memory"))
def measured(
    objective: Any,
    params: Params,
    batch: Batch,
    rows: Any = (),
    shared: Any = None,
    *,
    who: str,
    measure: Measure,
    memory: int,
) -> Any:
    """Return a measure of a batch that has been checked: in one pass, or in chunks whose factors fit in memory."""

    def part(chunk: Batch, chunk_rows: Any) -> tuple[Any, Any]:
        return measure.part(make_factors(objective, params, chunk), chunk_rows, shared)

    batch, n = without_absent(batch), num_examples(batch)
    size = chunk_size(who, objective, params, batch, memory)
    if size >= n:
        return measure.finish(params, *part(batch, rows), shared)

    def piece(i: Array) -> tuple[Any, Any]:
        return part(chunk_at(batch, i, size), rows_at(rows, i, size))

    def add(total: Any, i: Array) -> tuple[Any, Any]:
        each, more = piece(i)
        return jax.tree.map(jnp.add, total, more), each

    shapes = jax.eval_shape(piece, jnp.int32(0))[1]
    total, each = jax.lax.scan(add, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), chunk_numbers(n, size))
    return measure.finish(params, jax.tree.map(lambda a: joined(a, n), each), total, shared)


def chunk_size(who: str, objective: Any, params: Params, batch: Batch, memory: int, shares: int = 1) -> int:
    """Return how many examples at once fit in one of so many shares of memory; raise where not even one does."""
    one = max(1, shares * example_bytes(objective, params, batch))
    if one > memory:
        raise MemoryBudgetError(
            f"{who}: one example fits in memory; got memory={said(memory)} where it takes {said(one)}; raise memory"
        )
    return min(num_examples(batch), memory // one)


# Only its shapes are asked for, and `jit` remembers them, where `jax.eval_shape` would trace again.
factor_shapes = jax.jit(make_factors).eval_shape


def example_bytes(objective: Any, params: Params, batch: Batch) -> int:
    """Return the bytes that the factors of one example take; only shapes are computed."""
    shapes = factor_shapes(objective, params, batch)
    return math.ceil(sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(shapes.forms)) / num_examples(batch))


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


def _over(tree: Params, weight: Array) -> Params:
    return jax.tree.map(lambda total: total / weight, tree)
