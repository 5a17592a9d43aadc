"""Imports point down: a module imports from its own floor or from those below."""

import ast
from pathlib import Path

import pytest

import fastnn

FOLDER = Path(fastnn.__file__).parent
PACKAGES = {
    "kernels": Path(fastnn.kernels.__file__).parent,
    "cli": FOLDER / "cli",
    "export": FOLDER / "export",
    "nnfs": FOLDER / "nnfs",
}

# A module a line, so that two changes seldom meet.
FLOORS = (
    """
    kernels.checks
    kernels.contracts
    kernels.elementary
    kernels.faults
    kernels.gemm
    kernels.interruption
    kernels.jit
    kernels.philox
    kernels.private
    kernels.reference
    kernels.simd
    kernels.sums
    kernels.table
    kernels.target
    kernels.threads
    layout
    requirements
    """,
    """
    kernels.activations
    kernels.batches
    kernels.conversion
    kernels.cross_entropy
    kernels.dense
    kernels.dropout
    kernels.losses
    kernels.normalization
    kernels.panels
    kernels.relu
    kernels.softmax
    kernels.update
    """,
    """
    kernels
    kernels.norm_passes
    kernels.passes
    kernels.prediction
    kernels.program
    kernels.weights
    """,
    """
    activations
    batches
    callbacks
    datasets
    dropout
    errors
    history
    initialisers
    labels
    layers
    losses
    memory
    metrics
    monitor
    normalization
    optimizers
    own
    own_losses
    paths
    plots
    preprocessing
    progress
    schedules
    settings
    sources
    tables
    types
    validation
    """,
    """
    checkpoints
    compiled
    configs
    evaluation
    files
    fitting
    jitted
    many
    model
    network
    parallel
    plan
    prediction
    samples
    session
    solvers
    streams
    summary
    training
    warmup
    """,
    """
    columnwise
    estimators
    export
    export.c
    export.network
    export.onnx
    export.torch
    fastnn
    nnfs.accuracy
    nnfs.layers
    nnfs.losses
    nnfs.optimizers
    """,
    """
    cli.arguments
    cli.bench
    cli.bench_peers
    cli.data
    cli.evaluating
    cli.exporting
    cli.machine
    cli.outputs
    cli.predicting
    cli.preparing
    cli.printing
    cli.report
    cli.training
    nnfs.files
    nnfs.loops
    """,
    """
    __main__
    cli
    nnfs
    nnfs.model
    """,
)
FLOOR_OF = {module: i for i, floor in enumerate(FLOORS) for module in floor.split()}


def find_modules():
    """Return {name: path}; the `__init__.py` of packages are "fastnn", "kernels" and so on."""
    modules = {path.stem: path for path in FOLDER.glob("*.py")}
    modules["fastnn"] = modules.pop("__init__")
    for package, folder in PACKAGES.items():
        modules |= {f"{package}.{path.stem}": path for path in folder.glob("*.py")}
        modules[package] = modules.pop(f"{package}.__init__")
    return modules


MODULES = find_modules()


def _that_run(node):
    """Yield all nodes below one, but for what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.If) or ast.unparse(child.test) != "TYPE_CHECKING":
            yield child
            yield from _that_run(child)


def imported_modules(name, source):
    """Return the modules of this package that `source`, the text of module `name`, imports."""
    inside = name.split(".")[0]
    package = ["fastnn", inside] if inside in PACKAGES else ["fastnn"]
    found = set()
    for node in _that_run(ast.parse(source)):
        if isinstance(node, ast.Import):
            paths = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            start = start + (node.module.split(".") if node.module else [])
            paths = [[*start, alias.name] for alias in node.names]
        else:
            continue
        for path in paths:
            if path[0] == "kernels":
                found.add("the top-level package kernels")
            elif path[0] == "fastnn":
                # The longest part that is a module: what follows is a name inside it.
                parts = [".".join(path[1:end]) for end in range(len(path), 1, -1)]
                found.add(next((part for part in parts if part in MODULES), "fastnn"))
    return found


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("kernels.dense", "from .gemm import matmul", {"kernels.gemm"}),
        ("kernels.dense", "from . import table as t", {"kernels.table"}),
        ("kernels.dense", "from ..validation import as_rows", {"validation"}),
        ("kernels.dense", "from .. import SGD", {"fastnn"}),
        ("kernels.dense", "import numpy as np", set()),
        ("kernels.dense", "import kernels.gemm", {"the top-level package kernels"}),
        ("kernels", "def f():\n    import fastnn.model", {"model"}),
        ("cli.report", "from .. import plots", {"plots"}),
        ("cli", "from .arguments import parse", {"cli.arguments"}),
        ("export", "from .c import to_c", {"export.c"}),
        ("export.c", "from ..files import replace", {"files"}),
        ("export.c", "from .network import read_network", {"export.network"}),
        ("export.c", "import onnx", set()),
        ("layers", "if TYPE_CHECKING:\n    from .model import Sequential", set()),
        ("layers", "if sys.argv:\n    from .model import Sequential", {"model"}),
        ("layers", "from . import kernels", {"kernels"}),
        ("layers", "from .kernels import dense_forward", {"kernels"}),
        ("layers", "from fastnn import Sequential", {"fastnn"}),
        ("layers", "from fastnn.kernels.table import DENSE", {"kernels.table"}),
        ("nnfs.layers", "from ..layers import Dense", {"layers"}),
        ("nnfs.model", "from .layers import Layer_Dense", {"nnfs.layers"}),
        ("nnfs", "from .model import Model", {"nnfs.model"}),
    ],
)
def test_imports_are_found(name, source, expected):
    assert imported_modules(name, source) == expected


def test_every_module_has_one_floor():
    assert sorted(FLOOR_OF) == sorted(MODULES)
    assert len(" ".join(FLOORS).split()) == len(FLOOR_OF)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    imported = imported_modules(name, MODULES[name].read_text(encoding="utf-8"))
    assert [module for module in imported if FLOOR_OF.get(module, 99) > FLOOR_OF[name]] == []
