"""A point as one vector of P numbers, for what goes coordinate by coordinate; and the norm of a point."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn._types import Params

_TOGETHER = 2**20  # numbers of all the points that are evaluated together
_MOST = 1024  # points


class Flat:
    """How points like `w` lie in a vector: leaf after leaf, in float32 or wider, so that none is rounded."""

    def __init__(self, w: Params) -> None:
        leaves, self._structure = jax.tree.flatten(w)
        self._leaves = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        self.dtype = jnp.promote_types(jnp.result_type(*leaves), jnp.float32)
        self.size = sum(leaf.size for leaf in self._leaves)

    def vector(self, w: Params) -> Float[Array, " P"]:
        """Return a point as a vector."""
        return jnp.concatenate([leaf.astype(self.dtype).reshape(-1) for leaf in jax.tree.leaves(w)])

    def point(self, vector: Float[Array, " P"]) -> Params:
        """Return a vector as a point."""
        parts = [
            part.reshape(leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(self._parts(vector), self._leaves, strict=True)
        ]
        return jax.tree.unflatten(self._structure, parts)

    def rounded(self, vector: Float[Array, " P"]) -> Float[Array, " P"]:
        """Return the vector as its leaves can hold it.

        A cast there and back would not do: XLA may leave both out, and compute with more digits than are kept.
        """
        parts = []
        for part, leaf in zip(self._parts(vector), self._leaves, strict=True):
            if leaf.dtype != self.dtype:
                info = jnp.finfo(leaf.dtype)
                part = jax.lax.reduce_precision(part, info.nexp, info.nmant)
            parts.append(part)
        return jnp.concatenate(parts)

    def eps(self, at_least: Any) -> Float[Array, " P"]:
        """Return how finely each number is kept: eps of its leaf, or of another dtype where that is coarser."""
        coarse = float(jnp.finfo(at_least).eps)
        return jnp.concatenate(
            [jnp.full(leaf.size, max(coarse, float(jnp.finfo(leaf.dtype).eps)), self.dtype) for leaf in self._leaves]
        )

    def _parts(self, vector: Array) -> list[Array]:
        parts, start = [], 0
        for leaf in self._leaves:
            size = math.prod(leaf.shape)
            parts.append(vector[start : start + size])
            start += size
        return parts


def for_each(function: Callable[[Array], Any], count: int, size: int) -> Any:
    """Return `vmap(function)(arange(count))`, in chunks if many, as each makes a point of `size` numbers."""
    chunk, indices = max(1, min(_MOST, _TOGETHER // size)), jnp.arange(count, dtype=jnp.int32)
    if count <= chunk:
        return jax.vmap(function)(indices)
    return jax.lax.map(function, indices, batch_size=chunk)


def norm(tree: Params) -> Float[Array, ""]:
    """Return the Euclidean norm of all leaves together, without overflow: the largest times the norm of the ratios."""
    leaves = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(tree) if leaf.size]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
    scale = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(sum(jnp.sum(jnp.square(leaf / scale)) for leaf in leaves))
