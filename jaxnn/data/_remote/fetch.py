"""`fetch`: a set that is downloaded, whole on this machine before it is needed; `status`: whether it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from jaxnn._errors import ConfigError, suggest
from jaxnn.data._load import LOADERS
from jaxnn.data._remote import cache, sources
from jaxnn.data._remote.progress import FetchProgress

WHO = "data.fetch"


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[FetchProgress], None] | None = None,
) -> Path:
    """Make sure that a set which is downloaded lies whole on this machine; return its folder.

    `load` does the same when it needs to. Call this where there is a network, so that `load` works where there is none.

    Args:
      name: "mnist" (12 MB) or "fashion_mnist" (31 MB).
      folder: where to put the files; it is made. None: the cache that `load` looks into, a folder where the platform
        keeps caches, or under the one that the environment variable JAXNN_CACHE names.
      progress: a function that receives a record of `file`, `done` and `total` bytes, and `mirror`, as a file starts,
        about ten times a second, and when it is in place. None: a line on standard error.

    Returns:
      The folder. Its files have the published sizes and SHA-256, also those that were there before.

    Raises:
      ConfigError: no set of this name, or one that is not downloaded; the folder has another file of the same name,
        which is not replaced; platformdirs is missing (`pip install 'jaxnn[data]'`).
      DownloadError: no mirror gave a file whole, or the folder cannot be written; the text says what each mirror sent,
        and which files to put where by hand. Files that are whole stay, so that the next call goes on.

    Notes:
      Only https, with the certificates and proxies of the environment (SSL_CERT_FILE, HTTPS_PROXY). A file appears
      under its name when its last byte is checked, never before; any number of processes may call this at once. A file
      in the cache that has changed is downloaded again, with a warning.

    Example:
      >>> from jaxnn import data
      >>> folder = data.fetch("fashion_mnist")  # doctest: +SKIP
      >>> data.load("fashion_mnist", part="test")  # doctest: +SKIP
      Dataset('fashion_mnist', 10000 examples, 784 features, 10 classes, images 28x28)
      >>> data.fetch("iris")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxnn._errors.ConfigError: data.fetch: name is a set that is downloaded; got name='iris'; nothing to ...
    """
    if not isinstance(name, str) or name not in sources.SOURCES:
        local = isinstance(name, str) and name in LOADERS
        raise ConfigError(
            f"{WHO}: name is a set that is downloaded; got name={name!r}; "
            + (f"nothing to do, data.load({name!r}) has it at hand" if local else suggest(name, sources.SOURCES))
        )
    if not isinstance(folder, str | os.PathLike | None):
        raise ConfigError(f"{WHO}: folder is the path of a folder; got folder={folder!r}; pass text or a Path")
    if progress is not None and not callable(progress):
        raise ConfigError(f"{WHO}: progress is a function; got progress={progress!r}; leave it out for a line")
    return cache.keep(name, WHO, folder=None if folder is None else Path(folder), progress=progress)


class SetStatus(NamedTuple):
    """Where `load` would take a set from: bytes on this machine, bytes still to come, and the folder, if there is one.

    A folder that an environment variable names is the user's: it is taken as it is, and nothing is downloaded.
    """

    state: Literal["nothing to download", "in the cache", "to download"]
    present: int
    missing: int
    folder: Path | None


def status(name: str) -> SetStatus:
    """Return where a set stands; every byte of its files in the cache is read."""
    source = sources.SOURCES.get(name)
    own = os.environ.get(source.variable) if source else None
    if source is None or own:
        return SetStatus("nothing to download", 0, 0, Path(own) if own else None)
    folder = cache.cache_folder(name, "data.status")
    present = sum(f.size for f in source.files if cache.look(folder / f.name, f) == "whole")
    missing = sum(f.size for f in source.files) - present
    return SetStatus("to download" if missing else "in the cache", present, missing, folder)
