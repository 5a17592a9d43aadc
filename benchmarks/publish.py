"""Writes what was measured: the marked part of README, RESULTS.md and the two pictures."""

from typing import NamedTuple

from machine import facts, mkl
from report import replace_marked
from rounds import Settings


class Run(NamedTuple):
    """How the figures came about."""

    command: str
    date: str
    threads: int
    settings: Settings
    versions: dict
    quick: bool


def write(folder, run, tables, pictures):
    """Write all files under `folder`, a checkout; yield the path of each.

    `tables` and `pictures` are keyed as in `compare.py`; a section that was not run is left out.
    """
    from pictures import draw_peak, draw_speed

    target = folder / "benchmarks"
    target.mkdir(parents=True, exist_ok=True)
    for name, draw in (("speed", draw_speed), ("peak", draw_peak)):
        path = target / _PICTURES[name]
        draw(path, pictures[name])
        yield path
    path = target / "RESULTS.md"
    path.write_text(results(run, tables), encoding="utf-8")
    yield path
    path = folder / "README.md"
    path.write_text(
        replace_marked(path.read_text(encoding="utf-8"), readme_block(run, tables)),
        encoding="utf-8",
    )
    yield path


_PICTURES = {"speed": "speed_by_width.png", "peak": "peak_by_size.png"}


def _how(run):
    settings = run.settings
    lines = [
        f"Every library in its own process, {run.threads} threads, measured in turn: "
        f"{settings.first_warm_up:g} s of warm-up, then the median of {settings.rounds} rounds of "
        f"about {settings.seconds:g} s. Ratios are formed within rounds; below 1 fastnn is slower.",
        mkl(),
    ]
    if run.quick:
        lines.insert(0, "**A smoke test with --quick: these figures mean nothing.**")
    return "\n\n".join(lines)


def results(run, tables):
    """Return RESULTS.md."""
    rows = [*facts(run.versions), ("Threads", str(run.threads)), ("Date", run.date)]
    machine = "\n".join(f"- {name}: {value}" for name, value in rows)
    parts = [
        "# Measured",
        "Written by `benchmarks/compare.py`; do not edit. To measure again:\n\n"
        f"```\n{run.command}\n```",
        machine,
        _how(run),
    ]
    for name, group in tables.items():
        parts += [table.section().strip() for table in group]
        if (picture := _PICTURES.get(name.removesuffix(" curve"))) and name.endswith("curve"):
            parts.append(f"![{group[0].title}]({picture})")
    return "\n\n".join(parts) + "\n"


def readme_block(run, tables):
    """Return the short form: training and prediction, and the pictures."""
    parts = []
    for name in ("train", "adam", "predict"):
        for table in tables.get(name, [])[:1]:
            parts.append(table.section("###").strip())
    machine = dict(facts(run.versions))
    processor, vectors, bfloat16 = list(machine.values())[:3]
    parts.append(
        f"{processor} ({vectors}; products in bfloat16: {bfloat16}), {run.date}. {_how(run)}\n\n"
        "All tables, versions and the command that measures them again: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."
    )
    for name, title in (("speed", "Speed against width"), ("peak", "Fraction of peak by size")):
        parts.append(f"![{title}](benchmarks/{_PICTURES[name]})")
    return "\n\n".join(parts)
