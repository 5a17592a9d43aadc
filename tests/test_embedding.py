"""Embeddings: in the compiled epoch, in predictions, in files, and the layer alone."""

import copy
import pickle

import numba
import numpy as np
import pytest
import test_export_onnx
from numpy.testing import assert_allclose
from test_export_c import compiler, load  # noqa: F401 (fixtures)
from test_ranks import run_ranks
from test_trainer import LOSSES, OPTIMIZERS, OUTPUTS, compare, fit, make_data
from test_training import SlowDense

import fastnn
from fastnn import kernels
from fastnn.distributed import one
from fastnn.kernels import faults, prediction_faults, reference
from fastnn.kernels.records import COLUMN
from fastnn.kernels.table import SUM_ROWS, TABLE_PIECE
from fastnn.program.plan import make_plan, program_layers
from fastnn.streaming import Windows

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# Two columns of codes: one has tables of several pieces. Columns 0, 2 and 3 have numbers.
FEATURES, COLUMNS = 5, {4: 300, 1: (7, 3)}
CATEGORIES = {1: 7, 4: 300}
TABLES_SIZE = 300 * 39 + 7 * 3


def make_rows(n, dtype=np.float64, seed=0):
    """Return rows of three numbers and two codes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, FEATURES))
    for column, count in CATEGORIES.items():
        X[:, column] = rng.integers(0, count, n)
    return X.astype(dtype)


def make_samples(loss, dtype=np.float64, n=37):
    """Return rows, and targets for a loss of `LOSSES`."""
    return make_rows(n, dtype), make_data(loss, dtype, n)[1]


def make_model(
    dtype=np.float64, loss=None, *, dense=fastnn.Dense, hidden=21, norm=False, **options
):
    first = fastnn.Embedding(FEATURES, COLUMNS, dtype=dtype, rng=0, init="lecun", **options)
    layers = [
        first,
        *([fastnn.BatchNorm(first.n_outputs, dtype=dtype)] if norm else []),
        dense(first.n_outputs, hidden, dtype=dtype, rng=1),
        fastnn.ReLU(),
        fastnn.Dropout(0.1),
        dense(hidden, OUTPUTS, dtype=dtype, rng=2),
    ]
    return fastnn.Sequential(layers, loss=loss)


def state_of(model):
    return model._network.buffer.tobytes()


# --------------------------------------------------------------------------- the compiled epoch


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - {"answers to probabilities"}))
def test_every_loss_against_numpy(loss, monkeypatch):
    X, y = make_samples(loss)
    compare(monkeypatch, lambda: make_model(loss=LOSSES[loss]()), X, y, "Adam", rtol=1e-7)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "Lion"])
def test_every_optimizer_against_numpy(optimizer, monkeypatch):
    X, y = make_samples("labels")
    for size in (13, 8, 37):
        options = {"batch_size": size, "validation_data": (X, y)}
        compare(monkeypatch, make_model, X, y, optimizer, rtol=1e-7, **options)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "clipped norm"])
def test_penalties_against_numpy(optimizer, monkeypatch):
    X, y = make_samples("labels")

    def make():
        return make_model(weights_l1=0.01, weights_l2=0.02)

    model, history = compare(monkeypatch, make, X, y, optimizer, rtol=1e-7)
    assert model._network.penalty() > 0.1
    assert history.curves["penalty"][0] > 0.1


OPTIONS = {
    "plain": {},
    "penalties": {"weights_l1": 0.01, "weights_l2": 0.02},
    "frozen": {"trainable": False},
}


@every_dtype
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "Adam, clipped norm"])
def test_same_bits_at_any_number_of_threads(dtype, optimizer, options):
    X, y = make_samples("labels", dtype, n=333)
    found = []
    for threads in (1, 2, 3, 4):
        model = make_model(dtype, **OPTIONS[options])
        curves = fit(model, X, y, optimizer, threads=threads, batch_size=150).curves
        found.append((state_of(model), curves))
    assert found[1:] == found[:1] * 3
    tables = make_model(dtype).layers[0].weights
    assert (model.layers[0].weights.tobytes() == tables.tobytes()) == (options == "frozen")


@every_dtype
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_same_bits_layer_by_layer(dtype, optimizer, options):
    X, y = make_samples("labels", dtype, n=203)
    for batch_size in (64, 15, 201):
        model = make_model(dtype, **OPTIONS[options])
        layered = make_model(dtype, dense=SlowDense, **OPTIONS[options])
        both = {"batch_size": batch_size, "validation_data": (X, y)}
        found = fit(model, X, y, optimizer, threads=2, **both)
        with pytest.warns(fastnn.SlowTrainingWarning):
            expected = fit(layered, X, y, optimizer, **both)
        if options == "penalties":  # their slopes are rounded otherwise
            tolerance = 1e-4 if dtype == np.float32 else 1e-12
            assert_allclose(model.parameters, layered.parameters, rtol=tolerance, atol=tolerance)
            assert_allclose(found.loss, expected.loss, rtol=tolerance)
            continue
        assert state_of(model) == state_of(layered)
        assert_allclose(found.loss, expected.loss, rtol=1e-12)
        assert_allclose(found.val_loss, expected.val_loss, rtol=1e-5)


@every_dtype
def test_batches_of_several_blocks_of_rows(dtype):
    """The sums of blocks are added with what rounding loses, on both ways and any threads."""
    n = 2 * SUM_ROWS + 77
    X, y = make_samples("labels", dtype, n=n)
    found = []
    for threads in (1, 3):
        model = make_model(dtype)
        fit(model, X, y, "SGD", threads=threads, batch_size=n)
        found.append(state_of(model))
    layered = make_model(dtype, dense=SlowDense)
    with pytest.warns(fastnn.SlowTrainingWarning):
        fit(layered, X, y, "SGD", batch_size=n)
    assert found == [state_of(layered)] * 2


def test_sums_over_many_rows_stay_exact():
    n = 50 * SUM_ROWS
    layer = fastnn.Embedding(1, {0: (2, 1)}, rng=0)
    layer.forward(np.zeros((n, 1), np.float32))
    layer.backward(np.full((n, 1), 0.1, np.float32))
    assert_allclose(layer.dweights, [[n * np.float32(0.1), 0]], rtol=2.4e-4)
    exact = n * float(np.float32(0.1))
    plain = np.add.accumulate(np.full(n, 0.1, np.float32))[-1]
    assert abs(layer.dweights[0, 0] - exact) < abs(plain - exact) / 10


def test_rows_behind_the_last_are_not_read():
    n, layer = SUM_ROWS + 5, fastnn.Embedding(1, {0: (2, 1)}, rng=0)
    inputs, slopes = np.zeros((2 * SUM_ROWS, 1), np.float32), np.ones((2 * SUM_ROWS, 1), np.float32)
    dinputs, dweights = np.empty((n, 1), np.float32), np.empty((1, 2), np.float32)
    kernels.embedding_backward(dinputs, dweights, slopes[:n], inputs[:n], layer.records)
    assert np.array_equal(dweights, [[n, 0]])


def test_the_gradient_is_that_of_a_dense_layer_on_one_hot_rows():
    X = make_rows(37)
    model = make_model()
    tables = model.layers[0].tables
    dense = {column: fastnn.Dense(*table.shape, dtype=float) for column, table in tables.items()}
    for column, table in tables.items():
        dense[column].weights = table
    one_hot = {
        column: np.eye(count)[X[:, column].astype(int)] for column, count in CATEGORIES.items()
    }
    parts = [
        dense[column].forward(one_hot[column]) if column in dense else X[:, column : column + 1]
        for column in range(FEATURES)
    ]
    outputs = model.layers[0].forward(X)
    assert_allclose(outputs, np.hstack(parts), rtol=1e-15)
    slopes = np.random.default_rng(1).standard_normal(outputs.shape)
    dinputs = model.layers[0].backward(slopes)
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    dweights = []
    for column, layer in sorted(dense.items()):
        layer.backward(slopes[:, starts[column] : starts[column + 1]])
        dweights.append(layer.dweights.ravel())
    assert_allclose(model.layers[0].dweights[0], np.concatenate(dweights), rtol=1e-13, atol=1e-15)
    numbers = [column for column in range(FEATURES) if column not in CATEGORIES]
    assert np.array_equal(dinputs[:, numbers], slopes[:, starts[numbers]])
    assert not dinputs[:, [*CATEGORIES]].any()


@pytest.mark.parametrize("loss", ["labels", "squared"])
def test_gradients_are_central_differences(loss):
    X, y = make_samples(loss)
    first = fastnn.Embedding(FEATURES, {1: (7, 3), 4: (300, 1)}, dtype=float, rng=0, init="lecun")
    layers = [first, fastnn.Dense(first.n_outputs, 4, dtype=float, rng=1), fastnn.Tanh()]
    layers.append(fastnn.Dense(4, OUTPUTS, dtype=float, rng=2))
    model = fastnn.Sequential(layers, loss=LOSSES[loss]())
    wanted = np.asarray(y)
    _, gradient = model.loss.measure(model._network.logits(X, True), wanted, np.ones(len(X)))
    model._network.pull(gradient)
    for at in range(model.parameters.size):
        middle, step, values = model.parameters[at], 1e-6, []
        for shift in (step, -step):
            model.parameters[at] = middle + shift
            outputs = model._network.logits(X, True)
            values.append(model.loss.measure(outputs, wanted, np.ones(len(X)))[0].mean())
        model.parameters[at] = middle
        slope = (values[0] - values[1]) / (2 * step)
        assert_allclose(model.gradients[at], slope, rtol=1e-5, atol=1e-8)
    used = np.zeros(300, bool)
    used[X[:, 4].astype(int)] = True
    assert np.array_equal(first.dweights[0, 21:] != 0, used)


def test_bits_of_shards_are_the_same_on_any_number_of_ranks():
    X, y = make_samples("labels", np.float32, n=120)

    def train(ranks):
        model = make_model(np.float32)
        fit(model, X, y, "Adam", batch_size=60, ranks=ranks)
        return state_of(model)

    expected = train(one(3))  # which compiles, for more than a minute on a busy machine
    found = [each for size in (1, 2, 3) for each in run_ranks(size, 3, train)]
    assert found == [expected] * 6
    plain = make_model(np.float32)
    fit(plain, X, y, "Adam", batch_size=60)
    assert_allclose(np.frombuffer(expected, np.float32), plain.parameters, rtol=1e-3, atol=1e-4)


def test_shards_of_a_network_with_batch_norm():
    X, y = make_samples("labels", n=120)

    def train(ranks):
        model = make_model(norm=True)
        fit(model, X, y, "Adam", batch_size=60, **({} if ranks is None else {"ranks": ranks}))
        return model.parameters.copy()

    found = [each for size in (1, 2) for each in run_ranks(size, 3, train)]
    assert all(np.array_equal(each, found[0]) for each in found)
    assert_allclose(found[0], train(None), rtol=1e-9, atol=1e-9)


def test_a_clipped_step_has_its_length_where_the_squares_of_tables_overflow():
    """The gradient of the table is by far the largest, and about 1e160."""
    table = fastnn.Embedding(1, {0: (3, 2)}, dtype="float64", rng=0)
    dense = fastnn.Dense(2, 1, dtype="float64", rng=1)
    model = fastnn.Sequential([table, dense], loss=fastnn.MeanAbsoluteError())
    table.weights[...], dense.weights[...] = 0, 1e160
    X, y = np.arange(6)[:, np.newaxis] % 3, np.ones((6, 1))
    before = model.parameters.copy()
    optimizer = fastnn.SGD(1.0, clip_norm=0.5)
    model.fit(X, y, epochs=1, batch_size=6, seed=0, optimizer=optimizer, verbose=0, threads=1)
    steps = model.parameters - before
    assert_allclose(np.linalg.norm(steps), 0.5, rtol=1e-6)
    assert_allclose(np.linalg.norm(table.weights), 0.5, rtol=1e-6)


def test_several_models_at_once_have_the_same_bits():
    X, y = make_samples("labels", np.float32, n=120)
    several = [make_model(np.float32) for _ in range(3)]
    fastnn.fit_many(several, X, y, epochs=2, batch_size=30, seed=[0, 0, 0])
    alone = make_model(np.float32)
    alone.fit(X, y, epochs=2, batch_size=30, seed=0, verbose=0)
    assert [state_of(model) for model in several] == [state_of(alone)] * 3


# --------------------------------------------------------------------------- kinds of samples


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float16", "float64", "strided"])
def test_samples_of_any_dtype(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 7, (90, 3)), rng.integers(0, OUTPUTS, 90)
    plain = X.astype(np.float32)
    other = np.repeat(plain, 2, axis=1)[::1, ::2] if dtype == "strided" else X.astype(dtype)
    found = []
    for rows in (plain, other):
        first = fastnn.Embedding(3, {0: 7, 2: (7, 2)}, rng=0)
        model = fastnn.Sequential([first, fastnn.Dense(first.n_outputs, OUTPUTS, rng=1)])
        fit(model, rows, y)
        found.append((state_of(model), model.predict_proba(rows).tobytes()))
    assert found[0] == found[1]


def test_sparse_samples():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = make_samples("labels", np.float32, n=90)
    X[X < 0] = 0
    model, other = make_model(np.float32), make_model(np.float32)
    fit(model, X, y)
    fit(other, sparse.csr_array(X), y)
    assert state_of(model) == state_of(other)
    assert np.array_equal(model.predict(X), model.predict(sparse.csr_array(X)))
    X[3, 1] = 7
    for call in (other.predict, lambda rows: fit(other, rows, y)):
        with pytest.raises(ValueError, match=r"X\[3, 1\] is 7.0, expected a code of column 1"):
            call(sparse.csr_array(X))


BAD = {"too large": 7.0, "below 0": -1.0, "no whole number": 2.5, "huge": 1e30}
every_bad = pytest.mark.parametrize("value", BAD.values(), ids=[*BAD])


def check_refusal(call, value, place=r"X\[20, 1\]"):
    """Check the error of a call that gets a bad code at one place."""
    words = "expected a code of column 1: a whole number from 0 to 6"
    with pytest.raises(ValueError, match=f"{place} is .*, {words}") as caught:
        call()
    assert str(np.float32(value)) in str(caught.value) or str(value) in str(caught.value)


@every_bad
@every_dtype
def test_a_number_that_is_no_code_is_refused_before_anything_changes(dtype, value):
    X, y = make_samples("labels", dtype)
    model = make_model(dtype)
    fit(model, X, y)
    handle, before = model.compiled(), state_of(model)
    X[20, 1] = value
    check_refusal(lambda: fit(model, X, y), value)
    check_refusal(lambda: fit(model, X.astype(np.float64)[:, ::1], y), value)
    check_refusal(lambda: model.partial_fit(X, y), value)
    check_refusal(lambda: model.predict(X), value)
    check_refusal(lambda: model.predict_proba(X, threads=2), value)
    check_refusal(lambda: model.predict(X[20:22]), value, r"X\[0, 1\]")
    check_refusal(lambda: model.evaluate(X, y), value)
    check_refusal(lambda: model.forward(X), value, r"inputs\[20, 1\]")
    check_refusal(lambda: model.activations(X, 1), value)
    check_refusal(lambda: handle.predict(X), value, r"x\[20, 1\]")
    good = make_rows(37, dtype)
    batch = (good, y)
    check_refusal(
        lambda: fit(model, good, y, validation_data=(X, y)), value, r"validation_data\[0\]\[20, 1\]"
    )
    assert state_of(model) == before
    check_refusal(
        lambda: fit(model, None, None, batches=[batch, (X, y)], batch_size=None), value,
        r"batch 2: X\[20, 1\]",
    )  # fmt: skip


def test_rows_of_a_mapped_file_are_checked_when_their_step_comes(tmp_path):
    X, y = make_samples("labels", np.float32, n=400)
    X[333, 1] = 9
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = make_model(np.float32)
    words = r"X\[333, 1\] is 9.0, expected a code of column 1: a whole number from 0 to 6"
    with pytest.raises(ValueError, match=words):
        model.fit(mapped, y, batch_size=10, seed=0, verbose=0, shuffle=False)
    windows = Windows(X, y, rows=100, block_rows=100, shuffle=False)
    with pytest.raises(ValueError, match=words.replace(r"X\[333", r"batch 4: X\[33")):
        model.fit(batches=windows, batch_size=10, seed=0, verbose=0)


def test_samples_that_change_while_the_network_trains_are_no_danger():
    X, y = make_samples("labels", np.float32, n=64)
    model = make_model(np.float32)

    def spoil(run):
        X[:, 1], X[:, 4] = 1e9, -(2.0**40)

    callback = fastnn.LambdaCallback(on_epoch_end=spoil)
    with pytest.raises(fastnn.NonFiniteLossError):
        model.fit(X, y, epochs=3, batch_size=64, seed=0, verbose=0, callbacks=[callback])
    assert np.isfinite(model.parameters).all()


def test_a_scale_is_refused():
    X, y = make_samples("labels")
    model, words = make_model(), "scale is 0.5 and offset is 0.0, expected 1 and 0"
    for call in (
        lambda: model.fit(X, y, scale=0.5),
        lambda: model.predict(X, scale=0.5),
        lambda: model.evaluate(X, y, scale=0.5),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# --------------------------------------------------------------------------- predictions


@every_dtype
def test_predictions_have_the_same_bits_in_any_number_of_rows(dtype):
    X, y = make_samples("labels", dtype, n=700)
    model = make_model(dtype)
    fit(model, X, y)
    outputs = model.predict_proba(X)
    for n in (1, 2, 5, 64, 257):
        parts = [model.predict_proba(X[i : i + n]) for i in range(0, len(X), n)]
        assert np.array_equal(np.concatenate(parts), outputs)
    assert np.array_equal(model.predict_proba(X, threads=3), outputs)
    expected = fastnn.Softmax().forward(model.forward(X))
    assert_allclose(outputs, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)
    tiny = X.copy()
    tiny[:, 0] = 1e-40 if dtype == np.float32 else 1e-310  # such rows are copied
    zero = X.copy()
    zero[:, 0] = 0
    assert np.array_equal(model.predict_proba(tiny), model.predict_proba(zero))
    assert np.array_equal(model.predict_proba(tiny[:2]), model.predict_proba(zero)[:2])


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_handle_predicts_the_same(precision):
    X, y = make_samples("labels", np.float32, n=100)
    model = make_model(np.float32, hidden=40)
    fit(model, X, y)
    handle = model.compiled(precision=precision)

    @numba.njit
    def ask(handle, rows):
        return handle.predict_proba(rows)

    for rows in (X, X[:3]):
        expected = model.predict_proba(rows, precision=precision)
        assert np.array_equal(ask(handle, rows), expected)
        assert np.array_equal(pickle.loads(pickle.dumps(handle)).predict_proba(rows), expected)
    expected = model.predict_proba(X[:1], precision=precision)[0]
    assert np.array_equal(ask(handle, X[0]), expected)
    bad = X.copy()
    bad[50, 4] = 300
    for rows in (bad, bad[49:51]):
        with pytest.raises(ValueError, match="has a number that is no code in a column of codes"):
            ask(handle, rows)


def test_activations_of_each_layer():
    X, _ = make_samples("labels")
    model = make_model()
    model.forward(X)
    kept = [layer.output.copy() for layer in model.layers]
    for i, expected in enumerate(kept):
        assert_allclose(model.activations(X, i), expected, rtol=1e-12, atol=1e-14)


def test_a_lower_precision_rounds_the_operands_of_products_alone():
    X, y = make_samples("labels", np.float32, n=90)
    model = make_model(np.float32, hidden=40)
    exact, tables = model.predict_proba(X), model.layers[0].forward(X)
    assert_allclose(model.predict_proba(X, precision="high"), exact, atol=1e-4)
    found = [model.predict_proba(X, precision="medium", threads=n) for n in (1, 2)]
    assert np.array_equal(*found)
    assert_allclose(found[0], exact, atol=0.05)
    assert not np.array_equal(found[0], exact)
    twins = [make_model(np.float32, hidden=40) for _ in range(2)]
    for threads, twin in enumerate(twins, start=1):
        fit(twin, X, y, "Adam", precision="medium", threads=threads)
    assert state_of(twins[0]) == state_of(twins[1])
    assert not np.array_equal(twins[0].layers[0].forward(X), tables)


# --------------------------------------------------------------------------- files and exports


def test_a_saved_model_goes_on_with_the_same_bits(tmp_path):
    X, y = make_samples("labels", np.float32)
    model = make_model(np.float32)
    fit(model, X, y, "Adam")
    model.save(tmp_path / "model.safetensors")
    twins = [
        fastnn.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        model.clone(),
    ]
    for twin in twins:
        assert twin.layers[0].columns == model.layers[0].columns
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
        fit(twin, X, y)
    fit(model, X, y)
    assert [state_of(twin) for twin in twins] == [state_of(model)] * 4


def test_a_run_goes_on_from_a_checkpoint(tmp_path):
    X, y = make_samples("labels", np.float32)
    whole, first, second = (make_model(np.float32) for _ in range(3))
    options = {"batch_size": 8, "seed": 0, "verbose": 0}
    whole.fit(X, y, epochs=4, optimizer=fastnn.Adam(), **options)
    keep = fastnn.Checkpoint(tmp_path / "run.safetensors")
    first.fit(X, y, epochs=2, optimizer=fastnn.Adam(), callbacks=[keep], **options)
    second.fit(
        X, y, epochs=4, optimizer=fastnn.Adam(), resume=tmp_path / "run.safetensors", **options
    )
    assert state_of(second) == state_of(whole)
    other = fastnn.Embedding(FEATURES, {1: (7, 3), 4: (299, 39)}, rng=0)
    layers = [other, *copy.deepcopy(make_model(np.float32).layers[1:])]
    with pytest.raises(ValueError, match="columns"):
        fastnn.Sequential(layers).fit(
            X[:, :], y, epochs=4, optimizer=fastnn.Adam(),
            resume=tmp_path / "run.safetensors", **options,
        )  # fmt: skip


def test_a_config_has_the_columns():
    config = make_model().to_config()
    assert config["layers"][0]["columns"] == [[1, 7, 3], [4, 300, 39]]
    assert fastnn.Sequential.from_config(config).to_config() == config
    for columns, words in (
        ([[1, 7]], "columns is"),
        ([[1, 7, 3], [1, 7, 3]], "columns has 1 twice"),
        ({"class": "Dense"}, "columns"),
        ([[9, 7, 3]], "columns has 9"),
        ("no", "columns is 'no'"),
    ):
        layers = [{**config["layers"][0], "columns": columns}, *config["layers"][1:]]
        with pytest.raises((TypeError, ValueError), match=words):
            fastnn.Sequential.from_config({**config, "layers": layers})


@every_dtype
def test_onnx(dtype, tmp_path):
    X, y = make_samples("labels", dtype, n=100)
    model = make_model(dtype)
    fit(model, X, y)
    test_export_onnx.check(model, tmp_path / "model.onnx", X, test_export_onnx.TOLERANCE[dtype])


@every_dtype
def test_c(dtype, load):  # noqa: F811
    X, y = make_samples("labels", dtype, n=100)
    model = make_model(dtype)
    fit(model, X, y)
    predict = load(model)
    outputs, labels = predict(X, OUTPUTS)
    tolerance = 3e-6 if dtype == np.float32 else 6e-15
    assert_allclose(outputs, model.predict_proba(X), rtol=0, atol=tolerance)
    assert np.array_equal(labels, model.predict(X))
    bad, first = X.copy(), X.copy()
    bad[:, 1], first[:, 1] = 1e9, 0
    assert np.array_equal(predict(bad, OUTPUTS)[0], predict(first, OUTPUTS)[0])


def test_a_state_dict_cannot_hold_it(tmp_path):
    with pytest.raises(TypeError, match=r"layers\[0\] is Embedding\(5, .*expected a layer that"):
        fastnn.export.to_torch(make_model(), tmp_path / "model.safetensors")


# --------------------------------------------------------------------------- the layer alone


def test_the_default_dimension_is_the_rule_of_fastai():
    counts = [1, 2, 3, 10, 99, 1000, 40_000, 2**24]
    found = [fastnn.embedding_dimension(count) for count in counts]
    assert found == [min(600, round(1.6 * count**0.56)) for count in counts]
    assert found[0] == 2
    layer = fastnn.Embedding(2, {1: 99})
    assert layer.columns == {1: (99, fastnn.embedding_dimension(99))}


def test_tables_are_views():
    layer = fastnn.Embedding(4, {3: (2, 2), 1: (3, 1)}, rng=0)
    assert [*layer.tables] == [1, 3]
    layer.tables[1][...] = [[1], [2], [3]]
    layer.tables[3][1] = 7, 8
    assert np.array_equal(layer.weights[0, [0, 1, 2, 5, 6]], [1, 2, 3, 7, 8])
    rows = layer.forward([[0.5, 2, -0.5, 1]])
    assert np.array_equal(rows, [[0.5, 3, -0.5, 7, 8]])
    model = fastnn.Sequential([layer, fastnn.Dense(5, 2, rng=1)])
    layer.tables[1][2] = 10
    assert model.parameters[2] == 10
    assert model.layers[0].forward([[0.5, 2, -0.5, 1]])[0, 1] == 10


def test_initial_tables():
    layer = fastnn.Embedding(2, {0: (2000, 8)}, rng=0)
    assert_allclose(layer.weights.std(), 0.05, rtol=0.05)
    again = fastnn.Embedding(2, {0: (2000, 8)}, rng=0)
    assert np.array_equal(layer.weights, again.weights)
    layer.weights[...] = 0
    layer.reset_parameters(0)
    assert np.array_equal(layer.weights, again.weights)
    ones = fastnn.Embedding(2, {0: (3, 2)}, init=lambda rng, shape: np.full(shape, shape[1]))
    assert (ones.weights == 2).all()
    assert (fastnn.Embedding(2, {0: (3, 2)}, init="zeros").weights == 0).all()


def test_what_it_shows():
    layer = fastnn.Embedding(6, {4: 50, 2: (1000, 8)}, trainable=False, weights_l2=0.1)
    expected = (
        "Embedding(6, {2: (1000, 8), 4: (50, 14)}, dtype=float32, weights_l2=0.1, trainable=False)"
    )
    assert repr(layer) == expected
    assert (layer.n_inputs, layer.n_outputs, layer.widths) == (6, 26, (6, 26))
    assert layer.n_parameters == 1000 * 8 + 50 * 14
    assert layer.biases.shape == (1, 0)
    model = fastnn.Sequential([layer, fastnn.Dense(26, 2, rng=0)])
    row = model.summary().layers[0]
    assert row[:4] == ("Embedding", 26, 8700, 0)
    assert row.n_flops == 0


def test_columns_do_not_change():
    layer = fastnn.Embedding(3, {1: (4, 2)})
    layer.columns[1] = 5, 5
    layer.columns[0] = 5, 5
    assert layer.columns == {1: (4, 2)}
    with pytest.raises(AttributeError):
        layer.columns = {}


def test_bad_columns():
    for columns, words in (
        ({}, "columns is empty, expected at least one column of categories"),
        (5, "columns is 5, expected a dict of columns to their number of categories"),
        ([1, 2], r"columns is \[1, 2\], expected a dict"),
        ({3: 5}, "columns has 3, expected whole numbers from 0 to 2"),
        ({-1: 5}, "columns has -1, expected whole numbers from 0 to 2"),
        ({"a": 5}, "columns has 'a', expected whole numbers from 0 to 2"),
        ({1.5: 5}, "columns has 1.5, expected whole numbers from 0 to 2"),
        ({1: 0}, r"the number of categories of columns\[1\] is 0, expected a positive"),
        ({1: 2.5}, r"the number of categories of columns\[1\] is 2.5, expected a positive"),
        ({1: None}, r"the number of categories of columns\[1\] is None, expected a positive"),
        ({1: (5, 0)}, r"the dimension of columns\[1\] is 0, expected a positive"),
        ({1: (5, 2, 3)}, r"columns\[1\] is \(5, 2, 3\), expected \(n_categories, dimension\)"),
        ({1: ()}, r"columns\[1\] is \(\), expected \(n_categories, dimension\)"),
        (
            {1: (2**24 + 1, 1)},
            r"of columns\[1\] is 16777217, expected at most 16777216, up to which float32 has",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fastnn.Embedding(3, columns)
    for options, words in (
        ({"dtype": "int8"}, "dtype"),
        ({"init": "no"}, "init is 'no'"),
        ({"weights_l1": -1}, "weights_l1 is -1"),
        ({"trainable": 2}, "trainable is 2"),
        ({"rng": "x"}, "rng is 'x'"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            fastnn.Embedding(3, {1: 5}, **options)
    with pytest.raises(ValueError, match="n_inputs is 0"):
        fastnn.Embedding(0, {0: 5})
    with pytest.raises(ValueError, match="n_categories is 0"):
        fastnn.embedding_dimension(0)


def test_it_is_the_first_layer():
    first, second = fastnn.Embedding(2, {0: (3, 2)}), fastnn.Embedding(3, {0: (3, 2)})
    words = "is an Embedding, expected it as layers"
    for layers in (
        [fastnn.ReLU(), first],
        [first, second],
        [fastnn.Dropout(0.5), first],
        [fastnn.Residual([first, fastnn.Dense(3, 2)])],
    ):
        with pytest.raises(ValueError, match=words):
            fastnn.Sequential(layers)
    with pytest.raises(ValueError, match=r"layers\[1\] takes 2 inputs, expected 3, the outputs"):
        fastnn.Sequential([first, fastnn.Dense(2, 2)])


def test_passes_alone():
    layer = fastnn.Embedding(3, {1: (4, 2)}, dtype=np.float64, rng=0)
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        layer.backward(np.ones((2, 4)))
    layer.forward([[1, 2, 3], [4, 0, 6]])
    dinputs = layer.backward([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert np.array_equal(dinputs, [[1, 0, 4], [5, 0, 8]])
    assert np.array_equal(layer.dweights, [[6, 7, 0, 0, 2, 3, 0, 0]])
    with pytest.raises(ValueError, match=r"dvalues has shape \(2, 3\), expected \(2, 4\)"):
        layer.backward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"inputs\[0, 1\] is nan, expected finite"):
        layer.forward([[1, np.nan, 3]])
    layer.weights_l1, layer.weights_l2 = 0.5, 0.25
    layer.backward(np.zeros((2, 4)))
    expected = 0.5 * np.sign(layer.weights) + 0.5 * layer.weights
    assert_allclose(layer.dweights, expected, rtol=1e-15)


# --------------------------------------------------------------------------- the checks of kernels


def test_places_beside_the_workspace_and_wrong_columns_are_faults():
    model = make_model()
    steps = program_layers(model.layers)
    plan = make_plan(steps, FEATURES, 16, 8, training=True, keep_gradients=True)
    assert plan.layers["table_size"].tolist() == [TABLES_SIZE, 0, 0, 0, 0]
    assert TABLES_SIZE > 2 * TABLE_PIECE
    workspace = np.empty(plan.workspace_size)
    assert faults.places_fault(plan.layers, workspace, None, 16, 0) == 0
    layers = plan.layers.copy()
    layers["gradients"][0] = workspace.size - TABLES_SIZE + 1
    assert faults.places_fault(layers, workspace, None, 16, 0) > 0
    assert faults.embedding_fault(plan.layers, plan.columns) == 0
    assert faults.embedding_fault(plan.layers, None) > 0
    assert faults.embedding_fault(plan.layers[1:], plan.columns) > 0
    for name in COLUMN.names:
        for column in range(FEATURES):
            for change in (1, -1):
                columns = plan.columns.copy()
                columns[name][column] += change
                is_unused = name == "table" and column not in CATEGORIES
                fault = faults.embedding_fault(plan.layers, columns)
                assert (fault == 0) == is_unused, (name, column, change)
    assert faults.embedding_fault(plan.layers, plan.columns[:-1].copy()) > 0
    swapped = plan.layers.copy()
    swapped["operation"][[0, 1]] = swapped["operation"][[1, 0]]
    assert faults.table_fault(swapped) > 0
    assert faults.parameters_fault(plan.layers, model.parameters, True) == 0
    assert faults.parameters_fault(plan.layers, model.parameters[:-1].copy(), True) > 0
    plan = make_plan(steps, FEATURES, 16, 8, training=False)
    call = np.empty((2, OUTPUTS)), np.empty(plan.few_size), plan.layers
    rows = model.parameters, make_rows(2)
    assert prediction_faults.few_fault(*call, plan.columns, *rows) == 0
    assert prediction_faults.few_fault(*call, True, *rows) > 0


@every_dtype
@pytest.mark.parametrize("module", [kernels, reference], ids=["compiled", "NumPy"])
def test_a_number_that_is_no_code_reads_and_writes_no_table(module, dtype):
    layer = fastnn.Embedding(3, {1: (4, 9)}, dtype=dtype, rng=0)
    values = [0, 3, -0.0, 4, -1, 2.5, 1e30, -1e30, np.inf, -np.inf, np.nan]
    inputs = np.full((len(values), 3), 0.5, dtype)
    inputs[:, 1] = values
    outputs, dinputs = np.empty((len(values), 11), dtype), np.empty_like(inputs)
    module.embedding_forward(outputs, inputs, layer.weights, layer.records)
    table = layer.tables[1]
    assert np.array_equal(outputs[:3, 1:10], table[[0, 3, 0]])
    assert np.isnan(outputs[3:, 1:10]).all()
    assert (outputs[:, [0, 10]] == 0.5).all()
    dweights = np.empty_like(layer.weights)
    module.embedding_backward(dinputs, dweights, np.ones_like(outputs), inputs, layer.records)
    assert np.array_equal(dweights.reshape(4, 9), np.repeat([[2], [0], [0], [1]], 9, axis=1))
    assert np.array_equal(dinputs, np.tile([1, 0, 1], (len(values), 1)))
