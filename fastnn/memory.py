"""Aligned buffers for kernels, and the size of the memory."""

from __future__ import annotations

import functools
import mmap
import os
from pathlib import Path

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


@functools.cache
def physical_memory() -> int:
    """Return the bytes of memory of this machine, or of the control group if it may use fewer.

    They are 2**40 where the system does not say.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        machine = 2**40
    limits = [read_limit(folder, "memory.max") for folder in control_groups()]
    limits.append(read_limit(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"))
    return min([machine, *(limit for limit in limits if limit is not None)])


def control_groups() -> list[Path]:
    """Return the folders of the control groups of this process, of version 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    groups = [line.rpartition(":")[2].strip().lstrip("/") for line in lines if line[:3] == "0::"]
    folders = [Path("/sys/fs/cgroup", group) for group in groups]
    return [each for folder in folders for each in (folder, *folder.parents)]


def read_limit(folder: Path, name: str) -> int | None:
    """Return the limit in a file of a control group; None where there is none."""
    try:
        return int((folder / name).read_text())
    except (OSError, ValueError):  # "max"
        return None
