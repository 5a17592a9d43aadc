"""Time to accuracy: its arithmetic, its clock, its refusal of unequal work, and a short run."""

import math
import subprocess
import sys
import time
from pathlib import Path

import accuracy
import numpy as np
import peers
import pytest
from networks import Network, make_parameters
from report import Table, markers
from time_to_accuracy import (
    DIGITS,
    Outcome,
    check_equal,
    first_time,
    load_digits_in_two,
    median_curve,
    median_time,
    table,
)

SCRIPT = Path(__file__).parent / "time_to_accuracy.py"
CURVES = [
    [(1.0, 0.5), (2.0, 0.98), (3.0, 0.96)],
    [(2.0, 0.5), (4.0, 0.96), (6.0, 0.97)],
    [(1.0, 0.5), (2.0, 0.6), (3.0, 0.7)],
]


def slower(curves, factor):
    return [[(seconds * factor, accuracy) for seconds, accuracy in curve] for curve in curves]


# ---------------------------------------------------------------------- arithmetic


def test_the_first_point_at_the_target_counts():
    assert [first_time(curve, 0.97) for curve in CURVES] == [2.0, 6.0, math.inf]
    assert median_time(Outcome(CURVES), 0.97) == 6.0
    assert median_time(Outcome(CURVES[1:]), 0.97) == math.inf
    assert median_curve(Outcome(CURVES)) == [(1.0, 0.5), (2.0, 0.96), (3.0, 0.96)]


def test_every_library_has_a_row():
    outcomes = {
        "fastnn": Outcome(CURVES),
        "torch": Outcome(slower(CURVES, 2)),
        "torch.medium": Outcome(slower(CURVES, 0.5)),
        "torch.autocast": Outcome([CURVES[2]] * 3),
        "jax": Outcome([], "failed"),
        "keras.jax": Outcome([], "not installed"),
    }
    shown = table(DIGITS, outcomes)
    assert isinstance(shown, Table)
    assert shown.rows == [
        ("fastnn", "6", "-", "115", "2 of 3", "0.9600"),
        ("PyTorch", "12", "2.00x", "115", "2 of 3", "0.9600"),
        ("PyTorch, medium", "3", "0.50x, slower", "115", "2 of 3", "0.9600"),
        ("PyTorch, autocast", "not reached", "-", "-", "0 of 3", "0.7000"),
        ("JAX", "failed", "-", "-", "-", "-"),
        ("Keras on JAX", "not installed", "-", "-", "-", "-"),
    ]


def test_without_fastnn_at_the_target_there_is_no_ratio():
    outcomes = {"fastnn": Outcome([CURVES[2]]), "torch": Outcome([CURVES[0]])}
    assert [row[1:3] for row in table(DIGITS, outcomes).rows] == [("not reached", "-"), ("2", "-")]


def test_unequal_work_is_refused():
    check_equal({"fastnn": 2.0, "torch": 2.01}, 0.01)
    for wrong in (2.03, math.nan):
        with pytest.raises(SystemExit, match=r"the loss of PyTorch is .* allowed 1.0%: unequal wo"):
            check_equal({"fastnn": 2.0, "torch": wrong}, 0.01)


# ---------------------------------------------------------------------- the clock


class FakePeer:
    """Sleeps 0.02 s for an order, and 0.1 s for a copy of the parameters."""

    def __init__(self, sizes):
        self.events, self.orders = [], []
        self.parameters = make_parameters(sizes)

    def AdamTrainer(self, network, threads, data):
        return self

    def load(self, parameters):
        self.events.append("load")
        self.parameters = parameters

    def train(self, orders, look):
        self.events.append(len(orders))
        for order in orders:
            time.sleep(0.02)
            self.orders.append(order)
            look()

    def snapshot(self):
        time.sleep(0.1)
        return self.parameters


@pytest.fixture
def task(tmp_path):
    arrays = load_digits_in_two(None)
    np.savez(tmp_path / "digits.npz", **arrays)
    return {
        "kind": "accuracy", "data": str(tmp_path / "digits.npz"), "sizes": [64, 16, 10],
        "batch": 100, "steps": 7, "points": 5, "scale": 1 / 16,
    }  # fmt: skip


def test_only_training_counts_and_it_is_warm(task):
    peer = FakePeer(task["sizes"])
    curve = accuracy.Curve(peer, task, 1)
    peer.events.clear(), peer.orders.clear()
    points = curve.run(seed=3, warm=0.05)
    assert peer.events[0] == "load"
    assert peer.events[1:-2] == [1] * (len(peer.events) - 3)
    assert len(peer.events) > 3
    assert peer.events[-2:] == ["load", 5]
    seconds = [each for each, _ in points]
    assert seconds == sorted(seconds)
    assert 0.1 <= seconds[-1] < 0.5  # with the copies it would be 0.5 at least
    # The weights of the seed, which know nothing.
    expected = make_parameters(task["sizes"], 3)
    assert all(map(np.array_equal, peer.parameters[0], expected[0]))
    assert all(0 < known < 0.4 for _, known in points)


