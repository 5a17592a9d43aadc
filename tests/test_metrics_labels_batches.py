"""one_hot, accuracy and generate_batch_indices."""

import math

import numpy as np
import pytest

from fastnn import accuracy, generate_batch_indices, one_hot

# ---------------------------------------------------------------------------- one_hot


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2, 0, 2, 7], [0, 2, 7]),
        ([-3, 5, -3], [-3, 5]),
        ([True, False, True], [False, True]),
        (["cat", "ant", "cat", "bee"], ["ant", "bee", "cat"]),
        ([0.5, -1.5, 0.5, np.inf], [-1.5, 0.5, np.inf]),
        ([4, 4, 4], [4]),
        ([9], [9]),
        (np.array([3, 1, 3], np.uint8)[::-1], [1, 3]),
        (np.array(["b", "a"], object), ["a", "b"]),
        (np.array(["2024-02-01", "2023-01-01"], "M8[D]"), ["2023-01-01", "2024-02-01"]),
        ((b"y", b"x"), [b"x", b"y"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_hot(labels, classes, dtype):
    rows, found = one_hot(labels, dtype=dtype)
    assert found.dtype == np.asarray(labels).dtype
    assert np.array_equal(found, np.array(classes, found.dtype))
    assert rows.shape == (len(labels), len(classes))
    assert rows.dtype == dtype
    assert rows.flags.c_contiguous
    assert np.array_equal(np.sort(rows, axis=1)[:, -1:], np.ones((len(labels), 1)))
    assert rows.sum() == len(labels)
    assert np.array_equal(found[rows.argmax(axis=1)], np.asarray(labels))


def test_one_hot_is_float32_and_leaves_the_labels_alone():
    labels = np.array([3, 1, 2])
    rows, _ = one_hot(labels)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert labels.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([], ValueError, r"^labels has shape \(0,\), expected"),
        (3, ValueError, r"^labels has shape \(\), expected"),
        ([[0, 1]], ValueError, r"^labels has shape \(1, 2\), expected"),
        ([[0], [1, 2]], ValueError, r"^labels .*expected"),
        ([0.0, np.nan], ValueError, r"^labels\[1\] is nan, expected"),
        (np.array([1, "a"], object), TypeError, r"^labels .*expected"),
        (np.array([None, None]), TypeError, r"^labels .*expected"),
        ({"a": 1}, ValueError, r"^labels has shape \(\), expected"),
    ],
    ids=str,
)
def test_labels_that_one_hot_refuses(labels, error, message):
    with pytest.raises(error, match=message):
        one_hot(labels)


# --------------------------------------------------------------------------- accuracy

# Three ways to say the classes 0, 2, 1, 1, and one that is right for three of them.
SAME = {
    "labels": np.array([0, 2, 1, 1]),
    "uint8": np.array([0, 2, 1, 1], np.uint8),
    "list": [0, 2, 1, 1],
    "one-hot": np.eye(3)[[0, 2, 1, 1]],
    "whole one-hot": np.eye(3, dtype=int)[[0, 2, 1, 1]].tolist(),
    "bool one-hot": np.eye(3, dtype=bool)[[0, 2, 1, 1]],
    "probabilities": np.array([[0.5, 0.3, 0.2], [0, 0.4, 0.6], [0, 1, 0], [0.3, 0.4, 0.3]]),
    "logits": np.array([[-1, -2, -3], [0, 4, 60], [0, 1e30, 0], [0, 3, 1]], np.float32),
}
OTHER = {
    "labels": np.array([0, 2, 2, 1]),
    "one-hot": np.eye(3)[[0, 2, 2, 1]],
    "probabilities": np.array([[0.9, 0.1, 0], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0, 1, 0]]),
}


@pytest.mark.parametrize("first", SAME.values(), ids=SAME.keys())
@pytest.mark.parametrize("second", SAME.keys())
def test_accuracy_of_every_kind_on_either_side(first, second):
    assert accuracy(first, SAME[second]) == accuracy(SAME[second], first) == 1.0
    for other in OTHER.values():
        assert accuracy(first, other) == accuracy(other, first) == 0.75


def test_accuracy_of_labels_that_are_no_numbers():
    assert accuracy(["a", "b", "c", "a"], ["a", "b", "b", "b"]) == 0.5
    assert accuracy(np.array(["a", "b"], object), ["a", "b"]) == 1.0
    assert accuracy([True, False, True], [1, 0, 0]) == 2 / 3
    assert accuracy([1.0, 2.5], [1, 2]) == 0.5
    assert type(accuracy([1], [1])) is float


def test_accuracy_takes_the_first_of_equal_entries():
    assert accuracy([[0.5, 0.5], [0.5, 0.5]], [0, 1]) == 0.5


@pytest.mark.parametrize("side", ["y_pred", "y_true"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"has shape \(0,\), expected"),
        (np.empty((0, 3)), r"has shape \(0, 3\), expected"),
        (np.empty((2, 0)), r"has shape \(2, 0\), expected"),
        (1, r"has shape \(\), expected"),
        (np.ones((2, 2, 2)), r"has shape \(2, 2, 2\), expected"),
        ([[1], [0]], r"has shape \(2, 1\)"),
        ([[1], [0, 1]], r"expected"),
    ],
    ids=str,
)
def test_values_that_accuracy_refuses(side, value, message):
    values = {"y_pred": [0, 1], "y_true": [0, 1], side: value}
    with pytest.raises(ValueError, match=f"^{side} .*{message}"):
        accuracy(**values)


def test_accuracy_refuses_two_numbers_of_samples():
    with pytest.raises(ValueError, match=r"^y_pred has 2 samples, y_true 1: expected"):
        accuracy([1], [1, 1])


# ------------------------------------------------------------- generate_batch_indices


@pytest.mark.parametrize("n", [1, 2, 7, 32, 33, 1000])
@pytest.mark.parametrize("size", [1, 2, 7, 32, 2000])
def test_every_index_once_and_the_short_last_batch_kept(n, size):
    batches = generate_batch_indices(n, size, rng=0)
    assert type(batches) is list
    assert len(batches) == math.ceil(n / size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(batches[-1]) == (n - 1) % size + 1
    assert {batch.dtype for batch in batches} == {np.dtype(np.int64)}
    assert sorted(np.concatenate(batches)) == list(range(n))


def test_seeds_decide_the_order():
    def order(rng=None):
        return np.concatenate(generate_batch_indices(100, 8, rng)).tolist()

    assert order(0) == order(0) == order(np.random.default_rng(0)) == order(np.uint8(0))
    assert order(0) != order(1)
    assert order() != order()
    assert order(0) != list(range(100))
    rng = np.random.default_rng(0)
    assert order(rng) == order(0)
    assert order(rng) != order(0)


def test_every_order_is_as_likely():
    rng, counts = np.random.default_rng(0), np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), np.concatenate(generate_batch_indices(4, 3, rng))] += 1
    # Binomial, 1000 +- 27: five standard deviations.
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(4000 * 0.25 * 0.75)
