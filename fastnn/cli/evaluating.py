"""`fastnn evaluate`: how good a model is on a table, in figures and a confusion matrix."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import metrics
from ..types import Array, Floats, Integers
from . import data, printing, report

if TYPE_CHECKING:
    from ..model import Sequential


class Assessment(NamedTuple):
    """A model on a part of the data."""

    scores: dict[str, float]
    """{"loss", "accuracy"} of classes, {"r2", "rmse", "mae"} of numbers."""

    true: Array
    predicted: Array


TITLES = {"loss": "loss", "accuracy": "accuracy", "r2": "R2", "rmse": "RMSE", "mae": "MAE"}


def assess(
    model: Sequential, target: Any, X: Floats, wanted: Array, threads: int | None = None
) -> Assessment:
    """Return the Assessment of a model; `wanted` are labels, or numbers in the target's units."""
    if target.task == "classification":
        scores = model.evaluate(X, wanted, threads=threads)
        return Assessment(scores, wanted, model.predict(X, threads=threads))
    predicted = model.predict(X, threads=threads)
    # Measured as it was trained, since squares of the target's own units may overflow.
    scaled = target.standardize(wanted)
    scores = {
        "r2": metrics.r2(scaled, predicted),
        "rmse": target.scale * metrics.mean_squared_error(scaled, predicted) ** 0.5,
        "mae": target.scale * metrics.mean_absolute_error(scaled, predicted),
    }
    return Assessment(scores, wanted, target.decode(predicted))


def class_figures(assessment: Assessment, labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a dict of figures for each class."""
    true, predicted = assessment.true, assessment.predicted
    occurring = np.union1d(true, predicted)
    figures = np.full((3, len(labels)), 0.0)
    for row, score in zip(figures, (metrics.precision, metrics.recall, metrics.f1), strict=True):
        row[occurring] = score(true, predicted, average=None)
    samples = np.bincount(true, minlength=len(labels))
    return [
        {"class": label, "precision": p, "recall": r, "f1": f, "samples": int(n)}
        for label, p, r, f, n in zip(labels, *figures.tolist(), samples, strict=True)
    ]


def confusion_matrix(assessment: Assessment, n_classes: int) -> Integers:
    """Return counts (C, C): the true class in the row, the predicted one in the column."""
    both = assessment.true * n_classes + assessment.predicted
    return np.bincount(both, minlength=n_classes**2).reshape(n_classes, n_classes)


def say_result(parts: Mapping[str, Assessment], target: Any, last: str) -> None:
    """Print the scores of all parts, and what became of the classes in the one named `last`."""
    first = next(iter(parts.values()))
    scores = {
        part: {TITLES[name]: value for name, value in each.scores.items() if name in TITLES}
        for part, each in parts.items()
    }
    names = [TITLES[name] for name in first.scores if name in TITLES]
    printing.say("result", *printing.score_lines(scores, names))
    if target.task == "classification":
        labels = target.labels
        printing.say("classes", *printing.class_lines(class_figures(parts[last], labels), last))
        matrix = confusion_matrix(parts[last], len(labels))
        printing.say("confusion", *printing.confusion_lines(matrix, labels))


def as_json(assessment: Assessment, target: Any) -> dict[str, Any]:
    """Return an Assessment for `--json`."""
    found: dict[str, Any] = dict(assessment.scores)
    if target.task == "classification":
        found["classes"] = class_figures(assessment, target.labels)
        found["confusion_matrix"] = confusion_matrix(assessment, len(target.labels)).tolist()
    return found


def run(options: Namespace) -> None:
    """Measure a model file on a table."""
    if options.plot:
        report.check(options.plot)
    saved = data.Saved(options.model)
    table = data.load(options)
    table.require(saved.target.name, "the target of the model")
    X, notes = saved.features(table)
    found = assess(saved.model, saved.target, X, saved.target.encode(table))
    if options.json:
        printing.print_json(
            {
                "model": str(options.model),
                "data": table.source,
                "samples": len(X),
                "task": saved.target.task,
                "target": saved.target.name,
                **as_json(found, saved.target),
                "notes": notes,
            }
        )
    else:
        printing.say(
            "data",
            f"{table.source}: {printing.some(len(X), 'sample')}, "
            f"{printing.some(X.shape[1], 'feature')}",
            *printing.wrapped(notes),
        )
        say_result({"": found}, saved.target, "")
    if options.plot:
        report.write(options.plot, None, found, saved.target, str(options.model), table.source)
        if not options.json:
            printing.say("files", f"{Path(options.plot)}: picture")
