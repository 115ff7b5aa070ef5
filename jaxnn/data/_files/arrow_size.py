"""What an Arrow IPC file unpacks to, told from its footer and its headers: pyarrow says it only after unpacking.

The headers are flatbuffers; of these a few fields are read here, by their numbers in Footer, Message, DictionaryBatch
and RecordBatch. A compressed buffer begins with its size, which is all that pyarrow allocates for it.

References:
  Apache Arrow Columnar Format, sections "Encapsulated message format" and "IPC File Format"
  (https://arrow.apache.org/docs/format/Columnar.html).
"""

import mmap
import struct
from pathlib import Path
from typing import Any

DICTIONARY = 2  # the kind of a message; the others here are batches
BLOCK = "<qi4xq"  # offset, size of the header, size of the body


def unpacked_size(path: Path) -> int:
    """Return the bytes of all buffers of an Arrow IPC file once unpacked; raise `ValueError` for a damaged file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = len(content) - 10 - _number(content, "<i", len(content) - 10)
            footer = start + _number(content, "<I", start)
            blocks = [*_structs(content, footer, 2, BLOCK), *_structs(content, footer, 3, BLOCK)]
            return sum(_size_of_message(content, at, at + header) for at, header, _ in blocks)
    except (struct.error, IndexError) as error:
        raise ValueError(f"headers that end early: {error}") from error


def _size_of_message(content: Any, at: int, body: int) -> int:
    """Return what the buffers of one batch of rows or one dictionary unpack to."""
    at += 8 if _number(content, "<I", at) == 0xFFFF_FFFF else 4  # the mark is missing in files before 2019
    message = at + _number(content, "<I", at)
    kind, batch = _field(content, message, 1), _child(content, message, 2)
    if kind and batch and content[kind] == DICTIONARY:
        batch = _child(content, batch, 1)
    if not batch:
        return 0
    is_compressed = _field(content, batch, 3) is not None
    size = 0
    for offset, length in _structs(content, batch, 2, "<qq"):
        unpacked = _number(content, "<q", body + offset) if is_compressed and length else length
        if length < 0 or unpacked < -1:  # would make room for others in the sum
            raise ValueError("buffers of negative size")
        size += length - 8 if unpacked == -1 else unpacked  # -1: this buffer would not have become smaller
    return size


def _number(content: Any, kind: str, at: int) -> int:
    if at < 0:
        raise ValueError("headers that point outside")
    return struct.unpack_from(kind, content, at)[0]


def _field(content: Any, table: int, i: int) -> int | None:
    """Return where field i of a table stands, None where it has its default."""
    offsets = table - _number(content, "<i", table)
    place = 4 + 2 * i
    at = _number(content, "<H", offsets + place) if place < _number(content, "<H", offsets) else 0
    return table + at if at else None


def _child(content: Any, table: int, i: int) -> int | None:
    """Return where the table or vector in field i begins."""
    at = _field(content, table, i)
    return None if at is None else at + _number(content, "<I", at)


def _structs(content: Any, table: int, i: int, kind: str) -> list[tuple[int, ...]]:
    """Return the structs in a vector."""
    at = _child(content, table, i)
    if at is None:
        return []
    end = at + 4 + _number(content, "<I", at) * struct.calcsize(kind)
    if end > len(content):
        raise ValueError("headers that point outside")
    return list(struct.iter_unpack(kind, content[at + 4 : end]))