def test_an_epoch_is_taken_in_parts_that_share_no_sample(task):
    peer = FakePeer(task["sizes"])
    curve = accuracy.Curve(peer, task, 1)
    peer.orders.clear()
    curve.run(seed=3, warm=0.0)
    first, second, third, fourth, _ = peer.orders
    assert {len(order) for order in peer.orders} == {700}
    assert len({*first, *second}) == len({*third, *fourth}) == 1400
    assert not np.array_equal(first, third)
    again = peer.orders.copy()
    peer.orders.clear()
    curve.run(seed=3, warm=0.0)
    assert all(map(np.array_equal, peer.orders, again))
    assert len(load_digits_in_two(None)["y"]) == 1500
    assert len(load_digits_in_two(None)["y_test"]) == 297


# ---------------------------------------------------------------------- libraries


def flat(parameters):
    return np.concatenate([array.ravel() for layer in parameters for array in layer])


def train(trainer, orders):
    """Return the parameters after each order, from the same weights each time."""
    snapshots = []
    trainer.load(make_parameters(trainer.network.sizes, 1))
    trainer.train(orders, lambda: snapshots.append(trainer.snapshot()))
    return np.array(list(map(flat, snapshots)))


@pytest.mark.parametrize("name", ["fastnn", "sklearn"])
def test_libraries_do_equal_work(name):
    """They start anew at each `load`, averages too, and copy what they have learned."""
    arrays = load_digits_in_two(None)
    data = arrays["X"] / np.float32(16), arrays["y"]
    network = Network((64, 16, 10), batch=32, steps=4)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(1500)[:128] for _ in range(3)]
    trainer, numpy = (peers.load(each).AdamTrainer(network, 1, data) for each in (name, "numpy"))
    found, expected = train(trainer, orders), train(numpy, orders)
    assert np.array_equal(train(trainer, orders), found)
    moved = np.abs(expected - flat(make_parameters(network.sizes, 1))).mean(axis=1)
    assert (np.diff(moved) > 1e-3).all()
    away = np.abs(found - expected).mean(axis=1)
    # A step moves a parameter by 0.001 at most. scikit-learn adds epsilon elsewhere.
    assert (away <= {"fastnn": 1e-6, "sklearn": 2e-5}[name]).all()


# ---------------------------------------------------------------------- a short run


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(head + array.tobytes())


@pytest.fixture
def folders(tmp_path):
    """Return (data in place of Fashion-MNIST, a checkout to write into, libraries that fail)."""
    data, checkout, broken = (tmp_path / name for name in ("data", "checkout", "broken"))
    for folder in (data, checkout, broken):
        folder.mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 800), ("t10k", 50)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        write_idx(data / f"{part}-images-idx3-ubyte", images)
        write_idx(data / f"{part}-labels-idx1-ubyte", images[:, 0, 0] // 26)
    first, last = markers("time-to-accuracy")
    (checkout / "README.md").write_text(f"above\n{first}\n{last}\nbelow\n")
    for name in ("torch", "jax", "keras"):
        (broken / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    return data, checkout, broken


def test_a_short_run_draws_and_writes(folders, monkeypatch):
    data, checkout, broken = folders
    monkeypatch.setenv("PYTHONPATH", str(broken))
    command = [sys.executable, SCRIPT, data, "--quick", "--threads", "1", "--write", checkout]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "not installed: PyTorch: no torch here" in result.stderr
    names = [
        "fastnn", "fastnn, high", "fastnn, medium", "PyTorch", "PyTorch, medium",
        "PyTorch, autocast", "JAX", "Keras on JAX", "Keras on PyTorch", "scikit-learn",
    ]  # fmt: skip
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip("| ") for cell in row] for row in rows]
    assert [row[0] for row in rows] == ["", "---" + "-" * 14, *names] * 2
    missing = [row[0] for row in rows if row[1] == "not installed"]
    assert missing == names[3:-1] * 2
    measured = [row for row in rows if row[0] in {*names} - {*missing}]
    assert [row[1] for row in measured] == ["not reached"] * 8
    assert (checkout / "benchmarks/time_to_accuracy.png").read_bytes()[1:4] == b"PNG"
    readme = (checkout / "README.md").read_text()
    assert readme.startswith("above\n")
    assert readme.endswith("below\n")
    assert "Time to accuracy: Fashion-MNIST" in readme
    assert f"FOLDER --quick --threads 1 --write {checkout}" in readme
    assert str(data) not in readme


def test_without_a_folder_it_says_what_is_left_out(folders, monkeypatch):
    _, _, broken = folders
    monkeypatch.setenv("PYTHONPATH", str(broken))
    command = [sys.executable, SCRIPT, "--quick", "--seeds", "1", "--libraries", "sklearn"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "left out: Fashion-MNIST: no FOLDER with its IDX files" in result.stderr
    assert "| scikit-learn |" in result.stdout
