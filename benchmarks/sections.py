"""The tables of the comparison: what each measures, of whom, and how it is shown."""

from collections.abc import Callable
from typing import NamedTuple

from networks import NETWORKS, WIDE
from report import Table, digits, microseconds, percent, times
from rounds import Library, Pool

_PREDICTIONS = (
    ((784, 128, 10), 10_000),
    ((784, 512, 512, 10), 10_000),
    ((2, 64, 3), 10_000),
    ((64, 64, 10), 1),
    ((784, 128, 10), 1),
)
_SOFTMAX_SHAPES = ((10_000, 10), (10_000, 1_000))
_PRODUCT_SHAPES = ((128, 784, 128), (256, 784, 512), (256, 512, 512), (1024, 1024, 1024))
# Each is rows x inner dimension @ inner dimension x columns, 2 * rows * inputs * outputs
# operations; `dweights` sums over the rows of the batch, `dinputs` over the outputs.
_PRODUCTS = {
    "forward": "inputs @ weights",
    "dweights": "inputs.T @ doutputs",
    "dinputs": "doutputs @ weights.T",
}


class Bench(NamedTuple):
    """What a section measures with."""

    pool: Pool
    threads: int
    peers: tuple  # names of `peers.PEERS` that take part beside fastnn
    say: Callable  # shows progress

    def libraries(self, *peers, threads=None):
        """Return those of `peers` that take part, with `threads` threads."""
        threads = self.threads if threads is None else threads
        return [Library(peer, threads) for peer in peers if peer in self.peers]

    @property
    def default(self):
        """fastnn as a user calls it: it chooses between one thread and all."""
        return Library("fastnn", self.threads)

    def measure(self, task, libraries, base):
        """Return the measurement of `task`; without `base`, fastnn, there is none."""
        self.say(", ".join(map(str, task.values())))
        measured = self.pool.measure(task, [base, *libraries])
        if base not in measured:
            raise SystemExit(f"{base.title} could not run {task}: nothing to compare")
        return measured


def _count(threads):
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _train(network, kind="train"):
    return {
        "kind": kind,
        "sizes": network.sizes,
        "batch": network.batch,
        "steps": network.steps,
    }


def _against(measured, library, base):
    """Return one cell: the time of `library`, and how many times as fast `base` is."""
    if library not in measured:
        return "-"
    ratio = times(measured.ratio(library, base))
    return f"{microseconds(measured.median(library))} ({ratio})"


def _against_best(measured, libraries, base):
    """Return one cell: how many times as fast `base` is as the fastest of `libraries`."""
    there = [library for library in libraries if library in measured]
    if not there:
        return "-"
    best = min(there, key=measured.median)
    return f"{times(measured.ratio(best, base))} ({best.title})"


def training(bench):
    """Return two tables: against the peers, and against the machine."""
    base, single = bench.default, Library("fastnn", 1)
    peaks = Library("peak", 1), Library("peak", bench.threads)
    peers = bench.libraries("numpy", "jax", "torch", "torch.compile", "sklearn")
    versus, limits = [], []
    for network in (*NETWORKS, WIDE):
        measured = bench.measure(_train(network), [single, *peers, *peaks], base)
        name = f"{network.name}, {network.batch}"
        versus.append(
            (
                name,
                microseconds(measured.median(base)),
                *(_against(measured, peer, base) for peer in peers),
                _against_best(measured, peers, base),
            )
        )
        cells = []
        for library, peak in ((single, peaks[0]), (base, peaks[1])):
            rate = network.operations / measured.median(library)
            fraction = network.operations * measured.ratio(peak, library)
            cells += [microseconds(measured.median(library)), digits(rate / 1e9), percent(fraction)]
        limits.append((name, *cells, times(measured.ratio(single, base))))
    count = bench.threads
    return [
        Table(
            "A training step",
            f"Microseconds, plain gradient descent, float32, {_count(count)} for every library; "
            "in parentheses how many times as fast fastnn is. `fit` as a user calls it, shuffling "
            "included. All libraries start from the same weights; their losses after the same "
            "samples in the same order were equal.",
            ("network, batch", "fastnn", *(peer.title for peer in peers), "against the best"),
            versus,
        ),
        Table(
            "A training step against the machine",
            f"Microseconds, GFLOP/s in the matrix products, and the fraction of the FMA peak that "
            f"was measured in the same rounds, of one core and of {count}. The default chooses "
            "between one thread and all; the last column is what its choice gains.",
            (
                "network, batch", "1 thread", "GFLOP/s", "of peak",
                "default", "GFLOP/s", f"of peak ({count} cores)", "default against 1 thread",
            ),
            limits,
        ),
    ]  # fmt: skip


