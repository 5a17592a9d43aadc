"""Aligned buffers for kernels, and the size of the memory."""

from __future__ import annotations

import contextlib
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
    return _find_map(array)[0] is not None


def check_map(array: object, name: str) -> None:
    """Raise ValueError if an array is a memory map whose file has become shorter.

    To read behind the end of the file would end the process, without a message.
    """
    mapped, end = _find_map(array)
    if mapped is None:
        return
    with contextlib.suppress(OSError):  # no file, or none that can be asked
        size = mapped.size()
        if size < end:
            raise ValueError(
                f"{name} is a memory map whose file now has {size:,} bytes, expected {end:,} as "
                "when it was mapped"
            )


def _find_map(array: object) -> tuple[mmap.mmap | None, int]:
    """Return the map in which an array lies, or None, and the bytes that its file has at least."""
    end = 0
    while array is not None and not isinstance(array, mmap.mmap):
        if isinstance(array, np.memmap):
            end = max(end, array.offset + array.nbytes)
        # `validation.unlocked` keeps an array in an object of its own.
        array = array.base if isinstance(array, np.ndarray) else getattr(array, "array", None)
    return array, end if array is None else max(end, len(array))


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
