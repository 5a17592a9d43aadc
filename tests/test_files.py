"""Files of models: what is saved comes back, and any other file gives a clear error."""

import errno
import json
import os
import struct
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fastnn
from fastnn.files import format as files
from fastnn.nn import classes, configs

LAYERS = [each for each in classes.CLASSES.values() if issubclass(each, fastnn.nn.layer.Layer)]


def make_model(dtype=np.float32, seed=0):
    layers = [
        fastnn.Dense(4, 7, dtype=dtype, rng=seed, init=fastnn.scaled_normal(0.3), weights_l2=0.01),
        fastnn.GELU(approximate="tanh"),
        fastnn.Dense(7, 5, dtype=dtype, rng=seed + 1, trainable=False),
        fastnn.LeakyReLU(0.2),
        fastnn.BatchNorm(5, momentum=0.2, dtype=dtype),
        fastnn.LayerNorm(5, epsilon=1e-4, dtype=dtype),
        fastnn.Dropout(0.1),
        fastnn.Dense(5, 3, dtype=dtype, rng=seed + 2, init="lecun", use_bias=False),
        fastnn.Softmax(),
    ]
    layers[0].biases = np.linspace(-1, 1, 7)[np.newaxis]
    layers[4].running_mean = np.linspace(-0.1, 0.2, 5)[np.newaxis]
    layers[4].running_variance = np.linspace(0.5, 2, 5)[np.newaxis]
    return fastnn.Sequential(layers, fastnn.SoftmaxCrossEntropy(label_smoothing=0.1))


X = np.random.default_rng(0).standard_normal((6, 4))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# ------------------------------------------------------------------ there and back


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_comes_back_with_the_same_bits(path, dtype):
    model = make_model(dtype)
    model.save(path)
    loaded = fastnn.load(path)
    assert loaded.dtype == dtype
    assert np.array_equal(loaded.parameters, model.parameters)
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.to_config() == model.to_config()
    loaded.fit(X, [0, 1, 2, 0, 1, 2], seed=0)
    model.fit(X, [0, 1, 2, 0, 1, 2], seed=0)
    assert np.array_equal(loaded.parameters, model.parameters)


def test_a_negative_variance_is_refused(path):
    model = make_model()
    model.layers[4]._running_variance[0, 1] = -1
    model.save(path)
    with pytest.raises(fastnn.FileFormatError, match=r"4\.running_variance has negative numbers"):
        fastnn.load(path)


@pytest.mark.parametrize(
    ("loss", "width"),
    [
        (fastnn.BinaryCrossEntropy(from_logits=False, epsilon=1e-5), 1),
        (fastnn.Huber(0.25), 2),
        (fastnn.Quantile(0.9), 1),
        (fastnn.Poisson(), 2),
        (fastnn.MeanSquaredError(), 3),
    ],
)
def test_losses_come_back(path, loss, width):
    model = fastnn.Sequential([fastnn.Dense(4, width, rng=0), fastnn.Sigmoid()], loss)
    model.save(str(path))
    loaded = fastnn.load(str(path))
    assert type(loaded.loss) is type(loss)
    assert loaded.loss.number == loss.number
    assert np.array_equal(loaded.predict(X), model.predict(X))


def test_notes_are_kept(path):
    model = make_model()
    model.save(path, notes={"columns": ["a", "b"], "scale": {"mean": 0.1}})
    loaded = fastnn.load(path)
    assert loaded.notes == model.notes == {"columns": ["a", "b"], "scale": {"mean": 0.1}}
    loaded.save(path)
    assert fastnn.load(path).notes == model.notes
    loaded.save(path, notes={})
    assert fastnn.load(path).notes == {}


@pytest.mark.parametrize("notes", [[1], {"a": np.ones(2)}, {"a": float("nan")}, {"a": {1}}])
def test_notes_that_json_cannot_hold(path, notes):
    with pytest.raises((TypeError, ValueError), match="notes is"):
        make_model().save(path, notes=notes)
    assert not path.exists()


def test_the_same_model_gives_the_same_file(path):
    make_model().save(path)
    first = path.read_bytes()
    make_model().save(path)
    assert path.read_bytes() == first


