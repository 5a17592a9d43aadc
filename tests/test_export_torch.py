"""State dicts of PyTorch's: what it makes of them is known from `torch_modules.json`."""

import contextlib
import json
import re

import export_cases
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch_model
import torch_modules
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_files import make_file

import fastnn
from fastnn.errors import FileFormatError
from fastnn.export import from_torch, to_torch

FIGURES = torch_modules.figures()
OUTPUTS = [  # of `torch_model.py`
    [0.441290020942688, 0.1250382363796234, -0.38007476925849915],
    [0.443008691072464, 0.12990210950374603, -0.3755439817905426],
    [0.4443526566028595, 0.13397382199764252, -0.37174132466316223],
]


def make_layers(case, **dtype):
    """Return the layers that a case names."""
    i = torch_modules.CASES.index(case)
    if i < len(torch_modules.MIDDLES):
        middle = list(torch_modules.MIDDLES.values())[i](**dtype)
        return [fastnn.Dense(3, 5, **dtype), middle, fastnn.Dense(5, 2, **dtype)]
    if "Sigmoid" in case:
        first = fastnn.Dense(3, 5, use_bias=False, **dtype)
        return [first, fastnn.Dense(5, 2, **dtype), fastnn.Sigmoid()]
    return [fastnn.BatchNorm(3, **dtype), fastnn.Dense(3, 1, **dtype)]


def write(path, state, metadata=None):
    safetensors.numpy.save_file(state, path, metadata)
    return path


def write_case(path, case):
    return write(path, torch_modules.make_state(FIGURES[case]["state"]))


def write_linear(path, *sizes, dtype=np.float32, numbers=None, start=""):
    """Write Linear modules of these sizes; return {name: array}."""
    rng = np.random.default_rng(0)
    state = {}
    numbers = range(0, 2 * len(sizes), 2) if numbers is None else numbers
    for number, n_inputs, n_outputs in zip(numbers, sizes[:-1], sizes[1:], strict=False):
        state[f"{start}{number}.weight"] = rng.normal(0, 1, (n_outputs, n_inputs)).astype(dtype)
        state[f"{start}{number}.bias"] = rng.normal(0, 1, n_outputs).astype(dtype)
    write(path, state)
    return state


# ------------------------------------------------------------------ figures of PyTorch's


def test_the_file_of_figures_is_that_of_its_script():
    assert list(json.loads(torch_modules.PATH.read_text())) == torch_modules.CASES


