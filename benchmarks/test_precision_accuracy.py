"""The accuracy of each precision: equal seeds are compared, and the largest difference counts."""

import numpy as np
import pytest
from precision_accuracy import Result, digits_of, main, run, table


def test_table():
    curves = {"float64": [1.0, 2.0], "highest": [1.0, 2.0], "high": [1.0, 2.002]}
    losses = {name: {"ReLU": np.array(curve), "Tanh": np.ones(2)} for name, curve in curves.items()}
    losses["medium"] = {"ReLU": np.array([0.9, 2.0]), "Tanh": np.array([1.0, 1.03])}
    results = [
        Result({"float64": 0.9, "highest": 0.9, "high": 0.91, "medium": 0.85}, losses),
        Result({"float64": 0.8, "highest": 0.8, "high": 0.81, "medium": 0.81}, losses),
    ]
    assert table("digits", (512, 512), 20, results).rows == [
        ("float64", "85.00 ± 7.07", "+0.00 ± 0.00", "0e+00", "0e+00"),
        ("highest", "85.00 ± 7.07", "+0.00 ± 0.00", "0e+00", "0e+00"),
        ("high", "86.00 ± 7.07", "+1.00 ± 0.00", "1e-03", "0e+00"),
        ("medium", "83.00 ± 2.83", "-2.00 ± 4.24", "1e-01", "3e-02"),
    ]


def test_a_seed_is_the_same_in_each_precision():
    problem = digits_of(3)
    assert len(problem.y) + len(problem.y_held_out) == 1797
    result = run(problem, (32, 16), 3, epochs=1, steps=3)
    for name in ("ReLU", "Tanh"):
        wide, first, high, medium = (each[name] for each in result.losses.values())
        assert wide.shape == first.shape == (3,)
        np.testing.assert_allclose(wide, first, rtol=1e-6)
        np.testing.assert_allclose(high, first, rtol=1e-4)
        np.testing.assert_allclose(medium, first, rtol=0.05)
        assert (high != first).all()
        assert (medium != first).all()
    assert result.losses["highest"]["ReLU"][0] != result.losses["highest"]["Tanh"][0]


def test_quick(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["precision_accuracy.py", "--quick"])
    main()
    output = capsys.readouterr().out
    assert "Hidden layers 32-16, Adam, batch 64, 1 epochs, 2 seeds" in output
    assert output.count("\n| ") == 6


def test_data_of_a_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["precision_accuracy.py", str(tmp_path), "--quick"])
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        main()
    for part, n in (("train", 70), ("t10k", 8)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", n, 6, 6)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", n)
    main()
    assert "Accuracy in each precision, Fashion-MNIST" in capsys.readouterr().out


def write_idx(path, *shape):
    """Write an IDX file of bytes from 0 to 9."""
    head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    path.write_bytes(head + (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes())
