"""ONNX files: checked by onnx, and run by ONNX Runtime, they say what the model says."""

import copy
import sys

import export_cases
import numpy as np
import onnx
import onnxruntime
import pytest

import fastnn
from fastnn.export import to_onnx

DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-13}


def run(model, path, X):
    """Return {name: array} of the outputs of the exported model."""
    to_onnx(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


def check(model, path, X, tolerance):
    found = run(model, path, X)
    if model.loss.task == "numbers":
        wanted = {"prediction": model.predict(X)}
    else:
        wanted = {"label": model.predict(X), "probabilities": model.predict_proba(X)}
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", export_cases.LAYERS)
def test_every_layer(name, dtype, tmp_path):
    model = export_cases.make_model("numbers", [name], dtype)
    check(model, tmp_path / "model.onnx", export_cases.make_rows(300, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("answer", export_cases.ANSWERS)
def test_every_kind_of_answer_and_any_number_of_rows(answer, dtype, tmp_path):
    model = export_cases.make_model(answer, dtype=dtype)
    for n in (1, 2, 33):
        rows = export_cases.make_rows(n, dtype)
        check(model, tmp_path / "model.onnx", rows, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", export_cases.LAYERS)
def test_no_rows_give_no_predictions(name, dtype, tmp_path):
    model = export_cases.make_model("numbers", [name], dtype)
    found = run(model, tmp_path / "model.onnx", np.empty((0, 7), dtype))["prediction"]
    assert (found.shape, found.dtype) == (model.predict(np.empty((0, 7), dtype)).shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_deep_network(dtype, tmp_path):
    names = [name for name in export_cases.LAYERS if name != "Softmax"]
    model = export_cases.make_model("classes", names, dtype, first=["BatchNorm", "Tanh"])
    check(model, tmp_path / "model.onnx", export_cases.make_rows(300, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["Identity", "SiLU", "GELU", "GELU tanh", "ELU", "Sigmoid"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_values(name, dtype, tmp_path):
    dense = fastnn.Dense(1, 1, dtype=dtype)
    dense.weights = [[1.0]]
    layers = [dense, export_cases.LAYERS[name]()]
    model = fastnn.Sequential(layers, loss=fastnn.MeanSquaredError())
    X = np.linspace(-1000, 1000, 4001, dtype=dtype).reshape(-1, 1)
    found = run(model, tmp_path / "model.onnx", X)["prediction"]
    np.testing.assert_allclose(found, model.predict(X), rtol=3e-7, atol=TOLERANCE[dtype])


def test_the_tail_of_silu_keeps_its_digits(tmp_path):
    dense = fastnn.Dense(1, 1)
    dense.weights = [[1.0]]
    model = fastnn.Sequential([dense, fastnn.SiLU()], loss=fastnn.MeanSquaredError())
    X = np.linspace(-30, -5, 999, dtype=np.float32).reshape(-1, 1)
    found = run(model, tmp_path / "model.onnx", X)["prediction"]
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-6)


def test_batch_norm_of_features_far_from_zero_keeps_all_digits(tmp_path):
    X = np.random.default_rng(0).normal([1000, -2000, 5], 1, (200, 3)).astype(np.float32)
    exact, model = (
        fastnn.Sequential(
            [fastnn.BatchNorm(3, dtype=dtype), fastnn.Dense(3, 2, rng=0, dtype=dtype)],
            loss=fastnn.MeanSquaredError(),
        )
        for dtype in (np.float64, np.float32)
    )
    model.layers[0].running_mean = exact.layers[0].running_mean = [[1000.25, -2000.5, 5]]
    exact.parameters = model.parameters
    found = run(model, tmp_path / "model.onnx", X)["prediction"]
    np.testing.assert_allclose(found, exact.predict(X), rtol=0, atol=1e-6)


def test_networks_of_the_size_of_images(tmp_path):
    sizes = [(784, 512), (512, 512), (512, 10)]
    layers = [fastnn.Dense(*size, rng=seed) for seed, size in enumerate(sizes)]
    layers[1:1], layers[3:3] = [fastnn.ReLU()], [fastnn.ReLU()]
    X = np.random.default_rng(0).uniform(0, 1, (100, 784)).astype(np.float32)
    check(fastnn.Sequential(layers), tmp_path / "model.onnx", X, 1e-6)


def test_what_stands_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    to_onnx(export_cases.make_model("classes", ["ReLU", "Dropout"]), str(path))
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("fastnn", fastnn.__version__)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Gemm", "Relu", "Gemm", "ArgMax", "Softmax"]
    (x,) = model.graph.input
    rows, columns = x.type.tensor_type.shape.dim
    assert (x.name, rows.dim_param, columns.dim_value) == ("X", "N", 7)
    stored = {each.name: list(each.dims) for each in model.graph.initializer}
    assert stored == {
        "0.weights": [7, 19], "0.biases": [19], "3.weights": [19, 5], "3.biases": [5],
    }  # fmt: skip


def test_no_biases_are_written_where_there_are_none(tmp_path):
    model = fastnn.Sequential([fastnn.Dense(7, 3, use_bias=False, rng=0)])
    check(model, tmp_path / "model.onnx", export_cases.make_rows(9), 1e-6)
    stored = onnx.load(tmp_path / "model.onnx").graph.initializer
    assert [each.name for each in stored] == ["0.weights"]
    model.layers[0].biases = [[1, 2, 3]]
    check(model, tmp_path / "model.onnx", export_cases.make_rows(9), 1e-6)


def test_the_model_is_left_as_it_is(tmp_path):
    model = export_cases.make_model("classes", ["BatchNorm", "Dropout"])
    before = copy.deepcopy(model)
    to_onnx(model, tmp_path / "model.onnx")
    rows = export_cases.make_rows(5)
    assert (model.parameters == before.parameters).all()
    assert (model.predict_proba(rows) == before.predict_proba(rows)).all()


def test_without_onnx_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'^to_onnx needs onnx: pip install "onnx>=1.16"$'):
        to_onnx(export_cases.make_model("classes"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_more_parameters_than_a_file_may_have(monkeypatch, tmp_path):
    monkeypatch.setattr("fastnn.export.onnx._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="model has 1,008 bytes of parameters, expected at most"):
        to_onnx(export_cases.make_model("classes"), tmp_path / "model.onnx")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm"])
def test_normalization_far_from_zero_and_of_huge_rows(name, dtype, tmp_path):
    model, X = export_cases.make_far_model(name, dtype)
    check(model, tmp_path / "model.onnx", X, TOLERANCE[dtype])
