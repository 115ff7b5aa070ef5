"""Parameters in a file: named tensors (safetensors), written whole or not at all. No pickle."""

import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as _parse
from safetensors.numpy import save as _serialise

from jaxnn._checks import CheckpointError
from jaxnn._models import leaf_name


def save(path: str | Path, tree: Any) -> None:
    """Write a pytree of arrays to a file: to a temporary one beside it, flushed to disk, then renamed over it.

    Args:
      path: the file; its folder exists.
      tree: arrays of any numeric dtype; their places in the tree become the names, as `0.kernel`.

    Raises:
      CheckpointError: the file cannot be written; an older one is left as it was.

    Example:
      >>> import jaxnn, tempfile, pathlib
      >>> model = jaxnn.Mlp((2, 3, 1))
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
      >>> jaxnn.checkpoint.save(file, model.init(0))
      >>> jaxnn.checkpoint.load(file, like=model.init(1))[0].kernel.shape
      (2, 3)
    """
    path = Path(path)
    data = _serialise(_named(tree))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
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
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


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
        found = _parse(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint.load: a whole safetensors file; got path={str(path)!r}: {error}; save it again"
        ) from error
    want = _named(like)
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
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.array(found[name]) for name in want])


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {leaf_name(path) or "value": np.ascontiguousarray(np.asarray(leaf)) for path, leaf in leaves}
