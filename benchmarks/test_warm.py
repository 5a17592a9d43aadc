"""What is timed was done just before, too: memory that lay idle for a while is slow once."""

import time

import estimators
import jobs
import ladder
import many
import numpy as np
import pytest

from fastnn.cli import bench_peers


class Recorder:
    """Notes each piece of work and each look at the clock, on which a piece takes a second."""

    def __init__(self, monkeypatch):
        self.events = []
        monkeypatch.setattr(time, "perf_counter", self.look)

    def look(self):
        self.events.append("clock")
        return float(self.events.count("work"))

    def work(self, *arguments, **options):
        """Stand for anything that is timed."""
        self.events.append("work")

    def check(self):
        """Raise AssertionError unless work came before that between the last looks at the clock."""
        assert self.events[-1] == "clock"
        opened = len(self.events) - 2 - self.events[-2::-1].index("clock")
        assert "work" in self.events[opened:]
        assert "work" in self.events[:opened]


@pytest.fixture
def recorder(monkeypatch):
    return Recorder(monkeypatch)


def test_recorder_finds_what_is_cold(recorder):
    recorder.work()
    time.perf_counter()
    recorder.work()
    time.perf_counter()
    recorder.check()
    del recorder.events[0]
    with pytest.raises(AssertionError):
        recorder.check()


def test_training_of_a_worker(recorder):
    class Trainer:
        def __init__(self, *arguments):
            self.run, self.reset = recorder.work, lambda: None

        def losses(self, epochs):
            return [0.0]

    peer = type("Peer", (), {"Trainer": Trainer})
    job = jobs.make_job(peer, {"kind": "train", "sizes": [2, 3], "batch": 4, "steps": 5}, 1)
    recorder.events.clear()
    job.time(warm=3.0, seconds=2.0)
    recorder.check()
    assert recorder.events.count("work") > 3


def test_calls_of_a_worker(recorder):
    peer = type("Peer", (), {"softmax": lambda *_: lambda: recorder.work() or [0.0]})
    job = jobs.make_job(peer, {"kind": "softmax", "shape": [2, 3]}, 1)
    recorder.events.clear()
    job.time(warm=3.0, seconds=2.0)
    recorder.check()
    assert recorder.events.count("work") > 3


def test_estimators(recorder):
    class Classifier:
        loss_curve_ = ()

        def __init__(self, **options):
            self.fit = recorder.work

        def predict(self, X):
            return np.zeros(len(X))

    estimators.fit(Classifier, "digits, momentum", epochs=1, seed=0, warm=3.0)
    recorder.check()
    assert recorder.events.count("work") == 4


@pytest.mark.parametrize("threads", [None, 2])
def test_many(recorder, monkeypatch, threads):
    monkeypatch.setattr(many, "train", recorder.work)
    many.measure(1, threads, n_models=2)
    recorder.check()


def test_ladder(recorder):
    ladder.rate(recorder.work, size=4, rounds=1)
    recorder.check()


def test_the_command(recorder):
    def make(*arguments):
        return lambda epochs, rng: recorder.work() or 0.0

    job = bench_peers._Job(make, bench_peers.Network((2, 3), 4, 5), 1)
    recorder.events.clear()
    job.time_step(8.0)
    recorder.check()
    assert recorder.events.count("work") == 5  # for half of the time, and then in one call
