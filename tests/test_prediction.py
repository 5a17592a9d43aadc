"""Predictions: few rows and many, the handle of `compiled()`, and what both refuse."""

import gc
import itertools
import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from numpy.testing import assert_allclose
from numpy_network import OwnDense, PlainNetwork, build, softmax
from test_kernels import EDGES, at_the_end_of_memory, guarded, run_python

import fastnn
from fastnn import kernels
from fastnn.kernels.catalogue import Operation
from fastnn.kernels.target import BLOCK_ROWS, FEW_ROWS

FEATURES = 5
NETWORKS = ("3", "17 r 3", "70 r 129 r 3 s", "r 9 s 33 r r 3 r")

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_network = pytest.mark.parametrize("words", NETWORKS)
every_method = pytest.mark.parametrize("method", ["predict", "predict_proba"])


def make_rows(n, dtype, features=FEATURES, seed=0):
    return np.random.default_rng(seed).standard_normal((n, features)).astype(dtype)


@numba.njit(nogil=True)
def jitted_proba(handle, x):
    return handle.predict_proba(x)


@numba.njit(nogil=True)
def jitted_label(handle, x):
    return handle.predict(x)


JITTED = {"predict": jitted_label, "predict_proba": jitted_proba}


def answers_of(handle, method):
    """Return the two ways to ask a handle: from Python, and from jitted code."""
    return [getattr(handle, method), lambda x: JITTED[method](handle, x)]


# ------------------------------------------------------------------------------- few and many


@every_network
@every_dtype
def test_a_row_has_the_same_bits_alone_and_among_others(words, dtype):
    model = build(words, FEATURES, dtype)
    X = make_rows(BLOCK_ROWS + FEW_ROWS + 2, dtype)
    together = model.predict_proba(X)
    for n in (1, 2, FEW_ROWS, FEW_ROWS + 1):
        assert np.array_equal(model.predict_proba(X[:n]), together[:n])
        assert np.array_equal(model.predict_proba(X[-n:].tolist()), together[-n:])


@every_dtype
def test_few_rows_at_the_edges_of_vectors(dtype):
    for width in EDGES:
        model = build(f"{width} r {width + 1}", width, dtype)
        X = make_rows(2, dtype, width)
        logits = PlainNetwork(f"{width} r {width + 1}", model).forward(X.astype(np.float64))[-1]
        rtol = 8 * (width + 16) * np.finfo(dtype).eps
        assert_allclose(model.predict_proba(X), softmax(logits), rtol=rtol)


@every_network
@every_dtype
def test_few_rows_write_to_their_outputs_and_workspace_only(words, dtype):
    model = build(words, FEATURES, dtype)
    predictor = model._program.predictor
    tables = predictor.layers, predictor.extended
    X = make_rows(3, dtype)
    expected = model.predict_proba(X)
    for fill, offset in ((0x00, 0), (0xFF, 0), (0xA5, 3)):
        size = predictor.few_size
        made = [
            guarded(np.empty(shape, dtype), fill, offset, keep=False)
            for shape in ((3, predictor.n_outputs), size)
        ] + [guarded(value, fill, offset) for value in (model.parameters, X)]
        (outputs, workspace, parameters, rows), sides = zip(*made, strict=True)
        done = kernels.predict_few(outputs, workspace, *tables, parameters, rows, Operation.SOFTMAX)
        assert done == 3
        assert np.array_equal(outputs, expected)
        assert np.array_equal(parameters, model.parameters)
        assert all((side == fill).all() for pair in sides for side in pair)


def predict_at_the_end_of_memory():
    for dtype in (np.float32, np.float64):
        for width in EDGES:
            predictor = build(f"{width} r {width}", width, dtype)._program.predictor
            X = make_rows(2, dtype, width)
            outputs, workspace = np.empty((2, width), dtype), np.empty(predictor.few_size, dtype)
            tables = predictor.layers, predictor.extended
            arrays = outputs, workspace, *tables, predictor.parameters, X
            kernels.predict_few(*map(at_the_end_of_memory, arrays), Operation.SOFTMAX)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_few_rows_touch_nothing_behind_an_array():
    run_python("import test_prediction; test_prediction.predict_at_the_end_of_memory()")


