"""Models for other programs, as ONNX, C and PyTorch files, and networks from PyTorch files.

A library that is not a dependency of fastnn is imported when a function needs it. A file is written
as a whole or not at all. `to_torch` and `from_torch` are `fastnn.export_torch` and
`fastnn.load_torch` too.
"""

from .c import to_c
from .onnx import to_onnx
from .torch import to_torch
from .torch_reader import from_torch

__all__ = ["from_torch", "to_c", "to_onnx", "to_torch"]
