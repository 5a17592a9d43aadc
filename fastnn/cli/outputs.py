"""Files that are there as a whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from .. import files
from ..types import PathLike


def check(
    path: PathLike,
    argument: str,
    suffixes: Collection[str] = (),
    inputs: Mapping[str, PathLike] = MappingProxyType({}),
) -> None:
    """Raise ValueError, before any work, for a path that cannot be written in the end.

    Nor may it be one of the `inputs` {argument: path}.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"argument {argument}: {str(path)!r}, expected a path that ends in "
            f"{', '.join(suffixes)}"
        )
    # What a link points at is what is replaced.
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir():
        raise ValueError(f"argument {argument}: {str(path)!r} is a folder, expected a file")
    if not folder.is_dir():
        missing = path.parent if not path.parent.is_dir() else folder
        raise ValueError(
            f"argument {argument}: {str(path)!r}, expected a folder that exists: "
            f"there is no {str(missing)!r}"
        )
    if not os.access(folder, os.W_OK):
        raise ValueError(f"argument {argument}: the folder of {str(path)!r} cannot be written")
    for name, other in inputs.items():
        if path.exists() and Path(other).exists() and path.samefile(other):
            raise ValueError(
                f"argument {argument}: {str(path)!r} is {name}, expected another file: it would "
                "be replaced"
            )


def write(path: PathLike, fill: Callable[[BinaryIO], Any]) -> None:
    """Let `fill(file)` write to memory, and put that into a file: all of it or nothing."""
    written = io.BytesIO()
    fill(written)
    files.replace(path, written.getvalue())
