"""Training over a network: two ranks in two network namespaces, which stand for two hosts.

It needs root, for the namespaces, and what `test_mpi.py` needs.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from test_ranks import train

from fastnn.distributed import one

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
MPIRUN = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="mpirun is not installed")

TIMEOUT = 3  # seconds, of an exchange
GRACE = 5  # seconds after it, in which all processes have to end
ADDRESSES = "10.77.0.1", "10.77.0.2"

# It writes a file for each rank: the digest of its result, or its exception.
SCRIPT = """
import json, os, subprocess, sys, time, zlib
sys.path.insert(0, {tests!r})
from test_ranks import train
import fastnn
from fastnn.distributed import mpi_ranks

ranks = mpi_ranks(shards=4, timeout={timeout})

def write(name, **values):
    with open({folder!r} + "/" + str(name), "w") as file:
        json.dump({{**values, "time": time.time(), "process": os.getpid()}}, file)

def at_epoch_2(run):
    if {link!r} and ranks.rank == 1 and run.epoch == 2:
        write("begin")
        subprocess.run(["ip", "link", "set", {link!r}, "down"], check=True)

try:
    callbacks = [fastnn.LambdaCallback(on_epoch_begin=at_epoch_2)]
    parameters, curves = train(ranks, "dropout", "adam", callbacks=callbacks)
    write(ranks.rank, digest=zlib.crc32(parameters), loss=curves["loss"])
except BaseException as error:
    write(ranks.rank, error=type(error).__name__, text=str(error))
    raise
"""
# mpirun calls it as it calls ssh, with a host and a command. Open MPI takes processes of one host
# name for neighbors, which share memory, so each side has a name of its own.
AGENT = """#!/bin/sh
shift
name="echo {namespace} > /proc/sys/kernel/hostname"
exec ip netns exec {namespace} unshare --uts sh -c "$name; $*"
"""


def command(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts():
    """Return two namespaces, and the two ends of the link between them."""
    names = [f"fastnn{os.getpid()}{side}" for side in "ab"]
    links = [f"fn{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            command("ip", "netns", "add", name)
        command(
            *("ip", "link", "add", links[0], "netns", names[0], "type", "veth"),
            *("peer", "name", links[1], "netns", names[1]),
        )
        for name, link, address in zip(names, links, ADDRESSES, strict=True):
            command("ip", "-n", name, "address", "add", f"{address}/24", "dev", link)
            command("ip", "-n", name, "link", "set", "lo", "up")
            command("ip", "-n", name, "link", "set", link, "up")
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        _remove(names)
        pytest.skip(f"the system makes no network namespaces: {error}")
    # Open MPI leaves out links that are on their way up.
    end = time.monotonic() + 10
    while not all(
        " UP " in command("ip", "-n", name, "-brief", "link", "show", link)
        for name, link in zip(names, links, strict=True)
    ):
        assert time.monotonic() < end, "the link does not come up"
        time.sleep(0.05)
    yield names, links
    _remove(names)


def _remove(names):
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def start(folder, hosts, link="", **variables):
    """Start the script; return the process of mpirun. Rank 1 takes `link` down."""
    names, _ = hosts
    script, agent, begin = (folder / name for name in ("script.py", "agent.sh", "begin.sh"))
    tests = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(tests=tests, folder=str(folder), timeout=TIMEOUT, link=link))
    agent.write_text(AGENT.format(namespace=names[1]))
    agent.chmod(0o755)
    begin.write_text('echo "$1" > /proc/sys/kernel/hostname\nshift\nexec "$@"\n')
    words = ["ip", "netns", "exec", names[0], "unshare", "--uts", "sh", str(begin), names[0]]
    words += [MPIRUN, "-n", "2", "--host", ",".join(f"{each}:1" for each in ADDRESSES)]
    words += ["--bind-to", "none", "--prtemca", "plm_ssh_agent", str(agent)]
    words += ["--mca", "btl", "tcp,self", sys.executable, str(script)]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with open(folder / "errors.txt", "w") as errors:
        return subprocess.Popen(
            words, env=os.environ | root | variables, cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip


def end_all(process, hosts):
    """End mpirun and all that it has started, in sessions of their own."""
    for name in hosts[0]:
        for number in command("ip", "netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
    process.wait(10)


def read(folder):
    """Return (what the ranks have written to files, what they have printed)."""
    said = {path.name: json.loads(path.read_text()) for path in folder.iterdir() if not path.suffix}
    return said, (folder / "errors.txt").read_text()


def test_two_hosts_have_the_bits_of_one(tmp_path, hosts):
    parameters, curves = train(one(4), "dropout", "adam")
    process = start(tmp_path, hosts)
    try:
        code = process.wait(120)
    finally:
        end_all(process, hosts)
    said, errors = read(tmp_path)
    assert code == 0, errors
    for rank in "01":
        assert said[rank]["digest"] == zlib.crc32(parameters)
        assert said[rank]["loss"] == curves["loss"]


def test_when_the_network_goes_down_all_ranks_say_so_and_end(tmp_path, hosts):
    """The mpirun of Open MPI waits for the other host many minutes longer."""
    process = start(tmp_path, hosts, link=hosts[1][1])
    try:
        begin = wait_until(lambda: (tmp_path / "begin").exists(), 120)
        wait_until(lambda: all((tmp_path / rank).exists() for rank in "01"), TIMEOUT + GRACE)
        time.sleep(0.2)  # the files are written
        said, _ = read(tmp_path)
        ranks = [said[rank]["process"] for rank in "01"]
        end = wait_until(lambda: not any(map(is_alive, ranks)), GRACE)
    finally:
        end_all(process, hosts)
    for rank in "01":
        assert said[rank]["error"] == "RanksTimeoutError"
        assert f"rank {rank} has waited {TIMEOUT} seconds for the others" in said[rank]["text"]
        assert "the network may be down" in said[rank]["text"]
    assert end - begin < TIMEOUT + GRACE
    assert "rank 0 has waited" in read(tmp_path)[1]  # what rank 1 prints no longer arrives


def test_an_mpirun_that_looks_after_the_other_host_ends_all(tmp_path, hosts):
    """With the variables that the page on several hosts gives, of fewer seconds."""
    variables = {"time": "1", "intvl": "1", "probes": "2"}
    variables = {f"PRTE_MCA_oob_tcp_keepalive_{name}": value for name, value in variables.items()}
    process = start(tmp_path, hosts, link=hosts[1][1], **variables)
    try:
        begin = wait_until(lambda: (tmp_path / "begin").exists(), 120)
        process.wait(TIMEOUT + GRACE)
        assert time.monotonic() - begin < TIMEOUT + GRACE
        said, errors = read(tmp_path)
        ranks = [each["process"] for each in said.values()]
        wait_until(lambda: not any(map(is_alive, ranks)), GRACE)
    finally:
        end_all(process, hosts)
    assert "digest" not in said.get("0", {})
    assert "lost communication with a remote daemon" in errors


def wait_until(condition, seconds):
    """Return the time when a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing in {seconds} seconds"
        time.sleep(0.02)
    return time.monotonic()


def is_alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
