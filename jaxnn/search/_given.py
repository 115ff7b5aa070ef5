"""What the verbs are given: a point of floating arrays and a function of it, checked before anything is compiled."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import check_finite, is_traced
from jaxnn._errors import ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError, brief
from jaxnn._models import leaf_name
from jaxnn._types import Params, as_jax

_OURS = (ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError)

# Only its shape is asked for, and `jit` remembers that, where `jax.eval_shape` would trace again.
_value = jax.jit(lambda g, w: g(w), static_argnums=0)


def checked(who: str, g: Any, w: Any) -> Params:
    """Return w as arrays; raise unless its leaves are floating-point and g makes one floating-point number of them."""
    point = checked_point(who, w)
    check_function(who, g, point)
    return point


def checked_start(who: str, g: Any, w0: Any) -> Params:
    """Return what `checked` does; raise where a number of w0 is not finite, too."""
    point = checked(who, g, w0)
    if not is_traced(point):
        for path, leaf in jax.tree_util.tree_flatten_with_path(point)[0]:
            check_finite(who, f"w0{jax.tree_util.keystr(path)}", leaf, advice="start from finite numbers")
    return point


def checked_point(who: str, w: Any) -> Params:
    """Return w as arrays of strong dtype; raise unless every leaf holds floating-point numbers, and there is one."""
    flat = jax.tree_util.tree_flatten_with_path(w)[0]
    for path, leaf in flat:
        is_float = isinstance(leaf, float) or (
            isinstance(leaf, np.ndarray | np.generic | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
        )
        if not is_float:
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise DtypeError(
                f"{who}: w holds floating-point numbers; got {leaf_name(path) or 'w'} of type {kind}; use "
                "jnp.asarray(value, 'float32'), and let g close over what is not to be moved"
            )
    if sum(np.size(leaf) for _, leaf in flat) == 0:
        raise ShapeError(f"{who}: there is a number to move; got w={brief(w)}; pass a pytree of arrays")
    return jax.tree.map(lambda leaf: as_jax(leaf, jnp.result_type(leaf)), w)


def check_function(who: str, g: Any, w: Params) -> None:
    """Raise unless g is a function of w that JAX can trace, to one floating-point number. Only shapes are computed."""
    if not callable(g):
        raise ConfigError(f"{who}: g is a function of w; got g={brief(g)}; pass lambda w: objective(w, batch), say")
    try:
        hash(g)
    except TypeError as error:
        raise ConfigError(
            f"{who}: g is compiled in, so it is hashable; got g={type(g).__name__}; pass lambda w: g(w)"
        ) from error
    try:
        out = _value.eval_shape(g, w)
    except _OURS:
        raise
    except Exception as error:  # a user's function may raise anything: say which, and keep the cause
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ConfigError(
            f"{who}: g is a function of w that JAX can trace; got {type(error).__name__}: {reason}; write it with "
            "jax.numpy for a w like this one, or wrap it in jax.pure_callback (the cause stands above)"
        ) from error
    if getattr(out, "shape", None) != ():
        got = f"shape {out.shape}" if hasattr(out, "shape") else brief(out)
        raise ShapeError(f"{who}: g returns one number; got {got}; return its sum, or its mean")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise DtypeError(f"{who}: g returns a floating-point number; got {out.dtype}; cast it with .astype('float32')")


def value_dtype(g: Callable[[Any], Any], w: Params) -> Any:
    """Return the dtype of g(w); nothing is computed."""
    return _value.eval_shape(g, w).dtype
