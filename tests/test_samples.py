"""Samples of other dtypes and strides, scaled or not: the same bits as converted beforehand."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn.program import inputs, samples
from fastnn.program.inputs import as_samples
from fastnn.program.samples import Samples

N, FEATURES, CLASSES = 61, 19, 3
SCALINGS = {"unscaled": {}, "scaled": {"scale": 1 / 255, "offset": -0.25}}
DTYPES = (np.uint8, np.int8, np.float16, np.float32, np.float64)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_model_dtype = pytest.mark.parametrize("model_dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(inputs, "SMALL", 0)


def make_numbers(dtype, shape=(N, FEATURES), seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        return rng.integers(*((0, 256) if dtype == np.uint8 else (-128, 128)), shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    raw = np.empty(X.nbytes + 1, np.uint8)
    found = raw[1:].view(X.dtype).reshape(X.shape)
    found[...] = X
    return found


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "every other": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "read-only": read_only,
    "unaligned": unaligned,
}


def make_model(dtype=np.float32, activation=fastnn.ReLU, kind=fastnn.Dense, seed=0):
    first = kind(FEATURES, 9, dtype=dtype, rng=seed)
    return fastnn.Sequential([first, activation(), fastnn.Dense(9, CLASSES, dtype=dtype, rng=1)])


def fit(model, X, optimizer=None, **options):
    options = {"epochs": 2, "batch_size": 8, "seed": 3, "verbose": 0, **options}
    return model.fit(X, np.arange(len(X)) % CLASSES, optimizer=optimizer, **options)


def converted(X, dtype, scale=1.0, offset=0.0):
    """The formula that `fit` documents."""
    X = np.ascontiguousarray(X, dtype)
    return X if (scale, offset) == (1.0, 0.0) else X * scale + offset


class OwnDense(fastnn.Dense):
    """Trains layer by layer."""

    def forward(self, inputs, training=False):
        return super().forward(inputs, training)


def everything_of(model, X, **options):
    """Return the bits of training and of all predictions."""
    y = np.arange(len(X)) % CLASSES
    history = fit(model, X, fastnn.Adam(0.01), validation_data=(X[:20], y[:20]), **options)
    options.pop("threads", None)
    return (
        history.curves, model.parameters.tobytes(), model.predict(X, **options).tobytes(),
        model.predict_proba(X, **options).tobytes(),
        model.predict_proba(X, batch_size=7, threads=2, **options).tobytes(),
        model.predict_proba(X[:2], **options).tobytes(), model.evaluate(X, y, **options),
        model.activations(X, 1, **options).tobytes(),
    )  # fmt: skip


@every_dtype
@every_model_dtype
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_as_after_astype(layout, dtype, model_dtype, scaling):
    X, options = LAYOUTS[layout](make_numbers(dtype)), SCALINGS[scaling]
    expected = everything_of(make_model(model_dtype), converted(X, model_dtype, **options))
    assert everything_of(make_model(model_dtype), X, **options) == expected
    if layout == "every other":
        assert everything_of(make_model(model_dtype), X, threads=3, **options) == expected


@every_dtype
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.filterwarnings("ignore::fastnn.SlowTrainingWarning")
def test_layer_by_layer_too(dtype, scaling):
    X, options = LAYOUTS["every other"](make_numbers(dtype)), SCALINGS[scaling]
    expected = everything_of(make_model(kind=OwnDense), converted(X, np.float32, **options))
    assert everything_of(make_model(kind=OwnDense), X, **options) == expected
    compiled = make_model()
    fit(compiled, X, fastnn.Adam(0.01), **options)
    assert compiled.parameters.tobytes() == expected[1]


@pytest.mark.parametrize("scaling", SCALINGS)
def test_plain_descent_of_bytes(scaling):
    """The program has a form of its own for it."""
    X, options = make_numbers(np.uint8), SCALINGS[scaling]
    models = [make_model(), make_model()]
    curves = fit(models[0], X, **options).curves
    assert fit(models[1], converted(X, np.float32, **options)).curves == curves
    assert models[0].parameters.tobytes() == models[1].parameters.tobytes()


def test_small_samples_are_converted_at_once_with_the_same_bits(monkeypatch):
    X = make_numbers(np.float16)[:, ::-1]
    lazy = as_samples(X, "X", dtype=np.float32, scaling=(0.3, 1.0))
    monkeypatch.setattr(inputs, "SMALL", X.size * 4)
    ready = as_samples(X, "X", dtype=np.float32, scaling=(0.3, 1.0))
    assert (lazy.is_ready, ready.is_ready) == (False, True)
    assert lazy.take(np.arange(N)).tobytes() == ready.array.tobytes()
    monkeypatch.setattr(inputs, "SMALL", X.size * 4 - 1)
    assert not as_samples(X, "X", dtype=np.float32).is_ready


def test_every_half_becomes_its_number():
    """Subnormal ones, infinities and NaN too: the kernel alone, as `fit` refuses the last."""
    X = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 32)
    for dtype, part in itertools.product((np.float32, np.float64), (X, X[:, ::-1], X.T)):
        source, layout = Samples(part, dtype).view()
        rows = np.empty(part.shape, dtype)
        fastnn.kernels.convert_rows(rows, source, layout, np.arange(len(part)))
        assert np.array_equal(rows, part.astype(dtype), equal_nan=True)
        assert np.array_equal(np.signbit(rows), np.signbit(part))


@pytest.mark.parametrize("kind", [np.int16, np.uint64, bool, ">f4", np.longdouble, list])
def test_other_numbers_are_converted_once(kind):
    X = make_numbers(np.uint8) > 127
    X = X.tolist() if kind is list else X.astype(kind)
    model, expected = make_model(), make_model()
    fit(model, X, scale=0.5)
    fit(expected, np.asarray(X, np.float32) * np.float32(0.5))
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_memory_map(tmp_path):
    X = make_numbers(np.uint8)
    np.save(tmp_path / "X.npy", X)
    mapped, model, expected = np.load(tmp_path / "X.npy", mmap_mode="r"), make_model(), make_model()
    fit(model, mapped, scale=1 / 255)
    fit(expected, X, scale=1 / 255)
    assert model.parameters.tobytes() == expected.parameters.tobytes()


def test_part_of_the_samples_is_held_out():
    X = LAYOUTS["every other"](make_numbers(np.uint8))
    model, expected = make_model(), make_model()
    curves = fit(model, X, validation_split=0.25, scale=0.1).curves
    plain = converted(X, np.float32, scale=0.1)
    assert fit(expected, plain, validation_split=0.25).curves == curves


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("block", [1, 10**6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_number_that_is_not_finite_is_found_before_training(dtype, block, bad, monkeypatch):
    monkeypatch.setattr(samples, "_BLOCK", block)
    X, model = LAYOUTS["Fortran"](make_numbers(dtype)), make_model()
    X[45, 7] = bad
    before = model.parameters.copy()
    for call in (lambda: fit(model, X), lambda: model.predict(X), lambda: model.predict(X[45:46])):
        with pytest.raises(ValueError, match=rf"X\[\d+, 7\] is {bad}, expected finite numbers"):
            call()
    with pytest.raises(ValueError, match=r"^X\[45, 7\]"):
        fit(model, X)
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize(
    ("dtype", "value", "scaling", "words"),
    [
        (np.float64, 1e300, {}, r"X\[5, 2\] is 1e\+300, too large for float32: expected smaller"),
        (
            np.float32, 1e30, {"scale": 1e20},
            r"X\[5, 2\] is 1.0\d+e\+30, too large for float32 with scale 1e\+20 and offset 0.0",
        ),
        (np.uint8, 200, {"scale": 2e36}, r"X\[5, 2\] is 200, too large for float32 with scale"),
    ],
)  # fmt: skip
def test_numbers_too_large_for_the_model(dtype, value, scaling, words):
    X, model = np.ones((N, FEATURES), dtype), make_model()
    X[5, 2] = value
    for call in (fit, lambda m, X, **o: m.predict(X, **o)):
        with pytest.raises(ValueError, match=words):
            call(model, X, **scaling)


def test_the_extremes_of_bytes_need_not_be_there():
    X = np.ones((N, FEATURES), np.uint8)
    found = as_samples(X, "X", dtype=np.float32, scaling=(2e36, 0.0)).array
    assert np.shares_memory(found, X)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (
            {"scale": 0.0},
            ValueError,
            "scale is 0.0, expected a finite number of float32 other than",
        ),
        ({"scale": np.nan}, ValueError, "scale is nan, expected a finite number"),
        ({"scale": 1e39}, ValueError, r"scale is 1e\+39, expected a finite number of float32"),
        ({"scale": 1e-60}, ValueError, "scale is 1e-60, expected"),
        ({"scale": 10**400}, ValueError, "scale is 1000"),
        ({"scale": "1"}, TypeError, "scale is '1', expected a finite number"),
        ({"scale": True}, TypeError, "scale is True, expected"),
        ({"scale": np.ones(2)}, TypeError, "scale is array"),
        ({"offset": np.inf}, ValueError, "offset is inf, expected a finite number of float32"),
        ({"offset": None}, TypeError, "offset is None, expected"),
    ],
)
def test_bad_scales_and_offsets(given, error, words):
    X, y, model = make_numbers(np.uint8), np.arange(N) % CLASSES, make_model()
    before = model.parameters.copy()
    for call in (
        lambda: fit(model, X, **given), lambda: model.predict(X, **given),
        lambda: model.predict_proba(X, **given), lambda: model.evaluate(X, y, **given),
        lambda: model.activations(X, 0, **given), lambda: model.partial_fit(X, y, **given),
        lambda: fastnn.fit_many([model], X, y, **given),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
    assert np.array_equal(model.parameters, before)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_a_few_rows_of_many_features(n):
    """More than are converted at a time otherwise."""
    X = np.random.default_rng(0).integers(0, 9, (n, 200_000), np.uint8)
    model = fastnn.Sequential([fastnn.Dense(200_000, 2, rng=0)])
    expected = model.predict_proba(X.astype(np.float32))
    assert model.predict_proba(X).tobytes() == expected.tobytes()
