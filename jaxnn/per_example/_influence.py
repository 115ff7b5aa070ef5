"""Data attribution: which training examples help or hurt the log likelihood of given test examples."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array

from jaxnn._checks import check_integer, check_number, check_positive
from jaxnn._errors import ConfigError, MemoryBudgetError, said
from jaxnn._objectives import without_absent
from jaxnn._types import Batch, Params, num_examples
from jaxnn.per_example._chunks import chunk_at, chunk_numbers, chunk_size, direction_bytes, example_bytes
from jaxnn.per_example._factors import make_factors
from jaxnn.per_example._given import MEMORY, checked, checked_memory
from jaxnn.per_example._rows import wide

WHO = "influence"
_VECTORS = 6  # parameter trees that conjugate gradients hold for each test example
_TOLERANCE = 1e-5
_SORTED = 24  # bytes: a score and an index at both ends, before and after


class Influence(NamedTuple):
    """The training examples that most help and most hurt each of M test examples, k of each.

    Attributes:
      helpful: `int32[M, k]`, their indices, the most helpful first; -1 where there are fewer than k.
      helpful_scores: `float[M, k]`, nats for a step of rate 1 on that example alone, largest first.
      harmful, harmful_scores: the same from the other end, the most harmful first.
      residual: `float[M]`, |(F + damping) h - g| / |g| of the preconditioned gradient h that was used; 0 without one.
    """

    helpful: Array
    helpful_scores: Array
    harmful: Array
    harmful_scores: Array
    residual: Array


def influence(
    objective: Any,
    params: Any,
    train: Any,
    test: Any,
    *,
    top: int = 10,
    rates: Any = None,
    damping: float | None = None,
    iterations: int = 100,
    memory: int = MEMORY,
) -> Influence:
    """Rank training examples by how much a small step on each alone would raise the log likelihood of a test example.

        score_ij = <g_i, g'_j>                            to first order (TracIn with one checkpoint)
        score_ij = Σ_r rate_r <g_i(w_r), g'_j(w_r)>       along a run: `rates`, with a list of parameters
        score_ij = <g_i, (F + damping)⁻¹ g'_j>            influence functions: F the empirical Fisher matrix of `train`

    g_i and g'_j are gradients of log P of a training and a test example. Both sets are gone through in chunks.

    Args:
      objective: as for `factors`.
      params: the parameters; with `rates`, a list of them: those along a run.
      train: `Batch` or `Dataset` of N examples to rank; absent ones (weight 0) are not. Other weights count in F.
      test: `Batch` or `Dataset` of M examples to explain.
      top: k, how many at each end, in [1, N].
      rates: the learning rate at each of the parameters.
      damping: > 0: the gradients of the test examples are preconditioned, by conjugate gradients. None: they are not.
      iterations: the most steps of conjugate gradients, each one pass over `train`.
      memory: bytes for what is held of each example, and for the vectors of conjugate gradients.

    Returns:
      An `Influence`.

    Raises:
      ConfigError, ShapeError, DtypeError: what does not fit together, before anything is compiled.
      MemoryBudgetError: not even one example fits in memory.

    Example:
      >>> import optax, jaxnn
      >>> train, test = jaxnn.data.split(jaxnn.data.load("iris"), (0.8, 0.2), seed=0)
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> result = jaxnn.fit(objective, optax.sgd, objective.model.init(0), train, learning_rate=0.1, max_epochs=5)
      >>> found = jaxnn.per_example.influence(objective, result.params, train, test, top=3)
      >>> bool((train.batch.y[found.helpful[0, 0]] == test.batch.y[0]).all())
      True

    References: Koh & Liang 2017 (arXiv 1703.04730), section 2; Pruthi et al. 2020 (arXiv 2002.08484), equation 1.
    """
    memory = checked_memory(WHO, memory)
    many = [params] if rates is None else params
    if rates is not None:
        if not isinstance(params, list) or len(params) != len(rates) or not params:
            kind = f"a list of {len(params)}" if isinstance(params, list) else type(params).__name__
            raise ConfigError(
                f"{WHO}: with rates, params is a list with as many parameters; got {len(rates)} rates and {kind}; pass "
                "one rate for each"
            )
        for rate in rates:
            check_number(WHO, "rates", rate)
    if damping is not None:
        check_positive(WHO, "damping", damping)
    check_integer(WHO, "iterations", iterations, at_least=1)
    checked_many = [checked(WHO, objective, w, train, at_least=1) for w in many]
    (made, first, train_batch), test_batch = checked_many[0], checked(WHO, objective, many[0], test, at_least=1)[2]
    check_integer(WHO, "top", top, at_least=1, at_most=num_examples(train_batch))
    need = _VECTORS * sum(4 * leaf.size for leaf in jax.tree.leaves(first)) if damping is not None else 0
    if need > memory:
        raise MemoryBudgetError(
            f"{WHO}: the vectors of one test example fit in memory; got memory={said(memory)} where they take "
            f"{said(need)}; raise memory, or leave damping out"
        )
    shares = 2 * len(many)  # half for the test examples, half for the training ones, at each of the parameters
    size = min(
        chunk_size(WHO, made, first, test_batch, memory, shares),
        _most_beside(made, first, train_batch, damping, memory // shares),
    )
    size = min(size, max(1, memory // (shares * need))) if need else size
    trees = [w for _, w, _ in checked_many]
    weights = jnp.asarray([1.0] if rates is None else rates)

    def rank(part: Batch) -> Influence:
        return _rank(made, trees, weights, train_batch, damping, part, top=top, iterations=iterations, memory=memory)

    starts = range(0, num_examples(test_batch), size)
    parts = [rank(jax.tree.map(lambda a, at=at: a[at : at + size], test_batch)) for at in starts]
    return Influence(*(jnp.concatenate(columns) for columns in zip(*parts, strict=True)))


@partial(jax.jit, static_argnames=("top", "iterations", "memory"))
def _rank(
    objective: Any,
    trees: list[Params],
    rates: Array,
    train: Batch,
    damping: Any,
    test: Batch,
    *,
    top: int,
    iterations: int,
    memory: int,
) -> Influence:
    """Go through the training examples in chunks, keeping the best k at each end."""
    train, test = map(without_absent, (train, test))
    n, m = num_examples(train), num_examples(test)
    besides = m * _pair_bytes(objective, trees[0], train, damping)
    size = chunk_size(WHO, objective, trees[0], train, memory, 2 * len(trees), besides)
    there = [make_factors(objective, params, test) for params in trees]
    residual, solved = jnp.zeros(m), []
    if damping is not None:
        for params, f in zip(trees, there, strict=True):
            h, left = _preconditioned(objective, params, train, size, f.materialise(), damping, iterations)
            solved.append(h)
            residual = jnp.maximum(residual, left)

    def scores(chunk: Batch) -> Array:
        total = jnp.zeros((m, size))
        for r, params in enumerate(trees):
            f = make_factors(objective, params, chunk)
            total += rates[r] * (there[r].gram(f) if damping is None else jax.vmap(f.inner)(solved[r]))
        present = jnp.ones(size, bool) if chunk.weight is None else chunk.weight > 0
        return jnp.where(present, total, jnp.nan)

    def keep(carry, i):
        found = scores(chunk_at(train, i, size))
        indices = jnp.broadcast_to(jnp.minimum(i * size, n - size) + jnp.arange(size, dtype=jnp.int32), (m, size))
        return tuple(_best(end, sign, found, indices, top) for end, sign in zip(carry, (1, -1), strict=True)), None

    none = jnp.full((m, top), -jnp.inf), jnp.full((m, top), -1, jnp.int32)
    (helpful, harmful), _ = jax.lax.scan(keep, (none, none), chunk_numbers(n, size))
    return Influence(helpful[1], helpful[0], harmful[1], -harmful[0], residual)


def _most_beside(objective: Any, params: Params, train: Batch, damping: Any, memory: int) -> int:
    """Return how many test examples leave room for as many training examples, or for one where memory is scarce."""
    pair = _pair_bytes(objective, params, train, damping)
    return max(1, min(math.isqrt(memory // pair), (memory - example_bytes(objective, params, train)) // pair))


def _pair_bytes(objective: Any, params: Params, train: Batch, damping: Any) -> int:
    """Return the bytes that a test and a training example take together: the score, and what it is sorted with."""
    return _SORTED + (0 if damping is None else direction_bytes(objective, params, train))


def _best(end: tuple[Array, Array], sign: int, scores: Array, indices: Array, top: int) -> tuple[Array, Array]:
    """Return the best of those kept so far and of a chunk; what is NaN is never among them."""
    ours = jnp.where(jnp.isnan(scores), -jnp.inf, sign * scores)
    indices = jnp.where(jnp.isnan(scores), -1, indices)
    values, which = jax.lax.top_k(jnp.concatenate([end[0], ours], 1), top)
    return values, jnp.take_along_axis(jnp.concatenate([end[1], indices], 1), which, 1)


def _preconditioned(
    objective: Any, params: Params, train: Batch, size: int, gradients: Params, damping: Any, iterations: int
) -> tuple[Params, Array]:
    """Return h with (F + damping) h = g for every test example, and how far it is from that.

    A training example whose gradient is not finite is no part of F.
    """
    n = num_examples(train)
    weight = n if train.weight is None else jnp.sum(train.weight)

    def times(v: Params) -> Params:
        def add(total, i):
            f = make_factors(objective, params, chunk_at(train, i, size))
            finite = jnp.isfinite(f.norms())
            c = jnp.where(finite, f.weights() / weight * f.inner(v), 0)
            return jax.tree.map(jnp.add, total, f.wide_sum(c, finite)), None

        product, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, v), chunk_numbers(n, size))
        return jax.tree.map(lambda a, b: a + damping * b, product, v)

    def solve(g: Params) -> tuple[Params, Array]:
        h, _ = cg(times, g, tol=_TOLERANCE, maxiter=iterations)
        off = jax.tree.map(jnp.subtract, times(h), g)
        return h, jnp.sqrt(_dot(off, off) / jnp.maximum(_dot(g, g), jnp.finfo(jnp.float32).tiny))

    return jax.vmap(solve)(jax.tree.map(wide, gradients))


def _dot(a: Params, b: Params) -> Array:
    products = jax.tree.map(lambda x, y: jnp.vdot(x, y, precision="highest"), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))
