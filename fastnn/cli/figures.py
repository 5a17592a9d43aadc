"""Figures of a model as lines of text: scores, figures of each class, the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..types import Array
from .terminal import INDENT, WIDTH, cut

_MOST_CLASSES = 20  # that are all shown; of more, only the worst


def score_lines(
    scores: Mapping[str, Mapping[str, float]], names: Sequence[str], digits: int = 4
) -> Iterator[str]:
    """Yield a table with a line for each part and a column for each score in `names`."""
    widths = [max(10, len(name) + 2) for name in names]
    first = max(8, *map(len, scores))
    yield f"{'':{first}}" + "".join(f"{name:>{w}}" for name, w in zip(names, widths, strict=True))
    for part, values in scores.items():
        cells = (
            _score_cell(values[name], w, digits) for name, w in zip(names, widths, strict=True)
        )
        yield f"{part:{first}}" + "".join(cells)


def spread_lines(
    scores: Mapping[str, Mapping[str, tuple[float, float]]], digits: int = 3
) -> Iterator[str]:
    """Yield a table of means and deviations: a line for each model, a column for each score."""
    names = list(next(iter(scores.values())))
    first = max(8, *map(len, scores))
    texts = {
        title: [_spread_cell(*pair, digits) for pair in values.values()]
        for title, values in scores.items()
    }
    widths = [2 + max(map(len, column)) for column in zip(names, *texts.values(), strict=True)]
    for title, cells in {"": names, **texts}.items():
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"{title:{first}}" + "".join(padded)


def _spread_cell(mean: float, deviation: float, digits: int) -> str:
    if math.isnan(mean):
        return "-"
    places = digits if abs(mean) < 1000 else 0
    return f"{mean:,.{places}f} ± {deviation:,.{places}f}"


def _score_cell(value: float, width: int, digits: int) -> str:
    if math.isnan(value):
        return f"{'-':>{width}}"
    texts = (f"{value:,.{places}f}" for places in range(digits, -1, -1))
    return f"{next((each for each in texts if len(each) < width), f'{value:.4g}'):>{width}}"


def class_lines(figures: Sequence[Mapping[str, Any]], part: str) -> Iterator[str]:
    """Yield a table of the figures of classes: class, precision, recall, f1, samples."""
    shown = figures
    if len(figures) > _MOST_CLASSES:
        shown = sorted(figures, key=lambda row: row["f1"])[: _MOST_CLASSES // 2]
    wide = min(30, max(8, *(len(str(row["class"])) for row in shown)))
    yield f"{part:{wide}} precision    recall        F1   samples"
    for row in shown:
        scores = (f"{row[name]:10.4f}" for name in ("precision", "recall", "f1"))
        yield f"{cut(row['class'], wide):{wide}}{''.join(scores)}{row['samples']:>10,}"
    if shown is not figures:
        yield f"the {len(shown)} with the lowest F1, of {len(figures):,} classes"


def confusion_lines(matrix: Array, labels: Sequence[Any]) -> Iterator[str]:
    """Yield a confusion matrix, or its largest errors if it is wider than the terminal."""
    names = [str(label) for label in labels]
    first = min(16, max(4, *map(len, names)))
    room = (WIDTH - INDENT - first) // len(names) - 1
    needed = max(len(f"{matrix.max():,}"), 2)
    if room < needed:
        return _largest_errors(matrix, names)
    wide = max(needed, min(room, max(map(len, names))))
    heads = [cut(name, wide) for name in names]
    if len(set(heads)) < len(heads):  # shortened names may be the same: number the classes
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
