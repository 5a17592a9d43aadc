"""An exception of a signal handler ends the work, wherever it strikes, and halves no update.

Python handles signals when a function is entered and when a call of a built-in one has returned.
These tests raise at each of these places in turn, by `sys.setprofile`, and look at what is left.
"""

import _thread
import functools
import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from child import count_threads, run_python

import fastnn
from fastnn import kernels
from fastnn.kernels import interruption, jit
from fastnn.nnfs import (
    Accuracy_Categorical,
    Activation_ReLU,
    Activation_Softmax,
    Layer_Dense,
    Loss_CategoricalCrossentropy,
    Model,
    Optimizer_Adam,
)
from fastnn.program import threads as parallel

# Python itself loses an exception that strikes while it closes a generator, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

N, FEATURES, CLASSES, BATCH = 40, 4, 3, 8
STEPS = N // BATCH
THREADS = 2


KERNELS = {name for name, value in vars(kernels).items() if hasattr(value, "py_func")}


class Strike(Exception):
    """What a signal handler raises, such as that of a time-out."""


class OwnDense(fastnn.Dense):
    """A layer of a user's own, so that the network trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


def strike_at(place, function):
    """Call `function` with a Strike at the place of that number; return whether it was reached."""
    reached = itertools.count()

    def profile(frame, event, argument):
        # numba reports calls of kernels too. Python handles no signal there.
        is_kernel = event == "call" and frame.f_code.co_name in KERNELS
        if event in ("call", "c_return") and not is_kernel and next(reached) == place:
            raise Strike

    sys.setprofile(profile)
    try:
        function()
    except Strike:
        return True
    finally:
        sys.setprofile(None)
    return next(reached) > place


def make_data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, FEATURES)).astype(np.float32)
    return X, rng.integers(0, CLASSES, N)


def make_model(dense=fastnn.Dense):
    layers = [dense(FEATURES, 5, rng=0), fastnn.BatchNorm(5), fastnn.ReLU()]
    # Without biases in one layer, the optimizer takes the arrays of all layers one by one.
    return fastnn.Sequential([*layers, dense(5, CLASSES, rng=1, use_bias=dense is fastnn.Dense)])


def state_of(model, optimizer):
    """Return all that a step changes, as something that can be looked up."""
    arrays = [model.parameters] if isinstance(model.layers[0], OwnDense) else []
    arrays = model._program.trained_arrays(optimizer) if arrays else [model.parameters]
    states = [optimizer.state_of(array) for array in arrays]
    return (
        model._network.buffer.tobytes(),
        tuple((state.iterations, state.arrays.tobytes()) for state in states),
    )


def fit(model, optimizer, steps=None, **options):
    options = {"epochs": 2, "threads": THREADS, **options}
    X, y = make_data()
    model.fit(
        X, y, batch_size=BATCH, shuffle=False, optimizer=optimizer, verbose=0,
        steps_per_epoch=steps, **options,
    )  # fmt: skip


def fit_batches(model, optimizer, steps=None, epochs=2):
    X, y = make_data()
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]
    model.fit(
        batches=batches, steps_per_epoch=steps, epochs=epochs, threads=THREADS,
        optimizer=optimizer, verbose=0,
    )  # fmt: skip


def partial_fit(model, optimizer, steps=STEPS, epochs=2):
    X, y = make_data()
    for _ in range(epochs):
        model.partial_fit(
            X[: BATCH * steps], y[: BATCH * steps], batch_size=BATCH, optimizer=optimizer,
            threads=THREADS,
        )  # fmt: skip


def fit_with_callback(model, optimizer, steps=None, epochs=2):
    fit(model, optimizer, steps, epochs=epochs, callbacks=[fastnn.LambdaCallback()])


# How to train, the layer, and how far the places that are tried lie apart: all where there are some
# hundreds, a part of them where there are thousands.
WAYS = {
    "fit": (fit, fastnn.Dense, 1),
    "callbacks": (fit_with_callback, fastnn.Dense, 1),
    "batches": (fit_batches, fastnn.Dense, 3),
    "partial_fit": (partial_fit, fastnn.Dense, 1),
    "layer by layer": (fit, OwnDense, 11),
}


def states_on_the_way(train, dense):
    """Return the states before and after each step of two epochs."""
    found = set()
    for epochs, steps in [(0, 0), *itertools.product((1, 2), range(1, STEPS + 1))]:
        model, optimizer = make_model(dense), fastnn.Adam(0.05)
        if epochs == 2:
            train(model, optimizer, STEPS, epochs=1)
        if epochs:
            train(model, optimizer, steps, epochs=1)
        found.add(state_of(model, optimizer))
    return found


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_at_any_place_halves_no_step_and_leaves_no_thread(way):
    train, dense, apart = WAYS[way]
    allowed = states_on_the_way(train, dense)
    assert len(allowed) == 1 + 2 * STEPS
    threads = _thread._count()
    train(make_model(dense), fastnn.Adam(0.05))  # all is compiled
    place, reached = -apart, True
    while reached:
        place += apart
        model, optimizer = make_model(dense), fastnn.Adam(0.05)
        reached = strike_at(place, lambda: train(model, optimizer))  # noqa: B023  # called here
        found = state_of(model, optimizer)
        assert found in allowed, place
        assert count_threads(threads) == threads, place
        assert state_of(model, optimizer) == found, place
    assert place > 100
    train(model, optimizer)


def test_predictions_leave_no_thread():
    model, X = make_model(), np.zeros((4000, FEATURES), np.float32)
    expected, threads = model.predict_proba(X, threads=1), _thread._count()
    model.predict_proba(X, threads=THREADS)
    place = 0
    while strike_at(place, lambda: model.predict_proba(X, threads=THREADS)):
        place += 1
        assert count_threads(threads) == threads, place
    assert place > 30
    assert np.array_equal(model.predict_proba(X, threads=THREADS), expected)


def test_fit_many_stops_all_models():
    X, y = make_data()
    threads = _thread._count()

    def train(models):
        fastnn.fit_many(
            models, X, y, epochs=3, batch_size=BATCH, optimizer=fastnn.Adam(0.05), seed=0,
            threads=THREADS, verbose=0,
        )  # fmt: skip

    train([make_model() for _ in range(4)])
    place, reached = -1, True
    while reached:
        place += 11  # some thousand places: each eleventh
        models = [make_model() for _ in range(4)]
        reached = strike_at(place, lambda: train(models))  # noqa: B023  # called here
        found = [model.parameters.tobytes() for model in models]
        assert count_threads(threads) == threads, place
        assert [model.parameters.tobytes() for model in models] == found
    assert place > 200
    train(models)


def make_book_model():
    np.random.seed(0)  # noqa: NPY002
    model = Model()
    for layer in (
        Layer_Dense(FEATURES, 5), Activation_ReLU(), Layer_Dense(5, CLASSES), Activation_Softmax(),
    ):  # fmt: skip
        model.add(layer)
    model.set(
        loss=Loss_CategoricalCrossentropy(),
        optimizer=Optimizer_Adam(learning_rate=0.05),
        accuracy=Accuracy_Categorical(),
    )
    model.finalize()
    return model


def test_the_model_of_the_book(capsys):
    X, y = make_data()

    def found(model):
        arrays = [
            array
            for layer in model.trainable_layers
            for name, array in sorted(vars(layer).items())
            if "momentum" in name or "cache" in name
        ]
        return (
            model.optimizer.iterations,
            model.network.parameters.tobytes(),
            b"".join(np.asarray(array).tobytes() for array in arrays if np.any(array)),
        )

    allowed, threads = set(), _thread._count()
    for steps in range(STEPS + 1):
        model = make_book_model()
        if steps:
            model.train(X[: steps * BATCH], y[: steps * BATCH], batch_size=BATCH)
        allowed.add(found(model))
    place = 0
    model = make_book_model()
    while strike_at(place, lambda: model.train(X, y, batch_size=BATCH)):  # noqa: B023
        assert found(model) in allowed, place
        assert count_threads(threads) == threads, place
        place, model = place + 1, make_book_model()
    assert place > 100


# ------------------------------------------------------------------ workers and compilation


def test_a_worker_that_fails_before_the_kernel_lets_nobody_wait(monkeypatch):
    """As one that has no memory left, or in which a trace function raises."""
    train_steps = kernels.train_steps

    def fail(*arguments):
        if arguments[-2] == 1:
            raise MemoryError("in the worker")
        return train_steps(*arguments)

    model, optimizer = make_model(), fastnn.Adam()
    before, threads = state_of(model, optimizer), _thread._count()
    monkeypatch.setattr(kernels, "train_steps", fail)
    with pytest.raises(MemoryError, match="in the worker"):
        fit(model, optimizer)
    assert count_threads(threads) == threads
    assert state_of(model, optimizer) == before


def test_a_worker_that_fails_on_its_way_lets_nobody_wait(monkeypatch):
    def fail(team, number, orders):
        raise MemoryError("on its way")

    monkeypatch.setattr(parallel.ThreadTeam, "_run_tasks", fail)
    threads = _thread._count()
    with pytest.raises(MemoryError, match="on its way"):
        fit(make_model(), fastnn.Adam())
    assert count_threads(threads) == threads


def test_threads_are_waited_for_in_spite_of_more_signals(interrupts):
    """Interrupts that come faster than the threads end."""
    threads, may_end = _thread._count(), threading.Event()
    inside = threading.Barrier(3)

    def work(number):
        if number == 0:
            other.start()
        inside.wait(10)
        if number == 0:
            raise Strike
        may_end.wait(10)

    def interrupt():
        inside.wait(10)
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        may_end.set()

    other = threading.Thread(target=interrupt)
    with pytest.raises((KeyboardInterrupt, Strike)):
        parallel.with_team(2, lambda team: team.run(work))
    assert may_end.is_set()
    other.join()
    assert count_threads(threads) == threads


def test_kernels_are_compiled_where_no_signal_strikes(monkeypatch):
    found = []

    def compile_for_args(*types):
        found.append((threading.get_ident(), types))
        return "code"

    assert jit._compile_apart(compile_for_args, 1, 2) == "code"
    assert found[0][0] != threading.get_ident()
    assert found[0][1] == (1, 2)

    def fail():
        raise TypeError("no such type")

    with pytest.raises(TypeError, match="no such type"):
        jit._compile_apart(fail)


def test_an_interrupted_compilation_ends_at_its_next_safe_point(interrupts):
    threads, reached = _thread._count(), []

    def compile_for_args():
        _thread.interrupt_main()
        for _ in range(1000):
            time.sleep(0.01)
            reached.append(threading.get_ident())
            interruption.check_interruption()
        raise AssertionError("nobody asked it to stop")

    with pytest.raises(KeyboardInterrupt):
        jit._compile_apart(compile_for_args)
    assert set(reached) != {threading.get_ident()}
    assert count_threads(threads) == threads
    interruption.check_interruption()  # no request is left behind


def test_an_interrupted_first_compilation_breaks_nothing_later():
    """Ctrl-C every 0.1 seconds from the start; after that a fit like any other."""
    code = f"""
