"""`fit_many`: many models at once, with the same bits as one after another."""

import _thread
import pickle
import threading
import time
import warnings

import numpy as np
import pytest

import fastnn
from fastnn.program import program
from fastnn.program import threads as parallel
from fastnn.program.samples import Samples
from fastnn.run.parallel import ParallelRuns

N, FEATURES, CLASSES, MODELS = 70, 6, 3, 7


def make_data(n=N):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


def make_model(seed=0, dtype=np.float32, hidden=12, activation=fastnn.ReLU):
    layers = [fastnn.Dense(FEATURES, hidden, dtype=dtype, rng=seed), activation()]
    return fastnn.Sequential([*layers, fastnn.Dense(hidden, CLASSES, dtype=dtype, rng=seed + 1)])


def make_models(**options):
    return [make_model(seed, **options) for seed in range(MODELS)]


def fit_many(models, X, y, **options):
    options = {"epochs": 12, "batch_size": 16, "seed": 3, "verbose": 0, **options}
    return fastnn.fit_many(models, X, y, **options)


def check_alone(models, histories, make, X, y, **options):
    """Compare with each model alone; `optimizer` has one for each."""
    for i, (model, history) in enumerate(zip(models, histories, strict=True)):
        own = {k: v[i] if k == "optimizer" else v for k, v in options.items()}
        alone = make()[i]
        given = {"epochs": 12, "batch_size": 16, "seed": 3 + i, "verbose": 0, "threads": 1}
        curves = alone.fit(X, y, **given | own).curves
        assert history.curves == curves
        assert model.parameters.tobytes() == alone.parameters.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 5, 50, None])
def test_the_same_bits_as_alone(threads):
    X, y = make_data()
    models = make_models()
    histories = fit_many(models, X, y, threads=threads)
    check_alone(models, histories, make_models, X, y)


def test_one_optimizer_is_a_pattern():
    X, y = make_data()
    models, optimizer = make_models(), fastnn.Adam(0.02, clip_norm=1.0)
    histories = fit_many(models, X, y, optimizer=optimizer, threads=3)
    rates = [fastnn.Adam(0.02, clip_norm=1.0) for _ in models]
    check_alone(models, histories, make_models, X, y, optimizer=rates)
    assert optimizer._states == {}


def test_a_schedule_that_observes_is_copied():
    X, y = make_data()

    def make():
        return fastnn.SGD(fastnn.ReduceOnPlateau(0.5, monitor="loss", patience=0))

    models, rates = make_models(), [make() for _ in range(MODELS)]
    histories = fit_many(models, X, y, optimizer=make(), threads=2)
    check_alone(models, histories, make_models, X, y, optimizer=rates)


def test_an_optimizer_and_a_seed_for_each():
    X, y = make_data()
    models, kept = make_models(), [fastnn.Adam(0.001 * (i + 1)) for i in range(MODELS)]
    seeds = [None if i == 9 else 5 * i for i in range(MODELS)]
    again = [fastnn.Adam(0.001 * (i + 1)) for i in range(MODELS)]
    first = fit_many(models, X, y, optimizer=kept, seed=seeds, epochs=2)
    assert [len(h) for h in first] == [2] * MODELS
    others = make_models()
    for model, rate, seed in zip(others, again, seeds, strict=True):
        model.fit(X, y, epochs=2, batch_size=16, optimizer=rate, seed=seed, verbose=0)
    fit_many(models, X, y, optimizer=kept, seed=seeds, epochs=2)  # goes on where they were
    for model, other, rate, seed in zip(models, others, again, seeds, strict=True):
        other.fit(X, y, epochs=2, batch_size=16, optimizer=rate, seed=seed, verbose=0)
        assert model.parameters.tobytes() == other.parameters.tobytes()


def test_all_that_fit_knows():
    X, y = make_data()
    X8 = (np.abs(X) * 60).astype(np.uint8)
    given = {
        "validation_data": (X8[:20], y[:20]), "sample_weight": np.linspace(0.5, 1, N),
        "class_weight": {0: 1, 1: 2, 2: 3}, "scale": 1 / 255, "offset": -0.1, "metrics": ["f1"],
        "drop_last": True,
    }  # fmt: skip
    models = make_models()
    histories = fit_many(models, X8, y, threads=2, **given)
    check_alone(models, histories, make_models, X8, y, **given)
    assert "val_f1" in histories[0].curves


