"""NPZ files: two arrays of a NumPy archive, measured from the headers before a byte is unpacked, never unpickled."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from jaxnn._errors import ConfigError, DataFormatError, suggest
from jaxnn.data._files.idx import MAX_EXPANSION
from jaxnn.data._files.raw import WHO, Distinct, Raw, Wanted, check_size, size_of

EXPANSIONS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: MAX_EXPANSION}  # what NumPy writes
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, tokenize.TokenError),
    *(ValueError, TypeError, SyntaxError, KeyError, NotImplementedError, RuntimeError, MemoryError, OverflowError),
)


def read_npz(path: Path, wanted: Wanted) -> Raw:
    """Return the arrays of features, "x", and labels, "y", unless named otherwise; classes are counted."""
    asked = [("features", wanted.features or "x")] + [("label", wanted.label or "y")] * wanted.labelled
    try:
        with zipfile.ZipFile(path) as archive:
            known = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            for option, name in asked:
                if name not in known:
                    raise ConfigError(
                        f"{WHO}: {option} is an array of {path}; got {option}={name!r}; {suggest(name, known)}"
                    )
            infos = [archive.getinfo(f"{name}.npy") for _, name in asked]
            check_size(path, "arrays", sum(info.file_size for info in infos), wanted.max_bytes)
            for info in infos:  # the directory may lie, but not beyond what deflate can do with so few bytes
                expansion = EXPANSIONS[info.compress_type]
                if info.file_size > expansion * min(info.compress_size, path.stat().st_size):
                    raise ValueError(f"{info.filename} of {info.file_size:,} bytes from {info.compress_size:,}")
            x, *labels = (_array(archive, info) for info in infos)
    except (ConfigError, DataFormatError):
        raise
    except BROKEN as error:
        raise DataFormatError(f"{WHO}: the file is a whole .npz; got {error}, in {path}; get the file again") from error
    if not labels:
        return Raw(x, None, label="", where=lambda i: f"row {i} (from 0)")
    (y,), y_name = labels, asked[1][1]
    as_they_are = wanted.regression or y.ndim != 1 or y.dtype.kind not in "iufbU"
    return Raw(x, y if as_they_are else Distinct.of(y), label=y_name, where=lambda i: f"{y_name}[{i}]")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return one array, after its header was found to agree with the size the archive gives for it."""
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)  # refuses headers beyond 10 kB
        claimed, held = size_of(shape, dtype.itemsize), info.file_size - stream.tell()
    if dtype.hasobject:
        raise DataFormatError(
            f"{WHO}: arrays hold numbers or text; got Python objects in {info.filename}, which are never unpickled; "
            "save the array with .astype(float) or .astype(str)"
        )
    if claimed != held or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} of shape {shape} takes {claimed:,} bytes, not {held:,}")
    with archive.open(info) as stream:
        return npy.read_array(stream, allow_pickle=False)
