"""Text for a terminal of 80 columns: a title, then lines; and JSON for scripts."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..types import Array

WIDTH = 79
_INDENT = 10
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "\ufffd")
_MOST_NAMES = 100  # of columns, in a line
_MOST_CLASSES = 20  # whose figures are shown; of more, the worst


def say(title: str, *lines: str) -> None:
    """Print a section: its title beside the first line."""
    for line in lines:
        print(f"{title:<{_INDENT}}{harmless(line)}", flush=True)  # at once, also where `tee` reads
        title = ""


def note(text: str) -> None:
    """Say something on the side, where it disturbs no output."""
    print("fastnn: note:", harmless(text), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """Return a line without control characters: a name in a table might command the terminal."""
    return text.translate(_CONTROLS)


def print_json(values: Any) -> None:
    """Print one JSON object."""
    print(json.dumps(values, default=_plain, allow_nan=False, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain")


def some(number: int, noun: str) -> str:
    """Return "1 sample", "2 samples"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return names with commas between them, of many the first ones."""
    return ", ".join(names[:_MOST_NAMES]) + ", ..." * (len(names) > _MOST_NAMES)


def rounded(number: float) -> str:
    """Return a number with three digits that count."""
    return f"{float(f'{number:.3g}'):,.0f}"


def shortened(text: str, width: int = WIDTH - _INDENT - 1) -> str:
    """Return text that fits into a line."""
    short = textwrap.shorten(text, width)
    return short if short != "[...]" else cut(text, width)


def wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Return lines that fit, of lines that may be longer."""
    for line in lines:
        yield from textwrap.wrap(
            line, WIDTH - _INDENT, subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip


def cut(text: str, width: int) -> str:
    """Return at most `width` characters of a text."""
    text = str(text)
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def score_lines(
    scores: Mapping[str, Mapping[str, float]], names: Sequence[str], digits: int = 4
) -> Iterator[str]:
    """Return a table: a line for each part, a column for each name of its scores."""
    widths = [max(10, len(name) + 2) for name in names]
    yield f"{'':8}" + "".join(f"{name:>{w}}" for name, w in zip(names, widths, strict=True))
    for part, values in scores.items():
        cells = (_number(values[name], w, digits) for name, w in zip(names, widths, strict=True))
        yield f"{part:8}" + "".join(cells)


def _number(value: float | None, width: int, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return f"{text if len(text) < width else f'{value:.4g}':>{width}}"


def class_lines(figures: Sequence[Mapping[str, Any]], part: str) -> Iterator[str]:
    """Return a table of per-class figures: dicts of class, precision, recall, f1, samples."""
    shown = figures
    if len(figures) > _MOST_CLASSES:
        shown = sorted(figures, key=lambda row: row["f1"])[: _MOST_CLASSES // 2]
    wide = min(30, max(8, *(len(str(row["class"])) for row in shown)))
    yield f"{part:{wide}} precision    recall        F1   samples"
    for row in shown:
        numbers = (f"{row[name]:10.4f}" for name in ("precision", "recall", "f1"))
        yield f"{cut(row['class'], wide):{wide}}{''.join(numbers)}{row['samples']:>10,}"
    if shown is not figures:
        yield f"the {len(shown)} with the lowest F1, of {len(figures):,} classes"


def confusion_lines(matrix: Array, labels: Sequence[Any]) -> Iterator[str]:
    """Return a confusion matrix, or its largest errors where it is wider than the terminal."""
    names = [str(label) for label in labels]
    first = min(16, max(4, *map(len, names)))
    room = (WIDTH - _INDENT - first) // len(names) - 1
    needed = max(len(f"{matrix.max():,}"), 2)
    if room < needed:
        return _largest_errors(matrix, names)
    wide = max(needed, min(room, max(map(len, names))))
    heads = [cut(name, wide) for name in names]
    if len(set(heads)) < len(heads):  # numbers, where shortened names are the same
        names = [f"{k} {name}" for k, name in enumerate(names, 1)]
        heads = [str(k) for k in range(1, len(names) + 1)]
    return _matrix_lines(matrix, names, heads, first, wide)


def _matrix_lines(
    matrix: Array, names: Sequence[str], heads: Sequence[str], first: int, wide: int
) -> Iterator[str]:
    yield f"{'':{first + 1}}predicted"
    yield f"{'true':{first}}" + "".join(f" {head:>{wide}}" for head in heads)
    for name, row in zip(names, matrix, strict=True):
        cells = (f" {f'{count:,}' if count else '.':>{wide}}" for count in row)
        yield f"{cut(name, first):{first}}" + "".join(cells)


def _largest_errors(matrix: Array, names: Sequence[str]) -> Iterator[str]:
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [divmod(int(at), len(matrix)) for at in order if wrong.flat[at]]
    if not pairs:
        yield "no errors"
        return
    yield f"{'true':20}{'predicted':20}{'samples':>8}  the largest of {wrong.sum():,} errors"
    for i, j in pairs:
        yield f"{cut(names[i], 19):20}{cut(names[j], 19):20}{wrong[i, j]:>8,}"
