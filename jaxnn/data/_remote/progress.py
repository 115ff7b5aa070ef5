"""How far a download is, on standard error: a line redrawn in place on a terminal, else a line when a file starts."""

import sys
from typing import NamedTuple
from urllib.parse import urlsplit


class FetchProgress(NamedTuple):
    """What `data.fetch(..., progress=function)` hands over: as a file starts, about ten times a second, at its end.

    Attributes:
      file: its name.
      done: bytes received; equal to `total` only when the file is whole, checked and in its place.
      total: its size in bytes.
      mirror: the address it comes from. After a mirror that failed, the next one starts at `done=0`.
    """

    file: str
    done: int
    total: int
    mirror: str


class Line:
    """A function of `FetchProgress` that draws it, and a context that ends a line left open by an error."""

    def __init__(self) -> None:
        self.is_open = False

    def __call__(self, progress: FetchProgress) -> None:
        """Draw how far a file is."""
        file, done, total, mirror = progress
        if sys.stderr is None:  # a program without a console
            return
        if sys.stderr.isatty():
            full = 16 * done // total
            bar = "━" * full + "·" * (16 - full)
            text = f"{bar} {_size(done)} of {_size(total)}  {file} from {urlsplit(mirror).hostname}"
            self.is_open = done < total
            sys.stderr.write(f"\r\x1b[K{text}" + ("" if self.is_open else "\n"))
        elif done == 0:
            sys.stderr.write(f"downloading {file}, {_size(total)}, from {urlsplit(mirror).hostname}\n")
        sys.stderr.flush()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_open:
            sys.stderr.write("\n")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"
