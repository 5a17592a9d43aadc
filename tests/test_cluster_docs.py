"""Pages about clusters: each of their blocks is a program, which starts processes."""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import find_blocks, find_engine, run_blocks
from test_clusters import AS_ROOT, MPIRUN
from test_docs import IN_PROCESSES, read

PAGE = "larger-than-memory.md"
BLOCKS = [(page, i, *b) for page in IN_PROCESSES for i, b in enumerate(find_blocks(read(page)))]


@pytest.mark.parametrize(
    ("code", "expected"),
    [pytest.param(code, expected, id=f"{page}-{i}") for page, i, code, expected in BLOCKS],
)
def test_a_block_prints_what_stands_below_it(code, expected, tmp_path, monkeypatch):
    engine = find_engine(code)
    if engine is not None and importlib.util.find_spec(engine) is None:
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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with what the other blocks of the page have written."""
    folder = tmp_path_factory.mktemp("page")
    with contextlib.chdir(folder):
        run_blocks(read(PAGE), PAGE)
    return folder


PROGRAMS = [(find_engine(code), code, printed) for code, printed in find_blocks(read(PAGE))]


@pytest.mark.parametrize(("engine", "code", "printed"), [each for each in PROGRAMS if each[0]])
def test_predictions_in_processes(engine, code, printed, request, monkeypatch):
    pytest.importorskip(engine)
    if engine == "pyspark" and shutil.which("java") is None:
        pytest.skip("Java is not installed")
    folder = request.getfixturevalue("written")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    (folder / "program.py").write_text(code, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout == printed


def test_the_engines_are_on_the_page():
    assert [engine for engine, *_ in PROGRAMS if engine] == ["ray", "pyspark"]