@pytest.mark.parametrize("case", torch_modules.CASES)
def test_networks_of_torch_give_its_outputs(case, tmp_path):
    path = write_case(tmp_path / "net.safetensors", case)
    model = from_torch(path, layers=make_layers(case))
    found = model.forward(torch_modules.make_inputs())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, FIGURES[case]["outputs"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", torch_modules.CASES)
def test_what_is_written_is_the_state_dict_of_torch(case, tmp_path):
    wanted = torch_modules.make_state(FIGURES[case]["state"])
    path = write_case(tmp_path / "net.safetensors", case)
    to_torch(from_torch(path, layers=make_layers(case)), path)
    found = safetensors.numpy.load_file(path)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "pt"
        assert file.metadata()["sequential"] == case


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", torch_modules.CASES)
@pytest.mark.parametrize("loss", [fastnn.Huber(2.5), fastnn.Poisson()])
def test_what_is_written_comes_back_without_help(case, dtype, loss, tmp_path):
    model = fastnn.Sequential(make_layers(case, dtype=dtype), loss=loss)
    for layer in model.layers:
        if "weights" in layer.stored:
            layer.weights = np.cos(np.arange(layer.weights.size)).reshape(layer.weights.shape)
    to_torch(model, tmp_path / "net.safetensors")
    twin = from_torch(str(tmp_path / "net.safetensors"))
    assert repr(twin) == repr(model)
    X = torch_modules.make_inputs()
    assert twin.predict(X).tobytes() == model.predict(X).tobytes()


def test_a_file_that_pytorch_has_written(tmp_path):
    between = [fastnn.GELU(), fastnn.Dropout(0.5), fastnn.LeakyReLU(0.2)]
    model = fastnn.load_torch(torch_model.PATH, layers=between, loss=fastnn.MeanSquaredError())
    X = np.array(torch_model.make_samples(), np.float32)
    np.testing.assert_allclose(model.predict(X), OUTPUTS, rtol=1e-6, atol=1e-7)
    assert [type(layer).__name__ for layer in model.layers] == [
        "Dense", "GELU", "Dropout", "Dense", "LeakyReLU", "Dense",
    ]  # fmt: skip
    assert [model.layers[i].use_bias for i in (0, 3, 5)] == [True, False, True]
    fastnn.export_torch(model, tmp_path / "net.safetensors")
    assert from_torch(tmp_path / "net.safetensors").to_config() == model.to_config()
    model.fit(X, np.zeros((3, 3)), seed=0)


# ------------------------------------------------------------------ what a state_dict leaves out


@pytest.mark.parametrize(
    ("activation", "kind"),
    [("relu", "ReLU()"), ("gelu", "GELU(approximate='none')"), ("leaky_relu", "LeakyReLU("),
     (fastnn.GELU("tanh"), "GELU(approximate='tanh')"), (fastnn.ReLU(), "ReLU()")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("numbers", "start"), [((0, 2, 4), ""), ((0, 1, 2), "layers."), ((0, 2, 4), "net.stack.")]
)
def test_an_activation_stands_between_linear_modules(activation, kind, numbers, start, tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 5, 4, 2, numbers=numbers, start=start)
    model = from_torch(path, activation=activation, loss=fastnn.MeanSquaredError())
    kinds = [repr(layer).split("(")[0] for layer in model.layers]
    assert kinds == ["Dense", kind.split("(")[0]] * 2 + ["Dense"]
    assert repr(model.layers[1]).startswith(kind)
    assert model.layers[1] is not model.layers[3]
    for layer, number in zip(model.layers[::2], numbers, strict=True):
        np.testing.assert_array_equal(layer.weights.T, state[f"{start}{number}.weight"])
        np.testing.assert_array_equal(layer.biases[0], state[f"{start}{number}.bias"])


def test_biases_that_were_assigned_where_there_should_be_none(tmp_path):
    model = fastnn.Sequential([fastnn.Dense(3, 2, use_bias=False, rng=0)])
    model.layers[0].biases = [[1, 2]]
    to_torch(model, tmp_path / "net.safetensors")
    X = torch_modules.make_inputs()
    twin = from_torch(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(twin.forward(X), model.forward(X))


def test_modules_are_sorted_by_number_not_by_name(tmp_path):
    path = tmp_path / "net.safetensors"
    write_linear(path, *range(2, 10))  # up to 12.weight
    model = from_torch(path, activation="tanh")
    assert [layer.n_inputs for layer in model.layers[::2]] == list(range(2, 9))


def test_a_normalization_stands_where_its_number_says(tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 5, 2, numbers=(0, 3))
    ones = np.ones(5, np.float32)
    for number, kinds in [(1, "Dense LayerNorm Tanh Dense"), (2, "Dense Tanh LayerNorm Dense")]:
        write(path, {**state, f"{number}.weight": 2 * ones, f"{number}.bias": 3 * ones})
        model = from_torch(path, activation="tanh")
        assert [type(layer).__name__ for layer in model.layers] == kinds.split()
        assert (model.layers[number].weights == 2).all()
        assert (model.layers[number].biases == 3).all()


def test_a_batch_norm_may_have_no_weights(tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 2)
    running = {"1.running_mean": np.float32([1, 2]), "1.running_var": np.float32([3, 4])}
    write(path, {**state, **running, "1.num_batches_tracked": np.array(7)})
    _, norm = from_torch(path).layers
    assert norm.running_mean.tolist() == [[1, 2]]
    assert norm.running_variance.tolist() == [[3, 4]]
    assert (norm.weights.tolist(), norm.biases.tolist()) == ([[1, 1]], [[0, 0]])


def test_layers_stand_where_numbers_are_free_and_behind(tmp_path):
    path = tmp_path / "net.safetensors"
    write_linear(path, 3, 5, 2, numbers=(1, 4))
    others = [fastnn.Identity(), fastnn.SiLU(), fastnn.Dropout(0.1), fastnn.Softmax()]
    found = [type(layer).__name__ for layer in from_torch(path, layers=others).layers]
    assert found == ["Identity", "Dense", "SiLU", "Dropout", "Dense", "Softmax"]


def test_layers_of_the_caller_are_filled_whatever_the_numbers(tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 5, 2, numbers=(1, 4))  # behind an nn.Flatten
    layers = [fastnn.Dense(3, 5), fastnn.SiLU(), fastnn.Dropout(0.1), fastnn.Dense(5, 2)]
    model = from_torch(path, layers=layers, loss=fastnn.MeanSquaredError())
    assert model.layers == tuple(layers)
    np.testing.assert_array_equal(layers[3].weights.T, state["4.weight"])


# ------------------------------------------------------------------ dtypes


@pytest.mark.parametrize(
    ("stored", "dtype"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_dtypes_keep_every_number(stored, dtype, tmp_path):
    state = write_linear(tmp_path / "net.safetensors", 3, 2, dtype=stored)
    model = from_torch(tmp_path / "net.safetensors")
    assert model.dtype == dtype
    np.testing.assert_array_equal(model.layers[0].weights.T, state["0.weight"])


def test_bfloat16_becomes_float32(tmp_path):
    values = np.float32([[1.5, -2.0, 3e38], [2.0**-126, 0.0, -0.0078125]])
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    about = {"dtype": "BF16", "shape": halves.shape, "data_offsets": [0, halves.nbytes]}
    header = json.dumps({"0.weight": about}).encode()
    data = len(header).to_bytes(8, "little") + header + halves.tobytes()
    (tmp_path / "net.safetensors").write_bytes(data)
    found = from_torch(tmp_path / "net.safetensors").layers[0].weights.T
    exact = (halves.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, exact)


# ------------------------------------------------------------------ bad input


def matrix(*shape):
    return np.ones(shape, np.float32)


BAD_STATES = {
    "it has 'fc1.weight', expected names such as '0.weight', '2.bias'": {
        "fc1.weight": matrix(2, 3)
    },
    "it has '0.weights', expected names": {"0.weights": matrix(2, 3)},
    "it has no arrays": {},
    "a.0.weight and b.0.weight differ, expected one as the start of a name": {
        "a.0.weight": matrix(2, 3), "b.0.weight": matrix(2, 3)
    },
    "0.weight is missing": {"0.bias": matrix(3)},
    "1.weight is missing": {"0.weight": matrix(3, 2), "1.num_batches_tracked": np.array(3)},
    "0.weight has shape (4, 3, 3), expected (O, I) of a Linear": {"0.weight": matrix(4, 3, 3)},
    "0.weight has shape (0, 3), expected (O, I) of a Linear": {"0.weight": matrix(0, 3)},
    "0.bias has shape (3,), expected (2,)": {"0.weight": matrix(2, 3), "0.bias": matrix(3)},
    "0.bias has shape (2, 1), expected (2,)": {"0.weight": matrix(2, 3), "0.bias": matrix(2, 1)},
    "0.running_var is missing, expected that of a BatchNorm1d": {
        "0.weight": matrix(2), "0.running_mean": matrix(2)
    },
    "0.running_var has numbers below 0": {
        "0.running_mean": matrix(2), "0.running_var": -matrix(2)
    },
    "0.running_mean stands beside a matrix": {
        "0.weight": matrix(2, 3), "0.running_mean": matrix(2)
    },
    "0.weight has dtype int64, expected float32 or float64": {
        "0.weight": np.ones((2, 3), np.int64)
    },
    "0.weight has numbers that are not finite": {"0.weight": matrix(2, 3) * np.nan},
    "0.bias and 0.weight differ, expected one as the dtype": {
        "0.weight": np.ones((2, 3)), "0.bias": matrix(2)
    },
    "module 2 takes 4 inputs, expected 2, the outputs of module 0": {
        "0.weight": matrix(2, 3), "2.weight": matrix(5, 4)
    },
}  # fmt: skip


@pytest.mark.parametrize("said", BAD_STATES)
def test_other_states_are_refused(said, tmp_path):
    path = write(tmp_path / "net.safetensors", BAD_STATES[said])
    with pytest.raises(FileFormatError) as caught:
        from_torch(path, activation="relu")
    message = str(caught.value)
    assert message.startswith(f"{path} has no nn.Sequential that fastnn knows: {said}")
    assert "\n" not in message


BAD_MODULES = {
    "modules is {}, expected a list of dicts": {},
    "modules is [3], expected a list of dicts": [3],
    "modules[0] is 'Conv2d', expected one of Linear": [{"class": "Conv2d"}],
    "modules[0] is None, expected one of Linear": [{}],
    "modules[0] is ['ReLU'], expected one of Linear": [{"class": ["ReLU"]}],
    "modules[1] is Linear, expected its arrays, 1.weight": [{"class": "Linear"}] * 2,
    "modules[0] is LayerNorm, expected its arrays": [{"class": "LayerNorm"}],
    "modules has no entry 2, expected one for 2.weight": [{"class": "Linear"}],
    "negative_slope is 'a', expected": [
        {"class": "Linear"}, {"class": "LeakyReLU", "negative_slope": "a"}, {"class": "Linear"}
    ],
}  # fmt: skip


@pytest.mark.parametrize("said", BAD_MODULES)
def test_other_metadata_are_refused(said, tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 4, 2)
    write(path, state, {"modules": json.dumps(BAD_MODULES[said])})
    with pytest.raises(FileFormatError, match=f"fastnn knows: {re.escape(said)}"):
        from_torch(path)


@pytest.mark.parametrize(
    "metadata", [{"modules": "["}, {"loss": "{"}, {"loss": "3"}, {"loss": '{"class": "Hubert"}'},
                 {"modules": "[" * 100_000}],
)  # fmt: skip
def test_metadata_that_say_nothing_are_refused(metadata, tmp_path):
    path = tmp_path / "net.safetensors"
    write(path, write_linear(path, 3, 2), metadata)
    with pytest.raises(FileFormatError):
        from_torch(path)


@pytest.mark.parametrize(
    ("numbers", "activation", "said"),
    [
        ((0, 2), None, 'activation is None, expected a name such as "relu", or layers=[...]'),
        ((0, 1), None, 'activation is None, expected a name such as "relu", or layers=[...]'),
        ((0, 3), "relu", "the file does not say what the 2 modules before number 3 are"),
        ((1, 3), "relu", "the file does not say what the 1 modules before number 1 are"),
    ],
)
def test_unknown_modules_are_asked_for(numbers, activation, said, tmp_path):
    write_linear(tmp_path / "net.safetensors", 3, 4, 2, numbers=numbers)
    with pytest.raises(ValueError, match=re.escape(said)):
        from_torch(tmp_path / "net.safetensors", activation=activation)


def test_no_place_for_an_activation(tmp_path):
    path = tmp_path / "net.safetensors"
    state = write_linear(path, 3, 4, 2, numbers=(0, 2))
    write(path, {**state, "1.weight": matrix(4), "1.bias": matrix(4)})
    with pytest.raises(ValueError, match="the numbers leave no place for it before module 2"):
        from_torch(path, activation="relu")


@pytest.mark.parametrize(
    ("layers", "error", "said"),
    [
        (3, TypeError, "layers is 3, expected a list of layers"),
        (None, ValueError, "activation is None, expected a name such as"),
        ([], ValueError, "layers has 0, expected at least 1: modules 1 have no parameters"),
        ([fastnn.ReLU], TypeError, "layers[1] is <class 'fastnn.nn.layers.ReLU'>, expected"),
        (fastnn.ReLU(), TypeError, "layers is ReLU(), expected a list of layers"),
        ([fastnn.Dense(3, 4)], ValueError, "layers has 1 with parameters, expected 2"),
        (
            [fastnn.Dense(3, 4), fastnn.Dense(4, 3)], ValueError,
            "layers[1] is Dense(4, 3, dtype=float32), expected Dense(4, 2, dtype=float32), "
            "as module 2 of the file",
        ),
        (
            [fastnn.LayerNorm(3), fastnn.Dense(3, 2)], ValueError,
            "layers[0] is LayerNorm(3, dtype=float32), expected Dense(3, 4, dtype=float32)",
        ),
        (
            [fastnn.Dense(3, 4, dtype=np.float64), fastnn.Dense(4, 2, dtype=np.float64)],
            ValueError, "layers[0] is Dense(3, 4, dtype=float64), expected Dense(3, 4, dtype=f",
        ),
        (
            [fastnn.Dense(3, 4, use_bias=False), fastnn.Dense(4, 2)], ValueError,
            "layers[0] is Dense(3, 4, dtype=float32, use_bias=False), expected Dense(3, 4, dtype",
        ),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused(layers, error, said, tmp_path):
    write_linear(tmp_path / "net.safetensors", 3, 4, 2)
    given = [each for each in layers if hasattr(each, "weights")] if type(layers) is list else []
    before = [layer.weights.copy() for layer in given]
    with pytest.raises(error, match=f"^{re.escape(said)}"):
        from_torch(tmp_path / "net.safetensors", layers=layers)
    for layer, weights in zip(given, before, strict=True):
        np.testing.assert_array_equal(layer.weights, weights)


def test_other_activations_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    write_linear(path, 3, 4, 2)
    with pytest.raises(ValueError, match=r"^activation is 'rellu', expected .relu.$"):
        from_torch(path, activation="rellu")
    with pytest.raises(TypeError, match=r"^activation is 3, expected a name such as"):
        from_torch(path, activation=3)
    with pytest.raises(ValueError, match=r"^activation is given, expected no layers beside it"):
        from_torch(path, activation="relu", layers=[])
    with pytest.raises(TypeError, match=r"^loss is 3, expected a loss"):
        from_torch(path, activation="relu", loss=3)


def test_other_files_are_refused(tmp_path):
    twice = b'{"0.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    for data, said in [
        (b"", ""),
        (b"PK\x03\x04 as torch.save writes it", ""),
        (b"\xff" * 100, ""),
        (make_file(twice + twice[1:-1] + b"}", b"1234"), "a name stands in it twice"),
    ]:
        (tmp_path / "net").write_bytes(data)
        with pytest.raises(FileFormatError, match=f"net is not a file of arrays: .*{said}"):
            from_torch(tmp_path / "net")
    with pytest.raises(FileNotFoundError):
        from_torch(tmp_path / "missing")
    with pytest.raises(FileFormatError, match="is not a regular file"):
        from_torch(tmp_path)
    with pytest.raises(TypeError, match=r"^path is None, expected the name of a file"):
        from_torch(None)


@pytest.fixture(scope="module")
def real_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "net.safetensors"
    to_torch(export_cases.make_model("classes", ["BatchNorm", "ELU", "Dropout", "LayerNorm"]), path)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 30), st.binary(max_size=6), st.integers(0, 6)), min_size=1,
        max_size=4,
    )
)  # fmt: skip
@example([(0, b"\xff", 1)])
@example([(7, b"\x7f", 1)])
@example([(8, b"", 1)])
def test_any_file_gives_a_model_or_an_error_of_its_own(real_file, edits):
    path, data = real_file
    n_header = 8 + int.from_bytes(data[:8], "little")
    for place, new, n_old in edits:
        at = place % n_header  # the arrays may have any bytes
        data = data[:at] + new + data[at + n_old :]
    path.with_name("other").write_bytes(data)
    with contextlib.suppress(FileFormatError):
        assert np.isfinite(from_torch(path.with_name("other")).parameters).all()


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = export_cases.make_model("numbers", ["BatchNorm", "ELU"])
    files = set()
    for i in range(4):
        to_torch(model, tmp_path / f"{i}")
        files.add((tmp_path / f"{i}").read_bytes())
    assert len(files) == 1
