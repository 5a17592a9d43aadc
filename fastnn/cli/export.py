"""`fastnn export`: write a saved model for another program."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastnn

from .. import files
from ..export import to_c, to_onnx, to_torch
from ..export.table import read_table_model
from . import data, outputs, terminal

if TYPE_CHECKING:
    from ..tables.targets import Target

# A mean that is this many standard deviations from 0 costs float32 three of its seven digits.
_FAR = 1000


class Format(NamedTuple):
    """A file format and the function of (model, path) that writes it."""

    write: Callable[[Any, Path], None]
    suffix: str
    title: str
    has_columns: bool
    """Whether it takes the columns of a table, and not only numbers."""


FORMATS = {
    "onnx": Format(to_onnx, ".onnx", "ONNX", True),
    "c": Format(to_c, ".c", "C99 source", True),
    "torch": Format(to_torch, ".safetensors", "PyTorch state_dict", False),
}


def run(options: Namespace) -> None:
    """Write a model file in another format."""
    path = Path(options.output)
    name = options.to or next(
        (name for name, each in FORMATS.items() if each.suffix == path.suffix.lower()), None
    )
    if name is None:
        endings = " or ".join(each.suffix for each in FORMATS.values())
        raise ValueError(f"OUTPUT is {options.output!r}, expected a path that ends in {endings}")
    outputs.check(path, "OUTPUT", inputs={"MODEL": options.model})
    saved = data.Saved(options.model)
    form = FORMATS[name]
    model: Any = saved.whole
    notes: list[str] = []
    names = [each.name for each in read_table_model(saved.whole).inputs]
    if not form.has_columns:
        model, notes = with_raw_inputs(saved)
        names = saved.preprocessor.feature_names
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder, path.name)
        form.write(model, unfinished)
        files.replace(path, unfinished.read_bytes())
    if options.json:
        terminal.print_json(
            {
                "path": str(path),
                "format": name,
                "bytes": path.stat().st_size,
                "inputs": names,
                "outputs": _outputs(saved.target),
                "notes": notes,
            }
        )
        return
    terminal.say("export", f"{path}: {form.title}, {path.stat().st_size:,} bytes")
    if form.has_columns:
        inputs = f"{terminal.some(len(names), 'column')}, as they are in a table"
    else:
        count = terminal.some(len(names), "number")
        inputs = f"{count}, as they are in a table, a category as 1 and 0"
    terminal.say("inputs", *terminal.wrapped([f"{inputs}: {', '.join(names)}", *notes]))
    terminal.say("outputs", *terminal.wrapped([", ".join(_outputs(saved.target))]))


def _outputs(target: Target) -> list[str]:
    if target.task == "regression":
        return [target.name]
    return [str(label) for label in target.labels]


def with_raw_inputs(saved: data.Saved) -> tuple[fastnn.Sequential, list[str]]:
    """Return (model, notes): a network that takes numbers as they are in a table, for PyTorch.

    The weights of the first Dense layer standardize the inputs; for a regression, those of the last
    one give the target its units. Categories stay 0 or 1, and missing values are not filled.
    """
    model = saved.model.clone()
    model.notes = {}  # they say that the inputs are standardized, which no longer holds
    dense = [layer for layer in model.layers if isinstance(layer, fastnn.Dense)]
    if model.layers[0] is not dense[0]:
        raise ValueError(f"layers[0] is {model.layers[0]!r}, expected a Dense layer")
    numbers = [each for each in saved.preprocessor.columns if each.kind == "number"]
    pairs = [pair for column in saved.preprocessor.columns for pair in column.scales]
    shifts, scales = np.array(pairs).T
    weights = dense[0].weights.astype(np.float64) / scales[:, np.newaxis]
    dense[0].biases[...] = dense[0].biases - shifts @ weights
    dense[0].weights[...] = weights
    target = saved.target
    if target.task == "regression":
        dense[-1].weights[...] = dense[-1].weights * target.scale
        dense[-1].biases[...] = dense[-1].biases * target.scale + target.shift
    few = [each.name for each in numbers if abs(each.shift) > _FAR * each.scale]
    notes = [
        f"column {name!r:.80} varies little beside its size: {model.dtype} inputs are not exact "
        "enough"
        for name in few
        if model.dtype == np.float32
    ]
    filled = [each.name for each in saved.preprocessor.columns if each.fill is not None]
    if filled:
        notes.append(
            "nothing fills missing values here, which `fastnn predict` fills in the columns "
            + terminal.listed(filled)
        )
    return model, notes
