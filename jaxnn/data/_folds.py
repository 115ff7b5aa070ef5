"""Cross-validation and the bootstrap as weights of the examples: one compiled program serves every fold."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnn._checks import check_integer
from jaxnn._errors import ConfigError
from jaxnn.data._split import batch_of


class Folds(NamedTuple):
    """Which examples a run learns from, and which ones judge it: one row a fold; 0 means absent.

    Attributes:
      train: `float32[S, N]`, weights of the examples to learn from.
      hold_out: `float32[S, N]`, weights of those that judge.
    """

    train: Float[np.ndarray, "S N"]
    hold_out: Float[np.ndarray, "S N"]


def k_fold(ds: Any, k: int, *, seed: int = 0, stratify: bool = True) -> Folds:
    """Return k folds: each example judges in one of them, and is learnt from in all others.

    Args:
      ds: a `Dataset` or `Batch` of N examples; its weights count in both.
      k: in [2, N].
      seed: a whole number >= 0.
      stratify: give each fold its share of every class, within one example.

    Raises:
      ConfigError: k out of range, or a fold in which no example with a weight would be left.

    Example:
      >>> from jaxnn import data
      >>> folds = data.k_fold(data.load("iris"), 5)
      >>> folds.train.shape, folds.hold_out.sum(axis=1).tolist()
      ((5, 150), [30.0, 30.0, 30.0, 30.0, 30.0])
    """
    who = "data.k_fold"
    batch, n = batch_of(who, ds)
    check_integer(who, "k", k, at_least=2, at_most=n)
    check_integer(who, "seed", seed, at_least=0)
    y, rng = np.asarray(batch.y), np.random.default_rng(seed)
    has_classes = stratify and y.ndim == 1 and y.dtype.kind in "iu"
    order = rng.permutation(n)
    if has_classes:  # dealt out class by class, like cards
        order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(n, int)
    fold[order] = np.arange(n) % k
    judges = fold == np.arange(k)[:, None]
    return _weighted(who, batch, ~judges, judges)


def bootstrap(ds: Any, count: int, *, seed: int = 0) -> Folds:
    """Return resamples: N examples drawn with replacement to learn from; those that were not drawn judge.

    Args:
      ds: a `Dataset` or `Batch` of N examples; its weights count in both.
      count: S, how many, >= 1.
      seed: a whole number >= 0.

    Raises:
      ConfigError: count out of range, or a resample in which no example with a weight would be left.

    Example:
      >>> from jaxnn import data
      >>> resamples = data.bootstrap(data.load("iris"), 100)
      >>> resamples.train.sum(axis=1)[:3].tolist()
      [150.0, 150.0, 150.0]

    References: Efron & Tibshirani 1997, "Improvements on cross-validation: the .632+ bootstrap method".
    """
    who = "data.bootstrap"
    batch, n = batch_of(who, ds)
    check_integer(who, "count", count, at_least=1)
    check_integer(who, "seed", seed, at_least=0)
    rng = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)])
    return _weighted(who, batch, drawn, drawn == 0)


def _weighted(who: str, batch: Any, train: np.ndarray, hold_out: np.ndarray) -> Folds:
    weight = np.ones(train.shape[1], np.float32) if batch.weight is None else np.asarray(batch.weight, np.float32)
    folds = Folds(np.float32(train) * weight, np.float32(hold_out) * weight)
    for name, rows in zip(Folds._fields, folds, strict=True):
        empty = np.flatnonzero(~rows.any(axis=1))
        if empty.size:
            raise ConfigError(
                f"{who}: every fold has examples on both sides; got none for {name} in fold {empty[0]} of {len(rows)}; "
                "use fewer folds, another seed, or more examples"
            )
    return folds