def test_models_may_differ():
    X, y = make_data()

    def make():
        return [
            make_model(0), make_model(1, np.float64), make_model(2, hidden=40),
            make_model(3, activation=fastnn.Tanh),
            fastnn.Sequential([fastnn.Dense(FEATURES, 3, rng=0)], loss=fastnn.MeanSquaredError()),
            fastnn.Sequential([fastnn.Dense(FEATURES, 3, rng=0), fastnn.Dropout(0.4),
                               fastnn.Dense(3, 3, rng=1)]),
        ]  # fmt: skip

    models, y = make(), np.eye(CLASSES)[y]
    check_alone(models, fit_many(models, X, y, threads=2), make, X, y)


def test_samples_are_checked_once_for_each_dtype(monkeypatch):
    X, y = make_data()
    seen, check = [], program.as_samples

    def as_samples(value, name, **expected):
        if not isinstance(value, Samples):  # which have been checked
            seen.append(name)
        return check(value, name, **expected)

    monkeypatch.setattr(program, "as_samples", as_samples)
    models = [*make_models(), *make_models(dtype=np.float64)]
    fit_many(models, X.astype(np.float16), y, validation_data=(X, y), epochs=1)
    assert sorted(seen) == ["X", "X", "validation_data[0]", "validation_data[0]"]


def test_callbacks_are_copied_or_given_for_each():
    X, y = make_data()
    stops = [fastnn.EarlyStopping("loss", patience=0, min_delta=1e9) for _ in range(MODELS)]
    for callbacks in (stops[:1], [[stop] for stop in stops]):
        assert [len(h) for h in fit_many(make_models(), X, y, callbacks=callbacks)] == [2] * MODELS
    assert [stop.best_epoch for stop in stops] == [1] * MODELS


@pytest.mark.filterwarnings("ignore:overflow|invalid value")
def test_models_that_diverge_do_not_take_the_others_along():
    X, y = make_data()
    rates = [fastnn.SGD(1e30 if i in (1, 4) else 0.1) for i in range(MODELS)]
    models, before = make_models(), make_models()
    words = r"2 of 7 models diverged: models\[1\] in epoch 1, batch 2; models\[4\]"
    with pytest.raises(fastnn.DivergedModelsError, match=words) as caught:
        fit_many(models, X, y, optimizer=rates, threads=2)
    assert sorted(caught.value.errors) == [1, 4]
    assert caught.value.errors[4].epoch == 1
    lengths = [len(history) for history in caught.value.histories]
    assert lengths == [0 if i in (1, 4) else 12 for i in range(MODELS)]
    for i in (1, 4):
        assert models[i].parameters.tobytes() == before[i].parameters.tobytes()
    for i in set(range(MODELS)) - {1, 4}:
        alone = before[i]
        alone.fit(X, y, epochs=12, batch_size=16, seed=3 + i, optimizer=rates[i], verbose=0)
        assert models[i].parameters.tobytes() == alone.parameters.tobytes()
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)


def test_an_error_of_a_callback_stops_all():
    X, y = make_data()

    def fail(run):
        raise RuntimeError("no more paper")

    callbacks = [[] for _ in range(MODELS)]
    callbacks[2] = [fastnn.LambdaCallback(on_epoch_end=fail)]
    models = make_models()
    with pytest.raises(RuntimeError, match="no more paper") as caught:
        fit_many(models, X, y, callbacks=callbacks, threads=2, epochs=50_000)
    assert caught.value.__notes__ == ["of models[2]"]
    assert all(np.isfinite(model.parameters).all() for model in models)


@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_stops_all_soon_with_the_models_in_one_piece(threads, interrupts):
    X, y = make_data(3000)
    models, ended = make_models(), threading.Event()
    before = threading.active_count()
    fit_many(models, X, y, threads=threads, epochs=1)

    def interrupt():  # again where a hook of Python's swallows it
        ended.wait(0.3)
        while not ended.wait(1):
            _thread.interrupt_main()

    timer = threading.Thread(target=interrupt)
    timer.start()
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        fit_many(models, X, y, threads=threads, epochs=10**6)
    ended.set()
    # A clock in a test: chunks take 0.05 seconds.
    assert time.perf_counter() - begin < 20
    timer.join()
    assert threading.active_count() == before
    assert all(np.isfinite(model.parameters).all() for model in models)
    fit_many(models, X, y, threads=threads)


