"""Gradients of a table whose rows are read by index, one an example."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.per_example._matrix import Layout
from jaxnn.per_example._product import Product
from jaxnn.per_example._rows import by_blocks, rounded_up, rows_like, scaled, squares_of, wide


@partial(jax.tree_util.register_dataclass, data_fields=("index", "v"), meta_fields=("layout", "dtype"))
@dataclass(frozen=True)
class Lookup:
    """g_i = Σ_t e_it v_itᵀ: `index`, in [0, p), is int32[B, T], `v` is [B, T, q]."""

    index: Any
    v: Any
    layout: Layout
    dtype: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the leaf."""
        return self.layout.shape

    @property
    def working(self) -> int:
        """Numbers an example that `squares` needs besides."""
        rows = self.v.shape[1]
        return rows * rows if rows > 1 else 0

    @property
    def along(self) -> int:
        """Numbers an example that `inner` and `times` need for each of many directions."""
        return 2 * self.v.shape[1] * self.v.shape[2]

    def squares(self, up: bool = False) -> Array:
        """Return |g_i|², [B]; `up` as for a `Product`."""
        squares, rows = squares_of(self._by_row()), self.v.shape[1]
        if not up or rows == 1:
            return squares
        lengths = jnp.sqrt(jnp.sum(jnp.square(wide(self.v)), axis=2))
        return rounded_up(squares, jnp.sum(lengths, axis=1), rows)

    def _by_row(self) -> Array:
        """Return v, [B, T, q], with all that one row of the table receives at its first place."""
        if self.v.shape[1] == 1:
            return self.v
        return by_blocks(lambda row: _gathered(*row), (self.index, self.v), self.working)

    def times(self, c: Array, keep: Array | None = None) -> "Lookup":
        """Return c_i g_i, zero where an example is not to be kept."""
        return replace(self, v=scaled(c, wide(self.v), keep))

    def total(self, keep: Array | None = None) -> Array:
        """Return Σ_i g_i, as the leaf lies."""
        del keep
        return self._scatter(self.index, wide(self.v))

    def sum_of_squares(self, c: Array) -> Array:
        """Return Σ_i c_i g_i², elementwise, as the leaf lies."""
        summed = wide(self._by_row())
        return self._scatter(self.index, rows_like(c, summed) * jnp.square(summed))

    def inner(self, direction: Array) -> Array:
        """Return <g_i, direction>, [B]."""
        return jnp.sum(wide(self.layout.to_view(direction))[self.index] * wide(self.v), axis=(1, 2))

    def gram(self, other: "Lookup") -> Array:
        """Return <g_i, g'_j>, [B, B']."""
        columns, others, _ = other.v.shape

        def one(row):
            index, v = row
            same = index[:, None, None] == other.index
            k = jnp.einsum("tq,jsq->tjs", wide(v), wide(other.v), precision="highest")
            return jnp.sum(jnp.where(same, k, 0), axis=(0, 2))

        return by_blocks(one, (self.index, self.v), self.v.shape[1] * columns * others)

    def each(self) -> Array:
        """Return g_i, [B, *leaf], in the leaf's dtype."""
        p, q = self.layout.view
        one = lambda index, v: self.layout.to_leaf(jnp.zeros((p, q), v.dtype).at[index].add(v))  # noqa: E731
        return jax.vmap(one)(self.index, wide(self.v)).astype(self.dtype)

    def as_product(self) -> Product:
        """Return the same gradients with the rows read as vectors of zeros and a one."""
        u = jax.nn.one_hot(self.index, self.layout.view[0], dtype=self.v.dtype)
        return Product(u, self.v, self.layout, self.dtype)

    def _scatter(self, index: Array, v: Array) -> Array:
        matrix = jnp.zeros(self.layout.view, v.dtype).at[index.reshape(-1)].add(v.reshape(index.size, v.shape[2]))
        return self.layout.to_leaf(matrix)


def _gathered(index: Array, v: Array) -> Array:
    """Return v [T, q] of one example with all that one row of the table receives at its first place, else 0."""
    same = index[:, None] == index
    first = jnp.argmax(same, axis=1) == jnp.arange(len(index))
    return jnp.matmul(jnp.where(first[:, None], same, False).astype(wide(v).dtype), wide(v), precision="highest")
