"""Runs that are broken off and go on from a file: to the bit as if nothing had happened."""

import contextlib
import copy
import csv
import errno
import json
import os

import numpy as np
import pytest
from child import run_python
from hypothesis import given
from hypothesis import strategies as st
from test_files import JUNK, fill_disk, make_file, put, quick, rewrite, set_item
from test_trainer import OPTIMIZERS, fit, make_data, make_model

import fastnn
from fastnn.files import format as files
from fastnn.run.checkpoints import find_checkpoint

N_STEPS = 5
EPOCHS = 4
SCHEDULES = {
    **OPTIMIZERS,
    "plateau": lambda: fastnn.Adam(
        fastnn.ReduceOnPlateau(0.1, factor=0.5, patience=0, min_delta=1.0)
    ),
    "one cycle": lambda: fastnn.SGD(fastnn.OneCycleRate(0.1, EPOCHS * N_STEPS), momentum=0.9),
    "function": lambda: fastnn.RMSprop(lambda step: 0.01 / (1 + step)),
}
every_path = pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
every_kind = pytest.mark.parametrize("kind", SCHEDULES)


class Broken(Exception):
    """What ends a run in the middle."""


class Break(fastnn.Callback):
    """Ends the run behind a step of an epoch; where the step is 0, behind the epoch."""

    def __init__(self, epoch, step):
        self.epoch, self.step = epoch, step

    def on_chunk_end(self, run):
        if (run.epoch, run.step) == (self.epoch, self.step):
            raise Broken

    def on_epoch_begin(self, run):
        if (run.epoch - 1, 0) == (self.epoch, self.step):
            raise Broken


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Let no file wait for the disk: nobody pulls the plug here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def short_chunks(monkeypatch):
    """Let every compiled call take one step."""
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)


def make(own=False, *arguments, normalized=False, **options):
    model = make_model(*arguments, **options)
    if normalized:
        layers = copy.deepcopy(model).layers
        width, dtype = layers[0].n_neurons, model.dtype
        between = fastnn.BatchNorm(width, dtype=dtype), fastnn.LayerNorm(width, dtype=dtype)
        layers = [*copy.deepcopy(layers)]
        for layer in layers:
            vars(layer).pop("_network", None)
        layers[1:1] = [*between, fastnn.Dropout(0.3)]
        model = fastnn.Sequential(layers, loss=model.loss)
    if own:
        model._program.steps = None
    return model


class Case:
    """One training run, which may be made again and again."""

    def __init__(self, own=False, kind="Adam", loss="labels", model=None, **options):
        self.own, self.kind, self.loss, self.options = own, kind, loss, options
        self.model_options = model or {}
        self.X, self.y = make_data(loss)

    def run(self, path=None, broken=None, every=1, unit="batches", seed=7, **others):
        """Train, up to a break; return the Result."""
        model = make(self.own, "Tanh", self.loss, **self.model_options)
        optimizer, stopping = SCHEDULES[self.kind](), fastnn.EarlyStopping("loss", patience=9)
        callbacks = [stopping, *others.pop("callbacks", [])]
        if path is not None:
            callbacks.insert(0, fastnn.Checkpoint(path, every, unit=unit))
        if broken is not None:
            callbacks.append(Break(*broken))
        rng, options = np.random.default_rng(seed), {"epochs": EPOCHS, **self.options, **others}
        history = None
        try:
            history = fit(
                model, self.X, self.y, optimizer, callbacks=callbacks, **{"seed": rng} | options
            )
        except Broken:
            assert broken
        return Result(model, optimizer, stopping, rng, history)

    def resume(self, path, **others):
        """Go on from a file, with objects that know nothing: another seed, other weights."""
        return self.run(path, seed=99, resume=path, **others)


class Result:
    """All that a run leaves behind."""

    def __init__(self, model, optimizer, stopping, rng, history):
        self.model, self.optimizer, self.stopping = model, optimizer, stopping
        self.rng, self.history = rng, history

    def facts(self):
        states = [state for _, state in self.optimizer._states.values()]
        rate = self.optimizer.learning_rate
        return {
            "parameters": self.model.parameters.tolist(),
            "own": [a.tolist() for k, a in self.model._network.stored_arrays().items()],
            "states": [(state.iterations, state.arrays.tolist()) for state in states],
            "rate": vars(rate)
            if isinstance(rate, fastnn.nn.schedules.Schedule)
            else repr(rate)[:9],
            "random": json.dumps(self.rng.bit_generator.state, default=np.ndarray.tolist),
            "history": (self.history.epochs, self.history.curves),
            "best": (self.stopping.best, self.stopping.best_epoch),
        }


def compare(result, expected):
    found, wanted = result.facts(), expected.facts()
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == wanted[name], name


# ------------------------------------------------------------------ the same bits


@every_kind
@every_path
@pytest.mark.parametrize("broken", [(2, 0), (3, 3)])
def test_a_resumed_run_ends_with_the_same_bits(kind, own, broken, path, short_chunks):
    case = Case(own, kind)
    expected = case.run()
    case.run(path, broken)
    compare(case.resume(path), expected)


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
@pytest.mark.parametrize("step", range(N_STEPS))
def test_wherever_it_is_broken_off(epoch, step, path, short_chunks):
    case = Case(validation_split=0.3)
    case.run(path, (epoch, step))
    assert path.exists() is ((epoch, step) != (1, 1))
    compare(case.run(path, resume=path), case.run())


