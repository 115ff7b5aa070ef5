"""Disjoint parts of a data set, each with its share of every class."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from jaxnn._checks import check_integer, check_leading_axis, check_weight
from jaxnn._errors import ConfigError
from jaxnn._types import Batch
from jaxnn.data._dataset import Dataset
from jaxnn.data._memory import empty

Data = TypeVar("Data", Dataset, Batch)


def split(ds: Data, fractions: Sequence[float], *, seed: int = 0, stratify: bool = True) -> tuple[Data, ...]:
    """Split the examples into disjoint parts that together hold each example once, in random order.

    Args:
      ds: a `Dataset`, or a `Batch`.
      fractions: the share of each part, each in (0, 1), together 1.
      seed: a whole number >= 0. The split depends on it, the labels and the fractions only.
      stratify: give each part its share of every class, within one example; real targets have no classes.

    Returns:
      One data set a part. The sizes are N * fraction, rounded by the largest remainder.

    Raises:
      ConfigError: fractions are not such shares, or a part would be empty.

    Warns:
      UserWarning: a part has fewer examples than there are classes.

    Example:
      >>> from jaxnn import data
      >>> ds = data.load("xor", num_examples=100)
      >>> [len(part) for part in data.split(ds, (0.7, 0.15, 0.15))]
      [70, 15, 15]

    References:
      Largest remainder: M. Balinski and H. P. Young, Fair Representation (1982), appendix A.
    """
    who = "data.split"
    shares = _checked_fractions(who, fractions)
    check_integer(who, "seed", seed, at_least=0)
    batch, num_rows = batch_of(who, ds)
    y = np.asarray(batch.y)
    has_classes = stratify and y.ndim == 1 and y.dtype.kind in "iu"
    strata = np.unique(y, return_inverse=True)[1] if has_classes else np.zeros(num_rows, int)

    rng = np.random.default_rng(seed)
    counts = _part_counts(np.bincount(strata), shares, rng)
    sizes = counts.sum(axis=0)
    if not sizes.all():
        raise ConfigError(
            f"{who}: every part has an example; got {num_rows} examples in parts of {sizes.tolist()}; "
            "use larger fractions or more examples"
        )
    if sizes.min() < len(counts):
        warnings.warn(
            f"{who}: {len(counts)} classes are more than the {sizes.min()} examples of a part",
            UserWarning,
            stacklevel=2,
        )
    parts = [[] for _ in shares]
    for stratum, row in enumerate(counts):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        for part, chunk in zip(parts, np.split(members, np.cumsum(row)[:-1]), strict=True):
            part.append(chunk)
    return tuple(_gather(who, ds, rng.permutation(np.concatenate(part))) for part in parts)


def take(ds: Data, indices: Any) -> Data:
    """Return the examples at the indices, in that order; an index may come twice.

    Args:
      ds: a `Dataset`, or a `Batch`.
      indices: `int[M]` in [0, N), M >= 1.

    Raises:
      ConfigError: indices are not such whole numbers, or only rows of weight 0 are taken.

    Example:
      >>> from jaxnn import data
      >>> ds = data.dataset([[0.0], [1.0], [2.0]], [0, 1, 0], num_classes=2)
      >>> data.take(ds, [2, 0]).batch.x.ravel().tolist()
      [2.0, 0.0]
    """
    who = "data.take"
    _, num_rows = batch_of(who, ds)
    idx = np.asarray(indices)
    if idx.ndim != 1 or idx.dtype.kind not in "iu" or not idx.size:
        raise ConfigError(
            f"{who}: indices are a list of whole numbers; got shape {idx.shape} of {idx.dtype}; "
            "use np.flatnonzero(mask) for a mask, [i] for one example"
        )
    if idx.min() < 0 or idx.max() >= num_rows:
        worst = idx.min() if idx.min() < 0 else idx.max()
        raise ConfigError(f"{who}: indices lie in [0, {num_rows}); got {worst}; count from 0 and not from the end")
    return _gather(who, ds, idx)


def batch_of(who: str, ds: Any) -> tuple[Batch, int]:
    """Return the examples and their number."""
    batch = ds.batch if isinstance(ds, Dataset) else ds
    if not isinstance(batch, Batch):
        raise ConfigError(f"{who}: data are a Dataset or a Batch; got {type(ds).__name__}; use data.dataset(x, y)")
    return batch, check_leading_axis(who, batch.x, batch.y, batch.weight)


def _gather(who: str, ds: Dataset | Batch, indices: np.ndarray) -> Any:
    """Return the rows at checked indices. On the host: nothing is compiled for each new size."""

    def gather(leaf):
        a = np.asarray(leaf)
        return jax.device_put(np.take(a, indices, 0, out=empty(indices.shape + a.shape[1:], a.dtype), mode="clip"))

    rows = jax.tree.map(gather, ds.batch if isinstance(ds, Dataset) else ds)
    check_weight(who, rows.weight)
    return Dataset(rows, ds.schema) if isinstance(ds, Dataset) else rows


def _checked_fractions(who: str, fractions: Sequence[float]) -> np.ndarray:
    shares = np.asarray(fractions)
    legal = shares.ndim == 1 and shares.dtype.kind == "f" and np.all((shares > 0) & (shares < 1))
    if not legal or not math.isclose(shares.sum(), 1.0, rel_tol=0, abs_tol=1e-9):
        raise ConfigError(
            f"{who}: fractions lie in (0, 1) and sum to 1; got fractions={fractions!r}; pass e.g. (0.8, 0.2)"
        )
    return shares / shares.sum()


def _part_counts(class_counts: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how many examples of each class go to each part, `int[classes, parts]`.

    Every count is within 1 of its share, every class is complete, and the parts have the sizes of
    the largest remainder of N. Each count is first rounded down; then each class gives its left-over examples
    to the parts that are farthest from their size and, among these, to the largest remainders.
    """
    ideal = np.round(np.outer(class_counts, shares), 9)  # 10 * 0.7 is 7.000000000000001
    counts = np.floor(ideal).astype(int)
    remainders = ideal - counts
    sizes = _largest_remainder(int(class_counts.sum()), shares)
    for k in rng.permutation(len(counts)):
        left_over = class_counts[k] - counts[k].sum()
        needs = sizes - counts.sum(axis=0) + remainders[k]
        counts[k, np.argsort(-needs, kind="stable")[:left_over]] += 1
    return counts


def _largest_remainder(total: int, shares: np.ndarray) -> np.ndarray:
    """Return whole sizes that sum to total: shares rounded down, the rest to the largest remainders."""
    ideal = np.round(total * shares, 9)
    sizes = np.floor(ideal).astype(int)
    sizes[np.argsort(sizes - ideal, kind="stable")[: total - sizes.sum()]] += 1
    return sizes
