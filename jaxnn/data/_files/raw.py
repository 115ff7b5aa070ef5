"""What every reader is asked for and what it hands on: numbers before they are checked, and how to name a place."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import DataFormatError
from jaxnn.data._schema import Schema

WHO = "data.read"
MISSING = (
    "",
    "na",
    "n/a",
    "#n/a",
    "#na",
    "nan",
    "-nan",
    "null",
    "?",
)  # a missing cell, in small letters


class Distinct(NamedTuple):
    """Labels as the distinct values in a file and their places: example i has `values[codes[i]]`."""

    codes: np.ndarray
    values: list[Any]

    @classmethod
    def of(cls, array: np.ndarray) -> "Distinct":
        """Return the distinct values of a NumPy array `[N]`."""
        values, codes = np.unique(array, return_inverse=True)
        return cls(codes, values.tolist())


class Wanted(NamedTuple):
    """What to take from a file.

    Attributes:
      label: name or position of the label; None where it is left out, which is an error unless `labelled` is False.
      features: names or positions of the features; None for all columns but the label.
      regression: the label is a real target.
      labelled: whether a label is asked for at all.
      like: the schema that the columns have to fit, or None.
      keep: names of columns to hand on as they stand.
      max_bytes: what the file may unpack to.
    """

    label: Any
    features: Any
    regression: bool
    labelled: bool
    like: Schema | None
    keep: tuple[str, ...]
    max_bytes: int


class Raw(NamedTuple):
    """Examples as a file holds them.

    Attributes:
      x: numbers `[N, D]`.
      y: the labels, or real targets `[N]`, `[N, K]` where regression was asked for; None where no label was.
      label: what the file calls the labels, for messages.
      where: from the number of an example to its place in the file, such as "line 7".
      feature_names: D names, or None.
      image_shape: (height, width) where a row is a flattened image, else None.
      unused: names of the columns that were not taken.
      kept: the columns that were asked for as they stand, a list of values each.
    """

    x: Any
    y: Distinct | np.ndarray | None
    label: str
    where: Callable[[int], str]
    feature_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None
    unused: tuple[str, ...] = ()
    kept: Mapping[str, list[Any]] = MappingProxyType({})


def check_size(path: Path | str, what: str, num_bytes: int, max_bytes: int) -> None:
    """Raise `DataFormatError` if a file claims to unpack to more than max_bytes; called before it is unpacked."""
    if num_bytes > max_bytes:
        raise DataFormatError(
            f"{WHO}: files unpack to at most max_bytes={max_bytes:,}; got {what} of {num_bytes:,} bytes in {path}; "
            "if that is right, pass a larger max_bytes"
        )


def size_of(shape: tuple[int, ...], itemsize: int) -> int:
    """Return the bytes of an array, as a Python integer, which cannot overflow."""
    return math.prod(int(n) for n in shape) * itemsize
