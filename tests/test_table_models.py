"""Models of tables from Python: they are those of the command line, and take raw rows."""

import inspect
import json
import re
import sys

import numpy as np
import pandas
import polars as pl
import pytest
from sheets import write_sheet

import fastnn
from fastnn import cli, tables
from fastnn.errors import FileFormatError
from fastnn.tables.frames import as_table

N = 200


def make_houses():
    rng = np.random.default_rng(0)
    size, town = rng.uniform(40, 200, N).round(1), rng.choice(["Bern", "Oslo"], N)
    day = np.datetime64("2024-01-01", "us") + rng.integers(0, 300, N) * np.timedelta64(1, "D")
    price = (3 * size + 100 * (town == "Oslo") + rng.normal(0, 5, N)).round(2)
    return pl.DataFrame(
        {"size": size, "town": town, "sold": day, "price": price, "dear": price > np.median(price)}
    )


HOUSES = make_houses()


@pytest.fixture(scope="module")
def classifier():
    return tables.train(HOUSES, "dear", drop=["price"], epochs=20)


@pytest.fixture(scope="module")
def regressor():
    return tables.train(HOUSES, "price", drop=["dear"], epochs=20)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("dear", {"drop": ["price"], "hidden": [8, 4], "balanced": True, "dropout": 0.1}),
        ("price", {"optimizer": "adamw", "patience": 3, "missing": "mean", "dtype": "float64"}),
        ("town", {"drop": ["dear"], "activation": "tanh", "validation_fraction": 0.3}),
        ("price", {"categorical": ["dear"], "max_categories": 5, "task": "regression"}),
    ],
)
def test_the_file_of_the_command_line(target, options, tmp_path, capsys):
    path, models = tmp_path / "t.csv", [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    HOUSES.write_csv(path)
    model = tables.train(path, target, epochs=3, seed=7, threads=1, **options)
    model.save(models[0])
    arguments = ["train", path, "--target", target, "--epochs", 3, "--seed", 7, "--threads", 1]
    for name, value in options.items():
        arguments.append(f"--{name.replace('_', '-')}")
        if value is not True:
            arguments.append(",".join(map(str, value)) if isinstance(value, list) else value)
    assert cli.main([*map(str, arguments), "--save", str(models[1])]) == 0
    assert models[0].read_bytes() == models[1].read_bytes()
    capsys.readouterr()
    assert cli.main(["predict", str(models[0]), str(path), "--json"]) == 0
    predicted = [json.loads(line)["prediction"] for line in capsys.readouterr().out.splitlines()]
    assert tables.load(models[1]).predict(path).tolist() == predicted
    assert cli.main(["evaluate", str(models[0]), str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for name, score in model.evaluate(path).items():
        assert printed[name] == score
    assert tables.load(models[0]).scores == model.scores


def frames(folder):
    """Yield the houses as everything that data may be."""
    columns = HOUSES.to_dict(as_series=False)
    yield HOUSES
    yield HOUSES.lazy()
    yield columns
    yield {name: np.array(values) for name, values in columns.items() if name != "sold"} | {
        "sold": columns["sold"]
    }
    yield pandas.DataFrame(columns, index=range(7, 7 + N))
    yield pandas.DataFrame(columns).convert_dtypes()
    yield pandas.DataFrame(columns).astype({"town": "category"})
    for name, write in (("t.parquet", HOUSES.write_parquet), ("t.feather", HOUSES.write_ipc)):
        write(folder / name)
        yield folder / name
        yield str(folder / name)


def test_data_of_every_kind(classifier, regressor, tmp_path):
    proba = classifier.predict_proba(HOUSES)
    for data in frames(tmp_path):
        np.testing.assert_array_equal(classifier.predict_proba(data), proba)
        np.testing.assert_array_equal(regressor.predict(data), regressor.predict(HOUSES))
        assert classifier.evaluate(data) == classifier.evaluate(HOUSES)
        again = tables.train(data, "dear", drop=["price"], epochs=20)
        np.testing.assert_array_equal(again.predict_proba(HOUSES), proba)


def test_what_a_model_says(classifier, regressor):
    assert classifier.predict(HOUSES).dtype == bool
    assert (classifier.predict(HOUSES) == HOUSES["dear"].to_numpy()).mean() > 0.9
    assert classifier.predict_proba(HOUSES).shape == (N, 2)
    assert classifier.classes_ == [False, True]
    assert classifier.column_names == ["size", "town", "sold"]
    assert classifier.feature_names[:3] == ["size", "town=Bern", "town=Oslo"]
    assert classifier.target_name == "dear"
    assert classifier.scores["held out"]["accuracy"] > 0.8
    assert len(classifier.history) == 20
    assert repr(regressor) == "<TableModel: regression of 'price' from 3 columns>"
    assert regressor.classes_ is None
    assert regressor.evaluate(HOUSES)["r2"] > 0.95
    assert np.abs(regressor.predict(HOUSES) - HOUSES["price"].to_numpy()).mean() < 40
    with pytest.raises(TypeError, match=r"^the model predicts numbers \('price'\), not classes$"):
        regressor.predict_proba(HOUSES)


def test_texts_are_read_as_on_the_command_line(tmp_path):
    columns = {
        "key": [f"K{i}" for i in range(N)], "share": [f"{i % 50},5 %" for i in range(N)],
        "when": [f"{i % 28 + 1}.3.2024" for i in range(N)],
        "y": [["a", "b", "?"][i % 3] for i in range(N)],
    }  # fmt: skip
    model = tables.train(columns, "y", epochs=2)
    assert model.column_names == ["share", "when"]
    assert model.remarks == [
        "column 'share' is read as numbers with a decimal comma and '%': '0,5 %' is 0.5",
        "column 'when' is read as dates: '1.3.2024' is 2024-03-01",
        "66 of 200 rows have no target 'y': left out",
        "column 'key' has another value in every row: left out",
    ]
    assert model.classes_ == ["a", "b"]
    model.save(tmp_path / "m.safetensors")
    again = tables.load(tmp_path / "m.safetensors")
    rows = {"share": ["1,5 %", "2 %"], "when": ["1.3.2024", "28.3.2024"]}
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    with pytest.raises(
        ValueError, match="column 'share', row 2 is '2', expected a number with a d"
    ):
        again.predict({**rows, "share": ["1,5 %", "2"]})
    assert again.evaluate({**rows, "y": ["a", None]})["roc_auc"] != 0


def test_loading_warns_of_the_network_alone(classifier, tmp_path):
    classifier.save(tmp_path / "m.safetensors")
    with pytest.warns(
        fastnn.PreparedInputsWarning, match=r"`fastnn\.tables\.load` and `fastnn pre"
    ):
        fastnn.load(tmp_path / "m.safetensors")
    tables.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"epoch": 3}, "train() has no option 'epoch'; did you mean epochs?"),
        ({"xyz": 3}, "train() has no option 'xyz'; expected some of task, drop"),
        ({"epochs": 0}, "epochs is 0, expected a whole number of at least 1"),
        ({"epochs": True}, "epochs is True, expected a whole number of at least 1"),
        ({"drop": "price"}, "drop is 'price', expected a list of texts"),
        ({"drop": None}, "drop is None, expected a list of texts"),
        ({"drop": ["prize"]}, "--drop is 'prize', expected one of the columns"),
        ({"drop": ["dear"]}, "target is 'dear', expected a column that is not in drop"),
        ({"hidden": 64}, "hidden is 64, expected whole numbers of at least 1, as in (64, 64)"),
        ({"hidden": [64, 0]}, "hidden is [64, 0], expected whole numbers"),
        ({"optimizer": "adm"}, "optimizer is 'adm', expected one of 'sgd', 'adam', "),
        ({"decimal": ";"}, "decimal is ';', expected one of '.', ','"),
        (
            {"missing": "mode"},
            "missing is 'mode', expected one of 'refuse', 'median', 'mean'",
        ),
        ({"dropout": 1}, "dropout is 1, expected a number of at least 0 and below 1"),
        ({"max_categories": 1}, "max_categories is 1, expected a whole number of at least 2"),
        ({"validation_fraction": "a"}, "validation_fraction is 'a', expected a number between 0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf, expected a finite number above"),
        ({"day_first": 1}, "day_first is 1, expected True or False"),
    ],
)
def test_bad_options(options, error):
    with pytest.raises((TypeError, ValueError)) as caught:
        tables.train(HOUSES, "dear", **options)
    assert str(caught.value).startswith(error)


