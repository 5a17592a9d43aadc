"""The commands on tables as they are found: what they read, what they say, and what they ask."""

import io
import json

import numpy as np
import polars as pl
import pytest

from fastnn import cli
from fastnn.model import read_model

N = 120


@pytest.fixture
def call(capsys):
    """Return a function that runs the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def german(value):
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def make_rows():
    rng = np.random.default_rng(0)
    size, share = rng.uniform(40, 2000, N), rng.uniform(1, 99, N)
    price = 1000 * size + 500 * share
    return size.round(2), share.round(2), price.round(2)


SIZE, SHARE, PRICE = make_rows()


def train(call, path, *options):
    """Return what --json says of a training of one epoch, and standard error."""
    code, output, errors = call("train", path, "--epochs", 2, "--json", *options)
    assert code == 0, errors
    return json.loads(output), errors


@pytest.fixture
def messy(tmp_path):
    """Two files of the same numbers: plain, and as a spreadsheet in German writes them."""
    plain, found = tmp_path / "plain.csv", tmp_path / "found.csv"
    pl.DataFrame({"size": SIZE, "share": SHARE, "price": PRICE}).write_csv(plain)
    lines = [
        f"{german(a)};{german(b)} %;{german(c)} €"
        for a, b, c in zip(SIZE, SHARE, PRICE, strict=True)
    ]
    found.write_text("\n".join(["size;share;price", *lines]), encoding="utf-8")
    return plain, found


def test_numbers_in_other_clothes_train_the_same_network(call, messy, tmp_path):
    results, models = [], []
    for path, options in zip(messy, [(), ("--separator", ";")], strict=True):
        model = tmp_path / f"{path.stem}.safetensors"
        found, errors = train(call, path, "--target", "price", "--save", model, *options)
        results.append((found["result"], found["data"]["features"], found["task"]))
        models.append(model)
    assert results[0] == results[1]
    assert errors.splitlines() == [
        f"fastnn: note: column 'size' is read as numbers with a decimal comma: '{german(SIZE[0])}' "
        f"is {SIZE[0]:.12g}",
        "fastnn: note: column 'share' is read as numbers with a decimal comma and '%': "
        f"'{german(SHARE[0])} %' is {SHARE[0]:.12g}",
        "fastnn: note: column 'price' is read as numbers with a decimal comma and '€': "
        f"'{german(PRICE[0])} €' is {PRICE[0]:.12g}",
    ]
    # Each model reads both files: texts as in training, and numbers.
    outputs = {
        call("predict", model, path, *options)
        for model, path, options in (
            (models[0], messy[0], ()), (models[1], messy[1], ("--separator", ";")),
        )
    }  # fmt: skip
    assert len(outputs) == 1
    typed = tmp_path / "typed.parquet"
    pl.read_csv(messy[0]).write_parquet(typed)
    assert {call("predict", models[1], typed)} == outputs
    scores = [
        {**json.loads(call("evaluate", model, path, "--json", *options)[1]), "model": 0, "data": 0}
        for model, path, options in (
            (models[0], messy[0], ()), (models[1], messy[1], ("--separator", ";")),
        )
    ]  # fmt: skip
    assert scores[0] == scores[1]


def test_a_model_refuses_numbers_in_another_writing(call, messy, tmp_path):
    model, path = tmp_path / "m.safetensors", tmp_path / "new.csv"
    train(call, messy[1], "--target", "price", "--separator", ";", "--save", model)
    path.write_text("size;share\n12,5;3 %\n12.5;3 %\n")
    code, output, errors = call("predict", model, path, "--separator", ";")
    assert (code, output) == (2, "")
    assert errors == (
        "fastnn: error: column 'size', row 2 is '12.5', expected a number with a decimal comma, as "
        "the model was trained on\n"
    )


def test_columns_to_keep_stay_as_they_are(call, messy, tmp_path):
    model = tmp_path / "m.safetensors"
    train(call, messy[1], "--target", "price", "--separator", ";", "--save", model)
    _, output, _ = call("predict", model, messy[1], "--separator", ";", "--keep", "share")
    kept = pl.read_csv(io.StringIO(output))["share"]
    assert kept[0] == f"{german(SHARE[0])} %"
    # What stands in a column that the model does not need is not looked at.
    path = tmp_path / "new.csv"
    path.write_text("size;share;price\n12,5;3 %;unknown yet\n")
    assert call("predict", model, path, "--separator", ";")[0] == 0


def test_a_column_that_does_not_decide_is_asked(call, tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f'"{i % 9 + 1},{i * 37 % 900 + 100}",{i % 2}\n' for i in range(60))
    path.write_text(f"x,y\n{rows}")
    code, output, errors = call("train", path, "--target", "y")
    assert (code, output) == (2, "")
    assert errors == (
        "fastnn: error: column 'x', row 1 is '1,100', and its other values do not tell whether "
        "that is 1100 or 1.1: --decimal-point reads 1100, --decimal-comma reads 1.1\n"
    )
    for option, value in (("--decimal-point", 1100), ("--decimal-comma", 1.1)):
        found, errors = train(call, path, "--target", "y", option)
        assert found["data"]["features"] == ["x"]
        assert errors.endswith(f"'1,100' is {value}\n")
    found, errors = train(call, path, "--target", "y", "--categorical", "x")
    assert found["data"]["features"][0] == "x=1,100"
    assert errors == ""


def test_missing_values_of_any_column(call, tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rows = [f"{i},{'ab'[i % 2]},{'uv'[i // 2 % 2]}" for i in range(40)]
    rows += ["?,a,u", "7,?,v", "8,unknown,u", "9,NA,u", "1,a,NA", "2,b,", "3,b,N/A"]
    path.write_text("\n".join(["x,town,y", *rows]))
    options = "--target", "y", "--missing", "median", "--null", "unknown", "--save", model
    found, errors = train(call, path, *options)
    assert errors == "fastnn: note: 3 of 47 rows have no target 'y': left out\n"
    assert found["labels"] == ["u", "v"]
    assert found["data"]["features"] == ["x", "town=NA", "town=a", "town=b"]
    text = "missing values, filled with the median or most frequent: x (1), town (2)"
    assert text in found["data"]["notes"]
    path.write_text("x,town,y\n-,unknown,u\n1,a,u\n1,b,\n")
    code, output, errors = call("predict", model, path)
    assert (code, output.count("\n"), errors) == (0, 4, "")
    _, output, _ = call("evaluate", model, path, "--json")
    found = json.loads(output)
    assert (found["samples"], found["notes"]) == (2, ["1 of 3 rows has no target 'y': left out"])


def test_a_mark_of_a_missing_value_is_shown_as_it_stands(call, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,town,y\n1,Rome,u\n2,<NA>,v\n")
    code, _, errors = call("train", path, "--target", "y")
    assert code == 2
    assert errors == (
        "fastnn: error: column 'town', row 2 is '<NA>', a missing value, expected a value; "
        "--missing median fills it\n"
    )


def test_models_of_older_versions_read_as_before(call, tmp_path):
    """They have no "reading" in their notes, and "?" may be one of their categories."""
    path, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    path.write_text("x,town,y\n" + "".join(f"{i},{'a?'[i % 2]},{i % 2}\n" for i in range(40)))
    train(
        call, path, "--target", "y", "--categorical", "town", "--missing", "mean", "--save", model
    )
    loaded = read_model(model)
    notes = dict(loaded.notes)
    del notes["reading"]
    (town,) = (each for each in notes["preprocessing"] if each["name"] == "town")
    town["categories"] = ["?"]
    loaded.save(model, notes=notes)
    code, output, errors = call("predict", model, path)
    assert (code, output.count("\n")) == (0, 41)
    assert "column 'town' has a category unknown to the model ('a'), in 20 rows" in errors
    loaded.save(model, notes={**notes, "reading": 3})
    code, _, errors = call("predict", model, path)
    assert code == 2
    assert errors == (
        f"fastnn: error: MODEL {model} has broken notes: expected how texts are read, found 3\n"
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("digits --null x", "argument --null: 'x' is for data files; digits has labels"),
        ("spiral --decimal-comma", "argument --decimal-comma: is for data files; spiral has numb"),
        (
            "digits --decimal-coma",
            "unrecognized arguments: --decimal-coma; did you mean --decimal-",
        ),
        (
            "digits --decimal-comma --decimal-point",
            "argument --decimal-point: not allowed with arg",
        ),
    ],
)
def test_bad_options(call, tmp_path, options, error):
    model = tmp_path / "m.safetensors"
    code, output, errors = call("train", *options.split(), "--save", model)
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: {error}")
    assert errors.count("\n") == 1
    assert not model.exists()


def test_options_of_a_configuration_file(call, messy, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('null = ["none at all", "x,y"]\ndecimal-comma = true\nseparator = ";"\n')
    found, _ = train(call, messy[1], "--target", "price", "--config", config)
    assert found["data"]["features"] == ["size", "share"]