def test_the_file_is_what_the_documentation_says(path):
    model = make_model()
    model.save(path)
    arrays = safetensors.numpy.load_file(path)
    assert sorted(arrays) == [
        "0.biases", "0.weights", "2.biases", "2.weights",
        "4.biases", "4.running_mean", "4.running_variance", "4.weights",
        "5.biases", "5.weights", "7.biases", "7.weights",
    ]  # fmt: skip
    assert np.array_equal(arrays["2.weights"], model.layers[2].weights)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == ["fastnn"]
    description = json.loads(metadata["fastnn"])
    assert list(description) == ["format", "kind", "model", "notes", "checksum"]
    assert (description["format"], description["kind"]) == (1, "model")
    assert description["model"] == model.to_config()


# ------------------------------------------------------------------ configs


def test_a_config_gives_the_architecture_without_parameters():
    model = make_model()
    config = json.loads(json.dumps(model.to_config()))
    built = fastnn.Sequential.from_config(config)
    assert built.to_config() == config
    assert not np.array_equal(built.parameters, model.parameters)
    assert isinstance(built.layers[0].init, fastnn.scaled_normal)
    assert built.layers[3].negative_slope == 0.2


def make(kind):
    """Return an object of a class of fastnn, with its first arguments."""
    first = {"rate": 0.5, "every": 3, "steps": 10, "decay": 0.1, "factor": 0.5, "rule": 0}
    first |= {"n_inputs": 4, "n_neurons": 3, "n_features": 4, "columns": {1: 5}}
    found = configs._parameters(kind).items()
    return kind(**{n: first.get(n, 0.3) for n, each in found if each.default is each.empty})


@pytest.mark.parametrize("name", sorted(classes.CLASSES))
def test_every_class_can_be_described(name):
    kind = classes.CLASSES[name]
    part = make(kind)
    config = configs.describe(part, "part")
    again = configs.build(json.loads(json.dumps(config)), "part", kind)
    assert type(again) is kind
    assert configs.describe(again, "part") == config


def test_no_public_class_is_left_out():
    public = {name for name in fastnn.__all__ if isinstance(getattr(fastnn, name), type)}
    kinds = fastnn.nn.layer.Layer, fastnn.nn.loss.Loss, fastnn.nn.optimizer.Optimizer
    kinds += (fastnn.nn.schedules.Schedule,)
    parts = {name for name in public if issubclass(getattr(fastnn, name), kinds)}
    bases = {kind.__name__ for kind in kinds}  # which are no parts themselves
    assert parts - bases | {"scaled_normal"} == set(classes.CLASSES)


def test_what_a_layer_stores_has_the_shapes_that_were_announced():
    for kind in LAYERS:
        layer = make(kind)
        config = configs.describe(fastnn.Dense(2, 4), "layer"), configs.describe(layer, "layer")
        shapes = configs.stored_shapes({"layers": list(config)})
        expected = {f"1.{name}": getattr(layer, name).shape for name in layer.stored}
        found = {name: shape for name, (shape, _) in shapes.items() if name[0] == "1"}
        assert found == expected


def test_an_optimizer_with_a_schedule_is_described():
    optimizer = fastnn.Adam(fastnn.CosineRate(0.1, 50, warm_up=3), amsgrad=True, clip_norm=2)
    config = configs.describe(optimizer, "optimizer")
    assert config["learning_rate"] == {
        "class": "CosineRate", "rate": 0.1, "steps": 50, "warm_up": 3, "last": 0.0,
    }  # fmt: skip
    again = configs.build(config, "optimizer", fastnn.nn.optimizer.Optimizer)
    assert repr(again) == repr(optimizer)


class Own:
    def forward(self, inputs):
        self.output = inputs

    def backward(self, dvalues):
        self.dinputs = dvalues


class Renamed(fastnn.ReLU):
    pass


@pytest.mark.parametrize("own", [Own, Renamed])
def test_own_layers_are_named_in_the_error(path, own):
    model = fastnn.Sequential([fastnn.Dense(2, 2), own()])
    with pytest.raises(TypeError, match=r"layers\[1\] is .*(Own|Renamed).*, expected one of fastn"):
        model.save(path)
    with pytest.raises(TypeError, match=r"layers\[1\] is"):
        model.to_config()
    assert not path.exists()


