"""Pages of text with code: what is in them, and that it runs and prints what stands below it."""

import contextlib
import importlib.util
import io
import re
import warnings

_BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE
)


def find_blocks(text):
    """Return [(code, what it prints), ...]: the latter "" where no ```text follows."""
    blocks = _BLOCK.findall(text)
    assert len(blocks) == text.count("```python")
    return blocks


PROCESSES = "mpi4py", "ray", "distributed", "optuna", "pyspark"


# Recipes for programs that the tests do not need.
OPTIONAL = ("fastapi",)


def _optional_libraries(code):
    names = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return [name for name in names if name in OPTIONAL]


def find_engine(code):
    """Return the library that starts processes for a block, or None."""
    return next(
        (name for name in PROCESSES if re.search(rf"^(import|from) {name}\b", code, re.M)), None
    )


def run_blocks(text, name):
    """Run the blocks of a page in order, as one program; each prints what stands below it.

    Those that start processes are programs of their own, see `test_cluster_docs.py`. Those for a
    program of OPTIONAL run where it is installed.
    """
    namespace = {"__name__": "__main__"}
    for code, expected in find_blocks(text):
        optional = _optional_libraries(code)
        if find_engine(code) is not None or not all(map(importlib.util.find_spec, optional)):
            continue
        printed = io.StringIO()
        # What those libraries warn of concerns their own code.
        quiet = warnings.catch_warnings(action="ignore") if optional else contextlib.nullcontext()
        with quiet, contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), namespace)
        assert printed.getvalue() == expected, f"{name}:\n{code}"
