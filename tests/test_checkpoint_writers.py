"""Several writers in one run: wherever it is broken off, the files end as if nothing had been."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_trainer import fit, make_data, make_model

import fastnn
from fastnn import files

EPOCHS = 7
HELD_OUT = {"monitor": "val_loss", "save_best_only": True}
# File name and options of each Checkpoint.
WRITERS = {
    "last, best": [("last", {}), ("best", HELD_OUT)],
    "best, last": [("best", HELD_OUT), ("last", {})],
    "last, two": [("last", {}), ("two-{epoch}", {"keep": 2})],
    "two, last, best": [("two-{epoch}", {"keep": 2}), ("last", {}), ("best", HELD_OUT)],
    "two of the best": [
        ("two-{epoch}", {"keep": 2, **HELD_OUT}),
        ("top-{epoch}", {"keep": 1, **HELD_OUT, "monitor": "val_accuracy"}),
    ],
    "within epochs": [
        ("part-{epoch}-{step}", {"keep": 2, "every": 2, "unit": "batches"}),
        ("third", {"every": 3, "unit": "batches"}),
        ("best", HELD_OUT),
        ("rare-{epoch}", {"every": 3, "keep": 1}),
    ],
}


class Killed(BaseException):
    """What ends the process."""


class Disk:
    """Counts what is done to files, and lets the process die around one of these."""

    def __init__(self, patch, folder):
        self.folder, self.fatal, self.count = folder, None, 0
        for owner, name in ((files, "write"), (Path, "unlink")):
            patch.setattr(owner, name, self.watched(getattr(owner, name)))

    def watched(self, function):
        def watch(path, *arguments, **options):
            if self.folder not in Path(path).parents:  # machine code that is compiled on the way
                return function(path, *arguments, **options)
            self.pass_by()
            result = function(path, *arguments, **options)
            self.pass_by()
            return result

        return watch

    def pass_by(self):
        self.count += 1
        if self.count == self.fatal:
            raise Killed


@pytest.fixture
def disk(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("fastnn.program.trainer.CHUNK_SECONDS", 0.0)
    monkeypatch.setattr("fastnn.program.trainer.FIRST_CHUNK", 1)
    return Disk(monkeypatch, tmp_path)


X, Y = make_data("labels")


def run(folder, writers, resume=None):
    folder.mkdir(exist_ok=True)
    callbacks = [fastnn.Checkpoint(folder / name, **options) for name, options in writers]
    callbacks.insert(1, fastnn.EarlyStopping("val_loss", patience=EPOCHS))
    model = make_model()
    path = None if resume is None else folder / resume
    fit(
        model, X, Y, fastnn.Adam(0.1), epochs=EPOCHS, callbacks=callbacks, resume=path,
        validation_data=(X[::2], np.roll(Y[::2], 1)),
    )  # fmt: skip
    return model.parameters.tolist()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", WRITERS)
def test_files_of_several_writers(kind, disk, tmp_path):
    """Killed before or after each step of the file system, and resumed from each of the files."""
    writers = WRITERS[kind]
    parameters = run(tmp_path / "whole", writers)
    whole, n_places = contents(tmp_path / "whole"), disk.count
    assert n_places >= 18
    for place in range(1, n_places + 1, 1 + n_places // 60):
        killed, resumed = tmp_path / "killed", tmp_path / "resumed"
        disk.count, disk.fatal = 0, place
        with pytest.raises(Killed):
            run(killed, writers)
        disk.fatal = None
        for name, _ in writers:
            shutil.copytree(killed, resumed)
            assert run(resumed, writers, resume=name) == parameters
            found = contents(resumed)
            assert sorted(found) == sorted(whole), (place, name)
            assert found == whole, (place, name)
            shutil.rmtree(resumed)
        shutil.rmtree(killed)


def test_killed_again_while_it_catches_up(disk, tmp_path):
    writers = WRITERS["two, last, best"]
    run(tmp_path / "whole", writers)
    whole, n_places = contents(tmp_path / "whole"), disk.count
    rng = np.random.default_rng(0)
    for number in range(20):
        folder, name = tmp_path / str(number), writers[number % 3][0]
        for fatal in [*rng.integers(1, n_places // 3, 4), None]:
            disk.count, disk.fatal = 0, fatal
            try:
                run(folder, writers, resume=name)
            except Killed:
                continue
        assert contents(folder) == whole
