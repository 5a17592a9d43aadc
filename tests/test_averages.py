"""`WeightAverage`: averages of the parameters over the steps, formed in the compiled epoch."""

import copy

import numpy as np
import pytest
from test_ranks import run_ranks

import fastnn
from fastnn.distributed import one
from fastnn.run import loop

ROWS, FEATURES, CLASSES = 61, 5, 3  # the last batch of 8 has 5 rows
F32, F64 = np.float32, np.float64


def dense(*sizes, **options):
    return fastnn.Dense(*sizes, rng=sum(sizes), **options)


NETWORKS = {
    "plain": lambda t: [dense(FEATURES, 17, dtype=t), fastnn.ReLU(), dense(17, CLASSES, dtype=t)],
    "wide": lambda t: [  # the last layer trains transposed
        dense(FEATURES, 150, dtype=t), fastnn.Tanh(), dense(150, 70, dtype=t), fastnn.ReLU(),
        dense(70, CLASSES, dtype=t, use_bias=False),
    ],
    "norms": lambda t: [
        fastnn.BatchNorm(FEATURES, dtype=t), dense(FEATURES, 19, dtype=t),
        fastnn.LayerNorm(19, dtype=t), fastnn.Dropout(0.25), fastnn.ReLU(),
        dense(19, CLASSES, dtype=t),
    ],
    "penalties": lambda t: [
        dense(FEATURES, 17, dtype=t, weights_l1=0.01, biases_l2=0.01), fastnn.ELU(),
        dense(17, CLASSES, dtype=t, weights_l2=0.01),
    ],
    "frozen": lambda t: [
        dense(FEATURES, 17, dtype=t, trainable=False), fastnn.ReLU(),
        fastnn.LayerNorm(17, trainable=False, dtype=t), dense(17, CLASSES, dtype=t),
    ],
}  # fmt: skip
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.1),
    "momentum": lambda: fastnn.SGD(0.1, 0.9),
    "Lion": lambda: fastnn.Lion(0.01, weight_decay=0.1, spare_biases=True),
    "RMSprop": lambda: fastnn.RMSprop(0.01, clip_norm=0.1),
    "AdamW": lambda: fastnn.AdamW(0.01, clip_value=0.1),
    "AMSGrad": lambda: fastnn.Adam(0.01, amsgrad=True),
}
every_network = pytest.mark.parametrize("network", NETWORKS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
both_ways = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])


