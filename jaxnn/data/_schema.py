"""What is known about a data set besides its numbers: a value that prints, compares and travels as JSON."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxnn._checks import ConfigError, ShapeError, as_numbers, suggest
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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that `json.dumps` takes."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Schema":
        """Return the schema that `to_dict` gave; raise `ConfigError` for an unknown field."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"Schema.from_dict: fields are known; got {key!r}; {suggest(key, known)}")
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
