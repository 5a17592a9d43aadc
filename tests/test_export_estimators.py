"""Exported estimators and pipelines say what they say in Python."""

import ctypes
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pandas
import pytest
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastnn
from fastnn import register_skl2onnx
from fastnn.export import to_c, to_onnx

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (200, 4)).astype(np.float32)
THIRDS = np.digitize(X[:, 0] + X[:, 1], [-0.4, 0.4])
TARGETS = {
    "two truth values": X[:, 0] > 0,
    "two texts": np.where(X[:, 0] > 0, "yes", "no"),
    "two numbers": np.where(X[:, 0] > 0, 7, -3),
    "three texts": np.array(["low", "mid", "ä high"])[THIRDS],
    "three numbers": THIRDS,
    "three floats": THIRDS.astype(float),
}
WORDS = np.array(["red", "green", "blue"])


def fit(y, kind=fastnn.MLPClassifier, rows=X, **options):
    model = kind(hidden_layer_sizes=(8,), max_iter=40, tol=0, n_iter_no_change=1000, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, y)


def run(path, feeds):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classifiers(y, dtype, tmp_path):
    rows = X.astype(dtype)
    model = fit(y, rows=rows)
    to_onnx(model, tmp_path / "m.onnx")
    for part in (rows, rows[:1]):
        found = run(tmp_path / "m.onnx", {"X": part})
        assert list(found) == ["label", "probabilities"]
        assert found["label"].tolist() == model.predict(part).tolist()
        assert found["probabilities"].dtype == dtype
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(part), atol=1e-5)


def test_several_labels(tmp_path):
    model = fit((X[:, :3] > 0).astype(int))
    to_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"X": X})
    np.testing.assert_array_equal(found["label"], model.predict(X))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("y", [X[:, 0] * 3, X[:, :2]], ids=["one number", "two numbers"])
def test_regressors(y, tmp_path):
    model = fit(y, fastnn.MLPRegressor)
    to_onnx(model, tmp_path / "m.onnx")
    found = run(tmp_path / "m.onnx", {"X": X})
    np.testing.assert_allclose(found["prediction"], model.predict(X), atol=1e-5)


@pytest.mark.parametrize("name", ["two texts", "three texts"])
def test_classes_in_c(name, tmp_path):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no C compiler: install one, or let CC name it")
    model = fit(TARGETS[name])
    to_c(model, tmp_path / "m.c")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command = [compiler, *flags, tmp_path / "m.c", "-o", tmp_path / "m.so", "-lm"]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    n = len(model.classes_)
    names = [each.decode() for each in (ctypes.c_char_p * n).in_dll(library, "model_class_names")]
    assert names == model.classes_.tolist()
    output = np.empty(n, np.float32)
    pointer = ctypes.c_void_p(output.ctypes.data)
    labels = [library.model_predict(ctypes.c_void_p(row.ctypes.data), pointer) for row in X]
    assert [names[label] for label in labels] == model.predict(X).tolist()


def test_what_is_no_fitted_estimator_of_two_classes(tmp_path):
    for write in (to_onnx, to_c):
        with pytest.raises(ValueError, match=r"which is not fitted: expected one after fit$"):
            write(fastnn.MLPClassifier(), tmp_path / "m")
        with pytest.raises(
            ValueError, match=r"^model knows the class 'a' only, expected two class"
        ):
            write(fit(["a"] * 200), tmp_path / "m")
        with pytest.raises(TypeError, match=r"^model is StandardScaler\(\), expected a fastnn"):
            write(StandardScaler(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- pipelines

skl2onnx = pytest.importorskip("skl2onnx")


def convert(model, *values, **options):
    register_skl2onnx()
    register_skl2onnx()  # once more does no harm
    converted = skl2onnx.to_onnx(model, *values, target_opset={"": 17, "ai.onnx.ml": 3}, **options)
    return converted.SerializeToString()


WHOLE = {name: y for name, y in TARGETS.items() if y.dtype.kind != "f"}  # others skl2onnx has not


@pytest.mark.parametrize("y", WHOLE.values(), ids=WHOLE)
def test_pipelines_of_a_scaler_and_a_classifier(y):
    rows = 5 + 3 * X
    scaler = StandardScaler().fit(rows)
    model = make_pipeline(scaler, fit(y, rows=scaler.transform(rows)))
    options = {"zipmap": False}
    found = run(convert(model, rows[:1], options=options), {"X": rows})
    label, probabilities = found.values()
    assert label.tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("y", [X[:, 0] * 3, X[:, :2]], ids=["one number", "two numbers"])
def test_pipelines_of_a_scaler_and_a_regressor(y):
    rows = 5 + 3 * X
    scaler = StandardScaler().fit(rows)
    model = make_pipeline(scaler, fit(y, fastnn.MLPRegressor, scaler.transform(rows)))
    (found,) = run(convert(model, rows[:1]), {"X": rows}).values()
    np.testing.assert_allclose(found, model.predict(rows).reshape(len(X), -1), atol=1e-4)


def test_pipelines_of_numbers_and_categories():
    frame = pandas.DataFrame({
        "size": X[:, 0] * 40 + 100, "rooms": X[:, 1] + 3, "color": WORDS[THIRDS],
    })  # fmt: skip
    columns = make_column_transformer(
        (StandardScaler(), ["size", "rooms"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["color"]),
    )
    y = np.where((X[:, 0] > 0) ^ (THIRDS == 1), "yes", "no")
    model = make_pipeline(columns, fastnn.MLPClassifier((8,), max_iter=300, random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(frame, y)
    types = skl2onnx.common.data_types
    inputs = [
        ("size", types.FloatTensorType([None, 1])), ("rooms", types.FloatTensorType([None, 1])),
        ("color", types.StringTensorType([None, 1])),
    ]  # fmt: skip
    file = convert(model, initial_types=inputs, options={"zipmap": False})
    frame.loc[3, "color"] = "a color that is new"
    feeds = {
        "size": frame[["size"]].to_numpy(np.float32),
        "rooms": frame[["rooms"]].to_numpy(np.float32),
        "color": frame[["color"]].to_numpy(object),
    }  # fmt: skip
    label, probabilities = run(file, feeds).values()
    assert label.tolist() == model.predict(frame).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(frame), atol=1e-4)


def test_without_skl2onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"^register_skl2onnx needs skl2onnx: pip install"):
        register_skl2onnx()
