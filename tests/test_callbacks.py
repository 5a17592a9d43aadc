"""Callbacks: when they are called, what they see, and what they may do."""

import csv
import math

import numpy as np
import pytest
from numpy.testing import assert_equal
from test_trainer import BATCH, OPTIMIZERS, fit, make_data, make_model

import fastnn

HOOKS = ("on_fit_begin", "on_epoch_begin", "on_epoch_end", "on_fit_end")
every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])


class Recorder(fastnn.Callback):
    """Keeps the calls: the hook, the epoch, and how many epochs the history has."""

    def __init__(self):
        self.calls = []


for _hook in HOOKS:

    def _record(self, run, hook=_hook):
        self.calls.append((hook.removeprefix("on_"), run.epoch, len(run.history)))

    setattr(Recorder, _hook, _record)


def make(own, *arguments, **options):
    model = make_model(*arguments, **options)
    if own:
        model._program.steps = None
    return model


@every_path
def test_hooks_are_called_in_order(own):
    X, y = make_data("labels")
    recorder = Recorder()
    fit(make(own), X, y, epochs=2, callbacks=[recorder])
    assert recorder.calls == [
        ("fit_begin", 0, 0),
        ("epoch_begin", 1, 0), ("epoch_end", 1, 1),
        ("epoch_begin", 2, 1), ("epoch_end", 2, 2),
        ("fit_end", 2, 2),
    ]  # fmt: skip


@every_path
@pytest.mark.parametrize("loss", ["labels", "squared"])
@pytest.mark.parametrize("penalty", [0, 0.01])
@pytest.mark.parametrize("validation", [False, True])
def test_names_of_the_curves_are_known_beforehand(own, loss, penalty, validation):
    X, y = make_data(loss)
    seen = []
    history = fit(
        make(own, "Tanh", loss, weights_l2=penalty), X, y,
        validation_data=(X, y) if validation else None,
        callbacks=[fastnn.LambdaCallback(on_fit_begin=lambda run: seen.extend(run.curve_names))],
    )  # fmt: skip
    assert seen == list(history.curves)


@every_path
def test_a_callback_may_stop_the_run(own):
    X, y = make_data("labels")

    def stop(run):
        run.stopped = run.epoch == 2

    recorder = Recorder()
    callbacks = [fastnn.LambdaCallback(on_epoch_end=stop), recorder]
    assert len(fit(make(own), X, y, epochs=9, callbacks=callbacks)) == 2
    assert recorder.calls[-1] == ("fit_end", 2, 2)


@every_path
@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_raises_leaves_the_model_of_a_whole_epoch(own, hook):
    X, y = make_data("labels")
    model, expected = make(own), make(own)

    def fail(run):
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        fit(model, X, y, epochs=1, callbacks=[fastnn.LambdaCallback(**{hook: fail})])
    if hook in ("on_epoch_end", "on_fit_end"):
        fit(expected, X, y, epochs=1)
    assert np.array_equal(model.parameters, expected.parameters)


# ------------------------------------------------------------------------------- early stopping


class Scripted(fastnn.EarlyStopping):
    """Early stopping on a curve that is written down."""

    def __init__(self, values, **options):
        super().__init__(monitor="loss", **options)
        self._values = values

    def on_epoch_end(self, run):
        run.history.curves["loss"][-1] = self._values[run.epoch - 1]
        super().on_epoch_end(run)


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best_epoch"),
    [
        ([3, 2, 1, 1, 1, 1], {"patience": 0}, 4, 3),
        ([3, 2, 1, 1, 1, 1], {"patience": 1}, 4, 3),
        ([3, 2, 1, 1, 1, 1], {"patience": 2}, 5, 3),
        ([3, 2, 4, 1, 4, 4], {"patience": 1}, 3, 2),
        ([3, 2, 4, 1, 4, 4], {"patience": 2}, 6, 4),
        ([3, 2.9, 2.8, 2.7, 2.6, 2.4], {"patience": 5, "min_delta": 0.5}, 6, 6),
        ([3, 2.9, 2.8, 2.7, 2.6, 2.4], {"patience": 4, "min_delta": 0.5}, 5, 1),
        ([np.nan, 2, 3, 1, 3, 3], {"patience": 2}, 6, 4),
        ([np.nan] * 6, {"patience": 3}, 4, 1),
        ([3, np.nan, np.inf, -np.inf, 2, 4], {"patience": 4}, 6, 5),
        ([1, 2, 3, 3, 3, 3], {"patience": 2, "mode": "max"}, 5, 3),
        ([1, 3, 2, 1.5, 1.8, 1], {"patience": 2, "start_from_epoch": 2}, 6, 6),
        ([1, 3, 2, 1.5, 1.8, 1.9], {"patience": 2, "start_from_epoch": 2}, 6, 4),
        ([5, 4, 3, 2, 1, 0], {"patience": 3, "baseline": 3}, 3, 3),
        ([5, 4, 3, 2, 1, 0], {"patience": 4, "baseline": 3}, 6, 6),
        ([5, 4, 3, 2, 2, 2], {"patience": 4, "baseline": 2.5, "min_delta": 0.6}, 4, 4),
        ([0.1, 0.7, 0.6, 0.8, 0.1, 0], {"patience": 2, "baseline": 0.5, "mode": "max"}, 6, 4),
        ([6, 5, 4, 3, 2, 1], {"patience": 0}, 6, 6),
    ],
)
@every_path
def test_early_stopping(values, options, epochs, best_epoch, own):
    X, y = make_data("labels")
    stopping, snapshots = Scripted(values, **options), []
    keep = fastnn.LambdaCallback(
        on_epoch_end=lambda run: snapshots.append(run.model.parameters + 0)
    )
    model = make(own)
    history = fit(model, X, y, epochs=6, callbacks=[keep, stopping])
    assert len(history) == epochs
    assert stopping.best_epoch == best_epoch
    assert_equal(stopping.best, values[best_epoch - 1])
    assert np.array_equal(model.parameters, snapshots[best_epoch - 1])


