"""Buffers for kernels."""

import numpy as np


def aligned_empty(size, dtype):
    """Return an uninitialised array that starts at a cache line."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)
