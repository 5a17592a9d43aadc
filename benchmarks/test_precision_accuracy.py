"""The accuracy of each precision: equal seeds are compared, and the largest difference counts."""

import numpy as np
import precision_accuracy
import pytest
from precision_accuracy import Result, digits_of, main, run, table


def test_table():
    losses = {"highest": np.array([1.0, 2.0]), "high": np.array([1.0, 2.002])}
    losses["medium"] = np.array([0.9, 2.0])
    results = [
        Result({"highest": 0.9, "high": 0.91, "medium": 0.85}, losses),
        Result({"highest": 0.8, "high": 0.81, "medium": 0.81}, losses),
    ]
    assert table("digits", (512, 512), 20, results).rows == [
        ("highest", "85.00 ± 7.07", "+0.00 ± 0.00", "0.0e+00"),
        ("high", "86.00 ± 7.07", "+1.00 ± 0.00", "1.0e-03"),
        ("medium", "83.00 ± 2.83", "-2.00 ± 4.24", "1.0e-01"),
    ]


def test_a_seed_is_the_same_in_each_precision():
    problem = digits_of(3)
    assert len(problem.y) + len(problem.y_held_out) == 1797
    result = run(problem, (32, 16), 3, epochs=1, steps=3)
    first, high, medium = (result.losses[name] for name in ("highest", "high", "medium"))
    assert first.shape == (3,)
    np.testing.assert_allclose(high, first, rtol=1e-4)
    np.testing.assert_allclose(medium, first, rtol=0.05)
    assert not (high == first).all()
    assert not (medium == first).all()


def test_quick(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["precision_accuracy.py", "--quick"])
    main()
    output = capsys.readouterr().out
    assert "Hidden layers 32-16, Adam, batch 64, 1 epochs, 2 seeds" in output
    assert output.count("\n| ") == 4


def test_data_of_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["precision_accuracy.py", str(tmp_path), "--quick"])
    with pytest.raises((FileNotFoundError, ImportError)):
        precision_accuracy.main()
