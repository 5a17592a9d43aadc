"""What is left of a speed where other processes want the same CPUs.

    python benchmarks/sharing.py [--rounds 9] [--quick] [--libraries fastnn torch jax]

Two tables. In the first, two processes train on the same CPUs: the part of its speed alone that
each one keeps. A half is fair; where they keep less, one waits for a thread that the other one
keeps from running. In the second, a process that only counts runs beside each library: how many
times as long its work then takes. With two CPUs, 1.33 is fair: one and a half of them are left.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from networks import NETWORKS
from report import Table, digits, microseconds, percent
from rounds import Library, Worker

_THREADS = 2
_NETWORK = NETWORKS[-1]
_ROWS = 10_000
_LIBRARIES = ("fastnn", "jax", "torch", "onnxruntime")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two short rounds, a smoke test")
    parser.add_argument("--libraries", nargs="+", default=_LIBRARIES)
    options = parser.parse_args()
    rounds, warm, seconds = (2, 0.1, 0.1) if options.quick else (options.rounds, 0.5, 2.0)
    alone, together = measure(rounds, warm, seconds)
    print(table(alone, together).section())
    print(beside_table(measure_beside(options.libraries, rounds, warm, seconds)).section())


def measure(rounds, warm, seconds):
    """Return the seconds of a step, alone and together: of both processes in each round."""
    workers = [Worker(Library("fastnn", _THREADS)) for _ in range(2)]
    try:
        for worker in workers:
            _ask(worker, prepare=_task())
        alone, together = [], []
        with ThreadPoolExecutor(len(workers)) as pool:
            for _ in range(rounds):
                alone.append([_steps(worker, warm, seconds) for worker in workers])
                together.append(list(pool.map(lambda w: _among_others(w, warm, seconds), workers)))
    finally:
        for worker in workers:
            worker.close()
    return alone, together


def measure_beside(libraries, rounds, warm, seconds):
    """Return {(job, library title): [(seconds alone, seconds beside), ...]}, a pair a round."""
    tasks = {
        "training step": _task(),
        "prediction": {"kind": "predict", "sizes": _NETWORK.sizes, "rows": _ROWS},
    }
    measured = {}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in libraries:
            library = Library(name, _THREADS)
            worker = Worker(library)
            stack.callback(worker.close)
            if "versions" in worker.hello:
                workers[library.title] = worker
            else:
                print(f"left out: {library.title}: {worker.hello}", file=sys.stderr)
        for job, task in tasks.items():
            ready = {
                title: worker
                for title, worker in workers.items()
                if _ask(worker, prepare=task)["values"] is not None
            }
            for _ in range(rounds):
                for title, worker in ready.items():
                    one = _steps(worker, warm, seconds)
                    with _busy():
                        pair = one, _steps(worker, warm, seconds)
                    measured.setdefault((job, title), []).append(pair)
    return measured


@contextlib.contextmanager
def _busy():
    """Run another process that wants one CPU, all of it."""
    # It ends after some minutes, even if this process is killed.
    process = subprocess.Popen([sys.executable, "-c", "for _ in range(10**10): pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _task():
    return {"kind": "train", **_NETWORK._asdict()}


def _steps(worker, warm, seconds):
    return _ask(worker, warm=warm, seconds=seconds)["seconds"]


def _among_others(worker, warm, seconds):
    """As `_steps`, and work on behind it: the others may not have finished theirs."""
    result = _steps(worker, warm, seconds)
    _steps(worker, seconds / 2, warm)
    return result


def _ask(worker, **command):
    answer = worker.ask(**command)
    if "error" in answer:
        raise SystemExit(answer["error"])
    return answer


def table(alone, together):
    """Return the Table of all processes: steps a second, and the part that is left together."""
    rows = []
    for process in range(len(alone[0])):
        one, both = ([seconds[process] for seconds in rounds] for rounds in (alone, together))
        fraction = statistics.median(a / b for a, b in zip(one, both, strict=True))
        speeds = (digits(1 / statistics.median(seconds)) for seconds in (one, both))
        rows.append((str(process + 1), *speeds, percent(fraction)))
    return Table(
        "Two processes on the same CPUs",
        f"Training steps a second, {_NETWORK.name}, batch {_NETWORK.batch}, {_THREADS} threads in "
        f"each process: medians over {len(alone)} rounds. What is kept is formed within rounds.",
        ("process", "alone", "together", "kept"),
        rows,
    )


def beside_table(measured):
    """Return the Table of `measure_beside`."""
    rows = []
    for (job, title), pairs in measured.items():
        alone, beside = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        figures = microseconds(alone), microseconds(beside), f"{digits(ratio)}x"
        rows.append((job, title, *figures))
    return Table(
        "Beside one busy process",
        f"Microseconds of a training step of {_NETWORK.name}, batch {_NETWORK.batch}, and of the "
        f"probabilities of {_ROWS:,} rows, {_THREADS} threads: medians over rounds. Ratios are "
        "formed within rounds; with two CPUs, 1.33x is fair.",
        ("job", "library", "alone", "beside it", "as long"),
        rows,
    )


if __name__ == "__main__":
    main()
