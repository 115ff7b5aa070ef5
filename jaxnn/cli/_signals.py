"""Ctrl-C and SIGTERM in a command: the end at once, or noted while `fit` brings a run to its end."""

import contextlib
import signal
import threading
from typing import Any


class Signals:
    """The signals of the process while a command runs: `with SIGNALS:` around it.

    Attributes:
      received: the first signal, or None. It counts also where Python could not raise it, as inside a callback of
        XLA's, so that the exit code is right.
    """

    def __init__(self):
        self.received: int | None = None
        self._held = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self.received, self._held, self._old = None, False, {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            with contextlib.suppress(TypeError):  # None: it was set outside Python, and cannot be put back
                signal.signal(number, handler)

    def hold(self) -> None:
        """From here on let a first signal be noted only: somebody else looks after it."""
        self._held = True

    def let_go(self) -> None:
        """From here on let every signal end the command."""
        self._held = False

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it; Ctrl-C where none was seen."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def terminated(self) -> bool:
        """Whether the first signal was SIGTERM."""
        return self.received == signal.SIGTERM

    def _handle(self, number: int, frame: Any) -> None:
        del frame
        first = self.received is None
        self.received = number if first else self.received
        if not (first and self._held):
            raise KeyboardInterrupt


SIGNALS = Signals()
