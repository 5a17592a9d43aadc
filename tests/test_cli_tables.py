"""The commands of `fastnn` on tables: train, predict, evaluate, export, info, warmup, bench."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import fastnn
from fastnn import cli
from fastnn.cli import (
    arguments,
    assessment,
    bench,
    bench_peers,
    data,
    export,
    figures,
    machine,
    outputs,
    report,
)
from fastnn.cli import train as training
from fastnn.kernels import catalogue, jit
from fastnn.kernels.codes import Unit
from fastnn.model import read_model
from fastnn.program.precision import UnitOfCpu
from fastnn.run.history import History
from fastnn.tables import preprocessing, targets
from fastnn.tables import table as tables

COMMAND = [sys.executable, "-m", "fastnn"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX terminals")


@pytest.fixture
def call(capsys):
    """Return a function that runs the command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def make_houses(n_rows=600):
    rng = np.random.default_rng(0)
    age, rooms = rng.uniform(18, 80, n_rows), rng.integers(1, 7, n_rows)
    town = rng.choice(["Bern", "New York City", "Oslo"], n_rows)
    price = 2e3 * rooms + 30 * age + 5e3 * (town == "Oslo") + rng.normal(0, 300, n_rows)
    dear = np.where(price > np.median(price), "yes", "no")
    return pl.DataFrame({"age": age, "town": town, "rooms": rooms, "price": price, "dear": dear})


HOUSES = make_houses()


@pytest.fixture
def houses(tmp_path):
    """A CSV file with a numeric target, "price", and one of classes, "dear"."""
    path = tmp_path / "houses.csv"
    HOUSES.write_csv(path)
    return path


@pytest.fixture
def classifier(call, houses, tmp_path):
    """The path of a saved model that predicts "dear"."""
    path = tmp_path / "dear.safetensors"
    code, _, errors = call("train", houses, "--target", "dear", "--drop", "price", "--save", path)
    assert (code, errors) == (0, "")
    return path


@pytest.fixture
def regressor(call, houses, tmp_path):
    """The path of a saved model that predicts "price"."""
    path = tmp_path / "price.safetensors"
    code, _, errors = call("train", houses, "--target", "price", "--drop", "dear", "--save", path)
    assert (code, errors) == (0, "")
    return path


# ---------------------------------------------------------------------- train


def test_classification_of_columns_of_all_kinds(call, houses):
    code, output, errors = call("train", houses, "--target", "dear", "--drop", "price")
    assert (code, errors) == (0, "")
    for line in (
        "houses.csv: 600 samples, 5 features",
        "          2 classes: no, yes",
        "          classification: 'dear' is not numeric",
        "          2 numeric columns, standardized on the training part",
        "          1 column of categories, one-hot, 3 features: town (3)",
    ):
        assert f"{line}\n" in output
    accuracy = float(re.search(r"held out +\S+ +(\S+) +\S+\n", output)[1])
    assert accuracy >= 0.95
    figures = re.findall(r"(no|yes) +(0\.\d+|1\.0000) +\S+ +\S+ +(\d+)\n", output)
    assert [name for name, *_ in figures] == ["no", "yes"]
    assert [int(samples) for *_, samples in figures] == [60, 60]  # each class has its share
    counts = re.search(
        r"predicted\n +true +no +yes\n +no +(\S+) +(\S+)\n +yes +(\S+) +(\S+)\n", output
    )
    (a, _), (c, d) = np.array([0 if x == "." else int(x) for x in counts.groups()]).reshape(2, 2)
    assert (a + d) / 120 == pytest.approx(accuracy, abs=1e-4)
    assert float(figures[0][1]) == pytest.approx(a / (a + c), abs=1e-4)


def test_regression_is_inferred_and_said(call, houses):
    code, output, errors = call("train", houses, "--target", "price", "--drop", "dear")
    assert (code, errors) == (0, "")
    assert "regression: 'price' has 600 different numbers (see --task)\n" in output
    assert re.search(r"target 'price' from \S+ to \S+\n", output)
    assert "AdamW with learning rate" in output
    r2, rmse, mae = map(float, re.search(r"held out +(\S+) +(\S+) +(\S+)\n", output).groups())
    assert r2 >= 0.97
    assert 250 < mae < rmse < 600  # the noise is 300, in the units of the target
    assert "confusion" not in output


def test_task_can_be_forced(call, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i % 3}\n" for i in range(60)))
    _, inferred, _ = call("train", path, "--target", "y", "--epochs", 1)
    assert "classification: 'y' has 3 different whole numbers (see --task)\n" in inferred
    _, forced, _ = call("train", path, "--target", "y", "--epochs", 1, "--task", "regression")
    assert "regression: 'y'" not in forced
    assert "target 'y' from 0 to 2\n" in forced
    assert re.search(r"\nresult +R2 +RMSE +MAE\n", forced)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "npz", "tsv"])
def test_kinds_of_files_give_the_same_numbers(call, houses, tmp_path, kind):
    path = tmp_path / f"houses.{kind}"
    if kind == "npz":
        np.savez(path, **{c.name: c.to_numpy().astype(c.to_numpy().dtype if c.dtype != pl.String
                          else str) for c in HOUSES})  # fmt: skip
    else:
        {"parquet": HOUSES.write_parquet, "jsonl": HOUSES.write_ndjson,
         "tsv": lambda path: HOUSES.write_csv(path, separator="\t")}[kind](path)  # fmt: skip
    options = "--target", "dear", "--drop", "price", "--epochs", 3, "--json"
    results = [json.loads(call("train", each, *options)[1])["result"] for each in (houses, path)]
    assert results[0] == results[1]


def test_missing_values_as_asked(call, tmp_path):
    path = tmp_path / "holes.csv"
    frame = HOUSES.with_row_index().with_columns(
        pl.when(pl.col("index") % 9 > 0).then("age"), pl.when(pl.col("index") % 7 > 0).then("town")
    )
    frame.drop("index", "price").write_csv(path)
    train = "train", path, "--target", "dear"
    code, output, errors = call(*train)
    assert (code, output) == (2, "")
    faults = (
        "column 'age', row 1 is empty, expected a value; --missing median fills it",
        "column 'town', row 1 is empty, expected a value; --missing median fills it",
    )
    assert errors == f"fastnn: error: 2 faults: {' | '.join(faults)}\n"
    code, output, _ = call(*train, "--missing", "median")
    assert code == 0
    text = "missing values, filled with the median or most frequent: age (67), town (86)"
    assert text in " ".join(output.split())


