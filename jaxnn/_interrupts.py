"""Ctrl-C and SIGTERM while a run goes on: the first is a request, answered at the next piece; the second acts."""

import signal
import threading
from typing import Any


class Interrupts:
    """Takes signals in place of their handlers inside a `with`, and puts the handlers back.

    SIGINT (Ctrl-C): the first sets `requested`, a second raises `KeyboardInterrupt`.
    SIGTERM, where asked for: the first sets `requested`, and is sent again once the block has ended and the handlers
    are back: to the user's own handler, or to the system's, which ends the program (exit code 143). A second one goes
    there at once.

    A signal that is ignored stays ignored, and one that is handled outside Python, so that its handler could not be put
    back, stays with that. Outside the main thread, where Python lets nobody handle signals, nothing is
    taken.
    """

    def __init__(self, *, also_terminate: bool = False):
        self.numbers = [signal.SIGINT, *([signal.SIGTERM] if also_terminate else [])]
        self.requested: int | None = None
        self.handed_on = False
        self.old: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set outside Python
                    self.old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        del error
        self._restore()
        if self.requested == signal.SIGTERM and not self.handed_on:  # also where the block ended with an error
            signal.raise_signal(signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)
        self.old = {}

    def _handle(self, number: int, frame: Any) -> None:
        del frame
        if self.requested is None:
            self.requested = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self.handed_on = True
            self._restore()
            signal.raise_signal(number)
