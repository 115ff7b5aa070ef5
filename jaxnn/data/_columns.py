"""Which columns of a table are features and which is the label: by name or by position."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnn._checks import ConfigError, DataFormatError, suggest
from jaxnn.data._raw import WHO

UNNAMED = ("", "__index_level_0__")  # what pandas calls its row numbers in CSV and in Parquet
LISTED = 20  # columns named in a message


def choose(names: Sequence[str], label: Any, features: Any, path: Path) -> tuple[str, list[str]]:
    """Return the name of the label column and the names of the feature columns, by default all others.

    Raises:
      DataFormatError: two columns of one name, or a feature without one.
      ConfigError: no label, a column that is not there, no features, the label among the features.
    """
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataFormatError(
                f"{WHO}: columns have different names; got {name!r} for columns {names.index(name)} and {i} of {path}; "
                "rename one of them"
            )
    if label is None:
        raise ConfigError(
            f"{WHO}: label is the column to learn; got label=None; pass its name or position, "
            f"the columns of {path} are {_listed(names)}"
        )
    wanted = _find(names, "label", label, path)
    if features is None:
        chosen = [name for name in names if name != wanted]
    elif isinstance(features, list | tuple):
        chosen = [_find(names, "features", feature, path) for feature in features]
        for i, name in enumerate(chosen):
            if name == wanted or name in chosen[:i]:
                raise ConfigError(
                    f"{WHO}: features are different columns, without the label; got {name!r} twice; leave it out once"
                )
    else:
        raise ConfigError(
            f"{WHO}: features is a list of names or positions; got features={features!r}; pass [{features!r}]"
        )
    if not chosen:
        raise ConfigError(
            f"{WHO}: there is at least one feature; got columns {_listed(names)} with label={label!r}, in {path}; "
            "add a column, or pass the right delimiter=..."
        )
    for name in chosen:
        if name in UNNAMED:
            raise DataFormatError(
                f"{WHO}: features have names; got {name!r} for column {names.index(name)} of {path}, as pandas names "
                "row numbers; write the file with index=False, or pass features=[...]"
            )
    return wanted, chosen


def _find(names: Sequence[str], option: str, wanted: Any, path: Path) -> str:
    """Return the name of a column given by name or position."""
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if -len(names) <= wanted < len(names):
            return names[wanted]
        hint = f"columns are numbered 0 to {len(names) - 1}, or -1 for the last"
    elif isinstance(wanted, str) and wanted in names:
        return wanted
    else:
        near = suggest(wanted, names)
        hint = near if near.startswith("did you mean") else f"the columns are {_listed(names)}"
        foreign = [mark for mark in ";\t|" if len(names) == 1 and mark in names[0]]
        hint = f"if cells are separated by {foreign[0]!r}, pass delimiter={foreign[0]!r}" if foreign else hint
    raise ConfigError(f"{WHO}: {option} is a column of {path}; got {option}={wanted!r}; {hint}")


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return ", ".join(repr(name) for name in names[:LISTED]) + more
