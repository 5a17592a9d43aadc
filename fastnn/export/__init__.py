"""Models for other programs: ONNX, C and PyTorch, and networks of PyTorch's for fastnn.

Nothing beside fastnn's own dependencies is imported before a function needs it. A file is written
as a whole or not at all.
"""

from .c import to_c
from .onnx import to_onnx
from .torch import from_torch, to_torch

__all__ = ["from_torch", "to_c", "to_onnx", "to_torch"]
