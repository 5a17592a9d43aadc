"""`fastnn export`: a saved model for another program."""

from __future__ import annotations

import importlib
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastnn

from .. import files
from . import data, outputs, printing

if TYPE_CHECKING:
    pass

# Means so many deviations from 0 cost float32 three of its seven digits.
_FAR = 1000


class Format(NamedTuple):
    """A format, and who writes it: a function of (model, path)."""

    module: str
    function: str
    suffix: str
    title: str


_FORMATS = {
    "onnx": Format("fastnn.export", "to_onnx", ".onnx", "ONNX"),
    "c": Format("fastnn.export", "to_c", ".c", "C99 source"),
    "torch": Format("fastnn.export.torch", "to_torch", ".safetensors", "PyTorch state_dict"),
}


def formats() -> dict[str, Format]:
    """Return the formats that can be written: {name: Format}."""
    return {name: each for name, each in _FORMATS.items() if _writer(each) is not None}


def _writer(form: Format) -> Any:
    """Return the function of a format, or None where fastnn has none."""
    try:
        module = importlib.import_module(form.module)
    except ModuleNotFoundError as error:
        if error.name != form.module:
            raise
        return None
    return getattr(module, form.function, None)


def run(options: Namespace) -> None:
    """Write a model file as another format."""
    known = formats()
    path = Path(options.output)
    name = options.to or next(
        (name for name, each in known.items() if each.suffix == path.suffix.lower()), None
    )
    if name is None:
        endings = " or ".join(each.suffix for each in known.values())
        raise ValueError(f"OUTPUT is {options.output!r}, expected a path that ends in {endings}")
    outputs.check(path, "OUTPUT", inputs={"MODEL": options.model})
    saved = data.Saved(options.model)
    model, notes = with_raw_inputs(saved)
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder, path.name)
        _writer(known[name])(model, unfinished)
        files.replace(path, unfinished.read_bytes())
    names = saved.preprocessor.feature_names
    if options.json:
        printing.print_json(
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
    printing.say("export", f"{path}: {known[name].title}, {path.stat().st_size:,} bytes")
    inputs = f"{printing.some(len(names), 'number')}, as they are in a table, a category as 1 and 0"
    printing.say("inputs", *printing.wrapped([f"{inputs}: {', '.join(names)}", *notes]))
    printing.say("outputs", *printing.wrapped([", ".join(_outputs(saved.target))]))


def _outputs(target: Any) -> list[str]:
    if target.task == "regression":
        return [target.name]
    return [str(label) for label in target.labels]


def with_raw_inputs(saved: data.Saved) -> tuple[fastnn.Sequential, list[str]]:
    """Return (model, notes): a copy of a saved model that takes numbers as they are in a table.

    The first layer takes over how they are standardised, and the last one, of a regression, the
    units of the target. Categories stay 0 or 1, and nothing fills what is missing.
    """
    model = saved.model.clone()
    model.notes = {}  # what they say of the inputs no longer holds
    dense = [layer for layer in model.layers if isinstance(layer, fastnn.Dense)]
    if model.layers[0] is not dense[0]:
        raise ValueError(f"layers[0] is {model.layers[0]!r}, expected a Dense layer")
    numbers: list[Any] = [each for each in saved.preprocessor.columns if each.kind == "number"]
    of_column = {each.name: (each.shift, each.scale) for each in numbers}
    pairs = [
        of_column.get(column.name, (0.0, 1.0))
        for column in saved.preprocessor.columns
        for _ in column.feature_names
    ]
    shifts, scales = np.array(pairs).T
    weights = dense[0].weights.astype(np.float64) / scales[:, np.newaxis]
    dense[0].biases[...] = dense[0].biases - shifts @ weights
    dense[0].weights[...] = weights
    target: Any = saved.target
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
            + printing.listed(filled)
        )
    return model, notes
