"""Tests that need a process of their own: for its memory, its CPU, or its death."""

import os
import subprocess
import sys
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
