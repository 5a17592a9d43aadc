"""Dense, ReLU and Softmax, one by one and stacked, against NumPy in float64."""

import copy
import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastnn
from fastnn import CategoricalCrossEntropy, Dense, ReLU, Softmax, SoftmaxCrossEntropy

DTYPES = (np.float32, np.float64)
SHAPES = [(1, 1, 1), (5, 7, 3), (33, 17, 49), (64, 64, 10), (3, 300, 2)]  # B, I, O

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_shape = pytest.mark.parametrize("shape", SHAPES)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def make(name, width, dtype, rng=0):
    """Return a layer that takes and gives `width` columns."""
    if name == "Dense":
        layer = Dense(width, width, dtype=dtype, rng=rng)
        layer.biases = normal((1, width), dtype, seed=9)
        return layer
    return getattr(fastnn, name)()


every_layer = pytest.mark.parametrize("name", ["Dense", "ReLU", "Softmax"])


# ----------------------------------------------------------------- values against NumPy


@every_shape
@every_dtype
def test_dense_is_the_one_of_numpy(shape, dtype):
    """Each rounding error is eps times the sizes of the terms of a sum, times their number."""
    rows, n_inputs, n_outputs = shape
    layer = Dense(n_inputs, n_outputs, dtype=dtype, rng=1)
    layer.biases = normal((1, n_outputs), dtype, seed=2)
    x, dvalues = normal((rows, n_inputs), dtype), normal((rows, n_outputs), dtype, seed=3)
    X, W, b, D = (a.astype(np.float64) for a in (x, layer.weights, layer.biases, dvalues))
    output, dinputs = layer.forward(x), layer.backward(dvalues)
    for found, expected, size, terms in (
        (output, X @ W + b, np.abs(X) @ np.abs(W) + np.abs(b), n_inputs + 1),
        (dinputs, D @ W.T, np.abs(D) @ np.abs(W).T, n_outputs),
        (layer.dweights, X.T @ D, np.abs(X).T @ np.abs(D), rows),
        (layer.dbiases, D.sum(axis=0, keepdims=True), np.abs(D).sum(axis=0), rows),
    ):
        assert found.shape == expected.shape
        assert found.dtype == dtype
        assert (np.abs(found - expected) <= terms * size * np.finfo(dtype).eps).all()


@every_shape
@every_dtype
def test_relu_is_the_one_of_numpy(shape, dtype):
    x, dvalues = normal(shape[:2], dtype), normal(shape[:2], dtype, seed=1)
    x.flat[::5] = 0
    layer = ReLU()
    output, dinputs = layer.forward(x), layer.backward(dvalues)
    assert output.dtype == dinputs.dtype == dtype
    assert np.array_equal(output, np.maximum(x, 0))
    assert np.array_equal(dinputs, np.where(x > 0, dvalues, 0))


@every_shape
@every_dtype
def test_softmax_is_the_one_of_numpy(shape, dtype):
    x, dvalues = 5 * normal(shape[:2], dtype), normal(shape[:2], dtype, seed=1)
    layer, width = Softmax(), shape[1]
    output, dinputs = layer.forward(x), layer.backward(dvalues)
    assert output.dtype == dinputs.dtype == dtype
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    s = e / e.sum(axis=1, keepdims=True)
    # Of exp, of the difference in it (up to 40), and of a sum of as many terms as columns.
    eps = np.finfo(dtype).eps * (width + 44)
    assert_allclose(output, s, rtol=eps)
    terms = s * (np.abs(dvalues) + (np.abs(dvalues) * s).sum(axis=1, keepdims=True))
    expected = s * (dvalues - (dvalues * s).sum(axis=1, keepdims=True))
    assert (np.abs(dinputs - expected) <= 2 * eps * terms).all()


@every_dtype
def test_softmax_takes_logits_of_any_size(dtype):
    logits = [[1000.0, 0.0], [-1e30, 1e30], [0.0, 0.0]]
    assert Softmax().forward(np.array(logits, dtype)).tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


@every_layer
def test_whole_numbers_and_lists_are_taken(name):
    x = [[1, -2, 3], [4, 5, -6]]
    for value in (x, np.array(x)):
        expected = make(name, 3, np.float64).forward(np.array(x, np.float64))
        assert np.array_equal(make(name, 3, np.float64).forward(value), expected)


@pytest.mark.parametrize("name", ["ReLU", "Softmax"])
@pytest.mark.parametrize(
    ("given", "result"),
    [
        ("bool int8 uint8 int16 uint16 float16 float32", "float32"),
        ("int32 uint32 int64 uint64 float64 longdouble", "float64"),
    ],
)
def test_layers_without_parameters_choose_the_dtype_as_numpy_does(name, given, result):
    for dtype in given.split():
        assert make(name, 2, None).forward(np.array([[1, 0]], dtype)).dtype == result


