"""`jaxnn train --resume RUN`: the options of a run again, from its config.json."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jaxnn import data
from jaxnn._checks import CheckpointError, ConfigError
from jaxnn._run_files import CHECKPOINTS, CONFIG, PARAMS, json_in
from jaxnn._saved import load_run
from jaxnn.cli._config import TrainConfig
from jaxnn.cli._run_folder import checkpoints_in

WHO = "train"
FREE = ("resume", "epochs", "patience", "save_every", "quiet", "json", "debug")  # what may be given beside --resume
PATHS = ("hold_out", "test", "folder", "run_folder")


def reopen(config: TrainConfig) -> tuple[Path, TrainConfig, dict[str, Any]]:
    """Return the folder of the run to go on with, its options with the new ones in place, and its config.json.

    Raises:
      ConfigError: an option that belongs to the run, and cannot change any more.
      CheckpointError: no such run, or a damaged config.json.
    """
    folder = Path(config.resume or "")
    folder = folder.parent if folder.name == CONFIG else folder
    given = [
        f"--{field.name.replace('_', '-')} {getattr(config, field.name)}"
        for field in fields(config)
        if field.name not in FREE and getattr(config, field.name) != field.default
    ]
    if given:
        raise ConfigError(
            f"{WHO}: --resume takes the options of the run, but for --epochs and --patience; got {', '.join(given)}; "
            "leave it out, or train a new run"
        )
    if not (folder / CONFIG).is_file():
        load_run(folder)  # says what is wrong, and which run may be meant
        raise CheckpointError(
            f"{WHO}: --resume goes on with a run of `jaxnn train`; got {folder}, of `fit`; call fit again, with the "
            "same folder"
        )
    if not checkpoints_in(folder).paths() and (folder / PARAMS).exists():
        raise CheckpointError(
            f"{WHO}: a run goes on from a checkpoint; got {folder}, in which {CHECKPOINTS} holds none; train a new run"
        )
    earlier = json_in(folder / CONFIG)
    try:
        was = TrainConfig(**{name: _as_typed(name, value) for name, value in earlier["config"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{WHO}: {CONFIG} holds the options of a run; got {type(error).__name__}: {error}, in {folder / CONFIG}; "
            "restore the file or train again"
        ) from error
    new = {name: value for name in FREE if (value := getattr(config, name)) is not None}
    was = replace(was, **new | {"resume": None})
    return folder, _found_again(was, earlier.get("working_folder")), earlier


def _as_typed(name: str, value: Any) -> Any:
    """Return an option as the command line gives it, from JSON."""
    if name in PATHS and value is not None:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _found_again(config: TrainConfig, working_folder: Any) -> TrainConfig:
    """Return the options with files where they were, seen from the folder the run was started in."""
    if not isinstance(working_folder, str):
        return config
    start = Path(working_folder)
    moved = {name: start / path for name in PATHS[:-1] if (path := getattr(config, name)) is not None}
    if config.data not in data.names():
        moved["data"] = str(start / config.data)
    return replace(config, **moved)
