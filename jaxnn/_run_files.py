"""The files of a run folder, each read with the faults it can have."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn._errors import CheckpointError
from jaxnn._models import Mlp
from jaxnn._state import WATCHED, History
from jaxnn._types import Params
from jaxnn.checkpoint import load

WHO = "load_run"
FORMAT = 1  # of config.json; raised when an older jaxnn could no longer read it
CONFIG, PARAMS, HISTORY, METRICS = "config.json", "params.safetensors", "history.csv", "metrics.json"
CHECKPOINTS = "checkpoints"  # the folder of those, inside the run folder


def is_run(folder: Path) -> bool:
    """Return whether the config.json of a folder was written by jaxnn."""
    try:
        return "format" in json_in(folder / CONFIG)
    except CheckpointError:
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def params_in(path: Path, model: Mlp, dtype: Any, digest: Any) -> Params:
    """Return the parameters in a file, once it has the size of the model's and the bytes that were written."""
    shapes = jax.eval_shape(lambda: model.init(0, dtype))
    want = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    if not path.is_file():
        raise CheckpointError(
            f"{WHO}: a finished run has {PARAMS}; got none in {str(path.parent)!r}; it has not been saved "
            "yet, or was ended before that: look again later, or go on with jaxnn train --resume"
        )
    if path.stat().st_size < want:
        raise CheckpointError(
            f"{WHO}: {PARAMS} holds the parameters of {model!r}, {want:,} bytes; got {path.stat().st_size:,}, in "
            f"{path}; restore the file or train again"
        )
    if digest is not None and sha256(path) != digest:
        raise CheckpointError(
            f"{WHO}: {PARAMS} is as it was written, with the SHA-256 in {METRICS}; got other bytes, in {path}; restore "
            "the file or train again"
        )
    return load(path, like=shapes)


def history_in(path: Path) -> History:
    """Return the history in a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        missing = dict.fromkeys(WATCHED, "nan")
        columns: dict[str, Any] = {
            name: np.array([float((missing | row)[name]) for row in rows]) for name in History._fields
        }
        epoch = columns.pop("epoch")
        if not len(rows) or not np.array_equal(epoch, np.arange(len(rows))):
            raise ValueError(f"epochs {epoch[:5].tolist()}")
        return History(epoch=epoch.astype(np.int32), **columns)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{WHO}: {HISTORY} has a row an epoch, from 0; got {type(error).__name__}: {error}, in {path}; restore the "
            "file or train again"
        ) from error


def json_in(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{WHO}: {path.name} is a JSON object; got {error}, in {path}; restore the file or train again"
        ) from error
