"""Exported models of tables take the columns as they are, and say what `fastnn predict` says."""

import ctypes
import json
import os
import shutil
import subprocess

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

import fastnn
from fastnn import tables
from fastnn.export import to_c, to_onnx

N = 300
WARNINGS = (
    "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wdouble-promotion",
    "-Wshadow", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wundef",
)  # fmt: skip


def make_rows():
    rng = np.random.default_rng(0)
    size = rng.uniform(40, 200, N)
    town = rng.choice(["Bern", "Oslo", 'New "York"?', "größer", "a\\b"], N)
    code = rng.choice([f"c{i}" for i in range(12)], N, p=[0.3, 0.2, *[0.05] * 10])
    time = 1_700_000_000 + rng.integers(0, 1000, N)  # varies little beside its size
    day = np.datetime64("2024-01-01", "us") + rng.integers(0, 700, N) * np.timedelta64(1, "D")
    price = 3 * size + 90 * (town == "Oslo") + 0.1 * (time - 1_700_000_000) + rng.normal(0, 5, N)
    band = np.digitize(price, np.quantile(price, [0.3, 0.6]))
    return pl.DataFrame({
        "size": size, "town": town, "code": code, "time": time, "day": day, "price": price,
        "band": band, "name": np.array(["low", "ä mid", "high"])[band], "dear": price > 400,
    })  # fmt: skip


ROWS = make_rows()
TARGETS = ("price", "band", "name", "dear")


def train(target, missing="refuse", **options):
    drop = [each for each in TARGETS if each != target]
    rows = ROWS
    if missing != "refuse":
        holes = pl.int_range(N) % 7 == 0
        rows = rows.with_columns(
            pl.when(~holes).then(pl.col("size", "town", "code", "day")).name.keep()
        )
    return tables.train(
        rows, target, drop=drop, epochs=4, max_categories=6, missing=missing, **options
    )


def inputs_of(model, rows):
    """Return {input of the ONNX file: array (N, 1)}: what the docstring says that it takes."""
    values = {}
    for column in model.preprocessor.columns:
        series = rows[column.name]
        if column.kind == "number":
            values[column.name] = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        elif column.kind == "category":
            values[column.name] = series.fill_null("").to_numpy().astype(object)
        else:
            whole = pl.DataFrame({
                "year": series.dt.year(), "month": series.dt.month(),
                "day of year": series.dt.ordinal_day(), "weekday": series.dt.weekday(),
                "days": (series - pl.Series([column.first]).str.to_datetime()[0]).dt.total_days(),
            })  # fmt: skip
            for part in column.parts:
                numbers = whole[part].cast(pl.Float64).fill_null(np.nan).to_numpy()
                values[f"{column.name}: {part}"] = numbers
    return {name: each.reshape(-1, 1) for name, each in values.items()}


def run_onnx(model, path, rows):
    to_onnx(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs_of(model, rows)), strict=True)), session


CASES = [(target, missing) for target in TARGETS for missing in ("refuse", "median")]


def unseen():
    """Return rows with categories that no training has seen."""
    new = pl.int_range(N) % 5 == 0
    return ROWS.with_columns(
        pl.when(new).then(pl.lit("elsewhere")).otherwise(pl.col("town", "code")).name.keep()
    )


def with_holes():
    holes = pl.int_range(N) % 4 == 0
    return ROWS.with_columns(
        pl.when(~holes).then(pl.col("size", "town", "code", "time", "day")).name.keep()
    )


def rows_for(missing):
    return [ROWS, unseen(), *[with_holes()] * (missing != "refuse"), ROWS.head(1)]


