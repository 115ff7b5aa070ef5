"""Files written whole or not at all: a temporary one beside it, flushed to the disk, then renamed over it.

Whatever happens in between, an error, Ctrl-C, a kill or a power cut, a reader finds the old file or the new one. A
temporary file that a killed process left behind is swept away by the next writer in its folder: while a process writes
it holds a lock on it, which the system lets go of when the process ends.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is swept
    fcntl = None

_WINDOWS = os.name == "nt"
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


@contextlib.contextmanager
def whole(final: Callable[[], Path], folder: Path) -> Iterator[tuple[int, Path]]:
    """Give the handle and the path of a temporary file in the folder; it becomes `final()` at the end of the block.

    `final` is called when everything is on the disk. After any exception the temporary file is gone.

    Raises:
      OSError: from the disk. The file may stand under its name even so, if only its folder could not be flushed.
    """
    sweep(folder)
    handle, temporary = _open(folder)
    try:
        yield handle, temporary
        os.fsync(handle)
        if _WINDOWS:  # it renames no open file
            os.close(handle)
        os.replace(temporary, final())
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    finally:
        if not _WINDOWS:
            os.close(handle)
    flush_folder(folder)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file in the same folder, then give it the final name."""
    with whole(lambda: path, path.parent) as (_, temporary):
        write(temporary)


def write_all(handle: int, data: Any) -> None:
    """Write bytes, in as many calls as the system wants."""
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(handle, left) :]


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if _WINDOWS:  # it opens no folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder that outlives a power cut, sweep it, and see whether files can be written in it; raise `OSError` if
    not.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush_folder(path.parent)
    sweep(folder)
    handle, trial = _open(folder)
    try:
        write_all(handle, b"trial")
    finally:
        os.close(handle)
        trial.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder; give whether nobody else holds it.

    The lock is on the folder itself, leaves nothing behind, and goes with the process, however that ends. Where there
    are no locks everybody gets it.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle, wait=False) is not False
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files whose writers are gone."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                _remove_abandoned(path)


def _open(folder: Path) -> tuple[int, Path]:
    """Create and lock a temporary file; who may read it is up to the umask."""
    while True:
        path = folder / f".{secrets.token_hex(8)}.tmp"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if _lock(handle, wait=True) and os.fstat(handle).st_nlink == 0:  # swept before it was locked
            os.close(handle)
            continue
        return handle, path


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process swept it, or the file belongs to somebody else
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle, wait=False):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _lock(handle: int, wait: bool) -> bool | None:
    """Lock an open file for this process; return whether it is, None where the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
