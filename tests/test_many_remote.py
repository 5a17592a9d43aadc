"""`fit_many(executor=)`: models that workers train, with the same bits as alone."""

import _thread
import concurrent.futures
import itertools
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
from remote_work import Own, end_process, fail_in_epoch_two, stop_at_two, wait_a_while

import fastnn
from fastnn.run import remote

N, FEATURES, CLASSES, MODELS = 70, 6, 3, 7


def make_data(n=N):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


X, Y = make_data()


def make_model(seed=0, dtype=np.float32, hidden=12):
    return fastnn.Sequential([
        fastnn.Dense(FEATURES, hidden, dtype=dtype, rng=seed),
        fastnn.BatchNorm(hidden, dtype=dtype), fastnn.Tanh(), fastnn.Dropout(0.2, rng=seed),
        fastnn.Dense(hidden, CLASSES, dtype=dtype, rng=seed + 1),
    ])  # fmt: skip


def make_models(n=MODELS):
    return [make_model(seed) for seed in range(n)]


def fit_many(models, executor=None, **options):
    options = {"epochs": 5, "batch_size": 16, "seed": 3, "verbose": 0, **options}
    return fastnn.fit_many(models, X, Y, executor=executor, **options)


def state_of(model):
    return model._network.buffer.tobytes()


def start_pool(n_workers):
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(n_workers, context)


@pytest.fixture(scope="module")
def pool():
    with start_pool(2) as executor:
        yield executor


class Immediate(concurrent.futures.Executor):
    """Works at once, on a copy as another process would have it, and does not count workers."""

    def __init__(self):
        self.n_calls = self.n_data = 0

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        self.n_calls += 1
        self.n_data += arguments[-1] is not None
        arguments = pickle.loads(pickle.dumps(arguments))
        try:
            future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        except Exception as error:
            future.set_exception(error)
        return future


def compare(models, others, histories, expected):
    assert [history.curves for history in histories] == [history.curves for history in expected]
    for model, other in zip(models, others, strict=True):
        assert state_of(model) == state_of(other)
        assert np.shares_memory(model.layers[0].weights, model.parameters)


# ------------------------------------------------------------------ the same as here


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_the_same_bits_as_in_this_process(pool, threads):
    models, others = make_models(), make_models()
    views = [model.parameters for model in models]
    expected = fit_many(others)
    histories = fit_many(models, pool, threads=threads)
    compare(models, others, histories, expected)
    for view, model in zip(views, models, strict=True):
        assert view is model.parameters  # the models of the caller were updated in place
        assert model.predict(X).shape == (N,)


@pytest.mark.parametrize("kind", [concurrent.futures.ThreadPoolExecutor, Immediate])
def test_other_executors(kind):
    models, others = make_models(), make_models()
    expected = fit_many(others)
    compare(models, others, fit_many(models, kind()), expected)
    assert remote._last_data == {}


def test_models_may_differ(pool):
    def make():
        return [make_model(0), make_model(1, np.float64), make_model(2, hidden=40)]

    models, others = make(), make()
    expected = fit_many(others)
    compare(models, others, fit_many(models, pool), expected)


def test_all_that_belongs_to_a_model_comes_back(pool):
    """Optimizers with their averages, schedules, generators and callbacks."""

    def make():
        rates = [fastnn.ReduceOnPlateau(0.05, monitor="loss", patience=0, min_delta=1e9)
                 for _ in range(3)]  # fmt: skip
        optimizers = [fastnn.Adam(0.02, clip_norm=1.0), fastnn.SGD(rates[1], momentum=0.9), None]
        seeds = [np.random.default_rng(7), 5, np.random.default_rng(8)]
        callbacks = [
            [fastnn.EarlyStopping("loss", patience=3)], [],
            [fastnn.LambdaCallback(on_epoch_end=stop_at_two)],
        ]  # fmt: skip
        return make_models(3), optimizers, seeds, callbacks, rates

    def run(things, executor):
        models, optimizers, seeds, callbacks, _ = things
        given = {"optimizer": optimizers, "seed": seeds, "callbacks": callbacks}
        return fit_many(models, executor, **given, validation_data=(X[:9], Y[:9]), metrics=["f1"])

    ours, theirs = make(), make()
    for _ in range(2):  # the second call goes on where the first one ended
        expected = run(theirs, None)
        compare(ours[0], theirs[0], run(ours, pool), expected)
    for mine, its in zip(ours[1][:2], theirs[1], strict=False):
        assert repr(mine) == repr(its)
    for i in range(2):
        mine, its = (each[1][i].state_of(each[0][i].parameters) for each in (ours, theirs))
        assert mine.iterations == its.iterations > 0
        assert mine.arrays.tobytes() == its.arrays.tobytes()
    assert ours[4][1].current_rate == theirs[4][1].current_rate < 0.05
    assert ours[2][0].random() == theirs[2][0].random()
    assert vars(ours[3][0][0]).keys() == vars(theirs[3][0][0]).keys()
    assert ours[3][0][0].best == theirs[3][0][0].best
    assert ours[3][2][0].on_epoch_end is not None


def test_a_layer_of_ones_own(pool):
    def make():
        return [fastnn.Sequential([Own(FEATURES, CLASSES, seed)]) for seed in range(3)]

    models, others = make(), make()
    with pytest.warns(fastnn.SlowTrainingWarning):
        expected = fit_many(others)
    with pytest.warns(fastnn.SlowTrainingWarning):
        histories = fit_many(models, pool)
    assert [h.curves for h in histories] == [h.curves for h in expected]
    for model, other in zip(models, others, strict=True):
        assert model.layers[0].weights.tobytes() == other.layers[0].weights.tobytes()


