"""Folders that several hosts or containers share: each removes its own leftovers only."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastnn import files
from fastnn.files import temporary


def a_dead_process():
    dead = os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])
    os.waitpid(dead, 0)
    return dead


def name_of(process, name="run", machine=None):
    """Return a temporary name with the number of a process, and perhaps another machine."""
    own, rest = temporary.temporary_name(name).rsplit(".", 3)[1].split("-")
    assert rest == str(os.getpid())
    return f".{name}.{own if machine is None else machine}-{process}.7.tmp"


def left_of(folder, names, hours=0, pattern="run"):
    """Return which of the files with these names `remove_leftovers` leaves."""
    for name in names:
        (folder / name).touch()
        then = time.time() - 3600 * hours
        os.utime(folder / name, (then, then))
    files.remove_leftovers(folder, pattern)
    left = [name for name in names if (folder / name).exists()]
    for name in left:
        (folder / name).unlink()
    return left


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    dead = a_dead_process()
    names = [
        name_of(dead), name_of(dead, "fastnn"),
        name_of(os.getpid()), name_of(dead, "other"),
    ]  # fmt: skip
    assert left_of(tmp_path, names) == names[2:]


def test_leftovers_of_other_machines_are_removed_by_age(tmp_path):
    """Two hosts with one folder: a process that is dead here may be writing there."""
    dead = a_dead_process()
    names = [name_of(dead, machine="0123456789ab"), f".run.{dead}.7.tmp"]  # of an early version
    for hours, left in ((0, names), (23, names), (25, [])):
        assert left_of(tmp_path, names, hours) == left
    own = [name_of(os.getpid())]
    assert left_of(tmp_path, own, 1000) == own


def test_files_of_others_are_no_leftovers(tmp_path):
    names = [".run.notes.tmp", f".run.{'9' * 30}.7.tmp.tmp", ".run.1.tmp", ".run.x-1.7.tmp"]
    assert left_of(tmp_path, names, 1000) == names
    huge = [name_of("9" * 30)]  # no process has such a number
    assert left_of(tmp_path, huge) == huge


@pytest.mark.parametrize("part", ["gethostname", "read_text", "readlink"])
def test_a_name_tells_hosts_boots_and_containers_apart(monkeypatch, tmp_path, part):
    name = name_of(a_dead_process())
    owner = {"gethostname": temporary.socket, "read_text": Path, "readlink": os}[part]
    monkeypatch.setattr(owner, part, lambda *_: "another")
    assert left_of(tmp_path, [name]) == [name]
    assert left_of(tmp_path, [name_of(a_dead_process())]) == []


def test_a_machine_without_proc_has_a_name(monkeypatch):
    def refuse(*_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert len({temporary.temporary_name("run").split(".")[2] for _ in range(3)}) == 1


_FIT = """
import sys, time
from pathlib import Path
import numpy as np
import fastnn

folder, writes, may_end = map(Path, sys.argv[1:4])
replace = Path.replace

def replace_later(temporary, path):  # the file is complete, but does not have its name yet
    writes.touch()
    while not may_end.exists():
        time.sleep(0.05)
    return replace(temporary, path)

Path.replace = replace_later
model = fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])
model.fit(np.eye(2), [0, 1], callbacks=[fastnn.Checkpoint(folder / "run")], verbose=0)
"""
_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_unshare():
    try:
        return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a namespace of processes")
def test_a_container_does_not_remove_what_another_one_writes(tmp_path):
    """A checkpoint vanished before it had its name, and the training ended with the error."""
    folder, may_end = tmp_path / "runs", tmp_path / "may_end"
    folder.mkdir()

    def start(begin, writes):
        # Process 1 of a namespace is the shell. The writer gets a number such as 2, which in the
        # other namespace a process had that is gone.
        script = f'{begin} "$@"; exit $?'
        python = [sys.executable, "-c", _FIT, *map(str, (folder, writes, may_end))]
        command = [*_UNSHARE, "sh", "-c", script, "sh", *python]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def wait_for(writes, process):
        deadline = time.monotonic() + 120
        while not writes.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    begins = "", "for i in $(seq 50); do /bin/true; done;"
    processes = []
    try:
        for begin, writes in zip(begins, (tmp_path / "1", tmp_path / "2"), strict=True):
            processes.append(start(begin, writes))
            wait_for(writes, processes[-1])
        may_end.touch()
        results = [(each.communicate(timeout=60)[1], each.returncode) for each in processes]
    finally:
        for each in processes:
            each.kill()
    assert results == [("", 0)] * 2
    assert os.listdir(folder) == ["run"]
