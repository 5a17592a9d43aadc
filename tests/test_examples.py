"""Every example runs, and prints what its text says."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def run(name, folder):
    """Return the lines that an example prints, and the indented ones of its text."""
    path = FOLDER / name
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-W", "error", path]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    said = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return done.stdout.splitlines(), said


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_example_prints_what_its_text_says(name, tmp_path):
    printed, said = run(name, tmp_path)
    assert printed == said


def test_the_regression_comes_close_to_the_best_possible(tmp_path):
    printed, _ = run("regression.py", tmp_path)
    best, found = numbers(printed[0])
    assert best - 0.02 <= found < best < 0.9


def test_the_spiral_is_learnt_and_drawn(tmp_path):
    printed, _ = run("spiral.py", tmp_path)
    assert numbers(printed[0])[0] >= 0.95
    assert (tmp_path / "spiral.png").read_bytes()[:4] == b"\x89PNG"


def test_digits_are_read():
    printed, _ = run("digits.py", None)
    assert numbers(printed[0])[0] >= 0.975