@pytest.fixture
def single_steps(monkeypatch):
    """Let every compiled call take one step."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)


def make_data(dtype=F32):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, FEATURES)).astype(dtype)
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > X[:, 2])


def make_model(network="plain", dtype=F32, own=False):
    model = fastnn.Sequential(NETWORKS[network](dtype))
    if own:
        model._program.steps = None
    return model


def fit(model, optimizer="AdamW", decay=0.9, callbacks=(), **options):
    """Train; without averages where `decay` is None."""
    average = [] if decay is None else [fastnn.WeightAverage(decay)]
    optimizer = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    options = {"epochs": 4, "batch_size": 8, "seed": 3, "verbose": 0} | options
    X, y = make_data(model.dtype)
    if "batches" in options:
        X = y = None
    return model.fit(X, y, optimizer=optimizer, callbacks=[*average, *callbacks], **options)


class Record(fastnn.Callback):
    """Keeps the parameters after each step, and those that are seen after each epoch."""

    def on_fit_begin(self, run):
        self.steps, self.epochs = [], []

    def on_chunk_end(self, run):
        self.steps.append(run.model.parameters.copy())

    def on_epoch_end(self, run):
        self.epochs.append(run.model.parameters.copy())


def average_in_numpy(start, steps, decay):
    """Return the averages after each step, in float64."""
    average, averages = start.astype(F64), []
    for s, parameters in enumerate(steps):
        d = min(decay, (1 + s) / (10 + s))
        average = d * average + (1 - d) * parameters
        averages.append(average)
    return averages


# ------------------------------------------------------------------ against NumPy


@both_ways
@every_optimizer
@every_network
def test_the_averages_are_those_of_the_formula(network, optimizer, own, single_steps):
    for dtype, rtol in ((F32, 1e-5), (F64, 1e-12)):
        model, record, seen = make_model(network, dtype, own), Record(), Record()
        start = model.parameters.copy()
        fit(model, optimizer, None, [record])
        n_steps = len(record.steps) // 4
        expected = average_in_numpy(start, record.steps, 0.9)
        averaged = make_model(network, dtype, own)
        history = fit(averaged, optimizer, 0.9, [seen])
        # The steps are the same to the last bit.
        assert np.array_equal(seen.steps, record.steps)
        scale = np.abs(record.steps).max()
        for found, average in zip(seen.epochs, expected[n_steps - 1 :: n_steps], strict=True):
            np.testing.assert_allclose(found, average, rtol=rtol, atol=rtol * scale)
        assert np.array_equal(averaged.parameters, seen.epochs[-1])
        assert not np.allclose(averaged.parameters, model.parameters, rtol=1e-3)
        assert len(history) == 4


def test_the_reference_of_the_program_averages_too(monkeypatch):
    from test_trainer import fit_in_numpy, make_data, make_model

    X, y = make_data("labels")
    found, expected = make_model(), make_model()
    options = {"epochs": 3, "batch_size": 8, "seed": 7, "callbacks": [fastnn.WeightAverage(0.9)]}
    found.fit(X, y, optimizer=fastnn.Adam(0.02), **options)
    fit_in_numpy(monkeypatch, expected, X, y, fastnn.Adam(0.02), **options)
    np.testing.assert_allclose(found.parameters, expected.parameters, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------ the same bits


@pytest.mark.parametrize("network", ["wide", "norms"])
def test_threads_and_chunks_change_no_bit(network, monkeypatch):
    def run(threads):
        model = make_model(network)
        fit(model, threads=threads)
        return model.parameters.tobytes()

    expected = run(1)
    assert [run(threads) == expected for threads in (2, 3, 5)] == [True] * 3
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    assert run(2) == expected


@every_optimizer
@pytest.mark.parametrize("network", ["plain", "wide", "frozen"])
def test_layers_one_by_one_have_the_same_bits(network, optimizer):
    if optimizer == "RMSprop":  # the program adds the squares for its `clip_norm` in another order
        optimizer = fastnn.RMSprop(0.01)
    results = []
    for own in (False, True):
        model = make_model(network, own=own)
        fit(model, copy.deepcopy(optimizer))
        results.append(model.parameters.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("network", ["wide", "norms"])
def test_ranks_have_the_same_bits(network, monkeypatch):
    def run(ranks):
        model = make_model(network)
        history = fit(model, ranks=ranks, validation_data=make_data())
        return model._network.buffer.tobytes(), history.curves

    expected = run(one(4))
    for size in (2, 3):
        assert run_ranks(size, 4, run) == [expected] * size
    if network == "wide":
        monkeypatch.setattr(loop, "needs_exchange", lambda ranks: True)
        assert run(one())[0] == run(None)[0]


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_precision_averages_the_float32_weights(precision, single_steps):
    layers = [dense(FEATURES, 64), fastnn.ReLU(), dense(64, 40), fastnn.ReLU(), dense(40, CLASSES)]
    model, record = fastnn.Sequential(layers), Record()
    start, plain = model.parameters.copy(), model.clone()
    fit(plain, "AdamW", None, [record], precision=precision)
    fit(model, precision=precision)
    expected = average_in_numpy(start, record.steps, 0.9)[-1]
    np.testing.assert_allclose(model.parameters, expected, rtol=1e-5, atol=1e-5)


def test_tables_of_an_embedding_are_averaged_too(single_steps):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, [7, 30], (ROWS, 2))
    X, y = np.hstack([rng.standard_normal((ROWS, 2)), codes]).astype(F32), make_data()[1]
    first = fastnn.Embedding(4, {2: (7, 3), 3: (30, 5)}, rng=0, init="lecun")
    model = fastnn.Sequential([first, dense(10, 17), fastnn.ReLU(), dense(17, CLASSES)])
    start, record, results = model.parameters.copy(), Record(), []
    for own, callbacks in ((False, [record]), (False, []), (True, [])):
        twin = model.clone()
        if own:
            twin._program.steps = None
        average = [] if callbacks else [fastnn.WeightAverage(0.9)]
        adam = fastnn.AdamW(0.01, weight_decay=0.3, spare_biases=True)
        twin.fit(
            X, y, epochs=3, batch_size=8, seed=3, optimizer=adam, callbacks=average + callbacks
        )
        results.append(twin.parameters)
    expected = average_in_numpy(start, record.steps, 0.9)[-1]
    np.testing.assert_allclose(results[1], expected, rtol=1e-5, atol=1e-5)
    assert results[1].tobytes() == results[2].tobytes()


def test_batches_and_windows(single_steps):
    X, y = make_data()
    for options in ({}, {"batch_size": 5}):

        def read():
            yield from ((X[:20], y[:20]), (X[20:55], y[20:55]), (X[55:], y[55:]))

        options = {"batches": read, "batch_size": None, **options}
        model, plain, record, seen = make_model(), make_model(), Record(), Record()
        start = model.parameters.copy()
        fit(plain, callbacks=[record], decay=None, **options)
        fit(model, callbacks=[seen], **options)
        assert np.array_equal(seen.steps, record.steps)
        expected = average_in_numpy(start, record.steps, 0.9)[-1]
        np.testing.assert_allclose(model.parameters, expected, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ what sees them


def test_validation_measures_the_averages():
    X, y = make_data()
    model, plain = make_model(), make_model()
    history = fit(model, validation_data=(X, y), metrics=["f1"])
    without = fit(plain, decay=None, validation_data=(X, y), metrics=["f1"])
    scores = model.evaluate(X, y, metrics=["f1"])
    assert history.val_loss[-1] == scores["loss"] != without.val_loss[-1]
    assert history.f1[-1] == history.val_f1[-1] == scores["f1"]
    assert history.loss == without.loss


def test_early_stopping_restores_the_best_averages():
    X, y = make_data()
    model, stop, seen = make_model(), fastnn.EarlyStopping("val_loss", patience=2), Record()
    y = 2 - y  # gets worse from the first epoch on
    history = fit(model, callbacks=[stop, seen], validation_data=(X, y), epochs=50)
    assert len(history) < 50
    assert np.array_equal(model.parameters, seen.epochs[stop.best_epoch - 1])
    assert model.evaluate(X, y)["loss"] == stop.best


def test_moments_are_those_of_the_last_step():
    model, plain = make_model("norms"), make_model("norms")
    fit(model)
    fit(plain, decay=None)
    for name in ("running_mean", "running_variance"):
        assert np.array_equal(getattr(model.layers[0], name), getattr(plain.layers[0], name))
    assert not np.array_equal(model.layers[0].weights, plain.layers[0].weights)


def test_parameters_that_a_callback_sets_are_the_averages():
    def clear(run):
        run.model.parameters = np.zeros_like(run.model.parameters)

    model = make_model()
    history = fit(model, callbacks=[fastnn.LambdaCallback(on_epoch_end=clear)])
    assert not model.parameters.any()
    assert history.loss == fit(make_model(), decay=None).loss  # the steps went on as they were


# ------------------------------------------------------------------ the end of a run


@both_ways
def test_the_optimizer_goes_on_as_without(own):
    model, plain = make_model(own=own), make_model(own=own)
    averaging, adam = fastnn.Adam(0.01), fastnn.Adam(0.01)
    fit(model, averaging)
    fit(plain, adam, None)
    states = [each.state_of(net.parameters) for each, net in ((averaging, model), (adam, plain))]
    assert np.array_equal(states[0].arrays, states[1].arrays)
    assert states[0].iterations == states[1].iterations
    # A second run goes on with these means, and its average begins with what the model has.
    start = model.parameters.copy()
    plain.parameters = start
    record = Record()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
        patch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
        fit(plain, adam, None, [record], epochs=1)
    fit(model, averaging, 0.99, epochs=1)
    average, first = start.astype(F64), 4 * len(record.steps)
    for s, parameters in enumerate(record.steps, start=first):
        d = min(0.99, (1 + s) / (10 + s))
        average = d * average + (1 - d) * parameters
    np.testing.assert_allclose(model.parameters, average, rtol=1e-5, atol=1e-6)


@both_ways
def test_a_run_that_diverges_leaves_the_averages_of_the_last_good_epoch(own):
    def spoil(run):
        if run.epoch == 3:
            run.model.parameters[:] = 1e30

    model, good = make_model(own=own), make_model(own=own)
    optimizer, expected = fastnn.Adam(0.01), fastnn.Adam(0.01)
    breaking = fastnn.LambdaCallback(on_epoch_begin=spoil)
    with pytest.raises(fastnn.NonFiniteLossError):
        fit(model, optimizer, callbacks=[breaking], epochs=5)
    fit(good, expected, epochs=2)
    assert np.array_equal(model.parameters, good.parameters)
    states = optimizer.state_of(model.parameters), expected.state_of(good.parameters)
    assert np.array_equal(states[0].arrays, states[1].arrays)


@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_begin", "on_chunk_end", "on_epoch_end"])
def test_a_run_that_is_interrupted_leaves_the_averages(hook, single_steps):
    class Stop(fastnn.Callback):
        calls = 0

    def interrupt(self, run):
        self.calls += 1
        if self.calls == 2 or hook == "on_fit_begin":
            raise KeyboardInterrupt

    setattr(Stop, hook, interrupt)
    model, record = make_model(), Record()
    start, optimizer = model.parameters.copy(), fastnn.Adam(0.01)
    with pytest.raises(KeyboardInterrupt):
        fit(model, optimizer, 0.5, [record, Stop()])
    expected = average_in_numpy(start, record.steps, 0.5) or [start]
    np.testing.assert_allclose(model.parameters, expected[-1], rtol=1e-5, atol=1e-6)
    assert optimizer.n_states == len(optimizer.state_of(model.parameters).arrays) == 2


# ------------------------------------------------------------------ files


@both_ways
@pytest.mark.parametrize("network", ["wide", "norms"])
@pytest.mark.parametrize("broken", [(1, 3), (2, 8), (3, 1), (4, 8)])
def test_a_resumed_run_ends_with_the_same_bits(broken, network, own, tmp_path, single_steps):
    class Break(fastnn.Callback):
        """Ends the run one step behind, so that the file is that of `broken`."""

        def on_chunk_end(self, run):
            if (run.epoch, run.step) > broken:
                raise KeyboardInterrupt

    def run(callbacks=(), **options):
        model, optimizer = make_model(network, own=own), fastnn.Adam(0.01)
        stop = fastnn.EarlyStopping("val_loss", patience=9)
        options = {"validation_data": make_data(), "epochs": 5, **options}
        history = fit(model, optimizer, callbacks=[stop, *callbacks], **options)
        state = optimizer.state_of(model.parameters)
        arrays = model._network.buffer.tobytes(), state.arrays.tobytes()
        return *arrays, state.iterations, history.curves, stop.best

    expected, path = run(), tmp_path / "run"
    writer = fastnn.Checkpoint(path, 1, unit="batches")
    with pytest.raises(KeyboardInterrupt):
        run([writer, Break()])
    assert run([fastnn.Checkpoint(path, 1, unit="batches")], resume=path) == expected
    # And from the file at its end.
    assert run(resume=path) == expected


def test_the_model_in_a_file_has_the_averages(tmp_path, single_steps):
    seen, within = Record(), []

    class Look(fastnn.Callback):
        comes_last = True

        def on_chunk_end(self, run):
            if run.step == 6:  # the file of step 5 is complete
                within.append(fastnn.load(tmp_path / "steps").parameters.copy())

    model, record, start = make_model(), Record(), make_model().parameters.copy()
    fit(make_model(), decay=None, callbacks=[record])
    writers = [
        fastnn.Checkpoint(tmp_path / "steps", 5, unit="batches"),
        fastnn.Checkpoint(tmp_path / "run-{epoch}"),
        fastnn.Checkpoint(tmp_path / "best", save_best_only=True, monitor="val_loss"),
    ]
    history = fit(model, callbacks=[seen, Look(), *writers], validation_data=make_data())
    for epoch, parameters in enumerate(seen.epochs, start=1):
        loaded = fastnn.load(tmp_path / f"run-{epoch}")
        assert np.array_equal(loaded.parameters, parameters)
    best = fastnn.load(tmp_path / "best").evaluate(*make_data())["loss"]
    assert best == min(history.val_loss)
    expected = average_in_numpy(start, record.steps, 0.9)[4::8]
    np.testing.assert_allclose(within, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(seen.steps, record.steps)  # files change nothing


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (0.9, None, "weight_average is None, expected 0.9, as in"),
        (None, 0.9, "weight_average is 0.9, expected None, as in"),
        (0.9, 0.8, "weight_average is 0.8, expected 0.9, as in"),
    ],
)
def test_a_resumed_run_has_to_have_the_same_average(first, then, message, tmp_path):
    path = tmp_path / "run"
    fit(make_model(), decay=first, epochs=2, callbacks=[fastnn.Checkpoint(path)])
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=message):
        fit(model, decay=then, resume=path)
    assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------ who takes it, and who does not


def test_models_side_by_side():
    models = [make_model() for _ in range(3)]
    X, y = make_data()
    fastnn.fit_many(
        models, X, y, epochs=4, batch_size=8, seed=3, verbose=0, optimizer=fastnn.AdamW(0.01),
        callbacks=[fastnn.WeightAverage(0.9)],
    )  # fmt: skip
    alone = make_model()
    fit(alone, fastnn.AdamW(0.01))
    assert np.array_equal(models[0].parameters, alone.parameters)


def test_an_estimator_has_the_averages():
    X, y = make_data()
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 5, "tol": 0.0}
    with pytest.warns(match="Maximum iterations"):
        plain = fastnn.MLPClassifier(**options).fit(X, y)
    with pytest.warns(match="Maximum iterations"):
        averaged = fastnn.MLPClassifier(**options, callbacks=[fastnn.WeightAverage(0.5)]).fit(X, y)
    assert averaged.loss_curve_ == plain.loss_curve_
    assert not np.array_equal(averaged.coefs_[0], plain.coefs_[0])


class OwnUpdate(fastnn.SGD):
    def update(self, parameters, gradients, **options):
        parameters -= 0.1 * gradients


class OwnNumbers(fastnn.SGD):
    def numbers(self, first, count, dtype):
        return super().numbers(first, count, dtype)


@pytest.mark.parametrize("optimizer", [OwnUpdate(), OwnNumbers()])
def test_an_optimizer_that_cannot_keep_averages_is_refused(optimizer):
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"expected one of fastnn's beside WeightAverage"):
        fit(model, optimizer)
    assert np.array_equal(model.parameters, before)


def test_two_averages_are_refused():
    with pytest.raises(ValueError, match="expected one WeightAverage"):
        fit(make_model(), callbacks=[fastnn.WeightAverage(0.5)])


@pytest.mark.parametrize("decay", [1, -0.1, np.nan, "0.9"])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises((TypeError, ValueError), match="decay is "):
        fastnn.WeightAverage(decay)


def test_a_decay_of_0_keeps_the_last_parameters():
    model, plain = make_model(), make_model()
    fit(model, decay=0.0)
    fit(plain, decay=None)
    np.testing.assert_allclose(model.parameters, plain.parameters, rtol=1e-5, atol=1e-7)
    assert repr(fastnn.WeightAverage()) == "WeightAverage(decay=0.999)"