def test_a_target_of_dates_is_refused(call, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,when\n1,2024-01-01\n2,2024-01-02\n")
    code, output, errors = call("train", path, "--target", "when")
    assert (code, output) == (2, "")
    assert "column 'when', row 1 is '2024-01-01', a date or time" in errors
    assert errors.endswith("or --task classification takes each for a class\n")


# What a shell or the reader of lists would take apart or take for something else.
PASTED_NAMES = (
    "Individual ID", "two  blanks", "no\xa0break", "a,b", "it's", 'say "so"', "-1", "--target",
    "$HOME", "`id`", " in front", "behind ", "?", "#", "größe", "a;b", "!x", '"', "it's, \"so\"",
)  # fmt: skip


def option_in(errors, words):
    """Return the option that an error names, as a shell takes it apart."""
    option = re.search(words, errors).group(1)
    if shutil.which("sh") is None:
        return shlex.split(option)
    command = f"for each in {option}; do printf '%s\\n' \"$each\"; done"
    return subprocess.check_output(["sh", "-c", command], text=True, encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", PASTED_NAMES)
def test_what_an_error_recommends_can_be_pasted(call, tmp_path, name):
    rows = [{"x": i, name: f"2024-02-{i + 1:02}", "y": i % 2} for i in range(30)]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    train = "train", path, "--target", "y", "--epochs", 1
    code, _, errors = call(*train)
    assert code == 2
    code, output, _ = call(*train, "--json", *option_in(errors, r"leave it out with (--drop.*)\n"))
    assert code == 0
    assert json.loads(output)["data"]["features"] == ["x"]

    rows = [{"x": i, name: str(i % 3) if i else "none at all", "y": i % 2} for i in range(30)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    code, _, errors = call(*train)
    assert code == 2
    pasted = option_in(errors, r"; (--categorical.*) takes texts for categories\n")
    code, output, _ = call(*train, "--json", *pasted)
    assert code == 0
    assert len(json.loads(output)["data"]["features"]) == 5


@pytest.mark.parametrize("name", ["*", "^x$", "^.*$"])
def test_names_that_are_patterns_of_polars(call, tmp_path, name):
    path = tmp_path / "t.jsonl"
    for values in (range(30), ["a", "b", "c"] * 10):
        rows = [{"x": i, name: value, "y": i % 2} for i, value in enumerate(values)]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        train = "train", path, "--epochs", 1
        code, _, errors = call(*train, "--target", name)
        assert code == 2
        assert errors.startswith(f"fastnn: error: column {name!r} has a name that polars takes for")
        code, _, errors = call(*train, "--target", "y")
        assert code == 2
        pasted = option_in(errors, r"leave it out with (--drop.*)\n")
        code, output, _ = call(*train, "--json", "--target", "y", *pasted)
        assert code == 0
        assert json.loads(output)["data"]["features"] == ["x"]


def test_all_recommendations_at_once(call, tmp_path):
    path = tmp_path / "t.csv"
    days = [f"2024-02-{i + 1:02}" for i in range(30)]  # there is no such day at the end
    rows = [f"{day},{day},{i % 2},{day[-2:]},{day[-1]}" for i, day in enumerate(days)]
    rows[1] = "2024-02-02,2024-02-02,one,2,2"
    path.write_text("\n".join(["a,b,c,x,y", *rows]))
    train = ["train", path, "--target", "y", "--task", "regression", "--epochs", 1]
    code, output, errors = call(*train)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    count, _, faults = errors.removeprefix("fastnn: error: ").partition(" faults: ")
    faults = faults.split(" | ")
    assert len(faults) == int(count) == 3
    for fault, words in zip(
        faults, [r"with (--drop.*)$", r"with (--drop.*)$", r"(--categorical.*) takes"], strict=True
    ):
        train += option_in(fault, words)
    code, output, _ = call(*train, "--json")
    assert code == 0
    assert json.loads(output)["data"]["features"] == ["c=0", "c=1", "c=one", "x"]
    # What is given here wins over the file, also in lists.
    config = write(tmp_path, 'drop = ["x"]')
    found = json.loads(call(*train, "--json", "--config", config)[1])
    assert found["data"]["features"] == ["c=0", "c=1", "c=one", "x"]


def test_json_has_everything(call, houses):
    options = "train", houses, "--target", "dear", "--drop", "price", "--epochs", 4
    code, output, errors = call(*options, "--json")
    assert (code, errors, output.count("\n")) == (0, "", 1)
    found = json.loads(output)
    assert (found["task"], found["target"], found["labels"]) == (
        "classification", "dear", ["no", "yes"],
    )  # fmt: skip
    assert found["data"]["features"] == [
        "age", "town=Bern", "town=New York City", "town=Oslo", "rooms",
    ]  # fmt: skip
    assert found["data"]["samples"] == [480, 120]
    assert found["history"]["epoch"] == [1, 2, 3, 4]
    assert len(found["history"]["val_loss"]) == 4
    held_out = found["result"]["held_out"]
    matrix = np.array(held_out["confusion_matrix"])
    assert matrix.sum() == 120
    assert np.trace(matrix) / 120 == pytest.approx(held_out["accuracy"])
    assert [row["samples"] for row in held_out["classes"]] == matrix.sum(axis=1).tolist()
    text = call(*options)[1]
    values = [held_out[name] for name in ("log_loss", "accuracy", "roc_auc")]
    assert "    ".join(f"{value:.4f}" for value in values) + "\n" in text
    assert held_out["log_loss"] == pytest.approx(held_out["loss"], rel=1e-5)
    assert f"{held_out['classes'][1]['f1']:.4f}" in text


def test_settings_reach_the_network(call, monkeypatch, houses):
    seen = []

    def fit(model, X, y, **options):
        seen.append((model, y, options))
        return History()

    monkeypatch.setattr(fastnn.Sequential, "fit", fit)
    monkeypatch.setattr(training, "compile_code", lambda *_: None)
    call(
        "train", houses, "--target", "dear", "--drop", "price", "--activation", "gelu",
        "--dropout", "0.25", "--hidden", "8,4", "--optimizer", "adamw", "--patience", 7,
        "--balanced", "--threads", 1, "--precision", "high",
    )  # fmt: skip
    (model, y, options), _ = seen
    assert [type(layer).__name__ for layer in model.layers] == [
        "Dense", "GELU", "Dropout", "Dense", "GELU", "Dropout", "Dense",
    ]  # fmt: skip
    assert model.layers[2].rate == 0.25
    assert type(options["optimizer"]) is fastnn.AdamW
    assert options["optimizer"].learning_rate == arguments.RATES["adamw"]
    (stopping,) = options["callbacks"]
    assert (stopping.monitor, stopping.patience) == ("val_loss", 7)
    assert (options["threads"], options["precision"]) == (1, "high")
    weights = options["class_weight"]
    counts = np.bincount(y)
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1]) == pytest.approx(240)


def test_target_of_a_regression_is_standardized_on_the_training_part(call, monkeypatch, houses):
    seen = []
    monkeypatch.setattr(training, "compile_code", lambda *_: None)
    monkeypatch.setattr(
        fastnn.Sequential,
        "fit",
        lambda model, X, y, validation_data, **_: seen.append((y, validation_data[1])),
    )
    call("train", houses, "--target", "price", "--drop", "dear")
    ((y, held_out),) = seen
    assert y.mean() == pytest.approx(0, abs=1e-9)
    assert y.std() == pytest.approx(1)
    assert abs(held_out.mean()) > 1e-4


def test_patience(call, houses):
    _, output, _ = call(
        "train", houses, "--target", "dear", "--drop", "price", "--optimizer", "adam",
        "--learning-rate", 0.03, "--epochs", 500, "--patience", 3,
    )  # fmt: skip
    stopped, best = re.search(
        r"stopped after (\d+) of 500 epochs; epoch (\d+) is kept", output
    ).groups()
    assert int(stopped) == int(best) + 3
    assert int(stopped) < 500


def test_table_on_standard_input_of_the_real_program(houses):
    done = subprocess.run(
        [*COMMAND, "train", "-", "--target", "dear", "--drop", "price", "--epochs", "2"],
        input=houses.read_bytes(), capture_output=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"data      standard input: 600 samples, 5 features\n")
    assert max(map(len, done.stdout.splitlines())) < 80


@posix
@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}], ids=["terminal", "dumb terminal"])
def test_table_on_a_terminal(houses, environment):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = subprocess.Popen(
        [
            *COMMAND, "train", "houses.csv", "--target", "price", "--drop", "dear",
            "--patience", "0",
        ],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environment},
        cwd=houses.parent,
    )  # fmt: skip
    os.close(theirs)
    output = b""
    try:
        while block := os.read(ours, 65536):
            output += block
    except OSError:  # how Linux reports that the other side is closed
        pass
    os.close(ours)
    assert program.wait(timeout=300) == 0
    text = output.decode()
    assert "100%" in text
    assert "\x1b" not in text.replace("\x1b[A", "")
    assert max(len(line) for line in re.split("[\r\n]+", text)) <= 80
    assert re.search(r"\nresult +R2 +RMSE +MAE\r\n +training +0\.9", text)


