"""What is known about a data set besides its numbers: a value that prints, compares and travels as JSON."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxnn._checks import as_numbers, check_choice, check_integer
from jaxnn._errors import ConfigError, ShapeError, brief, suggest
from jaxnn.data._memory import empty

ROWS_AT_A_TIME = 256  # float64 work in blocks of rows that stay in the cache, not on a copy of the data


@dataclass(frozen=True)
class Schema:
    """Names, classes and scale of a data set; saved with a model so that new data are treated like the old.

    Attributes:
      name: what the data set is called.
      num_classes: K >= 2, or None for regression.
      feature_names: one name a feature, or None.
      class_names: one name a class, in the order of the labels, or None.
      mean, scale: one number a feature where `x -> (x - mean) / scale` *has been applied*, else None.
      image_shape: (height, width) where a row is a flattened image, else None.
      label_name: what the label is called, such as the column of a file, or None.
      labels: how the data spell the classes: "index" for 0..K-1 (or class names), "names" for class names only, "pm1"
        for -1 and +1.
      num_features: D, or None where nobody has counted them.

    Raises:
      ConfigError: a field of another type, numbers that are no scale, names and numbers that are not one a feature or
        class.

    Example:
      >>> from jaxnn import data
      >>> schema = data.Schema("coins", num_classes=2, class_names=("tails", "heads"))
      >>> data.Schema.from_dict(schema.to_dict()) == schema
      True
    """

    name: str = "data"
    num_classes: int | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    image_shape: tuple[int, int] | None = None
    label_name: str | None = None
    labels: Literal["index", "names", "pm1"] = "index"
    num_features: int | None = None

    def __post_init__(self) -> None:
        def check(field: str, legal: bool, rule: str) -> None:
            if not legal:
                value = getattr(self, field)
                raise ConfigError(f"Schema: {field} {rule}; got {field}={brief(value)}; repair it, or make it anew")

        check("name", isinstance(self.name, str), "is text")
        check("label_name", isinstance(self.label_name, str | None), "is text or None")
        check("labels", isinstance(self.labels, str), "is text")
        check_choice("Schema", "labels", self.labels, ("index", "names", "pm1"))
        for field, least in (("num_classes", 2), ("num_features", 0)):
            if getattr(self, field) is not None:
                check_integer("Schema", field, getattr(self, field), at_least=least)
        for field in ("feature_names", "class_names"):
            check(field, _all(str, getattr(self, field)), "is None or a tuple of text")
        for field in ("mean", "scale"):
            value = getattr(self, field)
            legal = _all(int | float, value) and all(map(math.isfinite, value or ()))
            check(field, legal, "is None or a tuple of finite numbers")
        check("scale", all(s > 0 for s in self.scale or ()), "is positive")
        check("scale", (self.scale is None) == (self.mean is None), "is None where mean is, and only there")
        shape = self.image_shape
        pixels = shape is None or (_all(int, shape) and len(shape) == 2 and min(shape) > 0)
        check("image_shape", pixels, "is None or (height, width), two whole numbers > 0")
        self._check_lengths(self.num_features, ("feature_names", "mean", "scale"), "feature")
        self._check_lengths(self.num_classes or 0, ("class_names",), "class")

    def _check_lengths(self, count: int | None, names: tuple[str, ...], what: str) -> None:
        """Raise `ConfigError` unless fields that are not None have one entry a feature or class."""
        lengths = {name: len(getattr(self, name)) for name in names if getattr(self, name) is not None}
        if len({*lengths.values(), *([] if count is None else [count])} if lengths else ()) > 1:
            got = ", ".join(f"{length} {name}" for name, length in lengths.items())
            got += "" if count is None else f" for num_{'classes' if what == 'class' else 'features'}={count}"
            raise ConfigError(f"Schema: there is one entry a {what}; got {got}; make the numbers equal")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that `json.dumps` takes."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Schema":
        """Return the schema that `to_dict` gave; raise `ConfigError` for a field unknown, missing or damaged.

        Only num_features may be missing: older files have none.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict):
            raise ConfigError(f"Schema.from_dict: values are a dict; got {brief(values)}; pass what to_dict gave")
        for key in values:
            if key not in known:
                raise ConfigError(f"Schema.from_dict: fields are known; got {key!r}; {suggest(key, known)}")
        for key in known:
            if key not in values and key != "num_features":
                raise ConfigError(
                    f"Schema.from_dict: every field is there, lest scaled data be taken for unscaled; got no {key!r}; "
                    "pass what to_dict gave"
                )
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**frozen)

    def spell(self, y: Any) -> list[Any]:
        """Return classes `int[M]` as the data spell them: class names, -1 and +1, or the numbers themselves.

        Example:
          >>> from jaxnn import data
          >>> data.Schema(num_classes=2, class_names=("tails", "heads")).spell([1, 0])
          ['heads', 'tails']
        """
        codes = np.asarray(y).tolist()
        if self.class_names is not None:
            return [self.class_names[k] for k in codes]
        return [2 * k - 1 for k in codes] if self.labels == "pm1" else codes

    def transform(self, x: Any) -> np.ndarray:
        """Return raw rows `[M, D]` on the scale of these data, `(x - mean) / scale`; unchanged without one.

        Computed in float64 on the host and returned in the dtype of x (integers: the default float).

        Raises:
          ShapeError: x has not one column a feature.

        Example:
          >>> from jaxnn import data
          >>> data.Schema(mean=(1.0, 2.0), scale=(2.0, 4.0)).transform([[3.0, 2.0]])
          array([[1., 0.]])
        """
        x = as_numbers("Schema.transform", "x", x)
        if self.mean is None or self.scale is None:
            return x
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ShapeError(
                f"Schema.transform: x has the {len(self.mean)} columns of {self.name!r}; got {x.shape}; "
                "pass raw rows with the same features in the same order"
            )
        dtype = jnp.result_type(float) if x.dtype.kind in "iu" else x.dtype
        mean, scale = np.array(self.mean), np.array(self.scale)
        out = empty(x.shape, dtype)
        with np.errstate(over="ignore"):  # far beyond the data it is infinite; who stores it has to look
            for i in range(0, len(x), ROWS_AT_A_TIME):
                rows = slice(i, i + ROWS_AT_A_TIME)
                out[rows] = (x[rows] - mean) / scale
        return out


def _all(kind: Any, values: Any) -> bool:
    """Return whether values are None or a tuple of one kind; a bool is no number."""
    return values is None or (
        isinstance(values, tuple) and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    )
