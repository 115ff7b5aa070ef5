"""Parameters in a file: named tensors (safetensors), written whole or not at all. No pickle."""

import os
import secrets
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as _serialise

from jaxnn._checks import CheckpointError
from jaxnn._models import leaf_name

_DTYPES = {  # safetensors' own NumPy reader knows no bfloat16
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip


def save(path: str | Path, tree: Any) -> None:
    """Write a pytree of arrays to a file: to a temporary one beside it, flushed to disk, then renamed over it.

    Args:
      path: the file; its folder exists.
      tree: arrays of any numeric dtype; their places in the tree become the names, as `0.kernel`.

    Raises:
      CheckpointError: a leaf is no array of numbers, or the file cannot be written; an older one is left as it was.

    Example:
      >>> import jaxnn, tempfile, pathlib
      >>> model = jaxnn.Mlp((2, 3, 1))
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
      >>> jaxnn.checkpoint.save(file, model.init(0))
      >>> jaxnn.checkpoint.load(file, like=model.init(1))[0].kernel.shape
      (2, 3)
    """
    path = Path(path)
    data = _serialise(_named("checkpoint.save", tree))
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    written = False
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # who may read it is up to the umask
        written = True
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        written = False
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint.save: the folder can be written; got path={str(path)!r}: {error}; free space or choose another"
        ) from error
    finally:
        if written:
            temporary.unlink(missing_ok=True)


def load(path: str | Path, like: Any) -> Any:
    """Return the pytree saved in a file, shaped as `like`.

    Args:
      path: the file.
      like: a pytree of the same structure, shapes and dtypes, as `model.init(0)` of the same model.

    Raises:
      CheckpointError: no such file, a damaged one, or one that differs from `like`; every difference is named.
    """
    path = Path(path)
    try:
        found = {
            name: np.frombuffer(tensor["data"], jnp.dtype(_DTYPES[tensor["dtype"]])).reshape(tensor["shape"])
            for name, tensor in deserialize(path.read_bytes())
        }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint.load: a whole safetensors file; got path={str(path)!r}: {error}; save it again"
        ) from error
    want = _named("checkpoint.load", like)
    problems = [f"{name} missing" for name in want if name not in found]
    problems += [f"{name} not expected" for name in found if name not in want]
    problems += [
        f"{name} is {found[name].dtype}{list(found[name].shape)}, not {w.dtype}{list(w.shape)}"
        for name, w in want.items()
        if name in found and (found[name].shape, found[name].dtype) != (w.shape, w.dtype)
    ]
    if problems:
        raise CheckpointError(
            f"checkpoint.load: the file fits the model; got {'; '.join(problems)}; load it into the model it was saved "
            "from"
        )
    narrowed = [f"{name} is {w.dtype}" for name, w in want.items() if jax.dtypes.canonicalize_dtype(w.dtype) != w.dtype]
    if narrowed:
        raise CheckpointError(
            f"checkpoint.load: this file needs 64-bit numbers; got {', '.join(narrowed)}; turn on jax_enable_x64"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.array(found[name]) for name in want])


def _named(who: str, tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves as host arrays by their place in the tree; raise where one has no name or no numbers."""
    named: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = leaf_name(path) or "value"
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        if (
            not isinstance(leaf, np.ndarray | np.generic | jax.Array)
            or getattr(kind, "name", "") not in _DTYPES.values()
        ):
            raise CheckpointError(
                f"{who}: a tree holds arrays of numbers; got {name} of type {kind}; convert or leave it out"
            )
        if name in named:
            raise CheckpointError(f"{who}: every leaf has a name of its own; got 2 leaves {name}; rename one of them")
        named[name] = np.asarray(leaf, order="C")
    return named
