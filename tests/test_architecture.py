"""The structure that `structure.py` counts: imports point down, and files stay small."""

from pathlib import Path

import pytest
import structure

import fastnn

MODULES = structure.find_modules(Path(fastnn.__file__).parent, Path(fastnn.kernels.__file__).parent)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("kernels.dense", "from .products import matmul", {"kernels.products"}),
        ("kernels.dense", "from . import table as t", {"kernels.table"}),
        ("kernels.dense", "from ..validation import as_rows", {"validation"}),
        ("kernels.dense", "from .. import SGD", {"fastnn"}),
        ("kernels.dense", "import numpy as np", set()),
        ("kernels.dense", "import kernels.products", {"the top-level package kernels"}),
        ("kernels", "def f():\n    import fastnn.model", {"model"}),
        ("cli.report", "from .. import plots", {"plots"}),
        ("cli", "from .arguments import parse", {"cli.arguments"}),
        ("export", "from .c import to_c", {"export.c"}),
        ("export.c", "from ..files.format import replace", {"files.format"}),
        ("export.c", "from .inference import read_network", {"export.inference"}),
        ("export.c", "import onnx", set()),
        ("types", "if TYPE_CHECKING:\n    from .model import Sequential", {"model"}),
        ("types", "if sys.argv:\n    from .model import Sequential", {"model"}),
        ("nn.layers", "from .. import kernels", {"kernels"}),
        ("nn.layers", "from ..kernels import dense_forward", {"kernels"}),
        ("nn.layers", "from fastnn import Sequential", {"fastnn"}),
        ("nn.layers", "from fastnn.kernels.table import DENSE", {"kernels.table"}),
        ("nnfs.layers", "from ..nn.layers import Dense", {"nn.layers"}),
        ("nnfs.model", "from .layers import Layer_Dense", {"nnfs.layers"}),
        ("nnfs", "from .model import Model", {"nnfs.model"}),
    ],
)
def test_imports_are_found(name, source, expected):
    assert structure.imported_modules(name, source, MODULES) == expected


def test_a_cycle_is_found():
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert structure.find_cycles(imports) == ["a b c"]


def test_an_import_that_points_up_is_found():
    imports = {"nn.layers": {"run.history", "kernels"}, "run.history": {"nn.layers"}}
    assert structure.find_upward(imports) == ["nn.layers imports run.history"]


@pytest.mark.parametrize("title", structure.COUNTS)
def test_the_structure_stays(title):
    lines = structure.count(title, MODULES)
    assert lines == [], "\n".join(lines)
