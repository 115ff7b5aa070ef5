"""A run folder read back: the model with its parameters, what it knows about its data, and how the run went."""

import csv
import hashlib
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checkpoint
from jaxnn._activations import ACTIVATIONS
from jaxnn._checks import CheckpointError, brief, suggest
from jaxnn._likelihoods import bernoulli, categorical, gaussian
from jaxnn._models import Mlp
from jaxnn._objectives import LogLikelihood
from jaxnn._state import History
from jaxnn._types import Params
from jaxnn.data import Schema

WHO = "load_run"
FORMAT = 1  # of config.json; raised when an older jaxnn could no longer read it
CONFIG, PARAMS, HISTORY, METRICS = "config.json", "params.safetensors", "history.csv", "metrics.json"
LIKELIHOODS = {"bernoulli": bernoulli, "categorical": categorical, "gaussian": gaussian}
PARTS = ("train", "hold_out", "test")


@dataclass(frozen=True)
class SavedRun:
    """A run as `load_run` found it.

    Attributes:
      folder: where it lies.
      objective: the `LogLikelihood` that was maximised, its model inside.
      params: the best parameters on the hold-out.
      schema: of the training data: names, classes and scale, so that `data.read_inputs(file, like=run.schema)` gives
        new data as the model wants them.
      history: a row an epoch.
      status, message: how it ended and why, in words; both empty for a run that was ended before it wrote them.
      best_epoch: the epoch of the parameters; None where that was not written.
      figures: of each part ("train", "hold_out", "test"), as `Evaluation.to_dict` gives them.
      config: all of config.json: options, seeds, versions, device.
    """

    folder: Path
    objective: LogLikelihood
    params: Params
    schema: Schema
    history: History
    status: str
    message: str
    best_epoch: int | None
    figures: dict[str, dict[str, Any]]
    config: dict[str, Any]


def load_run(folder: str | PathLike[str]) -> SavedRun:
    """Return the run that `jaxnn train` wrote to a folder.

    Args:
      folder: the run folder, or the config.json in it.

    Raises:
      CheckpointError: no such folder, a file missing or damaged, parameters of another model or in a precision that is
        not switched on, a newer format.

    Example:
      Two lines to a model, two more to the probabilities of new data:

      >>> import jaxnn
      >>> run = jaxnn.load_run("runs/flowers")  # doctest: +SKIP
      >>> x = jaxnn.data.read_inputs("new.csv", like=run.schema).x  # doctest: +SKIP
      >>> jaxnn.predict_proba(run.objective, run.params, x)  # doctest: +SKIP
    """
    if not isinstance(folder, str | PathLike):
        raise CheckpointError(f"{WHO}: folder is a path; got folder={brief(folder)}; pass text or a Path")
    folder = Path(folder)
    folder = folder.parent if folder.name == CONFIG else folder
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{WHO}: a run folder holds {CONFIG}; got folder={str(folder)!r}; {_near(folder)}")
    config = _json(folder / CONFIG)
    try:
        if config["format"] > FORMAT:
            raise CheckpointError(
                f"{WHO}: this jaxnn reads run folders up to format {FORMAT}; got {config['format']} in "
                f"{folder / CONFIG}; install jaxnn {config['versions']['jaxnn']}, which wrote it, or a newer one"
            )
        objective = _objective(config)
        schema = Schema.from_dict(config["schema"])
        dtype = jnp.dtype(config["model"]["dtype"])
        _check_fit(objective, schema)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{WHO}: {CONFIG} is as jaxnn wrote it; got {type(error).__name__}: {error}, in {folder / CONFIG}; restore "
            "the file or train again"
        ) from error
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise CheckpointError(
            f"{WHO}: parameters in double precision need jax_enable_x64; got {dtype.name} in {str(folder)!r}; set the "
            "environment variable JAX_ENABLE_X64=1"
        )
    metrics = _json(folder / METRICS) if (folder / METRICS).exists() else {}
    params = _params(folder / PARAMS, objective.model, dtype, metrics.get("params_sha256"))
    return SavedRun(
        folder=folder,
        objective=objective,
        params=params,
        schema=schema,
        history=_history(folder / HISTORY),
        status=str(metrics.get("status", "")),
        message=str(metrics.get("message", "")),
        best_epoch=best if isinstance(best := metrics.get("best_epoch"), int) else None,
        figures={part: metrics[part] for part in PARTS if _are_figures(metrics.get(part))},
        config=config,
    )


