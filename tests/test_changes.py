"""What a script changes during a run or between two: refused, or honoured, never half."""

import math

import numpy as np
import pytest
from test_callbacks import make
from test_trainer import BATCH, OUTPUTS, fit, make_data, make_model

import fastnn
from fastnn import LambdaCallback

every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])


def change(epoch, function):
    """Return a callback that calls `function` with the run before an epoch."""
    return LambdaCallback(on_epoch_begin=lambda run: run.epoch == epoch and function(run))


# ------------------------------------------------------------------------------- the optimizer


CHANGES = [
    (fastnn.SGD(0.1, momentum=0.9), "clip_norm", 0.5),
    (fastnn.Adam(0.01, clip_norm=0.1), "clip_norm", None),
    (fastnn.Adam(0.01), "amsgrad", True),
    (fastnn.SGD(0.1), "momentum", 0.9),
    (fastnn.SGD(0.1), "weight_decay", 0.1),
    (fastnn.SGD(0.1), "clip_value", 0.1),
]


@pytest.mark.parametrize(("optimizer", "name", "value"), CHANGES)
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_chunk_end"])
def test_another_kind_of_step_is_refused_within_a_run(optimizer, name, value, hook):
    """A workspace without room for gradients would be written beyond its end."""
    X, y = make_data("labels")
    model, before = make_model(), getattr(optimizer, name)
    alter = LambdaCallback(**{hook: lambda run: setattr(optimizer, name, value)})
    try:
        with pytest.raises(ValueError, match=r"^optimizer is now .*, expected its kind of step"):
            fit(model, X, y, optimizer, epochs=4, callbacks=[alter])
    finally:
        setattr(optimizer, name, before)
    assert np.isfinite(model.parameters).all()
    fit(model, X, y, optimizer, epochs=1)


def test_another_kind_of_step_is_refused_within_batches():
    X, y = make_data("labels")
    optimizer = fastnn.SGD(0.1, momentum=0.9)

    def batches():
        yield X[:8], y[:8]
        optimizer.clip_norm = 0.5
        yield X[8:16], y[8:16]

    with pytest.raises(ValueError, match=r"^optimizer is now"):
        make_model().fit(batches=batches, optimizer=optimizer, verbose=False)


@every_path
def test_numbers_of_the_optimizer_may_change(own):
    X, y = make_data("labels")
    found, expected = make(own), make(own)
    optimizer = fastnn.SGD(0.1, momentum=0.9)
    callbacks = [change(2, lambda run: setattr(optimizer, "momentum", 0.5))]
    fit(found, X, y, optimizer, epochs=2, callbacks=callbacks)
    optimizer = fastnn.SGD(0.1, momentum=0.9)
    fit(expected, X, y, optimizer, epochs=1)
    optimizer.momentum = 0.5
    fit(expected, X, y, optimizer, epochs=2, initial_epoch=1)
    assert np.array_equal(found.parameters, expected.parameters)


def test_averages_of_another_size_are_not_taken():
    X, y = make_data("labels")
    model, expected, optimizer = make_model(), make_model(), fastnn.Adam()
    state = optimizer.state_of(model.parameters)
    with pytest.raises(ValueError, match=r"^arrays has shape \(2, 3\), expected"):
        state.arrays = np.zeros((2, 3))
    state.arrays.shape = (-1,)
    fit(model, X, y, optimizer)
    fit(expected, X, y, fastnn.Adam())
    assert np.array_equal(model.parameters, expected.parameters)


# ------------------------------------------------------------------------------- layers and loss


@pytest.mark.parametrize(
    "alter",
    [
        lambda run: setattr(run.model.layers[0], "trainable", False),
        lambda run: setattr(run.model.layers[0], "weights_l2", 0.1),
        lambda run: setattr(run.model, "loss", fastnn.SoftmaxCrossEntropy(0.1)),
    ],
    ids=["trainable", "weights_l2", "loss"],
)
def test_another_layer_or_loss_is_refused_within_a_run(alter):
    X, y = make_data("labels")
    with pytest.raises(ValueError, match=r"^a layer or the loss was changed during the run"):
        fit(make_model(), X, y, callbacks=[change(2, alter)])


def test_another_loss_between_runs():
    """The softmax behind a loss of logits is fused with it; behind another one it is a layer."""
    X, labels = make_data("labels")
    layers = lambda: [fastnn.Dense(5, OUTPUTS, rng=0, dtype="f8"), fastnn.Softmax()]  # noqa: E731
    model, expected = (
        fastnn.Sequential(layers()),
        fastnn.Sequential(layers(), fastnn.MeanSquaredError()),
    )
    model.loss = fastnn.MeanSquaredError()
    targets = np.eye(OUTPUTS)[labels]
    assert np.array_equal(model.predict(X), expected.predict(X))
    assert np.allclose(model.predict(X).sum(axis=1), 1)
    assert fit(model, X, targets).loss == fit(expected, X, targets).loss
    with pytest.raises(TypeError, match=r"^loss is 3, expected a loss such as"):
        model.loss = 3


def test_smoothing_that_changes_between_parts():
    X, y = make_data("labels")
    model, expected = make_model(), make_model()
    for each in (model, expected):
        each.loss = fastnn.SoftmaxCrossEntropy()
        each.partial_fit(X, y)
        each.loss.label_smoothing = 0.2
    expected._stream = None
    assert model.partial_fit(X, y).loss == expected.partial_fit(X, y).loss


# ------------------------------------------------------------------------------- the order


