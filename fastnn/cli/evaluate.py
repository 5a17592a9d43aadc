"""`fastnn evaluate`: how good a saved model is on a table."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import assessment, data, report, terminal
from .limits import find_large
from .table_windows import TableSource, make_windows

if TYPE_CHECKING:
    from ..tables.large import LargeTable


class _Result(NamedTuple):
    assessment: assessment.Assessment
    source: str
    n_samples: int
    notes: list[str]


def run(options: Namespace) -> None:
    """Measure a model file on a table."""
    if options.plot:
        report.check(options.plot)
    saved = data.Saved(options.model)
    large = None if options.data in data.BUILT_IN else find_large(options)
    result = _assess(saved, options) if large is None else _assess_parts(saved, large, options)
    target, assessed = saved.target, result.assessment
    if options.json:
        terminal.print_json(
            {
                "model": str(options.model),
                "data": result.source,
                "samples": result.n_samples,
                "task": target.task,
                "target": target.name,
                **assessment.as_json(assessed, target),
                "notes": result.notes,
            }
        )
    else:
        terminal.say(
            "data",
            f"{result.source}: {terminal.some(result.n_samples, 'sample')}, "
            f"{terminal.some(len(saved.preprocessor.feature_names), 'feature')}",
            *terminal.wrapped(result.notes),
        )
        assessment.say_result({"": assessed}, target, "")
    if options.plot:
        part = assessment.title(assessed, result.source, result.n_samples)
        report.write(options.plot, None, assessed, target, str(options.model), part)
        if not options.json:
            terminal.say("files", f"{Path(options.plot)}: picture")


def _assess(saved: data.Saved, options: Namespace) -> _Result:
    table = data.load(options)
    table.require(saved.target.name, "the target of the model")
    X, notes = saved.features(table)
    y = saved.target.encode(table)
    assessed = assessment.assess(saved.model, saved.target, X, y, precision=options.precision)
    return _Result(assessed, table.source, len(X), notes)


def _assess_parts(saved: data.Saved, table: LargeTable, options: Namespace) -> _Result:
    head = table.head()
    head.require(saved.target.name, "the target of the model")
    saved.preprocessor.require(head)
    chosen = np.full(table.n_rows, True)
    source = TableSource(table, saved.preprocessor, saved.target, saved.model.dtype, chosen)
    assessed = assessment.assess_parts(
        saved.model, saved.target, make_windows(source, shuffle=False).of_epoch(1), table.n_rows,
        precision=options.precision,
    )  # fmt: skip
    return _Result(assessed, table.source, table.n_rows, [*source.unknown.lines()])
