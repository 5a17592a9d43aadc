"""Tests that need a process of their own: for its memory, its CPU, or its death."""

import _thread
import os
import subprocess
import sys
import time
from pathlib import Path


def run_python(code, **environment):
    """Run Python code in a process of its own, which must not fail; return what it prints."""
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def count_threads(expected):
    """Return how many threads there are: at once `expected`, or after a moment.

    A thread that has said that it ends is counted until Python has taken it down.
    """
    deadline = time.monotonic() + 5
    while _thread._count() != expected and time.monotonic() < deadline:
        time.sleep(0.001)
    return _thread._count()
