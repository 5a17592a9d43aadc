"""Training with the processes of torchrun: the bits are those of one process."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from test_ranks import train

from fastnn.distributed import one

pytest.importorskip("torch", reason="PyTorch is not installed")

SCRIPT = """
import json, sys, zlib
sys.path.insert(0, {tests!r})
import torch.distributed as dist
from test_ranks import data, train
import fastnn
from fastnn.distributed import torch_ranks

dist.init_process_group("gloo")
ranks = torch_ranks(shards=4, timeout=5)

def fail(run):
    if {fails} and ranks.rank == 1 and run.epoch == 2:
        raise OSError("no space")

try:
    callbacks = [fastnn.LambdaCallback(on_epoch_begin=fail)]
    limits = [slice(0, 20), slice(20, 21), slice(21, None)][ranks.rank]
    parameters, curves = train(ranks, "dropout", "adam", callbacks=callbacks, {options})
    said = {{"digest": zlib.crc32(parameters), "loss": curves["loss"]}}
except BaseException as error:
    said = {{"error": type(error).__name__, "text": str(error)}}
with open({folder!r} + "/" + str(ranks.rank), "w") as file:
    json.dump(said, file)
dist.destroy_process_group()
"""


def run(folder, n_ranks, fails=False, options=""):
    """Return what each rank wrote."""
    script, tests = folder / "script.py", str(Path(__file__).parent)
    words = {"tests": tests, "folder": str(folder), "fails": fails, "options": options}
    script.write_text(SCRIPT.format(**words))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(n_ranks), str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True)
    return [json.loads((folder / str(rank)).read_text()) for rank in range(n_ranks)]


def test_processes_with_parts_have_the_bits_of_one_with_all(tmp_path):
    parameters, curves = train(one(4), "dropout", "adam")
    expected = {"digest": zlib.crc32(parameters), "loss": curves["loss"]}
    options = "parts=True, X=data()[0][limits], y=data()[1][limits]"
    assert run(tmp_path, 3, options=options) == [expected] * 3


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_any_number_of_processes_has_the_bits_of_one(tmp_path, n_ranks):
    parameters, curves = train(one(4), "dropout", "adam")
    expected = {"digest": zlib.crc32(parameters), "loss": curves["loss"]}
    assert run(tmp_path, n_ranks) == [expected] * n_ranks


def test_when_a_process_raises_all_say_so(tmp_path):
    first, second = run(tmp_path, 2, fails=True)
    assert second == {"error": "OSError", "text": "no space"}
    assert first["text"] == "rank 1 has left the training: OSError: no space"


def test_without_a_process_group_the_error_says_so():
    code = "from fastnn.distributed import torch_ranks; torch_ranks()"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "before torch.distributed.init_process_group" in process.stderr
