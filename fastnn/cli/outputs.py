"""Output files: checked before any work, and written as a whole or not at all."""

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
    """Raise ValueError for a path that cannot be written, or is one of the `inputs`.

    `inputs` is {argument: path} of the files that the command reads.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"argument {argument}: {str(path)!r}, expected a path that ends in "
            f"{', '.join(suffixes)}"
        )
    # Writing replaces the file that a link points at.
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
    """Write what `fill(file)` writes, as a whole or not at all."""
    content = io.BytesIO()
    fill(content)
    files.replace(path, content.getvalue())
