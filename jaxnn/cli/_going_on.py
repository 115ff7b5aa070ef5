"""`jaxnn train --resume RUN`: the options of a run again, from its config.json."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jaxnn import data
from jaxnn._errors import CheckpointError, ConfigError
from jaxnn._run_files import CHECKPOINTS, CONFIG, PARAMS, json_in
from jaxnn._saved import load_run
from jaxnn.cli._learn_config import TrainConfig
from jaxnn.cli._run_folder import FILE_OPTIONS, checkpoints_in

WHO = "train"
LIMITS = ("epochs", "patience", "save_every")
# What may be given beside --resume. Files may have moved: that they are the same is seen by their digests.
FREE = ("resume", *LIMITS, *FILE_OPTIONS, "quiet", "json", "debug")
PATHS = ("hold_out", "test", "folder", "run_folder")


def reopen(config: TrainConfig) -> tuple[Path, TrainConfig, dict[str, Any]]:
    """Return the folder of the run to go on with, its options with the new ones in place, and its config.json.

    Raises:
      CheckpointError: no such run, or a damaged config.json.
    """
    folder = Path(config.resume or "")
    folder = folder.parent if folder.name == CONFIG else folder
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
    was = _found_again(was, earlier.get("working_folder"))
    limits = {name: value for name in LIMITS if (value := getattr(config, name)) is not None}
    defaults = {field.name: field.default for field in fields(config)}
    moved = {name: value for name in FILE_OPTIONS if (value := getattr(config, name)) != defaults[name]}
    screen = {name: getattr(config, name) for name in ("quiet", "json", "debug")}
    return folder, replace(was, **limits, **moved, **screen), earlier


def check_given(words: Sequence[str]) -> None:
    """Raise `ConfigError` for an option on a command line with --resume that belongs to the run to go on with.

    Words are looked at, not values: one that is also the default has been given, too.
    """
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    names = [word[2:].replace("-", "_") for word in given]
    if "resume" not in names:
        return
    wrong = [word for word, name in zip(given, names, strict=True) if name not in FREE]
    if wrong:
        raise ConfigError(
            f"{WHO}: --resume takes the options of the run, but for --epochs, --patience and where its files are; got "
            f"{', '.join(wrong)}; leave it out, or train a new run"
        )


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

    def there(path: Path) -> Path:
        return path if path.exists() and not (start / path).exists() else start / path

    moved: dict[str, Any] = {
        name: there(path) for name in FILE_OPTIONS[1:] if (path := getattr(config, name)) is not None
    }
    if config.data not in data.names():
        moved["data"] = str(there(Path(config.data)))
    return replace(config, **moved)
