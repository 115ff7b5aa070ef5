"""A run folder read back: the model with its parameters, what it knows about its data, and how the run went.

metrics.json is written last: where it is there, the files beside it belong to it. Where it is missing, the run has not
ended, or was killed, and all that counts is in its newest checkpoint, one file.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import jax

from jaxnn._errors import CheckpointError, brief, suggest
from jaxnn._objectives import LogLikelihood
from jaxnn._run_files import CHECKPOINTS, CONFIG, FORMAT, HISTORY, METRICS, PARAMS, WHO, history_in, json_in, params_in
from jaxnn._spec import objective_of
from jaxnn._state import History, full_rows, history_of
from jaxnn._types import Params
from jaxnn.checkpoint import Checkpoints, Content
from jaxnn.checkpoint._file import fitted
from jaxnn.data import Schema

PARTS = ("train", "hold_out", "test")
_BEST = "state.best.params."  # what their names begin with in a checkpoint


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
      status, message: how it ended and why, in words. Of a run that was killed, and of one that still goes on: how far
        its newest checkpoint is. Both empty where neither was written.
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
    """Return the run that `jaxnn train`, or `fit(..., checkpoint=folder)`, wrote to a folder.

    A run that was killed, or still goes on, has the best parameters of its newest checkpoint.

    Args:
      folder: the run folder, or the config.json in it; or the folder of checkpoints of `fit`, where the objective is
        an `Mlp` with one of jaxnn's likelihoods.

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
    if (folder / CONFIG).is_file():
        config = json_in(folder / CONFIG)
        unfinished = Checkpoints(folder / CHECKPOINTS) if not (folder / METRICS).exists() else None
    elif Checkpoints(folder).paths():
        unfinished = Checkpoints(folder)
        config = _config_of(folder, unfinished.newest_content(WHO)[1])
    else:
        raise CheckpointError(f"{WHO}: a run folder holds {CONFIG}; got folder={str(folder)!r}; {_near(folder)}")
    objective, schema, dtype = _described(folder, config)
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise CheckpointError(
            f"{WHO}: parameters in double precision need jax_enable_x64; got {dtype.name} in {str(folder)!r}; set the "
            "environment variable JAX_ENABLE_X64=1"
        )
    if unfinished is not None and unfinished.paths():
        return _unfinished(folder, config, objective, schema, dtype, unfinished)
    metrics = json_in(folder / METRICS) if (folder / METRICS).exists() else {}
    params = params_in(folder / PARAMS, objective.model, dtype, metrics.get("params_sha256"))
    return SavedRun(
        folder=folder,
        objective=objective,
        params=params,
        schema=schema,
        history=history_in(folder / HISTORY),
        status=str(metrics.get("status", "")),
        message=str(metrics.get("message", "")),
        best_epoch=best if isinstance(best := metrics.get("best_epoch"), int) else None,
        figures={part: metrics[part] for part in PARTS if _are_figures(metrics.get(part))},
        config=config,
    )


def _described(folder: Path, config: dict[str, Any]) -> tuple[LogLikelihood, Schema, Any]:
    """Return objective, schema and dtype of the parameters from the object in config.json."""
    try:
        if config["format"] > FORMAT:
            raise CheckpointError(
                f"{WHO}: this jaxnn reads run folders up to format {FORMAT}; got {config['format']} in "
                f"{folder / CONFIG}; install jaxnn {config['versions']['jaxnn']}, which wrote it, or a newer one"
            )
        objective, dtype = objective_of(config)
        schema = Schema.from_dict(config["schema"])
        _check_fit(objective, schema)
        return objective, schema, dtype
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{WHO}: {CONFIG} is as jaxnn wrote it; got {type(error).__name__}: {error}, in {folder / CONFIG}; restore "
            "the file or train again"
        ) from error


def _config_of(folder: Path, content: Content) -> dict[str, Any]:
    """Return what a config.json would hold, from a checkpoint of `fit`."""
    spec, schema = content.info.get("spec"), content.info.get("schema")
    if not isinstance(spec, dict):
        raise CheckpointError(
            f"{WHO}: a run is of an Mlp with one of jaxnn's likelihoods; got another in folder={str(folder)!r}; read "
            "its arrays with checkpoint.read, or go on with fit(..., checkpoint=folder)"
        )
    try:
        objective, _ = objective_of(spec)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{WHO}: a checkpoint describes its model; got {type(error).__name__}: {error}, in {folder}; train again"
        ) from error
    sizes = objective.model.sizes
    plain = Schema(num_features=sizes[0], num_classes=objective.likelihood.classes(sizes[-1]))
    return {
        "format": FORMAT,
        **spec,
        "schema": plain.to_dict() if schema is None else schema,
        "versions": (content.info.get("environments") or [None])[-1],
        "facts": content.info.get("facts"),
    }


def _unfinished(
    folder: Path, config: dict[str, Any], objective: LogLikelihood, schema: Schema, dtype: Any, found: Checkpoints
) -> SavedRun:
    """Return a run as it stands in its newest checkpoint."""
    path, content = found.newest_content(WHO)
    best = Content(
        {name.removeprefix(_BEST): a for name, a in content.arrays.items() if name.startswith(_BEST)}, {}, {}
    )
    like = jax.eval_shape(lambda: objective.model.init(0, dtype))
    progress, rows, seconds = (content.info.get("progress"), content.arrays.get("rows"), content.arrays.get("seconds"))
    if not isinstance(progress, dict) or rows is None or seconds is None:
        raise CheckpointError(f"{WHO}: the folder holds checkpoints of a run; got {path}, saved by other means")
    status = str(progress.get("status"))
    best_epoch = progress.get("best_epoch")
    where = f"epoch {progress.get('epoch')}, step {progress.get('step')}"
    return SavedRun(
        folder=folder,
        objective=objective,
        params=fitted(WHO, path, best, like),
        schema=schema,
        history=history_of(full_rows(rows), seconds[:-1]),
        status=status,
        message=f"{status} at {where} when it was last saved, in {path.name}; returned epoch {best_epoch}",
        best_epoch=best_epoch,
        figures={},
        config=config,
    )


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


def _near(folder: Path) -> str:
    """Return what to do about a folder that holds no run: the runs beside it."""
    try:
        runs = sorted(path.parent.name for path in folder.parent.glob(f"*/{CONFIG}"))
    except OSError:
        runs = []
    if not runs:
        return "pass the folder that `jaxnn train` printed"
    return f"in {str(folder.parent)!r}: {suggest(folder.name, runs)}"
