"""One row through a small network, as a simulation asks it: checked, then timed.

    pytest benchmarks/test_bench_prediction.py --benchmark-enable

The group's unit is 1,000 steps, each of which needs the answer to the one before.
"""

import numba
import numpy as np
import pytest
from networks import make_inputs, make_parameters
from peers import fastnn_peer

SIZES = (64, 64, 10)
STEPS = 1_000


def ask(answer, row):
    """Feed the answers of `answer` back into a row; return what it becomes."""
    row = row.copy()
    for _ in range(STEPS):
        row[:, :10] += 0.01 * answer(row)
    return row[0]


@numba.njit
def ask_in_jitted_code(handle, row):
    row = row.copy()[0]
    for _ in range(STEPS):
        row[:10] += np.float32(0.01) * handle.predict_proba(row)
    return row


def numpy_answer(row):
    (weights, biases), (weights_2, biases_2) = make_parameters(SIZES)

    def answer(row):
        logits = np.maximum(row @ weights + biases, 0) @ weights_2 + biases_2
        e = np.exp(logits - logits.max())
        return e / e.sum()

    return ask(answer, row)


def method_answer(row):
    return ask(fastnn_peer.load_model(SIZES).predict_proba, row)


def handle_answer(row):
    return ask(fastnn_peer.load_model(SIZES).compiled().predict_proba, row)


def jitted_answer(row):
    return ask_in_jitted_code(fastnn_peer.load_model(SIZES).compiled(), row)


@pytest.mark.benchmark(group="1,000 dependent rows|64-64-10", warmup=True)
@pytest.mark.parametrize("run", [numpy_answer, method_answer, handle_answer, jitted_answer])
def test_simulation(benchmark, run):
    row = make_inputs(1, SIZES[0])
    probabilities = benchmark(run, row)
    assert np.abs(probabilities - row).max() > 0.01
    np.testing.assert_allclose(probabilities, numpy_answer(row), rtol=1e-3, atol=1e-4)