DENSE = {"class": "Dense", "n_inputs": 2, "n_neurons": 3}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "config is None, expected a dict"),
        ({}, "layers is None, expected a list of dicts"),
        ({"layers": []}, r"layers is \[\], expected a list"),
        ({"class": "Model", "layers": [DENSE]}, "config.class is 'Model', expected \"Sequential\""),
        ({"layers": [DENSE], "looss": None}, "config has 'looss', expected 'loss'"),
        ({"layers": [3]}, r'layers\[0\] is 3, expected a dict with "class"'),
        ({"layers": [{"class": "Dens"}]}, r"layers\[0\].class is 'Dens', expected 'Dense'"),
        ({"layers": [{"class": "Adam"}]}, r"layers\[0\].class is 'Adam', expected"),
        ({"layers": [{"class": "Layer"}]}, r"layers\[0\].class is 'Layer', expected"),
        ({"layers": [DENSE | {"n_neuron": 1}]}, r"\[0\] has 'n_neuron', expected 'n_neurons'"),
        ({"layers": [DENSE | {"self": 1}]}, r"\[0\] has 'self', expected"),
        (
            {"layers": [{"class": "Dense", "n_inputs": 2}]},
            r"layers\[0\].n_neurons is missing, expected an argument of Dense",
        ),
        ({"layers": [DENSE, DENSE | {"n_inputs": -1}]}, r"layers\[1\].n_inputs is -1, expected"),
        ({"layers": [DENSE | {"n_inputs": "2"}]}, r"layers\[0\].n_inputs is '2', expected"),
        ({"layers": [DENSE | {"n_inputs": [2]}]}, r"layers\[0\].n_inputs is \[2\], expected"),
        ({"layers": [DENSE | {"dtype": "int8"}]}, r'layers\[0\].dtype is \'int8\', expected "fl'),
        ({"layers": [DENSE | {"init": "she"}]}, r"layers\[0\].init is 'she', expected"),
        ({"layers": [DENSE | {"init": DENSE}]}, r"layers\[0\].init.class is 'Dense', expected"),
        ({"layers": [DENSE | {"weights_l1": 10**400}]}, r"layers\[0\].weights_l1 is 1000"),
        ({"layers": [DENSE], "loss": {"class": "Hubert"}}, "loss.class is 'Hubert', expected 'Hub"),
        ({"layers": [DENSE], "loss": {"class": "Huber", "delta": -1}}, "loss.delta is -1.0, expe"),
        ({"layers": [DENSE], "n_features": 3}, "n_features is 3, expected 2, as in layers"),
        ({"layers": [DENSE], "dtype": "float64"}, "dtype is 'float64', expected 'float32'"),
        ({"layers": [DENSE, DENSE]}, r"layers\[1\] takes 2 inputs, expected 3"),
    ],
)
def test_bad_configs(config, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fastnn.Sequential.from_config(config)


HUGE = {"class": "Dense", "n_inputs": 10**6, "n_neurons": 10**6}


def peak_of(function, argument, words):
    """Return the most bytes that NumPy and Python had at once during a call that fails."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            function(argument)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [10**6, 10**9, 10**30])
def test_a_network_beyond_memory_is_refused_before_it_is_made(size):
    config = {"layers": [HUGE | {"n_neurons": size}]}
    assert peak_of(fastnn.Sequential.from_config, config, "^config announces ") < 1_000_000


@pytest.mark.parametrize("layers", [[HUGE], [DENSE] * 3 + [HUGE], [DENSE | {"n_inputs": 10**12}]])
def test_a_file_that_announces_a_large_network(path, layers):
    arrays = {"0.weights": np.ones((2, 3), np.float32), "0.biases": np.ones((1, 3), np.float32)}
    files.write(path, {"kind": "model", "model": {"layers": layers}}, arrays)
    assert peak_of(fastnn.load, path, "has no model that can be built: ") < 1_000_000


def test_many_layers_take_time_in_proportion(path):
    layers = [DENSE] + [{"class": "ReLU"}] * 20_000
    arrays = {"0.weights": np.ones((2, 3), np.float32), "0.biases": np.ones((1, 3), np.float32)}
    files.write(path, {"kind": "model", "model": {"layers": layers}}, arrays)
    assert len(fastnn.load(path).layers) == 20_001


# ------------------------------------------------------------------ other files


def make_file(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
TWICE += b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "header too small"),
        (b"PK\x03\x04 something else", "header too large"),
        (struct.pack("<Q", 2**63) + b"{}", "header too large"),
        (struct.pack("<Q", 90_000_000) + b"{}", "invalid header length"),
        (make_file(b"\xff\xff"), "invalid UTF-8"),
        (make_file(b"{"), "invalid JSON"),
        (make_file(b"null"), "invalid JSON"),
        (make_file(b'{"a":' * 100_000), "recursion limit"),
        (make_file(TWICE, b"1234"), "a name stands in it twice"),
        (make_file({"a": F4}, b"12345678"), "not fully covered"),
        (make_file({"a": F4}, b"12"), "not fully covered"),
        (make_file({"a": F4, "b": F4}, b"1234"), "invalid offset"),
        (make_file({"a": F4 | {"data_offsets": [0, 2**63]}}, b"1234"), "a"),
        (make_file({"a": F4 | {"shape": [2**40, 2**40]}}, b"1234"), "overflow"),
        (
            make_file({"a": F4 | {"shape": [0, 2**63], "data_offsets": [0, 0]}}),
            "dimension exceeded",
        ),
        (make_file({"a": F4 | {"shape": [1] * 99}}, b"1234"), "dimension"),
        (make_file({"__metadata__": None, "a": F4}, b"1234"), "it has no description of a model"),
        (make_file({"a": F4 | {"dtype": "BF16", "shape": [2]}}, b"1234"), "a has dtype BF16"),
        (make_file({"a": F4}, b"1234"), "it has no description of a model"),
        (make_file({"__metadata__": {"format": "pt"}, "a": F4}, b"1234"), "no description"),
        (make_file({"__metadata__": {"fastnn": "[1]"}}), "its description is not a dict"),
        (make_file({"__metadata__": {"fastnn": "{"}}), "Expecting"),
        (make_file({"__metadata__": {"fastnn": "[" * 100_000}}), "recursion"),
        (make_file({"__metadata__": {"fastnn": '{"a": NaN}'}}), "NaN is not JSON"),
        (make_file({"__metadata__": {"fastnn": '{"a": 1, "a": 1}'}}), "stands in it twice"),
        (make_file({"__metadata__": {"fastnn": "{}"}}), "its format is None, expected 1"),
        (make_file({"__metadata__": {"fastnn": '{"format": true}'}}), "its format is True"),
        (make_file({"__metadata__": {"fastnn": '{"format": 2}'}}), "is 2, newer than 1: update"),
        (make_file({"__metadata__": {"fastnn": '{"format": 1, "a": 1e999}'}}), "not JSON compl"),
        (make_file({"__metadata__": {"fastnn": '{"format": 1}'}}), "is damaged"),
    ],
)
def test_foreign_files(path, data, words):
    path.write_bytes(data)
    with pytest.raises(fastnn.FileFormatError, match=words) as caught:
        fastnn.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastnn.load(tmp_path / "none")
    for path in (tmp_path, os.devnull):
        with pytest.raises(fastnn.FileFormatError, match="is not a regular file"):
            fastnn.load(path)
    for value in (3, None, b"name", [tmp_path]):
        with pytest.raises(TypeError, match=r"path is .*, expected the name of a file"):
            fastnn.load(value)


@pytest.mark.parametrize(
    ("begin", "size", "words"),
    [
        (b"", 2**43, "is not a file of fastnn"),
        (make_file({"a": F4}, b"1234"), 2**43, "not fully covered"),
        (
            make_file({"a": F4 | {"shape": [2**41], "data_offsets": [0, 2**43]}}),
            None,
            r"has 8,796,093,0\d\d,\d\d\d bytes, more than the memory of this machine",
        ),
    ],
)
def test_a_file_with_a_large_hole(path, begin, size, words):
    """It takes no room on the disk, and more than there is in memory."""
    path.write_bytes(begin)
    try:
        os.truncate(path, size or len(begin) + 2**43)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL, errno.ENOSPC):
            raise
        pytest.skip("a file cannot be so large on this disk")
    assert peak_of(fastnn.load, path, words) < 1_000_000


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(fastnn.FileFormatError, match="is not a regular file"):
        fastnn.load(tmp_path / "pipe")


def rewrite(path, change):
    """Let `change(description, arrays)` alter a file, and give it the right checksum."""
    description, arrays = files.read(path)
    arrays = {name: array.copy() for name, array in arrays.items()}
    del description["checksum"]
    change(description, arrays)
    files.write(path, description, arrays)


def set_item(mapping, key, value):
    mapping[key] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, a: a.pop("2.weights"), "the array 2.weights is missing"),
        (lambda d, a: set_item(a, "1.weights", np.ones(1)), "1.weights belongs to no layer"),
        (lambda d, a: set_item(a, "0.biases", a["0.biases"][0]), r"shape \(7,\), expected float32"),
        (
            lambda d, a: set_item(a, "0.biases", a["0.biases"].astype(float)),
            r"0.biases is float64 of shape \(1, 7\), expected float32 of \(1, 7\)",
        ),
        (lambda d, a: set_item(a["0.weights"], (1, 2), np.nan), "0.weights has numbers that are"),
        (lambda d, a: set_item(a["0.weights"], (1, 2), np.inf), "0.weights has numbers that are"),
        (lambda d, a: d.pop("model"), "config is None, expected a dict"),
        (lambda d, a: set_item(d, "notes", [1]), r"notes is \[1\], expected a dict"),
    ],
)
def test_models_that_do_not_fit_together(path, change, words):
    make_model().save(path)
    rewrite(path, change)
    with pytest.raises(fastnn.FileFormatError, match=words):
        fastnn.load(path)


# ------------------------------------------------------------------ any file whatever


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a file as it should be."""
    path = tmp_path_factory.mktemp("whole") / "model"
    make_model().save(path, notes={"a": [1, 2.5, None]})
    return path.read_bytes()


quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.sampled_from([10**12, 2**31, 2**63, 10**400, -1, 0, "Dense", "float64", "F16", "F64"]),
    st.lists(st.integers(0, 2**40), max_size=3), st.just({}), st.just({"class": "ReLU"}),
)  # fmt: skip


