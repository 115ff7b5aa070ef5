"""The bytes of a checkpoint: a safetensors file whose header carries a JSON object and the SHA-256 of the whole.

    length of the header, 8 bytes | header, JSON | the tensors, one behind the other

The digest is that of the file with 64 zeros in its own place. The package `safetensors` reads these files, and is what
the tests compare with; it is not used here because it can neither flush nor check a digest, and copies every tensor
once more.
"""

import hashlib
import json
import math
import os
import queue
import re
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np

from jaxnn._errors import CheckpointError, brief
from jaxnn._whole import write_all

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip
CODES = {name: code for code, name in DTYPES.items()}
METADATA, _INFO, _CHECK, _DIGEST = "__metadata__", "jaxnn", "crc32", "sha256"
_NO_DIGEST = "0" * 64
_LONGEST_HEADER = 100_000_000  # as in safetensors
_PIECE = 2**22  # bytes written or read while the piece before is hashed


class DamagedError(CheckpointError):
    """A file is not what was written: cut short, changed, or no checkpoint at all."""


def write_tensors(handle: int, named: dict[str, np.ndarray], info: str) -> None:
    """Write arrays, in C order, and the text of a JSON object to an open file."""
    # By size of their numbers, so that each begins at a multiple of it; then by name, so that equal trees are equal.
    ordered = dict(sorted(named.items(), key=lambda item: (-item[1].itemsize, item[0])))
    header: dict[str, Any] = {METADATA: {_INFO: info, _CHECK: _crc32(info), _DIGEST: _NO_DIGEST}}
    end = 0
    for name, array in ordered.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": CODES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    try:  # rather no file than one that cannot be read
        if len(text) > _LONGEST_HEADER - 8:
            raise DamagedError(f"it has {len(text):,} bytes, {_LONGEST_HEADER:,} at most are read")
        _own(_parsed(text)[1])
    except DamagedError as error:
        raise CheckpointError(
            f"checkpoint.save: names and info fit in a header; got one that cannot be read back: {error}; keep less in "
            "info"
        ) from error
    place = 8 + text.index(f'"{_DIGEST}": "{_NO_DIGEST}"'.encode()) + len(_DIGEST) + 5
    text += b" " * (-len(text) % 8)
    with _hashing() as (hashed, digest):
        for part in (len(text).to_bytes(8, "little") + text, *ordered.values()):
            for piece in _pieces(part):
                hashed(piece)
                write_all(handle, piece)
        os.lseek(handle, place, os.SEEK_SET)
        write_all(handle, digest().encode())


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Return the arrays in a file and the JSON object, None in a file that jaxnn did not write.

    Raises:
      DamagedError: any byte of a file of jaxnn's is not as it was written, or it is no such file.
      OSError: it cannot be read.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(_exactly(file, min(8, size)), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise DamagedError(f"{size:,} bytes do not begin with the length of a header")
        text = _exactly(file, length)
        entries, metadata = _parsed(text)
        info, digest = _own(metadata)
        places = {name: _place(name, entry, size - 8 - length) for name, entry in entries.items()}
        _check_order(places, size - 8 - length)
        try:
            data = np.empty(size - 8 - length, np.uint8)
        except MemoryError as error:
            raise DamagedError(f"its {size:,} bytes do not fit into the memory") from error
        named = {name: _view(data, name, *place) for name, place in places.items()}
        with _hashing() as (hashed, found):
            hashed(length.to_bytes(8, "little"))
            hashed(text if digest is None else text.replace(digest.encode(), _NO_DIGEST.encode()))
            for piece in _pieces(data):
                if file.readinto(piece) != len(piece):
                    raise DamagedError("it became shorter while it was read")
                hashed(piece)
            if digest is not None and found() != digest:
                raise DamagedError("its SHA-256 is not that of what was written")
    for name, array in named.items():
        if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
            raise DamagedError(f"{brief(name)} holds a boolean that is neither 0 nor 1")
    return named, info


def read_info(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in the header of a file; it has a check of its own. The tensors are not looked at."""
    with _opened(path) as file:
        length = int.from_bytes(_exactly(file, 8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise DamagedError("it does not begin with the length of a header")
        return _own(_parsed(_exactly(file, length))[1])[0]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DamagedError("it is no ordinary file")
        with open(handle, "rb", 0, closefd=False) as file:
            yield file
    finally:
        os.close(handle)


@contextmanager
def _hashing() -> Iterator[tuple[Callable[[Any], None], Callable[[], str]]]:
    """Give `hashed(piece)`, which hashes in another thread, and `digest()`, the SHA-256 of all pieces."""
    sha256, pieces, abandoned = hashlib.sha256(), queue.SimpleQueue(), threading.Event()

    def work() -> None:
        while (piece := pieces.get()) is not None and not abandoned.is_set():
            sha256.update(piece)

    def digest() -> str:
        pieces.put(None)
        thread.join()
        return sha256.hexdigest()

    thread = threading.Thread(target=work, name="checkpoint-hash", daemon=True)
    thread.start()
    try:
        yield pieces.put, digest
    finally:  # after an error or an interrupt nobody waits for the rest
        abandoned.set()
        pieces.put(None)


def _pieces(data: Any) -> Iterator[memoryview]:
    view = memoryview(as_bytes(data) if isinstance(data, np.ndarray) else data)
    return (view[at : at + _PIECE] for at in range(0, len(view), _PIECE))


def as_bytes(array: np.ndarray) -> Any:
    """Return the bytes of an array in C order, not copied."""
    return array.reshape(-1).view(np.uint8)


def _exactly(file: Any, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise DamagedError("it is cut short")
    return data


def _parsed(text: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the entries of the tensors in a header, and the metadata."""

    def distinct(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise DamagedError("a name occurs twice in its header")
        return dict(pairs)

    try:
        header = json.loads(text.decode(), object_pairs_hook=distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"its header is no JSON: {error}") from error
    metadata = header.pop(METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise DamagedError("its header does not describe tensors")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise DamagedError("its metadata are not text")
    try:
        json.dumps([header, metadata], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DamagedError(f"a name or text in its header is no Unicode: {error}") from error
    return header, metadata


def _own(metadata: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Return what jaxnn wrote into the metadata: the JSON object and the digest; None and None in a foreign file."""
    if _INFO not in metadata and _DIGEST not in metadata:
        return None, None
    info, digest = metadata.get(_INFO), metadata.get(_DIGEST)
    if info is None or digest is None or not re.fullmatch("[0-9a-f]{64}", digest):
        raise DamagedError("its header has lost the SHA-256, or what belongs to it")
    if metadata.get(_CHECK, _crc32(info)) != _crc32(info):  # for those who read the header alone
        raise DamagedError("its header is not as it was written")
    try:
        value = json.loads(info, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"its header holds no JSON of jaxnn's: {error}") from error
    if not isinstance(value, dict):
        raise DamagedError("its header holds no JSON object of jaxnn's")
    return value, digest


def _crc32(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _place(name: str, entry: dict[str, Any], size: int) -> tuple[np.dtype, list[int], int, int]:
    """Return dtype, shape, begin and end that an entry of the header gives a tensor, once they make sense."""
    code, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not _are_counts(shape, 64) or not _are_counts(offsets, 2) or len(offsets) != 2:
        raise DamagedError(f"{brief(name)} has no shape and place")
    if not isinstance(code, str) or code not in DTYPES:
        raise DamagedError(f"{brief(name)} is of the unknown type {brief(code)}")
    dtype, (begin, end) = jnp.dtype(DTYPES[code]), offsets
    if not begin <= end <= size or end - begin != math.prod(shape) * dtype.itemsize:
        raise DamagedError(f"{brief(name)} of shape {brief(shape)} does not fit in its place {offsets}")
    return dtype, shape, begin, end


def _are_counts(value: Any, most: int) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= most and all(type(i) is int and 0 <= i < 2**63 for i in value)


def _view(data: np.ndarray, name: str, dtype: np.dtype, shape: list[int], begin: int, end: int) -> np.ndarray:
    try:
        return data[begin:end].view(dtype).reshape(shape)
    except ValueError as error:  # an empty array that is longer than NumPy has
        raise DamagedError(f"{brief(name)} of shape {brief(shape)} is no array: {error}") from error


def _check_order(places: dict[str, tuple[Any, ...]], size: int) -> None:
    """Raise `DamagedError` unless the tensors lie one behind the other and fill the file."""
    end = 0
    for begin, stop in sorted(place[-2:] for place in places.values()):
        if begin != end:
            raise DamagedError(f"its tensors overlap or leave a gap at byte {end:,}")
        end = stop
    if end != size:
        raise DamagedError(f"it holds {size:,} bytes of tensors, {end:,} are described")
