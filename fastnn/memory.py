"""Aligned buffers for kernels, and the size of the memory."""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import DTypeLike

from .kernels.target import CACHE_LINE
from .types import Array


def aligned_empty(size: int, dtype: DTypeLike) -> Array:
    """Return an uninitialized array that starts at a cache line."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -raw.__array_interface__["data"][0] % CACHE_LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def is_mapped(array: object) -> bool:
    """Return whether an array lies in a file that is mapped into memory."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)


def physical_memory() -> int:
    """Return the bytes of memory of this machine, or 2**40 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**40
