"""What y may be: class labels of several spellings, stored as int32 in [0, K), or real targets."""

import warnings
from typing import Any

import numpy as np

from jaxnn._checks import as_numbers, check_finite, check_integer
from jaxnn._errors import ConfigError, DtypeError, LabelError, ShapeError

MAP_TEXT = "number text labels with names, y = np.unique(y, return_inverse=True) and pass class_names=names"


def as_targets(who: str, y: Any) -> np.ndarray:
    """Return y as a host array of numbers, booleans or text; the last two only make sense as labels."""
    try:
        a = np.asarray(y)
    except ValueError:
        return as_numbers(who, "y", y)  # says what is wrong
    return a if a.dtype.kind in "bOUST" else as_numbers(who, "y", y)


def real_targets(who: str, y: np.ndarray) -> np.ndarray:
    """Return y; raise unless it holds floating-point targets `[N]` or `[N, K]`."""
    if y.dtype.kind in "iubOUST":
        hint = MAP_TEXT if y.dtype.kind in "OUST" else "for regression pass y.astype('float32')"
        raise ConfigError(
            f"{who}: without num_classes, y holds floating-point targets; got y.dtype={y.dtype}, "
            f"num_classes=None; for classes pass num_classes=K or num_classes='infer'; {hint}"
        )
    if y.ndim > 2:
        raise ShapeError(f"{who}: targets are [N] or [N, K]; got y.shape={y.shape}; use y.reshape(len(y), -1)")
    return y


def class_codes(
    who: str, y: np.ndarray, num_classes: Any, labels: str, absent: np.ndarray | None
) -> tuple[np.ndarray, int]:
    """Return labels as int32 in [0, K), and K. An illegal label of an absent row becomes 0."""
    if y.ndim != 1:
        raise ShapeError(
            f"{who}: y is one label an example; got y.shape={y.shape}; use y.argmax(axis=1) on one-hot rows"
        )
    if y.dtype.kind not in "iufb":
        raise DtypeError(f"{who}: labels are integers; got y.dtype={y.dtype}; {MAP_TEXT}")
    check_finite(who, "y", y, absent)
    y = y.astype(np.int8) if y.dtype.kind == "b" else y
    present = np.ones(len(y), bool) if absent is None else ~absent

    if labels == "pm1":
        if num_classes not in (None, 2, "infer"):
            raise ConfigError(f"{who}: labels='pm1' are 2 classes; got num_classes={num_classes!r}; pass 2")
        legal = (y == -1) | (y == 1)
        _raise_first(who, y, present & ~legal, "labels='pm1' are exactly -1 and +1", "use labels='index' for [0, K)")
        return (y == 1).astype(np.int32), 2

    inferred = num_classes == "infer"
    if inferred:
        num_classes = int(y[present].max()) + 1
    check_integer(who, "num_classes", num_classes, at_least=2)
    legal = (y >= 0) & (y < min(num_classes, 2**31)) & (y == np.floor(y))  # stored as int32
    _raise_first(
        who,
        y,
        present & ~legal,
        f"labels are whole numbers in [0, {num_classes})",
        "renumber them from 0 or raise num_classes; for -1 and +1 pass labels='pm1'",
    )
    if inferred:
        warnings.warn(f"{who}: num_classes={num_classes} inferred from the largest label", UserWarning, stacklevel=3)
    return np.where(legal, y, 0).astype(np.int32), int(num_classes)


def _raise_first(who: str, y: np.ndarray, illegal: np.ndarray, rule: str, hint: str) -> None:
    """Raise `LabelError` for the first illegal label, if there is one."""
    if illegal.any():
        i = int(illegal.argmax())
        raise LabelError(f"{who}: {rule}; got y[{i}]={y[i]}; {hint}")
