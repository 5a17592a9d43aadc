"""The documentation: its code runs, its reference is complete, its pictures are drawn anew."""

import doctest
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from pages import find_blocks, run_blocks

from fastnn import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
MODULES = (
    "fastnn", "fastnn.columnwise", "fastnn.datasets", "fastnn.export", "fastnn.metrics",
    "fastnn.nnfs", "fastnn.plots",
)  # fmt: skip
# Modules with a page of their own, and functions between the modules of the package.
ELSEWHERE = (
    "fastnn.export", "fastnn.kernels", "fastnn.metrics", "fastnn.metrics.as_metrics",
    "fastnn.metrics.higher_is_better", "fastnn.plots.require_libraries",
)  # fmt: skip
CHECKER = doctest.OutputChecker()
NAMED = re.findall(
    r"^::: ([\w.]+)$",
    "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("api/*.md")),
    re.MULTILINE,
)


def read(page):
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if find_blocks(read(page))])
def test_code_blocks_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    run_blocks(read(page), page)


def find_commands(text):
    """Yield (arguments of fastnn, what it prints) of all console blocks."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            program, *arguments = shlex.split(command, comments=True)
            assert program == "fastnn"
            yield arguments, output


def test_commands_print_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks(read("command-line.md"), "command-line.md")
    commands = list(find_commands(read("command-line.md")))
    assert len(commands) >= 5
    for arguments, expected in commands:
        code = cli.main(arguments)
        printed, errors = capsys.readouterr()
        assert code == (2 if errors else 0)
        # Three dots stand for anything.
        assert CHECKER.check_output(expected, errors or printed, doctest.ELLIPSIS), printed


def find(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def public_names():
    """Yield the full name of everything that users import."""
    for module in MODULES:
        content = importlib.import_module(module)
        names = getattr(content, "__all__", None) or [
            name
            for name, value in vars(content).items()
            if name[0] != "_" and getattr(value, "__module__", None) == module
        ]
        yield from (f"{module}.{name}" for name in names)


def test_every_public_name_is_in_the_reference():
    there = {id(find(name)) for name in NAMED}
    wanted = [*public_names(), "fastnn.MLPClassifier", "fastnn.MLPRegressor"]
    assert len(wanted) > 100
    missing = [name for name in wanted if id(find(name)) not in there and name not in ELSEWHERE]
    assert missing == []


@pytest.mark.parametrize("name", NAMED)
def test_the_reference_names_what_exists_once(name):
    assert NAMED.count(name) == 1
    assert find(name).__doc__


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*PAGES, "kernels.md", "measured.md", "changelog.md"])


def test_every_example_is_shown():
    shown = re.findall(r"\.\./examples/(\w+\.py)", read("examples.md"))
    assert sorted(shown) == sorted(path.name for path in ROOT.glob("examples/*.py"))


def test_pictures_are_those_that_the_script_draws():
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    pictures = draw.draw()
    stored = {path.name for path in (DOCS / "pictures").iterdir()}
    assert stored == set(pictures)
    for name, text in pictures.items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == text