@every_path
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("labels", {"shuffle": False}),
        ("labels", {"validation_split": 0.3, "drop_last": True, "metrics": ["f1"]}),
        ("labels", {"steps_per_epoch": 3, "class_weight": {0: 1, 1: 2, 2: 0.5}}),
        ("smoothed labels", {"model": {"weights_l1": 0.01, "biases_l2": 0.1}}),
        ("distributions", {"sample_weight": np.arange(37.0), "kind": "clipped norm"}),
        ("answers", {"model": {"use_bias": False}}),
        ("labels", {"model": {"normalized": True}}),
        ("squared", {"threads": 2, "model": {"dtype": np.float32}, "metrics": ["r2"]}),
    ],
)
def test_with_everything_else(own, loss, options, path, short_chunks):
    case = Case(own, loss=loss, **options)
    case.run(path, (3, 2))
    compare(case.resume(path), case.run())


def test_any_number_of_threads_may_go_on(path, short_chunks):
    hidden = {"model": {"hidden": (64, 48), "dtype": np.float32}}
    one, two = Case(**hidden, threads=1), Case(**hidden, threads=2)
    one.run(path, (2, 3))
    compare(two.resume(path), one.run())


def test_it_may_be_broken_off_again_and_again(path, short_chunks):
    case = Case(kind="plateau")
    case.run(path, (1, 2))
    for broken in ((1, 4), (2, 1), (2, 0), (4, 3)):
        case.run(path, broken, seed=99, resume=path)
    compare(case.resume(path), case.run())


class Scale:
    """A layer of one's own, with parameters."""

    def __init__(self):
        self.weights, self.biases = np.ones((1, 3)), np.zeros((1, 3))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs * self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = (dvalues * self.inputs).sum(axis=0, keepdims=True)
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = dvalues * self.weights


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_a_layer_of_ones_own_and_a_frozen_one(frozen, path, short_chunks):
    def train(broken=None, seed=7, **options):
        layers = [
            fastnn.Dense(5, 6, rng=0, dtype=np.float64, trainable=not frozen),
            fastnn.Tanh(), fastnn.Dense(6, 3, rng=0, dtype=np.float64), Scale(),
        ]  # fmt: skip
        model, optimizer = fastnn.Sequential(layers), fastnn.Adam(0.1)
        callbacks = [fastnn.Checkpoint(path, 1, unit="batches")]
        callbacks += [Break(*broken)] if broken else []
        options = {"seed": seed, "callbacks": callbacks, **options}
        try:
            history = fit(model, *make_data("labels"), optimizer, **options)
        except Broken:
            return None
        arrays = [array.tolist() for array in model._network.stored_arrays().values()]
        states = [(each.iterations, each.arrays.tolist()) for _, each in optimizer._states.values()]
        return arrays, states, history.curves

    expected = train(callbacks=[])
    assert len(expected[0]) == 6
    assert len(expected[1]) == (4 if frozen else 3)
    train((2, 3))
    assert train(resume=path, seed=99) == expected
    with pytest.raises(fastnn.FileFormatError, match=r"layers\[3\].class is '.*Scale', expected"):
        fastnn.load(path)


@every_path
def test_dropout_and_normalization(own, path, short_chunks):
    X, y = make_data("labels")

    def train(broken=None, seed=7, **options):
        layers = [
            fastnn.Dropout(0.2), fastnn.Dense(5, 20, rng=0), fastnn.ReLU(), fastnn.Dropout(0.5),
            fastnn.BatchNorm(20), fastnn.LayerNorm(20), fastnn.Dense(20, 3, rng=0),
        ]  # fmt: skip
        model = fastnn.Sequential(layers)
        if own:
            model._program.steps = None
        callbacks = [fastnn.Checkpoint(path, 1, unit="batches")]
        callbacks += [Break(*broken)] if broken else []
        try:
            history = fit(model, X, y, seed=seed, **{"callbacks": callbacks} | options)
        except Broken:
            return None
        moments = layers[4].running_mean.tolist(), layers[4].running_variance.tolist()
        return model.parameters.tolist(), history.curves, moments

    expected = train(callbacks=[])
    for broken in ((1, 2), (2, 0), (3, 3)):
        path.unlink(missing_ok=True)
        train(broken)
        assert train(resume=path, seed=99) == expected


