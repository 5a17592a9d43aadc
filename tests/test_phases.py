"""The blocks of a phase: each is computed once, by whichever thread comes first.

A thread is held up in several ways here, so that the others have to take blocks of its share.
"""

import os
import signal
import threading
import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL, c_int, c_void_p

import numba
import numpy as np
import pytest
from test_threads import make_data, make_model

import fastnn
from fastnn import kernels
from fastnn.kernels.atomics import read
from fastnn.kernels.clock import core_time, wall_time
from fastnn.kernels.codes import BARRIER_SIZE, MOST_SHARES, BarrierPlace
from fastnn.kernels.pointers import pointer
from fastnn.kernels.threads import (
    Phase,
    complete,
    count_shares,
    next_share,
    open_next,
    phase_number,
    take,
    wait,
    wait_for_next,
)
from fastnn.program import prediction
from fastnn.program import threads as parallel

# Of each share; phases and shares differ.
N_PHASES, MOST_BLOCKS = 200, 7
HELD, LATE = 1, 2  # what a thread does that is held up within a block, and between two


@numba.njit(nogil=True)
def goes_on(gate):
    """Return False where the threads are told to leave, as they wait in vain."""
    return read(gate + BarrierPlace.LEAVE) == 0


@numba.njit(nogil=True)
def go_through(barrier, sizes, counts, doers, thread, threads, habit):
    """Go through phases as one thread; count how often each block is computed, and by whom."""
    gate = pointer(barrier)
    number = phase_number(gate)
    if not wait(gate, threads):
        return
    shares = count_shares(threads)
    for k in range(len(sizes)):
        if habit == LATE and k % 20 == 5:
            while phase_number(gate) < number + 9 and goes_on(gate):
                pass
        n_blocks = sizes[k, :shares].sum()
        phase = Phase(gate, number, n_blocks, thread, threads)
        is_last = False
        for turn in range(shares):
            owner = next_share(phase, turn)
            block = take(phase, owner, -1)
            while block < sizes[k, owner] and goes_on(gate):
                if habit == HELD:
                    while read(gate + BarrierPlace.DONE) < n_blocks - 1 and goes_on(gate):
                        pass
                counts[k, owner, block] += 1
                doers[k, owner, block] = thread
                is_last = complete(phase)
                block = take(phase, owner, block)
        if is_last:
            # All blocks of the phase are complete, and none of a later one has begun.
            counts[k, :shares, -1] = (counts[k, :shares, :-1].sum() == n_blocks) + 0
            open_next(phase, 1)
        elif not wait_for_next(phase):
            return
        number += 1


def run_phases(threads, habits, calls=3):
    """Return (sizes, counts, doers), after several calls with one barrier."""
    rng = np.random.default_rng(threads)
    shares = min(threads, MOST_SHARES)
    sizes = rng.integers(0, MOST_BLOCKS, (calls * N_PHASES, shares))
    sizes[:, 0] += 1  # a phase has at least one block
    counts = np.zeros((len(sizes), shares, MOST_BLOCKS + 2), np.int64)
    doers = np.full(counts.shape, -1)
    barrier = np.zeros(BARRIER_SIZE, np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for call in range(calls):
            part = slice(call * N_PHASES, (call + 1) * N_PHASES)
            arguments = barrier, sizes[part], counts[part], doers[part]
            started = [
                pool.submit(go_through, *arguments, thread, threads, habits.get(thread, 0))
                for thread in range(threads)
            ]
            if not_done := futures.wait(started, timeout=30).not_done:
                barrier[BarrierPlace.LEAVE] = 1
            assert not not_done, "threads wait for each other"
    return sizes, counts, doers


@pytest.mark.parametrize("habits", [{}, {1: HELD}, {1: LATE}, {0: LATE}], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3, 5, MOST_SHARES + 3])
def test_each_block_is_computed_once(threads, habits):
    habits = habits if threads > 1 else {}
    sizes, counts, doers = run_phases(threads, habits)
    wanted = np.arange(MOST_BLOCKS + 1) < sizes[..., np.newaxis]
    np.testing.assert_array_equal(counts[..., :-1], wanted)
    assert counts[..., -1].all()  # no phase ended early
    for thread in habits:  # others have computed blocks of its share
        own = doers[:, thread, :-1][wanted[:, thread]]
        assert (own != thread).any()


def test_clocks():
    @numba.njit(nogil=True)
    def measure(end):
        begin, before = wall_time(), core_time()
        while wall_time() < begin + end:
            pass
        return wall_time() - begin, core_time() - before

    if os.name == "nt":
        assert numba.njit(lambda: (wall_time(), core_time()))() == (0, 0)
        return
    passed, used = measure(20_000_000)
    assert 20_000_000 <= passed
    assert 0 < used <= passed + 1_000_000


@numba.cfunc("void(int32)")
def hold_up(_):
    """Handle a signal: keep the thread that it strikes for 2 milliseconds."""
    end = wall_time() + 2_000_000
    while wall_time() < end:
        pass


