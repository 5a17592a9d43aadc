"""What is kept of a speed, or lost, is a median over the ratios of each round."""

import sharing
from sharing import beside_table, table


def test_table():
    alone = [[0.01, 0.02], [0.02, 0.02], [0.01, 0.02]]
    together = [[0.02, 0.08], [0.05, 0.08], [0.02, 0.02]]
    assert table(alone, together).rows == [
        ("1", "100", "50.0", "50 %"),
        ("2", "50.0", "12.5", "25 %"),
    ]


def test_beside_table():
    pairs = [(0.001, 0.002), (0.002, 0.003), (0.001, 0.0013)]
    assert beside_table({("training step", "fastnn"): pairs}).rows == [
        ("training step", "fastnn", "1,000", "2,000", "1.50x")
    ]


def test_measured_beside_a_process_that_runs(monkeypatch):
    asked, running = [], []

    class FakeWorker:
        def __init__(self, library):
            self.hello = {"versions": {}} if library.peer == "fastnn" else {"missing": "it"}

        def ask(self, **command):
            if "prepare" in command:
                asked.append(command["prepare"]["kind"])
                return {"values": [1.0]}
            return {"seconds": 2.0 if [p for p in running if p.poll() is None] else 1.0}

        def close(self):
            asked.append("closed")

    popen = sharing.subprocess.Popen

    def start(command):
        running.append(popen(command))
        return running[-1]

    monkeypatch.setattr(sharing, "Worker", FakeWorker)
    monkeypatch.setattr(sharing.subprocess, "Popen", start)
    measured = sharing.measure_beside(["fastnn", "jax"], 2, 0.0, 0.0)
    assert measured == {
        ("training step", "fastnn"): [(1.0, 2.0)] * 2,
        ("prediction", "fastnn"): [(1.0, 2.0)] * 2,
    }
    assert asked == ["train", "predict", "closed", "closed"]
    assert len(running) == 4
    assert all(process.poll() is not None for process in running)
