"""The comparison of two versions runs, here of one version with itself."""

import subprocess
import sys
from pathlib import Path


def test_a_version_against_itself():
    script = Path(__file__).parent / "versions.py"
    command = [sys.executable, "-P", script, sys.executable, sys.executable, "--quick"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].split() == ["old", "new", "new", "/", "old"]
    assert [line[:28].strip() for line in lines[1:]] == [
        "step 2-64-3 SGD", "step 2-64-3 Adam", "step 64-64-10 SGD", "step 64-64-10 Adam",
        "one row", "partial_fit 64-64-10 Adam", "step 784-128-10 SGD", "step 784-128-10 Adam",
        "step 784-2048-2048-10 SGD", "step 784-2048-2048-10 Adam",
        "step 784-512-512-10 SGD", "step 784-512-512-10 Adam", "100 rows 784-512-512-10",
    ]  # fmt: skip
    assert all(float(line.split()[-1]) > 0 for line in lines[1:])
