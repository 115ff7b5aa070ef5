"""Pytrees as named host arrays and back: every leaf by its place in the tree, as `opt_state.0.mu.0.kernel`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._errors import CheckpointError
from jaxnn._models import leaf_name
from jaxnn.checkpoint._format import CODES, METADATA

NUMBERS = {bool: "bool", int: "int64", float: "float64"}  # Python's own, and how they are stored


def flatten(who: str, tree: Any, *, copy: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the leaves as host arrays by name, and the implementation of each random key among them.

    Args:
      who: for the message of an error.
      tree: arrays of numbers, typed random keys, Python numbers.
      copy: whether nothing that happens to the tree later, a donation included, may change what is returned.

    Raises:
      CheckpointError: a leaf is none of these, is spread over processes, or two have one name.
    """
    named: dict[str, np.ndarray] = {}
    keys: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(who, path)
        if name in named:
            raise CheckpointError(f"{who}: every leaf has a name of its own; got 2 leaves {name}; rename one of them")
        if is_key(leaf):
            keys[name] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        if type(leaf) in NUMBERS:
            leaf = _stored(who, name, leaf)
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array) or getattr(kind, "name", "") not in CODES:
            raise CheckpointError(
                f"{who}: a tree holds arrays of numbers, random keys and Python numbers; got {name} of type {kind}; "
                "convert or leave it out"
            )
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            raise CheckpointError(
                f"{who}: every process can see the whole array; got {name} spread over processes; gather it first, "
                "with jax.experimental.multihost_utils.process_allgather"
            )
        native = np.asarray(leaf).dtype.newbyteorder("=")
        named[name] = np.array(leaf, native, order="C", copy=copy or None)
    return named, keys


def unflatten(named: dict[str, np.ndarray], keys: dict[str, str], like: Any) -> Any:
    """Return the arrays as a tree of the structure of `like`, whose leaves they fit (`differences`)."""
    leaves = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(like)[0]:
        name = leaf_name(path) or "value"
        found = named[name]
        if type(leaf) in NUMBERS:
            leaves.append(type(leaf)(found[()]))
        elif name in keys:
            leaves.append(jax.random.wrap_key_data(jnp.array(found), impl=keys[name]))
        else:
            leaves.append(jnp.array(found))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def differences(who: str, named: dict[str, np.ndarray], keys: dict[str, str], like: Any) -> list[str]:
    """Return every difference of the arrays from the leaves of a tree: names, shapes, dtypes, kinds of keys.

    Leaves of `like` may be the shapes that `jax.eval_shape` returns.

    Raises:
      CheckpointError: a leaf of the tree is nothing that can be saved.
    """
    want: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(like)[0]:
        name = leaf_name(path) or "value"
        want[name] = _kind_wanted(who, name, leaf)
    have = {name: _kind(array, keys.get(name)) for name, array in named.items()}
    found = [f"{name} missing" for name in want if name not in have]
    found += [f"{name} not expected" for name in have if name not in want]
    return found + [
        f"{name} is {have[name]}, not {kind}" for name, kind in want.items() if have.get(name, kind) != kind
    ]


def too_wide(named: dict[str, np.ndarray], like: Any) -> list[str]:
    """Return the arrays of 64-bit numbers that JAX would cut down to 32, as it is set."""
    plain = {
        leaf_name(p) or "value" for p, leaf in jax.tree_util.tree_flatten_with_path(like)[0] if type(leaf) in NUMBERS
    }
    return [
        f"{name} is {array.dtype}"
        for name, array in named.items()
        if name not in plain and jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype
    ]


def is_key(leaf: Any) -> bool:
    """Return whether a leaf is a typed random key, or an array of them, or the shape of one."""
    return jnp.issubdtype(getattr(leaf, "dtype", np.void), jax.dtypes.prng_key)


def _name(who: str, path: tuple) -> str:
    """Return the name of a leaf; raise `CheckpointError` for one that no header can hold."""
    name = leaf_name(path) or "value"
    try:
        name.encode()
        if name != METADATA:
            return name
    except UnicodeEncodeError:
        pass
    raise CheckpointError(f"{who}: a name is Unicode text, and not {METADATA}; got {name!r}; rename the leaf")


def _stored(who: str, name: str, number: Any) -> np.ndarray:
    try:
        return np.asarray(number, NUMBERS[type(number)])
    except OverflowError as error:
        raise CheckpointError(
            f"{who}: a whole number has 64 bits; got {name} of {number.bit_length()} bits; leave it out"
        ) from error


def _kind_wanted(who: str, name: str, leaf: Any) -> str:
    if is_key(leaf):
        impl: list[str] = []

        def data(key):
            impl.append(str(jax.random.key_impl(key)))
            return jax.random.key_data(key)

        shape = jax.eval_shape(data, leaf)  # also of a shape, which has no key data of its own
        return _kind(shape, impl[0])
    if type(leaf) in NUMBERS:
        return f"{NUMBERS[type(leaf)]}[]"
    if getattr(getattr(leaf, "dtype", None), "name", "") not in CODES:
        raise CheckpointError(
            f"{who}: like holds arrays of numbers, random keys and Python numbers; got {name} of type "
            f"{getattr(leaf, 'dtype', type(leaf).__name__)}; pass what was saved, or its shapes"
        )
    return _kind(leaf, None)


def _kind(array: Any, impl: str | None) -> str:
    """Return what an array is, in words: float32[3, 4], or random keys and what they are made of."""
    numbers = f"{jnp.dtype(array.dtype).name}{list(array.shape)}"
    if impl is None:
        return numbers
    what = "a random key" if array.ndim == 1 else f"random keys {list(array.shape[:-1])}"
    return f"{what} of {impl} in {numbers}"