def test_an_order_that_is_written_to_meanwhile_points_nowhere_else(monkeypatch):
    """Each compiled call takes one step here, so the array is spoilt within the epoch."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    X, y = make_data("labels")
    order = np.arange(len(X))
    spoil = LambdaCallback(on_chunk_end=lambda run: order.fill(0))
    model, expected = make_model(), make_model()
    fit(model, X, y, epochs=1, shuffle=lambda n: order, callbacks=[spoil])
    fit(expected, X, y, epochs=1, shuffle=False)
    assert np.array_equal(model.parameters, expected.parameters)


# ------------------------------------------------------------------------------- curves


@every_path
def test_nan_is_the_worst_value(own, tmp_path):
    X, y = make_data("labels")
    values = iter([0.5, math.nan, 0.2, 0.4, math.nan, 0.3])

    def scripted(y_true, y_pred):
        return next(values)

    stopping = fastnn.EarlyStopping("scripted", patience=9, mode="max")
    path = tmp_path / "{epoch}.safetensors"
    keep = fastnn.Checkpoint(path, save_best_only=True, monitor="scripted", mode="max")
    fit(make(own), X, y, epochs=5, metrics=[scripted], callbacks=[stopping, keep])
    assert (stopping.best, stopping.best_epoch) == (0.4, 3)
    assert sorted(each.name[0] for each in tmp_path.iterdir()) == ["2", "3"]


def test_a_plateau_of_an_unknown_curve_is_refused_before_training():
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()
    rate = fastnn.ReduceOnPlateau(0.1, monitor="val_loss")
    with pytest.raises(ValueError, match=r"^monitor is 'val_loss', expected one of loss, accuracy"):
        fit(model, X, y, fastnn.SGD(rate))
    assert np.array_equal(model.parameters, before)


def test_a_plateau_begins_anew_with_another_model():
    X, y = make_data("labels")
    rate = fastnn.ReduceOnPlateau(0.1, patience=0, min_delta=10.0)
    optimizer, model = fastnn.SGD(rate), make_model()
    fit(model, X, y, optimizer, epochs=3)
    fell = rate.current_rate
    assert fell < 0.1
    fit(model, X, y, optimizer, epochs=1)
    assert rate.current_rate <= fell
    fit(make_model(), X, y, optimizer, epochs=1)
    assert rate.current_rate == 0.1


# ------------------------------------------------------------------------------- arguments


def test_schedules_at_their_edges():
    assert fastnn.OneCycleRate(0.1, 10, rising=0.1)(0) == 0.1
    X, y = make_data("labels")
    grow = fastnn.ExponentialRate(0.1, 1e300)
    with pytest.raises(ValueError, match=r"^learning_rate\(\d+\) is inf, expected a number from 0"):
        fit(make_model(), X, y, fastnn.SGD(grow), epochs=9)


@pytest.mark.parametrize("weight", [1e308, 1e-320])
def test_weights_whose_sum_is_no_normal_number(weight):
    X, y = make_data("labels")
    with pytest.raises(ValueError, match=r"^sample_weight sums to .*, expected a sum that is fin"):
        fit(make_model(), X, y, sample_weight=np.full(len(X), weight))


@pytest.mark.parametrize("path", ["", "a\0b", "nowhere/run.safetensors"])
def test_files_that_cannot_be_are_no_start_from_zero(path):
    X, y = make_data("labels")
    with pytest.raises(ValueError, match=r"^resume is .*, expected"):
        fit(make_model(), X, y, resume=path)


def test_a_run_of_batches_that_come_once_cannot_go_on(tmp_path):
    X, y = make_data("labels")
    within = fastnn.Checkpoint(tmp_path / "file", 1, unit="seconds")
    given = (
        ({"resume": tmp_path / "not there yet"}, "resume needs a list"),
        ({"callbacks": [within]}, "a Checkpoint within epochs needs a list"),
    )
    for options, words in given:
        batches = (each for each in [(X, y)])
        with pytest.raises(ValueError, match=rf"^batches is <generator.*gives each.*: {words}"):
            make_model().fit(batches=batches, verbose=False, **options)
        assert len(list(batches)) == 1  # none is taken


def test_one_file_for_many_models_is_refused(tmp_path):
    X, y = make_data("labels")
    models = [make_model() for _ in range(2)]
    for callback in (fastnn.CSVLogger(tmp_path / "a"), fastnn.Checkpoint(tmp_path / "b")):
        with pytest.raises(ValueError, match=r"^callbacks has .*to whose file all models would"):
            fastnn.fit_many(models, X, y, callbacks=[callback])
    with pytest.raises(ValueError, match=r"^resume is one file"):
        fastnn.fit_many(models, X, y, resume=tmp_path / "b")
    with pytest.raises(TypeError, match=r"^seed is True, expected"):
        fastnn.fit_many(models, X, y, seed=True)


def test_more_best_ones_than_classes():
    X, y = make_data("labels")
    with pytest.raises(ValueError, match=rf"^metrics\[0\] is 'top_{OUTPUTS + 1}', expected one of"):
        make_model().evaluate(X, y, metrics=[f"top_{OUTPUTS + 1}"])


def test_a_layer_by_a_number_of_numpys():
    X, _ = make_data("labels")
    model = make_model()
    assert np.array_equal(model.activations(X, np.int64(2)), model.activations(X, 2))


def test_the_bar_of_batches_fills(monkeypatch):
    X, y = make_data("labels")
    bar, seen = fastnn.ProgressBar(), []
    look = LambdaCallback(on_epoch_end=lambda run: seen.append((bar._bar.n, bar._bar.total)))
    batches = [(X[:BATCH], y[:BATCH]), (X[BATCH:20], y[BATCH:20])]
    make_model().fit(batches=batches, epochs=2, callbacks=[bar, look])
    assert seen == [(20, 40), (40, 40)]