def load_or_refuse(path, data):
    """Return the model in a file, or None where it is refused as it should be."""
    path.write_bytes(data)
    try:
        model = fastnn.load(path)
    except fastnn.FileFormatError:
        return None
    assert np.isfinite(model.parameters).all()
    assert repr(model).startswith("Sequential")
    return model


def put(tree, where, value):
    """Replace one place of a tree, chosen by the numbers `where`."""
    for number in where:
        items = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
        if not items:
            return
        key, child = items[number % len(items)]
        if not isinstance(child, dict | list) or number == where[-1]:
            if value == "delete":
                del tree[key]
            else:
                tree[key] = value
            return
        tree = child


@quick
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 10**6)),
)
@example(changes=[(0, 0)], cut=0)
@example(changes=[(7, 255)], cut=None)
@example(changes=[(3, 1)], cut=None)
def test_changed_bytes_are_noticed(tmp_path, whole, changes, cut):
    data = bytearray(whole)
    for at, value in changes:
        data[at % len(data)] = value
    if cut is not None:
        del data[cut % len(data) :]
    model = load_or_refuse(tmp_path / "model", bytes(data))
    # A file that still loads has what was saved: a space more or less is no damage.
    if model is not None:
        assert np.array_equal(model.parameters, make_model().parameters)
        assert model.to_config() == make_model().to_config()


