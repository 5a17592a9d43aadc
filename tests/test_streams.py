"""`fit(batches=...)` and `partial_fit`: the same bits as the same batches out of arrays."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import fastnn
from fastnn.program import stream

N, FEATURES, CLASSES, BATCH = 50, 6, 3, 8
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.1),
    "Adam": lambda: fastnn.Adam(0.02),
    "clipped": lambda: fastnn.Adam(0.02, clip_norm=0.1),
    "schedule": lambda: fastnn.SGD(fastnn.StepRate(0.2, 5, 0.5), momentum=0.9),
}

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


every_kind = pytest.mark.parametrize("kind", [fastnn.Dense, OwnDense])
slow = pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")


def make_data(n=N):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


def make_model(kind=fastnn.Dense, hidden=12, **options):
    layers = [kind(FEATURES, hidden, rng=0, **options), fastnn.ReLU(), fastnn.Dropout(0.3)]
    return fastnn.Sequential([*layers, fastnn.Dense(hidden, CLASSES, rng=1)])


def cut(*arrays, size=BATCH):
    """Return the batches of arrays, in order."""
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, len(arrays[0]), size)]


def fit(model, X=None, y=None, optimizer="SGD", **options):
    options = {"epochs": 3, "seed": 5, "verbose": 0, "shuffle": False, **options}
    optimizer = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    return model.fit(X, y, optimizer=optimizer, **options)


# ------------------------------------------------------------------------------- fit(batches=)


@every_optimizer
@every_kind
@slow
def test_the_same_bits_as_arrays(optimizer, kind):
    (X, y), held_out = make_data(), make_data(20)
    given = {
        "optimizer": optimizer,
        "validation_data": held_out,
        "class_weight": {0: 1, 1: 2, 2: 1},
    }
    expected = make_model(kind, weights_l2=1e-3)
    curves = fit(expected, X, y, batch_size=BATCH, **given).curves
    for threads in (None, 1, 3):
        model = make_model(kind, weights_l2=1e-3)
        assert fit(model, batches=cut(X, y), threads=threads, **given).curves == curves
        assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_weighted_batches():
    X, y = make_data()
    w = np.random.default_rng(1).random(N)
    model, expected = make_model(), make_model()
    curves = fit(expected, X, y, sample_weight=w, batch_size=BATCH).curves
    assert fit(model, batches=cut(X, y, w)).curves == curves
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_bytes_are_scaled():
    X, y = (np.abs(make_data()[0]) * 50).astype(np.uint8), make_data()[1]
    model, expected = make_model(), make_model()
    fit(expected, X, y, scale=1 / 255, offset=0.5, batch_size=BATCH)
    fit(model, batches=cut(X, y), scale=1 / 255, offset=0.5)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


@every_optimizer
@every_kind
@slow
def test_batches_of_any_sizes_in_one_workspace(optimizer, kind, monkeypatch):
    """It is made anew for a larger batch only, and brings the optimizer's states along."""
    (X, y), sizes, made = make_data(), (3, 8, 1, 8, 20, 5, 5), []
    ends = np.cumsum(sizes)
    parts = [(X[e - s : e], y[e - s : e]) for s, e in zip(sizes, ends, strict=True)]
    make = stream.make_trainer
    monkeypatch.setattr(stream, "make_trainer", lambda *a, **k: made.append(a[3]) or make(*a, **k))
    model, expected = make_model(kind), make_model(kind)
    expected.layers[2].rate = model.layers[2].rate = 0.0
    fit(model, batches=parts, optimizer=optimizer, epochs=2)
    assert made == [3, 8, 20]
    kept = OPTIMIZERS[optimizer]()
    for A, b in parts * 2:
        fit(expected, A, b, kept, epochs=1, batch_size=len(b))
    assert model.parameters.tobytes() == expected.parameters.tobytes()


