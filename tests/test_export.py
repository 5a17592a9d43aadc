"""What all exports have in common: what they refuse, and that a file is whole or not there."""

import importlib
import subprocess
import sys

import export_cases
import numpy as np
import pytest

import fastnn
from fastnn.export import to_c, to_onnx, to_torch
from fastnn.kernels.catalogue import Operation

EXPORTS = {"onnx": to_onnx, "c": to_c, "torch": to_torch}
everywhere = pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)


class Own:
    def forward(self, inputs):
        return inputs

    def backward(self, dvalues):
        return dvalues


class OwnReLU(fastnn.ReLU):
    def forward(self, inputs, training=False):
        return np.abs(inputs)


class Größer(fastnn.ReLU):
    """The same passes under another name."""


@everywhere
@pytest.mark.parametrize("layer", [Own, OwnReLU])
def test_own_layers_are_refused(export, layer, tmp_path):
    model = fastnn.Sequential([fastnn.Dense(2, 3), layer(), fastnn.Dense(3, 2)])
    with pytest.raises(TypeError, match=r"layers\[1\] is .*Own.*, expected one of fastnn's own"):
        export(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@everywhere
def test_a_subclass_without_passes_of_its_own_is_no_other_layer(export, tmp_path):
    files = []
    for layer in (fastnn.ReLU, Größer):
        layers = [fastnn.Dense(2, 3, rng=0), layer(), fastnn.Dense(3, 2, rng=1)]
        export(fastnn.Sequential(layers), tmp_path / "model")
        files.append((tmp_path / "model").read_bytes().replace(b"Gr??er", b"ReLU"))
    assert files[0] == files[1]


@everywhere
@pytest.mark.parametrize("model", [None, 3, "model.onnx", fastnn.Dense(2, 2), fastnn.Sequential])
def test_other_things_are_refused(export, model, tmp_path):
    with pytest.raises(TypeError, match=r"^model is .*, expected a fastnn.Sequential$"):
        export(model, tmp_path / "model")


@everywhere
def test_an_estimator_is_refused_with_a_hint(export, tmp_path):
    estimator = fastnn.MLPClassifier((4,), max_iter=5)
    X = np.random.default_rng(0).normal(size=(40, 3))
    if export is fastnn.export.to_torch:
        error, fitted = TypeError, r"expected its model_, a fastnn\.Sequential"
    else:  # these take one that is fitted
        error, fitted = ValueError, None
    with pytest.raises(error, match=r"expected (a fastnn\.Sequential|one after fit)"):
        export(estimator, tmp_path / "model")
    estimator.set_params(tol=1e9, n_iter_no_change=1).fit(X, X[:, 0] > 0)
    if fitted:
        with pytest.raises(TypeError, match=fitted):
            export(estimator, tmp_path / "model")
    else:
        export(estimator, tmp_path / "model")
    export(estimator.model_, tmp_path / "model")


@everywhere
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(export, value, tmp_path):
    model = export_cases.make_model("classes", ["BatchNorm"])
    for i, name in [(0, "weights"), (1, "running_mean"), (2, "biases")]:
        array = getattr(model.layers[i], name)
        before, array[0, 0] = array[0, 0].copy(), value
        with pytest.raises(ValueError, match=rf"layers\[{i}\].{name} is not finite"):
            export(model, tmp_path / "model")
        array[0, 0] = before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("export", [to_onnx, to_c])
def test_without_a_dense_layer_nobody_knows_the_number_of_inputs(export, tmp_path):
    with pytest.raises(ValueError, match="model has no Dense layer, expected one"):
        export(fastnn.Sequential([fastnn.ReLU()]), tmp_path / "model")


@everywhere
@pytest.mark.parametrize("path", [None, 3, b"model"])
def test_paths_are_names(export, path):
    with pytest.raises(TypeError, match=r"^path is .*, expected the name of a file$"):
        export(export_cases.make_model("classes"), path)


@everywhere
def test_a_file_that_cannot_be_written_leaves_nothing(export, tmp_path):
    model = export_cases.make_model("classes")
    with pytest.raises(FileNotFoundError):
        export(model, tmp_path / "missing" / "model")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        export(model, tmp_path / "folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@everywhere
def test_a_file_that_is_there_stays_until_the_new_one_is_whole(export, monkeypatch, tmp_path):
    path = tmp_path / "model"
    path.write_text("before")

    def fail(descriptor):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            export(export_cases.make_model("classes"), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    export(export_cases.make_model("classes"), path)
    assert path.read_bytes() != b"before"


def test_import_fastnn_imports_nothing_that_is_optional():
    code = (
        "import sys, fastnn; fastnn.export.to_onnx;"
        "print([name for name in ('onnx', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["c", "onnx", "torch"])
def test_an_exporter_names_the_layer_that_it_cannot_write(name, monkeypatch, tmp_path):
    module = importlib.import_module(f"fastnn.export.{name}")
    for operation, layer in [(Operation.RELU, "ReLU"), (Operation.BATCH_NORM, "BatchNorm")]:
        with monkeypatch.context() as patch:
            patch.delitem(module.OPERATIONS, operation)
            message = rf"^layers\[1\] is {layer}.*, expected a layer that to_{name} writes$"
            with pytest.raises(TypeError, match=message):
                EXPORTS[name](export_cases.make_model("classes", [layer]), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
