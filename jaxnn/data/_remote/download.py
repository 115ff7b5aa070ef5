"""One file from its mirrors in turn: whole or not at all."""

import contextlib
import hashlib
import http.client
import io
import os
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from jaxnn._errors import DownloadError
from jaxnn._version import __version__
from jaxnn.data._remote.progress import FetchProgress
from jaxnn.data._remote.sources import RemoteFile

TIMEOUT = 20.0  # seconds without a byte, also for connecting
CHUNK = 2**16
MAX_REDIRECTS = 5
REPORT_EVERY = 0.1  # seconds


class _RefusedError(Exception):
    """Why one mirror did not give the file; the next one may."""


class _DiskError(Exception):
    """Why the file could not be written; no other mirror can help."""


def download(
    file: RemoteFile,
    mirrors: Sequence[str],
    folder: Path,
    *,
    who: str,
    by_hand: str,
    progress: Callable[[FetchProgress], None],
) -> str:
    """Put a file into a folder, which is made, and return the mirror that gave it.

    `who` asks, and `by_hand` says how to go without, for the messages.

    Raises:
      DownloadError: no mirror gave the file, or the folder cannot be written. Nothing is left behind.
    """
    refusals = []
    for mirror in mirrors:
        url = mirror + file.name
        try:
            _bring(file, url, folder, progress)
            return mirror
        except _RefusedError as refusal:
            refusals.append(f"{refusal} from {url}")
        except _DiskError as error:
            raise DownloadError(
                f"{who}: the folder can be written; got {error} in {str(folder)!r}; free space, choose another folder, "
                f"or {by_hand}"
            ) from error.__cause__
    raise DownloadError(
        f"{who}: a mirror gives {file.name} whole ({file.size:,} bytes, SHA-256 {file.sha256[:12]}...); "
        f"got {', '.join(refusals)}; try again later, or {by_hand}"
    )


def _bring(file: RemoteFile, url: str, folder: Path, progress: Callable[[FetchProgress], None]) -> None:
    """Write what one mirror sends to a temporary file, and rename it once it has proved to be the file."""
    with _on_disk():
        folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{file.name}.{secrets.token_hex(8)}.tmp"  # two processes at once do not share it
    done, told = 0, time.monotonic()
    progress(FetchProgress(file.name, 0, file.size, url))
    try:
        with _on_disk():
            out = temporary.open("xb", buffering=0)  # closing it writes nothing, so nothing can fail there
        with out, contextlib.closing(_receive(url, file)) as chunks:
            for chunk in chunks:
                with _on_disk():
                    _write(out, chunk)
                done += len(chunk)
                if done < file.size and time.monotonic() - told >= REPORT_EVERY:
                    progress(FetchProgress(file.name, done, file.size, url))
                    told = time.monotonic()
            with _on_disk():
                os.fsync(out.fileno())
        with _on_disk():
            # The folder is not flushed: a rename that a power cut undoes is a missing file, and that is found.
            os.replace(temporary, folder / file.name)
    finally:  # whatever ended it, Ctrl-C included
        with contextlib.suppress(OSError):  # what went wrong first is what is told
            temporary.unlink(missing_ok=True)
    progress(FetchProgress(file.name, file.size, file.size, url))


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Tell errors of the disk from those of the network and of `progress`, which may be OSErrors too."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise _DiskError(getattr(error, "strerror", None) or str(error)) from error


def _write(out: io.RawIOBase, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # a raw file may take less than it is given
        rest = rest[out.write(rest) :]


def _receive(url: str, file: RemoteFile) -> Generator[bytes]:
    """Yield the bytes at an address; at the end, or at a byte too many, raise unless they are the file."""
    digest, done, page = hashlib.sha256(), 0, False
    try:
        with _open(url) as response:
            page = response.headers.get_content_type() == "text/html"
            while chunk := response.read1(CHUNK):  # not `read`, which waits for all of it
                page = page or (not done and chunk.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")))
                done += len(chunk)
                if done > file.size:
                    break
                digest.update(chunk)
                yield chunk
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no address in a redirect
        raise _RefusedError(_reason(error)) from error
    if done == file.size and digest.hexdigest() == file.sha256:
        return
    if page:  # asked last: a file that is right may be served under any type
        raise _RefusedError("an HTML page, perhaps a login page of your network,")
    if done == file.size:
        raise _RefusedError(f"other bytes (SHA-256 {digest.hexdigest()[:12]}...)")
    raise _RefusedError("more bytes" if done > file.size else f"only {done:,} bytes")


def _open(url: str) -> http.client.HTTPResponse:
    """Return the response of an https address, at the end of redirects, or raise.

    Redirects are followed here, not by urllib, which would go on to http and read whatever a redirect has for a body.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    ):
        opener.add_handler(handler)
    for _ in range(MAX_REDIRECTS + 1):
        request = urllib.request.Request(url, headers={"User-Agent": f"jaxnn/{__version__}"})
        response = opener.open(request, timeout=TIMEOUT)
        if response.status == 200:
            return response
        with response:
            location = response.headers.get("Location")
        if response.status not in (301, 302, 303, 307, 308) or location is None:
            raise _RefusedError(f"HTTP {response.status} {http.client.responses.get(response.status, '')}".rstrip())
        url = urljoin(url, location)
        if urlsplit(url).scheme != "https":
            raise _RefusedError(f"a redirect to {_printable(url)}, which is not https,")
    raise _RefusedError(f"more than {MAX_REDIRECTS} redirects")


def _reason(error: Exception) -> str:
    """Return in words what went wrong on the network."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    return _printable(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)


def _printable(text: str) -> str:
    """Return text that a stranger chose, short and without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
