"""The run folder: parameters, configuration, history, metrics and pictures, each file written whole or not at all."""

import csv
import io
import json
import math
import os
import platform
import sys
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
from jaxnn._state import History
from jaxnn._version import __version__
from jaxnn.cli._build import Problem
from jaxnn.cli._config import TrainConfig

PICTURES = ("learning_curves.png", "confusion.png", "reliability.png", "decision_boundary.png")
FILES = ("config.json", "params.safetensors", "history.csv", "metrics.json", *PICTURES)
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "scikit-learn", "safetensors")


def claim(config: TrainConfig) -> Path:
    """Return the folder of this run, made and empty of files of earlier runs; raise `ConfigError` if it is taken."""
    if config.run_folder is None:
        stem = f"runs/{config.data}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        folder, count = Path(stem), 1
        while folder.exists():
            count += 1
            folder = Path(f"{stem}-{count}")
    else:
        folder = config.run_folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"train: --run-folder is a folder; got the file {folder}; choose another")
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found and not config.overwrite:
        raise ConfigError(
            f"train: --run-folder is new or empty; got {folder} with {len(found)} files, {found[0]} among them; "
            "choose another, or pass --overwrite"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"train: --run-folder can be made; got {folder}, which failed with {error.strerror}; choose another"
        ) from error
    for name in FILES:  # those of another run; what else is there stays
        (folder / name).unlink(missing_ok=True)
    return folder


def write_config(folder: Path, problem: Problem) -> None:
    """Write config.json: everything needed to rebuild the model and to repeat the run."""
    model = problem.objective.model
    _write_json(
        folder / "config.json",
        {
            "config": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(problem.config).items()},
            "model": {"kind": "Mlp", "sizes": model.sizes, "activation": problem.config.activation},
            "likelihood": problem.likelihood,
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
    checkpoint.save(folder / "params.safetensors", result.params)
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, History._fields, lineterminator="\n")
    rows.writeheader()
    rows.writerows(result.history.rows())
    _write(folder / "history.csv", lambda path: path.write_text(text.getvalue()))


def write_metrics(folder: Path, result: FitResult, evaluations: dict[str, Evaluation]) -> None:
    """Write metrics.json: how the run ended, and the figures of every part."""
    _write_json(
        folder / "metrics.json",
        {
            "status": str(result.status),
            "message": result.message,
            "best_epoch": result.best_epoch,
            "epochs": int(result.history.epoch[-1]),
            "seconds": float(result.history.seconds[-1]),
            **{part: evaluation.to_dict() for part, evaluation in evaluations.items()},
        },
    )


def draw(folder: Path, problem: Problem, result: FitResult, test: Evaluation) -> None:
    """Draw the pictures that apply; none where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        return
    figures: dict[str, Callable[[], Any]] = {
        "learning_curves.png": lambda: plotting.learning_curves(result.history, result.best_epoch)
    }
    if test.confusion is not None:
        figures["confusion.png"] = lambda: plotting.confusion(test, problem.train.schema.class_names)
        figures["reliability.png"] = lambda: plotting.reliability(test)
        if problem.train.num_features == 2:
            figures["decision_boundary.png"] = lambda: plotting.decision_boundary(
                problem.objective, result.params, problem.train
            )
    for name, make in figures.items():
        figure = make()
        _write(folder / name, lambda path, figure=figure: figure.savefig(path, format="png"))


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


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n"
    _write(path, lambda temporary: temporary.write_text(text))


def _without_nan(value: Any) -> Any:
    """Return the value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file, then rename over it."""
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    os.replace(temporary, path)
