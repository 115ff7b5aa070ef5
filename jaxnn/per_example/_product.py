"""Gradients of a kernel, one an example, as what the layer read and the derivative of what it made."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.per_example._matrix import Layout
from jaxnn.per_example._rows import BLOCK, by_blocks, rounded_up, scaled, squares_of, wide


@partial(jax.tree_util.register_dataclass, data_fields=("u", "v"), meta_fields=("layout", "dtype", "precision"))
@dataclass(frozen=True)
class Product:
    """g_i = Σ_t u_it v_itᵀ, as the leaf lies: `u` is [B, T, p], `v` is [B, T, q]."""

    u: Any
    v: Any
    layout: Layout
    dtype: Any
    precision: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the leaf."""
        return self.layout.shape

    @property
    def working(self) -> int:
        """Numbers an example that `squares` needs besides."""
        rows = self.u.shape[1]
        return 2 * rows * rows if rows > 1 else 0

    @property
    def along(self) -> int:
        """Numbers an example that `inner` and `times` need for each of many directions."""
        _, rows, q = self.v.shape
        return rows * (q + min(self.u.shape[2], q))

    def squares(self, up: bool = False) -> Array:
        """Return |g_i|², [B]; `up`: rounded up, so that a gradient clipped by it is not longer than it may be."""
        rows = self.u.shape[1]
        if rows == 0:
            return jnp.zeros(len(self.u))
        if rows == 1:
            return squares_of(self.u) * squares_of(self.v)

        def in_full() -> Array:
            numbers = self.u.shape[2] * self.v.shape[2]
            return by_blocks(lambda uv: jnp.sum(jnp.square(self._one(*uv))), (self.u, self.v), numbers)

        def one(uv: Any) -> tuple[Array, Array, Array]:
            k, h = (jnp.matmul(a, a.T, precision="highest") for a in map(wide, uv))
            return jnp.sum(k * h), jnp.sum(jnp.abs(k * h)), jnp.sum(jnp.sqrt(jnp.diagonal(k) * jnp.diagonal(h)))

        # Σ_ts <u_t, u_s> <v_t, v_s>. Terms of both signs may cancel; then little of the sum is sure, and it is had in
        # full.
        squares, size, terms = by_blocks(one, (self.u, self.v), self.working)
        squares = jax.lax.cond(jnp.all(squares >= size / 10), lambda: squares, in_full)
        return rounded_up(squares, terms, rows) if up else squares

    def times(self, c: Array, keep: Array | None = None) -> "Product":
        """Return c_i g_i; where an example is not to be kept, one factor is 0 and the other may hold anything."""
        if self._scales_v:
            return replace(self, v=scaled(c, self.v, keep))
        return replace(self, u=scaled(c, self.u, keep))

    def total(self, keep: Array | None = None) -> Array:
        """Return Σ_i g_i, as the leaf lies; `keep` as it was given to `times`, None where all are finite."""
        u, v = (a.reshape(a.shape[0] * a.shape[1], a.shape[2]) for a in (self.u, self.v))
        if keep is None:
            return self.layout.to_leaf(self._matmul(u.T, v))
        keep = jnp.repeat(keep, self.u.shape[1])

        # 0 times what is not finite is NaN. To blank it would copy the activations, so it is done a row, or a column,
        # of the result at a time.
        def row(k: Array, total: Array) -> Array:
            return total.at[k].set(self._matmul(jnp.where(keep, u[:, k], 0), v))

        def column(k: Array, total: Array) -> Array:
            return total.at[:, k].set(self._matmul(u.T, jnp.where(keep, v[:, k], 0)))

        start = jnp.zeros(self.layout.view, jnp.result_type(u, v, jnp.float32))
        again, count = (row, u.shape[1]) if self._scales_v else (column, v.shape[1])
        return self.layout.to_leaf(jax.lax.fori_loop(0, count, again, start))

    @property
    def _scales_v(self) -> bool:
        """Whether v is the smaller factor, which is the one to scale."""
        return self.v.shape[2] <= self.u.shape[2]

    def sum_of_squares(self, c: Array) -> Array:
        """Return Σ_i c_i g_i², elementwise, as the leaf lies."""
        if self.u.shape[1] <= 1:
            return replace(self, u=jnp.square(wide(self.u)), v=jnp.square(wide(self.v))).times(c).total()

        def add(total, row):
            u, v, weight = row
            return total + weight * jnp.square(self._one(u, v)), None

        start = jnp.zeros(self.layout.view, jnp.result_type(self.u, self.v, c, jnp.float32))
        return self.layout.to_leaf(jax.lax.scan(add, start, (self.u, self.v, c))[0])

    def inner(self, direction: Array) -> Array:
        """Return <g_i, direction>, [B]."""
        matrix = wide(self.layout.to_view(direction))
        return jnp.sum(self._matmul(wide(self.u), matrix) * wide(self.v), axis=(1, 2))

    def gram(self, other: "Product") -> Array:
        """Return <g_i, g'_j>, [B, B']."""
        (_, rows, p), q = self.u.shape, self.v.shape[2]
        (columns, others, _) = other.u.shape
        if rows == others == 1:
            dot = partial(jnp.matmul, precision="highest")
            return dot(wide(self.u[:, 0]), wide(other.u[:, 0]).T) * dot(wide(self.v[:, 0]), wide(other.v[:, 0]).T)
        if rows * others * (p + q) > p * q and columns * p * q <= BLOCK:
            there = other.each_matrix().reshape(columns, p * q)

            def one(uv):
                return jnp.matmul(there, self._one(*uv).reshape(-1), precision="highest")

            return by_blocks(one, (self.u, self.v), p * q)

        def ghost(uv):
            k, h = (
                jnp.einsum("tp,jsp->tjs", wide(a), wide(b), precision="highest")
                for a, b in zip(uv, (other.u, other.v), strict=True)
            )
            return jnp.einsum("tjs,tjs->j", k, h)

        return by_blocks(ghost, (self.u, self.v), 2 * rows * columns * others)

    def each(self) -> Array:
        """Return g_i, [B, *leaf], in the leaf's dtype."""
        return jax.vmap(self.layout.to_leaf)(self.each_matrix().astype(self.dtype))

    def each_matrix(self) -> Array:
        """Return g_i, [B, p, q]."""
        if self.u.shape[1] == 1:  # written once, at the speed of the memory; a product of depth 1 is not
            return wide(self.u[:, 0, :, None]) * wide(self.v[:, 0, None, :])
        return jax.vmap(self._one)(self.u, self.v)

    def _one(self, u: Array, v: Array) -> Array:
        """Return uᵀ v of one example, [p, q]."""
        return self._matmul(wide(u).T, wide(v))

    def _matmul(self, a: Array, b: Array) -> Array:
        dtype = jnp.result_type(a, b, jnp.float32)
        return jnp.matmul(a, b, precision=self.precision, preferred_element_type=dtype)
