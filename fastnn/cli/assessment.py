"""How good a model is on a part of the data, in figures and a confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tables.scores import Assessment, assess
from ..types import Array, Integers, Precision
from . import figures, terminal
from .totals import Errors, Hits, Spaced, count_pairs

if TYPE_CHECKING:
    from ..model import Sequential
    from ..tables.targets import Target


__all__ = [
    "MOST_SHOWN", "TITLES", "Assessment", "as_json", "assess", "assess_parts", "class_figures",
    "confusion_matrix", "plain_scores", "say_result", "title", "warning_of",
]  # fmt: skip

MOST_SHOWN = 100_000
"""Samples of a table that is read in parts, which stay in memory for a picture."""

# The loss of a network of classes is the log loss, and the penalty of its weights if it has one.
TITLES = {
    "log_loss": "log loss", "accuracy": "accuracy", "roc_auc": "ROC AUC",
    "r2": "R2", "rmse": "RMSE", "mae": "MAE",
}  # fmt: skip


def assess_parts(
    model: Sequential,
    target: Target,
    parts: Iterable[tuple[Array, ...]],
    n_samples: int,
    threads: int | None = None,
    precision: Precision | None = None,
) -> Assessment:
    """Return the Assessment of a model on samples that come in parts.

    The parts are (X, y) as `fit` takes them, `n_samples` in all: so numbers are standardized. Of
    more than `MOST_SHOWN` samples, the Assessment has as many, at equal distances.
    """
    totals = Errors(target) if target.task == "regression" else Hits(len(target.labels), n_samples)
    shown, pairs = Spaced(n_samples, MOST_SHOWN), []
    for X, y in parts:
        predicted = model.predict(X, threads=threads, precision=precision)
        if isinstance(totals, Errors):
            totals.add(y, predicted)
        else:
            scores = model.evaluate(
                X, y, metrics=["log_loss"], threads=threads, precision=precision
            )
            probabilities = model.predict_proba(X, threads=threads, precision=precision)
            totals.add(y, predicted, probabilities, scores)
        rows = shown.next(len(y))
        pairs.append((y[rows], predicted[rows]))
    true, predicted = (np.concatenate(each) for each in zip(*pairs, strict=True))
    if isinstance(totals, Hits):
        return Assessment(totals.scores(), true, predicted, totals.counts)
    values = [np.asarray(target.decode(each)) for each in (true, predicted)]
    return Assessment(totals.scores(), *values)


def class_figures(assessment: Assessment, labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Return a dict of figures for each class; 0 for what no sample decides."""
    counts = confusion_matrix(assessment, len(labels)).astype(np.float64)
    right, predicted, true = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
    parts = (right, predicted), (right, true), (2 * right, predicted + true)
    figures = [np.divide(a, b, out=np.zeros(len(b)), where=b > 0).tolist() for a, b in parts]
    return [
        {"class": label, "precision": p, "recall": r, "f1": f, "samples": int(n)}
        for label, p, r, f, n in zip(labels, *figures, true, strict=True)
    ]


def confusion_matrix(assessment: Assessment, n_classes: int) -> Integers:
    """Return counts (C, C): the true class in the row, the predicted one in the column."""
    if assessment.counts is not None:
        return assessment.counts
    return count_pairs(assessment.true, assessment.predicted, n_classes)


def say_result(
    parts: Mapping[str, Assessment],
    target: Target,
    last: str,
    baselines: Mapping[str, Assessment] | None = None,
) -> None:
    """Print the scores of all parts; of classes, also each one's figures in the part `last`.

    Scores of `baselines` on that part stand below.
    """
    first = next(iter(parts.values()))
    rows = {**parts, **{f"{last}, {title}": each for title, each in (baselines or {}).items()}}
    scores = {
        part: {TITLES[name]: value for name, value in each.scores.items() if name in TITLES}
        for part, each in rows.items()
    }
    names = [title for name, title in TITLES.items() if name in first.scores]
    warning = warning_of(parts[last], baselines) if baselines else None
    warnings = terminal.wrapped([warning]) if warning else ()
    terminal.say("result", *figures.score_lines(scores, names), *warnings)
    if target.task == "classification":
        labels = target.labels
        terminal.say("classes", *figures.class_lines(class_figures(parts[last], labels), last))
        matrix = confusion_matrix(parts[last], len(labels))
        terminal.say("confusion", *figures.confusion_lines(matrix, labels))


def warning_of(network: Assessment, baselines: Mapping[str, Assessment]) -> str | None:
    """Return a warning where a network is no better than a baseline on the same samples."""
    name, sign = ("log_loss", -1) if "log_loss" in network.scores else ("r2", 1)
    score = network.scores[name]
    best = max(baselines, key=lambda title: sign * baselines[title].scores[name])
    other = baselines[best].scores[name]
    if sign * score > sign * other:
        return None
    return f"the network is no better than the {best}: {TITLES[name]} {score:.4g} and {other:.4g}"


def plain_scores(assessment: Assessment) -> dict[str, float | None]:
    """Return the scores for JSON, which has no NaN."""
    return {name: None if np.isnan(value) else value for name, value in assessment.scores.items()}


def as_json(assessment: Assessment, target: Target) -> dict[str, Any]:
    """Return an Assessment for `--json`."""
    values: dict[str, Any] = {**plain_scores(assessment)}
    if target.task == "classification":
        values["classes"] = class_figures(assessment, target.labels)
        values["confusion_matrix"] = confusion_matrix(assessment, len(target.labels)).tolist()
    return values


def title(assessment: Assessment, part: str, n_samples: int) -> str:
    """Return the name of a part of the data for a picture of the samples that it has."""
    n_shown = len(assessment.true)
    return part if n_shown == n_samples else f"{part}, {n_shown:,} of {n_samples:,} samples"
