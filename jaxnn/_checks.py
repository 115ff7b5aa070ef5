"""Checks on the host, before anything is compiled: the small validators that raise the typed errors of `_errors`.

Compiled code cannot raise, so what is not checked here is not checked at all. Tracers pass: under `jit` or `vmap` the
caller has already promised concrete shapes, and values are unknown.
"""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxnn._errors import ConfigError, DtypeError, LabelError, NonFiniteError, ShapeError, brief, suggest

# Programs compute in float32 by default: beyond the first it has only infinity, below the second XLA has only 0.
LARGEST, SMALLEST = 3.4e38, 1.2e-38


def is_traced(*values: Any) -> bool:
    """Return whether any leaf is a tracer, so that its value cannot be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_choice(who: str, name: str, value: Any, known: Iterable[str]) -> None:
    """Raise `ConfigError` unless value is one of the known words."""
    known = list(known)
    if value not in known:
        raise ConfigError(f"{who}: {name} is one of {', '.join(known)}; got {name}={value!r}; {suggest(value, known)}")


def check_flag(who: str, name: str, value: Any) -> None:
    """Raise `ConfigError` unless value is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{who}: {name} is True or False; got {name}={value!r}; pass one of them")


def check_integer(who: str, name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """Return value as an int; raise `ConfigError` for anything that is no whole number in [at_least, at_most]."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ConfigError(
            f"{who}: {name} is a whole number >= {at_least}; got {name}={value!r}; pass an int, {at_least} or more"
        )
    if at_most is not None and value > at_most:
        raise ConfigError(f"{who}: {name} is at most {at_most:,}; got {name}={value:,}; pass a smaller one")
    return int(value)


def check_number(who: str, name: str, value: Any, *, at_least: float = 0.0, at_most: float = math.inf) -> None:
    """Raise `ConfigError` unless value is a finite number in [at_least, at_most]; a traced value passes."""
    if is_traced(value):
        return
    number = isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(value, bool)
    number = number and np.ndim(value) == 0 and _is_real(np.asarray(value).dtype)
    if not number or not math.isfinite(float(value)) or not at_least <= float(value) <= at_most:
        top = "" if at_most == math.inf else f" and <= {at_most:g}"
        raise ConfigError(
            f"{who}: {name} is a finite number >= {at_least:g}{top}; got {name}={value!r}; pass such a number"
        )
    if float(value) > LARGEST:
        raise ConfigError(f"{who}: {name} is finite in float32, too; got {name}={value!r}; pass a smaller one")


def check_positive(who: str, name: str, value: Any) -> None:
    """Raise `ConfigError` unless value is a finite number > 0; a traced value passes."""
    try:
        check_number(who, name, value)
        positive = is_traced(value) or float(value) >= SMALLEST
    except ConfigError:
        positive = False
    if not positive:
        raise ConfigError(
            f"{who}: {name} is a finite number > 0, in float32, too; got {name}={value!r}; pass such a number"
        )


def check_key(who: str, key: Any) -> None:
    """Raise unless key is one typed key, or an int seed in [0, 2³²)."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        if not 0 <= key < 2**32:
            raise ConfigError(f"{who}: a seed lies in [0, 2**32); got key={key}; pass one of these: others would wrap")
        return
    if not isinstance(key, jax.Array) or not jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ConfigError(
            f"{who}: key is an int seed or a typed key; got key={brief(key)}; pass 0, or jax.random.key(0)"
        )
    if key.shape != ():
        raise ShapeError(f"{who}: key is a single key; got key.shape={key.shape}; pass one of them, or use jax.vmap")


def as_key(who: str, key: Any) -> jax.Array:
    """Return a typed random key from a typed key or an int seed in [0, 2³²)."""
    check_key(who, key)
    return key if isinstance(key, jax.Array) else jax.random.key(int(key))


def check_leading_axis(who: str, x: Any, y: Any, weight: Any = None, at_least: int = 1) -> int:
    """Return N; raise `ShapeError` unless every array of x and y has the same number of rows, and enough of them."""
    leaves, targets = jax.tree.leaves(x), [np.asarray(y)] if isinstance(y, list) else jax.tree.leaves(y)
    if not leaves or any(np.ndim(leaf) == 0 for leaf in leaves):
        raise ShapeError(
            f"{who}: x holds one row an example; got x={brief(x)}; pass an array of shape [N, D], or [1, D] for one "
            "example"
        )
    rows = leaves[0].shape[0]
    if any(leaf.shape[0] != rows for leaf in leaves):
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise ShapeError(f"{who}: all arrays of x have the same number of rows; got shapes {shapes}; align them")
    if not targets:
        raise ShapeError(f"{who}: y holds one label or target an example; got y={y!r}; pass an array of shape [N]")
    for target in targets:
        if np.ndim(target) == 0 or np.shape(target)[0] != rows:
            raise ShapeError(
                f"{who}: x and y have one row an example; got x.shape={leaves[0].shape}, y.shape={np.shape(target)}; "
                "make the first axes equal"
            )
    if weight is not None and np.shape(weight) != (rows,):
        raise ShapeError(
            f"{who}: weight is one number an example; got weight.shape={np.shape(weight)}, N={rows}; pass shape "
            f"({rows},)"
        )
    if rows < at_least:
        raise ShapeError(f"{who}: there is at least one example; got x.shape={leaves[0].shape}; pass some rows")
    return rows


def check_weight(who: str, weight: Any) -> None:
    """Raise unless weights are finite, not negative, and their sum is a number to divide by."""
    if weight is None or is_traced(weight):
        return
    w = np.asarray(weight)
    bad = np.flatnonzero(~np.isfinite(w))
    if bad.size:
        raise NonFiniteError(f"{who}: weights are finite; got weight[{bad[0]}]={w[bad[0]]}; remove or repair that row")
    bad = np.flatnonzero(w < 0)
    if bad.size:
        raise ConfigError(f"{who}: weights are not negative; got weight[{bad[0]}]={w[bad[0]]}; use 0 for an absent row")
    if not w.any():
        raise ConfigError(f"{who}: some weight is positive; got all {w.size} weights 0; give some row a weight")
    total, limits = float(np.sum(w, dtype=np.float64)), np.finfo(np.float64 if w.dtype == np.float64 else np.float32)
    if w.max() < limits.tiny or total > float(limits.max):  # the sum would be 0, or infinite, where it is computed
        raise ConfigError(
            f"{who}: weights sum to a number that can be divided by; got a sum of {total:.2g}, the largest {w.max()}; "
            "scale them: only their ratios count"
        )


def check_finite(
    who: str,
    name: str,
    value: Any,
    absent: np.ndarray | None = None,
    advice: str = "drop the row or fill the value first",
) -> None:
    """Raise `NonFiniteError` with the place of the first NaN or infinity; rows marked absent may hold anything."""
    a = np.asarray(value)
    if a.dtype.kind in "iub" or (absent is None and square_is_finite(a)):
        return
    bad = ~np.isfinite(a)
    if absent is not None:
        bad[absent] = False
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        index = ", ".join(map(str, where))
        raise NonFiniteError(f"{who}: {name} is finite; got {name}[{index}]={a[where]}; {advice}")


def square_is_finite(a: np.ndarray) -> bool:
    """Return whether the sum of squares of an array is finite, which it is only if every number is.

    One product is far cheaper than a mask of booleans, and than a sum: BLAS does it at the speed of the memory. The
    reverse does not hold, 1e20 is finite in float32 and its square is not: whoever gets False looks again.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if a.dtype.itemsize < 4 or not a.flags.c_contiguous:  # BLAS knows neither
            return bool(np.isfinite(np.sum(a, dtype=np.promote_types(a.dtype, np.float32))))
        return bool(np.isfinite(np.dot(a.reshape(-1), a.reshape(-1))))


def as_numbers(who: str, name: str, value: Any) -> np.ndarray:
    """Return value as a host array of integers or floats, not copied where that is possible."""
    try:
        a = np.asarray(value)
    except ValueError as error:
        raise ShapeError(
            f"{who}: {name} is one rectangular array; got rows of different lengths; make them equally long"
        ) from error
    if not _is_real(a.dtype) or isinstance(value, np.ma.MaskedArray):  # the mask would be lost
        raise DtypeError(
            f"{who}: {name} holds integers or floats; got {name}={brief(value)}; "
            "encode it as numbers first, e.g. with .astype('float32')"
        )
    return a


def check_labels(who: str, y: Any, num_classes: int) -> None:
    """Raise unless y is `int[N]` with every label in [0, num_classes)."""
    if is_traced(y):
        return
    a = np.asarray(y)
    if a.ndim != 1:
        raise ShapeError(
            f"{who}: y is one label an example; got y.shape={a.shape}; pass shape ({a.shape[0] if a.ndim else 1},)"
        )
    if a.dtype.kind not in "iu":
        raise DtypeError(f"{who}: y holds integer labels; got y.dtype={a.dtype}; cast with y.astype('int32')")
    bad = np.flatnonzero((a < 0) | (a >= num_classes))
    if bad.size:
        raise LabelError(
            f"{who}: labels lie in [0, {num_classes}); got y[{bad[0]}]={a[bad[0]]}; "
            "renumber the labels from 0, or raise num_classes"
        )


def check_same_tree(who: str, name: str, got: Any, want: Any) -> None:
    """Raise `ShapeError` naming every leaf that is missing, extra, or of another shape."""
    paths = [
        {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_flatten_with_path(t)[0]} for t in (got, want)
    ]
    problems = [f"{p} missing" for p in paths[1] if p not in paths[0]]
    problems += [f"{p} not expected" for p in paths[0] if p not in paths[1]]
    problems += [
        f"{p} has shape {np.shape(leaf)}, not {paths[1][p].shape}"
        for p, leaf in paths[0].items()
        if p in paths[1] and np.shape(leaf) != paths[1][p].shape
    ]
    if problems:
        raise ShapeError(f"{who}: {name} fit the model; got {'; '.join(problems)}; build them with model.init(key)")


def _is_real(dtype: np.dtype) -> bool:
    """Return whether a dtype holds integers or floats, bfloat16 included."""
    return dtype.kind in "iuf" or dtype == jax.numpy.bfloat16
