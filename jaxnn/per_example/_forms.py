"""One leaf's gradients, one an example, in the three forms they are kept in, and the algebra that each form allows.

    Product   g_i = Σ_t u_it v_itᵀ     a kernel: what the layer read, and ∂ log P / ∂z
    Lookup    g_i = Σ_t e_it v_itᵀ     a table of rows read by index: e is 1 in the row that was read
    Explicit  g_i                      whatever else: biases, scales, convolutions

T is 1 but for layers that are applied several times (to a sequence, or tied). Sums are in float32 or wider. With T = 1
all of it is (Goodfellow 2015, arXiv 1510.01799): |g_i| = |u_i| |v_i|; Σ c_i g_i = uᵀ (c v);
<g_i, g'_j> = (u u'ᵀ) (v v'ᵀ).
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.per_example._lookup import Lookup
from jaxnn.per_example._product import Product
from jaxnn.per_example._rows import scaled, squares_of, wide


@partial(jax.tree_util.register_dataclass, data_fields=("g", "c"), meta_fields=())
@dataclass(frozen=True)
class Explicit:
    """g_i as it stands: `g` is [B, *leaf]; times `c` [B], if that is given."""

    g: Any
    c: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the leaf."""
        return self.g.shape[1:]

    @property
    def dtype(self) -> Any:
        """The dtype of the leaf."""
        return self.g.dtype

    working = 0  # numbers an example that `squares` needs besides

    @property
    def along(self) -> int:
        """Numbers an example that `inner` and `times` need for each of many directions."""
        return self.g.shape[1] if self.g.ndim == 2 else 1

    def squares(self, up: bool = False) -> Array:
        """Return |g_i|², [B]; of a gradient that is there, no sum is left to round."""
        del up
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

        def add(total: Array, row: Any) -> tuple[Array, None]:
            keep, c, g = row
            return total + jnp.where(keep, c * g, 0), None

        return jax.lax.scan(add, jnp.zeros(g.shape[1:], jnp.result_type(c, g)), (keep, c, g))[0]

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