def test_scores_of_the_baselines(call, houses):
    """On the same samples: one answer for all, and a linear model. The prices are nearly linear."""
    arguments = "train", houses, "--drop", "dear", "--target", "price"
    result = json.loads(call(*arguments, "--json")[1])
    constant, linear = (result["baselines"][k] for k in ("mean_of_the_target", "linear_model"))
    network = result["result"]["held_out"]
    assert -0.1 < constant["r2"] <= 0
    assert 0.99 < linear["r2"] < 1
    assert linear["r2"] == pytest.approx(network["r2"], abs=0.005)
    assert constant["rmse"] > 5 * linear["rmse"]
    assert (result["warning"] is None) == (network["r2"] > linear["r2"])
    assert f"held out, linear model          {linear['r2']:.4f}" in call(*arguments)[1]


def write_linear_table(path, as_class):
    """Write 120 rows of 12 features, and a target that is their sum and noise, or its sign."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 12))
    y = X @ rng.standard_normal(12) + rng.normal(0, 0.5, 120)
    target = np.where(y > 0, "yes", "no") if as_class else y
    rows = [",".join(map(str, [*row, each])) for row, each in zip(X, target, strict=True)]
    path.write_text("\n".join([",".join([*"abcdefghijkl", "y"]), *rows]))


def test_a_network_that_is_no_better_than_a_linear_model_says_so(call, tmp_path):
    path = tmp_path / "t.csv"
    write_linear_table(path, as_class=False)
    output = call("train", path, "--target", "y")[1]
    says = r"the network is no better than the linear model: R2 (\S+) and (\S+)\n"
    network, linear = map(float, re.search(says, output).groups())
    assert network <= linear
    assert 0.9 < linear < 1
    write_linear_table(path, as_class=True)
    slow = "--learning-rate", "1e-6", "--epochs", 30, "--json"
    result = json.loads(call("train", path, "--target", "y", *slow)[1])
    assert result["warning"].startswith("the network is no better than the linear model: log loss")
    assert set(result["baselines"]) == {"most_frequent_class", "linear_model"}
    assert result["baselines"]["most_frequent_class"]["roc_auc"] == 0.5


# ---------------------------------------------------------------------- save, predict, evaluate


def test_saved_model_predicts_raw_rows(call, classifier, houses):
    code, output, errors = call("predict", classifier, houses)
    assert (code, errors) == (0, "")
    predicted = pl.read_csv(io.StringIO(output))
    assert predicted.columns == ["prediction"]
    accuracy = (predicted["prediction"] == HOUSES["dear"]).mean()
    assert accuracy >= 0.95
    code, output, _ = call("evaluate", classifier, houses, "--json")
    assert json.loads(output)["accuracy"] == pytest.approx(accuracy)
    # As the same steps by hand.
    with pytest.warns(fastnn.PreparedInputsWarning):
        model = fastnn.load(classifier)
    preprocessor = preprocessing.Preprocessor.from_list(model.notes["preprocessing"])
    X = preprocessor.transform(HOUSES)
    labels = np.array(["no", "yes"])[model.predict(X)]
    assert labels.tolist() == predicted["prediction"].to_list()


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_a_loaded_model_warns_of_raw_rows(kind, request, tmp_path):
    """It takes raw numbers without a word else, and its answers are wrong."""
    path = request.getfixturevalue(kind)
    with pytest.warns(fastnn.PreparedInputsWarning) as caught:
        model = fastnn.load(path)
    (warning,) = caught
    assert warning.filename == __file__
    said = str(warning.message)
    assert said.startswith(f"{path} is a model of `fastnn train`: it takes inputs that are prepar")
    assert "`fastnn.tables.load` and `fastnn predict` take raw rows" in said
    assert ("standardized target" in said) == (kind == "regressor")
    for write in (fastnn.export.to_c, fastnn.export.to_onnx, fastnn.export.to_torch):
        with pytest.warns(fastnn.PreparedInputsWarning, match="`fastnn export` writes") as caught:
            write(model, tmp_path / "exported")
        assert [each.filename for each in caught] == [__file__]
    model.save(tmp_path / "again")
    with pytest.warns(fastnn.PreparedInputsWarning):
        fastnn.load(tmp_path / "again")
    model.save(tmp_path / "other", notes={"preprocessing": "by hand", "target": "price"})
    fastnn.load(tmp_path / "other")


def test_the_command_line_does_not_warn_of_its_own_models(classifier, houses, tmp_path):
    for command in (
        ["predict", classifier, houses],
        ["evaluate", classifier, houses],
        ["export", classifier, tmp_path / "model.c"],
    ):
        done = subprocess.run([*COMMAND, *map(str, command)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_probabilities_and_kept_columns(call, classifier, houses, tmp_path):
    path = tmp_path / "out.parquet"
    code, output, errors = call(
        "predict", classifier, houses, "--probabilities", "--keep", "town,rooms", "--output", path
    )
    assert (code, output, errors) == (0, "", "")
    frame = pl.read_parquet(path)
    assert frame.columns == ["town", "rooms", "prediction", "probability no", "probability yes"]
    assert frame["town"].to_list() == HOUSES["town"].to_list()
    yes = frame["probability yes"].to_numpy()
    assert ((yes > 0.5) == (frame["prediction"] == "yes").to_numpy()).all()
    np.testing.assert_allclose(yes + frame["probability no"].to_numpy(), 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_kinds_of_output(call, regressor, houses, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    assert call("predict", regressor, houses, "-o", path) == (0, "", "")
    read = {
        ".csv": pl.read_csv, ".tsv": lambda p: pl.read_csv(p, separator="\t"),
        ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet,
    }[suffix]  # fmt: skip
    predicted = read(path)["prediction"].to_numpy()
    assert np.corrcoef(predicted, HOUSES["price"].to_numpy())[0, 1] > 0.98
    assert abs(predicted - HOUSES["price"].to_numpy()).mean() < 500  # in units of the target


@pytest.mark.parametrize("command", ["predict", "export"])
@pytest.mark.parametrize("linked", [False, True])
def test_no_output_replaces_an_input(call, classifier, houses, tmp_path, command, linked):
    what, path = ("DATA", houses) if command == "predict" else ("MODEL", classifier)
    before, output = path.read_bytes(), path
    if linked:
        output = tmp_path / f"link{path.suffix}"
        os.link(path, output)
    given = (classifier, houses, "--output", output) if command == "predict" else (path, output)
    code, printed, errors = call(command, *given)
    assert (code, printed) == (2, "")
    assert errors.endswith(f"is {what}, expected another file: it would be replaced\n")
    assert path.read_bytes() == before


def test_json_lines_of_predictions(call, classifier, houses):
    _, output, _ = call("predict", classifier, houses, "--json")
    rows = [json.loads(line) for line in output.splitlines()]
    assert len(rows) == 600
    assert set(row["prediction"] for row in rows) == {"no", "yes"}


def test_unknown_categories_are_said_once_and_have_no_features(call, classifier, tmp_path):
    path = tmp_path / "new.csv"
    HOUSES.with_columns(town=pl.col("town").str.replace("Oslo", "Paris")).write_csv(path)
    code, output, errors = call("predict", classifier, path)
    assert code == 0
    assert output.count("\n") == 601
    rows = (HOUSES["town"] == "Oslo").sum()
    assert errors == (
        "fastnn: note: column 'town' has a category unknown to the model ('Paris'), in "
        f"{rows} rows: all its features are 0\n"
    )


def test_evaluate_shows_the_figures(call, classifier, houses, tmp_path):
    path = tmp_path / "page.png"
    code, output, errors = call("evaluate", classifier, houses, "--plot", path)
    assert (code, errors) == (0, "")
    assert "houses.csv: 600 samples, 5 features\n" in output
    assert re.search(r"\nconfusion +predicted\n +true +no +yes\n", output)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_digits_come_back_from_a_file(call, tmp_path):
    path = tmp_path / "digits.safetensors"
    _, output, _ = call("train", "digits", "--epochs", 5, "--save", path)
    assert f"files     {path}: " in output
    _, output, _ = call("evaluate", path, "digits", "--json")
    assert json.loads(output)["accuracy"] >= 0.95


def test_predictions_of_the_real_program_in_a_pipe(classifier, houses):
    train = subprocess.Popen(
        [*COMMAND, "predict", str(classifier), "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    output, errors = train.communicate(houses.read_bytes(), timeout=300)
    assert (train.returncode, errors) == (0, b"")
    lines = output.decode().splitlines()
    assert lines[0] == "prediction"
    assert len(lines) == 601


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["predict", "{model}s", "{data}"],
            "MODEL is '{model}s', expected a file, and there is no",
        ),
        (["predict", "{model}", "{data}x"], "no file '{data}x'; expected digits, spiral, or the p"),
        (["predict", "{data}", "{data}"], "{data} is not a file of fastnn"),
        (["predict", "{model}", "digits"], "column 'age' is missing, which the model needs: "),
        (["predict", "{model}", "{data}", "--keep", "ag"], "--keep is 'ag', expected one of the "),
        (
            ["predict", "{model}", "{data}", "--output", "x.txt"],
            "argument --output: 'x.txt', expected a path that ends in .csv, .tsv, .jsonl, .parquet",
        ),
        (["predict", "{model}"], "the following arguments are required: DATA"),
        (["evaluate"], "the following arguments are required: MODEL"),
        (["evaluate", "{model}", "digits"], "the target of the model is 'dear', expected one of "),
    ],
)
def test_bad_arguments_beside_a_model(call, classifier, houses, arguments, error):
    names = {"model": classifier, "data": houses}
    code, output, errors = call(*(each.format(**names) for each in arguments))
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: {error.format(**names)}")
    assert errors.count("\n") == 1


def test_probabilities_of_numbers_are_refused(call, regressor, houses):
    code, _, errors = call("predict", regressor, houses, "--probabilities")
    assert code == 2
    assert "--probabilities: the model predicts numbers, expected one of classes" in errors


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda notes: {},
            "has no preprocessing in it, expected one that `fastnn train --save` has",
        ),
        (lambda notes: {**notes, "target": 3}, "has broken notes: expected a target, found 3"),
        (
            lambda notes: {**notes, "preprocessing": notes["preprocessing"][:1]},
            "takes 5 inputs, and its preprocessing makes 1: expected as many",
        ),
    ],
)
def test_model_files_of_others(call, classifier, houses, change, error):
    model = read_model(classifier)
    model.save(classifier, notes=change(model.notes))
    code, output, errors = call("predict", classifier, houses)
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: MODEL {classifier} {error}")


# ---------------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("option", "path", "error"),
    [
        ("--save", "m.txt", "expected a path that ends in .safetensors"),
        ("--save", "none/m.safetensors", "expected a folder that exists: there is no 'none'"),
        ("--plot", "page.jpg", "expected a path that ends in .png, .pdf, .svg"),
        ("--plot", "folder.png", "is a folder, expected a file"),
    ],
)
def test_outputs_are_checked_before_training(call, monkeypatch, tmp_path, option, path, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    code, output, errors = call("train", "digits", option, path)
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: argument {option}: {path!r}")
    assert errors.endswith(f"{error}\n")


@pytest.mark.parametrize("before", [None, b"as it was"])
def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path, before):
    path = tmp_path / "page.png"
    if before is not None:
        path.write_bytes(before)

    def stop(file):
        file.write(b"half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outputs.write(path, stop)
    assert [each.name for each in tmp_path.iterdir()] == ([] if before is None else ["page.png"])
    assert before is None or path.read_bytes() == before
    outputs.write(path, lambda file: file.write(b"all of it"))
    assert path.read_bytes() == b"all of it"
    assert [each.name for each in tmp_path.iterdir()] == ["page.png"]


@pytest.mark.parametrize("json_", [False, True])
def test_a_picture_that_cannot_be_drawn_loses_no_result(call, monkeypatch, tmp_path, json_):
    def fail(*_, **__):
        raise ValueError("no such font")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    path, page = tmp_path / "m.safetensors", tmp_path / "page.svg"
    options = ("--json",) * json_
    code, output, errors = call(
        "train", "spiral", "--epochs", 1, "--save", path, "--plot", page, *options
    )
    expected = "fastnn: error: no such font\n"
    if json_:
        expected = '{"error": "no such font", "kind": "bad input", "exit_code": 2}\n'
    assert (code, errors) == (2, expected)
    assert list(tmp_path.iterdir()) == [path]
    if json_:
        assert json.loads(output)["files"] == {"save": str(path)}
    else:
        assert f"files     {path}: " in output
        assert "result " in output
        assert str(page) not in output
    code, output, errors = call("evaluate", path, "spiral", "--plot", page, *options)
    assert (code, errors) == (2, expected)
    assert "accuracy" in output


def test_names_with_dollars_are_no_formulas(call, tmp_path):
    path, page = tmp_path / "a$\\x$.csv", tmp_path / "page.svg"
    rows = "".join(f"{i % 2},{i},{'$5-$10' if i % 2 else '$' + chr(92) + 'frac$'}\n"
                   for i in range(40))  # fmt: skip
    path.write_text("x,$\\z$,y\n" + rows)
    for target in ("y", "$\\z$"):
        options = "--target", target, "--epochs", 1, "--plot", page
        code, _, errors = call("train", path, *options)
        assert (code, errors) == (0, "")


def test_names_with_commas_and_blanks(call, tmp_path):
    path = tmp_path / "t.jsonl"
    names = ["a,b", " c", 'd"e', "f,"]
    rows = [{"x": i, **dict.fromkeys(names, i), "y": i % 2} for i in range(40)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = write(
        tmp_path, f"drop = {json.dumps(names)}\nepochs = 1\nhidden = [4, 2]\njson = true"
    )
    code, output, _ = call("train", path, "--target", "y", "--config", config)
    assert code == 0
    assert json.loads(output)["data"]["features"] == ["x"]
    quoted = '"a,b", "f,"," c",d"e'
    options = "--target", "y", "--epochs", 1, "--json", "--drop", quoted
    assert json.loads(call("train", path, *options)[1])["data"]["features"] == ["x"]


def test_what_float32_does_not_hold_is_named(call, regressor, tmp_path):
    path = tmp_path / "far.csv"
    path.write_text("age,town,rooms\n30,Oslo,2\n1e300,Oslo,2\n")
    code, output, errors = call("predict", regressor, path)
    assert (code, output) == (2, "")
    error = "fastnn: error: column 'age', row 2 is 1e+300, too large for float32 beside the values"
    assert errors.startswith(error)
    path.write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(99)) + "1e300,1\n")
    for seed in range(10):  # the row is held out with some of them
        code, _, errors = call("train", path, "--target", "y", "--epochs", 1, "--seed", seed)
        assert (code, errors.startswith("fastnn: error: column 'x', row 100 is 1e+300")) in (
            (0, False), (2, True),
        )  # fmt: skip
        if code:
            break
    assert code == 2


def test_too_small_a_part_to_hold_out(call, houses):
    options = "--target", "dear", "--validation-fraction", 0.0001
    code, _, errors = call("train", houses, *options)
    assert code == 2
    assert errors.startswith(
        "fastnn: error: argument --validation-fraction: fraction is 0.0001, wh"
    )


def test_export_says_that_nothing_fills_missing_values(call, houses, tmp_path):
    path = tmp_path / "m.safetensors"
    options = "--target", "dear", "--drop", "price", "--epochs", 1
    for missing, notes in (
        ("refuse", []),
        ("mean", ["nothing fills missing values here, which `fastnn predict` fills in the columns "
                  "age, town, rooms"]),
    ):  # fmt: skip
        call("train", houses, *options, "--missing", missing, "--save", path)
        code, output, _ = call("export", path, tmp_path / "out.safetensors", "--json")
        assert (code, json.loads(output)["notes"]) == (0, notes)
        code, output, _ = call("export", path, tmp_path / "m.c", "--json")
        assert (code, json.loads(output)["notes"]) == (0, [])


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "\u732b", "a\x9b2Jb"])
def test_names_do_not_command_the_terminal(call, tmp_path, name):
    path, page = tmp_path / "t.jsonl", tmp_path / "page.png"
    rows = [{"x": i, "y": name if i % 2 else "b"} for i in range(40)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code, output, errors = call("train", path, "--target", "y", "--epochs", 1, "--plot", page)
    assert (code, errors) == (0, "")
    assert name.replace("\x1b", "\ufffd").replace("\x9b", "\ufffd") in output
    assert not re.search("[\x1b\x9b]", output)
    code, _, errors = call("train", path, "--target", name)
    assert code == 2
    assert not re.search("[\x1b\x9b]", errors)


def test_balanced_is_for_classes(call, houses):
    options = "--target", "price", "--drop", "dear", "--balanced"
    code, output, errors = call("train", houses, *options)
    assert (code, output) == (2, "")
    assert errors == (
        "fastnn: error: argument --balanced: the target is a number, expected classes\n"
    )


def test_models_without_polars(call, classifier, houses, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "polars", None)
    for name in ("libraries", "preprocessing"):  # imported anew
        monkeypatch.delitem(sys.modules, f"fastnn.tables.{name}")
        monkeypatch.delattr(fastnn.tables, name)
    for command in (["predict", classifier, houses], ["evaluate", classifier, houses],
                    ["export", classifier, tmp_path / "model.c"]):  # fmt: skip
        code, output, errors = call(*command)
        assert (code, output) == (2, "")
        assert errors == 'fastnn: error: tables need polars: pip install "polars>=1.0"\n'


@posix
def test_streams_that_the_shell_has_closed(classifier, houses, tmp_path):
    def run(arguments, closed):
        line = " ".join(map(shlex.quote, [*COMMAND, *map(str, arguments)]))
        return subprocess.run(f"{line} {closed}", shell=True, capture_output=True, text=True)

    path = tmp_path / "m.safetensors"
    done = run(["train", "spiral", "--epochs", 1, "--save", path], ">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.exists()
    done = run(["predict", classifier, houses], ">&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(["predict", classifier, houses], "2>&-")
    assert (done.returncode, done.stdout[:11]) == (0, "prediction\n")
    done = run(["predict", classifier, "-"], "<&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "path is '-', standard input, and that is closed: expected a table" in done.stderr


def test_diverging_training_leaves_no_files(call, tmp_path):
    files = "--save", tmp_path / "m.safetensors", "--plot", tmp_path / "page.png"
    code, _, _ = call("train", "digits", "--learning-rate", 10000, *files)
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_picture_of_classes():
    history = History()
    for epoch in (1, 2, 3):
        history.append(epoch, {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch})
    target = targets.Classes("y", ["cat", "dog"])
    found = assessment.Assessment(
        {"accuracy": 0.75}, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    )
    figure = report.draw(history, found, target, "the title", "held out")
    loss, _, matrix = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy", "true class"]
    assert loss.get_lines()[0].get_ydata().tolist() == [1, 0.5, 1 / 3]
    assert [text.get_text() for text in matrix.texts] == ["2", "0", "1", "1"]
    assert matrix.get_title() == "held out: accuracy 0.7500"
    assert figure.get_suptitle() == "the title"
    assert_fits(figure)


def test_picture_of_numbers():
    history = History()
    history.append(1, {"loss": 1.0, "val_loss": 2.0})
    history.append(2, {"loss": 0.5, "val_loss": 1.5})
    found = assessment.Assessment({"r2": 0.5}, np.array([1.0, 2.0]), np.array([1.5, 2.5]))
    target = targets.Quantity("price", 0.0, 1.0)
    figure = report.draw(history, found, target, "title", "held out")
    loss, points = figure.axes
    assert loss.get_xlabel() == "epoch"
    assert (points.get_xlabel(), points.get_ylabel()) == ("price, predicted", "price, true")
    assert_fits(figure)


def assert_fits(figure):
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_picture_without_matplotlib(call, monkeypatch, tmp_path):
    for name in ["matplotlib", *sys.modules]:
        if name.split(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    code, output, errors = call("train", "digits", "--plot", tmp_path / "page.png")
    assert (code, output) == (2, "")
    assert errors == 'fastnn: error: pictures need matplotlib: pip install "matplotlib>=3.8"\n'


# ---------------------------------------------------------------------- configuration, mistakes


def test_configuration_file(call, houses, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        f'data = "{houses.as_posix()}"\ntarget = "dear"\ndrop = ["price"]\nhidden = [8, 4]\n'
        "epochs = 2\nlearning_rate = 0.5\nbatch-size = 50\nbalanced = true\njson = true\n"
    )
    code, output, errors = call("train", "--config", path)
    assert (code, errors) == (0, "")
    found = json.loads(output)
    assert found["network"]["hidden"] == [8, 4]
    assert (found["training"]["epochs"], found["training"]["batch_size"]) == (2, 50)
    assert found["training"]["learning_rate"] == 0.5
    # What stands on the command line wins.
    found = json.loads(call("train", "--epochs", 3, "--config", path, "--hidden", "5")[1])
    assert (found["training"]["epochs"], found["network"]["hidden"]) == (3, [5])
    found = json.loads(call("train", "spiral", "--config", write(tmp_path, "json = true"))[1])
    assert found["data"]["source"] == "spiral"


def write(folder, text):
    path = folder / "some.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("epoch = 3", "has an unknown name 'epoch'; did you mean epochs?"),
        ("xyzzy = 3", "has an unknown name 'xyzzy'; expected some of data, format, "),
        ("json = 3", "has json = 3, expected true or false"),
        ("epochs = ", "is not TOML (Invalid value"),
    ],
)
def test_bad_configuration_files(call, tmp_path, text, error):
    path = write(tmp_path, text)
    code, output, errors = call("train", "digits", "--config", path)
    assert (code, output) == (2, "")
    assert errors.startswith(f"fastnn: error: argument --config: {path} {error}")


def test_values_of_configuration_files_are_checked(call, tmp_path):
    code, _, errors = call("train", "digits", "--config", write(tmp_path, "epochs = 0"))
    assert code == 2
    assert "argument --epochs: '0' is not a whole number of at least 1" in errors
    code, _, errors = call("train", "digits", "--config", tmp_path)
    assert code == 2
    assert f"argument --config: '{tmp_path}' cannot be read" in errors


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("trian digits", "argument COMMAND: invalid choice: 'trian', expected train, predict"),
        ("trian digits", "did you mean train?"),
        ("train digts", "no file 'digts'; expected digits, spiral, or the path of a table; did you "
         "mean digits?"),
        ("train digits --learningrate 3", "unrecognized arguments: --learningrate 3; did you mean "
         "--learning-rate?"),
        ("train digits --learningrate=3", "did you mean --learning-rate?"),
        ("train digits --optimizer adm", "argument --optimizer: invalid choice: 'adm', expected "
         f"sgd, adam, adamw, {', '.join([*catalogue.OPTIMIZERS][3:-1])} or "
         f"{[*catalogue.OPTIMIZERS][-1]}; did you mean adam?"),
        ("train digits --dropout 1", "argument --dropout: '1' is not a number of at least 0"),
        ("train digits --drop x", "argument --drop: 'x' is for data files; digits has labels"),
        ("train {data} --target pric", "did you mean 'price'?"),
        ("train {data}", "houses.csv needs --target COLUMN, the column to predict: one of 'age'"),
        ("train {data} --target dear --drop dear", "target is 'dear', expected a column that no"),
        ("train {data} --target dear --drop pric", "--drop is 'pric', expected one of the columns"),
        ("train {data} --target town --task regression", "column 'town', row 1 is "),
        ("train {data} --target dear --separator ;;", "argument --separator: ';;' is not a single"),
        ("train {data} --target dear --separator ; --format npy", "is for CSV, not for npy"),
        ("train {data} --target dear --format npy", "is no file of NumPy arrays"),
    ],
)  # fmt: skip
def test_bad_arguments(call, houses, arguments, error):
    code, output, errors = call(*arguments.format(data=houses).split())
    assert (code, output) == (2, "")
    assert errors.startswith("fastnn: error: ")
    assert error in errors
    assert errors.count("\n") == 1


def test_a_mistake_in_fastnn_has_a_code_of_its_own(call, monkeypatch):
    def fail(*_, **__):
        raise AttributeError("no such thing")

    monkeypatch.setattr(fastnn.Sequential, "fit", fail)
    code, _, errors = call("train", "digits")
    assert code == 3
    assert errors == (
        "fastnn: error: AttributeError: no such thing (a mistake in fastnn; --debug shows where)\n"
    )
    code, _, errors = call("train", "digits", "--debug")
    assert code == 3
    assert errors.startswith("Traceback (most recent call last):\n")
    assert "AttributeError: no such thing" in errors


def test_debug_shows_where_bad_input_was_found(call):
    code, _, errors = call("train", "none.csv", "--debug")
    assert code == 2
    assert errors.startswith("Traceback (most recent call last):\n")
    assert errors.splitlines()[-1].startswith("fastnn: error: no file 'none.csv'; expected digits")


def test_every_command_has_help(capsys):
    _, commands = arguments._make_parser()
    assert {"train", "predict", "evaluate", "info", "warmup", "bench"} <= set(commands)
    for name in commands:
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main([name, "--help"])
        output, _ = capsys.readouterr()
        assert f"usage: fastnn {name}" in output
        assert max(map(len, output.splitlines())) <= 80


# ---------------------------------------------------------------------- text


def test_confusion_matrix_in_text():
    matrix = np.array([[5, 0], [1, 1234]])
    assert list(figures.confusion_lines(matrix, ["cat", "dog"])) == [
        "     predicted",
        "true   cat   dog",
        "cat      5     .",
        "dog      1 1,234",
    ]


def test_confusion_matrix_with_names_that_look_alike_has_numbers():
    names = [f"a long name, number {k}" for k in range(8)]
    lines = list(figures.confusion_lines(np.eye(8, dtype=int), names))
    assert lines[1].split() == ["true", *map(str, range(1, 9))]
    assert lines[2].startswith("1 a long name, … ")
    assert max(map(len, lines)) <= 69


def test_confusion_of_many_classes_is_a_list_of_errors():
    matrix = np.diag(np.full(100, 9))
    matrix[3, 7], matrix[50, 2] = 4, 11
    lines = list(figures.confusion_lines(matrix, [f"class {k}" for k in range(100)]))
    assert lines == [
        "true                predicted            samples  the largest of 15 errors",
        "class 50            class 2                   11",
        "class 3             class 7                    4",
    ]
    assert list(figures.confusion_lines(np.eye(100, dtype=int), range(100))) == ["no errors"]


def test_many_classes_show_the_worst():
    rows = [
        {"class": f"c{k}", "precision": 0.5, "recall": 0.5, "f1": k / 30, "samples": 3}
        for k in range(30)
    ]
    *lines, last = list(figures.class_lines(rows, "held out"))[1:]
    assert [line.split()[0] for line in lines] == [f"c{k}" for k in range(10)]
    assert last == "the 10 with the lowest F1, of 30 classes"


def test_numbers_of_any_size_stay_in_their_column():
    scores = {"training": {"R2": -1.5, "RMSE": 123456789.123, "MAE": 1e-9}}
    head, row = figures.score_lines(scores, ["R2", "RMSE", "MAE"])
    assert head == "                R2      RMSE       MAE"
    assert row == "training   -1.5000 1.235e+08    0.0000"


def test_per_class_figures_of_classes_that_do_not_occur():
    found = assessment.Assessment({}, np.array([0, 0, 2]), np.array([0, 2, 2]))
    rows = assessment.class_figures(found, ["a", "b", "c"])
    assert rows[0] == {
        "class": "a", "precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "samples": 2,
    }  # fmt: skip
    assert rows[1] == {"class": "b", "precision": 0, "recall": 0, "f1": 0, "samples": 0}
    assert assessment.confusion_matrix(found, 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


# ---------------------------------------------------------------------- the machine


def test_info(call):
    code, output, errors = call("info", "--json")
    assert (code, errors) == (0, "")
    found = json.loads(output)
    assert found["versions"]["fastnn"] == fastnn.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert 1 <= found["threads"]["usable"] <= found["threads"]["cpus"]
    code, output, _ = call("info")
    assert code == 0
    kernels = found["kernels"]
    assert f"{kernels['name']}: vectors of {8 * kernels['vector_bytes']} bits" in output
    assert f"tiles of {kernels['tile_rows']} rows x {kernels['tile_vectors']} vectors" in output
    assert re.search(rf"numpy +{re.escape(np.__version__)}\n", output)


def test_info_knows_the_cache(tmp_path):
    (tmp_path / "one.bin").write_bytes(b"x" * 1000)
    for folder, expected in (
        (tmp_path, {"files": 1, "bytes": 1000, "problem": None}),
        (tmp_path / "no", {"files": 0, "problem": None}),
    ):
        done = subprocess.run(
            [*COMMAND, "info", "--json"], capture_output=True, text=True, check=True,
            env={**os.environ, "FASTNN_CACHE_DIR": str(folder)},
        )  # fmt: skip
        cache = json.loads(done.stdout)["cache"]
        assert cache == {"folder": str(folder), "bytes": 0, **expected}


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_info_says_why_a_cache_is_not_used(call, tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path)
    _, output, _ = call("info", "--json")
    reason = f"{os.path.realpath(tmp_path)} may be written by others"
    assert json.loads(output)["cache"]["problem"].startswith(reason)
    _, output, _ = call("info")
    assert "not used:" in output


UNITS = {
    "AMX": (
        UnitOfCpu(Unit.AMX, "AMX", ""),
        """\
          high     AMX: three products of bfloat16 numbers
          medium   AMX: one product of bfloat16 numbers