@pytest.mark.parametrize("source", ["list", "function", "generator function", "own class"])
def test_an_iterable_starts_anew_each_epoch(source):
    X, y = make_data()
    parts = cut(X, y)

    class Own:
        def __iter__(self):
            return iter(parts)

    def generate():
        yield from parts

    given = {"list": parts, "function": lambda: parts, "generator function": generate}
    model, expected = make_model(), make_model()
    history = fit(model, batches=given.get(source, Own()))
    fit(expected, X, y, batch_size=BATCH)
    assert len(history) == 3
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_an_endless_iterator_with_steps_per_epoch():
    X, y = make_data(48)
    model, expected = make_model(), make_model()
    endless = itertools.cycle(cut(X, y))
    fit(model, batches=endless, steps_per_epoch=6)
    fit(expected, X, y, batch_size=BATCH)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert next(endless)[0] is not None
    taken = []
    fit(make_model(), batches=(taken.append(0) or part for part in cut(X, y)), steps_per_epoch=2)
    assert len(taken) == 6  # 3 epochs of 2, and none is looked at beyond


def test_an_iterator_that_is_used_up_says_so():
    X, y = make_data()
    model, once = make_model(), make_model()
    with pytest.raises(ValueError, match="batches has nothing in epoch 2, expected at least one"):
        fit(model, batches=iter(cut(X, y)))
    fit(once, batches=cut(X, y), epochs=1)
    assert model.parameters.tobytes() == once.parameters.tobytes()
    with pytest.raises(ValueError, match="batches has nothing in epoch 1"):
        fit(model, batches=[])


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@every_kind
@slow
def test_an_error_of_the_generator_leaves_the_model_as_the_last_step_did(optimizer, kind):
    X, y = make_data()
    kept, rest = OPTIMIZERS[optimizer](), OPTIMIZERS[optimizer]()

    def generate():
        yield from cut(X, y)[:3]
        raise RuntimeError("the disk is gone")

    model, expected = make_model(kind), make_model(kind)
    for each in (model, expected):
        each.layers[2].rate = 0.0
    with pytest.raises(RuntimeError, match="the disk is gone"):
        fit(model, batches=generate, optimizer=kept)
    fit(expected, X[:24], y[:24], rest, epochs=1, batch_size=BATCH)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    # The optimizer goes on from there too.
    fit(model, X, y, kept, epochs=1)
    fit(expected, X, y, rest, epochs=1)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_the_generator_may_ask_the_model():
    X, y = make_data()
    model, seen = make_model(), []

    def generate():
        for part in cut(X, y):
            seen.append(model.predict_proba(X).tobytes())
            yield part

    fit(model, batches=generate, epochs=1)
    assert len(set(seen)) == len(seen) == 7


def test_callbacks_and_progress(capsys):
    X, y = make_data()
    steps, epochs = [], []
    callback = fastnn.LambdaCallback(
        on_epoch_end=lambda run: epochs.append((run.epoch, run.n_samples))
    )

    class Watch(fastnn.Callback):
        def on_chunk_end(self, run):
            steps.append(run.step)

    stop = fastnn.EarlyStopping(monitor="loss", patience=0, min_delta=1e9)
    fit(make_model(), batches=cut(X, y), callbacks=[callback, Watch(), stop], verbose=1, epochs=9)
    assert epochs == [(1, N), (2, N)]
    assert steps[0] == 1
    fit(make_model(), batches=cut(X, y), verbose=2)
    assert capsys.readouterr().out.count("epoch") == 3


