"""The door of every verb: parameters, objective and data are checked on the host and made plain arrays, once.

Behind the door nothing can raise, so what passes is right: shapes and labels fit the model, numbers are finite, dtypes
are strong (a Python float and an array would otherwise compile two programs).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import (
    as_numbers,
    check_finite,
    check_labels,
    check_leading_axis,
    check_number,
    check_positive,
    check_same_tree,
    check_weight,
    is_traced,
)
from jaxnn._errors import ConfigError, DtypeError, NonFiniteError, ShapeError, in_the_name_of
from jaxnn._likelihoods import Gaussian
from jaxnn._models import Mlp, leaf_name
from jaxnn._objectives import LogLikelihood, without_absent
from jaxnn._types import Batch, Likelihood, Objective, Params, as_jax, one_example, scalar
from jaxnn.data import Dataset

# Only their shapes are asked for, many times: `jit` remembers them, `jax.eval_shape` would trace again, 2 ms a call.
_initial_params = jax.jit(lambda model: model.init(0), static_argnums=0)
_log_prob = jax.jit(lambda objective, params, x, y: objective.per_example(params, x, y))


def strong(objective: Any) -> Any:
    """Return the objective with its numbers as float arrays, so that a new value never recompiles."""
    return jax.tree.map(lambda leaf: scalar(leaf, jax.dtypes.canonicalize_dtype(float)), objective)


def param_dtype(params: Params) -> jnp.dtype:
    """Return the dtype of the parameters: the widest of their leaves."""
    return jnp.result_type(*jax.tree.leaves(params))


def check_objective(who: str, objective: Any) -> None:
    """Raise `ConfigError` unless this is an objective."""
    if not isinstance(objective, Objective):
        raise ConfigError(
            f"{who}: objective is a log likelihood; got objective={type(objective).__name__}; "
            "pass jaxnn.LogLikelihood(model, likelihood) or jaxnn.from_function(log_prob)"
        )


def checked_params(who: str, objective: Any, params: Params) -> Params:
    """Return the parameters as arrays; raise where they are no floating-point pytree that fits the model, or not
    finite.
    """
    arrays = param_arrays(who, objective, params)
    if not is_traced(params):
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
            check_finite(who, f"params.{leaf_name(path)}", leaf, advice="start from finite parameters")
    return arrays


def param_arrays(who: str, objective: Any, params: Params) -> Params:
    """Return the parameters as arrays; raise where they are no floating-point pytree that fits the model. Values are
    not looked at.
    """
    check_objective(who, objective)
    _check_numbers(who, objective)
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    if not flat:
        raise ShapeError(f"{who}: there are parameters; got params={params!r}; build them with model.init(key)")
    for path, leaf in flat:
        name = leaf_name(path) or "params"
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise DtypeError(
                f"{who}: every parameter is a floating-point array; got {name} of type {kind}; use jnp.asarray(value, "
                "'float32')"
            )
    model = getattr(objective, "model", None)
    if isinstance(model, Mlp):
        check_same_tree(who, "parameters", params, _initial_params.eval_shape(model))
    return jax.tree.map(as_jax, params)


def _check_numbers(who: str, objective: Any) -> None:
    """Raise `ConfigError` where the likelihood or the penalty of an objective is none, or it is no pytree."""

    def holds_numbers(tree: Any) -> bool:
        return all(np.isscalar(leaf) or hasattr(leaf, "dtype") for leaf in jax.tree.leaves(tree))

    if isinstance(objective, LogLikelihood):
        if not isinstance(objective.likelihood, Likelihood) or not holds_numbers(objective.likelihood):
            raise ConfigError(
                f"{who}: a likelihood has classes, log_prob, predict and predict_proba, and is a pytree of numbers; "
                f"got likelihood={objective.likelihood!r}; pass jaxnn.categorical, say, or register yours with "
                "jax.tree_util.register_dataclass"
            )
        if isinstance(objective.likelihood, Gaussian):
            check_positive(who, "scale", objective.likelihood.scale)
    if hasattr(objective, "l2"):
        check_number(who, "l2", objective.l2)
    if not holds_numbers(objective):
        raise ConfigError(
            f"{who}: an objective is a pytree of numbers; got objective={type(objective).__name__}; register your "
            "class with jax.tree_util.register_dataclass"
        )


def checked_batch(who: str, objective: Any, params: Params, data: Any) -> Batch:
    """Return a `Dataset` or `Batch` as arrays in the dtype of the parameters; raise where it does not fit the
    objective.

    The values of a `Dataset` were checked when it was made and are not read again.
    """
    params = checked_params(who, objective, params)
    known_good = isinstance(data, Dataset)
    x, y, weight = batch_arrays(who, objective, params, data)
    num_classes = classes_of(who, objective, params, x)
    if not known_good:
        check_weight(who, weight)
    if weight is not None and (is_traced(weight) or not np.asarray(weight).all()):
        x, y, weight = _blanked(Batch(x, y, weight))
    if not known_good:
        _check_values(who, x, y, num_classes)
    elif num_classes is not None and data.schema.num_classes is not None and data.schema.num_classes > num_classes:
        raise ConfigError(
            f"{who}: the model tells apart all classes of the data; got {num_classes} classes for data with "
            f"{data.schema.num_classes}; give the model {data.schema.num_classes} outputs"
        )
    check_one_example(who, objective, params, Batch(x, y), num_classes)
    return Batch(x, y, weight)


def _blanked(batch: Batch) -> Batch:
    """Return `without_absent(batch)`; of concrete arrays on the host, so that nothing is compiled before a check."""
    if is_traced(batch):
        return without_absent(batch)
    present = np.asarray(batch.weight) > 0
    rows = np.where(present, np.arange(len(present)), present.argmax())
    x, y = jax.tree.map(lambda a: as_jax(np.asarray(a)[rows]), (batch.x, batch.y))
    return Batch(x, y, batch.weight)


def batch_arrays(who: str, objective: Any, params: Params, data: Any, at_least: int = 1) -> Batch:
    """Return a `Dataset` or `Batch` as arrays in the dtype of the parameters; raise where they are no numbers, or have
    not one row an example, or too few rows. Values are not looked at.
    """
    batch = data.batch if isinstance(data, Dataset) else data
    if not isinstance(batch, Batch):
        raise ConfigError(
            f"{who}: data is a Dataset or a Batch; got {type(data).__name__}; pass jaxnn.data.dataset(x, y, "
            "num_classes=K) or jaxnn.Batch(x, y)"
        )
    dtype = param_dtype(params)
    x = as_inputs(who, objective, params, batch.x)
    is_list = isinstance(batch.y, list) and not is_traced(batch.y)
    y = as_numbers(who, "y", batch.y) if is_list else batch.y  # a list is labels, not a tree of them
    y = jax.tree.map(lambda a: _numeric(who, "y", a, dtype, cast_integers=False), y)
    wide = jnp.promote_types(dtype, jnp.float32)  # a weight of 257 is 256 in bfloat16
    weight = None if batch.weight is None else _numeric(who, "weight", batch.weight, wide, cast_integers=True)
    check_leading_axis(who, x, y, weight, at_least)
    return Batch(x, y, weight)


def as_inputs(who: str, objective: Any, params: Params, x: Any) -> Any:
    """Return x as arrays, floating-point ones in the dtype of the parameters; raise where it holds no numbers.

    Integers are cast for an `Mlp` and left alone for any other model: they may be tokens.
    """
    model = getattr(objective, "model", None)
    is_mlp = isinstance(model, Mlp)
    x = jax.tree.map(lambda a: _numeric(who, "x", a, param_dtype(params), cast_integers=is_mlp), x)
    if is_mlp and model.features is None and (shape := getattr(x, "shape", ())) and shape[1:] != model.sizes[:1]:
        raise ShapeError(
            f"{who}: the model reads D={model.sizes[0]} features; got x.shape={shape}; pass x of shape "
            f"[N, {model.sizes[0]}], or build the model for the features there are"
        )
    return x


def _numeric(who: str, name: str, value: Any, dtype: Any, *, cast_integers: bool) -> jax.Array:
    a = value if isinstance(value, jax.Array) else np.asarray(value)
    real = jnp.issubdtype(a.dtype, jnp.floating) or jnp.issubdtype(a.dtype, jnp.integer)
    # To NumPy a duration is an integer; and the mask of a masked array would be lost.
    if not real or a.dtype.kind == "m" or isinstance(value, np.ma.MaskedArray):
        kind = "a masked array" if isinstance(value, np.ma.MaskedArray) else f"{name}.dtype={a.dtype}"
        raise DtypeError(f"{who}: {name} holds numbers; got {kind}; convert it to numbers first")
    if jnp.issubdtype(a.dtype, jnp.floating) or cast_integers:
        return as_jax(a, dtype)
    # 64-bit labels are checked before they are narrowed: 2**32 must not become 0
    if not is_traced(a) and a.dtype.itemsize > 4 and a.size and (a.max() > 2**31 - 1 or a.min() < -(2**31)):
        i = tuple(np.argwhere((a > 2**31 - 1) | (a < -(2**31)))[0].tolist())
        index = ", ".join(map(str, i))
        raise DtypeError(f"{who}: integers fit in 32 bits; got {name}[{index}]={a[i]}; renumber them")
    return as_jax(a, jnp.int32 if name == "y" else None)


def _check_values(who: str, x: Any, y: Any, num_classes: int | None) -> None:
    if is_traced(x, y):
        return
    for path, leaf in jax.tree_util.tree_flatten_with_path(x)[0]:
        check_finite(who, f"x{jax.tree_util.keystr(path)}", leaf)
    for leaf in jax.tree.leaves(y):
        check_finite(who, "y", leaf)
        if num_classes is not None:
            check_labels(who, leaf, num_classes)


def classes_of(who: str, objective: Any, params: Params, x: Any) -> int | None:
    """Return how many classes the model tells apart, None for real targets; raise where it cannot read x."""
    with in_the_name_of(who):
        return objective.classes(params, one_example(x))


def check_one_example(who: str, objective: Any, params: Params, batch: Batch, num_classes: int | None) -> None:
    """Raise unless log P of one example is a floating-point scalar, and labels of classes are integers. Only shapes are
    computed.
    """
    one, one_y = one_example(batch.x), one_example(batch.y)
    dtype = jax.tree.leaves(one_y)[0].dtype
    if num_classes is not None and not jnp.issubdtype(dtype, jnp.integer):
        raise DtypeError(f"{who}: y holds integer labels; got y.dtype={dtype}; cast with y.astype('int32')")
    try:
        with in_the_name_of(who):
            out = _log_prob.eval_shape(objective, params, one, one_y)
    except (ShapeError, ConfigError, DtypeError, NonFiniteError):
        raise
    except Exception as error:  # a user's function may raise anything: say which call failed, and keep the cause
        shapes = f"x {[a.shape for a in jax.tree.leaves(one)]}, y {[a.shape for a in jax.tree.leaves(one_y)]}"
        raise ShapeError(
            f"{who}: log_prob works on one example; got {type(error).__name__} for shapes {shapes}; "
            "write it for one example, without a batch axis (the cause stands above)"
        ) from error
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ShapeError(
            f"{who}: log P of one example is a floating-point scalar; got {out}; sum over anything but the batch"
        )
