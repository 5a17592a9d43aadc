"""Index arithmetic beyond 32 bits, on arrays that have addresses but next to no memory."""

import contextlib
import ctypes
import mmap
import os
import sys

import numpy as np
import pytest

import fastnn
from fastnn import kernels
from fastnn.kernels.catalogue import Loss, Operation, Rule
from fastnn.kernels.codes import BARRIER_SIZE, N_SCORES, N_SUMS
from fastnn.kernels.records import JOB
from fastnn.kernels.table import N_TOTALS
from fastnn.kernels.target import BLOCK_ROWS
from fastnn.nn.optimizer import as_steps
from fastnn.program.plan import make_plan
from fastnn.program.samples import Samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs system calls of Linux")

MAP_NORESERVE, MAP_FIXED = 0x4000, 0x10  # the module mmap has no names for them

# Samples whose number, or whose first element in 3 columns, is at a border of 32 bits.
N, FEATURES, CLASSES = 2**32 + 10, 3, 2
PICKED = np.array(
    [2**32 + 9, 2**31 // 3 + 1, 5, 2**32 // 3 + 1, 2**31, 2**31 - 1, 2**32 - 1, 2**32, 0]
)

WIDE = 2**21 + 100, 1024  # rows and columns, 2**31 elements and some


def make_virtual(shape, dtype):
    """Return zeros; a page has memory of its own when it is written to, and not before."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, size, flags=flags)
    with contextlib.suppress(OSError):  # small pages only take longer
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)


def make_folded(shape):
    """Return a float32 array whose rows, all 4096 of them, share the memory of the first ones."""
    array, piece = make_virtual(shape, np.float32), 4096 * shape[1] * 4
    system = ctypes.CDLL(None).mmap
    system.restype = ctypes.c_void_p
    system.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    file = os.memfd_create("folded")
    os.ftruncate(file, piece)
    for offset in range(0, array.nbytes, piece):
        place, size = array.ctypes.data + offset, min(piece, array.nbytes - offset)
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED
        assert system(place, size, protection, flags, file, 0) == place
    os.close(file)
    return array


@pytest.fixture
def samples():
    """Return (inputs, labels, targets) of `N` samples; all but those `PICKED` are zeros."""
    rng = np.random.default_rng(0)
    inputs = make_virtual((N, FEATURES), np.float32)
    labels = make_virtual((N,), np.int64)
    targets = make_virtual((N, CLASSES), np.float32)
    inputs[PICKED] = rng.standard_normal((len(PICKED), FEATURES))
    labels[PICKED] = np.arange(len(PICKED)) % 2
    targets[PICKED] = rng.dirichlet([1, 1], len(PICKED))
    return inputs, labels, targets


def make_model(n_inputs, n_outputs):
    layers = fastnn.Dense(n_inputs, 5, rng=0), fastnn.ReLU(), fastnn.Dense(5, n_outputs, rng=1)
    return fastnn.Sequential(layers)


def test_gather_rows_beyond_32_bits(samples):
    inputs, _, _ = samples
    rows = np.empty((len(PICKED), FEATURES), np.float32)
    kernels.gather_rows(rows, inputs, PICKED)
    assert rows.all()
    assert rows.tobytes() == inputs[PICKED].tobytes()


def train(inputs, labels, targets, order):
    """Return parameters and totals after an epoch in batches of 4."""
    model, totals = make_model(FEATURES, CLASSES), np.zeros((1, N_TOTALS))
    plan = make_plan(model._program.steps, FEATURES, 4, 4, training=True)
    steps = -(-len(order) // 4)
    source, layout = Samples(inputs, inputs.dtype).view()
    job = np.array([(0, steps, 4, Loss.SOFTMAX_CROSS_ENTROPY, 0.0, 0.0, Rule.DESCENT, True)], JOB)
    rates = as_steps(fastnn.SGD(0.5).numbers(0, steps, np.dtype("f4")), steps)
    reached = kernels.train_steps(
        (
            model.parameters, np.zeros(plan.workspace_size, np.float32), np.empty((N_SCORES, 4)),
            np.empty((N_SUMS, 0)), np.zeros(BARRIER_SIZE, np.int64),
        ),
        plan.layers, source,
        (np.empty((0, model.parameters.size), np.float32), layout, np.empty(0)), None,
        (labels, targets), order[np.newaxis], None, (job, rates), totals, 0, 1,
    )  # fmt: skip
    assert reached == steps
    return model.parameters.tolist(), totals.tolist()


@pytest.mark.parametrize("soft", [False, True])
def test_train_steps_beyond_32_bits(soft, samples):
    inputs, labels, targets = samples
    picked = [array[PICKED] for array in samples]
    if not soft:
        targets, picked[2] = targets[:0], picked[2][:0]
    assert train(inputs, labels, targets, PICKED) == train(*picked, np.arange(len(PICKED)))


def test_prediction_reads_beyond_32_bits():
    inputs = make_virtual(WIDE, np.float32)
    inputs[-5:] = np.random.default_rng(0).standard_normal((5, WIDE[1]))
    model = make_model(WIDE[1], 3)
    outputs = model.predict_proba(inputs, threads=1)  # two would have a half each
    assert outputs[-5:].tobytes() == model.predict_proba(inputs[-5:]).tobytes()


def test_prediction_writes_beyond_32_bits():
    inputs = np.random.default_rng(0).standard_normal((WIDE[0], 2), np.float32)
    model = make_model(2, WIDE[1])
    predictor, outputs = model._program.predictor, make_folded(WIDE)
    workspace = np.zeros(predictor.many_size, np.float32)
    kernels.predict_rows(
        outputs, workspace, predictor._pack()[0], predictor.layers, predictor.extended, None,
        model.parameters, inputs, BLOCK_ROWS, Operation.SOFTMAX,
    )  # fmt: skip
    assert outputs[-5:].tobytes() == model.predict_proba(inputs[-5:]).tobytes()


@pytest.mark.parametrize("at", [2**31 - 1, 2**31, 2**31 + 98])
def test_finite_numbers_are_told_from_others_beyond_32_bits(at):
    values = make_virtual((2**31 + 99,), np.float32)
    assert kernels.all_finite(values)
    values[at] = np.nan
    assert not kernels.all_finite(values)