@pytest.mark.parametrize("name", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_any_bit_generator(name, path, short_chunks):
    kind, case = getattr(np.random, name), Case()

    def run(seed, *arguments, **options):
        rng = np.random.Generator(kind(seed))
        result = case.run(*arguments, **options, seed=rng)
        result.rng = rng
        return result

    run(3, path, (2, 3))
    compare(run(4, path, resume=path), run(3))
    other = np.random.Generator(np.random.SFC64(0) if name != "SFC64" else np.random.PCG64(0))
    with pytest.raises(fastnn.FileFormatError, match=f"expected a Generator of {name}$"):
        case.run(resume=path, seed=other)


@every_path
def test_a_diverging_run_keeps_the_last_good_epoch(own, path, short_chunks):
    """Also where the epoch began before the break."""
    X, y = make_data("squared")

    def train(**options):
        model = make(own, "ReLU", "squared")
        rate = fastnn.SGD(fastnn.StepRate(0.01, every=8, factor=1e200))
        try:
            fit(model, X, y, rate, **options)
        except fastnn.NonFiniteLossError as error:
            return model, (error.epoch, error.batch), error.history.curves
        except Broken:
            return None

    checkpoint = fastnn.Checkpoint(path, 1, unit="batches")
    train(callbacks=[checkpoint, Break(2, 3)])
    expected, *wanted = train()
    good = make(own, "ReLU", "squared")
    fit(good, X, y, fastnn.SGD(0.01), epochs=1)
    assert np.array_equal(expected.parameters, good.parameters)
    for callbacks in ([], [checkpoint]):
        model, *found = train(resume=path, callbacks=callbacks)
        assert np.array_equal(model.parameters, expected.parameters)
        assert found == wanted
    assert np.isfinite(fastnn.load(path).parameters).all()


def test_a_diverging_run_of_many_short_epochs(path, monkeypatch):
    """Nobody looks between the epochs, so that a call takes several; not so the broken one."""
    X, y = make_data("squared")

    def train(**options):
        model = make_model("ReLU", "squared")
        rate = fastnn.SGD(fastnn.StepRate(0.01, every=18, factor=1e200))
        with contextlib.suppress(Broken), pytest.raises(fastnn.NonFiniteLossError):
            fit(model, X, y, rate, epochs=7, **options)
        return model.parameters.tolist()

    with monkeypatch.context() as patch:
        patch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
        patch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
        train(callbacks=[fastnn.Checkpoint(path, 1, unit="batches"), Break(2, 3)])
    assert train(resume=path) == train()


def test_early_stopping_goes_on(path):
    """It stops at the same epoch with the same best parameters, wherever the break was."""
    X, _ = make_data("labels")
    y = X[:, :3].argmax(axis=1)

    def train(broken=None, **options):
        stopping = fastnn.EarlyStopping("val_loss", patience=3)
        callbacks = [fastnn.Checkpoint(path), stopping]
        callbacks += [Break(broken, 0)] if broken else []
        model = make_model()
        options = {"epochs": 200, "validation_split": 0.3, "callbacks": callbacks, **options}
        try:
            history = fit(model, X, y, "Adam", **options)
        except Broken:
            return None
        return model.parameters.tolist(), history.curves, stopping.best, stopping.best_epoch

    expected = train()
    n_epochs, best_epoch = len(expected[1]["loss"]), expected[3]
    assert 1 < best_epoch < n_epochs < 200
    for broken in (best_epoch - 1, best_epoch, best_epoch + 1, n_epochs - 1):
        path.unlink()
        train(broken)
        assert train(resume=path) == expected
    assert train(resume=path) == expected


# ------------------------------------------------------------------ what fit(resume=) does


def test_it_starts_where_there_is_no_file_yet(path):
    case = Case()
    compare(case.run(path, resume=path), case.run())
    assert path.exists()


@pytest.mark.parametrize("unit", ["epochs", "batches", "seconds"])
def test_a_finished_run_returns_at_once(path, unit):
    case = Case()
    expected = case.run(path, every=2, unit=unit)
    seen = []
    look = fastnn.LambdaCallback(on_epoch_begin=seen.append)
    compare(case.resume(path, callbacks=[look]), expected)
    assert seen == []


def test_more_epochs_go_on_from_the_end(path):
    case = Case()
    case.run(path, epochs=2)
    compare(case.resume(path, epochs=5), case.run(epochs=5))


def test_fewer_epochs_than_are_behind_are_refused(path):
    case = Case()
    case.run(path, epochs=3)
    with pytest.raises(ValueError, match="epochs is 2, expected at least 3, as in"):
        case.resume(path, epochs=2)


def test_resume_without_checkpoint_or_with_a_new_callback(path):
    case = Case()
    case.run(path, (2, 0))
    X, y = case.X, case.y
    stopping, new = fastnn.EarlyStopping("loss", patience=9), fastnn.EarlyStopping("accuracy")
    model = make(False, "Tanh")
    fit(model, X, y, SCHEDULES["Adam"](), epochs=EPOCHS, callbacks=[stopping, new], resume=path)
    assert new.best_epoch > 2
    assert stopping.best_epoch > 2


def test_the_csv_file_has_all_epochs(path, short_chunks):
    case, log = Case(), path.with_suffix(".csv")
    case.run(path, (3, 2), callbacks=[fastnn.CSVLogger(log)])
    result = case.resume(path, callbacks=[fastnn.CSVLogger(log)])
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == result.history.loss


def test_the_progress_bar_counts_what_is_left(path, short_chunks):
    case, bar, seen = Case(), fastnn.ProgressBar(), []
    case.run(path, (2, 0))
    look = fastnn.LambdaCallback(
        on_epoch_begin=lambda run: seen.append((run.epoch, bar._bar.total))
    )
    case.resume(path, callbacks=[bar, look])
    assert seen == [(3, 2 * 37), (4, 2 * 37)]


def test_a_checkpoint_can_be_loaded_as_a_model(path, short_chunks):
    case, kept = Case(), []
    look = fastnn.LambdaCallback(on_chunk_end=lambda run: kept.append(run.model.parameters.copy()))
    case.run(path, (3, 3), callbacks=[look])
    assert np.array_equal(fastnn.load(path).parameters, kept[-2])


def test_notes_are_in_it(path):
    model = make_model()
    model.notes = {"columns": ["a"]}
    fit(model, *make_data("labels"), callbacks=[fastnn.Checkpoint(path)])
    assert fastnn.load(path).notes == {"columns": ["a"]}


def test_a_rate_that_was_changed_on_the_way_stays(path):
    def change(run):
        if run.epoch == 1:
            optimizer.learning_rate = 0.003

    X, y = make_data("labels")

    def train(optimizer, **options):
        model = make_model()
        fit(model, X, y, optimizer, **options)
        return model.parameters

    optimizer = fastnn.Adam(0.1)
    slower = fastnn.LambdaCallback(on_epoch_end=change)
    train(optimizer, epochs=2, callbacks=[fastnn.Checkpoint(path), slower])
    resumed = fastnn.Adam(0.1)
    found = train(resumed, epochs=4, resume=path)
    assert resumed.learning_rate == 0.003
    optimizer = fastnn.Adam(0.1)
    assert np.array_equal(found, train(optimizer, epochs=4, callbacks=[slower]))


# ------------------------------------------------------------------ which files are written


def names(folder):
    return sorted(os.listdir(folder))


def train(tmp_path, *arguments, epochs=6, **options):
    X, y = make_data("labels")
    checkpoint = fastnn.Checkpoint(*arguments, **options)
    return fit(make_model(), X, y, epochs=epochs, callbacks=[checkpoint], validation_split=0.3)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"every": 4}, [4, 6]),
        ({"keep": 2}, [5, 6]),
        ({"keep": 1, "every": 2}, [6]),
        ({"every": 4, "keep": 9}, [4, 6]),
        ({"every": 1e9, "unit": "seconds"}, [6]),
    ],
)
def test_files_that_stay(tmp_path, options, epochs):
    train(tmp_path, tmp_path / "run-{epoch:02d}.safetensors", **options)
    assert names(tmp_path) == [f"run-{epoch:02d}.safetensors" for epoch in epochs]


