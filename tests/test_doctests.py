"""Every example in a docstring runs and gives what stands below it; what users import has one."""

import doctest
import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_docs import NAMED, find

import fastnn

SHOWN = [
    "fastnn", "fastnn.columnwise", "fastnn.datasets", "fastnn.scikit.estimators", "fastnn.export",
    "fastnn.metrics", "fastnn.nnfs", "fastnn.plots",
]  # fmt: skip
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    if not module.name.endswith("__main__")
]
# They are raised and warned, or compile for some seconds.
WITHOUT = {
    "FileFormatError", "DivergedModelsError", "MissingClassWarning", "SlowTrainingWarning",
    "warmup",
}  # fmt: skip


def find_examples(module):
    """Return the docstrings of a module that have examples; fastnn and np are imported there."""
    module = importlib.import_module(module)
    found = doctest.DocTestFinder().find(module, globs={"fastnn": fastnn, "np": np})
    return [test for test in found if test.examples]


EXAMPLES = {test.name: test for module in MODULES for test in find_examples(module)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    plt.switch_backend("Agg")
    texts = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    result = runner.run(EXAMPLES[name], out=texts.append, clear_globs=False)
    plt.close("all")
    assert result.failed == 0, "".join(texts)


def public(module):
    """Yield (name, object) of the classes and functions that users import from a module."""
    content = importlib.import_module(module)
    for name in getattr(content, "__all__", dir(content)):
        value = getattr(content, name)
        own = getattr(value, "__module__", "").startswith("fastnn")
        if name[0] != "_" and own and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def test_what_users_import_has_an_example():
    named = {id(find(name)) for name in NAMED}
    bare = {
        name
        for module in SHOWN
        for name, value in public(module)
        if id(value) in named and ">>>" not in (value.__doc__ or "")
    }
    assert bare == WITHOUT
