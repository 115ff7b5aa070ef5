"""The checked door: arrays of any make come in, a `Dataset` comes out, every number looked at once."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import as_numbers, check_choice, check_finite, check_leading_axis, check_weight, square_is_finite
from jaxnn._errors import ConfigError, ShapeError
from jaxnn._types import Batch, num_examples
from jaxnn.data._memory import empty
from jaxnn.data._schema import Schema
from jaxnn.data._targets import as_targets, class_codes, real_targets

WHO = "data.dataset"
BLOCK = 2**17  # numbers that are stored and looked at together, few enough for the cache


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and what is known about them. Made by `dataset` or `load`, which let only legal numbers in.

    Every number is finite and every label a class, also in rows of weight 0.

    Attributes:
      batch: `x dtype[N, D]`, `y int32[N]` (or targets `dtype[N]`, `dtype[N, K]`), `weight dtype[N]` or None.
      schema: names, number of classes, scale.
    """

    batch: Batch
    schema: Schema

    def __len__(self) -> int:
        return num_examples(self.batch)

    @property
    def num_features(self) -> int:
        """D, the number of columns of x."""
        return self.batch.x.shape[1]

    def __repr__(self) -> str:
        s = self.schema
        facts = [repr(s.name), f"{len(self)} examples", f"{self.num_features} features"]
        facts += [f"{s.num_classes} classes" if s.num_classes else "regression"]
        facts += [f"images {s.image_shape[0]}x{s.image_shape[1]}"] if s.image_shape else []
        facts += ["standardised"] if s.mean is not None else []
        facts += ["weighted"] if self.batch.weight is not None else []
        return f"Dataset({', '.join(facts)})"


def dataset(
    x: Any,
    y: Any,
    *,
    num_classes: int | Literal["infer"] | None = None,
    weight: Any = None,
    labels: Literal["index", "pm1"] = "index",
    feature_names: Any = None,
    class_names: Any = None,
    name: str = "data",
    dtype: Any = None,
) -> Dataset:
    """Check arrays and return them as a `Dataset`.

    Args:
      x: numbers `[N, D]`, N >= 1, D >= 0: lists, NumPy of any layout, JAX arrays. All become floats: integers
        up to 2**24 exactly, float64 and larger integers rounded to the nearest float32.
      y: class labels `[N]` in [0, K): integers, booleans, or floats that are whole. Without num_classes: real
        targets, `[N]`, or `[N, K]` for K >= 2 outputs.
      num_classes: K >= 2; None for regression; "infer" takes the largest label plus 1, with a warning.
      weight: `[N]`, finite, >= 0, not all 0. A row of weight 0 is absent: NaN, infinity or an illegal label
        in it is stored as 0.
      labels: "index" for labels in [0, K); "pm1" for exactly -1 and +1, stored as 0 and 1.
      feature_names: D names.
      class_names: K names, in the order of the labels.
      name: what the data set is called.
      dtype: of x, weight and targets; float32 by default, float64 when JAX's x64 is on.

    Returns:
      A `Dataset` that shares no memory with what can still change: NumPy arrays are copied, JAX arrays of the
      right dtype are not.

    Raises:
      ShapeError: x is not `[N, D]`, or x, y and weight have not N rows, or y is a column `[N, 1]`.
      DtypeError: x or y is text, objects, complex numbers, dates; x is booleans.
      NonFiniteError: NaN or infinity (or, once cast, beyond the range of dtype) in a row that counts.
      LabelError: a label that is no class: fractional, outside [0, K), or not -1 or +1 under "pm1".
      ConfigError: an option that means nothing, names of the wrong number, negative or all-zero weights.

    Example:
      >>> from jaxnn import data
      >>> ds = data.dataset([[1, 2], [3, 4], [5, 6]], [-1, 1, 1], labels="pm1", class_names=("no", "yes"))
      >>> ds
      Dataset('data', 3 examples, 2 features, 2 classes)
      >>> ds.batch.y.tolist(), ds.batch.x.dtype.name
      ([0, 1, 1], 'float32')
    """
    dtype = _float_dtype(dtype)
    check_choice(WHO, "labels", labels, ("index", "pm1"))
    x_host, y_host = as_numbers(WHO, "x", x), as_targets(WHO, y)
    if x_host.ndim != 2:
        raise ShapeError(
            f"{WHO}: x is [N, D], one row an example; got x.shape={x_host.shape}; "
            "use x.reshape(len(x), -1), which also flattens images"
        )
    if y_host.ndim == 2 and y_host.shape[1] == 1:
        raise ShapeError(
            f"{WHO}: y is [N], not a column; got x.shape={x_host.shape}, y.shape={y_host.shape}; use y.ravel()"
        )
    w_host = None if weight is None else as_numbers(WHO, "weight", weight)
    check_leading_axis(WHO, x_host, y_host, w_host)

    absent = None
    if w_host is not None:
        weight = _store("weight", weight, w_host, dtype)
        check_weight(WHO, weight)
        absent = np.asarray(weight) == 0
        absent = absent if absent.any() else None
    if num_classes is None and labels == "index":
        stored_y = _store("y", y, real_targets(WHO, y_host), dtype, absent)
    else:
        codes, num_classes = class_codes(WHO, y_host, num_classes, labels, absent)
        stored_y = jax.device_put(codes)
    schema = Schema(
        name=str(name),
        num_classes=num_classes,
        feature_names=_names("feature_names", feature_names, x_host.shape[1], "feature"),
        class_names=_names("class_names", class_names, num_classes or 0, "class"),
        labels=labels,
        num_features=x_host.shape[1],
    )
    return Dataset(Batch(_store("x", x, x_host, dtype, absent), stored_y, weight), schema)