""",
    ),
    "AMD": (
        UnitOfCpu(Unit.DOT, "AVX512-BF16", "the CPU has no AMX"),
        """\
          high     AVX512-BF16: three products of bfloat16 numbers
          medium   AVX512-BF16: one product of bfloat16 numbers
          AMX is not used: the CPU has no AMX
          high is slower than highest here
""",
    ),
    "other": (
        UnitOfCpu(Unit.EMULATED, "float32 vectors", "the system refuses AMX: not permitted"),
        """\
          high     float32 vectors: three products of bfloat16 numbers
          medium   float32 vectors: one product of bfloat16 numbers
          AMX is not used: the system refuses AMX: not permitted
          high and medium are slower than highest here
""",
    ),
}


@pytest.mark.parametrize(("unit", "lines"), UNITS.values(), ids=UNITS)
def test_info_says_what_multiplies_in_each_precision(unit, lines, call, monkeypatch):
    monkeypatch.setattr(machine, "unit_of_cpu", lambda: unit)
    name = machine._kernels()["name"]
    first = f"precision highest  {name}: one product of float32 or float64 numbers\n"
    assert f"\n{first}{lines}cache " in call("info")[1]
    found = json.loads(call("info", "--json")[1])["precision"]
    assert [*found] == ["highest", "high", "medium"]
    assert found["highest"]["unit"] == name
    for name, units in (("high", (Unit.EMULATED, Unit.DOT)), ("medium", (Unit.EMULATED,))):
        each = found[name]
        assert (each["unit"], each["why_not_amx"]) == (unit.name, unit.reason or None)
        assert each["is_slower_than_highest"] == (unit.code in units)


@pytest.mark.parametrize("target", ["price", "dear"])
def test_precision_of_the_commands(target, call, houses, tmp_path, monkeypatch):
    seen, assess = [], assessment.assess
    monkeypatch.setattr(training, "compile_code", lambda *values: seen.append(values[-1]))
    path = tmp_path / "model.safetensors"
    command = (
        "train", houses, "--target", target, "--drop", {"price": "dear", "dear": "price"}[target],
        "--hidden", "64,32", "--epochs", 2,
    )  # fmt: skip
    results = []
    with monkeypatch.context() as patch:
        patch.setattr(
            assessment, "assess", lambda *values: seen.append(values[-1]) or assess(*values)
        )
        for options in ((), ("--precision", "medium")):
            results.append(json.loads(call(*command, "--json", *options, "--save", path)[1]))
    assert seen == ["highest"] * 5 + ["medium"] * 5  # the compilation, two parts, two baselines
    assert [each["training"]["precision"] for each in results] == ["highest", "medium"]
    assert results[0]["history"] != results[1]["history"]
    assert "matrix products in medium precision, by " in call(*command, *options)[1]
    predict = ["predict", path, houses]
    if target == "dear":
        predict.append("--probabilities")
    for command in (predict, ("evaluate", path, houses, "--json")):
        outputs = [call(*command, *options) for options in ((), ("--precision", "medium"))]
        assert [code for code, _, _ in outputs] == [0, 0]
        assert outputs[0][1] != outputs[1][1]
        with fastnn.precision("medium"):
            assert call(*command)[1] == outputs[1][1]


def test_bad_precisions_of_the_commands(call, houses, monkeypatch):
    train = "train", houses, "--target", "price"
    code, _, errors = call(*train, "--precision", "medum")
    assert code == 2
    assert (
        "argument --precision: invalid choice: 'medum', expected highest, high or medium; "
        "did you mean medium?"
    ) in errors
    code, _, errors = call(*train, "--precision", "medium", "--dtype", "float64")
    assert code == 2
    assert "argument --precision: medium needs --dtype float32, expected" in errors
    with fastnn.precision("high"):
        code, _, errors = call(*train, "--dtype", "float64")
    assert code == 2
    assert "fastnn.precision() is 'high', expected \"highest\" for a network of float64" in errors


def test_info_without_compiled_kernels():
    done = subprocess.run(
        [*COMMAND, "info"], capture_output=True, text=True,
        env={**os.environ, "FASTNN_REFERENCE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "kernels   NumPy in place of compiled kernels (FASTNN_REFERENCE)\n" in done.stdout
    assert "precision highest  NumPy: one product of float32 or float64 numbers\n" in done.stdout


def test_warmup(call, monkeypatch):
    seen = []
    monkeypatch.setattr(fastnn, "warmup", lambda *values, **named: seen.append((values, named)))
    assert call("warmup", "--dtype", "float64")[0] == 0
    _, output, _ = call("warmup", "--json", "--precision", "medium")
    assert seen == [
        (("float64",), {"precision": None}), (("float32",), {"precision": "medium"}),
    ]  # fmt: skip
    assert json.loads(output)["seconds"] >= 0


@pytest.mark.parametrize("library", bench_peers.PEERS)
def test_bench_runs_no_module_of_the_current_folder(library, tmp_path, monkeypatch):
    for name in ("numpy", "jax", "torch", "sklearn", "fastnn", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    with bench._Worker(library, 1) as worker:
        assert worker.hello.keys() <= {"version", "missing"}
    assert not (tmp_path / "ran").exists()


def test_bench_measures_what_is_installed(call, monkeypatch):
    monkeypatch.setattr(bench, "_ROUNDS", 2)
    monkeypatch.setattr(bench, "_SECONDS", 0.02)
    monkeypatch.setattr(bench, "NETWORKS", bench_peers.NETWORKS[:1])
    monkeypatch.setattr(bench, "PEERS", ["fastnn", "NumPy", "no such library"])
    code, output, errors = call("bench", "--json", "--threads", 1)
    assert (code, errors) == (0, "")
    found = json.loads(output)
    times = found["microseconds"]["64-64-10, 32"]
    assert set(times) == {"fastnn", "NumPy"}
    assert all(0 < time < 1e5 for time in times.values())
    assert found["left_out"] == ["no such library: does not start"]
    assert found["versions"]["NumPy"] == np.__version__


@pytest.mark.parametrize("library", ["NumPy", "scikit-learn"])
def test_bench_compares_equal_work(library):
    network = bench_peers.Network((20, 16, 4), 8, 25)
    losses = []
    for name in ("fastnn", library):
        make, _ = bench_peers.PEERS[name]()
        losses.append(bench_peers._Job(make, network, 1).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_bench_leaves_out_other_work(monkeypatch):
    class Worker:
        def __init__(self, loss, step):
            self.answers = {"prepare": {"loss": loss}, "seconds": {"step": step}}

        def ask(self, **command):
            return self.answers[next(iter(command))]

    left_out = []
    workers = {
        "fastnn": Worker(1.0, 2e-6),
        "same": Worker(1.0001, 6e-6),
        "other": Worker(1.1, 1e-6),
    }
    times = bench._measure(workers, 0, left_out)
    assert times == pytest.approx({"fastnn": 2, "same": 6})
    assert left_out == ["other, 64-64-10, 32: its loss is 1.1000"]
    _, *rows = bench._lines({"a": times}, {"fastnn": "1", "same": "1", "other": "1"})
    assert [row.split()[-2:] for row in rows] == [
        ["fastnn", "2"], ["6", "(3.00x)"], ["other", "-"],
    ]  # fmt: skip


# ---------------------------------------------------------------------- export


def test_export_offers_the_formats_that_there_are(call, classifier, monkeypatch, tmp_path):
    def to_c(model, path):
        path.write_text(f"/* {model.model.parameters.size} */")

    formats = {"c": export.FORMATS["c"]._replace(write=to_c), "torch": export.FORMATS["torch"]}
    for module in (export, arguments):
        monkeypatch.setattr(module, "FORMATS", formats)
    path = tmp_path / "model.c"
    code, output, errors = call("export", classifier, path)
    assert (code, errors) == (0, "")
    assert f"{path}: C99 source, " in output
    assert path.read_text() == f"/* {read_model(classifier).parameters.size} */"
    code, _, errors = call("export", classifier, tmp_path / "model.onnx")
    assert code == 2
    assert errors.endswith("expected a path that ends in .c or .safetensors\n")
    code, _, errors = call("export", classifier, path, "--to", "onnx")
    assert code == 2
    assert "argument --to: invalid choice: 'onnx', expected c or torch" in errors


@pytest.mark.parametrize("target", ["dear", "price"])
def test_exported_models_take_numbers_as_they_are(
    call, request, houses, monkeypatch, tmp_path, target
):
    path = request.getfixturevalue({"dear": "classifier", "price": "regressor"}[target])
    seen = []

    def to_torch(model, path):
        seen.append(model)
        path.write_text("...")

    monkeypatch.setitem(export.FORMATS, "torch", export.FORMATS["torch"]._replace(write=to_torch))
    code, output, _ = call("export", path, tmp_path / "m.safetensors", "--json")
    assert code == 0
    found = json.loads(output)
    assert found["inputs"] == ["age", "town=Bern", "town=New York City", "town=Oslo", "rooms"]
    assert found["outputs"] == {"dear": ["no", "yes"], "price": ["price"]}[target]
    assert found["notes"] == []
    towns = [HOUSES["town"] == name for name in ("Bern", "New York City", "Oslo")]
    X = np.array([HOUSES["age"], *towns, HOUSES["rooms"]], float).T
    (model,) = seen
    _, output, _ = call("predict", path, houses, "--json", *["--probabilities"][: target == "dear"])
    rows = [json.loads(line) for line in output.splitlines()]
    if target == "dear":
        expected = [row["probability yes"] for row in rows]
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], expected, atol=1e-4)
    else:
        np.testing.assert_allclose(model.predict(X), [row["prediction"] for row in rows], rtol=1e-4)
    _, text, _ = call("export", path, tmp_path / "m.safetensors")
    assert "inputs    5 numbers, as they are in a table, a category as 1 and 0: age," in text


def test_export_says_where_float32_does_not_do(call, monkeypatch, tmp_path):
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    table.write_text("time,y\n" + "".join(f"{1_700_000_000 + i},{i % 2}\n" for i in range(50)))
    call("train", table, "--target", "y", "--epochs", 1, "--save", model)
    fake = export.FORMATS["torch"]._replace(write=lambda model, path: path.write_text("..."))
    monkeypatch.setitem(export.FORMATS, "torch", fake)
    _, output, _ = call("export", model, tmp_path / "out.safetensors")
    assert "column 'time' varies little beside its size" in output


def test_failing_export_leaves_nothing(call, classifier, monkeypatch, tmp_path):
    def to_c(model, path):
        path.write_text("half")
        raise ValueError("layers[1] is Mine(), expected a layer of fastnn's")

    monkeypatch.setitem(export.FORMATS, "c", export.FORMATS["c"]._replace(write=to_c))
    code, _, errors = call("export", classifier, tmp_path / "model.c")
    assert code == 2
    assert errors == "fastnn: error: layers[1] is Mine(), expected a layer of fastnn's\n"
    assert not list(tmp_path.glob("*model*"))


def test_export_for_pytorch(call, regressor, tmp_path):
    path = tmp_path / "torch.safetensors"
    code, output, errors = call("export", regressor, path)
    assert (code, errors) == (0, "")
    assert f"{path}: PyTorch state_dict, " in output
    saved = data.Saved(regressor)
    model = fastnn.load_torch(path, [fastnn.ReLU(), fastnn.ReLU()], fastnn.MeanSquaredError())
    X = np.array([[30, 0, 1, 0, 4], [60, 0, 0, 1, 2]], np.float32)
    by_hand = saved.preprocessor.read(
        tables.table_of({"age": [30, 60], "town": ["New York City", "Oslo"], "rooms": [4, 2]}, "t")
    )
    expected = saved.target.decode(saved.model.predict(saved.preprocessor.transform(by_hand)))
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-4)


@pytest.mark.parametrize("ending", ["onnx", "c", "safetensors"])
def test_every_format_is_written(call, classifier, ending, tmp_path):
    path = tmp_path / f"model.{ending}"
    code, _, errors = call("export", classifier, path)
    assert (code, errors) == (0, "")
    model = fastnn.tables.load(classifier)
    if ending == "safetensors":
        model, _ = export.with_raw_inputs(data.Saved(classifier))
    twin = tmp_path / "folder" / path.name
    twin.parent.mkdir()
    writer = {"onnx": "to_onnx", "c": "to_c", "safetensors": "to_torch"}[ending]
    getattr(fastnn.export, writer)(model, twin)
    assert path.read_bytes() == twin.read_bytes()


def test_export_says_what_to_install(call, classifier, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, errors = call("export", classifier, tmp_path / "model.onnx")
    assert code == 2
    assert errors == 'fastnn: error: to_onnx needs onnx: pip install "onnx>=1.16"\n'
    assert not (tmp_path / "model.onnx").exists()


# ---------------------------------------------------------------------- long, wide, endless

LONG = "w" * 5_000_000


@pytest.mark.parametrize(
    "text",
    [
        f"a,y\n1,x\n{LONG},z\n3,x\n4,z\n",
        f"{LONG},y\n1,x\n2,z\nthree,x\n4,z\n",
        f"{LONG},y\n,x\n,z\n,x\n,z\n",
        f"{LONG},y\n2020-01-01,x\n2020-01-02,z\n",
        f"{LONG},{LONG},y\n1,1,x\n2,2,z\n",
        f'a,y\n1,"{LONG}\n2,\n',
        f"a,z{LONG}\n1,x\n2,z\n",
        f"a,y\n1,{LONG}\n2,{LONG}\n",
        f"{LONG}\n1\n2\n",
    ],
    ids=["value", "name", "no values", "date", "names", "quote", "target", "class", "only name"],
)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_messages_are_short_however_long_the_values(call, text, task, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    code, output, errors = call("train", tmp_path / "t.csv", "--target", "y", "--task", task)
    assert (code, output) == (2, "")
    assert errors.startswith("fastnn: error: ")
    assert len(errors) < 1000


def test_predictions_of_long_values(call, classifier, tmp_path):
    (tmp_path / "t.csv").write_text(f"age,town,rooms\n30,Oslo,4\n{LONG},Oslo,4\n")
    code, output, errors = call("predict", classifier, tmp_path / "t.csv")
    assert (code, output, len(errors) < 300) == (2, "", True)
    (tmp_path / "t.csv").write_text(f"age,town,rooms\n30,Oslo,4\n30,{LONG},4\n")
    code, output, errors = call("predict", classifier, tmp_path / "t.csv")
    assert (code, output.count("\n"), len(errors) < 300) == (0, 3, True)
    (tmp_path / "t.csv").write_text(f"age,town,rooms,dear\n30,Oslo,4,yes\n30,Oslo,4,{LONG}\n")
    code, output, errors = call("evaluate", classifier, tmp_path / "t.csv")
    assert (code, output, len(errors) < 300) == (2, "", True)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_link_to_nowhere_is_refused_before_any_work(call, houses, tmp_path):
    (tmp_path / "m.safetensors").symlink_to(tmp_path / "none" / "m.safetensors")
    code, output, errors = call(
        "train", houses, "--target", "dear", "--save", tmp_path / "m.safetensors"
    )
    assert (code, output) == (2, "")
    assert errors.endswith(f"there is no {str(tmp_path / 'none')!r}\n")


def test_errors_are_cut_whoever_makes_them(call, monkeypatch):
    def fail(options):
        raise ValueError(LONG)

    monkeypatch.setattr("fastnn.cli.machine.run", fail)
    code, _, errors = call("info")
    assert (code, len(errors) < 4100, errors[-5:]) == (2, True, " ...\n")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device without an end")
def test_a_device_without_end(call, classifier):
    code, output, errors = call("train", "/dev/zero", "--target", "y")
    assert (code, output) == (2, "")
    assert errors.startswith("fastnn: error: path: /dev/zero has a NUL character in line 1")
    for kind in ("npy", "npz", "parquet", "json"):
        assert call("train", "/dev/zero", "--target", "y", "--format", kind)[0] == 2
    assert call("predict", classifier, "/dev/zero")[0] == 2
    code, output, errors = call("info", "--config", "/dev/zero")
    assert (code, output) == (2, "")
    assert errors.endswith("/dev/zero has more than 1,000,000 bytes, expected options\n")
    code, output, errors = call("predict", "/dev/zero", "digits")
    assert (code, output) == (2, "")
    assert errors.startswith("fastnn: error: MODEL is '/dev/zero', expected a file")


def test_wide_tables_take_time_in_proportion(call, monkeypatch, tmp_path):
    """The list of columns is as long as the table is wide: nobody asks for it column by column."""
    rng, n = np.random.default_rng(0), 300
    X = rng.standard_normal((40, n)).round(3)
    frame = pl.DataFrame({f"c{i}": X[:, i] for i in range(n)})
    frame = frame.with_columns(y=pl.Series(["a", "b"] * 20), t=pl.Series(["u", "v", "w", "x"] * 10))
    frame.write_csv(tmp_path / "t.csv")
    asked, columns = [], pl.DataFrame.columns
    monkeypatch.setattr(
        pl.DataFrame,
        "columns",
        property(lambda self: asked.append(1) or columns.fget(self), columns.fset),
    )
    path, dropped = tmp_path / "m.safetensors", ",".join(f"c{i}" for i in range(0, n, 2))
    for command in (
        ["train", tmp_path / "t.csv", "--target", "y", "--epochs", 1, "--save", path],
        ["predict", path, tmp_path / "t.csv"],
        ["evaluate", path, tmp_path / "t.csv"],
        ["export", path, tmp_path / "m.c"],
        ["train", tmp_path / "t.csv", "--target", "y", "--epochs", 1, "--drop", dropped],
        ["train", tmp_path / "t.csv", "--target", "y", "--epochs", 1, "--missing", "mean"],
    ):
        asked.clear()
        code, _, errors = call(*command)
        assert (code, errors) == (0, "")
        assert len(asked) < 50, command
