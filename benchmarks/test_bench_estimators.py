"""The benchmark of the estimators compares like with like."""

import warnings

import estimators
import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

import fastnn


@pytest.mark.parametrize("case", ["digits, Adam, float64", "digits, Adam, early stopping"])
def test_both_libraries_do_the_same(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (
            estimators.fit(Classifier, case, epochs=2, seed=1)
            for Classifier in (fastnn.MLPClassifier, MLPClassifier)
        )
    assert np.allclose(ours["losses"], theirs["losses"], rtol=1e-4)
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.01)
    assert ours["seconds"] > 0


def test_search():
    table = estimators.search(rounds=1, epochs=1)
    assert table.rows[0][1:3] == ("1", "1.00x")
