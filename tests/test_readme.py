"""The front door: every block of Python in README.md runs and prints what stands below it."""

import importlib.util
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


def test_what_the_second_command_leaves_out_exists():
    """A file or a test with a new name would silently be one of the short ones again."""
    spec = importlib.util.spec_from_file_location("settings", ROOT / "tests" / "conftest.py")
    settings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(settings)
    files = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py")}
    assert settings.SLOW <= files.keys()
    for name, tests in settings.SLOW_TESTS.items():
        for test in tests:
            page = test.endswith(".md") and (ROOT / "docs" / test).exists()
            assert page or f"def {test}(" in files[name]


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
