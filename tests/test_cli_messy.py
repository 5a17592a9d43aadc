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
        ("spiral --decimal-comma", "argument --decimal-comma: is for data files; spiral is none"),
        (
            "digits --decimal-coma",
            "unrecognized arguments: --decimal-coma; did you mean --decimal-",
        ),
        (
            "digits --encoding latin-1",
            "argument --encoding: 'latin-1' is for data files; digits ha",
        ),
        ("digits --no-header", "argument --no-header: is for data files; digits is none"),
        ("digits --encoding lattin1", "argument --encoding: 'lattin1', expected utf-8, latin-1, "),
        ("digits --encoding base64", "argument --encoding: 'base64', expected utf-8, latin-1, "),
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


def test_files_as_they_are_found(call, tmp_path):
    """The same rows in eight kinds of files train the same network."""
    rng = np.random.default_rng(1)
    rows = [(f"{a:.2f}", f"{b:.2f}", "uv"[i % 2]) for i, (a, b) in enumerate(rng.random((60, 2)))]
    lines = {
        separator: [separator.join(row) for row in [("a", "b", "kind"), *rows]]
        for separator in (",", ";", "|", "\t", "   ")
    }
    texts = {
        "comma.csv": "\n".join(lines[","]), "semicolon.csv": "\n".join(lines[";"]),
        "pipe.txt": "\n".join(lines["|"]), "tab.csv": "\n".join(lines["\t"]),
        "blanks.txt": "\n".join(lines["   "]),
        "pandas.csv": "\n".join(f"{i},{line}" if i >= 0 else f",{line}"
                                for i, line in enumerate(lines[","], -1)),
    }  # fmt: skip
    results = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found, errors = train(call, tmp_path / name, "--target", "kind")
        assert found["data"]["features"] == ["a", "b"]
        assert (errors == "") == (name in ("comma.csv", "tab.csv"))
        results.append(found["result"])
    (tmp_path / "u.csv").write_text(texts["comma.csv"], encoding="utf-16")
    found, _ = train(call, tmp_path / "u.csv", "--target", "kind", "--encoding", "utf-16")
    results.append(found["result"])
    (tmp_path / "no.data").write_text("\n".join(lines[","][1:]))
    found, _ = train(call, tmp_path / "no.data", "--target", "column_3", "--no-header")
    assert found["data"]["features"] == ["column_1", "column_2"]
    results.append(found["result"])
    assert all(result == results[0] for result in results)


def test_predict_and_evaluate_read_files_as_they_are_found(call, tmp_path):
    path, model = tmp_path / "t.data", tmp_path / "m.safetensors"
    path.write_text("".join(f"{i * 37 % 50},{i % 7}.5,{'uv'[i % 2]}\n" for i in range(60)))
    train(call, path, "--target", "column_3", "--no-header", "--save", model)
    code, output, errors = call("predict", model, path, "--no-header")
    assert (code, output.count("\n"), errors) == (0, 61, "")
    assert call("evaluate", model, path, "--no-header")[0] == 0
    code, output, errors = call("predict", model, path)
    assert (code, output) == (2, "")
    assert "column 'column_1' is missing, which the model needs" in errors


def write_days(path, form):
    """Write a table whose target is the half of the year."""
    rng = np.random.default_rng(2)
    days = np.datetime64("2023-01-01T06:30", "us") + rng.integers(0, 700, N) * np.timedelta64(
        1, "D"
    )
    frame = pl.DataFrame({"when": days}).with_columns(half=(pl.col("when").dt.month() - 1) // 6 + 1)
    frame.with_columns(pl.col("when").dt.strftime(form)).write_csv(path)
    frame.write_parquet(path.with_suffix(".parquet"))
    return frame


@pytest.mark.parametrize(
    ("form", "errors"),
    [
        ("%Y-%m-%dT%H:%M:%SZ", ""),
        ("%d.%m.%Y %H:%M", "fastnn: note: column 'when' is read as dates: "),
        ("%b %d, %Y", "fastnn: note: column 'when' is read as dates: "),
    ],
)
def test_dates_become_features(call, tmp_path, form, errors):
    path, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    write_days(path, form)
    found, said = train(call, path, "--target", "half", "--epochs", 30, "--save", model)
    assert said.startswith(errors)
    assert bool(said) == bool(errors)
    parts = "year, month, day of year, weekday, days"
    assert f"1 column of dates: when ({parts})" in found["data"]["notes"]
    assert found["data"]["features"] == [f"when: {part}" for part in parts.split(", ")]
    assert found["result"]["held_out"]["accuracy"] > 0.9
    _, output, _ = call("predict", model, path)
    assert output.count("\n") == N + 1
    assert call("predict", model, path.with_suffix(".parquet"))[1] == output
    path.write_text("when\nyesterday\n")
    code, output, errors = call("predict", model, path)
    assert (code, output) == (2, "")
    assert errors.startswith("fastnn: error: column 'when', row 1 is 'yesterday', expected a date ")


def test_dates_that_do_not_decide_are_asked(call, tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{i % 12 + 1}/{i % 7 + 1}/2024,{i % 2}\n" for i in range(40))
    path.write_text(f"when,y\n{rows}")
    code, output, errors = call("train", path, "--target", "y")
    assert (code, output) == (2, "")
    assert errors == (
        "fastnn: error: column 'when', row 8 is '8/1/2024', and its other values do not tell "
        "whether the day or the month is first: --day-first reads 2024-01-08, --month-first reads "
        "2024-08-01\n"
    )
    for option, day in (("--day-first", "2024-01-01"), ("--month-first", "2024-01-01")):
        _, errors = train(call, path, "--target", "y", option)
        assert errors == f"fastnn: note: column 'when' is read as dates: '1/1/2024' is {day}\n"


def test_what_says_nothing_is_left_out(call, tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rows = [f"K{i:03},{i * 3},{i % 5},1.5,,{i % 2}" for i in range(60)]
    path.write_text("\n".join(["key,user_id,x,same,empty,y", *rows]))
    found, errors = train(call, path, "--target", "y", "--save", model)
    assert found["data"]["features"] == ["x"]
    assert errors.splitlines() == [
        "fastnn: note: each of 'key', 'user_id' has another value in every row: left out",
        "fastnn: note: column 'same' is '1.5' in every row: left out",
        "fastnn: note: column 'empty' is empty in every row: left out",
    ]
    path.write_text("x\n1\n")
    assert call("predict", model, path)[0] == 0
    path.write_text("\n".join(["key,y", *(f"K{i:03},{i % 2}" for i in range(60))]))
    code, output, errors = call("train", path, "--target", "y")
    assert (code, output) == (2, "")
    assert errors == (
        f"fastnn: error: path: {path} has no column besides 'y', expected features; column 'key' "
        "has another value in every row: left out\n"
    )


def test_rare_categories_are_others(call, tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    path.write_text("town,y\n" + "".join(f"t{i % 30 if i < 60 else i % 3},{i % 2}\n"
                                         for i in range(N)))  # fmt: skip
    found, _ = train(call, path, "--target", "y", "--max-categories", 4, "--save", model)
    assert found["data"]["features"] == ["town=t0", "town=t1", "town=t2", "town=other"]
    assert "'town' has more than 4 categories: the rarest are 'other'" in found["data"]["notes"]
    path.write_text("town\nnever seen\n")
    code, output, errors = call("predict", model, path)
    assert (code, output.count("\n"), errors) == (0, 2, "")
    code, _, errors = call("train", path, "--target", "y", "--max-categories", "1")
    assert code == 2
    assert errors.startswith(
        "fastnn: error: argument --max-categories: '1' is not a whole number o"
    )
