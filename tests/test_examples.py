"""Every example runs, and prints what its text says."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function of an example's name: what it prints, line by line, and its folder."""

    @functools.cache
    def run(name):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-W", "error", FOLDER / name]
        environment = {**os.environ, "MPLBACKEND": "Agg"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), folder

    return run


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_example_prints_what_its_text_says(name, run):
    text = ast.get_docstring(ast.parse((FOLDER / name).read_text(encoding="utf-8")))
    said = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    printed, _ = run(name)
    assert printed == said


def test_the_regression_comes_close_to_the_best_possible(run):
    printed, _ = run("regression.py")
    best, found = numbers(printed[0])
    assert best - 0.02 <= found < best < 0.9


def test_the_spiral_is_learnt_and_drawn(run):
    printed, folder = run("spiral.py")
    assert numbers(printed[0])[0] >= 0.95
    assert (folder / "spiral.png").read_bytes()[:4] == b"\x89PNG"


def test_digits_are_read(run):
    printed, _ = run("digits.py")
    assert numbers(printed[0])[0] >= 0.975


def test_the_network_in_c_is_written(run):
    printed, folder = run("export_to_c.py")
    assert numbers(printed[0])[0] >= 0.95
    assert printed[-1] in (folder / "movement.c").read_text()


def test_the_policy_balances_the_pole(run):
    printed, _ = run("policy.py")
    assert printed[-1].startswith("of 200 new episodes without chance 200 last")
