"""`fit(batches=, batch_size=)`: windows of many rows, shuffled, cut into steps, and resumed."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn.program import trainer

FEATURES, CLASSES, BATCH, SIZES = 6, 3, 8, (20, 24, 5, 33)
N = sum(SIZES)
OPTIMIZERS = {
    "SGD": lambda: fastnn.SGD(0.1),
    "Adam": lambda: fastnn.Adam(0.02),
    "clipped": lambda: fastnn.Adam(0.02, clip_norm=0.1),
    "schedule": lambda: fastnn.SGD(fastnn.StepRate(0.2, 5, 0.5), momentum=0.9),
}
# The steps of an epoch: 3, 3, 1 and 5 of the windows.
N_STEPS = 12


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


class Broken(Exception):
    """Ends a run as a crash would."""


class Break(fastnn.Callback):
    """Raises after a step of an epoch, or at the end of an epoch for step 0."""

    def __init__(self, epoch, step):
        self.place = epoch, step

    def on_chunk_end(self, run):
        if (run.epoch, run.step) == self.place:
            raise Broken

    def on_epoch_end(self, run):
        if (run.epoch, 0) == self.place:
            raise Broken


every_kind = pytest.mark.parametrize("kind", [fastnn.Dense, OwnDense])
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
slow = pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")


@pytest.fixture
def short_chunks(monkeypatch):
    """Let every compiled call take one step."""
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "FIRST_CHUNK", 1)


def make_data(n=N):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


def make_windows(sizes=SIZES):
    X, y = make_data()
    ends = np.cumsum(sizes)
    return [(X[e - s : e], y[e - s : e]) for s, e in zip(sizes, ends, strict=True)]


def make_model(kind=fastnn.Dense, rate=0.3):
    layers = [kind(FEATURES, 12, rng=0, weights_l2=1e-3), fastnn.ReLU(), fastnn.Dropout(rate)]
    return fastnn.Sequential([*layers, fastnn.Dense(12, CLASSES, rng=1)])


def fit(model, *, optimizer="SGD", **options):
    given = {"epochs": 3, "seed": 5, "verbose": 0, "batch_size": BATCH, **options}
    if "X" not in given:
        given = {"batches": make_windows(), **given}
    return model.fit(optimizer=OPTIMIZERS[optimizer](), **given)


# ------------------------------------------------------------------------------- cut into steps


@every_optimizer
@every_kind
@slow
def test_windows_of_whole_batches_have_the_bits_of_the_array(optimizer, kind):
    X, y = make_data(88)
    windows = [(X[:16], y[:16]), (X[16:56], y[16:56]), (X[56:], y[56:])]
    given = {"optimizer": optimizer, "shuffle": False, "validation_data": (X[:20], y[:20])}
    expected = make_model(kind)
    history = fit(expected, X=X, y=y, **given)
    for threads in (1, 2, 3):
        model = make_model(kind)
        curves = fit(model, batches=windows, threads=threads, **given).curves
        assert model.parameters.tobytes() == expected.parameters.tobytes()
        assert curves.keys() == history.curves.keys()
        for name, curve in curves.items():  # whose sums are of windows, not of the epoch
            assert curve == pytest.approx(history.curves[name], rel=1e-12)


def test_each_window_is_shuffled_anew_in_each_epoch():
    """As a fit of one epoch on its rows in the same order, step by step."""
    seen = []

    class Note(OwnDense):
        def forward(self, inputs, training=False):
            if training:
                seen.append(inputs[:, 0].tolist())
            return super().forward(inputs, training)

    with pytest.warns(fastnn.SlowTrainingWarning):
        fit(make_model(Note), epochs=2)
    assert [len(step) for step in seen] == [8, 8, 4, 8, 8, 8, 5, 8, 8, 8, 8, 1] * 2
    epochs = seen[:N_STEPS], seen[N_STEPS:]
    parts = np.cumsum([0, 3, 3, 1, 5])
    orders = []
    for epoch in epochs:
        for window, begin, end in zip(make_windows(), parts[:-1], parts[1:], strict=True):
            rows = list(itertools.chain(*epoch[begin:end]))
            assert sorted(rows) == sorted(window[0][:, 0].tolist())
            assert rows != window[0][:, 0].tolist()
            orders.append(np.argsort(rows).tolist())
    assert len(set(map(tuple, orders))) == len(orders)


def test_the_same_seed_the_same_bits_with_any_threads_and_any_source():
    expected = make_model()
    fit(expected)
    windows = make_windows()

    def generate():
        yield from windows

    for source, threads in ((windows, 1), (generate, 2), (lambda: iter(windows), 3)):
        model = make_model()
        fit(model, batches=source, threads=threads)
        assert model.parameters.tobytes() == expected.parameters.tobytes()
    other = make_model()
    fit(other, seed=6)
    assert other.parameters.tobytes() != expected.parameters.tobytes()


def test_without_batch_size_a_batch_is_a_step_in_its_order():
    model, expected = make_model(), make_model()
    fit(model, batch_size=None)
    fit(expected, batch_size=N, shuffle=False)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_an_order_of_your_own_in_each_window():
    calls, windows = [], make_windows()

    def order(n):
        calls.append(n)
        return np.arange(n)[::-1]

    turned = [(X[::-1], y[::-1]) for X, y in windows]
    model, expected = make_model(), make_model()
    fit(model, shuffle=order)
    fit(expected, batches=turned, shuffle=False)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert calls == [*SIZES] * 3


def test_drop_last_leaves_out_the_last_step_of_each_window():
    windows = make_windows()
    counts = [16, 24, 5, 32]
    whole = [(X[:n], y[:n]) for n, (X, y) in zip(counts, windows, strict=True)]
    model, expected, sizes = make_model(), make_model(), []
    look = fastnn.LambdaCallback(
        on_epoch_end=lambda run: sizes.append((run.n_steps, run.n_samples))
    )
    fit(model, drop_last=True, shuffle=False, callbacks=[look])
    fit(expected, batches=whole, shuffle=False)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert sizes == [(10, 77)] * 3


@pytest.mark.parametrize("steps", [1, 3, 4, 12, 100])
def test_an_epoch_has_at_most_so_many_steps(steps):
    """Of which the last may be within a window; the next epoch begins anew."""
    taken, counts = [], []

    def generate():
        for window in make_windows():
            taken.append(1)
            yield window

    look = fastnn.LambdaCallback(on_epoch_end=lambda run: counts.append(run.n_steps))
    fit(make_model(), batches=generate, steps_per_epoch=steps, callbacks=[look])
    assert counts == [min(steps, N_STEPS)] * 3
    assert len(taken) == 3 * {1: 1, 3: 1, 4: 2, 12: 4, 100: 4}[steps]


def test_a_bad_window_is_named_and_none_of_its_steps_is_taken():
    windows = make_windows()
    bad = windows[2][0].copy()
    bad[4, 1] = np.nan
    model, expected = make_model(rate=0.0), make_model(rate=0.0)
    with pytest.raises(ValueError, match=r"^batch 3: X\[4, 1\] is nan"):
        fit(model, batches=[*windows[:2], (bad, windows[2][1])])
    fit(expected, batches=windows[:2], epochs=1)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_one_row_that_is_left_for_batch_norm():
    layers = [
        fastnn.Dense(FEATURES, 4, rng=0),
        fastnn.BatchNorm(4),
        fastnn.Dense(4, CLASSES, rng=1),
    ]
    with pytest.raises(ValueError, match=r"^batch 4: batch_size is 8, which leaves one of 33 "):
        fit(fastnn.Sequential(layers))
    fit(fastnn.Sequential(layers), drop_last=True)


def test_the_step_that_diverges_is_named():
    windows = make_windows()
    windows[1] = windows[1][0] * np.float32(1e38), windows[1][1]
    with pytest.raises(fastnn.NonFiniteLossError, match=r"epoch 1, batch [456]\b"):
        fit(make_model(), batches=windows)


# ------------------------------------------------------------------------------- resumed


def run(path=None, place=None, *, kind=fastnn.Dense, optimizer="Adam", **options):
    """Return (model, history), trained up to a break."""
    model, callbacks = make_model(kind), []
    if path is not None:
        callbacks.append(fastnn.Checkpoint(path, 1, unit="batches"))
    if place is not None:
        callbacks.append(Break(*place))
    history = None
    try:
        history = fit(model, optimizer=optimizer, callbacks=callbacks, **options)
    except Broken:
        assert place is not None
    return model, history


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("step", range(N_STEPS + 1))
def test_wherever_it_is_broken_off(epoch, step, tmp_path, short_chunks):
    path = tmp_path / "run.safetensors"
    expected, history = run()
    run(path, (epoch, step))
    assert path.exists() is ((epoch, step) != (1, 1))
    model, resumed = run(path, resume=path, seed=99 if path.exists() else 5)
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert resumed.curves == history.curves


@every_optimizer
@every_kind
@slow
@pytest.mark.parametrize("options", [
    {}, {"shuffle": False}, {"drop_last": True}, {"steps_per_epoch": 5}, {"batch_size": None},
    {"batches": lambda: iter(make_windows())}, {"threads": 2},
    {"validation_data": make_data(20), "class_weight": {0: 1, 1: 2, 2: 3}},
])  # fmt: skip
def test_all_kinds_go_on_to_the_same_bits(kind, optimizer, options, tmp_path, short_chunks):
    path, given = tmp_path / "run.safetensors", {"kind": kind, "optimizer": optimizer, **options}
    expected, history = run(**given)
    for place in ((2, 4), (1, 2), (2, 0)):
        run(path, place, **given)
        model, resumed = run(path, resume=path, seed=99, **given)
        assert model.parameters.tobytes() == expected.parameters.tobytes()
        assert resumed.curves == history.curves
        path.unlink()


def test_windows_that_had_their_steps_are_not_read_again(tmp_path, short_chunks):
    reads = []

    class Files(list):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    path = tmp_path / "run.safetensors"
    run(path, (2, 9), batches=Files(make_windows()), epochs=2)
    run(path, resume=path, batches=Files(make_windows()), epochs=2)
    assert reads == [3]


def test_batches_that_know_their_epochs(tmp_path, short_chunks):
    """`of_epoch` is asked for what is left, and closed when an epoch ends early."""
    asked, closed = [], []

    class Source:
        def of_epoch(self, epoch, first=0):
            asked.append((epoch, first))
            order = np.random.default_rng(epoch).permutation(len(SIZES))
            try:
                for i in order[first:]:
                    yield make_windows()[i]
            finally:
                closed.append(epoch)

    path = tmp_path / "run.safetensors"
    expected, _ = run(batches=Source())
    assert asked == [(1, 0), (2, 0), (3, 0)]
    asked.clear()
    run(path, (2, 7), batches=Source())
    model, _ = run(path, resume=path, batches=Source())
    assert model.parameters.tobytes() == expected.parameters.tobytes()
    assert asked[-2][0] == 2
    assert asked[-2][1] > 0
    assert asked[-1] == (3, 0)
    closed.clear()
    run(batches=Source(), steps_per_epoch=1)
    assert closed == [1, 2, 3]
    asked.clear()
    run(batches=Source(), initial_epoch=1)
    assert asked == [(2, 0), (3, 0)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 9}, "batch_size is 9, expected 8, as in"),
        ({"batch_size": None}, "batch_size is None, expected 8, as in"),
        ({"shuffle": False}, "shuffle is False, expected True, as in"),
    ],
)
def test_another_run_is_refused(options, words, tmp_path):
    path = tmp_path / "run.safetensors"
    run(path, (2, 0))
    model = make_model()
    before = model.parameters.copy()
    with pytest.raises(ValueError, match=words):
        fit(model, optimizer="Adam", resume=path, **options)
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("change", [
    {"window": -1}, {"n_samples": -1}, {"last": [-1, 0]}, {"epoch": 2},
    {"sums": np.ones((2, trainer.no_totals().shape[1]))},
])  # fmt: skip
def test_a_file_with_another_place_is_refused(change, tmp_path, short_chunks, monkeypatch):
    from fastnn.program.batches import BatchTrainer

    place = BatchTrainer.place.fget
    path = tmp_path / "run.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(BatchTrainer, "place", property(lambda self: place(self) | change))
        run(path, (2, 4))
    with pytest.raises(fastnn.FileFormatError, match="its place in the batches is not one"):
        run(resume=path)
