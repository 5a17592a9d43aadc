"""A table as the inputs and targets of a network: split, then fitted on the training part alone."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import datasets, tables
from ..tables import Table
from ..types import Array, Floats
from . import data, printing

if TYPE_CHECKING:
    from ..tables.preprocessing import Preprocessor


class Prepared(NamedTuple):
    """A table, split, with everything that was fitted on its training part."""

    preprocessor: Preprocessor
    target: Any
    inputs: list[Floats]
    """Features (N, I) of the two parts: training, held out."""

    wanted: list[Array]
    """Labels (N,), or numbers in the units of the target, of both."""

    lines: list[str]
    """What there is to say."""


def prepare(
    options: Namespace, split_rng: np.random.Generator, data_rng: np.random.Generator
) -> Prepared:
    """Read the table that the options name, split it, and return the Prepared."""
    built_in = options.data in data.BUILT_IN
    if built_in:
        _refuse_options_of_files(options)
    table = data.load(options, data_rng)
    from ..tables import kinds, preprocessing, targets  # need polars

    name = data.BUILT_IN[options.data] if built_in else _find_target(options, table)
    kind_of = kinds.infer_kinds(
        table, target=name, drop=options.drop, categorical=options.categorical
    )
    optional = kind_of if options.missing != "refuse" else ()
    frame = preprocessing.read_features(table, kind_of, optional)
    task, why = options.task, None
    if task is None:
        task, why = kinds.infer_task(table, name)
    target: Any
    answers: Array
    if task == "classification":
        target = targets.Classes.fit(table, name)
        answers = target.encode(table)
    else:
        answers = targets.read_quantity(table, name)
    labels = answers if task == "classification" else None
    try:
        parts = datasets.split(len(answers), options.validation_fraction, split_rng, labels=labels)
    except ValueError as error:
        raise ValueError(f"argument --validation-fraction: {error}") from None
    frames, wanted = [frame[part] for part in parts], [answers[part] for part in parts]
    if task == "regression":
        target = targets.Quantity.fit(wanted[0], name)
    preprocessor = preprocessing.Preprocessor.fit(frames[0], options.missing)
    inputs = [
        data.inputs(preprocessor, table.take(part), frame[part], options.dtype) for part in parts
    ]
    lines = [
        f"{table.source}: {printing.some(len(table.frame), 'sample')}, "
        f"{printing.some(inputs[0].shape[1], 'feature')}",
        *_target_lines(target, wanted, None if built_in else why),
        f"{len(wanted[0]):,} to train on, {len(wanted[1]):,} held out",
        *_feature_lines(preprocessor, frame, options.missing),
        *data.unknown_lines(preprocessor, frames[1]),
    ]
    return Prepared(preprocessor, target, inputs, wanted, lines)


def _refuse_options_of_files(options: Namespace) -> None:
    for name in ("target", "task", "drop", "categorical", "separator", "format"):
        given = getattr(options, name)
        if given:
            given = ",".join(given) if isinstance(given, list) else given
            raise ValueError(
                f"argument --{name}: {given!r} is for data files; {options.data} has labels"
            )


def _find_target(options: Namespace, table: Table) -> str:
    """Return the column that the options name as the target."""
    name: str | None = options.target
    if name is None:
        raise ValueError(
            f"{table.source} needs --target COLUMN, the column to predict: "
            f"one of {tables.among('', table.frame.columns)}"
        )
    table.require(name, "target")
    if name in (*options.drop, *options.categorical):
        raise ValueError(f"target is {name!r:.80}, expected a column that no other option names")
    return name


def _target_lines(target: Any, wanted: Sequence[Array], why: str | None) -> Iterator[str]:
    if target.task == "classification":
        shown = ", ".join(map(str, target.labels))
        yield printing.shortened(f"{len(target.labels):,} classes: {shown}")
    else:
        low, high = min(map(np.min, wanted)), max(map(np.max, wanted))
        yield f"target {target.name!r:.80} from {low:,.6g} to {high:,.6g}"
    if why is not None:
        doubtful = target.task == "regression" or type(target.labels[0]) is int
        yield f"{target.task}: {why}{' (see --task)' if doubtful else ''}"


def _feature_lines(preprocessor: Preprocessor, frame: Any, missing: str) -> Iterator[str]:
    numeric = [column.name for column in preprocessor.columns if column.kind == "number"]
    categories: list[Any] = [column for column in preprocessor.columns if column.kind == "category"]
    if numeric and not categories:
        yield "features standardised by mean and deviation of the training part only"
    elif numeric:
        yield f"{printing.some(len(numeric), 'numeric column')}, standardised on the training part"
    if categories:
        count = sum(len(column.categories) for column in categories)
        columns = printing.some(len(categories), "column")
        yield (
            f"{columns} of categories, one-hot, {printing.some(count, 'feature')}: "
            + printing.listed([f"{each.name:.80} ({len(each.categories)})" for each in categories])
        )
    if missing != "refuse":
        counts = {series.name: series.null_count() for series in frame if series.null_count()}
        shown = printing.listed([f"{name:.80} ({count:,})" for name, count in counts.items()])
        yield f"missing values, filled with the {missing} or most frequent: {shown or 'none'}"