def test_the_precision_of_the_caller(pool):
    def make():
        widths = FEATURES, 64, 64, CLASSES
        layers = [fastnn.Dense(*pair, rng=0) for pair in itertools.pairwise(widths)]
        return [fastnn.Sequential(layers)]

    models, others, plain = make(), make(), make()
    with fastnn.precision("medium"):
        expected = fit_many(others)
        compare(models, others, fit_many(models, pool), expected)
    fit_many(plain)
    assert state_of(plain[0]) != state_of(models[0])


# ------------------------------------------------------------------ chunks and data


def test_data_go_to_each_worker_once(monkeypatch):
    """Of two workers, the second one lacks the data for a chunk, and gets them then."""

    class Two(Immediate):
        num_workers = 2

        def __init__(self):
            super().__init__()
            self.memories = [{}, {}]

        def submit(self, *arguments):
            # The first one is fast, and takes the first two chunks.
            second = self.n_calls >= 2 and (arguments[-1] is not None or self.n_calls % 2)
            monkeypatch.setattr(remote, "_last_data", self.memories[bool(second)])
            return super().submit(*arguments)

    executor, models, others = Two(), make_models(20), make_models(20)
    expected = fit_many(others)
    compare(models, others, fit_many(models, executor), expected)
    assert executor.n_data == 3
    assert executor.n_calls == 8 + 1  # chunks, and one that is sent again


@pytest.mark.parametrize(
    ("n", "workers", "least", "sizes"),
    [(7, 2, 1, [1] * 6 + [1]), (100, 2, 1, [12, 13] * 4), (9, 2, 4, [4, 5]), (3, 2, 8, [3]),
     (96, None, 1, [3] * 32)],
)  # fmt: skip
def test_chunks(n, workers, least, sizes):
    executor = Immediate()
    executor.num_workers = workers
    chunks = remote.split_evenly(n, executor, least)
    assert [i for chunk in chunks for i in chunk] == list(range(n))
    assert [len(chunk) for chunk in chunks] == sizes


def test_progress(pool, capsys):
    fit_many(make_models(), pool, verbose=1)
    assert "7/7" in capsys.readouterr().err


# ------------------------------------------------------------------ errors


def callbacks_of(function, i):
    result = [[] for _ in range(MODELS)]
    result[i] = [fastnn.LambdaCallback(on_epoch_end=function)]
    return result


def check_unchanged(models, optimizers=()):
    for model, before in zip(models, make_models(), strict=True):
        assert state_of(model) == state_of(before)
    for model, optimizer in zip(models, optimizers, strict=False):
        assert optimizer.state_of(model.parameters).iterations == 0


def test_an_error_of_a_worker_names_its_model(pool):
    models, optimizers = make_models(), [fastnn.Adam() for _ in range(MODELS)]
    with pytest.raises(RuntimeError, match="no more paper") as caught:
        fit_many(models, pool, callbacks=callbacks_of(fail_in_epoch_two, 5), optimizer=optimizers)
    assert caught.value.__notes__ == ["of models[5]"]
    check_unchanged(models, optimizers)
    fit_many(models, pool)


def test_what_cannot_be_sent_is_named(pool):
    models = make_models()
    with pytest.raises((AttributeError, pickle.PicklingError)) as caught:
        fit_many(models, pool, callbacks=callbacks_of(lambda run: None, 4))
    assert caught.value.__notes__ == ["of models[4]"]
    check_unchanged(models)


@pytest.mark.skipif(os.name != "posix", reason="counts on fast starts of processes")
def test_a_dead_worker_ends_the_call():
    models = make_models()
    with start_pool(1) as executor:
        with pytest.raises(concurrent.futures.BrokenExecutor) as caught:
            fit_many(models, executor, callbacks=callbacks_of(end_process, 3))
    assert caught.value.__notes__[0].startswith("of models[")
    check_unchanged(models)


@pytest.mark.filterwarnings("ignore:overflow|invalid value")
def test_models_that_diverge_do_not_take_the_others_along(pool):
    def run(executor):
        models = make_models()
        rates = [fastnn.SGD(1e30 if i in (1, 4) else 0.1) for i in range(MODELS)]
        with pytest.raises(fastnn.DivergedModelsError) as caught:
            fit_many(models, executor, optimizer=rates)
        return models, caught.value

    (models, ours), (others, theirs) = run(pool), run(None)
    assert str(ours) == str(theirs)
    assert sorted(ours.errors) == [1, 4]
    compare(models, others, ours.histories, theirs.histories)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"executor": 3}, TypeError, "executor is 3, expected a concurrent.futures.Executor"),
        ({"executor": Immediate}, TypeError, "executor is <class '.*'>, expected a concurrent"),
        ({"epochs": 0}, ValueError, "epochs is 0, expected"),
        ({"batch_size": "x"}, TypeError, "batch_size is 'x', expected"),
        ({"threads": 0}, ValueError, "threads is 0, expected"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight has"),
    ],
)
def test_bad_arguments_reach_no_worker(given, error, words):
    models, executor = make_models(), Immediate()
    with pytest.raises(error, match=words):
        fit_many(models, **{"executor": executor, **given})
    assert executor.n_calls == 0
    check_unchanged(models)


def test_ctrl_c_cancels(interrupts):
    models, sent = make_models(), []

    class Counted(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *arguments):
            sent.append(super().submit(*arguments))
            if len(sent) == 3:
                threading.Timer(0.05, _thread.interrupt_main).start()
            return sent[-1]

    slow = [[fastnn.LambdaCallback(on_epoch_end=wait_a_while)] for _ in range(MODELS)]
    with Counted(1) as executor:
        with pytest.raises(KeyboardInterrupt):
            fit_many(models, executor, callbacks=slow)
    assert len(sent) == 3
    check_unchanged(models)
    assert remote._last_data == {}
