"""A folder of checkpoints: each save is a new generation, the newest few are kept, and the best.

A generation is one file, `00000012-3f9a02b1.safetensors`: its number, and a random part by which two processes that
write at once choose different names. Nothing is ever changed in place. Pruning begins once the new generation is on the
disk.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnn._checks import check_choice, check_flag, check_integer, check_number
from jaxnn._errors import CheckpointError, brief
from jaxnn._whole import make_folder, whole
from jaxnn.checkpoint._file import Content, as_path, fitted, header, unwritable
from jaxnn.checkpoint._folder import best_first, first_whole, generations_in, newest_first, next_in, prune
from jaxnn.checkpoint._format import write_tensors
from jaxnn.checkpoint._tree import flatten


class Generation(NamedTuple):
    """One of the checkpoints of a folder.

    Attributes:
      tree: what was saved.
      info: the JSON object it was saved with.
      path: its file.
    """

    tree: Any
    info: dict[str, Any]
    path: Path


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints, and how they are kept.

    Args:
      folder: made by the first save. Other files in it are left alone.
      keep: how many of the newest to keep, >= 1; the best is kept besides.
      every: seconds between two saves of `fit`, >= 0. A run that is killed loses no more than that, and one save.
      resume: whether `fit` goes on with the run in the folder, if there is one. False: it starts anew, and what is in
        the folder goes with its first save.
      on_error: what `fit` does when a save fails: "raise" ends the run, and the error's `result` is what it had
        reached; "warn" goes on and tries again.

    Raises:
      ConfigError, CheckpointError: an option out of range, a folder that is no path.

    Example:
      >>> import jaxnn, tempfile
      >>> folder = jaxnn.checkpoint.Checkpoints(tempfile.mkdtemp(), keep=2)
      >>> model = jaxnn.Mlp((2, 3, 1))
      >>> for step in range(5):
      ...     path = folder.save(model.init(step), {"step": step}, value=-abs(step - 1))
      >>> folder.latest(like=model.init(0)).info, folder.best(like=model.init(0)).info, len(folder.paths())
      ({'step': 4}, {'step': 1}, 3)
    """

    folder: str | PathLike[str]
    keep: int = 2
    every: float = 10.0
    resume: bool = True
    on_error: Literal["raise", "warn"] = "raise"

    def __post_init__(self):
        who = "Checkpoints"
        object.__setattr__(self, "folder", as_path(who, "folder", self.folder))
        check_integer(who, "keep", self.keep, at_least=1)
        check_number(who, "every", self.every)
        check_flag(who, "resume", self.resume)
        check_choice(who, "on_error", self.on_error, ("raise", "warn"))

    def save(self, tree: Any, info: dict[str, Any] | None = None, *, value: float | None = None) -> Path:
        """Write a generation and prune older ones.

        Args:
          tree, info: see `checkpoint.save`.
          value: larger is better; the generation of the largest is kept. None, NaN or infinite: it is never the best.

        Returns:
          The file.

        Raises:
          CheckpointError: see `checkpoint.save`; no older generation was removed.
        """
        return self._write(*self._snapshot(tree, info, value, copy=False))

    def start(
        self, tree: Any, info: dict[str, Any] | None = None, *, value: float | None = None, copy: bool = True
    ) -> "Future[Path]":
        """Copy the tree, and write the copy in the background: what happens to the tree later changes nothing.

        Args:
          tree, info, value: as for `save`.
          copy: False for a tree of JAX arrays that are not donated: they never change, so no copy is needed.

        Returns:
          A future: `result()` waits for the file, and raises what went wrong. A program that ends waits, too.
        """
        return in_background(self._write, *self._snapshot(tree, info, value, copy=copy))

    def latest(self, like: Any) -> Generation:
        """Return the newest generation; one that is damaged is skipped with a warning.

        Args:
          like: see `checkpoint.load`.

        Raises:
          CheckpointError: none is whole; the newest whole one differs from `like`, or has a newer format; one cannot be
            read (an older one in its place would be a guess).

        Warns:
          UserWarning: a generation was skipped.
        """
        return self._fitted(like, "latest", newest_first)

    def best(self, like: Any) -> Generation:
        """Return the generation of the largest value, the newest on ties; otherwise as `latest`."""
        return self._fitted(like, "best", best_first)

    def paths(self) -> list[Path]:
        """Return the files of the generations, the oldest first; none where there is no folder."""
        return generations_in(Path(self.folder))

    def newest_content(self, who: str) -> tuple[Path, Content]:
        """Return the newest generation that is whole, as it stands in its file; see `latest`."""
        return first_whole(who, Path(self.folder), newest_first)

    def make_folder(self, who: str) -> None:
        """Make the folder; raise `CheckpointError` where that fails, or no file can be written in it."""
        try:
            make_folder(Path(self.folder))
        except OSError as error:
            raise unwritable(who, Path(self.folder), error) from error

    def _snapshot(self, tree: Any, info: Any, value: Any, *, copy: bool) -> tuple[dict[str, np.ndarray], str]:
        who = "Checkpoints.save"
        try:
            if isinstance(value, str | bytes):  # which float would read
                raise TypeError
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"{who}: value is a number; got value={brief(value)}; pass a float") from error
        value = number if math.isfinite(number) else None
        named, keys = flatten(who, tree, copy=copy)
        return named, header(who, info, keys, value=value)

    def _write(self, named: dict[str, np.ndarray], head: str) -> Path:
        folder, path = Path(self.folder), Path()

        def final() -> Path:
            nonlocal path
            path = next_in(folder)
            return path

        try:
            if not folder.is_dir():
                make_folder(folder)
            with whole(final, folder) as (handle, _):
                write_tensors(handle, named, head)
        except OSError as error:
            raise unwritable("Checkpoints.save", folder, error) from error
        prune(folder, self.keep, path)
        return path

    def _fitted(self, like: Any, which: str, order: Any) -> Generation:
        who = f"Checkpoints.{which}"
        path, content = first_whole(who, Path(self.folder), order)
        return Generation(fitted(who, path, content, like), content.info, path)


def in_background(function: Callable[..., Any], *args: Any) -> "Future[Any]":
    """Call a function in a thread of its own; a program that ends waits for it."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="checkpoint").start()
    return future