@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("n", "at"), [(1, 0), (4, 3), (FEW_ROWS + 1, 0), (300, 299)])
def test_a_number_that_is_not_finite_is_named(method, bad, n, at):
    model = build("17 r 3", FEATURES, np.float32)
    X = make_rows(n, np.float32)
    X[at, 2] = bad
    for threads in (None, 1, 2):
        with pytest.raises(ValueError, match=rf"X\[{at}, 2\] is {bad}, expected finite numbers"):
            getattr(model, method)(X, threads=threads)


def test_kernels_stop_in_front_of_a_row_that_is_not_finite():
    predictor = build("17 r 3", FEATURES, np.float32)._program.predictor
    X = make_rows(10, np.float32)
    expected = predictor.run(X, Operation.SOFTMAX, 1)
    X[6, 4] = np.nan
    outputs = np.full((10, 3), -1, np.float32)
    workspace = np.empty(predictor.many_size, np.float32)
    given = predictor.layers, predictor.extended, predictor.parameters, X
    assert kernels.predict_few(outputs, workspace, *given, Operation.SOFTMAX) == 6
    assert np.array_equal(outputs[:6], expected[:6])
    assert (outputs[6:] == -1).all()
    outputs[...] = -1
    panels, _ = predictor._pack()
    given = *given[:2], None, *given[2:]
    done = kernels.predict_rows(outputs, workspace, panels, *given, 4, Operation.SOFTMAX)
    assert done == 4
    assert np.array_equal(outputs[:4], expected[:4])
    assert (outputs[4:] == -1).all()


# --------------------------------------------------------------------------------- the handle


@every_network
@every_dtype
def test_handle_answers_as_the_model(words, dtype):
    model = build(words, FEATURES, dtype)
    handle = model.compiled()
    for n in (0, 1, FEW_ROWS, FEW_ROWS + 1, BLOCK_ROWS + 1):
        X = make_rows(n, dtype)
        for method in ("predict", "predict_proba"):
            expected = getattr(model, method)(X)
            for answer in answers_of(handle, method):
                found = answer(X)
                assert found.dtype == expected.dtype
                assert np.array_equal(found, expected)
                for x, wanted in zip(X[:9], expected[:9], strict=False):
                    assert np.array_equal(answer(x), wanted)
                    assert np.shape(answer(x)) == wanted.shape


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    "loss", [fastnn.MeanSquaredError(), fastnn.BinaryCrossEntropy(), fastnn.Poisson(),
             fastnn.BinaryCrossEntropy(from_logits=False)],
)  # fmt: skip
def test_handle_of_numbers_and_of_answers(loss, outputs):
    layers = [fastnn.Dense(FEATURES, 7, rng=0), fastnn.ELU(0.7), fastnn.Dense(7, outputs, rng=1)]
    model = fastnn.Sequential([*layers, fastnn.Sigmoid()], loss=loss)
    handle, methods = model.compiled(), ["predict", "predict_proba"]
    if loss.task == "numbers":
        methods.remove("predict_proba")
        with pytest.raises(AttributeError, match="no probabilities"):
            handle.predict_proba(make_rows(1, np.float32))
        with pytest.raises(TypingError, match="no probabilities"):
            jitted_proba(handle, make_rows(1, np.float32))
    for n, method in itertools.product((1, FEW_ROWS + 1), methods):
        X = make_rows(n, np.float32)
        expected = getattr(model, method)(X)
        for answer in answers_of(handle, method):
            assert answer(X).dtype == expected.dtype
            assert np.array_equal(answer(X), expected)
            assert np.array_equal(answer(X[0]), expected[0])
            assert np.shape(answer(X[0])) == expected[0].shape


def test_handle_keeps_the_parameters_of_its_moment():
    model = build("17 r 3", FEATURES, np.float32)
    X = make_rows(20, np.float32)
    handle, before = model.compiled(), model.predict_proba(X)
    model.parameters[...] = 0
    assert not np.array_equal(model.predict_proba(X), before)
    for answer in answers_of(handle, "predict_proba"):
        assert np.array_equal(answer(X), before)
        assert np.array_equal(answer(X[:1]), before[:1])


