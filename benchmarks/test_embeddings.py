"""The benchmark of embeddings: codes of the training rows, and the table of its results."""

import embeddings
import numpy as np


def test_a_split_has_each_row_once():
    problem = embeddings.make_problem(80, (9, 5), products=True)
    parts = embeddings.split(problem, 3)
    assert sorted(np.concatenate(parts)) == list(range(80))
    assert [len(part) for part in parts] == [48, 12, 20]


def test_categories_that_the_training_rows_do_not_have_are_code_0():
    codes, counts = embeddings.codes_of(np.array([[7], [3], [7], [9], [1]]), [0, 1, 2])
    assert codes.ravel().tolist() == [2, 1, 2, 0, 0]
    assert counts == [3]


def test_both_networks_get_the_same_columns():
    codes, counts, numbers = np.array([[2], [0], [1]]), [3], np.ones((3, 1))
    X, layers = embeddings.inputs_of("one-hot", numbers, codes, counts)
    assert X.tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    assert layers == []
    X, (first,) = embeddings.inputs_of("embedding", numbers, codes, counts)
    assert X.tolist() == [[1, 2], [1, 0], [1, 1]]
    assert first.categories == {1: 3}


def test_table():
    problem = embeddings.make_problem(80, (9, 5), products=True)
    low, high = np.array([0.5, 0.52]), np.array([0.7, 0.71])
    slow, fast = np.array([0.4, 0.4]), np.array([0.1, 0.2])
    better = {"one-hot": (low, slow), "embedding": (high, fast)}
    worse = {"one-hot": (high, fast), "embedding": (low, slow)}
    equal = {"one-hot": (low, slow), "embedding": (low[::-1], fast)}
    results = {name: (problem, x) for name, x in zip("abc", (better, worse, equal), strict=True)}
    rows = embeddings.table(results, 2).rows
    assert [row[-2:] for row in rows] == [
        ("embedding", "3.00x"), ("one-hot", "0.38x"), ("equal", "3.00x"),
    ]  # fmt: skip
    assert rows[0][:5] == ("a", "80", "9 + 5", "51.0 ± 1.4", "70.5 ± 0.7")
