"""Files: one safetensors file for a model or a training run, whole or not there at all.

The format, version 1. A safetensors file is the length of a header, the header in JSON, and the
bytes of its arrays; see https://github.com/huggingface/safetensors. Its `__metadata__` has one
entry, "fastnn", which is JSON too:

- "format": 1. A reader refuses a larger number.
- "kind": "model" or "checkpoint"; `fastnn/nnfs/files.py` has kinds of its own.
- "model": the architecture, as `Sequential.to_config` gives it.
- "notes": the dict that was given to `Sequential.save`.
- "optimizer", "data", "curves": of a checkpoint, what has to be the same where its run goes on.
- "state": of a checkpoint, where its run stood. Arrays in it are {"$array": name}, and numbers that
  JSON does not have {"$float": "inf"}. "epoch" counts whole epochs, "step" the batches of the next
  one, "totals" has their sums (see `kernels/table.py`), "start" the parameters before them,
  "random" the state of the NumPy bit generator there. Then "history", "optimizer" (steps and
  averages for each array of parameters), "learning_rate" (a number, or the state of a schedule),
  "callbacks" (of each that has a state: class, "which" of several it is, and state), "stopped".
  "place" is in the file of a run with `batches` only: see `Place` of `fastnn/program/trainer.py`.
- "checksum": the CRC-32 of this dict without it, as JSON with sorted keys, followed by the name,
  dtype, shape and bytes of every array, sorted by name.

The arrays of layer i are named "0.weights", "0.biases", ..., after `Layer.stored`, float32 or
float64, in C-order.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import FileFormatError
from ..memory import physical_memory
from ..types import Array, PathLike
from .temporary import temporary_name

FORMAT = 1
_DTYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4",
    "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


def write(
    path: PathLike,
    description: dict[str, Any],
    arrays: dict[str, Array],
    finite: Collection[str] = (),
) -> None:
    """Write a file as a whole: until all of it is on the disk, the file that was there stays.

    The arrays are copied first, so another thread may go on changing them.

    Parameters
    ----------
    path : path-like
    description : dict
        What JSON can hold: "kind", "model", ...
    arrays : dict of str to ndarray
    finite : collection of str
        The names of the arrays that must be finite.

    Raises
    ------
    ValueError
        For an array that is not finite and has to be.
    OSError
        Where it cannot be written; nothing of it is left then.
    """
    # One copy is checked, makes the checksum, and is written: the file fits together.
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    for name in finite:
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not finite, expected a model that can be loaded")
    description = {"format": FORMAT, **description}
    description["checksum"] = _checksum(description, arrays)
    metadata = {"fastnn": json.dumps(description, allow_nan=False)}
    replace(path, safetensors.numpy.save(arrays, metadata))


def replace(path: PathLike, data: bytes) -> None:
    """Write bytes as `replace_with` does."""
    replace_with(path, lambda file: file.write(data))


def replace_with(path: PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Write to a temporary file beside `path`, and give it that name when it is on disk.

    `write(file)` writes the content.

    A file that is there keeps its mode and, where the system allows it, its owner and group. A
    link stays one: what it points at is replaced.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "expected a file in a folder that exists", str(path))
    before = path.stat() if path.exists() else None
    if before and not stat.S_ISREG(before.st_mode):  # root could replace /dev/null by a file
        raise OSError(errno.EINVAL, "expected a regular file, or none", str(path))
    temporary = path.with_name(temporary_name(path.name))

    def create(name: str, flags: int) -> int:
        # Until it has the mode of the file that it replaces, no other user can open it.
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o600 if before else 0o666)

    try:
        with open(temporary, "xb", opener=create) as file:
            if before and os.name == "posix":
                _take_over(file.fileno(), before)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileExistsError:  # not made here, so not to be removed
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # not every system opens folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _take_over(file: int, before: os.stat_result) -> None:
    """Give an open file the owner, group and mode of another one, as far as the system lets it."""
    mode = before.st_mode & 0o777
    with contextlib.suppress(OSError):
        os.fchown(file, before.st_uid, -1)
    try:
        os.fchown(file, -1, before.st_gid)
    except OSError:  # what one group may do is not for another one
        mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    os.fchmod(file, mode)


def read(path: PathLike) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return (description, arrays) of a file that `write` has written.

    Raises
    ------
    FileFormatError
        For any other file, and one that is not whole.
    OSError
        Where it cannot be read at all.
    """
    data = _read_bytes(path)
    try:
        arrays = _read_arrays(data)
        description = _read_description(data)
        checksum = _checksum(description, arrays)
    except _UNREADABLE as error:
        raise FileFormatError(path, f"is not a file of fastnn: {error}") from None
    if description.get("checksum") != checksum:
        raise FileFormatError(path, "is damaged: its checksum is not that of its contents")
    return description, arrays


