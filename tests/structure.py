"""Count what keeps the package readable: `python tests/structure.py` prints each finding.

One floor a folder: a module imports from its own floor and from those below. All imports count,
those inside of functions and those under TYPE_CHECKING too.
"""

import ast
import collections
import sys
from pathlib import Path

# Folders, and modules that lie in none, from the ground up.
FLOORS = (
    "kernels",
    "layout types version requirements errors foreign html memory figures settings validation",
    "files",
    "metrics",
    "nn",
    "program",
    "run",
    "model",
    "many warmup distributed learning_rates",
    "tables",
    "datasets",
    "streaming",
    "plots columnwise",
    "export",
    "nnfs",
    "scikit",
    "fastnn",
    "cli",
    "__main__",
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
MOST_PARAMETERS = 12
MOST_LINES = 500
# What scikit-learn and Keras users know with all of its arguments.
MANY_PARAMETERS = {"Sequential.fit", "MLPClassifier.__init__", "MLPRegressor.__init__"}


def find_modules(package, kernels):
    """Return {dotted name below `fastnn`: path} of two folders; "fastnn" is the package itself."""
    modules = {}
    for start, top in (("", package), ("kernels.", kernels)):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            if start or parts[0] != "kernels":
                name = start + ".".join(parts)
                modules[name.removesuffix("__init__").rstrip(".") or "fastnn"] = path
    return modules


def folder_of(name):
    """Return the folder of a module, or its own name where it lies in no folder."""
    return name.split(".")[0]


def imported_modules(name, source, modules):
    """Return the modules of this package that `source`, the text of module `name`, imports."""
    is_package = name == "fastnn" or modules.get(name, Path()).name == "__init__.py"
    package = ["fastnn", *([] if name == "fastnn" else name.split("."))]
    package = package if is_package else package[:-1]
    imported = set()
    for node in ast.walk(ast.parse(source)):
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
                imported.add("the top-level package kernels")
            elif path[0] == "fastnn":
                # The longest part that is a module: what follows is a name inside it.
                parts = [".".join(path[1:end]) for end in range(len(path), 1, -1)]
                imported.add(next((part for part in parts if part in modules), "fastnn"))
    return imported - {name}


def find_imports(modules):
    """Return {module: the modules that it imports}."""
    return {
        name: imported_modules(name, path.read_text(encoding="utf-8"), modules)
        for name, path in modules.items()
    }


def find_upward(imports):
    """Return the lines "module imports module" that do not point down."""
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in sorted(others)
        if folder_of(name) != folder_of(other)
        and FLOOR_OF.get(folder_of(other), 99) > FLOOR_OF.get(folder_of(name), -1)
    ]


def find_cycles(imports):
    """Return the groups of modules that import each other (Tarjan's strong components)."""
    index, low, stack, cycles = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(imports.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                cycles.append(" ".join(sorted(group)))

    for node in imports:
        if node not in index:
            visit(node)
    return cycles


def find_long_signatures(modules):
    """Return the functions of more than MOST_PARAMETERS parameters, `self` aside."""
    lines = []

    def visit(node, module, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, module, f"{inside}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = child.args
                names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
                names += [a.arg for a in arguments.kwonlyargs]
                count = len([a for a in names if a not in ("self", "cls")])
                name = f"{inside}{child.name}"
                if count > MOST_PARAMETERS and name not in MANY_PARAMETERS:
                    lines.append(f"{module}.{name} takes {count} parameters")
                visit(child, module, f"{name}.")
            else:
                visit(child, module, inside)

    for module, path in modules.items():
        visit(ast.parse(path.read_text(encoding="utf-8")), module, "")
    return lines


def find_long_files(modules):
    """Return the files of more than MOST_LINES lines."""
    counts = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules.items()
    }
    return [f"{name} has {count} lines" for name, count in counts.items() if count > MOST_LINES]


# Public, in spite of their names.
_OF_NAMED_TUPLES = ("_make", "_replace", "_asdict", "_fields")


def _is_private(name):
    one_underscore = name.startswith("_") and not name.startswith("__") and name != "_"
    return one_underscore and name not in _OF_NAMED_TUPLES


def _defined(tree):
    """Yield the private names that a module defines, as variables, attributes or functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # of `__slots__`, setattr and the like


def find_private_uses(modules):
    """Return the lines "module uses name of folder" for private names of another folder.

    A name counts as a folder's own where the folder defines it.
    """
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    owners = collections.defaultdict(set)
    for name, tree in trees.items():
        for defined in filter(_is_private, _defined(tree)):
            owners[defined].add(folder_of(name))
    lines = []
    for name, tree in trees.items():
        used = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom):
                used |= {alias.name for alias in node.names}
        for each in sorted(filter(_is_private, used)):
            folders = owners.get(each, set())
            if folders and folder_of(name) not in folders:
                lines.append(f"{name} uses {each} of {', '.join(sorted(folders))}")
    return lines


COUNTS = {
    "imports upward": lambda modules: find_upward(find_imports(modules)),
    "cycles": lambda modules: find_cycles(find_imports(modules)),
    f"functions over {MOST_PARAMETERS} parameters": find_long_signatures,
    f"files over {MOST_LINES} lines": find_long_files,
    "private names used across folders": find_private_uses,
    "modules without a floor": lambda modules: [n for n in modules if folder_of(n) not in FLOOR_OF],
}


def count(title, modules):
    """Return the findings of one kind, a line each."""
    return COUNTS[title](modules)


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    for title in COUNTS:
        lines = count(title, find_modules(root / "fastnn", root / "kernels"))
        print(f"{len(lines):4d} {title}")
        if "--quiet" not in sys.argv:
            for line in lines:
                print(f"       {line}")