def test_a_run_that_ends_before_early_stopping_starts_keeps_the_last_parameters():
    X, y = make_data("labels")
    model, expected = make_model(), make_model()
    stopping = Scripted([1, 2, 3], start_from_epoch=3)
    fit(model, X, y, epochs=3, callbacks=[stopping])
    fit(expected, X, y, epochs=3)
    assert np.array_equal(model.parameters, expected.parameters)
    assert (stopping.best, stopping.best_epoch) == (np.inf, 0)


def test_early_stopping_may_leave_the_last_parameters():
    X, y = make_data("labels")
    model, expected = make_model(), make_model()
    fit(model, X, y, epochs=6, callbacks=[Scripted([1] * 6, patience=2, restore_best=False)])
    fit(expected, X, y, epochs=3)
    assert np.array_equal(model.parameters, expected.parameters)


def test_of_accuracies_higher_is_better():
    X, y = make_data("labels")
    stopping = fastnn.EarlyStopping("val_accuracy", patience=50)
    model = make_model()
    history = fit(model, X, y, "Adam", epochs=30, validation_data=(X, y), callbacks=[stopping])
    assert stopping.best == max(history.val_accuracy)
    assert stopping.best_epoch == history.val_accuracy.index(stopping.best) + 1
    assert model.evaluate(X, y)["accuracy"] == stopping.best


def test_unknown_monitor_is_refused_before_training():
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=r"monitor is 'val_loss', expected one of loss, accuracy$"):
        fit(model, X, y, callbacks=[fastnn.EarlyStopping()])
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 3)])
def test_early_stopping_on_a_metric_of_ones_own(mode, best):
    X, y = make_data("labels")
    values = iter([0, 2, 3, 1, 2])  # the first is asked for before training

    def scripted(y_true, y_pred):
        return next(values)

    stopping = fastnn.EarlyStopping("scripted", mode=mode)
    fit(make_model(), X, y, epochs=4, metrics=[scripted], callbacks=[stopping])
    assert stopping.best == best


def test_a_metric_that_does_not_say_what_is_better_is_refused():
    X, y = make_data("labels")
    model = make_model()
    before = model.parameters.copy()

    def mine(y_true, y_pred):
        return 0.5

    with pytest.raises(ValueError, match=r'mode is "auto", expected "min" or "max" .*\'mine\''):
        fit(model, X, y, metrics=[mine], callbacks=[fastnn.EarlyStopping("mine")])
    assert np.array_equal(model.parameters, before)
    said = fastnn.Metric(mine, higher_is_better=True)
    fit(model, X, y, metrics=[said], callbacks=[fastnn.EarlyStopping("mine")])


# ------------------------------------------------------------------------------- chunks


