"""One leaf's gradients, one an example, in the three forms they are kept in, and the algebra that each form allows.

    Product   g_i = Σ_t u_it v_itᵀ     a kernel: what the layer read, and ∂ log P / ∂z
    Lookup    g_i = Σ_t e_it v_itᵀ     a table of rows read by index: e is 1 in the row that was read
    Explicit  g_i                      whatever else: biases, scales, convolutions

T is 1 but for layers that are applied several times (to a sequence, or tied). Sums are in float32 or wider. With T = 1
all of it is (Goodfellow 2015, arXiv 1510.01799): |g_i| = |u_i| |v_i|; Σ c_i g_i = uᵀ (c v);
<g_i, g'_j> = (u u'ᵀ) (v v'ᵀ).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.per_example._matrix import Layout

BLOCK = 2**22  # numbers that a temporary of the sequence forms holds at once: 16 MB


def wide(a: Any) -> Array:
    """Return the array in float32 or wider."""
    a = jnp.asarray(a)
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def squares_of(a: Any) -> Array:
    """Return the sum of squares of every row, [B]."""
    a = wide(a)
    return jnp.sum(jnp.square(a), axis=tuple(range(1, a.ndim)))


def rows_like(c: Array, a: Array) -> Array:
    """Return one number an example in the shape that scales the rows of `a`."""
    return c.reshape((-1,) + (1,) * (a.ndim - 1))


def scaled(c: Array, a: Array, keep: Array | None) -> Array:
    """Return the rows of `a` times one number an example, zeros where an example is not to be kept."""
    rows = a.reshape(len(c), math.prod(a.shape[1:]))  # a bias and its kernel share the result: XLA sees they are equal
    rows = c[:, None] * rows
    return (rows if keep is None else jnp.where(keep[:, None], rows, 0)).reshape(a.shape)


def by_blocks(f: Callable, rows: Any, numbers: int) -> Any:
    """Return `f` of every row, so many rows at once that a temporary of so many numbers a row stays within `BLOCK`."""
    return jax.lax.map(f, rows, batch_size=max(1, BLOCK // max(1, numbers)))


@partial(jax.tree_util.register_dataclass, data_fields=("u", "v"), meta_fields=("layout", "dtype", "precision"))
@dataclass(frozen=True)
class Product:
    """g_i = Σ_t u_it v_itᵀ, as the leaf lies: `u` is [B, T, p], `v` is [B, T, q]."""

    u: Any
    v: Any
    layout: Layout
    dtype: Any
    precision: Any = None

    def squares(self) -> Array:
        """Return |g_i|², [B]."""
        _, rows, p = self.u.shape
        q = self.v.shape[2]
        if rows == 0:
            return jnp.zeros(len(self.u))
        if rows == 1:
            return squares_of(self.u) * squares_of(self.v)

        def in_full() -> Array:
            return by_blocks(lambda uv: jnp.sum(jnp.square(self._one(*uv))), (self.u, self.v), p * q)

        if rows * (p + q) > p * q:
            return in_full()

        def one(uv: Any) -> tuple[Array, Array]:
            k, h = (jnp.matmul(a, a.T, precision="highest") for a in map(wide, uv))
            return jnp.sum(k * h), jnp.sum(jnp.abs(k * h))

        # Σ_ts <u_t, u_s> <v_t, v_s>. Terms of both signs may cancel; then little of the sum is sure, and it is had in
        # full. Else it is rounded up by what it can be wrong: a gradient clipped by it is not longer than it may be.
        squares, size = by_blocks(one, (self.u, self.v), 2 * rows * rows)
        above = squares + 4 * jnp.finfo(size.dtype).eps * size
        return jax.lax.cond(jnp.all(squares >= size / 10), lambda: above.astype(size.dtype), in_full)

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
        u, v = wide(self.u), wide(self.v)
        through = self._matmul(u, matrix)
        return jnp.sum(through * v, axis=(1, 2))

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


@partial(jax.tree_util.register_dataclass, data_fields=("index", "v"), meta_fields=("layout", "dtype"))
@dataclass(frozen=True)
class Lookup:
    """g_i = Σ_t e_it v_itᵀ: `index`, in [0, p), is int32[B, T], `v` is [B, T, q]."""

    index: Any
    v: Any
    layout: Layout
    dtype: Any

    def squares(self) -> Array:
        """Return |g_i|², [B]."""
        return squares_of(self._by_row())

    def _by_row(self) -> Array:
        """Return v, [B, T, q], with all that one row of the table receives at its first place."""
        if self.v.shape[1] == 1:
            return self.v
        return by_blocks(lambda row: _gathered(*row), (self.index, self.v), self.v.shape[1] ** 2)

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


@partial(jax.tree_util.register_dataclass, data_fields=("g", "c"), meta_fields=())
@dataclass(frozen=True)
class Explicit:
    """g_i as it stands: `g` is [B, *leaf]; times `c` [B], if that is given."""

    g: Any
    c: Any = None

    @property
    def dtype(self) -> Any:
        """The dtype of the leaf."""
        return self.g.dtype

    def squares(self) -> Array:
        """Return |g_i|², [B]."""
        return squares_of(self.g)

    def times(self, c: Array, keep: Array | None = None) -> "Explicit":
        """Return c_i g_i, zero where an example is not to be kept."""
        if self.g.ndim == 2:  # a bias: these are the rows that its kernel scales, too, so it is done once, and in place
            return Explicit(scaled(c, wide(self.g), keep))
        return Explicit(self.g, c)

    def total(self, keep: Array | None = None) -> Array:
        """Return Σ_i g_i, as the leaf lies; `keep` as it was given to `times`, None where all are finite."""
        g = wide(self.g)
        c = jnp.ones(len(g), g.dtype) if self.c is None else self.c
        if keep is None or self.c is None:
            return jnp.tensordot(c, g, 1)

        def add(i: Array, total: Array) -> Array:
            return total + jnp.where(keep[i], c[i] * g[i], 0)

        return jax.lax.fori_loop(0, len(g), add, jnp.zeros(g.shape[1:], jnp.result_type(c, g)))

    def sum_of_squares(self, c: Array) -> Array:
        """Return Σ_i c_i g_i², elementwise, as the leaf lies."""
        return jnp.tensordot(c, jnp.square(wide(self.g)), 1)

    def inner(self, direction: Array) -> Array:
        """Return <g_i, direction>, [B]."""
        return self._flat() @ wide(direction).reshape(-1)

    def gram(self, other: "Explicit") -> Array:
        """Return <g_i, g'_j>, [B, B']."""
        return jnp.matmul(self._flat(), other._flat().T, precision="highest")

    def each(self) -> Array:
        """Return g_i, [B, *leaf], in the leaf's dtype."""
        return self.g

    def _flat(self) -> Array:
        return wide(self.g).reshape(self.g.shape[0], math.prod(self.g.shape[1:]))


Form = Product | Lookup | Explicit


def together(forms: list[Any]) -> Any:
    """Return the form of a leaf that is used at several places: their rows, one after the other."""
    if len(forms) == 1:
        return forms[0]
    if all(isinstance(form, Lookup) for form in forms):
        join = lambda *a: jnp.concatenate(a, axis=1)  # noqa: E731
        return jax.tree.map(join, *forms)
    products = [form.as_product() if isinstance(form, Lookup) else form for form in forms]
    dtype = jnp.result_type(*(a for form in products for a in (form.u, form.v)))
    u, v = (jnp.concatenate([getattr(form, name).astype(dtype) for form in products], axis=1) for name in "uv")
    return replace(products[0], u=u, v=v, precision=next((f.precision for f in products if f.precision), None))
