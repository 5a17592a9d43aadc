"""Run every kernel under valgrind: `python tests/address_check.py`, a minute and a half.

Valgrind watches each read and write of the machine code. This script exits with 1 where a kernel
leaves the arrays that it was given, or decides by a number that nobody has written.
It first lets a kernel do so, to see that valgrind sees it. The code is that for AVX2, the widest
vectors that valgrind knows.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numba
import numpy as np
from kernel_cases import KERNELS

import fastnn
from fastnn import kernels
from fastnn.kernels.catalogue import Loss, Operation
from fastnn.kernels.codes import BARRIER_SIZE, N_SCORES, N_SUMS
from fastnn.kernels.records import JOB
from fastnn.kernels.table import N_TOTALS
from fastnn.nn.optimizer import as_steps
from fastnn.program.plan import make_plan
from fastnn.program.samples import Samples

SHAPES = ((1, 1, 1), (5, 7, 9), (9, 17, 25), (3, 49, 33), (7, 257, 3))


def main():
    if len(sys.argv) > 1:
        return WORK[sys.argv[1]]()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "",
            "FASTNN_CACHE": "1",
            "FASTNN_CACHE_DIR": folder,
            "PYTHONMALLOC": "malloc",
        }
        # Into the cache: under valgrind the compiler is 40 times as slow.
        subprocess.run([sys.executable, __file__, "compile"], env=environment, check=True)
        if not watch("write beyond", environment, Path(folder)):
            sys.exit("valgrind did not see a kernel write beyond an array")
        errors = watch("call", environment, Path(folder))
    for error in errors:
        print(error)
    print(f"{len(errors)} errors in {len(KERNELS)} cases, training and prediction")
    return 1 if errors else 0


def watch(what, environment, folder):
    """Return a line for each error of machine code in a run under valgrind."""
    path = folder / f"{what}.xml"
    options = ["--leak-check=no", "--redzone-size=256", "--xml=yes", f"--xml-file={path}"]
    command = ["valgrind", *options, sys.executable, __file__, what]
    subprocess.run(command, env=environment, check=True)
    errors = ElementTree.parse(path).getroot().iter("error")
    # Code from a file has the name of it: Python's, NumPy's, the system's.
    return [describe(error) for error in errors if error.find("stack/frame").find("obj") is None]


def describe(error):
    return f"{error.findtext('kind')}: {error.findtext('what')}; {error.findtext('auxwhat')}"


# --------------------------------------------------------------------- in a process of their own


def call_kernels():
    each_call(lambda kernel, *arguments: kernel(*arguments))


def compile_kernels():
    each_call(lambda kernel, *arguments: kernel.compile(tuple(map(numba.typeof, arguments))))


def write_beyond():
    kernels.gather_rows(np.empty((1, 3), np.float32), np.ones((1, 4), np.float32), np.zeros(1, int))


def each_call(do):
    """Do something with each kernel and its arguments; outputs are as `np.empty` gives them."""
    rng = np.random.default_rng(0)
    for shape, dtype in itertools.product(SHAPES, (np.float32, np.float64)):
        for case in KERNELS.values():
            outputs, inputs = case.make_arguments(rng, shape[: len(case.dimensions)], dtype)
            if not case.in_place:
                outputs = [None if o is None else np.empty_like(o) for o in outputs]
            do(case.kernel, *outputs, *inputs)
        for soft in (False, True):
            train_and_predict(do, rng, *shape, dtype, soft)
        train_and_predict(do, rng, *shape, dtype, True, norm=True, n=39, batch=18)


def train_and_predict(do, rng, n_inputs, hidden, classes, dtype, soft, norm=False, n=11, batch=4):
    layers = [
        fastnn.Dense(n_inputs, hidden, dtype=dtype, rng=rng),
        fastnn.ReLU(),
        fastnn.Dense(hidden, classes, dtype=dtype, rng=rng),
    ]
    if norm:
        kinds = fastnn.BatchNorm(hidden, dtype=dtype), fastnn.LayerNorm(hidden, dtype=dtype)
        layers[1:1] = [kinds[0], fastnn.Dropout(0.5), kinds[1]]
    model = fastnn.Sequential(layers)
    buffer = model._network.buffer.copy()  # in a block of its own size
    parameters = buffer[: model.parameters.size]
    X, labels = rng.standard_normal((n, n_inputs), dtype), rng.integers(0, classes, n)
    targets = np.eye(classes, dtype=dtype)[labels] if soft else np.empty((0, classes), dtype)
    optimizer, steps = fastnn.Adam(clip_norm=1.0), -(-n // batch)
    states = np.zeros((optimizer.n_states, parameters.size), dtype)
    plan = make_plan(
        model._program.steps, n_inputs, batch, dtype().itemsize,
        training=True, n_states=optimizer.n_states, keep_gradients=True,
    )  # fmt: skip
    source, layout = Samples(X, X.dtype).view()
    loss = Loss.SOFTMAX_CROSS_ENTROPY, 0.0, 0.1 if not soft else 0.0
    do(
        kernels.train_steps,
        (
            buffer, np.empty(plan.workspace_size, dtype), np.empty((N_SCORES, batch)),
            np.zeros((N_SUMS, plan.n_sums)), np.zeros(BARRIER_SIZE, np.int64),
        ),
        plan.layers, source, (states, layout, rng.random(n)), (labels, targets),
        rng.permutation(n)[np.newaxis], np.zeros((1, 2), np.int64) if norm else None,
        np.array([(0, steps, batch, *loss, optimizer.rule, True)], JOB),
        as_steps(optimizer.numbers(0, steps, parameters.dtype), steps), np.zeros((1, N_TOTALS)),
        0, 1,
    )  # fmt: skip
    plan = make_plan(model._program.steps, n_inputs, batch, dtype().itemsize, training=False)
    workspace, panels = np.empty(plan.workspace_size, dtype), np.empty(plan.panels_size, dtype)
    outputs = np.empty((n, classes), dtype)
    do(kernels.pack_network, panels, plan.layers, buffer)
    given = plan.layers, True, buffer, X
    do(kernels.predict_rows, outputs, workspace, panels, *given, batch, Operation.SOFTMAX)
    workspace = np.empty(plan.few_size, dtype)
    do(kernels.predict_few, outputs, workspace, *given, Operation.SOFTMAX)


WORK = {"compile": compile_kernels, "call": call_kernels, "write beyond": write_beyond}

if __name__ == "__main__":
    sys.exit(main())
