"""After a run that diverges, parameters and optimizer are those of the last good epoch."""

import numpy as np
import pytest

import fastnn

N, FEATURES, BATCH, STEPS = 37, 5, 8, 5


class OwnDense(fastnn.Dense):
    """A layer of a user's own, so that the network trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


class Rates:
    """Small rates, and from some step on one that makes the loss overflow."""

    def __init__(self, bad_from, bad=1e30):
        self.bad_from, self.bad = bad_from, bad

    def __call__(self, step):
        return 0.01 if step < self.bad_from else self.bad


OPTIMIZERS = {
    "momentum": lambda rate: fastnn.SGD(rate, momentum=0.9),
    "Adam": fastnn.Adam,
    "plain": fastnn.SGD,
}


def make_model(dense=fastnn.Dense, dtype=np.float32):
    layers = [
        dense(FEATURES, 6, dtype=dtype, rng=0), fastnn.BatchNorm(6, dtype=dtype), fastnn.Tanh(),
        dense(6, 2, dtype=dtype, rng=1),
    ]  # fmt: skip
    return fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())


def make_data(dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, FEATURES)).astype(dtype), rng.standard_normal((N, 2))


def state_of(model, optimizer):
    arrays = model._program.trained_arrays(optimizer)
    states = [optimizer.state_of(array) for array in arrays]
    return model._network.buffer.tobytes(), [(s.iterations, s.arrays.tobytes()) for s in states]


def fit(model, optimizer, epochs, **options):
    X, y = make_data(model.dtype)
    options = {"seed": 3, "verbose": 0, "batch_size": BATCH, **options}
    return model.fit(X, y, epochs=epochs, optimizer=optimizer, **options)


def fit_batches(model, optimizer, epochs, **options):
    X, y = make_data(model.dtype)
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]
    return model.fit(batches=batches, epochs=epochs, optimizer=optimizer, verbose=0, **options)


@pytest.mark.parametrize("bad_from", [2 * STEPS, 2 * STEPS + 3])
@pytest.mark.parametrize("callbacks", [False, True])
@pytest.mark.parametrize("train", [fit, fit_batches])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dense", [fastnn.Dense, OwnDense])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_state_of_the_last_good_epoch(bad_from, callbacks, train, optimizer, dense, dtype):
    rate = Rates(bad_from, 1e30 if dtype == np.float32 else 1e300)
    watching = {"callbacks": [fastnn.LambdaCallback()]} if callbacks else {}
    expected, kept = make_model(dense, dtype), OPTIMIZERS[optimizer](rate)
    history = train(expected, kept, 2, **watching)
    model, used = make_model(dense, dtype), OPTIMIZERS[optimizer](rate)
    batch = f"batch {bad_from - 2 * STEPS + 2}"  # the one behind the bad step
    with pytest.raises(fastnn.NonFiniteLossError, match=f"epoch 3, {batch}") as caught:
        train(model, used, 9, **watching)
    assert state_of(model, used) == state_of(expected, kept)
    assert caught.value.history.loss == history.loss
    # The steps are counted on, so the schedule goes on too.
    with pytest.raises(fastnn.NonFiniteLossError, match=f"epoch 1, {batch}"):
        train(model, used, 1, **watching)
    assert state_of(model, used) == state_of(expected, kept)


@pytest.mark.parametrize("dense", [fastnn.Dense, OwnDense])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_partial_fit_keeps_the_state_of_the_call_before(optimizer, dense):
    X, y = make_data()
    model, used = make_model(dense), OPTIMIZERS[optimizer](0.01)
    for _ in range(3):
        model.partial_fit(X, y, batch_size=BATCH, optimizer=used, seed=0)
    before = state_of(model, used)
    with pytest.raises(fastnn.NonFiniteLossError):
        model.partial_fit(X, y * 1e38, batch_size=BATCH)
    assert state_of(model, used) == before
    assert before[1][0][0] == 3 * STEPS
    model.partial_fit(X, y, batch_size=BATCH)
    assert used.state_of(model._program.trained_arrays(used)[0]).iterations == 4 * STEPS


@pytest.mark.parametrize("dense", [fastnn.Dense, OwnDense])
def test_a_run_that_was_resumed_within_an_epoch(dense, tmp_path):
    path = tmp_path / "run.safetensors"

    def stop(run):
        if run.epoch == 3 and run.step == 4:
            raise InterruptedError

    def optimizer():
        return fastnn.Adam(Rates(2 * STEPS + 3))

    expected, kept = make_model(dense), optimizer()
    fit(expected, kept, 2, callbacks=[fastnn.LambdaCallback()])
    writing = [
        fastnn.Checkpoint(path, every=2, unit="batches"), fastnn.LambdaCallback(on_chunk_end=stop)
    ]  # fmt: skip
    with pytest.raises(InterruptedError):
        fit(make_model(dense), optimizer(), 9, callbacks=writing)
    model, used = make_model(dense), optimizer()
    with pytest.raises(fastnn.NonFiniteLossError, match="epoch 3, batch 5"):
        fit(model, used, 9, callbacks=[writing[0]], resume=path)
    assert state_of(model, used) == state_of(expected, kept)


def test_many_models():
    X, y = make_data()
    models = [make_model() for _ in range(2)]
    optimizers = [fastnn.Adam(Rates(2 * STEPS)), fastnn.Adam(0.01)]
    with pytest.raises(fastnn.DivergedModelsError):
        fastnn.fit_many(
            models, X, y, optimizer=optimizers, seed=[3, 4], epochs=9, batch_size=BATCH, verbose=0
        )
    expected, kept = make_model(), fastnn.Adam(Rates(2 * STEPS))
    fit(expected, kept, 2)
    assert state_of(models[0], optimizers[0]) == state_of(expected, kept)
    assert optimizers[1].state_of(models[1].parameters).iterations == 9 * STEPS


def test_a_rate_that_falls_on_a_plateau_goes_on():
    """What a schedule has learned of good epochs stays."""
    X, y = make_data()
    rate = fastnn.ReduceOnPlateau(0.01, monitor="loss", patience=1)
    optimizer, model = fastnn.SGD(rate, momentum=0.9), make_model()
    fit(model, optimizer, 3)
    learned = rate.state()
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(X * np.float32(1e38), y, optimizer=optimizer, epochs=1, verbose=0)
    assert rate.state() == learned
    assert optimizer.state_of(model.parameters).iterations == 3 * STEPS


def test_ctrl_c_after_the_overflow_and_before_its_discovery():
    """As where it strikes behind the step that made the parameters infinite."""
    model, optimizer = make_model(), fastnn.SGD(Rates(2 * STEPS))

    def interrupt(run):
        if not np.isfinite(model.parameters).all():
            raise KeyboardInterrupt

    expected, kept = make_model(), fastnn.SGD(Rates(2 * STEPS))
    fit(expected, kept, 2)

    class Watch(fastnn.Callback):
        chunk_steps = 1

        def on_chunk_end(self, run):
            interrupt(run)

    with pytest.raises((KeyboardInterrupt, fastnn.NonFiniteLossError)):
        fit(model, optimizer, 9, callbacks=[Watch()])
    assert state_of(model, optimizer) == state_of(expected, kept)


@pytest.mark.parametrize("train", [fit, fit_batches])
def test_what_only_the_moments_show_is_found_at_the_end_of_the_epoch(train):
    """A variance that overflows leaves the losses of its batches finite."""
    layers = [fastnn.BatchNorm(FEATURES), fastnn.Dense(FEATURES, 2, rng=0)]
    model, optimizer = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError()), fastnn.SGD(0.01)
    before = state_of(model, optimizer)
    X, y = make_data()
    X[:BATCH] *= np.float32(1e30)
    given = {"X": X, "y": y, "batch_size": BATCH, "shuffle": False}
    if train is fit_batches:
        given = {"batches": [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]}
    with pytest.raises(fastnn.NonFiniteLossError, match="moment is no longer finite at the end"):
        model.fit(**given, epochs=2, optimizer=optimizer, verbose=0)
    assert state_of(model, optimizer) == before
