"""What is asked of the factors of a batch, so that it can be had in one pass, or in chunks that fit in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._objectives import without_absent
from jaxnn._types import Batch, Params, num_examples
from jaxnn.per_example._chunks import chunk_at, chunk_numbers, chunk_size, joined, rows_at
from jaxnn.per_example._factors import Clipping, Factors, make_factors, variance_of
from jaxnn.per_example._given import checked, checked_memory
from jaxnn.per_example._noise import NoiseScale, noise_of


class Measure(NamedTuple):
    """What is asked of the factors, in a form that chunks can be put together from.

    Attributes:
      part: (factors, rows, shared) -> something of each example, and sums over them; `rows` are cut with the batch.
      finish: (params, each, sums, shared) -> the result.
    """

    part: Callable
    finish: Callable


class Sums(NamedTuple):
    """Sums over the examples of a batch, in float32 or wider; what a measure does not need is None.

    Attributes:
      gradient: Σ_i weight_i g_i, or with other numbers than the weights.
      squares: Σ_i weight_i g_i², elementwise; for the noise scale Σ_i weight_i |g_i|².
      weight, weight_squares: Σ_i weight_i and Σ_i weight_i².
      clipped, non_finite: counts, as in `Clipping`.
    """

    gradient: Any = None
    squares: Any = None
    weight: Any = None
    weight_squares: Any = None
    clipped: Any = None
    non_finite: Any = None

    def over_weight(self, sums: Params) -> Params:
        """Return a mean: sums over Σ_i weight_i."""
        return jax.tree.map(lambda total: total / self.weight, sums)


def _as_gradient(params: Params, total: Params) -> Params:
    return jax.tree.map(lambda leaf, w: leaf.astype(w.dtype), total, params)


def _only_each(params: Params, each: Any, sums: Sums, shared: Any) -> Any:
    return each


def _norms(f: Factors, rows: Any, shared: Any) -> tuple[Any, Sums]:
    return f.norms(), Sums()


def _inner(f: Factors, rows: Any, direction: Any) -> tuple[Any, Sums]:
    return f.inner(direction), Sums()


def _weighted(f: Factors, c: Any, shared: Any) -> tuple[Any, Sums]:
    return (), Sums(f.wide_sum(c))


def _sum(params: Params, each: Any, sums: Sums, shared: Any) -> Params:
    return _as_gradient(params, sums.gradient)


def _clipped(f: Factors, rows: Any, max_norm: Any) -> tuple[Any, Sums]:
    total, clipping = f.wide_clipped_sum(max_norm)
    return clipping.norms, Sums(total, clipped=clipping.clipped, non_finite=clipping.non_finite)


def _clipping(params: Params, norms: Any, sums: Sums, shared: Any) -> tuple[Params, Clipping]:
    return _as_gradient(params, sums.gradient), Clipping(norms, sums.clipped, sums.non_finite)


def _moments(f: Factors, rows: Any, shared: Any) -> tuple[Any, Sums]:
    weight = f.weights()
    return (), Sums(f.wide_sum(weight), f.sum_of_squares(), jnp.sum(weight))


def _second_moment(params: Params, each: Any, sums: Sums, shared: Any) -> Params:
    return sums.over_weight(sums.squares)


def _variance(params: Params, each: Any, sums: Sums, shared: Any) -> Params:
    return variance_of(sums.over_weight(sums.squares), sums.over_weight(sums.gradient))


def _towards(f: Factors, rows: Any, direction: Any) -> tuple[Any, Sums]:
    weight = f.weights()
    return (), Sums(f.wide_sum(weight if direction is None else weight * f.inner(direction)), weight=jnp.sum(weight))


def _mean(params: Params, each: Any, sums: Sums, shared: Any) -> Params:
    return _as_gradient(params, sums.over_weight(sums.gradient))


def _noise_sums(f: Factors, rows: Any, shared: Any) -> tuple[Any, Sums]:
    weight, norms = f.weights(), f.norms()
    squares = jnp.sum(weight * jnp.square(norms))
    return norms, Sums(f.wide_sum(weight), squares, jnp.sum(weight), jnp.sum(weight * weight))


def _noise(params: Params, each: Any, sums: Sums, smoothing: Any) -> NoiseScale:
    return noise_of(sums.squares, sums.over_weight(sums.gradient), sums.weight, sums.weight_squares, *smoothing)


def _norms_and_noise(params: Params, norms: Any, sums: Sums, smoothing: Any) -> tuple[Array, NoiseScale]:
    return norms, _noise(params, norms, sums, smoothing)


NORMS = Measure(_norms, _only_each)
INNER = Measure(_inner, _only_each)
WEIGHTED = Measure(_weighted, _sum)
CLIPPED = Measure(_clipped, _clipping)
MEAN = Measure(_towards, _mean)  # with a direction: the Fisher matrix times it
SECOND_MOMENT = Measure(_moments, _second_moment)
VARIANCE = Measure(_moments, _variance)
NOISE = Measure(_noise_sums, _noise)
NORMS_AND_NOISE = Measure(_noise_sums, _norms_and_noise)


def ask(who: str, measure: Measure, objective: Any, params: Params, batch: Any, memory: Any, shared: Any = None) -> Any:
    """Return a measure of what a user gave, or raise."""
    memory = checked_memory(who, memory)
    return measured(*checked(who, objective, params, batch), (), shared, who=who, measure=measure, memory=memory)


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
