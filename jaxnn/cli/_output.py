"""Writing to standard output and standard error: whole lines, nothing a terminal obeys, no fault when nobody reads."""

import os
import sys
from typing import Any


def write(text: str) -> None:
    """Write to standard output at once; once nobody reads it any more, work goes on without it."""
    if sys.stdout is None:  # closed by whoever started the program
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `jaxnn show RUN | head`
        discard_output()


def say(*lines: str) -> None:
    """Print lines, without what a terminal would obey: names come from files of strangers."""
    write("".join(f"{printable(line)}\n" for text in lines for line in (text.splitlines() or [""])))


def complain(text: str) -> None:
    """Print one line on standard error, with the name of the program."""
    if sys.stderr is not None:
        print(f"jaxnn: {printable(' '.join(text.split()))}", file=sys.stderr)


def printable(text: Any) -> str:
    """Return text with ? for every character that is none: a colour code, a bell, a half of a pair."""
    return "".join(mark if mark.isprintable() else "?" for mark in str(text))


def discard_output() -> None:
    """Let what is still to be printed go nowhere, so that the interpreter does not stumble over it when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # no real file, as in a test
        pass
