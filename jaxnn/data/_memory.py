"""Host memory that JAX takes over without a copy."""

import math
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: on a CPU, JAX adopts a NumPy array that starts at a multiple of it and copies others


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an uninitialised array to be filled once and given to `jax.device_put`; nobody else may hold it.

    Filling fresh memory costs far more than reading it, because the system hands it out page by page: a
    second copy of 60000 images would take longer than all the checks on them.
    """
    dtype = np.dtype(dtype)
    num_bytes = math.prod(shape) * dtype.itemsize
    raw = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + num_bytes].view(dtype).reshape(shape)
