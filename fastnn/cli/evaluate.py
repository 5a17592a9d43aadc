"""`fastnn evaluate`: how good a saved model is on a table."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import assessment, data, report, terminal
from .limits import find_large
from .table_windows import Rows, TableSource, make_windows, spread

if TYPE_CHECKING:
    from ..tables.large import LargeTable


class _Result(NamedTuple):
    assessment: assessment.Assessment
    source: str
    n_samples: int
    notes: list[str]
    rows: Any = None
    """The typed columns and the target of a table in memory."""


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
        inspection = report.inspect(saved.whole, *result.rows) if result.rows else None
        report.write(
            options.plot, None, assessed, target, str(options.model), part, inspection=inspection
        )
        if not options.json:
            terminal.say("files", f"{Path(options.plot)}: picture")


def _assess(saved: data.Saved, options: Namespace) -> _Result:
    from ..tables.targets import leave_out_missing  # needs polars

    target, table = saved.target, data.load(options)
    table.require(target.name, "the target of the model")
    table, left_out = leave_out_missing(saved.read(table, target=True), target.name)
    X, frame = saved.whole.inputs(table)
    notes = data.unknown_lines(saved.preprocessor, frame)
    y = target.encode(table)
    assessed = assessment.assess(saved.model, target, X, y, precision=options.precision)
    return _Result(assessed, table.source, len(X), [*left_out, *notes], (frame, y))


def _assess_parts(saved: data.Saved, table: LargeTable, options: Namespace) -> _Result:
    from ..tables.targets import leave_out_missing  # needs polars

    target, head = saved.target, table.head()
    head.require(target.name, "the target of the model")
    saved.preprocessor.require(head)
    (column,) = table.columns([target.name])
    column, left_out = leave_out_missing(saved.read(column, target=True), target.name)
    indices = column.rows - 1
    chosen = spread(indices, True, table.n_rows)
    rows = Rows(chosen, spread(indices, target.encode(column), table.n_rows))
    unknown = data.Unknown()
    source = TableSource(
        table, saved.reading, saved.preprocessor, target, saved.model.dtype, rows, unknown
    )
    assessed = assessment.assess_parts(
        saved.model, target, make_windows(source, shuffle=False).of_epoch(1), source.n_rows,
        precision=options.precision,
    )  # fmt: skip
    return _Result(assessed, table.source, source.n_rows, [*left_out, *unknown.lines()])