def test_options_have_checks():
    from fastnn.tables import api

    names = {*api.TrainOptions.__annotations__}
    described = inspect.getdoc(tables.train).partition("Other Parameters\n")[2]
    described = described.partition("Raises\n")[0]
    assert set(re.findall(r"^(\w+) :", described, re.M)) == names
    assert api._CHECKS.keys() | api._CHOICES.keys() == api.TrainOptions.__annotations__.keys()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (3, "data is 3, expected a path, a polars, pandas or Arrow table, or a dict of columns"),
        ([[1, 2]], "data is [[1, 2]], expected a path, a polars"),
        (np.zeros((2, 2)), "data is array([[0., 0.],"),
        ({"x": [1, 2], "y": [1]}, "data is no table of columns ("),
        ({}, "data has no rows, expected samples"),
        (HOUSES.head(0), "data has no rows, expected samples"),
        (pandas.DataFrame([[1, 2]], columns=["x", "x"]), "data has 2 columns named 'x', expected"),
    ],
)  # fmt: skip
def test_bad_data(data, error):
    with pytest.raises((TypeError, ValueError)) as caught:
        as_table(data)
    assert str(caught.value).startswith(error)


def test_bad_rows(classifier, regressor):
    with pytest.raises(ValueError, match=r"^column 'sold' is missing, which the model needs"):
        classifier.predict(HOUSES.drop("sold"))
    with pytest.raises(
        ValueError, match=r"^column 'size', row 1 is empty, expected a value; the mo"
    ):
        classifier.predict(HOUSES.with_columns(size=None))
    with pytest.raises(ValueError, match=r"^the target of the model is 'price', expected one of"):
        regressor.evaluate(HOUSES.drop("price"))
    with pytest.raises(ValueError, match=r"^target is 'prize', expected one of the columns 'size'"):
        tables.train(HOUSES, "prize")
    with pytest.raises(ValueError, match=r"^balanced is True, and the target is a number"):
        tables.train(HOUSES, "price", balanced=True)