BAD_BATCHES = {
    "X": ((np.ones((2, 5), np.float32), [0, 1]), ValueError, r"batch 3: X has shape \(2, 5\)"),
    "nan": ((np.full((2, 6), np.nan), [0, 1]), ValueError, r"batch 3: X\[0, 0\] is nan"),
    "labels": ((np.ones((2, 6)), [0, 3]), ValueError, r"batch 3: y\[1\] is 3, expected whole"),
    "rows": ((np.ones((2, 6)), [0]), ValueError, "batch 3: y has 1 rows, expected 2"),
    "weights": ((np.ones((2, 6)), [0, 1], [1, -1]), ValueError, r"batch 3: sample_weight\[1\]"),
    "empty": ((np.ones((0, 6)), []), ValueError, r"batch 3: X has shape \(0, 6\)"),
    "array": (np.ones((2, 6)), TypeError, r"batch 3 is of type ndarray, expected \(X, y\) or"),
    "one": ((np.ones((2, 6)),), TypeError, r"batch 3 has 1 items, expected \(X, y\)"),
    "text": ((np.array([["a"] * 6]), [0]), TypeError, "batch 3: X has dtype <U1"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_bad_batch_is_named_and_does_not_train(name):
    X, y = make_data()
    bad, error, words = BAD_BATCHES[name]
    model, expected = make_model(), make_model()
    for each in (model, expected):
        each.layers[2].rate = 0.0
    with pytest.raises(error, match=words):
        fit(model, batches=[*cut(X, y)[:2], bad])
    fit(expected, X[:16], y[:16], epochs=1, batch_size=BATCH)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"batches": 3}, TypeError, "batches is 3, expected an iterable"),
        ({"batches": lambda: 3}, TypeError, r"batches\(\) is 3, expected an iterable"),
        ({"batches": [], "X": 1}, ValueError, "X is given, expected batches without it"),
        ({"batches": [], "y": 1}, ValueError, "y is given, expected batches"),
        ({"batches": [], "sample_weight": 1}, ValueError, "sample_weight is given, expected"),
        ({"batches": [], "validation_split": 0.5}, ValueError, "validation_split is given"),
        ({"batches": [], "drop_last": True}, ValueError, "drop_last is given, expected batches"),
        ({"batches": [], "metrics": ["f1"]}, ValueError, "metrics is given, expected batches"),
        ({}, TypeError, "X and y are missing, expected both, or batches"),
    ],
)
def test_bad_arguments(given, error, words):
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(error, match=words):
        fit(model, **given)
    assert np.array_equal(model.parameters, before)


def test_metrics_of_the_validation_data():
    X, y = make_data()
    history = fit(make_model(), batches=cut(X, y), metrics=["f1"], validation_data=(X, y))
    assert list(history.curves) == ["loss", "accuracy", "val_loss", "val_accuracy", "val_f1"]


def test_a_diverging_run_goes_back_to_the_last_good_epoch():
    X, y = make_data()
    model, expected = make_model(), make_model()
    factors = iter(np.float32([1, 1e38]))
    with pytest.raises(fastnn.NonFiniteLossError, match="epoch 2, batch 1") as caught:
        fit(model, batches=lambda: cut(X * next(factors), y))
    fit(expected, X, y, batch_size=BATCH, epochs=1)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert len(caught.value.history) == 1


# ------------------------------------------------------------------------------- partial_fit


@every_optimizer
@every_kind
@slow
def test_calls_go_on_where_the_last_one_ended(optimizer, kind):
    """As one fit over the batches, and the optimizer's state comes along."""
    X, y = make_data()
    model, expected = make_model(kind), make_model(kind)
    for each in (model, expected):
        each.layers[2].rate = 0.0
    curves = []
    for i, (A, b) in enumerate(cut(X, y)):
        given = {"optimizer": OPTIMIZERS[optimizer]()} if i == 0 else {}
        curves += model.partial_fit(A, b, **given).loss
    history = fit(expected, X, y, optimizer, epochs=1, batch_size=BATCH)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    weights = [len(b) for _, b in cut(X, y)]
    assert np.average(curves, weights=weights) == pytest.approx(history.loss[0], rel=1e-12)
    assert model.optimizer.state_of(model.parameters).iterations == 7


