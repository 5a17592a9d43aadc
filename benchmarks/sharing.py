"""Two processes that train on the same CPUs: the part of its speed alone that each one keeps.

    python benchmarks/sharing.py [--rounds 9] [--quick]

Each process has two threads, as many as there are CPUs for both. A half is fair; where they keep
less, one waits at its barrier for a thread that the other one keeps from running.
"""

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor

from networks import NETWORKS
from report import Table, digits, percent
from rounds import Library, Worker

_THREADS = 2
_NETWORK = NETWORKS[-1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two short rounds, a smoke test")
    options = parser.parse_args()
    if options.quick:
        alone, together = measure(rounds=2, warm=0.1, seconds=0.1)
    else:
        alone, together = measure(options.rounds, warm=0.5, seconds=2.0)
    print(table(alone, together).section())


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


if __name__ == "__main__":
    main()
