"""What a file keeps of callbacks and schedules: a resumed run goes on with it."""

import math
import os

import numpy as np
import pytest
from test_files import rewrite
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn.files import format as files

X, Y = make_data("labels")


class Broken(Exception):
    """What ends a run in the middle."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)


class Script(fastnn.Callback):
    """Puts written values into the history as the curve `scripted`, and breaks the run off."""

    def __init__(self, values, broken=None):
        self.values, self.broken = values, broken

    def on_fit_begin(self, run):
        run.curve_names.append("scripted")

    def on_epoch_end(self, run):
        run.history.curves.setdefault("scripted", []).append(self.values[run.epoch - 1])

    def on_epoch_begin(self, run):
        if run.epoch - 1 == self.broken:
            raise Broken


VALUES = [math.nan, 5.0, 4.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (VALUES, {"patience": 4}, (5, 1.0, 9)),
        ([math.inf, *VALUES[1:]], {"patience": 4}, (5, 1.0, 9)),
        ([-math.inf, *VALUES[1:]], {"patience": 4}, (5, 1.0, 9)),
        ([-value for value in VALUES], {"patience": 4, "mode": "max"}, (5, -1.0, 9)),
        (VALUES, {"patience": 4, "start_from_epoch": 5}, (6, 2.0, 10)),
        (VALUES, {"patience": 6, "baseline": 4.5}, (5, 1.0, 11)),
        (VALUES, {"patience": 4, "baseline": 0.5}, (4, 3.0, 4)),
        (VALUES, {"patience": 3, "min_delta": 1.5}, (5, 1.0, 8)),
    ],
)
@pytest.mark.parametrize("unit", ["epochs", "batches"])
def test_early_stopping_wherever_it_is_broken_off(values, options, expected, unit, path):
    def train(broken=None, resume=None):
        stop = fastnn.EarlyStopping("scripted", **{"mode": "min", **options})
        model = make_model()
        callbacks = [Script(values, broken), stop, fastnn.Checkpoint(path, unit=unit)]
        try:
            history = fit(model, X, Y, epochs=len(values), callbacks=callbacks, resume=resume)
        except Broken:
            return None
        return (stop.best_epoch, stop.best, len(history)), model.parameters.tolist()

    undisturbed = train()
    assert undisturbed[0] == expected
    for epoch in range(expected[2]):
        path.unlink(missing_ok=True)
        train(broken=epoch)
        assert train(resume=path) == undisturbed
    assert train(resume=path) == undisturbed  # it was finished


@pytest.mark.parametrize("options", [{"mode": "max"}, {"cooldown": 2}, {"monitor": "val_accuracy"}])
def test_a_rate_wherever_it_is_broken_off(options, path):
    def train(broken=None, resume=None):
        options_ = {"monitor": "accuracy", "factor": 0.5, "patience": 0, "min_delta": 0.02}
        rate = fastnn.ReduceOnPlateau(0.05, **{**options_, **options})
        model, callbacks = make_model(), [fastnn.Checkpoint(path), Script([1.0] * 9, broken)]
        try:
            fit(
                model, X, Y, fastnn.Adam(rate), epochs=9, callbacks=callbacks, resume=resume,
                validation_split=0.3,
            )  # fmt: skip
        except Broken:
            return None
        return rate.current_rate, rate.best, rate.waited, model.parameters.tolist()

    undisturbed = train()
    assert undisturbed[0] < 0.05
    for epoch in range(1, 9):
        train(broken=epoch)
        assert train(resume=path) == undisturbed
    options = {**options, "mode": "min", "cooldown": 1}
    with pytest.raises(ValueError, match=r"learning_rate\.\w+ is .*, expected"):
        train(resume=path)


# ------------------------------------------------------------------ whose state it is


def test_two_of_a_kind_in_another_order_find_their_own(path):
    def stops():
        return fastnn.EarlyStopping("loss", 9), fastnn.EarlyStopping("accuracy", 9)

    def train(callbacks, **options):
        callbacks = [*callbacks, fastnn.Checkpoint(path)]
        return fit(make_model(), X, Y, callbacks=callbacks, resume=path, **options)

    train(stops(), epochs=3)
    loss, accuracy = stops()
    history = train([accuracy, loss], epochs=4)
    assert loss.best == min(history.loss)
    assert accuracy.best == max(history.accuracy)
    one, _ = stops()
    with pytest.raises(ValueError, match=r"has no EarlyStopping\(monitor='accuracy'\), expected"):
        train([one], epochs=5)
    with pytest.raises(ValueError, match=r"has no EarlyStopping\(monitor='accuracy'\), expected"):
        train([one, fastnn.EarlyStopping("loss", 9)], epochs=5)


def test_a_curve_of_a_callback_goes_on(path):
    def train(callbacks, **options):
        callbacks = [*callbacks, fastnn.Checkpoint(path)]
        return fit(make_model(), X, Y, callbacks=callbacks, resume=path, **options)

    train([Script([5.0, 6.0, 7.0])], epochs=2)
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(
        ValueError, match=r"curves is \['loss', 'accuracy'\], expected .*'scripted'"
    ):
        fit(model, X, Y, epochs=3, resume=path)
    assert np.array_equal(model.parameters, before)
    assert train([Script([5.0, 6.0, 7.0])], epochs=3).curves["scripted"] == [5.0, 6.0, 7.0]


def test_the_best_file_alone_goes_on_with_its_own_best_value(tmp_path):
    last = fastnn.Checkpoint(tmp_path / "last")

    def best():
        return fastnn.Checkpoint(
            tmp_path / "best", save_best_only=True, monitor="scripted", mode="min"
        )

    values = [1.0, 2.0, 3.0, 4.0]
    fit(make_model(), X, Y, epochs=2, callbacks=[Script(values), last, best()])
    before = (tmp_path / "best").read_bytes()
    resumed = best()
    options = {"epochs": 4, "resume": tmp_path / "last"}
    fit(make_model(), X, Y, callbacks=[Script(values), resumed], **options)
    assert resumed.best == 1.0
    assert (tmp_path / "best").read_bytes() == before


def test_a_writer_that_the_file_does_not_know_begins_anew(tmp_path):
    def best(name):
        return fastnn.Checkpoint(
            tmp_path / name, save_best_only=True, monitor="scripted", mode="min"
        )

    values = [1.0, 3.0, 2.0, 4.0]
    fit(make_model(), X, Y, epochs=1, callbacks=[Script(values), best("one")])
    fit(
        make_model(), X, Y, epochs=4, callbacks=[Script(values), best("two")],
        resume=tmp_path / "one",
    )  # fmt: skip
    assert files.read(tmp_path / "two")[0]["state"]["epoch"] == 3


# ------------------------------------------------------------------ files that are not good


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_best_parameters_that_are_not_finite_are_refused(value, path):
    def train(model, **options):
        callbacks = [fastnn.EarlyStopping("loss", 9), fastnn.Checkpoint(path, unit="batches")]
        return fit(model, X, Y, callbacks=callbacks, **options)

    class Stop(fastnn.Callback):
        def on_chunk_end(self, run):
            if (run.epoch, run.step) == (2, 3):
                raise Broken

    with pytest.raises(Broken):
        fit(
            make_model(), X, Y, epochs=3,
            callbacks=[
                fastnn.EarlyStopping("loss", 9), fastnn.Checkpoint(path, unit="batches"), Stop(),
            ],
        )  # fmt: skip
    whole = path.read_bytes()
    for name, words in (
        ("state.callbacks.0.state.parameters.0", "no state for EarlyStopping: .*not finite"),
        ("state.start.0", r"state.start\[0\] has numbers that are not finite"),
    ):
        path.write_bytes(whole)
        rewrite(path, lambda d, a, name=name: a[name].__setitem__(5, value))
        model = make_model()
        before = model.parameters.copy()
        with pytest.raises(fastnn.FileFormatError, match=words):
            train(model, epochs=3, resume=path)
        assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------ files of the time before


def test_files_from_before_these_arguments_are_still_read(path):
    """They lack `mode` and `cooldown` of a schedule, "waited", "which", "due" and "gone"."""

    def train(**options):
        rate = fastnn.ReduceOnPlateau(0.1, factor=0.5, patience=0, min_delta=1.0)
        stop = fastnn.EarlyStopping("scripted", patience=3, mode="min")
        best = fastnn.Checkpoint(
            path.with_name("best"), save_best_only=True, monitor="scripted", mode="min"
        )
        model, script = make_model(), Script([3.0, 2.0, 2.5, 1.0, 4.0, 4.0, 4.0, 4.0])
        callbacks = [script, stop, fastnn.Checkpoint(path), best]
        history = fit(model, X, Y, fastnn.Adam(rate), callbacks=callbacks, **options)
        return (
            model.parameters.tolist(), history.loss, rate.current_rate, stop.best_epoch, best.best,
        )  # fmt: skip

    def make_old(description, arrays):
        for name in ("mode", "cooldown"):
            description["optimizer"]["learning_rate"].pop(name)
        for each in description["state"]["callbacks"]:
            each.pop("which")
            for name in ("waited", "due", "gone"):
                each["state"].pop(name, None)

    expected = train(epochs=8)
    train(epochs=3)
    rewrite(path, make_old)
    assert train(epochs=8, resume=path) == expected


# ------------------------------------------------------------------ the best of some epochs


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([3.0, 4.0, 2.0, 1.0, 0.5, 0.6], {"every": 2}, [4]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], {"every": 2}, []),
        ([1.0, 2.0, 3.0, 0.9, 5.0, 0.1], {"every": 2}, [4, 6]),
        ([1.0, 2.0, 3.0, 4.0, 0.5], {"every": 2}, [5]),  # the last one is always due
        ([math.nan, math.inf, 3.0, math.inf, 2.0, -math.inf], {}, [3, 5]),
        ([math.inf, 1.0, 2.0, 3.0, math.inf, 3.0], {"mode": "max"}, [2, 3, 4]),
    ],
)
def test_only_the_best_epoch_so_far_is_written(values, options, epochs, tmp_path):
    options = {"mode": "min", **options}
    best = fastnn.Checkpoint(
        tmp_path / "{epoch}", save_best_only=True, monitor="scripted", **options
    )
    fit(make_model(), X, Y, epochs=len(values), callbacks=[Script(values), best])
    assert sorted(os.listdir(tmp_path)) == [str(epoch) for epoch in epochs]
    extreme = min if options["mode"] == "min" else max
    assert best.best == extreme(value for value in values if math.isfinite(value))