def test_files_within_epochs(tmp_path):
    train(tmp_path, tmp_path / "{epoch}-{step}", 2, unit="batches", epochs=2)
    assert names(tmp_path) == ["1-0", "1-2", "2-0", "2-2"]  # 26 samples are 4 batches


def test_files_after_some_seconds(tmp_path, monkeypatch, short_chunks):
    now = [0.0]
    monkeypatch.setattr("fastnn.run.checkpoints.time.monotonic", lambda: now[0])
    tick = fastnn.LambdaCallback(on_chunk_end=lambda run: now.__setitem__(0, now[0] + 1))
    X, y = make_data("labels")
    checkpoint = fastnn.Checkpoint(tmp_path / "{epoch}-{step}", 3.0, unit="seconds")
    fit(make_model(), X, y, epochs=2, callbacks=[checkpoint, tick])
    assert names(tmp_path) == ["1-3", "2-0", "2-1", "2-4"]


def test_only_the_best(tmp_path):
    path = tmp_path / "{epoch}"
    X, _ = make_data("labels")
    y = X[:, :3].argmax(axis=1)
    kept, checkpoint = {}, fastnn.Checkpoint(path, save_best_only=True, monitor="val_accuracy")
    look = fastnn.LambdaCallback(
        on_epoch_end=lambda run: kept.update({run.epoch: run.model.parameters.copy()})
    )
    history = fit(
        make_model(), X, y, "Adam", epochs=20, callbacks=[checkpoint, look], validation_split=0.5
    )
    values, expected = history.val_accuracy, []
    for epoch, value in enumerate(values, start=1):
        if value > max(values[: epoch - 1], default=-1):
            expected.append(epoch)
    assert 1 < len(expected) < 20
    assert names(tmp_path) == sorted(map(str, expected))
    assert checkpoint.best == max(values)
    best = fastnn.load(tmp_path / str(expected[-1]))
    assert np.array_equal(best.parameters, kept[expected[-1]])


def test_the_best_value_is_known_after_a_break(tmp_path):
    pattern, (X, _) = tmp_path / "{epoch}", make_data("labels")
    y = X[:, :3].argmax(axis=1)

    def run(**options):
        checkpoint = fastnn.Checkpoint(pattern, save_best_only=True, monitor="val_accuracy", keep=1)
        fit(make_model(), X, y, "Adam", callbacks=[checkpoint], validation_split=0.5, **options)
        return checkpoint.best, names(tmp_path)

    expected = run(epochs=20)
    for name in names(tmp_path):
        (tmp_path / name).unlink()
    run(epochs=3)
    assert run(epochs=20, resume=pattern) == expected


def test_files_before_a_break_are_counted(tmp_path):
    pattern = tmp_path / "run-{epoch}"
    case = Case()
    for epochs in (2, 3):
        case.run(
            None, epochs=epochs, resume=pattern, callbacks=[fastnn.Checkpoint(pattern, keep=2)]
        )
    assert names(tmp_path) == ["run-2", "run-3"]


