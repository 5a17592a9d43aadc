"""The names of checkpoints: which fields they have, and which file such a name means."""

from __future__ import annotations

import glob
import math
import os
import re
import string
from pathlib import Path

from ..types import PathLike


def fields_of(path: str, argument: str = "path") -> set[str]:
    """Return the names of the fields in a path that is a pattern.

    Raises
    ------
    ValueError
        For other fields than {epoch} and {step}, and for numbers that are not written in digits:
        `find_checkpoint` could not read them.
    """
    try:
        parts = [each for each in string.Formatter().parse(path) if each[1] is not None]
        names = {str(name) for _, name, *_ in parts}
        path.format(epoch=1, step=0)
        readable = all(_has_digits(form, conversion) for *_, form, conversion in parts)
    except (ValueError, KeyError, IndexError, AttributeError):
        names, readable = {"?"}, False
    if not names <= {"epoch", "step"}:
        raise ValueError(
            f"{argument} is {path!r}, expected no other fields than {{epoch}} and {{step}}; "
            "a brace in the name of the file is written twice"
        )
    if not readable:
        raise ValueError(
            f"{argument} is {path!r}, expected digits in its fields, as in {{epoch:03d}}"
        )
    return names


def _has_digits(form: str | None, conversion: str | None) -> bool:
    """Return whether a field writes a number as its digits, with zeros before them or none."""
    field = f"{{0{'!' + conversion if conversion else ''}:{form or ''}}}"
    return all(re.fullmatch(f"0*{n}", field.format(n)) for n in (7, 10, 12345678))


def pattern_of(name: str) -> str:
    """Return a file name as a glob pattern: an asterisk for each field."""
    parts = string.Formatter().parse(name)
    return "".join(
        glob.escape(text) + ("*" if field is not None else "") for text, field, *_ in parts
    )


def find_checkpoint(path: str) -> PathLike | None:
    """Return the file to resume from, or None where there is none yet.

    That is the file of this very name, or else what a :class:`Checkpoint` of this path has written:
    of a name with {epoch} in it the last file.

    Raises
    ------
    ValueError
        Where there is no such folder, and for other fields.
    """
    if os.path.lexists(path):
        return path
    fields = fields_of(path, "resume")
    folder, name = Path(path.format(epoch=1, step=0)).parent, Path(path).name
    if not folder.is_dir() or fields_of(os.path.dirname(path), "resume"):
        raise ValueError(f"resume is {path!r}, expected a file in a folder that exists")
    if not fields:
        written = path.format()
        return written if os.path.lexists(written) else None
    parts = [*string.Formatter().parse(name)]
    wanted = "".join(re.escape(text) + (r"(\d+)" if field else "") for text, field, *_ in parts)
    names = [field for _, field, *_ in parts if field]
    found = []
    for each in folder.glob(pattern_of(name)):
        match = re.fullmatch(wanted, each.name)
        place = dict(zip(names, map(int, match.groups()), strict=True)) if match else {}
        if match and name.format(**place) == each.name:
            # At the end of an epoch the step is 0.
            found.append((place.get("epoch", 0), place.get("step", 0) or math.inf, each))
    return max(found)[2] if found else None