def _objective(config: dict[str, Any]) -> LogLikelihood:
    """Return the objective that config.json describes."""
    spec = config["model"]
    if spec["kind"] != "Mlp":
        raise ValueError(f"a model of kind {spec['kind']!r}")
    model = Mlp(tuple(spec["sizes"]), ACTIVATIONS[spec["activation"]])
    return LogLikelihood(model, LIKELIHOODS[config["likelihood"]], l2=config["l2"])


def _check_fit(objective: LogLikelihood, schema: Schema) -> None:
    """Raise `ValueError` where the schema speaks of other features or classes than the model has."""
    sizes = objective.model.sizes
    if schema.num_features != sizes[0]:
        raise ValueError(f"{schema.num_features} features for a model of {sizes[0]}")
    if objective.likelihood.classes(sizes[-1]) != schema.num_classes:
        raise ValueError(f"{schema.num_classes} classes for {objective.likelihood} of {sizes[-1]} outputs")


def _are_figures(value: Any) -> bool:
    """Return whether this is what `Evaluation.to_dict` gives."""
    return isinstance(value, dict) and isinstance(value.get("num_examples"), int) and "log_likelihood" in value


def is_run(folder: Path) -> bool:
    """Return whether the config.json of a folder was written by jaxnn."""
    try:
        return "format" in _json(folder / CONFIG)
    except CheckpointError:
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _params(path: Path, model: Mlp, dtype: Any, digest: Any) -> Params:
    """Return the parameters in a file, once it has the size of the model's and the bytes that were written."""
    shapes = jax.eval_shape(lambda: model.init(0, dtype))
    want = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    if not path.is_file():
        raise CheckpointError(
            f"{WHO}: a finished run has {PARAMS}; got none in {str(path.parent)!r}; it was ended before its parameters "
            "were written: train again"
        )
    if path.stat().st_size < want:  # before the zeros that `load` compares with are made
        raise CheckpointError(
            f"{WHO}: {PARAMS} holds the parameters of {model!r}, {want:,} bytes; got {path.stat().st_size:,}, in "
            f"{path}; restore the file or train again"
        )
    if digest is not None and sha256(path) != digest:
        raise CheckpointError(
            f"{WHO}: {PARAMS} is as it was written, with the SHA-256 in {METRICS}; got other bytes, in {path}; restore "
            "the file or train again"
        )
    return checkpoint.load(path, like=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def _history(path: Path) -> History:
    """Return the history in a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns: dict[str, Any] = {name: np.array([float(row[name]) for row in rows]) for name in History._fields}
        epoch = columns.pop("epoch")
        if not len(rows) or not np.array_equal(epoch, np.arange(len(rows))):
            raise ValueError(f"epochs {epoch[:5].tolist()}")
        return History(epoch=epoch.astype(np.int32), **columns)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{WHO}: {HISTORY} has a row an epoch, from 0; got {type(error).__name__}: {error}, in {path}; restore the "
            "file or train again"
        ) from error


def _json(path: Path) -> dict[str, Any]:
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


def _near(folder: Path) -> str:
    """Return what to do about a folder that holds no run: the runs beside it."""
    try:
        runs = sorted(path.parent.name for path in folder.parent.glob(f"*/{CONFIG}"))
    except OSError:
        runs = []
    if not runs:
        return "pass the folder that `jaxnn train` printed"
    return f"in {str(folder.parent)!r}: {suggest(folder.name, runs)}"
