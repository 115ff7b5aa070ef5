"""Which columns of a table are features and which is the label: by name, by position, or as a schema has them."""

import itertools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import ConfigError, DataFormatError, brief, suggest
from jaxnn.data._files.raw import WHO, Wanted
from jaxnn.data._schema import Schema

UNNAMED = ("", "__index_level_0__")  # what pandas calls its row numbers in CSV and in Parquet
LISTED = 20  # columns named in a message


class Typed(str):
    """A column as someone typed it: the name if there is one of that name, else the position if it is a whole number.

    In Python text is a name and an int a position; on a command line everything is text.
    """


class Columns(NamedTuple):
    """The columns of a table that are taken.

    Attributes:
      label: the label, or None where none was asked for.
      features: each column that becomes features, with the categories it is known to have, or None where it holds
        numbers (or categories nobody has told yet).
      keep: columns handed on as they stand.
      unused: the others.
    """

    label: str | None
    features: Sequence[tuple[str, tuple[str, ...] | None]]
    keep: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every column to read, each once."""
        label = [] if self.label is None else [self.label]
        return list(dict.fromkeys([name for name, _ in self.features] + label + list(self.keep)))

    @property
    def numbers(self) -> list[str]:
        """The feature columns of which no categories are known."""
        return [name for name, categories in self.features if categories is None]

    @property
    def categorical(self) -> list[str]:
        """The feature columns of which categories are known, each once."""
        return list(dict.fromkeys(name for name, categories in self.features if categories is not None))


def choose(names: Sequence[str], wanted: Wanted, path: Path | str, named: bool = True) -> Columns:
    """Return the columns to take; without a list of features or a schema, all but the label are features.

    Columns that are not named are those of a file without a header, called column_0, column_1, ...

    Raises:
      DataFormatError: two columns of one name, a feature without one, or one that the schema has and the file has not.
      ConfigError: no label, a column that is not there, no features, the label among the features.
    """
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataFormatError(
                f"{WHO}: columns have different names; got {name!r} for columns {names.index(name)} and {i} of {path}; "
                "rename one of them"
            )
    label = None
    if wanted.labelled:
        if wanted.label is None:
            raise ConfigError(
                f"{WHO}: label is the column to learn; got label=None; pass its name or position, "
                f"the columns of {path} are {_listed(names)}"
            )
        label = find(names, "label", wanted.label, path)
    keep = tuple(find(names, "keep", name, path) for name in wanted.keep)
    if wanted.like is not None:
        features = _known(names, wanted.like, label, keep, path, named)
    else:
        features = [(name, None) for name in _chosen(names, label, wanted, path)]
    taken = {label, *keep, *(name for name, _ in features)}
    return Columns(label, features, keep, tuple(name for name in names if name not in taken))


def _chosen(names: Sequence[str], label: str | None, wanted: Wanted, path: Path | str) -> list[str]:
    """Return the features asked for, or all columns but the label."""
    features = wanted.features
    if features is None:
        chosen = [name for name in names if name != label]
    elif isinstance(features, list | tuple):
        chosen = [find(names, "features", feature, path) for feature in features]
        for i, name in enumerate(chosen):
            if name == label or name in chosen[:i]:
                raise ConfigError(
                    f"{WHO}: features are different columns, without the label; got {name!r} twice; leave it out once"
                )
    else:
        raise ConfigError(no_list(features))
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
    return chosen


def _known(
    names: Sequence[str], like: Schema, label: str | None, keep: tuple[str, ...], path: Path | str, named: bool
) -> list[tuple[str, tuple[str, ...] | None]]:
    """Return the columns that give the features of a schema, in its order; without names in it, all but the label."""
    if like.feature_names is None:
        spare = {label, like.label_name, *keep}
        taken = [name for name in names if name not in spare]
        if named and like.num_features in (None, len(taken)):  # others are refused when they are counted
            warnings.warn(
                f"{WHO}: the columns {_listed(taken)} of {path} are taken as the features in this order, as "
                f"{like.name!r} has no names of features to find them by",
                UserWarning,
                stacklevel=6,  # from the caller of `read`
            )
        return [(name, None) for name in taken]
    if not named and _is_whole_line(like):
        in_all = len(like.feature_names) + 1
        if len(names) == in_all - 1 and label is None:  # the line of an example without its label, wherever that stood
            return [(name, None) for name in names]
        if len(names) != in_all:
            raise DataFormatError(
                f"{WHO}: lines without a header have the {in_all} columns of {like.name!r}, or one less without a "
                f"label; got {len(names)}, in {path}; add a header with the names of the columns"
            )
    places = [_place(feature, names) for feature in like.feature_names]
    missing = [feature for feature, place in zip(like.feature_names, places, strict=True) if place is None]
    if missing:
        spare = [name for name in names if name not in like.feature_names]
        raise DataFormatError(
            f"{WHO}: a file has every feature of {like.name!r}; got no {_listed(missing)} in {path}; "
            f"{_hint(missing[0], spare)}"
        )
    if label in {place[0] for place in places if place}:
        raise ConfigError(
            f"{WHO}: the label is no feature of {like.name!r}; got label={label!r} in {path}; pass the column that is "
            "to be predicted"
        )
    grouped = itertools.groupby((place for place in places if place), key=lambda place: (place[0], place[1] is None))
    return [
        (column, None if is_number else tuple(category for _, category in group if category is not None))
        for (column, is_number), group in grouped
    ]


def _is_whole_line(like: Schema) -> bool:
    """Return whether the training data had no header and all columns of theirs but the label are features."""
    known = [*(like.feature_names or ()), like.label_name]
    return set(known) == {f"column_{i}" for i in range(len(known))}


def _place(feature: str, names: Sequence[str]) -> tuple[str, str | None] | None:
    """Return the column of a feature, and its category if the feature is called "column=category"."""
    if feature in names:
        return feature, None
    bases = [name for name in names if feature.startswith(f"{name}=")]
    return (max(bases, key=len), feature[len(max(bases, key=len)) + 1 :]) if bases else None


def find(names: Sequence[str], option: str, wanted: Any, path: Path | str) -> str:
    """Return the name of a column given by name or position."""
    return names[place_of(names, option, wanted, path)]


def place_of(names: Sequence[str], option: str, wanted: Any, path: Path | str) -> int:
    """Return the position of a column given by name or position; raise `ConfigError` where a number may mean both."""
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    if isinstance(wanted, Typed) and re.fullmatch(r"-?[0-9]{1,9}", wanted):
        wanted = int(wanted)
    if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
        wanted, text = int(wanted), str(wanted)
        at = wanted % len(names) if -len(names) <= wanted < len(names) else None
        if text in names and names.index(text) != at:
            other = "" if at is None else f", or {names[at]!r} for column {at}"
            raise ConfigError(
                f"{WHO}: an int is the position of a column, and {text!r} is the name of column {names.index(text)} of "
                f"{path}; got {option}={wanted}; pass {text!r} for that column{other}"
            )
        if at is not None:
            return at
        hint = f"columns are numbered 0 to {len(names) - 1}, or -1 for the last"
    else:
        hint = _hint(wanted, names)
    raise ConfigError(f"{WHO}: {option} is a column of {path}; got {option}={brief(wanted)}; {hint}")


def no_list(features: Any) -> str:
    """Return what to say about features that are no list of columns."""
    hint = f"pass [{brief(features)}]" if isinstance(features, str | int) else "pass a list"
    return f"{WHO}: features is a list of names or positions; got features={brief(features)}; {hint}"


def _hint(wanted: Any, names: Sequence[str]) -> str:
    """Return what to do about a column that is not there: the near name, the right delimiter, or what there is."""
    foreign = [mark for mark in ";\t|" if len(names) == 1 and mark in names[0]]
    if foreign:
        return f"if cells are separated by {foreign[0]!r}, pass delimiter={foreign[0]!r}"
    near = suggest(wanted, names)
    return near if near.startswith("did you mean") else f"the columns are {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return ", ".join(brief(name) for name in names[:LISTED]) + more
