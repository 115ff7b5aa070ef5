"""Ctrl-C and SIGTERM while a run goes on: the first is a request, answered at the next piece; the second acts."""

import signal
import threading
from typing import Any


class Interrupts:
    """Takes signals in place of their handlers inside a `with`, and puts the handlers back.

    SIGINT (Ctrl-C): the first sets `requested`, a second raises `KeyboardInterrupt`. Where the first came `too_late` to
    be answered, it is sent again at the end to a handler of the user's own.
    SIGTERM, where asked for: the first sets `requested`, and is sent again once the block has ended and the handlers
    are back: to the user's own handler, or to the system's, which ends the program (exit code 143). A second one goes
    there at once.

    A signal that is ignored stays ignored. Outside the main thread, where Python lets nobody handle signals, nothing is
    taken.
    """

    def __init__(self, *, also_terminate: bool = False):
        self.numbers = [signal.SIGINT, *([signal.SIGTERM] if also_terminate else [])]
        self.requested: int | None = None
        self.too_late = False
        self._handed_on = False
        self._ending = False
        self._again = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set outside Python
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        del error  # SIGTERM is handed on also where the block ended with one
        self._ending = True
        mine = self._old.get(signal.SIGINT) not in (signal.default_int_handler, signal.SIG_DFL, None)
        self._restore()
        if self._again:
            raise KeyboardInterrupt
        if self.requested == signal.SIGTERM and not self._handed_on:
            signal.raise_signal(signal.SIGTERM)
        if self.requested == signal.SIGINT and self.too_late and mine:
            signal.raise_signal(signal.SIGINT)

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _handle(self, number: int, frame: Any) -> None:
        del frame
        if self.requested is None:
            self.requested = number
        elif self._ending:  # while the handlers are put back, and all of them shall be
            self._again = self._again or number == signal.SIGINT
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            self._handed_on = True
            self._restore()
            signal.raise_signal(number)
