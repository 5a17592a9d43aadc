"""What it costs to train one network with several ranks, and when it pays.

    mpirun -n 2 --bind-to none python benchmarks/hosts.py [--rounds 5] [--quick]

The first table is of one rank: how many times as long its step takes, with several shards, as that
of `fit` on one thread, which is a step of one shard. The second is of all ranks: how much of a step
is exchange. With the latency and the bandwidth measured here it says from which batch on two hosts
are 1.5 times as fast as one. Ranks on one host exchange through its memory; over a network the
batch has to be larger.
"""

import argparse
import statistics
import time

import numpy as np
from networks import ADAM_RATE, NETWORKS, Network, make_data
from report import Table, digits, microseconds, percent

import fastnn
from fastnn.distributed import mpi_ranks, one

_SHARDS = 2, 4, 8
_BATCH = 4096
_STEPS = 4
_AIM = 1.5  # how many times as fast two hosts are to be as one
_LARGE = 2**24  # bytes of the exchange that shows the bandwidth


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round, a smoke test")
    options = parser.parse_args()
    ranks = mpi_ranks(shards=8)
    rounds, networks = (1, NETWORKS[:2]) if options.quick else (options.rounds, NETWORKS)
    # On rank 0 alone first: the others wait in the first exchange of the second table.
    if ranks.rank == 0:
        print(shards_table(networks, rounds).section(), flush=True)
    table = exchange_table(ranks, networks, rounds)
    if ranks.rank == 0:
        print(table.section())


def step_seconds(network, ranks, rounds, *, parts=False):
    """Return (seconds of a step, seconds of its exchanges): medians, for each kind of `fit`.

    With `parts`, each rank holds a part of the samples.
    """
    X, y = make_data(network)
    options = {"ranks": ranks}
    if parts:
        options["parts"] = True
        X, y = (np.array_split(each, ranks.size)[ranks.rank] for each in (X, y))
    layers = []
    for i, sizes in enumerate(zip(network.sizes[:-1], network.sizes[1:], strict=True)):
        layers += [fastnn.Dense(*sizes, rng=i), fastnn.ReLU()]
    model, optimizer = fastnn.Sequential(layers[:-1]), fastnn.Adam(ADAM_RATE)
    whole, exchanged = [], []
    for _ in range(rounds + 1):  # the first one compiles
        begin, before = time.perf_counter(), getattr(ranks, "seconds", 0.0)
        model.fit(
            X, y, batch_size=network.batch, seed=0, optimizer=optimizer, threads=1, verbose=0,
            **options,
        )  # fmt: skip
        whole.append((time.perf_counter() - begin) / network.steps)
        exchanged.append((getattr(ranks, "seconds", 0.0) - before) / network.steps)
    return statistics.median(whole[1:]), statistics.median(exchanged[1:])


def large(network, batch=_BATCH):
    """Return a network with other batches."""
    return Network(network.sizes, batch, _STEPS)


def shards_table(networks, rounds):
    """Return the Table of the factors of layers and shards."""
    rows = []
    for network in networks:
        for each in (network, large(network)):
            base, _ = step_seconds(each, None, rounds)
            factors = [step_seconds(each, one(n), rounds)[0] / base for n in _SHARDS]
            name = f"{each.name}, {each.batch}"
            rows.append((name, microseconds(base), *(f"{digits(f)}x" for f in factors)))
    shards = [f"{n} shards" for n in _SHARDS]
    return Table(
        "A step of one rank",
        "Microseconds of a step of Adam in `fit` on one thread, and how many times as long a rank "
        "takes for it, with as many shards.",
        ("network, batch", "fit", *shards),
        rows,
    )


def exchange_table(ranks, networks, rounds):
    """Return the Table of exchanges among all ranks."""
    latency = _median_seconds(lambda: ranks.spread(np.zeros(1)), 200)
    piece = np.zeros((ranks.size, _LARGE // 4 // ranks.size), np.float32)
    seconds = _median_seconds(lambda: ranks.exchange(piece), 5)
    bandwidth = piece.nbytes * max(1 - 1 / ranks.size, 0.5) / seconds
    rows = []
    for network in networks:
        each = large(network)
        step, exchange = step_seconds(each, ranks, rounds)
        apart, _ = step_seconds(each, ranks, rounds, parts=True)
        double, _ = step_seconds(large(network, 2 * _BATCH), one(8), rounds)
        single, _ = step_seconds(each, one(8), rounds)
        # Two hosts exchange three times a step, and each sends as many numbers as there are
        # parameters: a half of its gradients, and a half of the sums.
        sent = 3 * latency + 4 * each.parameters / bandwidth
        rows.append(
            (
                f"{each.name}, {each.batch}", microseconds(step), microseconds(step - exchange),
                microseconds(exchange), percent(exchange / step), microseconds(apart),
                least_batch(single, double, sent),
            )
        )  # fmt: skip
    return Table(
        f"A step of {ranks.size} ranks",
        "Microseconds of a step of Adam, 8 shards, and what of it is computing and what exchange, "
        "with the time in which a rank waits for the others; and those of a step where each rank "
        f"holds a part of the samples. An exchange of one number takes "
        f"{microseconds(latency)} us, and one of many brings a rank {bandwidth / 1e9:.2f} GB a "
        f"second: by these two, the batch from which two hosts are {_AIM} times as fast as one.",
        (
            "network, batch",
            "step",
            "computing",
            "exchange",
            "part",
            "with parts",
            "batch that pays",
        ),
        rows,
    )


def least_batch(single, double, exchange):
    """Return the batch from which two hosts are `_AIM` times as fast as one.

    A step takes fixed + rows * each, of which two hosts halve the second part and add an exchange.
    """
    each = (double - single) / _BATCH
    fixed = max(single - each * _BATCH, 0.0)
    if each <= 0:
        return "-"
    rows = (_AIM * (fixed + exchange) - fixed) / (each * (1 - _AIM / 2))
    return digits(max(rows, 1.0))


def _median_seconds(call, times):
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