# ------------------------------------------------------------------- what a layer keeps


@every_layer
@every_dtype
def test_results_are_kept_and_arguments_never_written(name, dtype):
    layer = make(name, 6, dtype)
    assert layer.inputs is layer.output is layer.dinputs is None
    x, dvalues = normal((7, 6), dtype), normal((7, 6), dtype, seed=1)
    before = x.tobytes(), dvalues.tobytes()
    output = layer.forward(x)
    assert output is layer.output
    assert np.array_equal(layer.inputs, x)
    first = output.tobytes()
    dinputs = layer.backward(dvalues)
    assert dinputs is layer.dinputs
    assert (x.tobytes(), dvalues.tobytes()) == before
    results = [output, dinputs] + ([layer.dweights, layer.dbiases] if name == "Dense" else [])
    for result in results:
        assert not any(np.shares_memory(result, other) for other in (x, dvalues))
        assert result.flags.writeable
    # What a pass returned stays as it is in the next one.
    layer.forward(2 * x)
    assert output.tobytes() == first


@every_layer
def test_training_changes_nothing(name):
    layer, x = make(name, 3, np.float32), normal((4, 3), np.float32)
    assert np.array_equal(layer.forward(x, training=True), layer.forward(x, training=False))
    assert np.array_equal(layer.forward(x), layer.forward(x, True))


@every_layer
def test_inputs_that_may_not_be_written_are_not_opened(name):
    """Whoever writes to `layer.inputs` must not end up in a file that is mapped read-only."""
    layer, x = make(name, 3, np.float32), normal((4, 3), np.float32)
    x.flags.writeable = False
    layer.forward(x)
    assert not (layer.inputs.flags.writeable and np.shares_memory(layer.inputs, x))


@every_layer
def test_backward_before_forward_is_an_error(name):
    layer = make(name, 3, np.float32)
    with pytest.raises(RuntimeError, match=rf"^{name}\.backward was called before forward$"):
        layer.backward(np.ones((2, 3)))
    assert layer.dinputs is None
    layer.forward(np.ones((2, 3)))
    layer.backward(np.ones((2, 3)))


@every_layer
def test_no_rows(name):
    layer = make(name, 3, np.float32)
    assert layer.forward(np.empty((0, 3))).shape == (0, 3)
    assert layer.backward(np.empty((0, 3))).shape == (0, 3)
    if name == "Dense":
        assert not layer.dweights.any()
        assert not layer.dbiases.any()


# A script may set what is public. Each array below lies in a larger one, so that a kernel that
# trusts its shape stays within memory, and is found out by what it reads or writes there.


