"""What to install: nothing names another project, and a library that is missing is named."""

import importlib
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import datasets, layout, plots, requirements, tables
from fastnn.export import to_onnx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "fastnn", "kernels", "tests")
SUFFIXES = ("", ".cfg", ".md", ".py", ".toml", ".yml")
# The arguments of a command: options, names, and texts in quotes, also on the next line.
INSTALL = re.compile(r"""pip3?\s+install((?:\s+(?:-[\w-]+|"[^"]*"|'[^']*'|[\w.,<>=~!\[\]-]+))*)""")
# A foreign project, with or without extras and versions; `fastnn-numba` is ours, `./fastnn` a path.
FOREIGN = re.compile(r"""(?<![\w./-])fastnn(?![\w./-])""")


def find_texts():
    """Yield the text files of the repository that people read, or read the messages of."""
    own = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in SUFFIXES]
    for folder in FOLDERS:
        own += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in own:
        if path.is_file() and path != Path(__file__).resolve() and "__pycache__" not in path.parts:
            yield path


def find_foreign(text):
    """Return the commands in `text` that install what other people call fastnn."""
    commands = [found for found in INSTALL.finditer(text) if FOREIGN.search(found.group(1))]
    return [found.group() for found in commands] + re.findall(r"""["']?fastnn\[[a-z,]+\]""", text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('pip install "fastnn[sklearn]"', 2),
        ("pip install\n  fastnn", 1),
        ("`pip install -U fastnn==1.0` is", 1),
        ("pip install 'fastnn>=0.1'", 1),
        ('all = ["fastnn[cli,onnx]"]', 1),
        ('pip install ".[cli]" && fastnn train digits', 0),
        ("`pip install .` brings `fastnn`", 0),
        ('pip install "fastnn-numba @ file:///x/fastnn"', 0),
        ("pip install fastnn-numba[cli]", 0),
    ],
)
def test_commands_are_found(text, count):
    assert len(find_foreign(text)) == count


def test_nothing_installs_the_project_of_another_name():
    texts = list(find_texts())
    assert {ROOT / "README.md", ROOT / "docs/index.md", ROOT / "fastnn/plots.py"} <= {*texts}
    assert len(texts) > 200
    found = {str(path.relative_to(ROOT)): find_foreign(path.read_text("utf-8")) for path in texts}
    assert {name: commands for name, commands in found.items() if commands} == {}


def test_the_distribution_has_a_name_of_its_own():
    assert PROJECT["name"] == requirements._DISTRIBUTION == "fastnn-numba"
    assert PROJECT["version"] == fastnn.__version__


def table(folder):
    """Return the path of a CSV file."""
    path = folder / "table.csv"
    path.write_text("x,y\n1,0\n2,1\n")
    return path


def draw_curves():
    history = fastnn.History()
    history.append(1, {"loss": 0.5})
    history.plot()


def network():
    return fastnn.Sequential([fastnn.Dense(2, 2, rng=0)])


NEEDED = {
    "estimators": ("sklearn", lambda _: fastnn.MLPClassifier, "sklearn", "scikit-learn"),
    "curves": ("matplotlib", lambda _: draw_curves(), "plot", "matplotlib"),
    "confusion": (
        "sklearn", lambda _: plots.plot_confusion_matrix([0], [0]), "plot", "scikit-learn"
    ),
    "page": ("matplotlib", lambda _: plots.require_libraries(), "plot", "matplotlib"),
    "onnx": ("onnx", lambda f: to_onnx(network(), f / "a.onnx"), "onnx", "onnx"),
    "CSV": ("polars", lambda f: datasets.read_csv(table(f), "y"), "cli", "polars"),
    "tables": (
        "polars", lambda _: tables.table_of({"x": np.arange(2)}, "x"), "cli", "polars"
    ),
    "columns": ("polars", lambda _: __import__("fastnn.tables.preprocessing"), "cli", "polars"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEEDED)
def test_a_missing_library_is_named_with_its_versions(case, monkeypatch, tmp_path):
    module, use, extra, library = NEEDED[case]
    for name in list(sys.modules):
        if name.split(".")[0] == module:
            monkeypatch.setitem(sys.modules, name, None)
    for path in ("scikit.estimators", "tables.libraries", "tables.preprocessing"):  # imported anew
        folder, name = path.split(".")
        monkeypatch.delitem(sys.modules, f"fastnn.{folder}.{name}", raising=False)
        package = importlib.import_module(f"fastnn.{folder}")
        monkeypatch.delattr(package, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        use(tmp_path)
    (wanted,) = [
        each for each in PROJECT["optional-dependencies"][extra] if each.startswith(library)
    ]
    assert str(caught.value).endswith(f' {library}: pip install "{wanted}"')
    assert not (tmp_path / "a.onnx").exists()


def test_every_message_of_the_source_is_made_here():
    makers = [
        path.name for path in (ROOT / "fastnn").rglob("*.py")
        if "pip install" in path.read_text(encoding="utf-8")
    ]  # fmt: skip
    assert makers == ["requirements.py"]


LINES = [
    "numpy>=2.0",
    'polars>=1.0; extra == "cli"',
    'scikit-learn>=1.6; extra == "sklearn"',
    "scikit_learn (>=1.9) ; extra == 'plot' and python_version > '3'",
]


@pytest.mark.parametrize(
    ("library", "extra", "expected"),
    [
        ("polars", "cli", "polars>=1.0"),
        ("scikit-learn", "sklearn", "scikit-learn>=1.6"),
        ("scikit-learn", "plot", "scikit_learn>=1.9"),
        ("numpy", "cli", "numpy"),
        ("polars", "plot", "polars"),
    ],
)
def test_versions_are_those_of_what_is_installed(library, extra, expected, monkeypatch):
    monkeypatch.setattr(layout, "CHECKOUT", None)
    monkeypatch.setattr(metadata, "requires", {"fastnn-numba": LINES}.get)
    message = f'this needs {library}: pip install "{expected}"'
    assert str(requirements.missing("this needs", library, extra)) == message


def test_a_copy_without_metadata_names_the_library(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(layout, "CHECKOUT", None)
    monkeypatch.setattr(metadata, "requires", requires)
    message = 'this needs onnx: pip install "onnx"'
    assert str(requirements.missing("this needs", "onnx", "onnx")) == message