@quick
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    extra=st.binary(max_size=9),
)
def test_changed_bytes_do_no_harm_without_the_checksum(
    tmp_path, whole, monkeypatch, changes, extra
):
    data = bytearray(whole)
    for at, value in changes:
        data[at % len(data)] = value
    with monkeypatch.context() as patch:
        patch.setattr(files, "_checksum", lambda description, _: description.get("checksum"))
        load_or_refuse(tmp_path / "model", bytes(data) + extra)


@quick
@given(
    where=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    value=st.one_of(JUNK, st.just("delete")),
)
def test_a_changed_header(tmp_path, whole, monkeypatch, where, value):
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    put(header, where, value)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_checksum", lambda description, _: description.get("checksum"))
        load_or_refuse(tmp_path / "model", make_file(header, whole[8 + length :]))


@quick
@given(
    where=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    value=st.one_of(JUNK, st.just("delete")),
)
@example(where=[2, 3, 0, 1], value=10**12)
def test_a_changed_description(tmp_path, whole, where, value):
    path = tmp_path / "model"
    path.write_bytes(whole)
    description, arrays = files.read(path)
    put(description, where, value)
    description.pop("checksum", None)
    version = {"format": description.pop("format", 0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            files.write(path, {**description, **version}, arrays)
        except ValueError:  # JSON has no NaN
            return
        load_or_refuse(path, path.read_bytes())


# ------------------------------------------------------------------ whole or not at all


class FullDisk:
    """Stands for a file: takes some bytes, then has no room."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: self.room])
        self.file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


def fill_disk(monkeypatch, room=100):
    full = lambda *a, **k: FullDisk(open(*a, **k), room)  # noqa: E731
    monkeypatch.setattr(files, "open", full, raising=False)


def test_a_full_disk_keeps_the_file_that_was_there(path, monkeypatch):
    make_model().save(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(OSError, match="No space left"):
            make_model(seed=9).save(path)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_failure_at_the_end_keeps_it_too(path, monkeypatch, name, error):
    make_model().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if name == "fsync" else (files.Path, "replace")), fail)
        with pytest.raises(type(error)):
            make_model(seed=9).save(path)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before


def test_the_file_is_on_disk_before_it_gets_its_name(path, monkeypatch):
    calls = []
    sync, rename = os.fsync, files.Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), sync(fd))[1])
    monkeypatch.setattr(files.Path, "replace", lambda *a: (calls.append("replace"), rename(*a))[1])
    make_model().save(path)
    assert calls == ["fsync", "replace", "fsync"]


@pytest.fixture
def umask():
    """A mask that takes other bits away than the usual one."""
    before = os.umask(0o026)
    yield
    os.umask(before)


posix = pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o666, 0o400])
@pytest.mark.usefixtures("umask")
def test_a_replaced_file_keeps_its_mode(path, mode):
    make_model().save(path)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(mode)
    make_model(seed=9).save(path)
    assert path.stat().st_mode & 0o777 == mode
    assert np.array_equal(fastnn.load(path).parameters, make_model(seed=9).parameters)


def write_c(model, path):
    fastnn.export.to_c(model, path)


def write_onnx(model, path):
    pytest.importorskip("onnx")
    fastnn.export.to_onnx(model, path)


def write_torch(model, path):
    fastnn.export.to_torch(model, path)


def write_checkpoint(model, path):
    model.fit(X, [0, 1, 2, 0, 1, 2], seed=0, epochs=1, callbacks=[fastnn.Checkpoint(path)])


def write_log(model, path):
    model.fit(X, [0, 1, 2, 0, 1, 2], seed=0, epochs=1, callbacks=[fastnn.CSVLogger(path)])


WRITERS = [
    fastnn.Sequential.save, write_c, write_onnx, write_torch, write_checkpoint, write_log,
]  # fmt: skip


@posix
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_writer_keeps_mode_and_link(write, tmp_path):
    link, real = tmp_path / "link", tmp_path / "folder" / "real"
    real.parent.mkdir()
    real.touch()
    real.chmod(0o600)
    link.symlink_to(real)
    write(make_model(), str(link))
    assert link.is_symlink()
    assert real.stat().st_size > 0
    assert real.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]
    assert os.listdir(real.parent) == ["real"]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("length", [226, 227, 254, 255])
def test_long_names(write, length, tmp_path):
    for name in ("n" * length, "é" * (length // 2) + "n" * (length % 2)):
        write(make_model(), str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 0
        (tmp_path / name).unlink()
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs other owners")
def test_a_replaced_file_keeps_its_owner(path, monkeypatch):
    make_model().save(path)
    os.chown(path, 1234, 4321)
    path.chmod(0o660)
    make_model(seed=9).save(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 4321, 0o660)

    def refuse(*_):
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    make_model(seed=9).save(path)
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o600)


@posix
def test_the_temporary_file_is_new_and_closed_to_others(path, monkeypatch):
    make_model().save(path)
    path.chmod(0o600)
    victim = path.parent / "victim"
    victim.write_text("as it was")
    monkeypatch.setattr(files, "temporary_name", lambda name: ".planted")
    (path.parent / ".planted").symlink_to(victim)
    with pytest.raises(FileExistsError):
        make_model(seed=9).save(path)
    assert victim.read_text() == "as it was"
    assert (path.parent / ".planted").is_symlink()
    (path.parent / ".planted").unlink()
    modes = []
    opened = os.open

    def watched(name, flags, mode=0o777, **options):
        if str(name).endswith(".planted"):
            modes.append((mode, flags & (os.O_EXCL | os.O_NOFOLLOW)))
        return opened(name, flags, mode, **options)

    monkeypatch.setattr(os, "open", watched)
    make_model(seed=9).save(path)
    assert modes == [(0o600, os.O_EXCL | os.O_NOFOLLOW)]


def test_a_link_keeps_pointing_at_the_file(path):
    real = path.parent / "real"
    make_model().save(real)
    path.symlink_to(real)
    make_model(seed=9).save(path)
    assert path.is_symlink()
    assert np.array_equal(fastnn.load(real).parameters, make_model(seed=9).parameters)


def test_what_is_no_regular_file_is_not_replaced(path):
    os.mkfifo(path)
    for place in (path, path.parent):
        with pytest.raises(OSError, match="expected a regular file, or none"):
            make_model().save(place)
    assert not path.is_file()
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        make_model().save(path.parent / "none" / "model")


def test_parameters_that_are_not_finite_are_not_saved(path):
    model = make_model()
    model.save(path)
    model.parameters[3] = np.nan
    with pytest.raises(ValueError, match=r"0\.weights is not finite"):
        model.save(path)
    assert np.array_equal(fastnn.load(path).parameters, make_model().parameters)


def let_another_thread_write(buffer, monkeypatch):
    """Change parameters whenever they have just been looked at while a file is written."""

    def changing(function):
        def changed(*arguments, **options):
            found = function(*arguments, **options)
            buffer[...] += 1
            return found

        return changed

    monkeypatch.setattr(files, "_checksum", changing(files._checksum))
    monkeypatch.setattr(np, "isfinite", changing(np.isfinite))


def test_another_thread_changes_what_is_saved(path, monkeypatch):
    model = make_model()
    with monkeypatch.context() as patch:
        let_another_thread_write(model._network.buffer, patch)
        model.save(path)
    assert np.array_equal(fastnn.load(path).parameters, make_model().parameters)
    assert not np.array_equal(model.parameters, make_model().parameters)


def test_another_thread_changes_what_a_checkpoint_holds(path, monkeypatch):
    class Beside(fastnn.Callback):
        """Stands before the checkpoint, which comes last."""

        def on_epoch_end(self, run):
            self.parameters = run.model.parameters.copy()
            let_another_thread_write(run.model._network.buffer, monkeypatch)

    beside, writing = Beside(), fastnn.Checkpoint(path)
    make_model().fit(X, [0, 1, 2, 0, 1, 2], seed=0, epochs=1, callbacks=[beside, writing])
    assert np.array_equal(fastnn.load(path).parameters, beside.parameters)


@pytest.mark.parametrize("what", ["save", "save_parameters"])
def test_another_thread_changes_what_the_book_saves(what, path, monkeypatch):
    from fastnn.nnfs import Layer_Dense, Model

    model = Model()
    model.add(Layer_Dense(4, 3))
    model.finalize()
    before = model.layers[0].weights.copy()
    with monkeypatch.context() as patch:
        let_another_thread_write(model.layers[0].weights, patch)
        getattr(model, what)(path)
    assert np.array_equal(files.read(path)[1]["0.weights"], before)
    assert not np.array_equal(model.layers[0].weights, before)


def test_what_the_book_could_not_load_is_not_saved(path):
    from fastnn.nnfs import Layer_Dense, Model

    model = Model()
    model.add(Layer_Dense(4, 3))
    model.finalize()
    model.save(path)
    before = path.read_bytes()
    model.layers[0].weights[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"0\.weights is not finite"):
        model.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", [write_c, write_onnx, write_torch])
def test_another_thread_ruins_what_is_exported(write, path, monkeypatch):
    """What has been found finite is what is written."""
    model = fastnn.Sequential([fastnn.Dense(4, 3, rng=0)])
    write(model, path)
    expected = path.read_bytes()
    looked_at = []
    checked = np.isfinite

    def ruining(array):
        found = checked(array)
        looked_at.append(np.shape(array))
        if len(looked_at) == 2:
            model._network.buffer[...] = np.nan
        return found

    with monkeypatch.context() as patch:
        patch.setattr(np, "isfinite", ruining)
        write(model, path)
    assert looked_at[:2] == [(4, 3), (1, 3)]
    assert path.read_bytes() == expected


def test_threads_may_save_to_one_file(path):
    models = [make_model(seed=seed) for seed in range(4)]

    def save(model):
        for _ in range(10):
            model.save(path)

    threads = [threading.Thread(target=save, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = fastnn.load(path).parameters
    assert any(np.array_equal(found, model.parameters) for model in models)
    assert os.listdir(path.parent) == [path.name]