def test_resume_takes_the_last_of_several_files(tmp_path, short_chunks):
    pattern, case = tmp_path / "[run] {epoch}-{step}", Case()
    expected = case.run()
    case.run(pattern, (3, 3))
    (tmp_path / "[run] 4-x").touch()
    (tmp_path / "r 9-9").touch()
    assert find_checkpoint(str(pattern)).name == "[run] 3-2"
    compare(case.run(seed=99, resume=pattern), expected)


def test_which_file_is_the_last(tmp_path):
    pattern = str(tmp_path / "run-{epoch}-{step}")
    assert find_checkpoint(pattern) is None
    for name in ("run-1-0", "run-2-0", "run-2-12", "run-10-4", "run-10-31"):
        (tmp_path / name).touch()
        assert find_checkpoint(pattern).name == name.replace("2-12", "2-0")
    (tmp_path / "run-10-0").touch()  # the end of the epoch
    assert find_checkpoint(pattern).name == "run-10-0"
    assert find_checkpoint(str(tmp_path / "run-2-12")) == str(tmp_path / "run-2-12")
    assert find_checkpoint(str(tmp_path / "run")) is None


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("run{{1}}", "run{1}"),
        ("run{{1}}-{epoch:03d}", "run{1}-002"),
        ("{{a}}/run", "{a}/run"),
        ("{{a}}/run-{epoch}", "{a}/run-2"),
        ("{epoch}-{epoch:02}", "2-02"),
        ("{epoch!s:0>4}", "0002"),
        ("run-{step}{{}}", "run-0{}"),
    ],
)
def test_resume_names_a_file_as_a_checkpoint_does(name, written, tmp_path):
    """Or it would begin anew, and replace what is there."""
    pattern, case = tmp_path / name, Case()
    (tmp_path / "{a}").mkdir()
    (tmp_path / "1-02").touch()  # of no epoch
    expected = case.run()
    case.run(pattern, epochs=2, unit="epochs")
    assert (tmp_path / written).is_file()
    assert os.fspath(find_checkpoint(str(pattern))) == str(tmp_path / written)
    assert find_checkpoint(str(tmp_path / written)) == str(tmp_path / written)
    compare(case.run(seed=99, resume=pattern), expected)


