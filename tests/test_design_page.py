"""The path of `X` that the page on the design shows is the one that a call of `fit` takes."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import structure

import fastnn
from fastnn import kernels
from fastnn.program import inputs

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
PACKAGE = Path(fastnn.__file__).parent
# They call what they are given, so that what they protect stands inside of them.
WRAPPERS = ("program.threads.with_team", "run.rollback.undo_if_diverged")


def name_of(frame):
    """Return "folder.module.Class.function" of a frame of the package, else None."""
    path = Path(frame.f_code.co_filename)
    if PACKAGE not in path.parents:
        return None
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return f"{module}.{frame.f_code.co_qualname}".replace(".<locals>", "")


def stack_of(monkeypatch, owner, function):
    """Return the functions of the package that lead from `fit` to a function, each once."""
    stacks, real = [], getattr(owner, function)

    def spy(*arguments, **options):
        names, frame = [], sys._getframe(1)
        while frame is not None:
            names.insert(0, name_of(frame))
            frame = frame.f_back
        stacks.append([name for name in names if name])
        return real(*arguments, **options)

    monkeypatch.setattr(owner, function, spy)
    model = fastnn.Sequential([fastnn.Dense(4, 3, rng=0)])
    X = np.ones((8, 4), np.float32)
    model.fit(X, np.arange(8) % 3, validation_data=None, callbacks=[fastnn.Callback()])
    return stacks[0]


def paths_of_page():
    """Return the lists of functions in the blocks of the page that end at a kernel or a check."""
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [re.findall(r"^(?:-> )?([\w.]+)", block, re.MULTILINE) for block in blocks]


@pytest.mark.parametrize(
    ("block", "owner", "function"), [(0, inputs, "as_table"), (1, kernels, "train_steps")]
)
def test_the_path_of_X(block, owner, function, monkeypatch):
    path = stack_of(monkeypatch, owner, function)
    assert paths_of_page()[block][:-1] == path
    floors = [structure.FLOOR_OF[name.split(".")[0]] for name in path if name not in WRAPPERS]
    assert floors == sorted(floors, reverse=True)
