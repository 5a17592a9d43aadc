"""`fastnn export`: a saved model for another program."""

import importlib
import tempfile
from pathlib import Path
from typing import NamedTuple

import fastnn

from .. import files
from . import outputs, printing


class Format(NamedTuple):
    """A format that `fastnn.export` may know."""

    function: str  # (model, path)
    suffix: str
    title: str


_FORMATS = {
    "onnx": Format("to_onnx", ".onnx", "ONNX"),
    "c": Format("to_c", ".c", "C99 source"),
    "torch": Format("to_torch", ".safetensors", "PyTorch state_dict"),
}


def formats():
    """Return the formats that can be written: {name: Format}."""
    module = _module()
    return {name: each for name, each in _FORMATS.items() if hasattr(module, each.function)}


def _module():
    try:
        return importlib.import_module("fastnn.export")
    except ModuleNotFoundError as error:
        if error.name != "fastnn.export":
            raise
        return None


def run(options):
    """Write a model file as another format."""
    known = formats()
    path = Path(options.output)
    name = options.to or next(
        (name for name, each in known.items() if each.suffix == path.suffix.lower()), None
    )
    if name is None:
        endings = " or ".join(each.suffix for each in known.values())
        raise ValueError(f"OUTPUT is {options.output!r}, expected a path that ends in {endings}")
    outputs.check(path, "OUTPUT")
    model = fastnn.load(options.model)
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder, path.name)
        getattr(_module(), known[name].function)(model, unfinished)
        files.replace(path, unfinished.read_bytes())
    lines = [f"{path}: {known[name].title}, {path.stat().st_size:,} bytes"]
    if "preprocessing" in (model.notes or {}):
        lines.append("the network only: its inputs are columns that are preprocessed already")
    if options.json:
        printing.print_json({"path": str(path), "format": name, "bytes": path.stat().st_size})
    else:
        printing.say("export", *lines)
