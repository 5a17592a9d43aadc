"""The front door: every block of Python in README.md runs and prints what stands below it."""

import re
from pathlib import Path

from pages import find_blocks, run_blocks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_code_blocks_print_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    blocks = find_blocks(README)
    assert len(blocks) >= 3
    assert all(printed for _, printed in blocks)
    run_blocks(README, "README.md")


def test_two_commands_of_one_line_make_their_own_environment():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv")
    assert commands[0].rstrip().endswith("&& .venv/bin/fastnn train digits")
    assert commands[1].rstrip().endswith('&& .venv-test/bin/pytest -n auto -m "not slow"')
    # What the second command leaves out, CI runs.
    assert "pytest -n auto -m slow\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_paths_of_the_table_exist():
    table = README[README.index("## What's where") : README.index("## Measured")]
    names = re.findall(r"`([\w./]+)`", table)
    assert len(names) > 15
    folder = ROOT
    for name in names:
        if name == "fastnn.kernels":
            continue
        if "/" in name:
            folder = (ROOT / name).parent if not name.endswith("/") else ROOT
            assert (ROOT / name).exists(), name
        else:
            assert (folder / name).exists(), name
