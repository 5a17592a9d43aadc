"""Pages about clusters: each of their blocks is a program, which starts processes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from pages import find_blocks
from test_clusters import AS_ROOT, MPIRUN
from test_docs import IN_PROCESSES, read

ENGINES = "mpi4py", "ray", "distributed", "optuna"
BLOCKS = [(page, i, *b) for page in IN_PROCESSES for i, b in enumerate(find_blocks(read(page)))]


@pytest.mark.parametrize(
    ("code", "expected"),
    [pytest.param(code, expected, id=f"{page}-{i}") for page, i, code, expected in BLOCKS],
)
def test_a_block_prints_what_stands_below_it(code, expected, tmp_path, monkeypatch):
    for engine in ENGINES:
        if engine in code and importlib.util.find_spec(engine) is None:
            pytest.skip(f"{engine} is not installed")
    if "mpi4py" in code and MPIRUN is None:
        pytest.skip("mpirun is not installed")
    for name, value in AS_ROOT.items():
        monkeypatch.setenv(name, value)
    script = Path(tmp_path, "search.py")
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, script]
    if "mpi4py" in code:
        mpi = "--oversubscribe", "-n", "3", sys.executable, "-m", "mpi4py.futures"
        command = [MPIRUN, *mpi, script]
    process = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == expected