class Harassed:
    """`train_steps`, with one thread that is held up again and again."""

    def __init__(self, victim):
        self.victim, self.inside, self.strikes = victim, [], 0
        self.lock, self.train_steps, self.ended = threading.Lock(), kernels.train_steps, False

    def __call__(self, *arguments):
        if arguments[-2] != self.victim:
            return self.train_steps(*arguments)
        with self.lock:
            self.inside.append(threading.get_ident())
        try:
            return self.train_steps(*arguments)
        finally:
            with self.lock:
                self.inside.clear()

    def strike(self):
        while not self.ended:
            with self.lock:  # the thread cannot end meanwhile
                for thread in self.inside:
                    signal.pthread_kill(thread, signal.SIGUSR1)
                    self.strikes += 1
            time.sleep(0.003)


@pytest.fixture
def harassed(monkeypatch, request):
    if not hasattr(signal, "pthread_kill"):
        pytest.skip("no signals for single threads on this system")
    harassed = Harassed(request.param)
    monkeypatch.setattr(kernels, "train_steps", harassed)
    # A handler of Python would run in the main thread, later on.
    set_handler = CDLL(None).signal
    set_handler.argtypes, set_handler.restype = (c_int, c_void_p), c_void_p
    before = set_handler(signal.SIGUSR1, hold_up.address)
    thread = threading.Thread(target=harassed.strike)
    thread.start()
    yield harassed
    harassed.ended = True
    thread.join()
    set_handler(signal.SIGUSR1, before)


NETWORKS = {
    "plain": lambda: make_model(widths=(130, 300)),
    "norms": lambda: fastnn.Sequential([
        fastnn.Dense(50, 130, rng=0), fastnn.LayerNorm(130), fastnn.ReLU(), fastnn.Dropout(0.2),
        fastnn.Dense(130, 70, rng=1, weights_l2=1e-3), fastnn.BatchNorm(70), fastnn.Tanh(),
        fastnn.Dense(70, 5, rng=2, weights_l1=1e-4),
    ]),
    "layer norm": lambda: fastnn.Sequential([
        fastnn.Dense(50, 130, rng=0), fastnn.LayerNorm(130), fastnn.ReLU(),
        fastnn.Dense(130, 5, rng=2, weights_l1=1e-4, biases_l2=1e-3),
    ]),
}  # fmt: skip
OPTIMIZERS = {
    "descent": lambda: fastnn.SGD(0.1),
    "clipped": lambda: fastnn.Adam(0.01, clip_norm=0.5),
}


def train(kind, optimizer, threads, epochs=40):
    """Return all bits that a run leaves."""
    X, y = make_data()
    model, rule = NETWORKS[kind](), OPTIMIZERS[optimizer]()
    options = {"epochs": epochs, "batch_size": 150, "seed": 0, "verbose": False}
    history = model.fit(X, y, optimizer=rule, threads=threads, **options)
    return model.parameters.tobytes(), vars(history)


@pytest.mark.slow
@pytest.mark.parametrize("harassed", [0, 1], indirect=True, ids=["first", "second"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_bits_do_not_depend_on_a_thread_that_is_held_up(kind, optimizer, harassed):
    expected = train(kind, optimizer, 1)
    harassed.strikes = 0
    for threads in (2, 3, 5):
        assert train(kind, optimizer, threads) == expected
    assert harassed.strikes > 10


@pytest.mark.parametrize("harassed", [0], indirect=True, ids=["first"])
def test_a_run_that_diverges_ends_at_the_same_step(harassed):
    X, y = make_data()
    messages = set()
    for threads in (1, 2, 3, 5):
        for _ in range(5):
            model = make_model()
            with pytest.raises(fastnn.NonFiniteLossError) as caught:
                model.fit(
                    X, y, epochs=50, seed=0, optimizer=fastnn.SGD(1e3), threads=threads,
                    batch_size=64, verbose=False,
                )  # fmt: skip
            messages.add((str(caught.value), model.parameters.tobytes()))
    assert len(messages) == 1


def test_more_threads_than_shares(monkeypatch):
    monkeypatch.setattr(parallel, "MOST_THREADS", MOST_SHARES + 2)
    for kind in NETWORKS:
        expected = train(kind, "clipped", 1, epochs=3)
        assert train(kind, "clipped", MOST_SHARES + 2, epochs=3) == expected


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("row_work", [1, 5_000, 700_000, 10**9])
@pytest.mark.parametrize("count", [0, 1, 7, 900, 10_000])
def test_runs_of_a_prediction_have_each_row_once(count, row_work, threads):
    runs = list(prediction.split_rows(count, row_work, threads))
    rows = [row for run in runs for row in range(*run)]
    assert rows == list(range(count))
    assert all(begin < end for begin, end in runs)
    assert len(runs) >= min(threads, count)
    if threads == 1:
        assert len(runs) <= 1  # as little Python as can be


def test_a_slow_thread_leaves_rows_of_a_prediction_to_others(monkeypatch):
    X, _ = make_data(n=9_000)
    model = make_model(widths=(512, 512))
    expected, predict_rows, doers = model.predict_proba(X, threads=1), kernels.predict_rows, {}

    def slow(outputs, workspace, *rest):
        thread = threading.get_ident()
        doers[thread] = doers.get(thread, 0) + len(outputs)
        if thread != main:
            time.sleep(0.3)
        return predict_rows(outputs, workspace, *rest)

    main = threading.get_ident()
    monkeypatch.setattr(kernels, "predict_rows", slow)
    assert model.predict_proba(X, threads=2).tobytes() == expected.tobytes()
    assert sum(doers.values()) == len(X)
    assert doers[main] > 0.6 * len(X)
