"""What a run writes down of itself while it goes on, and how it goes on from there, to the same bits."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn._errors import CheckpointError
from jaxnn._facts import WHO, digest
from jaxnn._state import COLUMNS, History, State, Status, full_rows, history_of
from jaxnn._whole import locked
from jaxnn.checkpoint import Checkpoints
from jaxnn.checkpoint._format import read_info
from jaxnn.checkpoint._tree import differences, unflatten


class Reached(NamedTuple):
    """How far a run is: all that is saved of it.

    Attributes:
      state: the whole state.
      rows: the history, `dtype[E, 7]`, a row an epoch completed, from the first of the run.
      seconds: of training until each row, and until now, `float64[E + 1]`.
    """

    state: State
    rows: np.ndarray
    seconds: np.ndarray

    @property
    def history(self) -> History:
        """The rows and their clock."""
        return history_of(self.rows, self.seconds[:-1])


class Keeper:
    """Saves a run into a folder while it goes on: a save at a time, in the background."""

    def __init__(self, checkpoints: Checkpoints, about: dict[str, Any]):
        self.checkpoints = checkpoints
        self.about = about
        self.saved = time.perf_counter()  # when the last save began
        self.saving: Future | None = None
        self.replaced = [] if checkpoints.resume else checkpoints.paths()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out of the folder; raise `CheckpointError` where one is saved there just now."""
        with locked(Path(self.checkpoints.folder)) as free:
            if not free:
                raise CheckpointError(
                    f"{WHO}: one run at a time is saved in a folder; got folder={str(self.checkpoints.folder)!r}, in "
                    "which another is at work; wait for it, or choose another folder"
                )
            yield

    def offer(self, reach: Callable[[], Reached]) -> None:
        """Begin to save, if the time has come and the last save is done; raise what went wrong in that.

        Nothing is copied, for the arrays of a state never change.
        """
        if self.saving is not None:
            if not self.saving.done():
                return
            self._settle()
        if time.perf_counter() - self.saved >= self.checkpoints.every:
            self._start(reach())

    def finish(self, reached: Reached) -> None:
        """Wait for the save under way, and save where the run has ended."""
        self._settle()
        self._start(reached)
        self._settle()

    def _start(self, reached: Reached) -> None:
        """Begin to save."""
        self.saved = time.perf_counter()
        state = reached.state
        progress = {
            "epoch": int(state.epoch),
            "step": int(state.step),
            "status": str(Status(int(state.status))),
            "best_epoch": int(state.best.epoch),
            "seconds": float(reached.seconds[-1]),
        }
        about = self.about | {"progress": progress}
        with self._told():
            if not Path(self.checkpoints.folder).is_dir():
                raise CheckpointError(
                    f"{WHO}: the folder stays where it is; got folder={str(self.checkpoints.folder)!r}, which is gone; "
                    "put it back, or go on from another"
                )
            value = float(state.best.value)
            self.saving = self.checkpoints.start(reached._asdict(), about, value=value, copy=False)

    def _settle(self) -> None:
        """Wait for the save under way, and remove what it replaces once it is done."""
        saving, self.saving = self.saving, None
        if saving is None:
            return
        with self._told():
            saving.result()
            for path in self.replaced:
                with contextlib.suppress(OSError):  # too many checkpoints are no reason to end a run
                    path.unlink()
            self.replaced = []

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Let what goes wrong be a `CheckpointError`, whatever it is, or a warning where that was asked for."""
        try:
            yield
        except Exception as failure:
            error = failure
            if not isinstance(failure, CheckpointError):
                what = f"{type(failure).__name__}: {failure}"
                error = CheckpointError(f"{WHO}: a run can be saved; got {what}; try again")
            if self.checkpoints.on_error == "raise":
                raise error from failure
            warnings.warn(f"{error} (the run goes on)", UserWarning, stacklevel=6)


def goes_on(checkpoints: Checkpoints, about: dict[str, Any], key: Any, like: State) -> Reached | None:
    """Return where the run in a folder stopped; None where the folder holds none, or none is asked for.

    Args:
      checkpoints: the folder.
      about: this run, of `about_run`; it learns of the environments that the run has seen.
      key: as it was passed.
      like: the state of this run before it begins.

    Raises:
      CheckpointError: the folder holds another run; every difference is named. Or nothing in it is whole.

    Warns:
      UserWarning: the run goes on, but on another machine, with other versions or flags, so not to the same bits.
    """
    if not checkpoints.resume or not checkpoints.paths():
        return None
    path, content = checkpoints.newest_content(WHO)
    was, now = content.info.get("facts"), dict(about["facts"])
    if content.info.get("what") != "run" or not isinstance(was, dict):
        raise CheckpointError(
            f"{WHO}: the folder holds checkpoints of a run; got path={str(path)!r}, saved by other means; choose "
            "another folder"
        )
    impl = content.keys.get("state.key")
    if not isinstance(key, jax.Array) and impl is not None:  # the stream is that of the seed and the saved kind of key
        like = like._replace(key=jax.random.key(int(key), impl=impl))
        now["key"] = digest(like.key)
    earlier = content.info.get("environments")
    earlier = [e for e in earlier if isinstance(e, dict)] if isinstance(earlier, list) else []
    before, here = earlier[-1] if earlier else {}, about["environments"][0]
    others = [f"{name} {here[name]}, was {before.get(name)}" for name in here if here[name] != before.get(name)]
    ignored = ("params", "opt_state", "key") if others else ()  # drawn from a seed, they depend on the environment
    rows = content.arrays.get("rows", np.zeros((0, COLUMNS)))
    tree = Reached(like, np.zeros_like(rows), np.zeros(len(rows) + 1))._asdict()
    found = [
        f"{name} {now.get(name)}, was {was.get(name)}"
        for name in now | was
        if now.get(name) != was.get(name) and name not in ignored
    ]
    found += differences(WHO, content.arrays, content.keys, tree)
    if found:
        raise CheckpointError(
            f"{WHO}: the folder holds this very run; got {'; '.join(found)}, in path={str(path)!r}; pass what it began "
            "with, choose another folder, or start anew with Checkpoints(folder, resume=False)"
        )
    about["environments"] = [*earlier, here] if others else earlier
    if others:
        warnings.warn(
            f"{WHO}: same bits need the same machine, versions and flags; got {'; '.join(others)}; the run goes on, "
            "but not to the bits of one that was never interrupted",
            UserWarning,
            stacklevel=3,
        )
    state, keys = {"state": like}, content.keys
    back = unflatten({n: a for n, a in content.arrays.items() if n.startswith("state.")}, keys, state)["state"]
    return Reached(back, full_rows(content.arrays["rows"]), content.arrays["seconds"])


def progress_in(checkpoints: Checkpoints) -> dict[str, Any] | None:
    """Return how far the newest checkpoint of a run is, from its header alone; None where there is none."""
    for path in checkpoints.paths()[::-1]:
        try:
            return (read_info(path) or {})["info"]["progress"]
        except (OSError, CheckpointError, KeyError, TypeError):
            continue
    return None
