"""Standardised columns, by what the training part says about them, and the weight of each class."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxnn._checks import as_numbers, check_choice, check_finite, check_weight
from jaxnn._errors import ConfigError, ShapeError
from jaxnn.data._dataset import Dataset
from jaxnn.data._schema import ROWS_AT_A_TIME


def standardise(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Shift and scale every column to mean 0 and standard deviation 1 *on the training part*.

        x -> (x - mean) / scale,    mean = Σ_i w_i x_i / Σ_i w_i,    scale² = Σ_i w_i (x_i - mean)² / Σ_i w_i

    Args:
      train: the only data whose statistics are used; its weights w count.
      others: hold-out and test parts, which get the same shift and scale.

    Returns:
      All of them, in the order given. The statistics are kept in `schema.mean` and `schema.scale`, so that
      `schema.transform` treats new data alike. They are summed in float64. A constant column gets scale 1.

    Raises:
      ConfigError: not a `Dataset`, or standardised already.
      ShapeError: the parts differ in the number of columns.
      NonFiniteError: a part so far from the training part that its numbers overflow on the new scale.

    Example:
      >>> from jaxnn import data
      >>> train = data.dataset([[0.0], [2.0]], [0, 1], num_classes=2)
      >>> test = data.dataset([[4.0]], [1], num_classes=2)
      >>> [ds.batch.x.tolist() for ds in data.standardise(train, test)]
      [[[-1.0], [1.0]], [[3.0]]]
    """
    who = "data.standardise"
    for ds in (train, *others):
        _check_dataset(who, ds)
        if ds.schema.mean is not None:
            raise ConfigError(f"{who}: data are standardised once; got {ds!r}; pass the data as they were")
        if ds.num_features != train.num_features:
            raise ShapeError(
                f"{who}: all parts have the same columns; got {train.num_features} and {ds.num_features}; "
                "pass parts of one data set"
            )
    mean, scale = _column_statistics(np.asarray(train.batch.x), train.batch.weight)

    def standardised(ds: Dataset) -> Dataset:
        schema = replace(ds.schema, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))
        x = schema.transform(ds.batch.x)
        check_finite(who, f"x of {ds.schema.name!r} on the scale of the training part", x)
        return Dataset(ds.batch._replace(x=jax.device_put(x)), schema)

    return tuple(standardised(ds) for ds in (train, *others))


def _column_statistics(x: np.ndarray, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return weighted mean and standard deviation of each column, float64; rows of weight 0 do not count."""
    w = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    if not w.all():
        x, w = x[w > 0], w[w > 0]
    w = w / w.sum()
    blocks = [slice(i, i + ROWS_AT_A_TIME) for i in range(0, len(x), ROWS_AT_A_TIME)]
    mean = sum((w[b] @ x[b].astype(np.float64) for b in blocks), np.zeros(x.shape[1]))
    variance = sum((w[b] @ (x[b] - mean) ** 2 for b in blocks), np.zeros(x.shape[1]))
    low, high = x.min(axis=0), x.max(axis=0)
    constant = (low == high) | (variance == 0)
    return np.where(low == high, low, mean), np.where(constant, 1.0, np.sqrt(variance))


def class_weights(ds: Dataset, weights: Any = "balanced") -> Dataset:
    """Multiply the weight of every example by the weight of its class.

    Args:
      ds: a data set with classes.
      weights: K numbers >= 0, not all 0; or "balanced": N / (K N_k) for class k of N_k examples, or of total
        weight N_k: every class then counts the same. A class without examples gets 0.

    Raises:
      ConfigError: not a `Dataset`, regression, or not such weights.
      ShapeError: not one weight a class.

    Example:
      >>> from jaxnn import data
      >>> ds = data.dataset([[0.0], [1.0], [2.0], [3.0]], [0, 0, 0, 1], num_classes=2)
      >>> data.class_weights(ds, (1.0, 3.0)).batch.weight.tolist()
      [1.0, 1.0, 1.0, 3.0]

    References:
      G. King and L. Zeng, Logistic Regression in Rare Events Data (2001), section 4.2.
    """
    who = "data.class_weights"
    _check_dataset(who, ds)
    num_classes = ds.schema.num_classes
    if num_classes is None:
        raise ConfigError(f"{who}: the data have classes; got {ds!r}; pass weight= to data.dataset")
    y = np.asarray(ds.batch.y)
    old = np.ones(len(y)) if ds.batch.weight is None else np.asarray(ds.batch.weight, np.float64)
    if isinstance(weights, str):
        check_choice(who, "weights", weights, ["balanced"])
        totals = np.bincount(y, old, minlength=num_classes)
        per_class = np.divide(old.sum(), num_classes * totals, out=np.zeros(num_classes), where=totals > 0)
    else:
        per_class = as_numbers(who, "weights", weights)
        if per_class.shape != (num_classes,):
            raise ShapeError(
                f"{who}: weights are one number a class; got shape {per_class.shape}; pass {num_classes} of them"
            )
        check_weight(who, per_class)
    weight = (old * per_class[y]).astype(ds.batch.x.dtype)
    check_weight(who, weight)
    return Dataset(ds.batch._replace(weight=jax.device_put(weight)), ds.schema)


def _check_dataset(who: str, ds: Any) -> None:
    if not isinstance(ds, Dataset):
        raise ConfigError(f"{who}: data are a Dataset; got {type(ds).__name__}; make one with data.dataset(x, y)")
