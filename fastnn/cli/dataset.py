"""The table that the options of `fastnn train` name, as a Dataset, and what is said of it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import tables
from ..tables import Table
from ..types import Array
from . import data, terminal

if TYPE_CHECKING:
    from ..tables.dataset import Dataset
    from ..tables.targets import Target


def load_dataset(
    options: Namespace, split_rng: np.random.Generator, data_rng: np.random.Generator
) -> tuple[Dataset, list[str]]:
    """Read the table that the options name; return its Dataset, and what the user is told of it."""
    built_in = options.data in data.BUILT_IN
    if built_in:
        _refuse_options_of_files(options)
    table = data.load(options, data_rng)
    from ..tables.dataset import DataOptions, SplitError, make_dataset  # need polars

    name = data.BUILT_IN[options.data] if built_in else _find_target(options, table)
    given = DataOptions(**{each: getattr(options, each) for each in DataOptions._fields})
    try:
        dataset = make_dataset(table, name, given, split_rng, as_found=not built_in)
    except SplitError as error:
        raise ValueError(f"argument --validation-fraction: {error}") from None
    samples = [len(part) for part in dataset.targets]
    lines = [
        f"{table.source}: {terminal.some(sum(samples), 'sample')}, "
        f"{terminal.some(dataset.inputs[0].shape[1], 'feature')}",
        *_target_lines(dataset.target, dataset.targets, None if built_in else dataset.why),
        f"{samples[0]:,} to train on, {samples[1]:,} held out",
        *_feature_lines(dataset, options.missing),
        *data.unknown_lines(dataset.preprocessor, dataset.frames[1]),
    ]
    return dataset, lines


def _refuse_options_of_files(options: Namespace) -> None:
    flags = {
        "decimal-comma": options.decimal == ",",
        "decimal-point": options.decimal == ".",
        "day-first": options.day_first is True,
        "month-first": options.day_first is False,
        "no-header": options.no_header,
    }
    for flag, given in flags.items():
        if given:
            raise ValueError(f"argument --{flag}: is for data files; {options.data} is none")
    for name in (
        "target",
        "task",
        "drop",
        "categorical",
        "null",
        "separator",
        "encoding",
        "format",
    ):
        value = getattr(options, name)
        if value:
            value = ",".join(value) if isinstance(value, list) else value
            raise ValueError(
                f"argument --{name}: {value!r} is for data files; {options.data} has labels"
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


def _target_lines(target: Target, y_parts: Sequence[Array], why: str | None) -> Iterator[str]:
    if target.task == "classification":
        shown = ", ".join(map(str, target.labels))
        yield terminal.shortened(f"{len(target.labels):,} classes: {shown}")
    else:
        low, high = min(map(np.min, y_parts)), max(map(np.max, y_parts))
        yield f"target {target.name!r:.80} from {low:,.6g} to {high:,.6g}"
    if why is not None:
        doubtful = target.task == "regression" or type(target.labels[0]) is int
        yield f"{target.task}: {why}{' (see --task)' if doubtful else ''}"


def _feature_lines(dataset: Dataset, missing: str) -> Iterator[str]:
    preprocessor = dataset.preprocessor
    numeric = [column.name for column in preprocessor.columns if column.kind == "number"]
    categories = [column for column in preprocessor.columns if column.kind == "category"]
    dates = [column for column in preprocessor.columns if column.kind == "date"]
    if numeric and not categories and not dates:
        yield "features standardized by mean and deviation of the training part only"
    elif numeric:
        yield f"{terminal.some(len(numeric), 'numeric column')}, standardized on the training part"
    if categories:
        count = sum(len(column.feature_names) for column in categories)
        columns = terminal.some(len(categories), "column")
        yield (
            f"{columns} of categories, one-hot, {terminal.some(count, 'feature')}: "
            + terminal.listed(
                [f"{each.name:.80} ({len(each.feature_names)})" for each in categories]
            )
        )
    for each in categories:
        if each.other is not None:
            yield (
                f"{each.name!r:.80} has more than {len(each.categories) + 1:,} categories: the "
                f"rarest are {each.other!r}"
            )
    if dates:
        shown = terminal.listed([f"{each.name:.80} ({', '.join(each.parts)})" for each in dates])
        yield f"{terminal.some(len(dates), 'column')} of dates: {shown}"
    if missing != "refuse":
        counts = {
            name: count
            for name in dataset.frames[0].columns
            if (count := sum(frame[name].null_count() for frame in dataset.frames))
        }
        shown = terminal.listed([f"{name:.80} ({count:,})" for name, count in counts.items()])
        yield f"missing values, filled with the {missing} or most frequent: {shown or 'none'}"
