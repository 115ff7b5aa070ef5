"""From what the user typed to data: a name or a file, a column by name or position, options that belong to files."""

import warnings
from pathlib import Path
from typing import Any

from jaxnn import data
from jaxnn._errors import ConfigError, suggest
from jaxnn.cli._learn_config import LearnConfig, Table
from jaxnn.data import Dataset
from jaxnn.data._files.columns import Typed

FILE_OPTIONS = ("label", "labels", "num_classes", "regression", "features", "hold_out", "test", "header", "delimiter")


def is_name(who: str, text: str) -> bool:
    """Return whether the text names a data set, not a file; raise `ConfigError` where it is neither."""
    names = data.names()
    if text in names:
        return True
    path = Path(text)
    if path.exists():
        return False
    beside = [str(other) for other in path.parent.glob("*") if other.suffix and other.is_file()]
    near = suggest(text, [*names, *beside])
    hint = near if near.startswith("did you mean") else f"the current folder is {Path.cwd()}"
    raise ConfigError(f"{who}: data is a file or one of {', '.join(names)}; got data={text!r}; {hint}")


def column(text: str | None) -> Typed | None:
    """Return a column as `data.read` takes one that was typed: a name if there is one of that name, else a position."""
    return None if text is None else Typed(text)


def table_options(config: Table) -> dict[str, Any]:
    """Return how a file with columns is read, for `data.read`."""
    header = {"auto": None, "yes": True, "no": False}[config.header]
    delimiter = "\t" if config.delimiter == "\\t" else config.delimiter
    return {"header": header, "delimiter": delimiter}


def read_file(config: LearnConfig) -> Dataset:
    """Return the data of the file to train on."""
    features = None if config.features is None else [column(name) for name in config.features]
    return data.read(
        config.data,
        label=column(config.label),
        labels=config.labels,
        num_classes=config.num_classes,
        regression=config.regression,
        features=features[0] if features and config.data.endswith(".npz") else features,
        **table_options(config),
    )


def read_other(config: LearnConfig, path: Path, given: Dataset) -> Dataset:
    """Return the data of a hold-out or test file, which is like the one given."""
    if given.schema.image_shape is not None:
        raise ConfigError(
            f"{config.who}: for IDX images hold-out and test are parts of --data, whose labels are in one file; got "
            f"{path}; leave it out"
        )
    if path.exists() and path.samefile(config.data):
        warnings.warn(
            f"hold-out and test files are others than --data; got {path} twice: its figures will flatter",
            UserWarning,
            stacklevel=2,
        )
    features = config.features[0] if config.features and path.suffix == ".npz" else None
    return data.read(
        path,
        like=given,
        label=given.schema.label_name or config.label,
        features=features,
        **table_options(config),
    )


def check_no_file_options(config: LearnConfig) -> None:
    """Raise `ConfigError` for an option of files beside the name of a data set."""
    for option in FILE_OPTIONS:
        value, default = getattr(config, option), LearnConfig.__dataclass_fields__[option].default
        if value != default:
            flag = option.replace("_", "-")
            raise ConfigError(
                f"{config.who}: --{flag} goes with a file; got --{flag} {value} with data={config.data!r}, a set "
                "known by name; leave it out, or pass --data FILE"
            )