@pytest.mark.parametrize("shape", [(1, 1), (2, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_that_a_script_has_set_are_no_place_to_trust(shape, dtype):
    layer, x, dvalues = Dense(2, 4, rng=0), normal((3, 2), np.float32), normal((3, 4), np.float32)
    layer.forward(x)
    memory = np.full((2, 100), 7, dtype)
    guards = memory[0][math.prod(shape) :], memory[1][1:]
    try:
        layer.dweights = memory[0][: math.prod(shape)].reshape(shape)
        layer.dbiases = memory[1][:1].reshape(1, 1)
        layer.backward(dvalues)
    except (TypeError, ValueError):
        pass
    else:
        assert_allclose(layer.dweights, x.T @ dvalues, rtol=1e-6, atol=1e-6, strict=True)
        assert layer.dbiases.shape == (1, 4)
    assert all((guard == 7).all() for guard in guards)


@every_layer
@pytest.mark.parametrize("attribute", ["inputs", "output"])
@pytest.mark.parametrize("convert", [lambda a: a[:1], lambda a: a[:, :1], np.ravel, np.transpose])
def test_passes_do_not_trust_what_a_script_has_set(name, attribute, convert, monkeypatch):
    layer, shapes = make(name, 4, np.float32), []
    layer.forward(normal((3, 4), np.float32))
    setattr(layer, attribute, convert(normal((3, 4), np.float32)))

    def spy(*arguments):
        shapes.extend(array.shape for array in arguments)

    for kernel in ("dense_backward", "relu_backward", "softmax_backward"):
        monkeypatch.setattr(fastnn.kernels, kernel, spy)
    try:
        layer.backward(np.ones((3, 4)))
    except (TypeError, ValueError):
        return
    parameters = [(4, 4), (1, 4)] if name == "Dense" else []
    weights = [(4, 4)] if name == "Dense" else []
    assert shapes == [(3, 4), *parameters, (3, 4), (3, 4), *weights]


@pytest.mark.parametrize("convert", [np.asfortranarray, np.float64, np.float32])
def test_softmax_backward_from_an_output_that_a_script_has_set(convert):
    """As scripts that show the gradient of given probabilities do."""
    probabilities = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4]])
    layer = Softmax()
    layer.output = convert(probabilities)
    dvalues = normal((2, 3), np.float64)
    expected = probabilities * (dvalues - (dvalues * probabilities).sum(axis=1, keepdims=True))
    assert_allclose(layer.backward(dvalues), expected, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------ gradients


class Stack:
    """Dense-ReLU-Dense-Softmax and a loss, or without the Softmax and SoftmaxCrossEntropy."""

    def __init__(self, fused):
        rng = np.random.default_rng(4)
        self.layers = [Dense(5, 9, dtype="float64", rng=rng), ReLU()]
        self.layers += [Dense(9, 3, dtype="float64", rng=rng)]
        self.layers += [] if fused else [Softmax()]
        for layer in self.layers[::2]:
            layer.biases = normal(layer.biases.shape, np.float64, seed=8)
        self.loss = SoftmaxCrossEntropy() if fused else CategoricalCrossEntropy()

    def forward(self, x, y):
        for layer in self.layers:
            x = layer.forward(x)
        if isinstance(self.loss, SoftmaxCrossEntropy):
            return self.loss.forward(x, y)
        return self.loss.calculate(x, y)

    def backward(self, y):
        fused = isinstance(self.loss, SoftmaxCrossEntropy)
        slope = self.loss.backward(self.loss.output if fused else self.layers[-1].output, y)
        for layer in reversed(self.layers):
            slope = layer.backward(slope)
        return slope


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["labels", "soft"])
@pytest.mark.parametrize("rows", [1, 7])
def test_gradients_are_central_differences(fused, kind, rows):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows) if kind == "labels" else rng.dirichlet(np.full(3, 1.0), rows)
    stack, x, step = Stack(fused), normal((rows, 5), np.float64), 1e-5
    stack.forward(x, y)
    gradients = [stack.backward(y)]
    arrays = [x]
    for layer in stack.layers[::2]:
        if isinstance(layer, Dense):
            arrays += [layer.weights, layer.biases]
            gradients += [layer.dweights.copy(), layer.dbiases.copy()]
    assert len(arrays) == 5
    for array, gradient in zip(arrays, gradients, strict=True):
        for index in np.ndindex(array.shape):
            middle = array[index]
            array[index] = middle + step
            above = stack.forward(x, y)
            array[index] = middle - step
            slope = (above - stack.forward(x, y)) / (2 * step)
            array[index] = middle
            # Rounding: eps / step = 2e-11; truncation: step**2 / 6 of the third derivative.
            assert abs(gradient[index] - slope) <= 1e-9 + 1e-7 * abs(slope)


# ------------------------------------------------------------------------- parameters


@every_dtype
def test_assigned_parameters_are_copied_into_the_ones_that_are_there(dtype):
    layer = Dense(3, 2, dtype=dtype)
    weights, biases = layer.weights, layer.biases
    value = normal((3, 2), dtype)
    layer.weights, layer.biases = value, [[1, 2]]
    assert layer.weights is weights
    assert layer.biases is biases
    assert np.array_equal(weights, value)
    assert biases.tolist() == [[1, 2]]
    assert weights.dtype == biases.dtype == layer.dtype == dtype
    value[...] = 0
    assert weights.all()
    x = normal((4, 3), dtype)
    assert_allclose(layer.forward(x), x @ weights + biases, rtol=1e-6, atol=1e-6)
    layer.weights -= 0.5
    layer.weights[0, 0] = 4
    assert_allclose(layer.forward(x), x @ weights + biases, rtol=1e-6, atol=1e-6)


def test_weights_may_be_assigned_from_themselves():
    layer = Dense(3, 3, rng=0)
    before = layer.weights.copy()
    layer.weights = layer.weights.T
    assert np.array_equal(layer.weights, before.T)
    layer.weights = layer.weights[::-1]
    assert np.array_equal(layer.weights, before.T[::-1])


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("he", math.sqrt(2 / 400)), ("glorot", math.sqrt(2 / 500)), ("lecun", math.sqrt(1 / 400)),
        ("he_uniform", math.sqrt(2 / 400)), ("glorot_uniform", math.sqrt(2 / 500)),
        ("lecun_uniform", math.sqrt(1 / 400)), ("zeros", 0), (fastnn.scaled_normal(0.01), 0.01),
    ],
)  # fmt: skip
@every_dtype
def test_first_parameters(init, deviation, dtype):
    layer = Dense(400, 100, init=init, rng=0, dtype=dtype)
    assert not layer.biases.any()
    assert layer.weights.shape == (400, 100)
    assert layer.biases.shape == (1, 100)
    # The standard error of the deviation of n numbers is 1 / sqrt(2 n) of it, of the mean 1 /
    # sqrt(n); five of them, for 40,000 numbers.
    assert abs(layer.weights.std() - deviation) <= 5 * deviation / math.sqrt(80_000)
    assert abs(layer.weights.mean()) <= 5 * deviation / math.sqrt(40_000)


