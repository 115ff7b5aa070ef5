"""What is told of every example: its log likelihood, its gradient, the gradient's norm and inner products."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn._errors import MemoryBudgetError, said
from jaxnn._objectives import without_absent
from jaxnn._types import Batch, Params, num_examples
from jaxnn.per_example._chunks import chunk_at, chunk_numbers, chunk_size, factor_bytes, joined
from jaxnn.per_example._factors import Factors, make_factors
from jaxnn.per_example._given import MEMORY, checked, checked_direction, checked_memory
from jaxnn.per_example._measures import INNER, NORMS, ask, measured

_AT_ONCE = 4096  # examples whose log likelihoods are computed at once


def log_likelihoods(objective: Any, params: Params, batch: Any) -> Float[Array, " N"]:
    """Return log P(y_i | x_i; w) of every example, nats; 0 for absent ones (weight 0).

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((2, 2)), jnp.array([0, 1]))
      >>> jaxnn.per_example.log_likelihoods(objective, objective.model.init(0), batch).tolist()  # log(1/2)
      [-0.69314..., -0.69314...]
    """
    return _log_likelihoods(*checked("log_likelihoods", objective, params, batch))


@jax.jit
def _log_likelihoods(objective: Any, params: Params, batch: Batch) -> Array:
    batch = without_absent(batch)
    one = lambda row: objective.per_example(params, *row)  # noqa: E731
    values = jax.lax.map(one, (batch.x, batch.y), batch_size=_AT_ONCE)
    return values if batch.weight is None else jnp.where(batch.weight > 0, values, 0)


def factors(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Factors:
    """Return the gradients of log P(y_i | x_i; w), one an example, in factored form, from one backward pass.

    A layer z = a W has the gradient a_i d_iᵀ with d_i = ∂ log P_i / ∂z, so a_i and d_i are kept in place of it. Any
    pure function is looked at in the same way (see `explain`). The penalty of the objective is no part of it.

    Args:
      objective: `LogLikelihood`, or `from_function(log_prob)`.
      params: a pytree of floating-point arrays.
      batch: `Batch` or `Dataset`. Values are not looked at: an illegal label or a NaN gives gradients that are NaN.
      memory: the bytes that the factors may take; while they are made, the values of the model come on top.

    Returns:
      `Factors`, whose methods are the functions of this module; several of them share the one pass.

    Raises:
      MemoryBudgetError: the factors take more than `memory`; the functions work in chunks.
      ConfigError, ShapeError, DtypeError: what does not fit together, before anything is compiled.

    Example: see `Factors`.
    """
    memory = checked_memory("factors", memory)
    return _factors(*checked("factors", objective, params, batch), memory=memory)


@partial(jax.jit, static_argnames="memory")
def _factors(objective: Any, params: Params, batch: Batch, *, memory: int) -> Factors:
    need = num_examples(batch) * factor_bytes(objective, params, batch)
    if need > memory:
        raise MemoryBudgetError(
            f"factors: all examples at once fit in memory; got memory={said(memory)} for {num_examples(batch):,} "
            f"examples that take {said(need)}; raise memory, or call the function you need (norms, clipped_sum, ...), "
            "which works in chunks"
        )
    return make_factors(objective, params, without_absent(batch))


def gradients(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Params:
    """Return the gradients themselves, ∇ log P(y_i | x_i; w) for every example: what `vmap(grad(log P))` gives.

    Args:
      objective, params, batch: as for `factors`.
      memory: the bytes that they may take, N times those of the parameters.

    Returns:
      A tree like the parameters, every leaf `dtype[N, *leaf]`; zeros for absent examples.

    Raises:
      MemoryBudgetError: they take more than `memory`. What is made of them mostly needs none: `norms`,
        `clipped_sum`, `gram`, ...

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((3, 2)), jnp.array([0, 1, 1]))
      >>> (layer,) = jaxnn.per_example.gradients(objective, objective.model.init(0), batch)
      >>> layer.kernel.shape, layer.bias[0].tolist()  # onehot(y) - p
      ((3, 2, 2), [0.5, -0.5])
    """
    memory = checked_memory("gradients", memory)
    objective, params, batch = checked("gradients", objective, params, batch)
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    need = num_examples(batch) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    if need > memory:
        raise MemoryBudgetError(
            f"gradients: one an example fits in memory; got memory={said(memory)} for {num_examples(batch):,} examples "
            f"x {sum(sizes):,} parameters, {said(need)}; raise memory, pass fewer examples, or ask for what you make "
            "of them (norms, weighted_sum, gram, ...)"
        )
    return _gradients(objective, params, batch)


@jax.jit
def _gradients(objective: Any, params: Params, batch: Batch) -> Params:
    return make_factors(objective, params, without_absent(batch)).materialise()


def norms(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Float[Array, " N"]:
    """Return |∇ log P(y_i | x_i; w)| for every example, over all parameters together; 0 for absent examples.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((3, 2)), jnp.array([0, 1, 1]))
      >>> jaxnn.per_example.norms(objective, objective.model.init(0), batch).tolist()  # |(x, 1)| |onehot(y) - p|
      [1.2247..., 1.2247..., 1.2247...]
    """
    return ask("norms", NORMS, objective, params, batch, memory)


def inner(objective: Any, params: Params, batch: Any, direction: Params, *, memory: int = MEMORY) -> Float[Array, " N"]:
    """Return <g_i, direction>: how fast each log P grows when the parameters move that way.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> params, batch = objective.model.init(0), jaxnn.Batch(jnp.ones((2, 2)), jnp.array([0, 1]))
      >>> towards_0 = jax.tree.map(lambda w: jnp.zeros_like(w).at[..., 0].set(1), params)
      >>> jaxnn.per_example.inner(objective, params, batch, towards_0).tolist()
      [1.5, -1.5]
    """
    who = "inner"
    memory = checked_memory(who, memory)
    objective, params, batch = checked(who, objective, params, batch)
    direction = checked_direction(who, params, direction)
    return measured(objective, params, batch, shared=direction, who=who, measure=INNER, memory=memory)


def gram(objective: Any, params: Params, batch: Any, other: Any = None, *, memory: int = MEMORY) -> Float[Array, "N M"]:
    """Return all inner products <g_i, g'_j> of the gradients of two batches, by default of one with itself.

    For one output its rows are the empirical neural tangent kernel, scaled by the derivatives of the likelihood.

    Args:
      objective, params, batch: as for `factors`.
      other: another `Batch` or `Dataset`, at the same parameters; None: the same one.
      memory: bytes for the matrix, 4 N M in float32, and for what is held of each example, which is done in chunks.

    Raises:
      MemoryBudgetError: the matrix itself takes more than `memory`.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((2, 2)), jnp.array([0, 1]))
      >>> jaxnn.per_example.gram(objective, objective.model.init(0), batch).tolist()
      [[1.5, -1.5], [-1.5, 1.5]]
    """
    memory = checked_memory("gram", memory)
    objective, params, batch = checked("gram", objective, params, batch)
    other = batch if other is None else checked("gram", objective, params, other)[2]
    n, m = num_examples(batch), num_examples(other)
    wide = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
    if (need := n * m * wide.itemsize) > memory:
        raise MemoryBudgetError(
            f"gram: the matrix fits in memory; got memory={said(memory)} for {n:,} x {m:,} numbers, {said(need)}; "
            "raise memory, or take fewer examples at a time"
        )
    return _gram(objective, params, batch, other, memory=memory)


@partial(jax.jit, static_argnames="memory")
def _gram(objective: Any, params: Params, batch: Batch, other: Batch, *, memory: int) -> Array:
    batch, other = map(without_absent, (batch, other))
    n, m = num_examples(batch), num_examples(other)
    rows, columns = (chunk_size("gram", objective, params, part, memory, 2) for part in (batch, other))
    if n == 0 or m == 0 or (rows >= n and columns >= m):
        return make_factors(objective, params, batch).gram(make_factors(objective, params, other))

    def band(i: Array) -> Array:
        mine = make_factors(objective, params, chunk_at(batch, i, rows))

        def block(j: Array) -> Array:
            return mine.gram(make_factors(objective, params, chunk_at(other, j, columns))).T

        return joined(jax.lax.map(block, chunk_numbers(m, columns)), m).T

    return joined(jax.lax.map(band, chunk_numbers(n, rows)), n)
