"""Calls of the two passes of a layer, which may be of a user's own class."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
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


def run_forward(layers: Sequence[Any], inputs: Any, training: bool) -> Any:
    """Run `inputs` through some layers, one by one; return the last output."""
    for layer in layers:
        inputs = call_forward(layer, inputs, training)
    return inputs


def run_backward(layers: Sequence[Any], dvalues: Any) -> Any:
    """Propagate the gradient of the last output back through some layers."""
    for layer in reversed(layers):
        dvalues = call_backward(layer, dvalues)
    return dvalues