@pytest.mark.parametrize("init", ["he_uniform", "glorot_uniform", "lecun_uniform"])
def test_uniform_weights_have_bounds(init):
    weights = Dense(400, 100, init=init, rng=0).weights
    limit = weights.astype(np.float64).std() * math.sqrt(3)
    assert 0.98 * limit < np.abs(weights).max() < 1.02 * limit


@every_dtype
def test_a_callable_gives_the_first_weights(dtype):
    layer = Dense(2, 3, init=lambda rng, shape: np.full(shape, rng.integers(5, 6)), dtype=dtype)
    assert layer.weights.tolist() == [[5] * 3] * 2
    assert layer.weights.dtype == dtype
    given = np.ones((2, 3), dtype)
    layer = Dense(2, 3, init=lambda rng, shape: given, dtype=dtype)
    layer.weights += 1
    assert (given == 1).all()


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (np.ones((3, 2)), ValueError, r"init gave weights of shape \(3, 2\), expected \(2, 3\)"),
        (np.full((2, 3), np.nan), ValueError, r"the weights that init gave\[0, 0\] is nan"),
        ("he", TypeError, "the weights that init gave has dtype <U2, expected real numbers"),
    ],
)
def test_a_callable_that_gives_no_weights(weights, error, words):
    with pytest.raises(error, match=words):
        Dense(2, 3, init=lambda rng, shape: weights)


def test_scaled_normal():
    assert repr(fastnn.scaled_normal(0.5)) == "scaled_normal(0.5)"
    with pytest.raises(ValueError, match=r"deviation is 0\.0, expected a finite number above 0"):
        fastnn.scaled_normal(0)


def test_he_is_the_default():
    assert np.array_equal(Dense(9, 4, rng=0).weights, Dense(9, 4, rng=0, init="he").weights)


def test_rng_decides_the_weights():
    assert np.array_equal(Dense(4, 3, rng=5).weights, Dense(4, 3, rng=5).weights)
    assert not np.array_equal(Dense(4, 3, rng=5).weights, Dense(4, 3, rng=6).weights)
    assert not np.array_equal(Dense(4, 3).weights, Dense(4, 3).weights)
    rng = np.random.default_rng(5)
    first, second = Dense(4, 3, rng=rng), Dense(4, 3, rng=rng)
    assert np.array_equal(first.weights, Dense(4, 3, rng=5).weights)
    assert not np.array_equal(first.weights, second.weights)
    # The same numbers in either dtype, rounded.
    wide = Dense(4, 3, rng=5, dtype=np.float64).weights
    assert np.array_equal(wide.astype(np.float32), first.weights)


# ------------------------------------------------------------------------- the object


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@every_layer
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("in_a_model", [False, True])
def test_copies_of_a_layer(name, copied, in_a_model):
    layer = make(name, 3, np.float32)
    if in_a_model:
        model = fastnn.Sequential([Dense(3, 3), layer])
    x, dvalues = normal((4, 3), np.float32), normal((4, 3), np.float32, seed=1)
    output, dinputs = layer.forward(x), layer.backward(dvalues)
    twin = copied(layer)
    assert type(twin) is type(layer)
    if in_a_model and copied is pickled:  # a pickle of a model does not have them
        assert twin.inputs is twin.output is twin.dinputs is None
        twin.backward(twin.forward(x))
    else:
        assert np.array_equal(twin.backward(dvalues), dinputs)  # what the last pass kept is copied
    assert np.array_equal(twin.forward(x), output)
    if name == "Dense":
        assert not np.shares_memory(twin.weights, layer.weights)
        assert not np.shares_memory(twin.dweights, layer.dweights)
        twin.weights = twin.weights + 1
        assert np.array_equal(layer.forward(x), output)
    if in_a_model:
        fastnn.Sequential([Dense(3, 3), twin])  # the copy belongs to no model
        assert model.layers[1] is layer


def test_repr():
    assert repr(Dense(4, 3)) == "Dense(4, 3, dtype=float32)"
    assert repr(Dense(4, 3, dtype=np.float64)) == "Dense(4, 3, dtype=float64)"
    assert repr(ReLU()) == "ReLU()"
    assert repr(Softmax()) == "Softmax()"
    assert repr(type("Mine", (ReLU,), {})()) == "Mine()"
