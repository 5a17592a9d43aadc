"""Text for a terminal of 80 columns, a title and lines, and JSON for scripts.

The lines are plain text, and the same in a terminal, a pipe and a log. So they need no library such
as rich, and the program works with what fastnn itself needs.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

WIDTH = 79
INDENT = 10
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")
_MOST_NAMES = 100  # in a list


def say(title: str, *lines: str) -> None:
    """Print a section: its title beside the first line."""
    for line in lines:
        print(f"{title:<{INDENT}}{harmless(line)}", flush=True)  # also into a pipe, such as `| tee`
        title = ""


def note(text: str) -> None:
    """Print a note to standard error."""
    print("fastnn: note:", harmless(text), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """Return a line without control characters, which a name in a table may have."""
    return text.translate(_CONTROLS)


def print_json(values: Any) -> None:
    """Print one JSON object."""
    print(json.dumps(values, default=_plain, allow_nan=False, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain")


def some(count: int, noun: str) -> str:
    """Return "1 sample", "2 samples"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them, at most 100 of them."""
    return ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)


def rounded(value: float) -> str:
    """Return a number rounded to three significant digits."""
    return f"{float(f'{value:.3g}'):,.0f}"


def shortened(text: str, width: int = WIDTH - INDENT - 1) -> str:
    """Return a text cut to the width of a line, at a blank if there is one."""
    short = textwrap.shorten(text, width)
    return short if short != "[...]" else cut(text, width)


def wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines broken at blanks to the width of the terminal."""
    for line in lines:
        yield from textwrap.wrap(
            line, WIDTH - INDENT, subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def cut(text: str, width: int) -> str:
    """Return a text cut to `width` characters."""
    text = str(text)
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def size(n_bytes: int) -> str:
    """Return a number of bytes as "812 MB" or "5.12 GB"."""
    for unit, base in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= base:
            return f"{n_bytes / base:.3g} {unit}"
    return f"{n_bytes} B"
