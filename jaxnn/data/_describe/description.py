"""What `describe` found, as values: a record a column, and the whole, which prints as a page and travels as JSON."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from jaxnn.data._describe.page import page

Kind = Literal["number", "boolean", "text", "category", "other"]


@dataclass(frozen=True)
class Column:
    """One column: a feature, or the label.

    Attributes:
      name: what the file calls it; `x[:, 3]` in arrays without names.
      kind: "number"; "boolean"; "text"; "category", a dictionary column of Parquet or Arrow; "other": dates, lists,
        bytes, or nothing at all.
      type: how it is stored, such as "int64", "double", "string".
      missing: cells without a value, NaN included.
      distinct: different values, not counting the missing; None where they cannot be compared, such as lists.
      minimum, maximum: of the finite numbers, exact; None without one.
      mean, deviation: of the finite numbers, float64; the deviation is that of the population, as in `standardise`.
      infinite: how many numbers are plus or minus infinity.
      common: up to five of the most common values that are no numbers, each with its count.
    """

    name: str
    kind: Kind
    type: str
    missing: int = 0
    distinct: int | None = None
    minimum: int | float | None = None
    mean: float | None = None
    deviation: float | None = None
    maximum: int | float | None = None
    infinite: int = 0
    common: tuple[tuple[str, int], ...] = ()

    @property
    def constant(self) -> bool:
        """Whether all values that are there are one and the same."""
        return self.distinct == 1


@dataclass(frozen=True)
class Description:
    """What is in a data set and what is wrong with it. Made by `describe`; print it, or read its fields.

    Attributes:
      name: of the data set, or of the file without its suffix.
      num_examples: N, the rows.
      columns: the features, in their order.
      labels: the label's own column; K columns for real targets `[N, K]`; empty where no label was given.
      classes: how many examples each class has, in the order of the classes; None without a label and for real targets.
      num_complete: examples without a missing value, in the label neither.
      num_duplicates: examples that repeat an earlier one, label included; None where rows cannot be compared.
      image_shape: (height, width) where a row is a flattened image, else None.
      pixels: the pixels of all images as one column, whose distinct values are not counted; else None.
      remarks: what `read` or training would trip over, a sentence or two each: what it is, and what to do.

    Example:
      >>> from jaxnn import data
      >>> ds = data.dataset([[1.5, 0], [2.5, 0], [4, 0], [5, 0]], [0, 1, 0, 1], num_classes=2)
      >>> found = data.describe(ds)
      >>> found.classes, found.columns[0].maximum, found.columns[1].constant
      ({'0': 2, '1': 2}, 5.0, True)
      >>> found.remarks
      ("always the same value: 'x[:, 1]'; nothing can be learnt from that: leave such columns out of x",)
    """

    name: str
    num_examples: int
    columns: tuple[Column, ...]
    labels: tuple[Column, ...] = ()
    classes: dict[str, int] | None = None
    num_complete: int = 0
    num_duplicates: int | None = None
    image_shape: tuple[int, int] | None = None
    pixels: Column | None = None
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that `json.dumps` takes: plain values, and None for a number beyond float64."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def __str__(self) -> str:
        return page(self)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Column):
        plain = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return plain | {"constant": value.constant}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return dict(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
