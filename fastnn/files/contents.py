"""Checks of what a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..types import Array, Shape


def check_arrays(
    arrays: Mapping[str, Array], expected: Mapping[str, tuple[Shape, DTypeLike]]
) -> None:
    """Check arrays of a file, {name: array}, against {name: (shape, dtype)}; all are finite."""
    for name in [*expected, *arrays]:
        if name not in arrays:
            raise ValueError(f"the array {name} is missing")
        if name not in expected:
            raise ValueError(f"the array {name:.80} belongs to no layer")
        shape, dtype = expected[name]
        check_tree(arrays[name], np.empty(0, dtype), name, shape)
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} has numbers that are not finite")
        if name.endswith("running_variance") and (arrays[name] < 0).any():
            raise ValueError(f"{name} has negative numbers")


def check_tree(tree: Any, form: Any, name: str, shape: Shape | None = None) -> None:
    """Check a tree of dicts, lists, arrays and numbers of a file against one of the same form.

    A list may stand for a tuple, and an int for a float; `any` stands for anything.
    """
    if form is any:
        return
    if isinstance(form, np.ndarray):
        shape = form.shape if shape is None else shape
        if not isinstance(tree, np.ndarray) or tree.shape != shape or tree.dtype != form.dtype:
            text = f"{tree!r:.80}"
            if isinstance(tree, np.ndarray):
                text = f"{tree.dtype} of shape {tree.shape}"
            raise ValueError(f"{name} is {text}, expected {form.dtype} of {shape}")
    elif isinstance(form, dict):
        if not isinstance(tree, dict) or tree.keys() != form.keys():
            raise ValueError(f"{name} is {tree!r:.80}, expected {', '.join(form)}")
        for key, value in form.items():
            check_tree(tree[key], value, f"{name}.{key}")
    elif isinstance(form, list | tuple):
        if not isinstance(tree, list | tuple) or len(tree) != len(form):
            raise ValueError(f"{name} is {tree!r:.80}, expected a list of {len(form)}")
        for i, (child, value) in enumerate(zip(tree, form, strict=True)):
            check_tree(child, value, f"{name}[{i}]")
    else:
        kinds = (int, float) if type(form) is float else type(form)
        if not isinstance(tree, kinds) or isinstance(tree, bool) is not isinstance(form, bool):
            raise ValueError(f"{name} is {tree!r:.80}, expected a {type(form).__name__}")


def check_finite(tree: Any, name: str) -> None:
    """Raise ValueError where an array in a tree of lists has a number that is not finite."""
    if isinstance(tree, np.ndarray):
        if not np.isfinite(tree).all():
            raise ValueError(f"{name} has numbers that are not finite")
    else:
        for i, each in enumerate(tree):
            check_finite(each, f"{name}[{i}]")
