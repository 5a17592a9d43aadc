"""`fastnn evaluate`: how good a saved model is on a table."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from . import data, report, terminal
from .assessment import as_json, assess, say_result


def run(options: Namespace) -> None:
    """Measure a model file on a table."""
    if options.plot:
        report.check(options.plot)
    saved = data.Saved(options.model)
    from ..tables.targets import leave_out_missing  # needs polars

    table = data.load(options)
    table.require(saved.target.name, "the target of the model")
    target = saved.target
    table = saved.read(table, target=True)
    table, left_out = leave_out_missing(table, target.name)
    X, notes = saved.features(table)
    notes = [*left_out, *notes]
    y = target.encode(table)
    assessment = assess(saved.model, target, X, y, precision=options.precision)
    if options.json:
        terminal.print_json(
            {
                "model": str(options.model),
                "data": table.source,
                "samples": len(X),
                "task": saved.target.task,
                "target": saved.target.name,
                **as_json(assessment, saved.target),
                "notes": notes,
            }
        )
    else:
        terminal.say(
            "data",
            f"{table.source}: {terminal.some(len(X), 'sample')}, "
            f"{terminal.some(X.shape[1], 'feature')}",
            *terminal.wrapped(notes),
        )
        say_result({"": assessment}, saved.target, "")
    if options.plot:
        report.write(options.plot, None, assessment, saved.target, str(options.model), table.source)
        if not options.json:
            terminal.say("files", f"{Path(options.plot)}: picture")
