"""The note that kernels are compiled: once, where progress is shown, and only if they are."""

import subprocess
import sys

import numpy as np
import pytest
from child import run_python

import fastnn
from fastnn.kernels import jit
from fastnn.run import compilation

# Of a small kernel, which takes a second.
PROGRAM = """
import contextlib, sys
import numpy as np
import fastnn
from fastnn.run import compilation
compilation._LARGE = ("relu_",)
sys.stderr = sys.stdout
with compilation.note_compilation({verbose}):
    for dtype in (np.float32, np.float64):
        fastnn.kernels.relu_forward(np.empty((1, 8), dtype), np.ones((1, 8), dtype))
"""
NOTE = "compiling for this CPU, once: about 10 to 20 s"


def test_it_comes_once_and_not_where_the_code_is_stored(tmp_path):
    cache = {"FASTNN_CACHE_DIR": str(tmp_path), "FASTNN_CACHE": "1"}
    assert run_python(PROGRAM.format(verbose=2), **cache) == NOTE
    assert run_python(PROGRAM.format(verbose=2), **cache) == ""


@pytest.mark.parametrize(("verbose", "note"), [(1, NOTE.replace(", once", "")), (0, "")])
def test_without_a_cache(verbose, note):
    assert run_python(PROGRAM.format(verbose=verbose), FASTNN_CACHE="0") == note


@pytest.mark.skipif(fastnn.kernels.REFERENCE, reason="nothing is compiled")
@pytest.mark.parametrize(("verbose", "listens"), [(0, False), ("auto", False), (2, True)])
def test_fit_listens_where_it_shows_progress(verbose, listens, monkeypatch):
    monkeypatch.setattr(compilation, "_noted", False)
    seen = []
    callback = fastnn.LambdaCallback(on_fit_begin=lambda run: seen.append(bool(jit._listeners)))
    model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
    model.fit(np.eye(2), [0, 1], callbacks=[callback], verbose=verbose)
    assert seen == [listens]
    assert not jit._listeners


def test_a_small_kernel_is_not_worth_a_note(monkeypatch, capsys):
    monkeypatch.setattr(compilation, "_noted", False)
    compilation._note("relu_forward")
    assert capsys.readouterr().err == ""
    compilation._note("train_steps")
    compilation._note("predict_rows")
    assert capsys.readouterr().err.count("compiling for this CPU") == 1


def test_the_command_compiles_only_what_its_run_needs(tmp_path):
    """A run that is the same again, with other rows and epochs, compiles nothing."""
    code = """
from numba.core import event
from fastnn.cli import main, train
import sys
compiled = []
def compile_code(*values):
    before(*values)
    recorder.buffer.clear()
before, train.compile_code = train.compile_code, compile_code
with event.install_recorder("numba:compile") as recorder:
    main(["train", *sys.argv[1:]])
names = {e.data["dispatcher"].py_func.__name__ for _, e in recorder.buffer if e.is_start}
print("compiled later:", sorted(names))
"""
    arguments = ["spiral", "--epochs", "2", "--optimizer", "adam", "--patience", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "compiled later: []"
