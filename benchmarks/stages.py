"""Where the time of a step of a small network goes.

    python benchmarks/stages.py                  the table
    python benchmarks/stages.py --write FILE     and the picture

Each stage is left out in a program of its own: that much faster is a step without it. A program is
compiled in a process and a cache of its own, and the processes take turns. The parts do not add up
exactly, as a CPU works on several instructions at once; what is missing is in the rest.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time

from networks import NETWORKS, make_data, make_parameters
from report import Table, microseconds, percent

import fastnn
from fastnn.kernels import passes, program, weights
from fastnn.kernels.codes import Epilogue
from fastnn.kernels.jit import inner
from fastnn.kernels.products import clear

_NETWORKS = NETWORKS[:2]
_OPTIMIZERS = ("SGD", "Adam")
_WHOLE = "all"
ORDER = "order of samples"
_EPOCHS = 5


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="one short round, a smoke test")
    parser.add_argument("--write", metavar="FILE", help="draw the picture into this file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    stages = STAGES[:2] if options.quick else STAGES
    parts = measure(stages, 1 if options.quick else options.rounds)
    print(table(parts).section())
    if options.write:
        from pictures import draw_stages

        draw_stages(options.write, parts)


def measure(stages, rounds):
    """Return {network and optimizer: {stage: seconds of a step}}, with the rest as a stage."""
    with contextlib.ExitStack() as stack:
        programs = {stage: stack.enter_context(_program(stage)) for stage in (_WHOLE, *stages)}
        seconds = [
            {stage: _ask(process) for stage, process in programs.items()} for _ in range(rounds)
        ]
    parts = {}
    for index, name in enumerate(names()):
        without = {stage: [one[stage][index] for one in seconds] for stage in programs}
        # A difference within a round, as the frequency of the CPU changes.
        saved = {
            stage: statistics.median(
                a - b for a, b in zip(without[_WHOLE], without[stage], strict=True)
            )
            for stage in stages
        }
        rest = statistics.median(without[_WHOLE]) - sum(saved.values())
        parts[name] = saved | {"rest": rest}
    return parts


def names():
    """Return the names of what a program measures, in its order."""
    return [f"{network.name}, {kind}" for network in _NETWORKS for kind in _OPTIMIZERS]


@contextlib.contextmanager
def _program(stage):
    """Run the program without a stage; it answers each line with its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", stage],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"FASTNN_CACHE_DIR": folder},
        )  # fmt: skip
        try:
            if process.stdout.readline() != "ready\n":
                raise SystemExit(f"the program without {stage!r} does not run")
            yield process
        finally:
            process.kill()
            process.wait()


def _ask(process):
    print("go", file=process.stdin, flush=True)
    return [float(each) for each in process.stdout.readline().split()]


def serve(stage):
    """Leave out a stage; then measure at each line that comes, and print the seconds of a step."""
    leave_out(stage)
    tasks = [_task(network, kind, stage) for network in _NETWORKS for kind in _OPTIMIZERS]
    for task in tasks:
        task()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*(task() for task in tasks), flush=True)


def make_model(network):
    """Return a model with the first parameters of a network."""
    layers = []
    for values, biases in make_parameters(network.sizes):
        dense = fastnn.Dense(*values.shape, init="zeros")
        dense.weights[...], dense.biases[...] = values, biases
        layers += [dense, fastnn.ReLU()]
    return fastnn.Sequential(layers[:-1])


def make_optimizer(kind):
    """Return an optimizer so slow that a network learns nothing: it is finite without a stage."""
    return fastnn.SGD(1e-6) if kind == "SGD" else fastnn.Adam(1e-9)


def _task(network, kind, stage):
    """Return a function that trains, and returns the seconds of a step."""
    X, y = make_data(network)
    model, optimizer = make_model(network), make_optimizer(kind)
    options = {
        "epochs": _EPOCHS, "batch_size": network.batch, "seed": 0, "threads": 1, "verbose": 0,
        "shuffle": stage != ORDER, "optimizer": optimizer,
    }  # fmt: skip

    def run():
        model.fit(X, y, **options)
        begin = time.perf_counter()
        model.fit(X, y, **options)
        return (time.perf_counter() - begin) / (_EPOCHS * network.steps)

    return run


@inner
def gather(samples, sample_row, inputs, extended, indices, first, end, n_inputs):
    pass


@inner
def forward_layer(
    layer, extended, parameters, panels, workspace, tiles, inputs, input_row, first, rows
):
    pass


@inner
def loss_rows(layers, workspace, scores, extended, answers, indices, first, rows, job):
    scores[:, first : first + rows] = 1.0


@inner
def backward_rows(
    layers, extended, parameters, workspace, tiles, keys, first, rows, batch, gate, threads
):
    return True


@inner
def matmul_panel(result, left, panel, following, extent, start, ending):
    if ending.epilogue == Epilogue.STORE:  # an optimizer reads it, and must not find NaN
        clear(result.pointer, extent.rows * result.distance)


@inner
def follow(
    parameters, gradients, states, distance, size, rule, now, scale, l1, l2, is_bias,
):  # fmt: skip
    pass


@inner
def copy_weights_over(layer, workspace, tiles, row, end):
    pass


@inner
def sum_biases(layer, workspace, rows, begin, end):
    pass


# The module that calls the function of a stage, and what takes its place there.
REPLACEMENTS = {
    "gather samples": (program, gather),
    "forward pass": (passes, forward_layer),
    "loss": (program, loss_rows),
    "gradients of inputs": (program, backward_rows),
    "gradients of weights": (weights, matmul_panel),
    "optimizer": (weights, follow),
    "copies of weights": (weights, copy_weights_over),
    "biases": (weights, sum_biases),
}


STAGES = (ORDER, *REPLACEMENTS)


def leave_out(stage):
    """Replace the function of a stage by an empty one, before anything is compiled."""
    if stage in REPLACEMENTS:
        module, function = REPLACEMENTS[stage]
        setattr(module, function.py_func.__name__, function)


def table(parts):
    """Return the Table of `measure`."""
    rows = []
    stages = list(next(iter(parts.values())))
    for stage in stages:
        cells = [
            f"{saved[stage] * 1e6:.2f} ({percent(saved[stage] / sum(saved.values()))})"
            for saved in parts.values()
        ]
        rows.append((stage, *cells))
    rows.append(("a step", *(microseconds(sum(saved.values())) for saved in parts.values())))
    return Table(
        "The stages of a small step",
        f"Microseconds a step, batch {_NETWORKS[0].batch}, one thread: what a step takes less "
        "without a stage, the median of the differences within rounds.",
        ("stage", *parts),
        rows,
    )


if __name__ == "__main__":
    main()