def test_number_of_threads(monkeypatch):
    X, y = make_data()
    asked = []
    run = ParallelRuns.run
    monkeypatch.setattr(ParallelRuns, "run", lambda runs, n: asked.append(n) or run(runs, n))
    monkeypatch.setattr(parallel, "usable_cpus", lambda: 3)
    fit_many(make_models(), X, y)
    fit_many(make_models()[:2], X, y)
    with fastnn.num_threads(4):
        fit_many(make_models(), X, y)
    fit_many(make_models(), X, y, threads=100)
    assert asked == [3, 2, 4, 7]


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


def test_a_layer_of_ones_own_is_slow_and_right():
    X, y = make_data()

    def make():
        return [fastnn.Sequential([OwnDense(FEATURES, CLASSES, rng=i)]) for i in range(3)]

    models = make()
    with pytest.warns(fastnn.SlowTrainingWarning):
        histories = fit_many(models, X, y, threads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_alone(models, histories, make, X, y)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"models": []}, TypeError, r"models is \[\], expected a list of fastnn.Sequential"),
        ({"models": [1]}, TypeError, r"models is \[1\], expected a list"),
        ({"models": "twice"}, ValueError, r"models\[1\] is models\[0\], expected distinct"),
        ({"optimizer": [fastnn.SGD()]}, ValueError, "optimizer has 1 items, expected 7, one for"),
        ({"optimizer": [fastnn.SGD()] * 7}, ValueError, r"optimizer\[1\] is optimizer\[0\]"),
        ({"optimizer": 0.1}, TypeError, "optimizer is 0.1, expected one such as"),
        ({"seed": [1, 2]}, ValueError, "seed has 2 items, expected 7"),
        ({"seed": 1.5}, TypeError, "seed is 1.5, expected None, a whole number, or a list"),
        ({"seed": -3}, ValueError, "seed is -3, expected"),
        ({"seed": [np.random.default_rng(0)] * 7}, ValueError, r"seed\[1\] is seed\[0\], expected"),
        ({"callbacks": [[]]}, ValueError, "callbacks has 1 items, expected 7"),
        ({"callbacks": [1]}, TypeError, r"callbacks is \[1\], expected a list of fastnn.Callback"),
        ({"threads": 0}, ValueError, "threads is 0, expected"),
        ({"verbose": 7}, TypeError, "verbose is 7, expected"),
        ({"epochs": 0}, ValueError, "epochs is 0, expected"),
        ({"batches": []}, TypeError, "batches is given, expected arguments of fit_many or of fit"),
        ({"ranks": None}, TypeError, "ranks is given, expected arguments of fit_many or of fit"),
        ({"epoch": 3}, TypeError, "epoch is given, expected arguments of fit_many"),
        ({"validation_data": 3}, TypeError, "validation_data is not a pair"),
        ({"X": np.ones((N, 5))}, ValueError, r"X has shape \(70, 5\), expected \(n_samples, 6\)"),
        ({"y": [3] * N}, ValueError, r"y\[0\] is 3, expected whole numbers"),
    ],
)
def test_bad_arguments(given, error, words):
    X, y = make_data()
    models = make_models()
    before = [model.parameters.copy() for model in models]
    given = {"models": models, "X": X, "y": y, **given}
    if given["models"] == "twice":
        given["models"] = [models[0], models[0]]
    with pytest.raises(error, match=words):
        fit_many(given.pop("models"), given.pop("X"), given.pop("y"), **given)
    assert all(np.array_equal(m.parameters, b) for m, b in zip(models, before, strict=True))


def test_a_bad_model_is_named_before_any_trains():
    X, y = make_data()
    models = [*make_models(), fastnn.Sequential([fastnn.Dense(4, 3, rng=0)])]
    before = models[0].parameters.copy()
    with pytest.raises(
        ValueError, match=r"X has shape \(70, 6\), expected \(n_samples, 4\)"
    ) as caught:
        fit_many(models, X, y)
    assert caught.value.__notes__ == ["of models[7]"]
    assert np.array_equal(models[0].parameters, before)


def test_progress(capsys):
    X, y = make_data()
    fit_many(make_models(), X, y, verbose=1)
    assert "7/7" in capsys.readouterr().err
