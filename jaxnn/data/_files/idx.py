"""IDX files, the format of MNIST: a strict reader that trusts no header."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._errors import DataFormatError
from jaxnn.data._files.raw import WHO, check_size
from jaxnn.data._memory import empty

UINT8 = 0x08  # the type code of unsigned bytes
MAX_EXPANSION = 1032  # deflate cannot do better: one byte of a .gz file gives at most so many


def read_images(
    path: Path, labels_path: Path, *, max_bytes: int = 2**63, who: str = WHO
) -> tuple[jax.Array, np.ndarray, tuple[int, int]]:
    """Return pixels in [0, 1], one row an image, the labels, and (height, width), from two IDX files of bytes."""
    labels = read_idx(labels_path, ndim=1, max_bytes=max_bytes, who=who)
    x, shape = read_pixels(path, max_bytes=max_bytes, who=who)
    if len(x) != len(labels):
        raise _bad(who, labels_path, 4, f"labels are as many as images; got {len(labels)} for {len(x)}")
    return x, labels, shape


def read_pixels(path: Path, *, max_bytes: int = 2**63, who: str = WHO) -> tuple[jax.Array, tuple[int, int]]:
    """Return pixels in [0, 1], one row an image, and (height, width), from an IDX file of bytes."""
    images = read_idx(path, ndim=3, max_bytes=max_bytes, who=who)
    height, width = images.shape[1:]
    if not height or not width:
        raise _bad(who, path, 8, f"images have pixels; got {height}x{width}")
    x = empty((len(images), height * width), jnp.result_type(float))
    np.divide(images.reshape(x.shape), 255, out=x, dtype=x.dtype)
    return jax.device_put(x), (height, width)


def read_idx(path: Path, ndim: int, *, max_bytes: int = 2**63, who: str = WHO) -> np.ndarray:
    """Return the bytes of an IDX file, gzipped if its name says so; raise `DataFormatError` on any doubt.

    The header is two zero bytes, a type code, the number of axes, and a big-endian 32-bit size an axis.
    """
    zipped = path.suffix == ".gz"
    header_size = 4 + 4 * ndim
    most = path.stat().st_size * (MAX_EXPANSION if zipped else 1)
    with gzip.open(path) if zipped else path.open("rb") as stream:
        try:
            header = stream.read(header_size)
            if header[:4] != bytes([0, 0, UINT8, ndim]):
                raise _bad(who, path, 0, f"bytes in {ndim} axes start 0000080{ndim}; got {header[:4].hex()!r}")
            if len(header) < header_size:
                raise _bad(who, path, len(header), f"the header has {header_size} bytes; got {len(header)}")
            shape = struct.unpack(f">{ndim}I", header[4:])
            size = math.prod(shape)  # a Python int: it cannot overflow
            if size <= most:  # what the file cannot hold is found short below, whatever the header claims
                check_size(path, f"an array {shape}", size, max_bytes)
            content = stream.read(min(size, most, max_bytes) + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _bad(who, path, stream.tell(), f"the file is whole gzip; got {error}") from error
    if len(content) != size:
        got = "more" if len(content) > size else f"{len(content)}"
        raise _bad(who, path, header_size + min(len(content), size), f"{shape} take {size} bytes; got {got}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _bad(who: str, path: Path, offset: int, fault: str) -> DataFormatError:
    return DataFormatError(f"{who}: {fault}, in {path} at byte {offset}; get the file again")
