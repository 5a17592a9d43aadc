"""Threads change the time that it takes, and nothing else."""

import _thread
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from child import count_threads

import fastnn
from fastnn import kernels
from fastnn.kernels.catalogue import Loss, Rule
from fastnn.kernels.codes import BARRIER_SIZE, N_SCORES, N_SUMS, BarrierPlace
from fastnn.kernels.records import JOB
from fastnn.kernels.table import N_TOTALS
from fastnn.nn.optimizer import as_steps
from fastnn.program import threads as parallel
from fastnn.program.plan import make_plan
from fastnn.program.samples import Samples
from fastnn.program.trainer import CHUNK_SECONDS

N, FEATURES, CLASSES = 333, 50, 5


def make_model(dtype=np.float32, widths=(130, 70)):
    """Return a network whose layers have several blocks for threads to share."""
    layers, n_inputs = [], FEATURES
    for i, width in enumerate((*widths, CLASSES)):
        layers += [fastnn.Dense(n_inputs, width, dtype=dtype, rng=i), fastnn.ReLU()]
        n_inputs = width
    return fastnn.Sequential(layers[:-1])


def make_data(dtype=np.float32, n=N):
    rng = np.random.default_rng(7)
    return rng.standard_normal((n, FEATURES)).astype(dtype), rng.integers(0, CLASSES, n)


def fit(model, X, y, **options):
    options = {"epochs": 3, "batch_size": 64, "seed": 0, **options}
    return model.fit(X, y, optimizer=fastnn.SGD(0.1), **options)


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["labels", "soft"])
def test_bits_do_not_depend_on_threads(dtype, threads, kind):
    X, y = make_data(dtype)
    if kind == "soft":
        y = np.random.default_rng(1).dirichlet(np.ones(CLASSES), N)
    one, several = make_model(dtype), make_model(dtype)
    expected, found = fit(one, X, y, threads=1), fit(several, X, y, threads=threads)
    assert several.parameters.tobytes() == one.parameters.tobytes()
    assert vars(found) == vars(expected)
    probabilities = one.predict_proba(X, threads=1)
    assert several.predict_proba(X, threads=threads).tobytes() == probabilities.tobytes()
    assert several.evaluate(X, y, threads=threads) == one.evaluate(X, y, threads=1)


def test_fewer_rows_than_threads():
    X, y = make_data(n=3)
    one, many = make_model(), make_model()
    fit(one, X, y, batch_size=2, threads=1)
    fit(many, X, y, batch_size=2, threads=8)
    assert many.parameters.tobytes() == one.parameters.tobytes()
    assert many.predict(X[:2], threads=8).tolist() == one.predict(X[:2], threads=1).tolist()
    assert many.predict(X[:0], threads=8).shape == (0,)


@pytest.mark.parametrize("threads", [1, 2])
def test_models_fit_and_predict_side_by_side(threads):
    X, y = make_data()
    model = make_model()
    fit(model, X, y, threads=1)
    probabilities = model.predict_proba(X, threads=1).tobytes()
    shared = make_model()

    def work(i):
        if i % 2:
            return shared.predict_proba(X, threads=threads).tobytes()
        own = make_model()
        fit(own, X, y, threads=threads)
        return own.predict_proba(X, threads=threads).tobytes()

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(12)))
    assert set(found[::2]) == {probabilities}
    assert set(found[1::2]) == {shared.predict_proba(X, threads=1).tobytes()}


