"""Networks from PyTorch and to it, through files; PyTorch itself is asked where it is installed."""

import importlib.util

import numpy as np
import pytest
import safetensors.numpy
import torch_model
from numpy.testing import assert_allclose
from test_files import make_file

import fastnn

X = np.array(torch_model.make_samples(), np.float32)
OUTPUTS = [
    [0.441290020942688, 0.1250382363796234, -0.38007476925849915],
    [0.443008691072464, 0.12990210950374603, -0.3755439817905426],
    [0.4443526566028595, 0.13397382199764252, -0.37174132466316223],
]


def between():
    return [fastnn.GELU(), fastnn.Dropout(0.5), fastnn.LeakyReLU(0.2)]


def test_a_network_of_pytorch_gives_its_outputs():
    model = fastnn.load_torch(torch_model.PATH, between(), loss=fastnn.MeanSquaredError())
    assert_allclose(model.predict(X), OUTPUTS, rtol=1e-6, atol=1e-7)
    assert [type(layer).__name__ for layer in model.layers] == [
        "Dense", "GELU", "Dropout", "Dense", "LeakyReLU", "Dense",
    ]  # fmt: skip
    assert [layer.use_bias for layer in model.layers[::3] + model.layers[5:]] == [True, False, True]
    model.fit(X, np.zeros((3, 3)), seed=0)


def run_as_pytorch(path, names):
    """Return the outputs of the modules of a `state_dict`, from PyTorch or in NumPy."""
    arrays = safetensors.numpy.load_file(path)
    if importlib.util.find_spec("torch") is not None:
        import torch

        def make(i, name):
            weight = arrays.get(f"{i}.weight")
            if name == "Linear":
                return torch.nn.Linear(*weight.shape[::-1], bias=f"{i}.bias" in arrays)
            return getattr(torch.nn, name)(*([] if weight is None else weight.shape))

        net = torch.nn.Sequential(*(make(i, name) for i, name in enumerate(names)))
        net.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        return net.eval()(torch.tensor(X)).detach().numpy()
    outputs = X
    for i, name in enumerate(names):
        own = {key.split(".")[1]: array for key, array in arrays.items() if key[0] == str(i)}
        if name == "Linear":
            outputs = outputs @ own["weight"].T + own.get("bias", 0)
        elif name == "Tanh":
            outputs = np.tanh(outputs)
        elif name == "LayerNorm":
            means, variances = (f(outputs, axis=1, keepdims=True) for f in (np.mean, np.var))
            outputs = (outputs - means) / np.sqrt(variances + 1e-5) * own["weight"] + own["bias"]
        elif name == "BatchNorm1d":
            scaled = (outputs - own["running_mean"]) / np.sqrt(own["running_var"] + 1e-5)
            outputs = scaled * own["weight"] + own["bias"]
    return outputs


def make_normalised():
    layers = [
        fastnn.Dense(4, 6, rng=0), fastnn.BatchNorm(6), fastnn.Tanh(), fastnn.LayerNorm(6),
        fastnn.Dense(6, 3, rng=1),
    ]  # fmt: skip
    model = fastnn.Sequential(layers, fastnn.MeanSquaredError())
    model.fit(X, np.ones((3, 3)), epochs=20, seed=0, optimizer=fastnn.Adam(0.1))
    return model


def test_normalisation_goes_there_and_back(tmp_path):
    model, path = make_normalised(), tmp_path / "net"
    fastnn.export_torch(model, path)
    names = ["Linear", "BatchNorm1d", "Tanh", "LayerNorm", "Linear"]
    assert_allclose(run_as_pytorch(path, names), model.predict(X), rtol=1e-5, atol=1e-6)
    again = fastnn.load_torch(path, [fastnn.Tanh()], loss=fastnn.MeanSquaredError())
    assert np.array_equal(again.predict(X), model.predict(X))
    assert again.to_config() == model.to_config()


def make_model(use_bias=False):
    layers = [
        fastnn.Dense(4, 6, rng=0), fastnn.Tanh(), fastnn.Dropout(0.3),
        fastnn.Dense(6, 5, rng=1, use_bias=use_bias), fastnn.Identity(), fastnn.Dense(5, 3, rng=2),
    ]  # fmt: skip
    layers[0].biases = np.linspace(-1, 1, 6)[np.newaxis]
    return fastnn.Sequential(layers, fastnn.MeanSquaredError())


NAMES = ["Linear", "Tanh", "Dropout", "Linear", "Identity", "Linear"]


@pytest.mark.parametrize("use_bias", [False, True])
def test_an_exported_network_gives_the_same_outputs(tmp_path, use_bias):
    model, path = make_model(use_bias), tmp_path / "net.safetensors"
    fastnn.export_torch(model, path)
    assert_allclose(run_as_pytorch(path, NAMES), model.predict(X), rtol=1e-5, atol=1e-6)
    arrays = safetensors.numpy.load_file(path)
    assert {name: array.shape for name, array in arrays.items()} == {
        "0.weight": (6, 4), "0.bias": (6,), "3.weight": (5, 6), "5.weight": (3, 5), "5.bias": (3,),
        **({"3.bias": (5,)} if use_bias else {}),
    }  # fmt: skip
    assert np.array_equal(arrays["0.weight"], model.layers[0].weights.T)


