"""fastnn against its peers: each library in its own process, measured in turn.

python benchmarks/compare.py                  all tables, on the terminal
python benchmarks/compare.py --write          likewise, and into README, RESULTS.md, pictures
python benchmarks/compare.py --quick          figures that mean nothing, to see that it runs
python benchmarks/compare.py --sections train predict --libraries numpy torch
"""

import argparse
import datetime
import shlex
import sys
from pathlib import Path

import worker
from peers import PEERS

# A worker chooses its CPUs and threads before NumPy or anything else is loaded; only then does
# `main` import the rest.
_ROOT = Path(__file__).parent.parent
_SECTIONS = ("peak", "train", "adam", "predict", "softmax", "products", "startup")


def main():
    options = _parse()
    if options.worker:
        worker.serve(options.worker, options.threads)
        return
    _compare(options)


def _parse():
    cpus = worker.usable_cpus()
    peers = [name for name in PEERS if name not in ("fastnn", "descent", "peak")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=min(2, cpus), help="for every library")
    parser.add_argument("--rounds", type=int, help="of each library in each task (default 9)")
    parser.add_argument("--quick", action="store_true", help="two short rounds, a smoke test")
    parser.add_argument("--sections", nargs="+", choices=_SECTIONS, default=_SECTIONS)
    parser.add_argument("--libraries", nargs="+", choices=peers, default=peers)
    parser.add_argument(
        "--write", nargs="?", const=_ROOT, type=Path, metavar="FOLDER",
        help="also measure and draw the curves, and write into FOLDER (default: the checkout)",
    )  # fmt: skip
    parser.add_argument("--worker", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.threads <= cpus:
        parser.error(f"--threads is {options.threads}, expected 1 to {cpus}, the usable CPUs")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, expected at least 1")
    return options


def _compare(options):
    import curves
    import sections
    from rounds import Pool, Settings
    from startup import startup

    settings = Settings(2, 0.02, 0.0, 0.02) if options.quick else Settings()
    if options.rounds:
        settings = settings._replace(rounds=options.rounds)
    makers = {
        "peak": sections.peak,
        "train": sections.training,
        "adam": sections.adam,
        "predict": sections.prediction,
        "softmax": sections.softmax,
        "products": sections.products,
        "startup": lambda bench: startup(bench, runs=1 if options.quick else 9),
    }
    tables, pictures = {}, {}
    with Pool(settings, _say) as pool:
        bench = sections.Bench(pool, options.threads, tuple(options.libraries), _say)
        for name in options.sections:
            tables[name] = makers[name](bench)
            for table in tables[name]:
                print(f"\n{table.section()}", flush=True)
        if options.write:
            for name, curve in (("speed", curves.speed_by_width), ("peak", curves.peak_by_size)):
                table, pictures[name] = curve(bench)
                tables[f"{name} curve"] = [table]
                print(f"\n{table.section()}", flush=True)
        versions = pool.versions
    if options.write:
        _write(options, settings, tables, pictures, versions)


def _write(options, settings, tables, pictures, versions):
    from publish import Run, write

    # Without the folder: it is one of this machine.
    arguments = [each for each in sys.argv[1:] if each != str(options.write)]
    command = " ".join(["python benchmarks/compare.py", *map(shlex.quote, arguments)])
    today = datetime.date.today().isoformat()
    run = Run(command, today, options.threads, settings, versions, options.quick)
    for path in write(options.write, run, tables, pictures):
        print(f"written: {path}")


def _say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
