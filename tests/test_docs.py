"""The documentation: its code runs, its reference is complete, its pictures are drawn anew."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import math
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
from pages import find_blocks, run_blocks
from sklearn.exceptions import ConvergenceWarning

import fastnn
from fastnn import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
MODULES = (
    "fastnn", "fastnn.columnwise", "fastnn.datasets", "fastnn.distributed", "fastnn.export",
    "fastnn.metrics", "fastnn.nnfs", "fastnn.plots", "fastnn.streaming",
)  # fmt: skip
# Modules with a page of their own.
ELSEWHERE = ("fastnn.export", "fastnn.kernels", "fastnn.metrics", "fastnn.tables")
# Their blocks are programs that start processes: `test_cluster_docs.py` runs them.
IN_PROCESSES = ("cluster.md", "optuna.md")
CHECKER = doctest.OutputChecker()
NAMED = re.findall(
    r"^::: ([\w.]+)$",
    "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("api/*.md")),
    re.MULTILINE,
)


def read(page):
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if find_blocks(read(page)) and page not in IN_PROCESSES]
)
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


def section_lines(text, title):
    """Return {line of an entry: its description} of a section of a docstring."""
    section = re.search(
        rf"^{title}\n-+\n(.*?)(?=^[A-Z][\w ]*\n-+\n|\Z)", text, re.DOTALL | re.MULTILINE
    )
    body = section[1] + "\n" if section else ""
    return dict(re.findall(r"^(\S.*)\n((?: .*\n|\n(?= ))*)", body, re.MULTILINE))


def read_entries(text, title="Parameters"):
    """Return {name: (type, description)} of a section of a docstring."""
    entries = {}
    for line, description in section_lines(text, title).items():
        name, _, kind = line.partition(" : ")
        entries[name.lstrip("*")] = kind, description
    return entries


def docstrings():
    """Yield (place, docstring) of every class, function and module of the package."""
    for path in sorted((ROOT / "fastnn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}"
                yield name, inspect.cleandoc(ast.get_docstring(node) or "")


def test_every_parameter_and_attribute_has_an_entry_of_its_own():
    """Entries such as "X, y : array" share a description, and the site shows them wrong."""
    titles = "Parameters", "Attributes", "Returns", "Yields"
    shared, n_entries = [], 0
    for place, text in docstrings():
        for title in titles:
            for line in section_lines(text, title):
                n_entries += 1
                if re.fullmatch(r"(\*{0,2}\w+, )+\*{0,2}\w+", line.partition(" : ")[0]):
                    shared.append((place, line))
    assert shared == []
    assert n_entries > 500


def documented():
    """Yield (name, object) of all in the reference that has a section of parameters."""
    for name in NAMED:
        thing = find(name)
        inner = vars(thing).items() if isinstance(thing, type) else ()
        for full, each in [(name, thing), *((f"{name}.{key}", each) for key, each in inner)]:
            text = inspect.getdoc(each) or "" if callable(each) else ""
            if "Parameters\n----------\n" in text:
                yield full, each


def test_a_section_of_parameters_has_all_of_them():
    wrong = {}
    for name, each in documented():
        found, wanted = read_entries(inspect.getdoc(each)), inspect.signature(each).parameters
        if set(found) != set(wanted) - {"self"}:
            wrong[name] = set(found) ^ (set(wanted) - {"self"})
    assert wrong == {}
    assert len(list(documented())) > 50


ESTIMATORS = {kind.__name__: kind for kind in (fastnn.MLPClassifier, fastnn.MLPRegressor)}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_parameter_of_an_estimator_has_an_entry_of_its_own(name):
    text = inspect.getdoc(ESTIMATORS[name])
    found, wanted = read_entries(text), inspect.signature(ESTIMATORS[name]).parameters
    assert list(found) == list(wanted)
    for parameter, (kind, description) in found.items():
        assert text.count(f"\n{parameter} : {kind}\n") == 1  # alone in its line
        assert len(description) > 20
        # Simple types are those of the signature; `float` there means "int or inf" as well.
        simple = wanted[parameter].annotation
        if simple in ("int", "float", "bool"):
            assert kind == simple or (parameter, kind) == ("n_iter_no_change", "int or inf")


def test_parameters_of_both_estimators_are_told_alike():
    first, second = (read_entries(inspect.getdoc(each)) for each in ESTIMATORS.values())
    assert {name for name in first if name in second and first[name] != second[name]} == {
        "metric",  # another one by default
        "callbacks",  # other curves
    }


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_attribute_of_an_estimator_has_an_entry_of_its_own(name):
    X, y = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]
    model = ESTIMATORS[name](
        hidden_layer_sizes=4, solver="sgd", max_iter=2, tol=0.0, n_iter_no_change=math.inf
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(pandas.DataFrame(X, columns=["a", "b"]), y)
    text = inspect.getdoc(ESTIMATORS[name])
    found = read_entries(text, "Attributes")
    assert set(found) == {each for each in dir(model) if each[0] != "_" and each[-1] == "_"}
    for attribute, (kind, description) in found.items():
        assert text.count(f"\n{attribute} : {kind}\n") == 1
        assert len(description) > 20


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted([*PAGES, "kernels.md", "measured.md", "changelog.md"])


def load_script(name):
    """Return a script of the folder `docs` as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_the_staged_pages_end_in_the_staged_folder(tmp_path):
    pages = load_script("stage").stage(tmp_path / "docs")
    assert len(pages) == len(PAGES) + 3
    n_links = 0
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (page.parent / link).resolve().is_relative_to(tmp_path / "docs"), (page, link)
            assert (page.parent / link).exists(), (page.name, link)
            n_links += 1
    assert n_links > 50


def test_every_example_is_shown():
    shown = re.findall(r"\.\./examples/(\w+\.py)", read("examples.md"))
    assert sorted(shown) == sorted(path.name for path in ROOT.glob("examples/*.py"))


def test_pictures_are_those_that_the_script_draws():
    pictures = load_script("draw").draw()
    stored = {path.name for path in (DOCS / "pictures").iterdir()}
    assert stored == set(pictures)
    for name, text in pictures.items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == text