def test_there_and_back(tmp_path):
    model, path = make_model(), tmp_path / "net.safetensors"
    fastnn.export_torch(model, path)
    layers = [fastnn.Tanh(), fastnn.Dropout(0.3), fastnn.Identity()]
    again = fastnn.load_torch(path, layers, loss=fastnn.MeanSquaredError())
    assert np.array_equal(again.parameters, model.parameters)
    assert again.to_config() == model.to_config()


def test_names_may_have_a_common_beginning_and_a_layer_may_stand_behind(tmp_path):
    arrays = {"net.0.weight": np.ones((2, 3)), "net.0.bias": np.ones(2)}
    safetensors.numpy.save_file(arrays, tmp_path / "net")
    model = fastnn.load_torch(tmp_path / "net", [fastnn.Softmax()])
    assert model.dtype == np.float64
    assert_allclose(model.predict_proba(np.ones((1, 3))), [[0.5, 0.5]])


def test_halves_become_single_precision(tmp_path):
    arrays = {"0.weight": np.full((2, 3), 0.1, np.float16)}
    safetensors.numpy.save_file(arrays, tmp_path / "net")
    model = fastnn.load_torch(tmp_path / "net")
    assert model.dtype == np.float32
    assert np.array_equal(model.layers[0].weights, np.full((3, 2), np.float16(0.1), np.float32))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "it has no arrays"),
        ({"0.weights": (2, 3)}, "0.weights is no array of a module that fastnn has"),
        ({"weight": (2, 3)}, "weight is no array of a module"),
        ({"a.0.weight": (2, 3), "b.0.weight": (2, 3)}, "its names do not begin alike"),
        ({"0.bias": (2,)}, r"module 0 has bias \(2,\): no layer of fastnn is like this"),
        ({"0.weight": (2,)}, r"module 0 has weight \(2,\): no layer of fastnn is like this"),
        ({"0.weight": (0, 2)}, r"module 0 has weight \(0, 2\): no layer of fastnn is like this"),
        ({"0.weight": (2, 3), "0.bias": (3,)}, r"0.bias has shape \(3,\), expected \(2,\)"),
    ],
)
def test_other_modules(tmp_path, arrays, words):
    path = tmp_path / "net"
    safetensors.numpy.save_file({k: np.ones(v, np.float32) for k, v in arrays.items()}, path)
    with pytest.raises(fastnn.FileFormatError, match=words):
        fastnn.load_torch(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((2, 3), np.int64), "0.weight has dtype int64, expected float32 or float64"),
        (np.full((2, 3), np.nan), "0.weight has numbers that are not finite"),
    ],
)
def test_other_numbers(tmp_path, array, words):
    safetensors.numpy.save_file({"0.weight": array}, tmp_path / "net")
    with pytest.raises(fastnn.FileFormatError, match=words):
        fastnn.load_torch(tmp_path / "net")


def test_other_files(tmp_path):
    path = tmp_path / "net"
    path.write_bytes(b"PK\x03\x04 as torch.save writes it")
    with pytest.raises(fastnn.FileFormatError, match="is not a file of arrays: "):
        fastnn.load_torch(path)
    twice = b'{"0.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    path.write_bytes(make_file(twice + twice[1:-1] + b"}", b"1234"))
    with pytest.raises(fastnn.FileFormatError, match="a name stands in it twice"):
        fastnn.load_torch(path)


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (None, ValueError, "layers has 0, expected at least 3: modules 1, 2, 4 have no parameters"),
        ([fastnn.GELU()], ValueError, "layers has 1, expected at least 3"),
        (fastnn.GELU(), TypeError, r"layers is GELU\(.*\), expected a list of layers"),
        ([fastnn.GELU] * 3, TypeError, r"layers\[0\] is <class .*, expected a layer without"),
        ([fastnn.Dense(2, 2)] * 3, TypeError, r"layers\[0\] is Dense\(2, 2.*, expected a layer wi"),
    ],
)
def test_layers_that_do_not_fit(layers, error, words):
    with pytest.raises(error, match=words):
        fastnn.load_torch(torch_model.PATH, layers)


def test_what_cannot_be_exported(tmp_path):
    class Own(fastnn.ReLU):
        pass

    path = tmp_path / "net"
    with pytest.raises(TypeError, match="model is 3, expected a "):
        fastnn.export_torch(3, path)
    with pytest.raises(
        TypeError, match=r"layers\[1\] is Own\(\), expected a layer of fastnn's own"
    ):
        fastnn.export_torch(fastnn.Sequential([fastnn.Dense(2, 2), Own()]), path)
    model = make_model()
    model.parameters[0] = np.nan
    with pytest.raises(ValueError, match="model has parameters that are not finite"):
        fastnn.export_torch(model, path)
    assert not path.exists()
