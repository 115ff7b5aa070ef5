"""A folder of generations on the disk: which there are, which goes first, which may go.

Pruning is safe beside any number of writers and readers without a lock: each removes only what is old by its own look
at the folder, and the folder only gets newer; who has opened a file keeps it, who comes too late looks again.
"""

import contextlib
import re
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path

from jaxnn._errors import CheckpointError
from jaxnn._whole import flush_folder
from jaxnn.checkpoint._file import Content, read_content, value_of
from jaxnn.checkpoint._format import DamagedError

_NAME = re.compile(r"(\d{8,})-[0-9a-f]+\.safetensors")


def generations_in(folder: Path) -> list[Path]:
    """Return the files of the generations, the oldest first; none where there is no folder."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(
            f"Checkpoints: the folder can be read; got folder={str(folder)!r}: {error}; choose another"
        ) from error
    return sorted(found, key=lambda path: (_number(path), path.name))


def next_in(folder: Path) -> Path:
    """Return the name of the next generation."""
    number = max(map(_number, generations_in(folder)), default=0) + 1
    return folder / f"{number:08d}-{secrets.token_hex(4)}.safetensors"


def prune(folder: Path, keep: int, mine: Path) -> None:
    """Remove all generations but the newest few and the best, as far as that is possible; `mine` is on the disk."""
    paths = generations_in(folder)
    if len(paths) <= keep:
        return
    values: dict[Path, float] = {}
    kept = set(paths[-keep:])
    for path in paths:
        try:
            if (value := value_of(path)) is not None:
                values[path] = value
        except OSError:  # gone, or not to be read just now: it may be the best
            kept.add(path)
    kept.add(max(values, key=lambda path: (values[path], path.name), default=paths[-1]))
    with contextlib.suppress(OSError):  # too many checkpoints are no reason to end a run
        if paths[-1] != mine:  # it is another writer's, and may not be on the disk yet
            flush_folder(folder)
        for path in paths:
            if path not in kept:
                path.unlink(missing_ok=True)


def first_whole(who: str, folder: Path, order: Callable[[list[Path]], list[Path]]) -> tuple[Path, Content]:
    """Return the first generation in this order that is whole, looking anew where one was pruned meanwhile.

    Raises:
      CheckpointError: none is whole, or one cannot be read or has a newer format.

    Warns:
      UserWarning: a damaged one was skipped.
    """
    damaged: dict[Path, str] = {}
    gone: set[Path] = set()
    while True:
        try:
            left = [path for path in order(generations_in(folder)) if path not in damaged]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckpointError(
                f"{who}: the folder can be read; got folder={str(folder)!r}: {error}; try again"
            ) from error
        if not left:
            break
        path = left[0]
        try:
            content = read_content(who, path)
        except DamagedError as error:
            damaged[path] = str(error).partition("; got ")[2].rpartition("; ")[0]
            continue
        except CheckpointError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            if path in gone:  # and still listed: a link to nowhere
                damaged[path] = f"path={str(path)!r}: no such file"
            gone.add(path)
            continue
        if damaged:
            warnings.warn(
                f"{who}: every checkpoint is whole; got {', '.join(damaged.values())}; took {path.name}, the next "
                "one that is",
                UserWarning,
                stacklevel=4,
            )
        return path, content
    why = f"; got {', '.join(damaged.values())}" if damaged else f"; got folder={str(folder)!r} with none"
    if not damaged and generations_in(folder):
        raise CheckpointError(
            f"{who}: a generation was saved with a value; got folder={str(folder)!r} with none of these; pass value to "
            "save, or take the latest"
        )
    raise CheckpointError(f"{who}: the folder holds a checkpoint that is whole{why}; save one, or restore a copy")


def newest_first(paths: list[Path]) -> list[Path]:
    """Return the generations, the newest first."""
    return paths[::-1]


def best_first(paths: list[Path]) -> list[Path]:
    """Return the generations that have a value, the best first; raise `FileNotFoundError` if one was pruned."""
    values: dict[Path, float] = {}
    for path in paths:
        try:
            value = value_of(path)
        except FileNotFoundError:
            if path.is_symlink():  # to nowhere, and nobody prunes it
                continue
            raise
        if value is not None:
            values[path] = value
    return sorted(values, key=lambda path: (values[path], path.name), reverse=True)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])