def _float_dtype(dtype: Any) -> np.dtype:
    """Return the floating-point dtype asked for, or JAX's default."""
    default = jnp.result_type(float)
    if dtype is None:
        return default
    try:
        asked = jnp.dtype(dtype)
    except TypeError:
        asked = None
    if asked not in (jnp.float16, jnp.bfloat16, jnp.float32, default):
        raise ConfigError(
            f"{WHO}: dtype is a floating-point type JAX computes in; got dtype={dtype!r}; "
            "pass 'float32', or turn on jax_enable_x64 for float64"
        )
    return jnp.dtype(dtype)


def _store(name: str, given: Any, host: np.ndarray, dtype: np.dtype, absent: np.ndarray | None = None) -> jax.Array:
    """Return host, the array form of what was given, as a finite JAX array that aliases no NumPy array."""
    if isinstance(given, jax.Array) and given.dtype == dtype and absent is None:
        check_finite(WHO, name, host)
        return given
    stored, finite = empty(host.shape, dtype), True
    whole = host.dtype.kind in "iub" and dtype.itemsize >= 4  # finite by its kind: nothing to look for
    at_a_time = max(1, len(host) if whole else BLOCK // max(1, math.prod(host.shape[1:])))
    with np.errstate(over="ignore"):
        for i in range(0, len(host), at_a_time):
            rows = slice(i, i + at_a_time)
            stored[rows] = host[rows]
            finite = whole or (finite and square_is_finite(stored[rows]))  # while the block is in the cache
    if not finite:
        check_finite(WHO, name, host, absent)
        check_finite(WHO, f"{name} as {dtype}", stored, absent)
    if absent is not None:
        np.copyto(stored, 0, where=~np.isfinite(stored))
    return jax.device_put(stored)


def _names(option: str, names: Any, count: int, what: str) -> tuple[str, ...] | None:
    """Return names as a tuple of text; raise unless there is one a feature or class."""
    if names is None:
        return None
    is_sequence = isinstance(names, Iterable) and not isinstance(names, str)
    names = tuple(str(n) for n in names) if is_sequence else ()
    if len(names) != count:
        raise ConfigError(f"{WHO}: one name a {what}; got {len(names)} {option}; pass a sequence of {count}")
    return names
