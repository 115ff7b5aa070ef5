"""Small files as tests want them: an array as IDX bytes; the fixture `put` (conftest.py) writes any kind."""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet


def idx(array):
    """Return an array of bytes as the content of an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_file(path, content):
    """Write text, bytes, a table for pyarrow by the suffix, or a dict of arrays as an NPZ file."""
    if isinstance(content, pa.Table):
        (pa.parquet.write_table if path.suffix == ".parquet" else pa.feather.write_feather)(content, path)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
