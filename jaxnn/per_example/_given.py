"""What the functions are given: checked and made arrays before anything is compiled, or refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._checks import as_numbers, check_integer, check_number, is_traced
from jaxnn._door import batch_arrays, check_one_example, classes_of, param_arrays, strong
from jaxnn._errors import ConfigError, DtypeError, ShapeError, brief
from jaxnn._types import Batch, Params, scalar
from jaxnn.per_example._noise import NoiseScale
from jaxnn.per_example._rows import wide

MEMORY = 2**31  # bytes


def checked(who: str, objective: Any, params: Params, batch: Any, at_least: int = 0) -> tuple[Any, Params, Batch]:
    """Return objective, parameters and batch as arrays; raise where they do not fit. Values are not looked at."""
    params = param_arrays(who, objective, params)
    batch = batch_arrays(who, objective, params, batch, at_least)
    check_one_example(who, objective, params, batch, classes_of(who, objective, params, batch.x))
    return strong(objective), params, batch


def checked_max_norm(who: str, max_norm: Any) -> Array:
    """Return max_norm as an array; raise unless it is a number >= 0, infinity included."""
    kinds = int | float | np.number | np.ndarray | jax.Array
    is_number = isinstance(max_norm, kinds) and not isinstance(max_norm, bool)
    if not is_number or (not is_traced(max_norm) and not (np.ndim(max_norm) == 0 and float(max_norm) >= 0)):
        raise ConfigError(
            f"{who}: max_norm is a number >= 0, or infinity; got max_norm={brief(max_norm)}; pass one: "
            "per_example.norms tells which norms there are"
        )
    if jnp.ndim(max_norm) != 0:
        raise ShapeError(f"{who}: max_norm is one number; got shape {jnp.shape(max_norm)}; use jax.vmap for many")
    return scalar(max_norm, jnp.promote_types(jnp.result_type(max_norm), jnp.float32))


def checked_memory(who: str, memory: Any) -> int:
    """Return memory as a number of bytes; raise unless it is a whole one >= 1."""
    return check_integer(who, "memory", memory, at_least=1)


def checked_numbers(who: str, c: Any, n: int) -> Array:
    """Return c as an array, float32 or wider; raise unless it is one number an example."""
    c = wide(_real(who, "c", c))
    if c.shape != (n,):
        raise ShapeError(f"{who}: c is one number an example; got c.shape={c.shape}, N={n}; pass shape ({n},)")
    return c


def checked_direction(who: str, params: Params, direction: Any) -> Params:
    """Return a direction as arrays; raise where it is no tree like the parameters, or not of their shapes."""
    same = jax.tree.structure(params) == jax.tree.structure(direction)
    if not same or [a.shape for a in jax.tree.leaves(params)] != list(map(np.shape, jax.tree.leaves(direction))):
        raise ShapeError(
            f"{who}: a direction is a tree like the parameters; got {brief(jax.tree.map(np.shape, direction))}; pass a "
            "gradient, say"
        )
    return jax.tree.map(lambda leaf: _real(who, "direction", leaf), direction)


def _real(who: str, name: str, value: Any) -> Array:
    """Return value as an array; raise `DtypeError` for what does not hold integers, floats, or a mask."""
    a = value if hasattr(value, "dtype") else as_numbers(who, name, value)
    if not any(jnp.issubdtype(a.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise DtypeError(f"{who}: {name} holds integers or floats; got {name}={brief(value)}; take the real part, say")
    return jnp.asarray(a)


def check_smoothing(who: str, previous: Any, decay: Any) -> None:
    """Raise unless these say how to smooth a noise scale."""
    if previous is not None and not isinstance(previous, NoiseScale):
        raise ConfigError(
            f"{who}: previous is what an earlier call returned; got {type(previous).__name__}; pass that, or None"
        )
    check_number(who, "decay", decay, at_most=1)
