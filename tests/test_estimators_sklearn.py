"""scikit-learn's own tests of its MLP, from the installed package, run on fastnn's estimators."""

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from sklearn import neural_network

SOURCE = Path(neural_network.__file__).parent / "tests" / "test_mlp.py"
THEIRS = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OURS = "from fastnn import MLPClassifier, MLPRegressor\n"

# Tests of what is private in scikit-learn, and why each cannot pass here.
PRIVATE = {
    "test_fit": "builds a fitted estimator from _coef_velocity, _no_improvement_count and the like",
    "test_gradient": "calls _loss_grad_lbfgs",
}

# In place of scikit-learn's conftest.py, which sets up much more.
CONFTEST = """\
import pytest


@pytest.fixture
def global_random_seed():
    return 42
"""


def test_scikit_learns_tests_pass_with_the_import_changed(tmp_path):
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(THEIRS) == text.count("neural_network import") == 1
    text = text.replace(THEIRS, OURS)
    (tmp_path / "test_mlp.py").write_text(text, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=results.xml"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = {}
    for case in ElementTree.parse(tmp_path / "results.xml").iter("testcase"):
        name = case.get("name").partition("[")[0]
        outcomes.setdefault(name, []).append({each.tag for each in case})
    wanted = {
        node.name
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert set(outcomes) == wanted, run.stdout
    assert len(wanted) >= 43
    assert sum(map(len, outcomes.values())) >= 59
    passing = {name for name, found in outcomes.items() if found == [set()] * len(found)}
    assert wanted - passing == set(PRIVATE), run.stdout
