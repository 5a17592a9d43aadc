"""Types: mypy --strict on the installed package, on a user's code; `__all__`."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import typing_examples

import fastnn
from fastnn import kernels

FOLDER = Path(fastnn.__file__).parent
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as it is installed, where a checkout has its kernels elsewhere."""
    folder = tmp_path_factory.mktemp("site")
    unwanted = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(FOLDER, folder / "fastnn", ignore=unwanted)
    kernels_folder = Path(kernels.__file__).parent
    shutil.copytree(kernels_folder, folder / "fastnn/kernels", ignore=unwanted, dirs_exist_ok=True)
    return folder


def run_mypy(folder, *arguments):
    """Return (exit code, what mypy prints) with the packages of `folder` installed."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache"]
    found = subprocess.run(
        [*command, *arguments],
        cwd=folder.parent,  # a package in the working directory counts as one's own
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr


@pytest.mark.slow
def test_the_package(installed):
    code, text = run_mypy(installed, "--config-file", ROOT / "pyproject.toml", "-p", "fastnn")
    assert code == 0, text


@pytest.mark.slow
def test_code_of_a_user(installed, tmp_path):
    """The settings are those of nobody; without `py.typed` the package would have no types."""
    shutil.copy(ROOT / "tests/typing_examples.py", tmp_path)
    code, text = run_mypy(installed, "--config-file=", tmp_path / "typing_examples.py")
    assert code == 0, text


@pytest.mark.filterwarnings("ignore::UserWarning")  # of scikit-learn: it has not converged
def test_that_code_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    typing_examples.run_all(tmp_path)
    plt.close("all")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("fastnn.Dense('2', 3)", 'expected "int"'),
        ("model.fit(X, y, shuffel=True)", "shuffel"),
        ("labels: str = model.predict(X)", 'variable has type "str"'),
        ("fastnn.EarlyStopping(mode='most')", "Literal['auto', 'min', 'max']"),
        ("fastnn.metrics.f1(y, y, average='all')", "average"),
        ("fastnn.Sequential([print])", "OwnLayer"),
        ("fastnn.SGD(lambda step: 'fast')", "float"),
        ("fastnn.Densee(2, 3)", 'no attribute "Densee"'),
        ("fastnn.MLPRegressor(dropoutt=1)", "dropoutt"),
        ("model.loss.nothing", 'no attribute "nothing"'),
    ],
)
def test_mistakes_of_a_user(mistakes, line, complaint):
    assert any(complaint in text for text in mistakes[line]), mistakes[line]


@pytest.fixture(scope="module")
def mistakes(installed):
    """What mypy says of each line of the test above, checked together: {line: complaints}."""
    (mark,) = test_mistakes_of_a_user.pytestmark
    lines = [line for line, _ in mark.args[1]]
    path = installed.parent / "mistakes.py"
    start = ["import numpy as np", "import fastnn", "X, y = np.zeros((4, 2)), np.zeros(4)"]
    start += ["model = fastnn.Sequential([fastnn.Dense(2, 3)])"]
    path.write_text("\n".join([*start, *lines]) + "\n")
    _, text = run_mypy(installed, "--config-file=", path)
    found = {line: [] for line in lines}
    for complaint in text.splitlines()[:-1]:
        number = int(complaint.removeprefix(str(path)).split(":")[1])
        found[lines[number - 1 - len(start)]].append(complaint)
    return found


# A star import is not to need scikit-learn.
NOT_IN_ALL = {"MLPClassifier", "MLPRegressor", "register_skl2onnx"}


def public_names():
    """Return the names that `fastnn/__init__.py` brings in for its users.

    Those that are imported when they are asked for stand in the block for type checkers.
    """
    names = set()
    body = ast.parse((FOLDER / "__init__.py").read_text(encoding="utf-8")).body
    for part in list(body):
        if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING":
            body += part.body
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.level:
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if name[0] != "_"} - NOT_IN_ALL


def in_order(names):
    """Return names as ruff sorts `__all__`: constants, classes, then all others."""
    kinds = [str.isupper, lambda name: name[0].isupper()]

    def key(name):
        return next((i for i, kind in enumerate(kinds) if kind(name)), len(kinds)), name

    return sorted(names, key=key)


def test_all_has_every_public_name():
    assert set(fastnn.__all__) == public_names()
    assert fastnn.__all__ == in_order(fastnn.__all__)
    for name in fastnn.__all__:
        assert hasattr(fastnn, name)
    for name in NOT_IN_ALL:
        assert name in dir(fastnn)