def test_it_comes_after_the_others(path):
    """Else the file would not know what they have done."""
    seen = []

    class Late(fastnn.Callback):
        def on_epoch_end(self, run):
            run.stopped = True
            seen.append(path.exists())

    train = fit(make_model(), *make_data("labels"), callbacks=[fastnn.Checkpoint(path), Late()])
    assert len(train) == 1
    assert seen == [False]
    assert files.read(path)[0]["state"]["stopped"] is True


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((3,), {}, "path is 3, expected the name of a file"),
        (("a", 0), {}, "every is 0, expected"),
        (("a", 1.5), {}, "every is 1.5, expected"),
        (("a", -1.5), {"unit": "seconds"}, "every is -1.5, expected"),
        (("a",), {"unit": "epoch"}, "unit is 'epoch', expected \"epochs\""),
        (("a",), {"keep": 0}, "keep is 0, expected"),
        (("a",), {"keep": 3}, r"keep is 3, expected a path with \{epoch\} in it"),
        (("a{epoch",), {}, r"path is 'a\{epoch', expected no other fields than \{epoch\} and"),
        (("a{loss}",), {"keep": 2}, r"path is 'a\{loss\}', expected no other fields"),
        (("{epoch}/a",), {}, "expected fields in the name of the file only"),
        (("a{1}",), {}, r"path is 'a\{1\}', expected no other .* brace .* is written twice"),
        (("{epoch:x}",), {}, r"path is '\{epoch:x\}', expected digits in its fields, as in"),
        (("{epoch:4d}",), {}, r"expected digits in its fields, as in \{epoch:03d\}"),
        (("{epoch:{step}}",), {}, "expected no other fields"),
        (("a",), {"save_best_only": 1}, "save_best_only is 1, expected True or False"),
        (("a",), {"mode": "best"}, "mode is 'best', expected"),
        (("a",), {"save_best_only": True, "unit": "batches"}, "unit is 'batches', expected"),
    ],
)
def test_bad_arguments(arguments, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fastnn.Checkpoint(*arguments, **options)


def test_bad_arguments_of_fit(tmp_path):
    model, (X, y) = make_model(), make_data("labels")
    before = model.parameters.copy()
    for callback, words in (
        (fastnn.Checkpoint(tmp_path / "none" / "a"), "expected a file in a folder that exists"),
        (fastnn.Checkpoint(tmp_path), "expected a file in a folder that exists"),
        (fastnn.Checkpoint(tmp_path / "a", save_best_only=True), "monitor is 'val_loss', expected"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(model, X, y, callbacks=[callback])
    with pytest.raises(TypeError, match="resume is 3, expected the name of a file"):
        fit(model, X, y, resume=3)
    with pytest.raises(fastnn.FileFormatError, match="is not a regular file"):
        fit(model, X, y, resume=tmp_path)
    assert np.array_equal(model.parameters, before)


# ------------------------------------------------------------------ files of other runs


def untouched(path, words, error=ValueError, **changes):
    """Resume a run that does not fit the file: an error, and nothing has changed."""
    case = Case(
        **{"kind": "Adam", **{k: changes.pop(k) for k in ("kind", "loss", "model") if k in changes}}
    )
    model = make(False, changes.pop("activation", "Tanh"), case.loss, **case.model_options)
    optimizer, rng = SCHEDULES[case.kind](), np.random.default_rng(5)
    before, random = model.parameters.copy(), rng.bit_generator.state
    X, y = changes.pop("data", (case.X, case.y))
    callbacks = changes.pop("callbacks", [fastnn.EarlyStopping("loss", patience=9)])
    options = {"seed": rng, "epochs": EPOCHS, "callbacks": callbacks, **changes}
    with pytest.raises(error, match=words):
        fit(model, X, y, optimizer, resume=path, **options)
    assert np.array_equal(model.parameters, before)
    assert rng.bit_generator.state == random
    assert all(s.iterations == 0 and not s.arrays.any() for _, s in optimizer._states.values())
    assert getattr(optimizer.learning_rate, "waited", 0) == 0


X37, Y37 = make_data("labels")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"hidden": (17, 51)}}, r"layers\[2\].n_neurons is 51, expected 50, as in .*run"),
        ({"model": {"hidden": (17,)}}, "the number of layers is 3, expected 5, as in"),
        ({"model": {"dtype": np.float32}}, "dtype is 'float32', expected 'float64'"),
        ({"model": {"weights_l2": 0.5}}, r"layers\[0\].weights_l2 is 0.5, expected 0.0"),
        ({"activation": "ReLU"}, r"the class of layers\[1\] is 'ReLU', expected 'Tanh'"),
        ({"loss": "smoothed labels"}, "loss.label_smoothing is 0.2, expected 0.0"),
        ({"kind": "SGD"}, "the class of optimizer is 'SGD', expected 'Adam'"),
        ({"kind": "AMSGrad"}, "optimizer.weight_decay is 0.1, expected 0.0"),
        ({"kind": "schedule"}, "optimizer.learning_rate is .*CosineRate.*, expected 0.02"),
        ({"data": (X37[1:], Y37[1:])}, "n_samples is 36, expected 37, as in"),
        ({"batch_size": 9}, "batch_size is 9, expected 8, as in"),
        ({"drop_last": True}, "samples_per_epoch is 32, expected 37, as in"),
        ({"shuffle": False}, "shuffle is False, expected True, as in"),
        ({"sample_weight": np.ones(37)}, "weighted is True, expected False, as in"),
        ({"validation_data": (X37, Y37)}, r"curves is \['loss', 'accuracy', 'val_loss'.*expected"),
        ({"callbacks": []}, r"callbacks has no EarlyStopping\(monitor='loss'\), expected"),
        ({"epochs": 2}, "epochs is 2, expected at least 3, as in"),
    ],
)
def test_a_file_of_another_run(path, changes, words, short_chunks):
    Case().run(path, (3, 3))
    untouched(path, words, **changes)


def test_a_model_is_no_checkpoint(path):
    make_model().save(path)
    untouched(
        path, "is a model, expected a checkpoint; fastnn.load reads it", fastnn.FileFormatError
    )


PARAMETERS = "state.callbacks.0.state.parameters.0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, a: d.pop("state"), "state is None, expected"),
        (lambda d, a: d["state"].pop("epoch"), "state is .*, expected epoch, step"),
        (lambda d, a: set_item(d["state"], "epoch", -1), "stands at epoch -1, step 2"),
        (lambda d, a: set_item(d["state"], "epoch", True), "state.epoch is True, expected a int"),
        (lambda d, a: set_item(d["state"], "epoch", 10**40), "stands at epoch 1000"),
        (lambda d, a: set_item(d["state"], "step", 5), "stands at epoch 2, step 5"),
        (lambda d, a: set_item(d["state"], "step", 3), "its totals are not those of its step"),
        (lambda d, a: set_item(d["state"], "stopped", 0), "state.stopped is 0, expected a bool"),
        (lambda d, a: set_item(a["state.totals"], 0, np.nan), "its totals are not"),
        (lambda d, a: set_item(a, "state.totals", np.ones(9)), "float64 of shape .9,., expected"),
        (lambda d, a: a.pop("state.totals"), "the array 'state.totals' is missing"),
        (lambda d, a: set_item(a, "more", np.ones(9)), "the array more belongs to nothing"),
        (lambda d, a: set_item(d["state"], "start", 3), "state.start is 3, expected a list of 3"),
        (lambda d, a: set_item(a, "0.weights", np.ones((5, 16))), "0.weights is float64 of shape"),
        (lambda d, a: set_item(a["0.weights"], (0, 0), np.nan), "0.weights has numbers that are"),
        (lambda d, a: d["state"]["optimizer"].append(1), "state.optimizer is .* a list of 1"),
        (
            lambda d, a: set_item(d["state"]["optimizer"][0], "iterations", 10**30),
            "the optimizer's iterations are 1000",
        ),
        (lambda d, a: set_item(d["state"], "learning_rate", -1.0), "learning_rate is -1.0"),
        (lambda d, a: set_item(d["state"], "learning_rate", "1"), "learning_rate is '1', expected"),
        (
            lambda d, a: set_item(d["state"], "learning_rate", {"$float": "nan"}),
            "learning_rate is nan, expected",
        ),
        (lambda d, a: set_item(d["state"], "random", None), "expected a Generator of None"),
        (lambda d, a: d["state"]["random"].pop("state"), "state.random is .*, expected bit_gen"),
        (
            lambda d, a: set_item(d["state"]["random"]["state"], "inc", 10**60),
            "is not a checkpoint to go on from",
        ),
        (lambda d, a: d["state"]["history"].pop("epochs"), "state.history is .*, expected epochs"),
        (
            lambda d, a: set_item(a, "state.history.epochs", np.arange(3)),
            r"loss is float64 of shape \(2,\), expected float64 of \(3,\)",
        ),
        (
            lambda d, a: set_item(d["state"]["history"], "curves", {}) or [
                a.pop(k) for k in list(a) if "curves" in k and "loss" in k
            ],
            "the array state.history.curves.accuracy belongs to nothing",
        ),
        (
            lambda d, a: set_item(d["state"], "callbacks", 3) or a.pop(PARAMETERS),
            "has callbacks 3",
        ),
        (
            lambda d, a: set_item(d["state"]["callbacks"][0], "class", "Mine"),
            r"callbacks has no Mine\(monitor='loss'\), expected one",
        ),
        (
            lambda d, a: set_item(d["state"]["callbacks"][0]["state"], "best_epoch", "x"),
            "has no state for EarlyStopping: .*best_epoch is 'x', expected a int",
        ),
    ],
)  # fmt: skip
def test_a_damaged_file(path, change, words, short_chunks):
    Case().run(path, (3, 3))
    rewrite(path, change)
    untouched(path, words)