import _thread, threading, numpy as np, fastnn
X, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
def fit():
    model = fastnn.Sequential([fastnn.Dense(4, 3, rng=0), fastnn.Tanh(), fastnn.Dense(3, 2, rng=1)])
    model.fit(X, y, epochs=3, seed=0, optimizer=fastnn.Adam(), verbose=0, threads=2)
    return model.parameters.sum()
delays, broken = [0.05, 0.4, 0.9, 1.4, 2.0], 0
for delay in delays:
    timer = threading.Timer(delay, _thread.interrupt_main)
    timer.start()
    try:
        fit()
        timer.join()
    except KeyboardInterrupt:
        broken += 1
print(broken, np.isfinite(fit()), {os.getpid()})
"""
    broken, fine, _ = run_python(code, FASTNN_CACHE="0").split()
    assert int(broken) >= 3
    assert fine == "True"


@pytest.fixture
def time_out():
    """Return a function that lets a signal handler raise after so many seconds."""

    def strike(signum, frame):
        raise Strike

    before = signal.signal(signal.SIGALRM, strike)
    yield functools.partial(signal.setitimer, signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


no_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")


@no_timers
def test_a_time_out_ends_fit_many(time_out):
    X, y = make_data()
    models, threads = [make_model() for _ in range(6)], _thread._count()
    for delay in (0.001, 0.003, 0.01, 0.1):
        time_out(delay)
        with pytest.raises(Strike):
            fastnn.fit_many(models, X, y, epochs=10**6, threads=THREADS, verbose=0)
        assert count_threads(threads) == threads


@no_timers
def test_nothing_changes_after_the_exception(time_out):
    """Of threads that still write their part of the weights when the first one has returned."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((512, 300)).astype(np.float32), rng.integers(0, 9, 512)
    model = fastnn.Sequential(
        [fastnn.Dense(300, 700, rng=0), fastnn.ReLU(), fastnn.Dense(700, 9, rng=1)]
    )
    model.fit(X, y, epochs=1, threads=2, batch_size=64)
    changed = []
    for i in range(40):
        time_out(0.01 + 0.002 * i)
        with pytest.raises(Strike):
            model.fit(X, y, epochs=10**6, threads=2, batch_size=64, shuffle=False)
        found = model.parameters.copy()
        time.sleep(0.01)
        changed.append(not np.array_equal(found, model.parameters))
    assert not any(changed), f"{sum(changed)} of {len(changed)}"


@pytest.mark.parametrize("verbose", [0, 1])
def test_no_bar_leaves_a_thread(verbose, capsys):
    X, y = make_data()
    threads = _thread._count()
    fastnn.fit_many([make_model()], X, y, epochs=1, verbose=verbose)
    make_model().fit(X, y, epochs=1, verbose=verbose)
    assert count_threads(threads) == threads
    assert ("models" in capsys.readouterr().err) == bool(verbose)
