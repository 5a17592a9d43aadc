"""Python that is started in the root of the checkout runs the checkout's files, and no others."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastnn
from fastnn import layout

ROOT = Path(__file__).resolve().parents[1]
# All that is installed beside fastnn. With `-S` nothing reads the `.pth` file by which an editable
# install would be found.
LIBRARIES = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
KERNELS_APART = '[tool.setuptools]\npackage-dir = { "fastnn.kernels" = "kernels" }\n'

SHOW_FILES = """
import os, sys, fastnn
files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "fastnn"]
folders = {os.path.dirname(os.path.realpath(file)) for file in files}
print(len(files) > 40, sorted({each for each in folders if os.path.dirname(each) not in folders}))
print(fastnn.__version__, "kernels" in sys.modules)
"""
# What setuptools writes for `pip install -e`: a finder that comes after those that look at folders.
EDITABLE = """
import sys, importlib.util
FOLDERS = {{"fastnn": {root!r} + "/fastnn", "fastnn.kernels": {root!r} + "/kernels"}}
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in FOLDERS:
            return importlib.util.spec_from_file_location(name, FOLDERS[name] + "/__init__.py")
sys.meta_path.append(Finder)
"""


def run(*arguments, folders=(), cwd=ROOT):
    """Return what Python prints, started in the root without anything of this process's."""
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, folders), *LIBRARIES])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy_package(target, kernels):
    """Copy the package to `target`, of another version and with one kernel fewer."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fastnn", target / "fastnn", ignore=unwanted)
    shutil.copytree(ROOT / "kernels", target / kernels, ignore=unwanted)
    init = target / "fastnn" / "__init__.py"
    text = init.read_text(encoding="utf-8")
    init.write_text(text.replace(f'"{fastnn.__version__}"', '"0.0.1"'), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Two other copies of fastnn: an installed one, and a checkout."""
    folder = tmp_path_factory.mktemp("copies")
    installed = copy_package(folder / "site", "fastnn/kernels")
    other = copy_package(folder / "checkout", "kernels")
    shutil.copy(ROOT / "pyproject.toml", other)
    return installed, other


@pytest.mark.parametrize("beside", ["nothing", "an installed copy", "another checkout, editable"])
def test_the_root_runs_its_own_files(beside, copies):
    installed, other = copies
    code = EDITABLE.format(root=str(other)) if "editable" in beside else ""
    folders = [installed] if beside == "an installed copy" else []
    if beside != "nothing":  # elsewhere it is another one that runs
        printed = run("-c", code + SHOW_FILES, folders=folders, cwd=installed.parent)
        assert str(ROOT / "fastnn") not in printed
    # A notebook that is started in the root has the same path as `-c`.
    printed = run("-c", code + SHOW_FILES, folders=folders).splitlines()
    folders = [str(ROOT / "fastnn"), str(ROOT / "kernels")]
    assert printed == [f"True {folders}", f"{fastnn.__version__} False"]


def test_the_root_trains_and_predicts(copies):
    code = (
        "import fastnn, numpy as np, pickle\n"
        "layers = [fastnn.Dense(2, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)]\n"
        "model = fastnn.Sequential(layers)\n"
        "model.fit(np.eye(2), [0, 1], epochs=2, seed=0, verbose=False)\n"
        "again = pickle.loads(pickle.dumps(model))\n"
        "print(again.predict_proba(np.eye(2)).tolist())\n"
    )
    expected = run("-c", code, folders=copies[:1], cwd=copies[0])
    assert run("-c", code) == expected
    assert expected.startswith("[[0.")


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_to_the_package_leads_to_the_checkout(tmp_path):
    (tmp_path / "fastnn").symlink_to(ROOT / "fastnn", target_is_directory=True)
    assert run("-c", SHOW_FILES, folders=[tmp_path], cwd=tmp_path).startswith("True ")


def test_the_command_runs_in_the_root():
    assert run("-m", "fastnn", "--version") == f"fastnn {fastnn.__version__}\n"


def test_pytest_runs_in_the_root():
    test = "tests/test_architecture.py::test_a_cycle_is_found"
    assert "1 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", test)


def test_modules_of_the_kernels_run_and_load_again():
    printed = run("-c", "import importlib, fastnn.kernels as k\nprint(importlib.reload(k) is k)")
    assert printed == "True\n"


def test_nothing_else_of_the_root_is_in_the_package():
    for name in ("tests", "benchmarks", "docs", "fastnn"):
        with pytest.raises(ModuleNotFoundError):
            __import__(f"fastnn.{name}")


def make(folder, files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KERNELS_APART if name == "pyproject.toml" else "", encoding="utf-8")
    return folder / "fastnn"


@pytest.mark.parametrize(
    ("files", "is_checkout"),
    [
        (["kernels/__init__.py", "pyproject.toml"], True),
        (["kernels/__init__.py"], False),  # site-packages, and a `kernels` of other people
        (["pyproject.toml"], False),
        (["kernels/__init__.py", "pyproject.toml", "fastnn/kernels/__init__.py"], False),
    ],
)
def test_what_a_checkout_is(files, is_checkout, tmp_path):
    folder = make(tmp_path, files)
    assert layout._find_checkout(folder) == (tmp_path if is_checkout else None)


def test_the_pyproject_of_another_project_makes_no_checkout(tmp_path):
    folder = make(tmp_path, ["kernels/__init__.py", "pyproject.toml"])
    (tmp_path / "pyproject.toml").write_bytes(b'[project]\nname = "\xff"\n')
    assert layout._find_checkout(folder) is None
    (tmp_path / "pyproject.toml").write_bytes(b'[project]\nname = "other"\n')
    assert layout._find_checkout(folder) is None


def test_the_finder_serves_one_package():
    finder = layout._KernelsFinder("/a/fastnn", Path("/a"))
    found = finder.find_spec("fastnn.kernels", ["/a/fastnn"])
    assert Path(found.origin) == Path("/a/kernels/__init__.py")
    assert finder.find_spec("fastnn.kernels", ["/b/fastnn"]) is None
    assert finder.find_spec("fastnn.nn.layers", ["/a/fastnn"]) is None
    assert finder.find_spec("kernels") is None


def test_every_folder_of_the_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    files = [path for path in (ROOT / "fastnn").rglob("*") if path.is_file()]
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in files if path.suffix != ".pyc"
    }
    assert set(settings["tool"]["setuptools"]["packages"]) == folders | {"fastnn.kernels"}


# A path in a text, but not the end of a longer one.
PATH = re.compile(r"(?<![\w./-])(?:benchmarks|docs|examples|fastnn|kernels|tests)/[\w/]+\.py\b")


def test_every_file_that_a_text_names_exists():
    folders = (".ci", ".github", "benchmarks", "docs", "examples", "fastnn", "kernels", "tests")
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml")]
    for folder in folders:
        texts += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in ("", ".md", ".py", ".toml", ".yml") and path.is_file()
        ]
    stale = {}
    for text in texts:
        for name in PATH.findall(text.read_text(encoding="utf-8")):
            # An installed package has the kernels in `fastnn/kernels/`.
            if not (ROOT / name.replace("fastnn/kernels/", "kernels/")).is_file():
                stale.setdefault(name, []).append(text.relative_to(ROOT).as_posix())
    assert stale == {}