@pytest.mark.parametrize("name", ["MT19937", "Philox"])
@pytest.mark.parametrize("place", [-1, 10**6])
def test_a_random_state_that_would_read_elsewhere(name, place, path):
    make_rng, case = getattr(np.random, name), Case()
    case.run(path, (2, 0), seed=np.random.Generator(make_rng(0)), epochs=4)

    def change(description, arrays):
        random = description["state"]["random"]
        (random["state"] if name == "MT19937" else random)[
            "pos" if name == "MT19937" else "buffer_pos"
        ] = place

    rewrite(path, change)
    with pytest.raises(fastnn.FileFormatError, match="its random state is not one"):
        case.run(resume=path, seed=np.random.Generator(make_rng(0)))


def test_a_truncated_or_garbled_file(path, short_chunks):
    Case().run(path, (3, 3))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*rng.integers(0, len(whole), 40), 0, 7, 8]:
        path.write_bytes(whole[:at])
        untouched(path, "is not a file of fastnn", fastnn.FileFormatError)
    for at in rng.integers(len(whole) - 9000, len(whole), 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
        untouched(path, "is damaged", fastnn.FileFormatError)
    path.write_bytes(
        make_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234")
    )
    untouched(path, "it has no description", fastnn.FileFormatError)


@pytest.mark.parametrize("rate", [-1.0, 1e300, np.nan, "1", None])
def test_a_schedule_of_a_damaged_file(path, rate):
    case = Case(kind="plateau", model={"dtype": np.float32})
    case.run(path, (2, 0))
    rewrite(path, lambda d, a: set_item(d["state"]["learning_rate"], "current_rate", pack(rate)))
    untouched(path, "learning_rate", kind="plateau", model={"dtype": np.float32})


def pack(value):
    return files.pack(value, "value", {})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint in the middle of an epoch."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
        patch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
        Case(kind="plateau").run(path, (3, 3))
    return path.read_bytes()


@quick
@given(
    where=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    value=st.one_of(JUNK, st.just("delete"), st.just({"$array": "state.totals"})),
    state=st.booleans(),
)
def test_a_changed_description_does_no_harm(tmp_path, whole, where, value, state):
    """The file is refused and nothing has changed, or the run goes on."""
    path = tmp_path / "run"
    path.write_bytes(whole)
    description, arrays = files.read(path)
    put(description["state"] if state else description, where, value)
    description.pop("checksum", None)
    version = {"format": description.pop("format", 0)}
    try:
        files.write(path, {**description, **version}, arrays)
    except ValueError:  # JSON has no NaN
        return
    model = make(False, "Tanh")
    optimizer, stopping = SCHEDULES["plateau"](), fastnn.EarlyStopping("loss", patience=9)
    before = model.parameters.copy()
    with contextlib.suppress(fastnn.NonFiniteLossError):  # the file may have made the rate large
        try:
            fit(model, X37, Y37, optimizer, epochs=EPOCHS, callbacks=[stopping], resume=path)
        except ValueError:
            refused = True
        else:
            refused = False
        assert np.array_equal(model.parameters, before) is refused
        assert (optimizer.state_of(model.parameters).iterations == 0) is refused


# ------------------------------------------------------------------ full disk


@pytest.mark.parametrize("own", [False, True])
def test_a_full_disk_keeps_the_previous_checkpoint(own, path, monkeypatch, short_chunks):
    case = Case(own)
    case.run(path, (2, 4))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(OSError, match="No space left") as caught:
            case.resume(path)
        assert caught.value.errno == errno.ENOSPC
    assert names(path.parent) == [path.name]
    assert path.read_bytes() == before
    compare(case.resume(path), case.run())


def test_a_callback_with_a_state_that_no_file_can_hold(path):
    class Odd(fastnn.Callback):
        def state(self, run):
            return {"a": {1, 2}}

    with pytest.raises(TypeError, match=r"state.callbacks.0.state.a is \{1, 2\}, expected numbers"):
        fit(make_model(), *make_data("labels"), callbacks=[Odd(), fastnn.Checkpoint(path)])
    assert names(path.parent) == []


def test_a_callback_of_ones_own_with_a_state(path):
    class Sum(fastnn.Callback):
        def on_fit_begin(self, run):
            self.kept = {"sum": 0.0, "seen": [], "array": np.zeros(2, np.uint8)}

        def on_epoch_end(self, run):
            self.kept["sum"] += run.history.loss[-1]
            self.kept["seen"].append((run.epoch, None, "a", True))
            self.kept["array"][1] += 1

        def state(self, run):
            return self.kept

        def restore(self, run, state):
            self.kept = state

    case, one, two, three = Case(), Sum(), Sum(), Sum()
    case.run(path, epochs=2, callbacks=[one])
    result = case.resume(path, callbacks=[two])
    case.run(callbacks=[three])
    assert two.kept["sum"] == three.kept["sum"] == sum(result.history.loss)
    assert [list(each) for each in three.kept["seen"]] == [list(each) for each in two.kept["seen"]]
    assert two.kept["array"].tolist() == [0, 4]


# ------------------------------------------------------------------ sudden death

# Children are forked from a process that has compiled everything, so that one costs milliseconds.
_KILL = """
import json, os, random, signal, sys, tempfile, time
from pathlib import Path
import numpy as np
import fastnn

X = np.random.default_rng(0).standard_normal((60, 6))
y = X[:, :3].argmax(axis=1)


def train(path=None):
    first, last = fastnn.Dense(6, 9, rng=0), fastnn.Dense(9, 3, rng=1)
    model = fastnn.Sequential([first, fastnn.Tanh(), fastnn.Dropout(0.2), last])
    stopping = fastnn.EarlyStopping(patience=99)
    optimizer = fastnn.Adam(fastnn.ReduceOnPlateau(0.05, patience=1, min_delta=0.05, factor=0.5))
    callbacks = [stopping]
    if path is not None:
        callbacks.append(fastnn.Checkpoint(path, 1, unit="batches"))
    history = model.fit(
        X, y, epochs=5, batch_size=8, seed=3, optimizer=optimizer, validation_split=0.2,
        callbacks=callbacks, resume=path, threads=1, verbose=0,
    )
    state = optimizer.state_of(model.parameters)
    rate = optimizer.learning_rate
    return (
        model.parameters.tobytes(), state.arrays.tobytes(), state.iterations,
        history.curves, stopping.best, rate.current_rate, rate.best,
    )


expected = train()
rng = random.Random(0)
report = {"killed": 0, "places": [], "leftovers": 0, "wrong": []}
with tempfile.TemporaryDirectory() as folder:
    first = Path(folder, "first")
    begin = time.perf_counter()
    assert train(first) == expected
    duration = time.perf_counter() - begin
    for number in range(50):
        path = Path(folder, f"run-{number}")
        child = os.fork()
        if child == 0:
            train(path)
            signal.pause()
        time.sleep(rng.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        report["killed"] += status == signal.SIGKILL
        report["leftovers"] += len(list(Path(folder).glob(f".{path.name}.*.tmp")))
        if path.exists():
            fastnn.load(path)
            state = fastnn.files.format.read(path)[0]["state"]
            report["places"].append([state["epoch"], state["step"]])
        if train(path) != expected:
            report["wrong"].append(number)
        report["kept"] = len(list(Path(folder).glob(".*.tmp")))
print(json.dumps(report))
"""


def test_fifty_sudden_deaths():
    report = json.loads(run_python(_KILL))
    assert report["wrong"] == []
    assert report["killed"] == 50
    assert len({tuple(place) for place in report["places"]}) >= 10
    assert report["kept"] == 0  # a resumed run removes what a killed one has left


_LIMIT = """
import errno, os, resource, tempfile
from pathlib import Path
import numpy as np
import fastnn

X, y = np.ones((8, 40)), np.zeros(8, int)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "run")
    model = fastnn.Sequential([fastnn.Dense(40, 30, rng=0), fastnn.Dense(30, 3, rng=0)])
    checkpoint = fastnn.Checkpoint(path)
    model.fit(X, y, callbacks=[checkpoint], verbose=0)
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 100, resource.RLIM_INFINITY))
    try:
        model.fit(X, y, callbacks=[checkpoint], verbose=0)
    except OSError as error:
        print(errno.errorcode[error.errno], os.listdir(folder), path.read_bytes() == before)
    fastnn.load(path)
"""


def test_a_file_that_may_not_grow():
    """The system itself refuses the last bytes."""
    assert run_python(_LIMIT) == "EFBIG ['run'] True"