def _fit_in_child(results):
    X, y = make_data()
    model = make_model()
    fit(model, X, y, threads=2)
    results.put(model.parameters.tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_fork_after_threads_have_worked():
    X, y = make_data()
    model = make_model()
    fit(model, X, y, threads=2)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_fit_in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == model.parameters.tobytes()
    child.join(60)
    assert child.exitcode == 0


def test_ctrl_c_is_answered_soon_with_the_model_in_one_piece(interrupts):
    X, y = make_data(n=20_000)
    model = make_model(widths=(512, 512))
    before = _thread._count()
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        fit(model, X, y, epochs=2000, batch_size=256, threads=2)
    # A clock in a test: the bound is 40 times what a chunk takes.
    assert time.perf_counter() - begin < 0.5 + 40 * CHUNK_SECONDS
    assert np.isfinite(model.parameters).all()
    timer.join()
    assert count_threads(before) == before
    fit(model, X[:500], y[:500], threads=2)


def test_nobody_waits_for_a_thread_that_does_not_come(monkeypatch):
    """As when Ctrl-C strikes between the orders to the others and one's own part."""
    X, y = make_data()
    model = make_model()
    before = model.parameters.copy()
    train_steps, left = kernels.train_steps, []

    def interrupted(*arguments):
        if arguments[-2] == 0:
            time.sleep(0.1)
            raise KeyboardInterrupt
        left.append(train_steps(*arguments))

    monkeypatch.setattr(kernels, "train_steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, X, y, threads=3)
    deadline = time.monotonic() + 30
    while len(left) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == [0, 0]
    assert np.array_equal(model.parameters, before)


def test_barrier_lets_go_when_told_to():
    X, y = make_data()
    model = make_model()
    plan = make_plan(model._program.steps, X.shape[1], 64, X.itemsize, training=True)
    barrier = np.full(BARRIER_SIZE, 0, np.int64)
    barrier[BarrierPlace.LEAVE] = 1
    workspace, scores = np.full(plan.workspace_size, 0, np.float32), np.empty((N_SCORES, 64))
    source, layout = Samples(X, X.dtype).view()
    job = np.array([(0, 5, 64, Loss.SOFTMAX_CROSS_ENTROPY, 0.0, 0.0, Rule.DESCENT, True)], JOB)
    rates = as_steps(fastnn.SGD(0.1).numbers(0, 5, np.dtype("f4")), 5)
    reached = kernels.train_steps(
        (model.parameters, workspace, scores, np.empty((N_SUMS, 0)), barrier),
        plan.layers, source,
        (np.empty((0, model.parameters.size), np.float32), layout, np.empty(0)), None,
        (y, np.empty((0, CLASSES), np.float32)), np.arange(N)[np.newaxis], None, (job, rates),
        np.full((1, N_TOTALS), 0.0), 1, 2,
    )  # fmt: skip
    assert reached == 0


def test_number_of_threads(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cpus", lambda: 4)
    work = parallel.WORK_PER_THREAD
    assert [parallel.resolve_threads(None, w) for w in (0, work, 2 * work, 9 * work)] == [
        1,
        1,
        2,
        4,
    ]
    assert parallel.resolve_threads(7, 0) == 7
    assert parallel.resolve_threads(10**6, 0) == parallel.MOST_THREADS
    try:
        fastnn.set_num_threads(3)
        assert parallel.resolve_threads(None, 0) == 3
        with fastnn.num_threads(2):
            assert parallel.resolve_threads(None, 0) == 2
            assert parallel.resolve_threads(5, 0) == 5
            with ThreadPoolExecutor(1) as pool:  # another thread of Python is not concerned
                assert pool.submit(parallel.resolve_threads, None, 0).result() == 3
        assert parallel.resolve_threads(None, 0) == 3
    finally:
        fastnn.set_num_threads(None)
    assert parallel.resolve_threads(None, 0) == 1


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_bad_numbers_of_threads(value, error):
    X, y = make_data()
    model = make_model()
    before = model.parameters.copy()
    calls = (
        fastnn.set_num_threads,
        lambda n: fastnn.num_threads(n).__enter__(),
        lambda n: fit(model, X, y, threads=n),
        lambda n: model.predict(X, threads=n),
        lambda n: model.predict_proba(X, threads=n),
        lambda n: model.evaluate(X, y, threads=n),
    )
    for call in calls:
        with pytest.raises(error, match="expected a positive whole number"):
            call(value)
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", 1), (" 3 ", 3), ("2,4", 2), ("99", 8)]
    + [(bad, 8) for bad in ("", "0", "-2", "two", "1.5", "\u00b2", ",3")],
)
def test_usable_cpus_follow_the_openmp_variable(monkeypatch, value, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(parallel, "_cgroup_cpus", lambda: 8.0)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert parallel.usable_cpus() == expected


def test_each_worker_of_loky_uses_its_share_of_the_cpus():
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        counts = joblib.Parallel(n_jobs=2)(joblib.delayed(parallel.usable_cpus)() for _ in range(2))
    assert counts == [1, 1]


def test_usable_cpus_follow_the_control_group(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    count = parallel.usable_cpus()
    assert 1 <= count <= os.cpu_count()
    for quota, expected in ((0.3, 1), (1.0, 1), (1e9, count)):
        monkeypatch.setattr(parallel, "_cgroup_cpus", lambda quota=quota: quota)
        if hasattr(os, "sched_getaffinity"):
            monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))
        assert parallel.usable_cpus() == expected


def test_crew_is_smaller_where_the_system_gives_no_threads(monkeypatch):
    start, started = _thread.start_new_thread, []

    def no_more(*arguments):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(arguments)
        return start(*arguments)

    monkeypatch.setattr(_thread, "start_new_thread", no_more)
    numbers = []

    def work(team):
        assert team.size == 2
        team.run(numbers.append)

    parallel.with_team(4, work)
    assert sorted(numbers) == [0, 1]


def test_error_in_a_worker_does_not_hang():
    def work(number):
        if number == 1:
            raise ValueError("in the worker")
        return "done"

    with pytest.raises(ValueError, match="in the worker"):
        parallel.with_team(2, lambda team: team.run(work))


def test_no_threads_stay_behind():
    X, y = make_data()
    before = _thread._count()
    listed = threading.enumerate()
    fit(make_model(), X, y, threads=4)
    assert count_threads(before) == before
    assert threading.enumerate() == listed