def read_arrays(path: PathLike) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return ({name: array}, metadata) of any safetensors file; errors as in `read`.

    bfloat16 becomes float32.
    """
    data = _read_bytes(path)
    try:
        return _read_arrays(data, widen=True), _read_header(data).get("__metadata__") or {}
    except _UNREADABLE as error:
        raise FileFormatError(path, f"is not a file of arrays: {error}") from None


_UNREADABLE = safetensors.SafetensorError, ValueError, OverflowError, RecursionError


def _read_bytes(path: PathLike) -> bytes:
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileFormatError(path, "is not a regular file")
    with path.open("rb") as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
        length = int.from_bytes(start, "little")
        header = file.read(length) if length <= min(size - 8, _MOST_OF_HEADER) else b""
        # A file with holes may have more bytes than any memory: of one whose size is not what its
        # header says, a few are enough to find the error.
        n_bytes = _announced(header)
        if n_bytes is None or size != 8 + length + n_bytes:
            return start + header + file.read(_FEW)
        if size > physical_memory():
            raise FileFormatError(path, f"has {size:,} bytes, more than the memory of this machine")
        return start + header + file.read(n_bytes)


_MOST_OF_HEADER, _FEW = 100_000_000, 4096  # bytes; the first is what safetensors takes


def _announced(header: bytes) -> int | None:
    """Return how many bytes of arrays a header says there are; None for what is no header."""
    try:
        arrays = [each for name, each in json.loads(header).items() if name != "__metadata__"]
        last = max([each["data_offsets"][1] for each in arrays], default=0)
        return last if type(last) is int and last >= 0 else None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None


def _read_arrays(data: bytes, *, widen: bool = False) -> dict[str, Array]:
    """Return {name: array}; safetensors checks all but names that stand there twice."""
    found = safetensors.deserialize(data)
    _read_header(data)
    arrays = {}
    for name, each in found:
        if widen and each["dtype"] == "BF16":  # the upper halves of float32
            each["data"] = np.frombuffer(each["data"], "<u2").astype("<u4") << 16
            each["dtype"] = "F32"
        if each["dtype"] not in _DTYPES:
            raise ValueError(f"{name:.80} has dtype {each['dtype']}")
        array = np.frombuffer(each["data"], _DTYPES[each["dtype"]])
        arrays[name] = array.reshape(each["shape"])
    return arrays


def _read_header(data: bytes) -> Any:
    return _from_json(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _read_description(data: bytes) -> dict[str, Any]:
    """Return what the header says beside the arrays."""
    metadata = _read_header(data).get("__metadata__") or {}
    if "fastnn" not in metadata:
        raise ValueError("it has no description of a model")
    description = _from_json(metadata["fastnn"])
    if not isinstance(description, dict):
        raise ValueError("its description is not a dict")
    version = description.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"its format is {version!r:.80}, expected {FORMAT}")
    if version > FORMAT:
        raise ValueError(f"its format is {version}, newer than {FORMAT}: update fastnn")
    return description


def _from_json(text: str | bytes) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(found)) != len(found):
            raise ValueError("a name stands in it twice")
        return dict(found)

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)


def _checksum(description: dict[str, Any], arrays: dict[str, Array]) -> str:
    rest = {name: value for name, value in description.items() if name != "checksum"}
    total = zlib.crc32(json.dumps(rest, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name}{_NAMES[array.dtype]}{array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"


# ------------------------------------------------------------------ trees with arrays in them


def pack(tree: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Return a tree of dicts, lists and numbers as JSON has it; its arrays go to `arrays`.

    An array gets the name of its place, which begins with `name`; it is not copied.
    """
    if isinstance(tree, np.ndarray) and tree.dtype in _NAMES:
        arrays[name] = tree
        return {"$array": name}
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return {key: pack(value, f"{name}.{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [pack(value, f"{name}.{i}", arrays) for i, value in enumerate(tree)]
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or isinstance(tree, bool | int | str):
        return tree
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else {"$float": repr(tree)}
    raise TypeError(f"{name} is {tree!r:.80}, expected numbers, text, arrays, dicts and lists")


def unpack(tree: Any, arrays: dict[str, Array]) -> Any:
    """Return what `pack` was given, with lists for tuples; taken arrays leave `arrays`."""
    if isinstance(tree, dict):
        if tree.keys() == {"$array"}:
            name = tree["$array"]
            if not isinstance(name, str) or name not in arrays:
                raise ValueError(f"the array {name!r:.80} is missing")
            return arrays.pop(name)
        if tree.keys() == {"$float"}:
            if tree["$float"] not in ("inf", "-inf", "nan"):
                raise ValueError(f"{tree['$float']!r:.80} is not a number")
            return float(tree["$float"])
        return {key: unpack(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unpack(value, arrays) for value in tree]
    return tree
