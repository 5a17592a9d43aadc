"""`fastnn train --cv` and `--final`: parts that no network has seen, and all rows in the end."""

import argparse
import json
import re

import numpy as np
import pytest
from test_cli_tables import call, houses  # noqa: F401 (fixtures)

import fastnn
from fastnn.cli import arguments, cross_validation
from fastnn.cli.dataset import read_columns


def columns_of(tmp_path, task, n=103):
    """Return the options and columns of a table whose feature `x` is the number of its row."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n) if task == "classification" else rng.standard_normal(n).round(6)
    path = tmp_path / "t.csv"
    rows = "\n".join(f"{i},{rng.normal():.6f},{y[i]}" for i in range(n))
    path.write_text(f"x,z,y\n{rows}\n")
    options = arguments.parse(
        ["train", str(path), "--target", "y", "--task", task, "--cv", "4", "--dtype", "float64"]
    )
    assert isinstance(options, argparse.Namespace)
    return options, read_columns(options, np.random.default_rng(0)), y


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_row_is_in_one_part_and_its_network_has_not_seen_it(task, tmp_path, monkeypatch):
    options, columns, y = columns_of(tmp_path, task)
    seen, tested = [], []

    def rows_of(preprocessor, X):
        """Return the numbers of the rows, which are their first feature."""
        column = preprocessor.columns[0]
        return np.rint(X[:, 0] * column.scale + column.shift).astype(int)

    def train(dataset):
        seen.append([rows_of(dataset.preprocessor, X) for X in dataset.inputs])
        values = [each for part in seen[-1][:1] for each in part]
        np.testing.assert_allclose(dataset.preprocessor.columns[0].shift, np.mean(values))
        for rows, found in zip(seen[-1], dataset.targets, strict=True):
            assert np.array_equal(found, y[rows])
        return {"network": dataset.preprocessor}

    def assess(preprocessor, target, X, y_part, *_):
        tested.append(rows_of(preprocessor, X))
        assert np.array_equal(y_part, y[tested[-1]])
        return cross_validation.assessment.Assessment({"r2": float(len(X))}, y_part, y_part)

    monkeypatch.setattr(cross_validation.assessment, "assess", assess)
    rng = np.random.default_rng(1)
    result = cross_validation.cross_validate(options, columns, rng, train)
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(len(y)))
    for (training, held_out), part in zip(seen, tested, strict=True):
        together = np.concatenate([training, held_out, part])
        assert np.array_equal(np.sort(together), np.arange(len(y)))
        assert len(held_out) == pytest.approx(0.2 * (len(y) - len(part)), abs=3)
        if task == "classification":
            shares = np.bincount(y[part], minlength=3) - np.bincount(y) / 4
            assert abs(shares).max() < 1.1
    assert result.sizes == [26, 26, 26, 25]
    assert result.scores == {"network": {"r2": [26.0, 26.0, 26.0, 25.0]}}


def test_the_table_of_scores(call, houses):  # noqa: F811
    train = "train", houses, "--target", "price", "--drop", "dear", "--cv", 3, "--epochs", 30
    output = call(*train)[1]
    result = json.loads(call(*train, "--json")[1])["cv"]
    assert result["parts"] == [200, 200, 200]
    assert list(result["scores"]) == ["network", "mean_of_the_target", "linear_model"]
    for title, scores in result["scores"].items():
        mean, deviation = (scores["r2"][name] for name in ("mean", "deviation"))
        assert mean == pytest.approx(np.mean(scores["r2"]["values"]))
        assert deviation == pytest.approx(np.std(scores["r2"]["values"], ddof=1))
        assert re.search(rf"{title.replace('_', ' ')} +{mean:.3f} ± {deviation:.3f} ", output)
    assert result["scores"]["linear_model"]["r2"]["mean"] > 0.98
    assert "parts     3 of 200 samples, which their networks have not seen\n" in output
    assert max(map(len, output.splitlines()[1:])) <= 80  # the first has a path
    assert (
        call(*train)[1].partition("parts")[2].partition("time")[0]
        == (output.partition("parts")[2].partition("time")[0])
    )
    output = call("train", houses, "--target", "dear", "--drop", "price", "--cv", 2)[1]
    assert re.search(r"most frequent class +0\.\d{3} ± 0\.\d{3} +0\.5\d\d ± 0\.\d{3}", output)


def test_the_final_network_is_trained_on_all_rows(call, houses, tmp_path):  # noqa: F811
    paths = [tmp_path / name for name in ("measured.safetensors", "final.safetensors")]
    train = "train", houses, "--target", "price", "--drop", "dear", "--patience", 3
    first = call(*train, "--save", paths[0])[1]
    last = call(*train, "--save", paths[1], "--final")[1]
    best = re.search(r"epoch (\d+) is kept", last)[1]
    flat = " ".join(last.split())
    assert f"trained on all 600 samples for {best} epochs" in flat
    assert "trained on all" not in first
    assert (
        first.partition("result")[2].partition("files")[0]
        == (last.partition("result")[2].partition("files")[0])
    )
    with pytest.warns(fastnn.PreparedInputsWarning):
        one, other = map(fastnn.load, paths)
    assert not np.array_equal(one.parameters, other.parameters)
    scores = json.loads(call("evaluate", paths[1], houses, "--json")[1])
    assert scores["r2"] > 0.98


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1", "argument --cv: '1' is not a whole number of at least 2"),
        ("x", "argument --cv: 'x' is not a whole number of at least 2"),
        ("301", "argument --cv: 301 parts of 600 samples, expected at most 300"),
    ],
)
def test_bad_numbers_of_parts(value, message, call, houses):  # noqa: F811
    code, _, errors = call(
        "train", houses, "--target", "price", "--drop", "dear", "--epochs", 1, "--cv", value
    )
    assert code == 2
    assert message in errors
