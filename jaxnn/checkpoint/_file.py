"""One checkpoint in one file: `save`, `load`, `read`."""

import json
import math
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import CheckpointError, brief
from jaxnn._whole import whole
from jaxnn.checkpoint._format import DamagedError, read_info, read_tensors, write_tensors
from jaxnn.checkpoint._tree import differences, flatten, too_wide, unflatten

FORMAT = 1  # of what jaxnn writes into the header; raised when an older jaxnn could no longer read it


class Content(NamedTuple):
    """What a file holds, as it stands there.

    Attributes:
      arrays: host arrays by name.
      info: the JSON object it was saved with; empty in a file that jaxnn did not write.
      keys: the names of those arrays that are random keys, and their implementations.
    """

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]
    keys: dict[str, str]


def save(path: str | PathLike[str], tree: Any, info: dict[str, Any] | None = None) -> None:
    """Write a pytree to a file: to a temporary one beside it, flushed to the disk, then renamed over it.

    A power cut or a kill at any instant leaves the old file or the new one.

    Args:
      path: the file; its folder exists.
      tree: arrays of numbers (of any dtype of JAX's, on any devices), typed random keys, Python numbers. Their places
        in the tree become the names, as `0.kernel`.
      info: a JSON object to keep beside it: names are text, lists are lists, no NaN.

    Raises:
      CheckpointError: a leaf is nothing of the kind, info is no JSON, or the file cannot be written. The old file is
        then as it was, or, if nothing but the last flush failed, the new one is in its place.

    Example:
      >>> import jaxnn, tempfile, pathlib
      >>> model = jaxnn.Mlp((2, 3, 1))
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "params.safetensors"
      >>> jaxnn.checkpoint.save(file, model.init(0), {"why": "an example"})
      >>> jaxnn.checkpoint.load(file, like=model.init(1))[0].kernel.shape
      (2, 3)
      >>> jaxnn.checkpoint.read(file).info
      {'why': 'an example'}
    """
    who = "checkpoint.save"
    path = as_path(who, "path", path)
    named, keys = flatten(who, tree)
    head = header(who, info, keys)
    try:
        with whole(lambda: path, path.parent) as (handle, _):
            write_tensors(handle, named, head)
    except OSError as error:
        raise unwritable(who, path, error) from error


def load(path: str | PathLike[str], like: Any) -> Any:
    """Return the pytree saved in a file, shaped as `like`, on the default device.

    Args:
      path: the file; any safetensors file will do.
      like: a pytree of the same structure, shapes and dtypes, as `model.init(0)` of the same model.

    Raises:
      CheckpointError: no such file, one that is not as it was written, or one that differs from `like`; every
        difference is named, and nothing is loaded in part.
    """
    who = "checkpoint.load"
    path = as_path(who, "path", path)
    return fitted(who, path, read_content(who, path), like)


def read(path: str | PathLike[str]) -> Content:
    """Return what a file holds, whatever it was saved from: arrays by name, and the JSON object.

    Raises:
      CheckpointError: no such file, or one that is not as it was written.
    """
    return read_content("checkpoint.read", as_path("checkpoint.read", "path", path))


def header(who: str, info: Any, keys: dict[str, str], **own: Any) -> str:
    """Return the text of the JSON object of a file; raise `CheckpointError` where the user's part is none."""
    head = {"format": FORMAT, "info": {} if info is None else info, "keys": keys, **own}
    why = "" if isinstance(head["info"], dict) else "not an object"
    try:
        text = json.dumps(head, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        text, why = "", str(error)
    if why:
        try:
            shown = brief(info)
        except RecursionError:  # too deep to be shown
            shown = f"a {type(info).__name__}"
        raise CheckpointError(f"{who}: info is a JSON object; got {shown}: {why}; keep arrays in the tree")
    return text


def read_content(who: str, path: Path) -> Content:
    """Return what a file holds; raise `DamagedError` for one that is not as it was written."""
    try:
        arrays, head = read_tensors(path)
    except (OSError, DamagedError) as error:
        kind = DamagedError if isinstance(error, DamagedError) else CheckpointError
        raise kind(
            f"{who}: a whole safetensors file; got path={str(path)!r}: {error}; save it again, or load another"
        ) from error
    if head is None:  # another program's
        return Content(arrays, {}, {})
    format_, info, keys = (head.get(name) for name in ("format", "info", "keys"))
    if type(format_) is not int or not isinstance(info, dict) or not isinstance(keys, dict):
        raise DamagedError(f"{who}: a file of jaxnn's says what it holds; got path={str(path)!r} without; load another")
    if format_ > FORMAT:
        raise CheckpointError(
            f"{who}: this jaxnn reads checkpoints up to format {FORMAT}; got {format_} in path={str(path)!r}; "
            "install a newer jaxnn"
        )
    return Content(arrays, info, keys)


def value_of(path: Path) -> float | None:
    """Return the value a generation was saved with, None where it has none or is damaged; raise `OSError` where it
    cannot be read.
    """
    try:
        head = read_info(path)
        value = (head or {}).get("value")
        value = float(value) if isinstance(value, int | float) else math.nan
    except (DamagedError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def fitted(who: str, path: Path, content: Content, like: Any) -> Any:
    """Return what a file holds as a tree like this one; raise `CheckpointError` with every difference."""
    found = differences(who, content.arrays, content.keys, like)
    if found:
        raise CheckpointError(
            f"{who}: the file fits the model; got {'; '.join(found)}, in path={str(path)!r}; load it into what it was "
            "saved from"
        )
    wide = too_wide(content.arrays, like)
    if wide:
        raise CheckpointError(f"{who}: this file needs 64-bit numbers; got {', '.join(wide)}; turn on jax_enable_x64")
    return unflatten(content.arrays, content.keys, like)


def unwritable(who: str, path: Path, error: OSError) -> CheckpointError:
    """Return the error for a file that could not be written."""
    return CheckpointError(
        f"{who}: the folder can be written; got path={str(path)!r}: {error}; free space or choose another"
    )


def as_path(who: str, name: str, value: Any) -> Path:
    """Return a path; raise `CheckpointError` for what is none."""
    if not isinstance(value, str | PathLike) or "\0" in str(value) or not str(value):
        raise CheckpointError(f"{who}: {name} is a path; got {name}={brief(value)}; pass text or a Path")
    return Path(value)