def adam(bench):
    base, descent = bench.default, Library("descent", bench.threads)
    peers = bench.libraries("numpy", "jax", "torch", "torch.foreach")
    rows = []
    for network in NETWORKS:
        measured = bench.measure(_train(network, "adam"), [descent, *peers], base)
        rows.append(
            (
                f"{network.name}, {network.batch}",
                microseconds(measured.median(base)),
                f"{1 / measured.ratio(descent, base):.2f}x",
                *(_against(measured, peer, base) for peer in peers),
                _against_best(measured, peers, base),
            )
        )
    return [
        Table(
            "A training step with Adam",
            f"Microseconds, float32, {_count(bench.threads)} for every library; in parentheses how "
            "many times as fast fastnn is. PyTorch's Adam in its fused and its foreach form. "
            "*Over descent*: fastnn's Adam against its plain gradient descent in the same rounds.",
            (
                "network, batch", "fastnn", "over descent",
                *(peer.title for peer in peers), "against the best",
            ),
            rows,
        )
    ]  # fmt: skip


def prediction(bench):
    base, single = bench.default, Library("fastnn", 1)
    peers = bench.libraries("onnxruntime", "torch", "numpy")
    rows = []
    for sizes, count in _PREDICTIONS:
        task = {"kind": "predict", "sizes": sizes, "rows": count}
        measured = bench.measure(task, [single, *peers], base)
        rows.append(
            (
                f"{'-'.join(map(str, sizes))}, {count:,} row{'s' if count > 1 else ''}",
                microseconds(measured.median(base)),
                microseconds(measured.median(single)),
                *(_against(measured, peer, base) for peer in peers),
                _against_best(measured, peers, base),
            )
        )
    return [
        Table(
            "Prediction",
            f"Microseconds for the probabilities of all rows, float32, {_count(bench.threads)}; in "
            "parentheses how many times as fast fastnn is. `predict_proba` as a user calls it, its "
            "checks of the input included; the outputs were equal.",
            (
                "network, rows", "fastnn", "fastnn, 1 thread",
                *(peer.title for peer in peers), "against the best",
            ),
            rows,
        )
    ]  # fmt: skip


def softmax(bench):
    base = Library("fastnn", 1)
    single = bench.libraries("numpy", "torch", threads=1)
    peers = list(dict.fromkeys(single + bench.libraries("torch")))
    rows = []
    for shape in _SOFTMAX_SHAPES:
        measured = bench.measure({"kind": "softmax", "shape": shape}, peers, base)
        cells = [_against(measured, peer, base) for peer in peers]
        name = " x ".join(f"{size:,}" for size in shape)
        rows.append((name, microseconds(measured.median(base)), *cells))
    return [
        Table(
            "Softmax over rows",
            "Microseconds, float32, into an array that exists. The kernel runs on the thread that "
            "calls it; NumPy's form is the stable one, in place.",
            ("shape", "fastnn", *(f"{peer.title}, {_count(peer.threads)}" for peer in peers)),
            rows,
        )
    ]


def products(bench):
    base, peak = Library("fastnn", 1), Library("peak", 1)
    peers = bench.libraries("numpy", "torch", threads=1)
    rows = []
    for shape in _PRODUCT_SHAPES:
        operations = 2 * shape[0] * shape[1] * shape[2]
        for operation, formula in _PRODUCTS.items():
            task = {"kind": "product", "operation": operation, "shape": shape}
            measured = bench.measure(task, [*peers, peak], base)
            cells = []
            for library in (base, *peers):
                if library not in measured:
                    cells.append("-")
                    continue
                rate = digits(operations / measured.median(library) / 1e9)
                fraction = percent(operations * measured.ratio(peak, library))
                cells.append(f"{rate} ({fraction})")
            best = _against_best(measured, peers, base)
            rows.append((" x ".join(map(str, shape)), f"`{formula}`", *cells, best))
    return [
        Table(
            "Matrix products alone, one core",
            "GFLOP/s, and in parentheses the fraction of the FMA peak measured in the same rounds. "
            "Sizes are batch x inputs x outputs. fastnn runs `kernels.dense_forward`, which adds "
            "the biases too, and `kernels.dense_backward`; peers write into an array that exists.",
            ("size", "product", "fastnn", *(peer.title for peer in peers), "against the best"),
            rows,
        )
    ]


def peak(bench):
    rows = []
    for threads in dict.fromkeys((1, bench.threads)):
        library = Library("peak", threads)
        measured = bench.measure({"kind": "peak"}, [], library)
        rows.append((_count(threads), digits(1e-9 / measured.median(library))))
    return [
        Table(
            "FMA peak",
            "What independent multiply-adds on full vectors of float32 reach, with nothing to "
            "load: no matrix product can be faster. `benchmarks/peak.py` measures it.",
            ("", "GFLOP/s"),
            rows,
        )
    ]
