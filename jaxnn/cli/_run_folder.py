"""The run folder written: configuration, parameters, history, metrics and pictures (`_saved.py` reads it back)."""

import contextlib
import csv
import io
import os
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from jaxnn import checkpoint, plotting
from jaxnn._checks import ConfigError
from jaxnn._evaluate import Evaluation
from jaxnn._fit import FitResult
from jaxnn._saved import CONFIG, FORMAT, HISTORY, METRICS, PARAMS, is_run, sha256
from jaxnn._state import History
from jaxnn._version import __version__
from jaxnn.cli._build import Problem
from jaxnn.cli._config import TrainConfig
from jaxnn.cli._files import write_json, write_whole

PICTURES = ("learning_curves.png", "confusion.png", "reliability.png", "decision_boundary.png")
FILES = (CONFIG, PARAMS, HISTORY, METRICS, *PICTURES)
CONFIG_TRIAL = f"{CONFIG}.trial"  # written and removed, to see whether files can be written at all
LARGEST_CONFUSION = 60  # classes; beyond, the matrix is neither drawn nor written: a megabyte nobody can read
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "scikit-learn", "safetensors")


def claim(config: TrainConfig) -> Path:
    """Return the folder of this run, made and found writable; raise `ConfigError` if it is taken. Nothing in it is
    touched yet.
    """
    if config.run_folder is None:
        return _new(Path("runs", Path(config.data).name.partition(".")[0] or "run"))
    folder = config.run_folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"train: --run-folder is a folder; got the file {folder}; choose another")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found and not config.overwrite:
        raise ConfigError(
            f"train: --run-folder is new or empty; got {folder} with {len(found)} files, {found[0]} among them; "
            "choose another, or pass --overwrite"
        )
    if CONFIG in found and not is_run(folder):
        raise ConfigError(
            f"train: --overwrite replaces the files of an earlier run; got {folder} with a {CONFIG} that jaxnn did not "
            "write; choose another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG_TRIAL, lambda path: path.write_bytes(b""))
        (folder / CONFIG_TRIAL).unlink()
    except OSError as error:
        raise ConfigError(
            f"train: --run-folder can be made and written; got {folder}, which failed with {error.strerror}; choose "
            "another"
        ) from error
    return folder


def give_up(folder: Path) -> None:
    """Remove a folder that was claimed and got no file."""
    with contextlib.suppress(OSError):  # there are files of an earlier run in it
        folder.rmdir()


def clear(folder: Path) -> None:
    """Remove the files of an earlier run, now that those of the new one are at hand; what else is there stays."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def _new(folder: Path) -> Path:
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
                    f"train: runs is a folder; got a file of that name in {Path.cwd()}; pass --run-folder"
                ) from None
            count += 1
            numbered = folder.with_name(f"{folder.name}-{count}")


def write_config(folder: Path, problem: Problem) -> None:
    """Write config.json: everything needed to rebuild the model and to repeat the run."""
    model = problem.objective.model
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "config": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(problem.config).items()},
            "model": {
                "kind": "Mlp",
                "sizes": model.sizes,
                "activation": problem.config.activation,
                "dtype": jax.dtypes.canonicalize_dtype(float).name,
            },
            "likelihood": problem.likelihood,
            "l2": problem.config.l2,
            "schema": problem.train.schema.to_dict(),
            "parts": {name: len(part) for name, part in problem.parts.items()},
            "class_weights": problem.class_weights,
            "seeds": problem.seeds._asdict(),
            "versions": {"jaxnn": __version__, "python": platform.python_version()} | _versions(),
            "device": {"platform": jax.default_backend(), "kind": jax.devices()[0].device_kind},
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "command": sys.argv,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def write_result(folder: Path, result: FitResult) -> None:
    """Write params.safetensors and history.csv."""
    checkpoint.save(folder / PARAMS, result.params)
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, History._fields, lineterminator="\n")
    rows.writeheader()
    rows.writerows(result.history.rows())
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


def draw(folder: Path, problem: Problem, result: FitResult, test: Evaluation) -> None:
    """Draw the pictures that apply; none where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        return
    figures: dict[str, Callable[[], Any]] = {
        "learning_curves.png": lambda: plotting.learning_curves(result.history, result.best_epoch)
    }
    if test.confusion is not None:
        figures["reliability.png"] = lambda: plotting.reliability(test)
        if len(test.confusion) <= LARGEST_CONFUSION:
            figures["confusion.png"] = lambda: plotting.confusion(test, problem.train.schema.class_names)
        if problem.train.num_features == 2:
            figures["decision_boundary.png"] = lambda: plotting.decision_boundary(
                problem.objective, result.params, problem.train
            )
    for name, make in figures.items():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph")  # a letter the font has not: a box is drawn
                figure = make()
                write_whole(folder / name, lambda path, figure=figure: figure.savefig(path, format="png"))
        except Exception as error:  # a run that has ended well is not lost for a picture
            warnings.warn(f"train: no {name}: {type(error).__name__}: {error}", UserWarning, stacklevel=2)


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
