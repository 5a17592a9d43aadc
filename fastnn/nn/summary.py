"""A table of the layers of a network, with their sizes and costs."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..html import make_table
from .embedding import Embedding
from .layer import Layer
from .layers import Dense
from .network import Network
from .residual import Branch

_HEADER = ("layer", "outputs", "parameters", "FLOPs a sample")


class LayerSummary(NamedTuple):
    """One layer: its outputs O (None for a layer of the user's own class) and its cost."""

    name: str
    n_outputs: int | None
    n_parameters: int
    n_trainable: int
    n_flops: int | None


class Summary:
    """The layers of a network with their outputs, parameters and operations; `print` shows it.

    Attributes
    ----------
    layers : list of LayerSummary
        One entry a layer.
    n_parameters : int
        The number of parameters.
    n_trainable : int
        The number of parameters that training changes.
    n_bytes : int
        The memory of all parameters.
    n_flops : int or None
        The floating-point operations of a forward pass for one sample. A multiply-add counts as
        two, an activation as one for each output. None with a layer of your own.

    Examples
    --------
    >>> layers = [fastnn.Dense(64, 32, rng=0), fastnn.ReLU(), fastnn.Dense(32, 10, rng=1)]
    >>> print(fastnn.Sequential(layers).summary())
    layer  outputs  parameters  FLOPs a sample
    ------------------------------------------
    Dense       32       2,080           4,128
    ReLU        32           0              32
    Dense       10         330             650
    ------------------------------------------
    2,410 parameters (9.4 KiB), 4,810 FLOPs a sample
    """

    def __init__(self, network: Network) -> None:
        self.layers, width = [], network.n_features
        for layer in network.layers:
            row = _summarize(layer, width)
            self.layers.append(row)
            width = row.n_outputs
        self.n_parameters = sum(row.n_parameters for row in self.layers)
        self.n_trainable = sum(row.n_trainable for row in self.layers)
        self.n_bytes = self.n_parameters * network.dtype.itemsize
        flops = [row.n_flops for row in self.layers]
        self.n_flops = None if None in flops else sum(filter(None, flops))

    def __str__(self) -> str:
        rows = [_HEADER, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self._total()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return make_table(_HEADER, self._rows(), self._total())

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (row.name, _text(row.n_outputs), _text(row.n_parameters), _text(row.n_flops))
            for row in self.layers
        ]

    def _total(self) -> str:
        frozen = self.n_parameters - self.n_trainable
        return (
            f"{self.n_parameters:,} parameters ({_bytes(self.n_bytes)})"
            + (f", {frozen:,} of them frozen" if frozen else "")
            + f", {_text(self.n_flops)} FLOPs a sample"
        )


def _summarize(layer: Any, width: int | None) -> LayerSummary:
    name = type(layer).__name__
    arrays = [getattr(layer, part, None) for part in ("weights", "biases")]
    if not getattr(layer, "use_bias", True):
        arrays.pop()
    size = sum(getattr(array, "size", 0) for array in arrays)
    trainable = size if getattr(layer, "trainable", True) else 0
    if isinstance(layer, Dense):
        flops = 2 * layer.weights.size + (layer.n_neurons if layer.use_bias else 0)
        return LayerSummary(name, layer.n_neurons, size, trainable, flops)
    if isinstance(layer, Embedding):
        return LayerSummary(name, layer.n_outputs, size, trainable, 0)
    if isinstance(layer, Branch):
        return LayerSummary(name, width, 0, 0, 0)
    own = not isinstance(layer, Layer)
    return LayerSummary(name, None if own else width, size, trainable, None if own else width)


def _text(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _bytes(size: int) -> str:
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, 3)
    return f"{size / 1024**power:,.1f} {('', 'KiB', 'MiB', 'GiB')[power]}"