def test_files_of_others(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError):
        tables.load(path)
    path.write_bytes(b"no model")
    with pytest.raises(FileFormatError):
        tables.load(path)
    fastnn.Sequential([fastnn.Dense(2, 3, rng=0)]).save(path)
    with pytest.raises(
        ValueError, match=r"m\.safetensors has no preprocessing in it, expected one"
    ):
        tables.load(path)


def test_without_polars(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "polars", None)
    for name in [each for each in sys.modules if each.startswith("fastnn.tables.")]:
        last = name.split(".")[-1]
        if last not in ("api", "table", "text", "sources", "training"):  # imported anew
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(tables, last)
    for use in (lambda: tables.train({"x": [1]}, "x"), lambda: tables.load(tmp_path)):
        with pytest.raises(ImportError, match=r'^tables need polars: pip install "polars>=1\.0"$'):
            use()


# ------------------------------------------------------------------------------- text files


def test_files_are_read_as_train_and_load_are_told(tmp_path):
    path, plain = tmp_path / "t.csv", tmp_path / "plain.csv"
    frame = HOUSES.select("size", "town", "price").rename({"town": "Stra\xdfe"})
    path.write_bytes(frame.write_csv(separator="|").encode("latin-1"))
    frame.write_csv(plain)
    model = tables.train(path, "price", epochs=3, separator="|", encoding="latin-1")
    expected = tables.train(plain, "price", epochs=3)
    assert model.column_names == ["size", "Stra\xdfe"]
    assert np.array_equal(model.predict(path), expected.predict(plain))
    model.save(tmp_path / "m.safetensors")
    again = tables.load(tmp_path / "m.safetensors", separator="|", encoding="latin-1")
    assert np.array_equal(again.predict(path), model.predict(path))
    assert again.evaluate(path) == model.evaluate(path)
    # What a file of another kind cannot have does not count.
    frame.write_parquet(tmp_path / "t.parquet")
    assert np.array_equal(again.predict(tmp_path / "t.parquet"), model.predict(path))
    assert np.array_equal(again.predict(frame), model.predict(path))
    with pytest.raises(ValueError, match="is not in UTF-8"):
        tables.load(tmp_path / "m.safetensors").predict(path)


def test_files_without_a_header_and_other_sheets(tmp_path):
    path, sheet = tmp_path / "t.csv", tmp_path / "t.xlsx"
    rows = HOUSES.select("size", "town", "price")
    rows.write_csv(path, include_header=False)
    model = tables.train(path, "column_3", epochs=2, has_header=False)
    assert model.column_names == ["column_1", "column_2"]
    assert model.predict(path).shape == (N,)
    write_sheet(sheet, others={"houses": rows})
    model = tables.train(sheet, "price", epochs=2, sheet="houses")
    model.save(tmp_path / "m.safetensors")
    assert tables.load(tmp_path / "m.safetensors", sheet="houses").predict(sheet).shape == (N,)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"separator": ";;"}, "separator is ';;', expected a single character"),
        ({"separator": 3}, "separator is 3, expected a single character"),
        ({"encoding": "latn-1"}, "encoding is 'latn-1', expected an encoding of text that Python"),
        ({"encoding": "base64"}, "encoding is 'base64', expected an encoding of text"),
        ({"has_header": "no"}, "has_header is 'no', expected True or False"),
        ({"sheet": 1}, "sheet is 1, expected the name of a sheet"),
    ],
)
def test_bad_arguments_of_files(options, error, tmp_path, regressor):
    path = tmp_path / "m.safetensors"
    regressor.save(path)
    for call in (lambda: tables.train(HOUSES, "price", **options),
                 lambda: tables.load(path, **options)):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{re.escape(error)}"):
            call()


def test_arguments_that_data_cannot_have(tmp_path):
    path = tmp_path / "t.parquet"
    HOUSES.write_parquet(path)
    words = "^separator is ';', expected None for parquet: it is for csv, tsv$"
    with pytest.raises(ValueError, match=words):
        tables.train(path, "price", separator=";")
    words = "^has_header is False, expected True for a table that is not a file: it is for csv, "
    with pytest.raises(ValueError, match=words):
        tables.train(HOUSES, "price", has_header=False)
