"""The typed errors, and the words that their messages put values in.

Every message reads *who: rule; got name=value; what to do*.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

LISTED = 10  # names in a message


class ShapeError(ValueError):
    """An array has the wrong rank or size, or two arrays do not belong together."""


class DtypeError(TypeError):
    """A value is of a kind that cannot be used here: text, objects, complex numbers, dates."""


class LabelError(ValueError):
    """A label is no class of this problem."""


class NonFiniteError(ValueError):
    """A NaN or an infinity stands where a number is needed."""


class ConfigError(ValueError):
    """An option has a value that means nothing, or two options contradict each other."""


class DataFormatError(ValueError):
    """A data file is not what its name or header says."""


class DownloadError(ValueError, OSError):
    """A file could not be downloaded: no mirror gave it whole, or its folder cannot be written."""


class CheckpointError(ValueError):
    """A saved file is damaged, belongs to another model, or cannot be written.

    `result` is, where a save of `fit` failed, the `FitResult` that it had reached.
    """

    result: Any = None


class MemoryBudgetError(ValueError, MemoryError):
    """What was asked for needs more memory than it was given; nothing was allocated."""


@contextmanager
def in_the_name_of(who: str, instead_of: str | None = None) -> Iterator[None]:
    """Let an error of a room further in begin with the verb that the user called, if it began with that other one."""
    try:
        yield
    except (ShapeError, DtypeError, LabelError, NonFiniteError, ConfigError, DataFormatError) as error:
        speaker, _, text = str(error).partition(": ")
        if instead_of not in (None, speaker):
            raise
        raise type(error)(f"{who}: {text}") from error


def suggest(name: Any, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for a near miss, else what there is: the first few names and how many there are."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {brief(near[0])}?"
    more = f", ... ({len(known):,} in all)" if len(known) > LISTED else ""
    return f"choose one of {', '.join(one if len(one) <= 60 else brief(one) for one in known[:LISTED])}{more}"


def brief(value: Any) -> str:
    """Return a short description of a value for a message."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # a data frame has no one type
        return f"{type(value).__name__}{list(value.shape)} of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def said(size: int | float) -> str:
    """Return bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError
