"""How a parameter leaf lies as the matrix that a product reads: transposes and reshapes, there and back."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Shape = tuple[int, ...]


class Move(NamedTuple):
    """One step of a layout: `transpose` to an order of axes, or `reshape` to a shape."""

    name: str
    to: Shape


@dataclass(frozen=True)
class Layout:
    """The moves from a leaf to a view of it. None loses, repeats or changes a number: only their places differ.

    Attributes:
      shape: of the leaf.
      moves: without detours, so that two equal views of a leaf have equal layouts.
    """

    shape: Shape
    moves: tuple[Move, ...] = ()

    @property
    def shapes(self) -> list[Shape]:
        """The shape before the first move, and after each."""
        shapes = [self.shape]
        for move in self.moves:
            last = shapes[-1]
            shapes.append(move.to if move.name == "reshape" else tuple(last[axis] for axis in move.to))
        return shapes

    @property
    def view(self) -> Shape:
        """The shape of the view."""
        return self.shapes[-1]

    def transposed(self, axes: Shape) -> "Layout":
        """Return the layout with the view's axes in another order."""
        if self.moves and self.moves[-1].name == "transpose":
            return Layout(self.shape, self.moves[:-1]).transposed(tuple(self.moves[-1].to[axis] for axis in axes))
        if axes == tuple(range(len(axes))):
            return self
        return Layout(self.shape, (*self.moves, Move("transpose", axes)))

    def reshaped(self, shape: Shape) -> "Layout":
        """Return the layout with the view in another shape."""
        if self.moves and self.moves[-1].name == "reshape":
            return Layout(self.shape, self.moves[:-1]).reshaped(shape)
        return self if shape == self.view else Layout(self.shape, (*self.moves, Move("reshape", shape)))

    def matrix(self, rows: Shape, columns: Shape) -> "Layout":
        """Return the layout with these axes of the view as the rows of a matrix and those as its columns."""
        p, q = (math.prod(self.view[axis] for axis in axes) for axes in (rows, columns))
        return self.transposed((*rows, *columns)).reshaped((p, q))

    def to_view(self, leaf: Array) -> Array:
        """Return the view of a leaf."""
        for move in self.moves:
            leaf = leaf.reshape(move.to) if move.name == "reshape" else leaf.transpose(move.to)
        return leaf

    def to_leaf(self, view: Array) -> Array:
        """Return the leaf that has this view."""
        for move, before in zip(reversed(self.moves), reversed(self.shapes[:-1]), strict=True):
            order = tuple(np.argsort(move.to).tolist())
            view = view.reshape(before) if move.name == "reshape" else view.transpose(order)
        return jnp.asarray(view)
