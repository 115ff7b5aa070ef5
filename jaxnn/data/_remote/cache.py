"""The folder that keeps downloaded sets: where it is, what lies in it whole, and making it whole."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from jaxnn._errors import ConfigError
from jaxnn.data._remote import sources
from jaxnn.data._remote.download import download
from jaxnn.data._remote.progress import FetchProgress, Line
from jaxnn.data._remote.sources import RemoteFile

VARIABLE = "JAXNN_CACHE"


def cache_folder(name: str, who: str) -> Path:
    """Return where the files of a set are kept: under what JAXNN_CACHE names, or where the platform has its caches."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen), name)
    try:
        import platformdirs
    except ImportError as error:
        raise ConfigError(
            f"{who}: platformdirs knows the cache folder; got no module platformdirs; pip install 'jaxnn[data]', or "
            f"name a folder in the environment variable {VARIABLE}"
        ) from error
    return Path(platformdirs.user_cache_dir("jaxnn", appauthor=False), name)


def look(path: Path, file: RemoteFile) -> Literal["whole", "missing", "damaged"]:
    """Return whether the file lies there whole; every byte is read, for it may have changed since the last time."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            same = size == file.size and hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null character
        return "missing"
    except OSError:  # there, but it cannot be read
        return "damaged"
    return "whole" if same else "damaged"


def owner(path: Path) -> str | None:
    """Return the name of the set that a file belongs to by its content, or None."""
    for name, source in sources.SOURCES.items():
        if any(file.name == path.name and look(path, file) == "whole" for file in source.files):
            return name
    return None


def keep(
    name: str,
    who: str,
    *,
    needed: Iterable[str] | None = None,
    folder: Path | None = None,
    progress: Callable[[FetchProgress], None] | None = None,
) -> Path:
    """Return the folder in which the files of a set lie whole, after downloading those that do not.

    If all that are `needed` are whole, the others are left for another time: one cannot always download. A folder that
    the caller names may hold files of the caller's own: those are never replaced, as damaged ones in the cache are.
    """
    source = sources.SOURCES[name]
    place = cache_folder(name, who) if folder is None else folder
    if needed is not None and all(look(place / f.name, f) == "whole" for f in source.files if f.name in needed):
        return place
    found = {file: look(place / file.name, file) for file in source.files}
    absent = [file for file in source.files if found[file] != "whole"]
    by_hand = f"get {', '.join(file.name for file in absent)} by hand from {source.mirrors[0]} into {place}"
    if folder is None:
        by_hand += f" or any folder that the variable {source.variable} names ({VARIABLE} moves the cache)"
    for file in absent:
        path = place / file.name
        if found[file] == "damaged" and folder is None:
            warnings.warn(
                f"{who}: a file in the cache has the published size and SHA-256; got other bytes in {path}; "
                "downloading it again",
                UserWarning,
                stacklevel=2,
            )
        elif found[file] == "damaged":
            raise ConfigError(
                f"{who}: no other file of that name is replaced; got {path}, {_belongs(path)}; move it, or "
                "choose another folder"
            )
    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(Line()) if progress is None else progress
        mirrors = source.mirrors
        for file in absent:
            good = download(file, mirrors, place, who=who, by_hand=by_hand, progress=tell)
            # The one that works is asked first from now on: another may have taken its time to fail.
            mirrors = (good, *(mirror for mirror in source.mirrors if mirror != good))
    return place


def _belongs(path: Path) -> str:
    other = owner(path)
    return f"a file of {other}" if other else "which has not the published size and SHA-256"
