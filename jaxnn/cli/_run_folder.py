"""The run folder written: configuration, parameters, history, metrics and pictures (`_saved.py` reads it back)."""

import contextlib
import csv
import io
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jaxnn._errors import ConfigError
from jaxnn._evaluate import Evaluation
from jaxnn._fit import FitResult
from jaxnn._run_files import CHECKPOINTS, CONFIG, FORMAT, HISTORY, METRICS, PARAMS, is_run, sha256
from jaxnn._version import __version__
from jaxnn._whole import flush_folder, locked, make_folder, write_whole
from jaxnn.checkpoint import Checkpoints, save
from jaxnn.cli._build import Problem, Task
from jaxnn.cli._json import write_json
from jaxnn.cli._learn_config import LearnConfig

WHO = "train"
FILE_OPTIONS = ("data", "hold_out", "test", "folder")  # that name files
PICTURES = ("learning_curves.png", "confusion.png", "reliability.png", "decision_boundary.png")
FILES = (CONFIG, PARAMS, HISTORY, METRICS, *PICTURES)
LARGEST_CONFUSION = 60  # classes; beyond, the matrix is neither drawn nor written: a megabyte nobody can read
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "scikit-learn")


def claim(config: LearnConfig, suffix: str = "") -> Path:
    """Return the folder of this run, made and found writable; raise `ConfigError` if it is taken. Nothing in it is
    touched yet. One that nobody named is called after the data, with a suffix.
    """
    who = config.who
    if config.run_folder is None:
        return _new(who, Path("runs", (Path(config.data).name.partition(".")[0] or "run") + suffix))
    folder = config.run_folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{who}: --run-folder is a folder; got the file {folder}; choose another")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found and not config.overwrite:
        raise ConfigError(
            f"{who}: --run-folder is new or empty; got {folder} with {len(found)} files, {found[0]} among them; "
            "choose another, or pass --overwrite"
        )
    if CONFIG in found and not (who == WHO and is_run(folder)):
        raise ConfigError(
            f"{who}: --overwrite replaces the files of an earlier {'run' if who == WHO else who}; got {folder} with a "
            f"{CONFIG} that {'jaxnn' if who == WHO else 'a sweep'} did not write; choose another folder"
        )
    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(
            f"{who}: --run-folder can be made and written; got {folder}, which failed with {error.strerror}; choose "
            "another"
        ) from error
    return folder


def give_up(folder: Path) -> None:
    """Remove a folder that was claimed and got no file."""
    with contextlib.suppress(OSError):  # there are files of an earlier run in it
        with contextlib.suppress(FileNotFoundError):
            (folder / CHECKPOINTS).rmdir()
        folder.rmdir()


def begin(folder: Path, problem: Problem, earlier: dict[str, Any] | None) -> None:
    """Write config.json, now that the run has begun; `earlier` is the one of a run that goes on.

    The files of an earlier run that is replaced go first, its config.json last, so that no file of the one is ever
    beside a config.json of the other. A run that goes on loses its old figures and pictures: until there are new ones
    it is what its newest checkpoint says. What else is in the folder stays.
    """
    old = [METRICS, *PICTURES]
    if earlier is None:
        old += [PARAMS, HISTORY]
        for path in checkpoints_in(folder).paths():
            path.unlink(missing_ok=True)
    for name in old:
        (folder / name).unlink(missing_ok=True)
    flush_folder(folder)
    _write_config(folder, problem, earlier)


@contextlib.contextmanager
def alone(folder: Path, who: str = WHO) -> Iterator[None]:
    """Keep other processes from training in the same folder; raise `ConfigError` where one already does."""
    with locked(folder) as free:
        if not free:
            raise ConfigError(
                f"{who}: one process at a time trains in a run folder; got {folder}, in which another is at work; wait "
                "for it, or choose another folder"
            )
        yield


def checkpoints_in(folder: Path, **options: Any) -> Checkpoints:
    """Return the checkpoints of a run folder."""
    return Checkpoints(folder / CHECKPOINTS, **options)


def _new(who: str, folder: Path) -> Path:
    """Make and return a folder of this name, or with -2, -3, ... behind it; two runs never get the same one."""
    numbered, count = folder, 1
    while True:
        try:
            numbered.parent.mkdir(parents=True, exist_ok=True)
            numbered.mkdir()
            return numbered
        except FileExistsError:
            if not numbered.parent.is_dir():
                raise ConfigError(
                    f"{who}: runs is a folder; got a file of that name in {Path.cwd()}; pass --run-folder"
                ) from None
            count += 1
            numbered = folder.with_name(f"{folder.name}-{count}")
        except OSError as error:
            raise ConfigError(
                f"{who}: a folder can be made in {Path.cwd()}; got {numbered}, which failed with {error.strerror}; "
                "pass --run-folder"
            ) from error


def _write_config(folder: Path, problem: Problem, earlier: dict[str, Any] | None) -> None:
    """Write config.json: everything needed to rebuild the model, to repeat the run and to go on with it."""
    options = options_of(problem)
    if earlier is not None:  # files stay as they were given, seen from the folder where the run was started
        start, was = str(earlier.get("working_folder")), earlier["config"]
        options |= {k: was[k] for k in FILE_OPTIONS if was.get(k) and options[k] == str(Path(start, was[k]))}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "config": options,
            **about(problem),
            "working_folder": str(Path.cwd()) if earlier is None else earlier.get("working_folder"),
            "started": now if earlier is None else earlier.get("started"),
            "resumed": [] if earlier is None else [*(earlier.get("resumed") or []), now],
        },
    )


def options_of(task: Task) -> dict[str, Any]:
    """Return the options of a command, for JSON."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(task.config).items()}


def about(task: Task) -> dict[str, Any]:
    """Return what config.json says of model, data, seeds, versions and device."""
    model = task.objective.model
    return {
        "model": {
            "kind": "Mlp",
            "sizes": model.sizes,
            "activation": task.config.activation,
            "dtype": jax.dtypes.canonicalize_dtype(float).name,
        },
        "likelihood": task.likelihood,
        "l2": task.config.l2,
        "schema": task.train.schema.to_dict(),
        "parts": {name: len(part) for name, part in task.parts.items()},
        "class_weights": task.class_weights,
        "seeds": task.seeds._asdict(),
        "versions": {"jaxnn": __version__, "python": platform.python_version()} | _versions(),
        "device": {"platform": jax.default_backend(), "kind": jax.devices()[0].device_kind},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "command": sys.argv,
    }


def write_result(folder: Path, problem: Problem, result: FitResult) -> None:
    """Write params.safetensors and history.csv, which belong to no metrics.json until that is written."""
    if not (folder / CONFIG).is_file():  # somebody moved the folder away while the run went on
        make_folder(folder)
        _write_config(folder, problem, None)
    (folder / METRICS).unlink(missing_ok=True)
    save(folder / PARAMS, result.params)
    text = io.StringIO(newline="")
    rows = result.history.rows()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(folder / HISTORY, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))


def write_metrics(folder: Path, result: FitResult, evaluations: dict[str, Evaluation]) -> dict[str, Any]:
    """Write metrics.json, how the run ended and the figures of every part, and return what it holds."""
    figures = {part: evaluation.to_dict() for part, evaluation in evaluations.items()}
    for figure in figures.values():
        if len(figure.get("confusion", ())) > LARGEST_CONFUSION:
            del figure["confusion"]
    metrics = {
        "status": str(result.status),
        "message": result.message,
        "best_epoch": result.best_epoch,
        "epochs": int(result.history.epoch[-1]),
        "seconds": float(result.history.seconds[-1]),
        "params_sha256": sha256(folder / PARAMS),
        **figures,
    }
    write_json(folder / METRICS, metrics)
    return metrics


def written(folder: Path) -> list[str]:
    """Return the names of the files of the run that are there."""
    return [name for name in FILES if (folder / name).exists()]


def _versions() -> dict[str, str | None]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