@every_path
def test_chunks_end_where_the_epoch_ends(own, monkeypatch):
    """Every compiled call is a chunk; here each takes one step."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    X, y = make_data("labels")
    model, expected, seen, found = make(own), make(own), [], []

    def look(run):
        seen.append((run.epoch, run.step, run.n_steps))
        found.append(run.model.parameters.copy())

    history = fit(model, X, y, epochs=2, callbacks=[fastnn.LambdaCallback(on_chunk_end=look)])
    n_steps = -(-len(X) // BATCH)
    assert seen == [(epoch, step, n_steps) for epoch in (1, 2) for step in range(1, n_steps + 1)]
    assert len({array.tobytes() for array in found}) == len(found)
    assert history.curves == fit(expected, X, y, epochs=2).curves
    assert np.array_equal(found[-1], expected.parameters)


@every_path
def test_an_error_within_an_epoch_leaves_whole_steps(own, monkeypatch):
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    X, y = make_data("labels")
    model, expected = make(own), make(own)

    def fail(run):
        if run.step == 2:
            raise RuntimeError("out of paper")

    adam = OPTIMIZERS["Adam"]()
    with pytest.raises(RuntimeError, match="out of paper"):
        fit(model, X, y, adam, callbacks=[fastnn.LambdaCallback(on_chunk_end=fail)])
    fit(expected, X, y, "Adam", epochs=1, steps_per_epoch=2)
    assert np.array_equal(model.parameters, expected.parameters)
    if not own:
        assert adam.state_of(model.parameters).iterations == 2


def test_callbacks_are_closed_however_a_run_ends():
    X, y = make_data("labels")
    closed = []

    class Closing(fastnn.Callback):
        def on_epoch_end(self, run):
            if run.epoch == 2:
                raise RuntimeError

        def close(self):
            closed.append("yes")

    fit(make_model(), X, y, epochs=1, callbacks=[Closing()])
    with pytest.raises(RuntimeError):
        fit(make_model(), X, y, epochs=3, callbacks=[Closing()])
    assert closed == ["yes", "yes"]


# ------------------------------------------------------------------------------- the rest


def test_csv_logger(tmp_path):
    X, y = make_data("labels")
    path = tmp_path / "curves.csv"
    path.write_text("old")
    history = fit(make_model(), X, y, callbacks=[fastnn.CSVLogger(path)], validation_data=(X, y))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3"]
    found = {name: [float(row[name]) for row in rows] for name in rows[0]}
    assert found == history.curves


@pytest.mark.parametrize("value", [None, fastnn.EarlyStopping(), [print], [fastnn.EarlyStopping]])
def test_what_is_no_list_of_callbacks(value):
    X, y = make_data("labels")
    with pytest.raises(TypeError, match=r"callbacks is .*, expected a list of fastnn.Callback"):
        fit(make_model(), X, y, callbacks=value)


@pytest.mark.parametrize(
    ("make_callback", "error", "words"),
    [
        (lambda: fastnn.EarlyStopping(patience=-1), ValueError, "patience is -1, expected"),
        (lambda: fastnn.EarlyStopping(min_delta="a"), TypeError, "min_delta is 'a', expected"),
        (lambda: fastnn.EarlyStopping(restore_best=1), TypeError, "restore_best is 1, expected"),
        (lambda: fastnn.EarlyStopping(mode="up"), ValueError, "mode is 'up', expected"),
        (
            lambda: fastnn.EarlyStopping(baseline=np.nan),
            ValueError,
            "baseline is nan, expected a finite number",
        ),
        (
            lambda: fastnn.EarlyStopping(start_from_epoch=-1),
            ValueError,
            "start_from_epoch is -1, expected",
        ),
        (lambda: fastnn.LambdaCallback(on_epoch_end=1), TypeError, "on_epoch_end is 1, expected"),
    ],
)
def test_bad_arguments(make_callback, error, words):
    with pytest.raises(error, match=words):
        make_callback()


def test_repr():
    assert repr(fastnn.EarlyStopping(patience=3)) == (
        "EarlyStopping(monitor='val_loss', patience=3, min_delta=0.0, restore_best=True, "
        "mode='auto', baseline=None, start_from_epoch=0)"
    )


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("patience", -1, ValueError), ("patience", math.nan, ValueError),
        ("patience", "a", TypeError), ("min_delta", -1, ValueError), ("mode", "up", ValueError),
        ("start_from_epoch", -1, ValueError), ("monitor", 3, TypeError),
        ("restore_best", 2, TypeError), ("baseline", "low", TypeError),
    ],
)  # fmt: skip
def test_early_stopping_refuses_by_assignment_what_its_constructor_refuses(name, value, error):
    with pytest.raises(error) as constructed:
        fastnn.EarlyStopping(**{name: value})
    stop = fastnn.EarlyStopping()
    before = dict(vars(stop))
    with pytest.raises(error) as assigned:
        setattr(stop, name, value)
    assert str(assigned.value) == str(constructed.value)
    assert vars(stop) == before


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("every", 0, ValueError), ("every", 1.5, TypeError), ("keep", -1, ValueError),
        ("keep", 2, ValueError), ("path", 3, TypeError), ("path", "{x}", ValueError),
        ("unit", "foo", ValueError), ("mode", "up", ValueError), ("monitor", 3, TypeError),
        ("save_best_only", None, TypeError),
    ],
)  # fmt: skip
def test_a_checkpoint_refuses_by_assignment_what_its_constructor_refuses(name, value, error):
    given = {"path": "run.safetensors", name: value}
    with pytest.raises(error) as constructed:
        fastnn.Checkpoint(**given)
    checkpoint = fastnn.Checkpoint("run.safetensors")
    before = dict(vars(checkpoint))
    with pytest.raises(error) as assigned:
        setattr(checkpoint, name, value)
    assert str(assigned.value) == str(constructed.value)
    assert vars(checkpoint) == before


def test_settings_of_a_checkpoint_fit_each_other_after_an_assignment():
    checkpoint = fastnn.Checkpoint("run-{epoch}.safetensors", 0.5, unit="seconds", keep=3)
    for name, value in (("unit", "epochs"), ("path", "run.safetensors"), ("save_best_only", True)):
        with pytest.raises((TypeError, ValueError)):
            setattr(checkpoint, name, value)
    assert (checkpoint.unit, checkpoint.every, checkpoint.keep) == ("seconds", 0.5, 3)