def test_one_epoch_in_the_order_given():
    X, y = make_data()
    w, classes = np.random.default_rng(1).random(N), {0: 1, 1: 2, 2: 3}
    model, expected = make_model(), make_model()
    given = {"sample_weight": w, "class_weight": classes, "scale": 0.5, "batch_size": BATCH}
    history = model.partial_fit(X, y, optimizer=fastnn.Adam(), seed=5, **given)
    other = fit(expected, X, y, fastnn.Adam(), epochs=1, **given)
    assert history.curves == other.curves
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_default_optimizer_and_batch():
    X, y = make_data()
    model, expected = make_model(), make_model()
    assert model.optimizer is None
    model.partial_fit(X, y, seed=5)
    fit(expected, X, y, fastnn.SGD(), epochs=1, batch_size=N)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert repr(model.optimizer) == "SGD(learning_rate=0.01)"


def test_the_workspace_is_kept_until_something_changes(monkeypatch):
    X, y = make_data()
    made, make = [], stream.make_trainer
    monkeypatch.setattr(stream, "make_trainer", lambda *a, **k: made.append(a[3]) or make(*a, **k))
    model, expected, optimizer, other = make_model(), make_model(), fastnn.Adam(), fastnn.Adam()
    for each in (model, expected):
        each.layers[2].rate = 0.0

    def step(n, **given):
        model.partial_fit(X[:n], y[:n], **given)
        fit(expected, X[:n], y[:n], other, epochs=1, batch_size=n)
        assert model.parameters.tobytes() == expected.parameters.tobytes()

    for n in (8, 4, 8, 9):
        step(n, optimizer=optimizer)
    assert made == [8, 9]
    made.clear()
    for each in (model, expected):  # a script may do all of this between two calls
        each.layers[0].weights[...] *= 0.5
    step(8)
    assert made == []
    fit(model, X, y, optimizer, epochs=1)
    fit(expected, X, y, other, epochs=1)
    step(8)
    assert made == []
    for each in (model, expected):
        each.layers[0].trainable = False
    step(8)
    for each in (model, expected):
        each.loss = fastnn.SoftmaxCrossEntropy(label_smoothing=0.1)
    step(8)
    optimizer.clip_norm = other.clip_norm = 0.01
    step(8)
    assert made == [8, 8, 8]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_learns_by_itself(copied):
    X, y = make_data()
    model = make_model()
    model.partial_fit(X, y, seed=0)
    twin = copied(model)
    before = model.parameters.copy()
    twin.partial_fit(X, y)
    assert np.array_equal(model.parameters, before)
    assert not np.array_equal(twin.parameters, before)


def test_a_diverging_call_changes_nothing():
    X, y = make_data()
    model = make_model()
    model.partial_fit(X, y, optimizer=fastnn.SGD(0.1), seed=0)
    before = model.parameters.copy()
    with pytest.raises(fastnn.NonFiniteLossError, match="batch 2"):
        model.partial_fit(np.concatenate([X[:8], X[:8] * np.float32(1e38)]), y[:16], batch_size=8)
    assert np.array_equal(model.parameters, before)
    model.partial_fit(X, y)
    assert np.isfinite(model.parameters).all()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0, expected a positive"),
        ({"optimizer": 0.1}, TypeError, "optimizer is 0.1, expected one such as"),
        ({"seed": -1}, ValueError, "seed is -1, expected"),
        ({"threads": 0}, ValueError, "threads is 0, expected"),
        ({"class_weight": {0: 1}}, ValueError, "class_weight has"),
        ({"sample_weight": [1, 2]}, ValueError, r"sample_weight has shape \(2,\)"),
        ({"y": [0]}, ValueError, "y has 1 rows"),
    ],
)
def test_bad_arguments_of_partial_fit(given, error, words):
    X, y = make_data()
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(error, match=words):
        model.partial_fit(X, **{"y": y, **given})
    assert model.optimizer is None
    assert np.array_equal(model.parameters, before)
