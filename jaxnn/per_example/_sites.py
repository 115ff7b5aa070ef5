"""The equations in which a leaf meets the example so that its gradient comes apart: products, and look-ups of rows."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.per_example._matrix import Layout, Shape


class ProductSite(NamedTuple):
    """A product of a leaf and something that carries the example, as equation z = a W of matrices.

    Attributes:
      leaf: which parameter leaf is W.
      layout: of the leaf as the matrix [p, q] of its gradient uᵀ v.
      operand: which input of the equation is a: 0 or 1.
      order: the axes of a: those of T rows first, then those that are summed over.
      rows: T.
      turned: whether p runs over what z has and a has not, so u = ∂/∂z and v = a; else u = a.
      precision: of the product.
    """

    leaf: int
    layout: Layout
    operand: int
    order: Shape
    rows: int
    turned: bool
    precision: Any

    def factors(self, inputs: list[Any], d: Array) -> tuple[Array, Array]:
        """Return u [T, p] and v [T, q] of one example, from the inputs of the equation and d = ∂ log P / ∂z."""
        p, q = self.layout.view
        a = jnp.transpose(inputs[self.operand], self.order).reshape(self.rows, q if self.turned else p)
        size = p if self.turned else q
        d = d.reshape(self.rows, size) if self.operand == 0 else d.reshape(size, self.rows).T
        return (d, a) if self.turned else (a, d)


class LookupSite(NamedTuple):
    """Rows of a leaf read by index: z = W[i].

    Attributes:
      leaf: which parameter leaf is W.
      layout: of the leaf as a matrix [p, q], p rows to choose from.
      rows: T, how many are read.
      column: which number of an index chooses the row.
      drops: whether an index out of range has no derivative, instead of that of the nearest row.
    """

    leaf: int
    layout: Layout
    rows: int
    column: int
    drops: bool

    def factors(self, inputs: list[Any], d: Array) -> tuple[Array, Array]:
        """Return the indices i [T] and v [T, q] of one example, from its inputs and d = ∂ log P / ∂z."""
        p, q = self.layout.view
        index = jnp.asarray(inputs[1])
        index = index.reshape(self.rows, index.shape[-1] if index.ndim else 1)[:, self.column]
        last = min(p - 1, jnp.iinfo(index.dtype).max)  # cut in its own dtype: 299 is no uint8, 2**32 - 1 no int32
        v = d.reshape(self.rows, q)
        if self.drops:
            v = jnp.where(((index >= 0) & (index <= last))[:, None], v, 0)
        return jnp.clip(index, 0, last).astype(jnp.int32), v


def product_site(equation: Any, operand: int, leaf: int, layout: Layout) -> ProductSite | None:
    """Return the site that a `dot_general` of one leaf is, None where it multiplies a batch of matrices.

    Args:
      equation: of the jaxpr of one example.
      operand: which input carries the example; the other is the view of the leaf.
      leaf, layout: which leaf, and how it is viewed.
    """
    contracted, batch = equation.params["dimension_numbers"]
    if any(batch):
        return None
    pairs = sorted(zip(contracted[1 - operand], contracted[operand], strict=True))  # in the order of W's axes
    summed, of_a = tuple(w for w, _ in pairs), tuple(a for _, a in pairs)
    free = tuple(axis for axis in range(len(layout.view)) if axis not in summed)
    shape = equation.invars[operand].aval.shape
    rows = tuple(axis for axis in range(len(shape)) if axis not in of_a)
    straight, turned = layout.matrix(summed, free), layout.matrix(free, summed)
    is_turned = len(turned.moves) < len(straight.moves)  # the one that is nearer to the leaf as it lies
    return ProductSite(
        leaf=leaf,
        layout=turned if is_turned else straight,
        operand=operand,
        order=(*rows, *of_a),
        rows=math.prod(shape[axis] for axis in rows),
        turned=is_turned,
        precision=equation.params["precision"],
    )


def lookup_site(equation: Any, leaf: int, layout: Layout) -> LookupSite | None:
    """Return the site that a `gather` or `dynamic_slice` of a leaf is, None unless it reads whole rows by one index."""
    params, shape = equation.params, equation.outvars[0].aval.shape
    p, *row = layout.view
    if tuple(params["slice_sizes"]) != (1, *row):
        return None
    drops, rows, column = False, 1, 0
    if equation.primitive.name == "gather":
        numbers, clips = params["dimension_numbers"], params["mode"] == jax.lax.GatherScatterMode.CLIP
        first = len(shape) - len(row) - (numbers.collapsed_slice_dims != (0,))
        if numbers.operand_batching_dims or tuple(numbers.offset_dims) != tuple(range(first, len(shape))):
            return None
        if 0 not in numbers.start_index_map or not (numbers.start_index_map == (0,) or clips):
            return None  # clipped, the start of a whole row is 0 along its other axes, whatever the index says
        column = numbers.start_index_map.index(0)
        drops, rows = not clips, math.prod(shape[:first])
    return LookupSite(leaf, layout.reshaped((p, math.prod(row))), rows, column, drops)
