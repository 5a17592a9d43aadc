"""Searches and `fit_many` on clusters: the same results, and no more threads than CPUs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import cluster_work
import pytest

SCRIPT = cluster_work.__file__
MPIRUN = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run(backend, *command):
    """Return what the script prints for a backend."""
    # Without a limit of ours, so that each worker has that of its launcher.
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    process = subprocess.run(
        [*command, SCRIPT, backend],
        env={**inherited, **AS_ROOT},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def expected():
    return run("threading", sys.executable)


@pytest.mark.parametrize("backend", ["loky", "dask", "dask threads", "ray"])
def test_a_search_on_a_cluster(backend, expected):
    library = {"loky": "joblib", "dask threads": "distributed", "dask": "distributed"}
    pytest.importorskip(library.get(backend, backend), exc_type=ImportError)
    found = run(backend, sys.executable)
    assert found["scores"] == expected["scores"]
    # Two jobs have the CPUs of this machine, and so one thread each.
    assert all(estimator == 1 for _, _, estimator in found["threads"])
    if backend != "dask threads":  # whose jobs are in one process, without a limit
        assert all(each == [1, 1, 1] for each in found["threads"])
    if backend != "ray":  # which has no executor
        assert found["bits"] == expected["bits"]


@pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or MPIRUN is None, reason="needs mpi4py and mpirun"
)
@pytest.mark.parametrize("n_processes", [1, 3])
def test_fit_many_under_mpirun(n_processes, expected):
    command = [MPIRUN, "--oversubscribe", "-n", str(n_processes)]
    found = run("mpi", *command, sys.executable, "-m", "mpi4py.futures")
    assert found["bits"] == expected["bits"]