def test_handle_as_a_global_variable_outlives_its_name():
    X = make_rows(1, np.float32)
    model = build("17 r 3", FEATURES, np.float32)
    expected = model.predict_proba(X)[0]
    policy = model.compiled()

    @numba.njit
    def ask(x):
        return policy.predict_proba(x)

    assert np.array_equal(ask(X[0]), expected)
    watched = weakref.ref(policy)
    policy = model = None
    gc.collect()
    assert watched() is not None, "machine code points to memory that was given back"
    assert np.array_equal(ask(X[0]), expected)


def test_one_handle_in_many_threads():
    model = build("70 r 129 r 3", FEATURES, np.float32)
    handle, X = model.compiled(), make_rows(400, np.float32)
    expected = model.predict_proba(X, threads=1)

    def ask(i):
        rows = X[i : i + 1 + i % 20]
        way = answers_of(handle, "predict_proba")[i % 2]
        return np.array_equal(way(rows), expected[i : i + 1 + i % 20])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(300))) == [True] * 300


def test_handle_survives_pickle():
    model = build("17 r 3", FEATURES, np.float32)
    X = make_rows(20, np.float32)
    handle = pickle.loads(pickle.dumps(model.compiled()))
    for answer in answers_of(handle, "predict_proba"):
        assert np.array_equal(answer(X), model.predict_proba(X))


def test_a_pickled_model_predicts_with_its_own_parameters():
    model = build("17 r 3", FEATURES, np.float32)
    X = make_rows(20, np.float32)
    twin = pickle.loads(pickle.dumps(model))
    twin.parameters[...] = 0
    assert (twin.predict_proba(X) == np.float32(1 / 3)).all()
    assert (twin.predict_proba(X[:1]) == np.float32(1 / 3)).all()
    assert not (model.predict_proba(X) == np.float32(1 / 3)).all()


@every_method
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.ones(4, np.float32), ValueError, r"shape \(4,\), expected \(5,\) or \(n_samples, 5\)"),
        (np.ones((2, 6), np.float32), ValueError, r"shape \(2, 6\)"),
        (np.full((1, 5), np.nan, np.float32), ValueError, r"x\[0, 0\] is nan, expected finite"),
        (np.array([0, 0, np.inf, 0, 0], np.float32), ValueError, r"x\[2\] is inf"),
        (np.full((99, 5), np.nan, np.float32), ValueError, r"x\[0, 0\] is nan, expected finite"),
        (np.ones(5), TypeError, "x is float64, expected an array of float32"),
        (np.ones((1, 1, 5), np.float32), ValueError, r"shape \(1, 1, 5\)"),
        (np.ones((5, 5), np.float32).T[::2], ValueError, "expected a C-contiguous array"),
    ],
)
def test_handle_refuses(method, x, error, words):
    handle = build("17 r 3", FEATURES, np.float32).compiled()
    with pytest.raises(error, match=words):
        getattr(handle, method)(x)
    # Numba sees dtype, layout and dimensions as types.
    if x.dtype != np.float32 or x.ndim > 2 or not x.flags.c_contiguous:
        error, words = TypingError, "x is .*, expected a C-contiguous array of float32"
    else:
        words = "x has another number of features" if x.shape[-1] != 5 else "x is not finite"
    with pytest.raises(error, match=words):
        JITTED[method](handle, x)


def test_handle_refuses_a_list():
    handle = build("17 r 3", FEATURES, np.float32).compiled()
    with pytest.raises(TypeError, match="x is list, expected an array of float32"):
        handle.predict([1.0, 2.0, 3.0, 4.0, 5.0])


def test_a_network_with_a_layer_of_a_users_own_has_no_handle():
    model = build("17 r 3", FEATURES, np.float32, dense=OwnDense)
    with pytest.raises(ValueError, match="a layer of your own"):
        model.compiled()


def test_repr_of_a_handle():
    handle = build("17 r 3", FEATURES, np.float32).compiled()
    assert repr(handle) == "<CompiledModel of 5 inputs, 3 outputs, float32>"
