"""What a run writes down of itself while it goes on, and how it goes on from there, to the same bits."""

import contextlib
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn._checks import CheckpointError
from jaxnn._facts import WHO, digest
from jaxnn._state import History, State, Status
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
        epochs, *columns = [*self.rows.T, self.seconds[:-1]]
        columns: Any = columns
        return History(epochs.astype(np.int32), *columns)


class Keeper:
    """Saves a run into a folder while it goes on: a save at a time, in the background."""

    def __init__(self, checkpoints: Checkpoints, about: dict[str, Any]):
        self.checkpoints = checkpoints
        self.about = about
        self.saved = time.perf_counter()  # when the last save began
        self.saving: Future | None = None
        self.replaced = [] if checkpoints.resume else checkpoints.paths()

    def offer(self, reach: Callable[[], Reached]) -> None:
        """Begin to save, if the time has come and the last save is done; raise what went wrong in that.

        Nothing is copied, for the arrays of a state never change.
        """
        if self.saving is not None:
            if not self.saving.done():
                return
            self._settle(self.saving)
            self.saving = None
        if time.perf_counter() - self.saved >= self.checkpoints.every:
            self.saved = time.perf_counter()
            self.saving = self._start(reach())

    def finish(self, reached: Reached) -> None:
        """Wait for the save under way, and save where the run has ended."""
        running, self.saving = self.saving, None
        if running is not None:
            self._settle(running)
        self._settle(self._start(reached))

    def _start(self, reached: Reached) -> Future:
        state = reached.state
        progress = {
            "epoch": int(state.epoch),
            "step": int(state.step),
            "status": str(Status(int(state.status))),
            "best_epoch": int(state.best.epoch),
            "seconds": float(reached.seconds[-1]),
        }
        return self.checkpoints.start(reached._asdict(), self.about | {"progress": progress}, copy=False)

    def _settle(self, save: Future) -> None:
        """Wait for a save; raise or warn where it failed, remove what it replaces where it did not."""
        try:
            save.result()
        except Exception as failure:  # whatever it is: the error carries the result of the run
            error = failure
            if not isinstance(failure, CheckpointError):
                error = CheckpointError(
                    f"{WHO}: a run can be saved; got {type(failure).__name__}: {failure}; try again"
                )
            if self.checkpoints.on_error == "raise":
                raise error from failure
            warnings.warn(f"{error} (the run goes on)", UserWarning, stacklevel=4)
            return
        for path in self.replaced:
            with contextlib.suppress(OSError):  # too many checkpoints are no reason to end a run
                path.unlink()
        self.replaced = []


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
    rows = content.arrays.get("rows", np.zeros((0, len(History._fields) - 1)))
    tree = Reached(like, np.zeros_like(rows), np.zeros(len(rows) + 1))._asdict()
    found = [f"{name} {now.get(name)}, was {was.get(name)}" for name in now | was if now.get(name) != was.get(name)]
    found += differences(WHO, content.arrays, content.keys, tree)
    if found:
        raise CheckpointError(
            f"{WHO}: the folder holds this very run; got {'; '.join(found)}, in path={str(path)!r}; pass what it began "
            "with, choose another folder, or start anew with Checkpoints(folder, resume=False)"
        )
    earlier = content.info.get("environments")
    earlier = [e for e in earlier if isinstance(e, dict)] if isinstance(earlier, list) else []
    before, here = earlier[-1] if earlier else {}, about["environments"][0]
    others = [f"{name} {here[name]}, was {before.get(name)}" for name in here if here[name] != before.get(name)]
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
    return Reached(back, content.arrays["rows"], content.arrays["seconds"])


def progress_in(checkpoints: Checkpoints) -> dict[str, Any] | None:
    """Return how far the newest checkpoint of a run is, from its header alone; None where there is none."""
    for path in checkpoints.paths()[::-1]:
        try:
            return (read_info(path) or {})["info"]["progress"]
        except (OSError, CheckpointError, KeyError, TypeError):
            continue
    return None
