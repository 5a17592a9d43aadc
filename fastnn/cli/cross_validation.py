"""`fastnn train --cv K`: how good the settings are, on parts that no network has seen."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .. import datasets
from ..types import Array, Integers
from . import assessment, figures, terminal
from .dataset import Columns, Dataset

if TYPE_CHECKING:
    from ..model import Sequential

Train: TypeAlias = "Callable[[Dataset], Mapping[str, Sequential]]"
"""Returns {title: model}: the network and its baselines, trained on a dataset."""


class CrossValidation(NamedTuple):
    """The scores of models on several parts."""

    scores: dict[str, dict[str, list[float]]]
    """{title of a model: {name of a score: its values, one for each part}}."""

    sizes: list[int]
    """The samples of each part."""


def cross_validate(
    options: Namespace, columns: Columns, rng: np.random.Generator, train: Train
) -> CrossValidation:
    """Train once for each of `options.cv` parts, and measure on that part.

    Of the other rows `options.validation_fraction` is held out: early stopping uses it. The
    preprocessing is fitted to what is left, so nothing of a part is known to its network.

    Raises
    ------
    ValueError
        Where there are too few samples for so many parts.
    """
    n = len(columns.y)
    if options.cv > n // 2:
        raise ValueError(
            f"argument --cv: {options.cv} parts of {n:,} samples, expected at most {n // 2:,}"
        )
    scores: dict[str, dict[str, list[float]]] = {}
    parts = list(_draw_parts(columns, options.cv, rng))
    for k, part in enumerate(parts):
        rest = np.concatenate(parts[:k] + parts[k + 1 :])
        dataset, X = _dataset_of(options, columns, rest, part, rng)
        for title, model in train(dataset).items():
            y = columns.y[part]
            found = assessment.assess(
                model, dataset.target, X, y, options.threads, options.precision
            )
            for name, score in found.scores.items():
                scores.setdefault(title, {}).setdefault(name, []).append(score)
    return CrossValidation(scores, [len(part) for part in parts])


def _draw_parts(columns: Columns, count: int, rng: np.random.Generator) -> Iterator[Integers]:
    """Yield the rows of `count` parts, drawn at random; of classes, each has its share of each."""
    order = rng.permutation(len(columns.y))
    if columns.classes is not None:  # neighbors in this order go to different parts
        order = order[np.argsort(columns.y[order], kind="stable")]
    for k in range(count):
        yield np.sort(order[k::count])


def _dataset_of(
    options: Namespace,
    columns: Columns,
    rest: Integers,
    part: Integers,
    rng: np.random.Generator,
) -> tuple[Dataset, Array]:
    """Return a dataset of the rows `rest`, and the inputs of the rows `part`."""
    from ..tables import targets

    labels = None if columns.classes is None else columns.y[rest]
    try:
        inner = datasets.split(len(rest), options.validation_fraction, rng, labels=labels)
    except ValueError as error:
        raise ValueError(f"argument --cv: {error}") from None
    rows = [rest[each] for each in inner]
    target = columns.classes or targets.Quantity.fit(columns.y[rows[0]], columns.name)
    preprocessor, (*inputs, X) = columns.fit_parts(options, [*rows, part])
    y_parts = [columns.y[each] for each in rows]
    return Dataset(columns.reading, preprocessor, target, inputs, y_parts, [], []), X


def say(result: CrossValidation) -> None:
    """Print the mean and the standard deviation of each score."""
    sizes = sorted({*result.sizes})
    shown = f"{sizes[0]:,}" + (f" or {sizes[-1]:,}" if len(sizes) > 1 else "")
    spreads = {
        title: {
            heading: (float(np.mean(scores[name])), float(np.std(scores[name], ddof=1)))
            for name, heading in assessment.TITLES.items()
            if name in scores
        }
        for title, scores in result.scores.items()
    }
    terminal.say(
        "parts",
        f"{len(result.sizes)} of {shown} samples, which their networks have not seen",
        *figures.spread_lines(spreads),
    )


def as_json(result: CrossValidation) -> dict[str, Any]:
    """Return the scores for `--json`."""
    return {
        "parts": result.sizes,
        "scores": {
            title.replace(" ", "_"): {
                name: {
                    "mean": float(np.mean(values)),
                    "deviation": float(np.std(values, ddof=1)),
                    "values": values,
                }
                for name, values in scores.items()
            }
            for title, scores in result.scores.items()
        },
    }
