"""The benchmark of tables: no test row is trained on, and the best mean is the best."""

import numpy as np
import pandas
import tables


def make_problem(task, n=80):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n)
    y = x + rng.normal(0, 0.1, n)
    target = np.where(y > 0, "yes", "no") if task == "classification" else y
    town = rng.choice(["a", "b"], n)
    frame = pandas.DataFrame({"x": x, "town": town, "y": target, "number": np.arange(n)})
    return tables.Problem(frame, "y", task)


def test_a_split_has_each_row_once():
    problem = make_problem("regression")
    rows, test = tables.split(problem, 3)
    numbers = [*rows["number"], *test["number"]]
    assert sorted(numbers) == list(range(80))
    assert len(test) == 20
    other = tables.split(problem, 4)[1]
    assert set(test["number"]) != set(other["number"])


def test_scores_of_both_tasks():
    for task in ("classification", "regression"):
        problem = make_problem(task)
        problem = problem._replace(frame=problem.frame.drop(columns=["number"]))
        scores = tables.measure(problem, range(2))
        assert list(scores) == ["fastnn", "mlp", "linear", "boosting", "constant"]
        assert all(values.shape == (2,) for values in scores.values())
        assert scores["linear"].min() > 0.8
        assert scores["fastnn"].min() > scores["constant"].max()


def test_table():
    problem = make_problem("regression")
    scores = {
        "fastnn": [0.5, 0.7], "mlp": [0.6, 0.6], "linear": [0.1, 0.3], "boosting": [0.4, 0.6],
        "constant": [0.0, -0.02],
    }  # fmt: skip
    good = {name: np.array(values) for name, values in scores.items()}
    bad = {**good, "mlp": np.array([0.7, 0.7])}
    found = tables.table({"one": (problem, good), "two": (problem, bad)}, 2)
    assert "at least that of the MLP on 1 of 2 tables" in found.text
    assert found.rows[0] == (
        "one", "80 x 3", "R2", "60.0 ± 14.1", "60.0 ± 0.0", "20.0 ± 14.1", "50.0 ± 14.1", "-1.0",
        "fastnn",
    )  # fmt: skip
    assert found.rows[1][-1] == "MLP"
