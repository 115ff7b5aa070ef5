"""MNIST from its four IDX files, which you have on disk; a strict reader that trusts no header."""

import gzip
import math
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import ConfigError, DataFormatError, check_choice
from jaxnn.data._dataset import Dataset, dataset
from jaxnn.data._memory import empty

FOLDER_VARIABLE = "JAXNN_MNIST"
STEMS = {"train": "train", "test": "t10k"}
UINT8 = 0x08  # the type code of unsigned bytes
MAX_EXPANSION = 1032  # deflate cannot do better: one byte of a .gz file gives at most so many


def mnist(folder: Any = None, part: str = "train") -> Dataset:
    """60000 (part="test": 10000) handwritten digits, 28x28 pixels in [0, 1], 10 classes (your folder=...)"""
    check_choice("data.load('mnist')", "part", part, STEMS)
    images_path = _find(folder, f"{STEMS[part]}-images-idx3-ubyte")
    labels_path = _find(folder, f"{STEMS[part]}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if images.shape[1:] != (28, 28):
        raise _bad(images_path, 8, f"images are 28x28; got {images.shape[1]}x{images.shape[2]}")
    if len(images) != len(labels):
        raise _bad(labels_path, 4, f"labels are as many as images; got {len(labels)} for {len(images)}")
    x = empty((len(images), 28 * 28), jnp.result_type(float))
    np.divide(images.reshape(x.shape), 255, out=x, dtype=x.dtype)
    ds = dataset(jax.device_put(x), labels, num_classes=10, class_names=tuple("0123456789"), name="mnist")
    return Dataset(ds.batch, replace(ds.schema, image_shape=(28, 28)))


def read_idx(path: Path, ndim: int) -> np.ndarray:
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
                raise _bad(path, 0, f"bytes in {ndim} axes start 0000080{ndim}; got {header[:4].hex()!r}")
            if len(header) < header_size:
                raise _bad(path, len(header), f"the header has {header_size} bytes; got {len(header)}")
            shape = struct.unpack(f">{ndim}I", header[4:])
            size = math.prod(shape)  # a Python int: it cannot overflow
            content = stream.read(min(size, most) + 1)  # whatever the header claims
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _bad(path, stream.tell(), f"the file is whole gzip; got {error}") from error
    if len(content) != size:
        got = "more" if len(content) > size else f"{len(content)}"
        raise _bad(path, header_size + min(len(content), size), f"{shape} take {size} bytes; got {got}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _bad(path: Path, offset: int, fault: str) -> DataFormatError:
    return DataFormatError(f"data.load('mnist'): {fault}, in {path} at byte {offset}; get the file again")


def _find(folder: Any, stem: str) -> Path:
    """Return the path of a file, plain or gzipped; raise `ConfigError` where there is none."""
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    for path in [Path(folder, stem), Path(folder, stem + ".gz")] if folder else []:
        if path.is_file():
            return path
    files = [f"{s}-{kind}-ubyte" for s in STEMS.values() for kind in ("images-idx3", "labels-idx1")]
    raise ConfigError(
        f"data.load('mnist'): the folder holds {', '.join(files)}, plain or .gz; got no {stem} in "
        f"folder={folder!r}; pass folder=... or set the environment variable {FOLDER_VARIABLE}"
    )