@pytest.mark.parametrize(("target", "missing"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx(target, missing, dtype, tmp_path):
    model = train(target, missing, dtype=dtype)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for rows in rows_for(missing):
        found, _ = run_onnx(model, tmp_path / "m.onnx", rows)
        wanted = model.predict(rows)
        if target == "price":
            assert list(found) == ["prediction"]
            assert found["prediction"].dtype == wanted.dtype == np.float64
            np.testing.assert_allclose(found["prediction"], wanted, rtol=tolerance)
        else:
            assert list(found) == ["label", "probabilities"]
            assert found["label"].shape == wanted.shape
            assert found["label"].tolist() == wanted.tolist()
            probabilities = model.predict_proba(rows)
            assert found["probabilities"].dtype == probabilities.dtype
            np.testing.assert_allclose(found["probabilities"], probabilities, atol=tolerance)


def test_what_an_onnx_file_says_of_its_columns(tmp_path):
    model = train("name")
    _, session = run_onnx(model, tmp_path / "m.onnx", ROWS)
    said = session.get_modelmeta().custom_metadata_map
    assert (said["task"], said["target"]) == ("classification", "name")
    assert json.loads(said["classes"]) == model.classes_ == ["high", "low", "ä mid"]
    columns = json.loads(said["columns"])
    assert [each["name"] for each in columns] == [each.name for each in session.get_inputs()]
    assert columns[0] == {"name": "size", "kind": "number"}
    assert columns[1]["categories"] == sorted(ROWS["town"].unique())
    (code,) = (each for each in columns if each["name"] == "code")
    assert len(code["categories"]) == 5
    kinds = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    assert kinds["size"] == ("tensor(double)", ["N", 1])
    assert kinds["town"] == ("tensor(string)", ["N", 1])
    _, session = run_onnx(train("price"), tmp_path / "m.onnx", ROWS)
    assert "classes" not in session.get_modelmeta().custom_metadata_map


def test_columns_with_the_names_of_other_values(tmp_path):
    names = ["label", "probabilities", "prediction", "0.weights", "column.0.Sub.0", "X"]
    rng = np.random.default_rng(0)
    columns = {name: rng.random(50) for name in names}
    for target in (["a", "b"] * 25, rng.random(50)):
        model = tables.train({**columns, "y": target}, "y", epochs=1)
        to_onnx(model, tmp_path / "m.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        found = [each.name for each in session.get_inputs()]
        assert found == [*(f"{name} of the table" for name in names[:-1]), "X"]
        feeds = dict(zip(found, (each.reshape(-1, 1) for each in columns.values()), strict=True))
        result, *_ = session.run(None, feeds)
        if isinstance(target, list):
            assert result.tolist() == model.predict(columns).tolist()
        else:
            np.testing.assert_allclose(result, model.predict(columns), rtol=1e-5)


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if not found:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no C compiler: install one, or let CC name it")
    return found


def compile_model(compiler, model, folder):
    to_c(model, folder / "m.c")
    library = folder / f"m{len(list(folder.iterdir()))}.so"
    sources = ["-O1", "-shared", "-fPIC", folder / "m.c", "-o", library, "-lm"]
    subprocess.run([compiler, *WARNINGS, *sources], check=True)
    return ctypes.CDLL(str(library))


def texts_of(library, name, n):
    return [each.decode() for each in (ctypes.c_char_p * n).in_dll(library, name)]


def run_c(library, model, rows):
    """Return (outputs (N, O), labels (N,)) of rows."""
    columns = []
    for name, values in inputs_of(model, rows).items():
        values = values[:, 0]
        if values.dtype == object:
            i = list(inputs_of(model, rows)).index(name)
            (column,) = (each for each in model.preprocessor.columns if each.name == name)
            n = len(column.categories)
            known = texts_of(library, f"model_categories_{i}", n)
            assert known == column.categories
            codes = {text: code for code, text in enumerate(known)} | {"": np.nan}
            values = np.array([codes.get(text, -1) for text in values])
        columns.append(values.astype(np.float64))
    table = np.ascontiguousarray(np.array(columns).T)
    outputs = np.full((len(rows), len(model.classes_ or [0])), np.nan, model.model.dtype)
    pointers = [
        (ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(output.ctypes.data))
        for row, output in zip(table, outputs, strict=True)
    ]
    return outputs, np.array([library.model_predict(*pair) for pair in pointers])


@pytest.mark.parametrize(("target", "missing"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_c(target, missing, dtype, compiler, tmp_path):
    model = train(target, missing, dtype=dtype)
    library = compile_model(compiler, model, tmp_path)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    for rows in rows_for(missing):
        outputs, labels = run_c(library, model, rows)
        if target == "price":
            np.testing.assert_allclose(outputs[:, 0], model.predict(rows), rtol=tolerance)
        else:
            names = texts_of(library, "model_class_names", len(model.classes_))
            assert names == [str(each) for each in model.classes_]
            assert [names[label] for label in labels] == [*map(str, model.predict(rows))]
            np.testing.assert_allclose(outputs, model.predict_proba(rows), atol=tolerance)


def test_the_example_in_the_comment_of_a_c_file_runs(compiler, tmp_path):
    model = train("name", "median")
    to_c(model, tmp_path / "net.c", prefix="net")
    comment, _ = (tmp_path / "net.c").read_text().split("*/", 1)
    assert "int net_predict(const double *row, float *probabilities);" in comment
    assert max(map(len, comment.splitlines())) <= 100
    (tmp_path / "example.c").write_text(comment[comment.index("#include <stdio.h>") :])
    command = [compiler, *WARNINGS, "-O2", "example.c", "-o", tmp_path / "example", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run(
        [tmp_path / "example"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(printed) == 4
    assert sum(map(float, printed[1:])) == pytest.approx(1, abs=1e-5)


def test_names_of_columns_in_c(compiler, tmp_path):
    model = train("name")
    library = compile_model(compiler, model, tmp_path)
    n = len(inputs_of(model, ROWS))
    assert texts_of(library, "model_column_names", n) == list(inputs_of(model, ROWS))
    assert f"#define MODEL_N_COLUMNS {n}\n" in (tmp_path / "m.c").read_text()


def test_a_loaded_model_exports_the_same_file(tmp_path):
    model = train("band")
    model.save(tmp_path / "m.safetensors")
    again = tables.load(tmp_path / "m.safetensors")
    for write in (to_onnx, to_c):
        written = []
        for each in (model, again):
            write(each, tmp_path / "m.out")
            written.append((tmp_path / "m.out").read_bytes())
        assert written[0] == written[1]


def test_pytorch_takes_networks_only(tmp_path):
    with pytest.raises(
        TypeError, match=r"^model is <TableModel: .*>, expected its model, a fastnn\."
    ):
        fastnn.export_torch(train("band"), tmp_path / "m.safetensors")
