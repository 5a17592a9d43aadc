"""Calls of the two passes of a layer, which may be of a user's own class."""

from __future__ import annotations

import inspect
from typing import Any


def call_forward(layer: Any, inputs: Any, training: bool) -> Any:
    """Call `forward` of a layer that may not know `training`, and may not return its output."""
    if "training" in inspect.signature(layer.forward).parameters:
        result = layer.forward(inputs, training=training)
    else:
        result = layer.forward(inputs)
    return layer.output if result is None else result


def call_backward(layer: Any, dvalues: Any) -> Any:
    """Call `backward` of a layer that may not return its gradient."""
    result = layer.backward(dvalues)
    return layer.dinputs if result is None else result
