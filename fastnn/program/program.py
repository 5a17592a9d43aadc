"""A network as a compiled program, and its predictions."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.catalogue import Operation
from ..nn.activations import Sigmoid
from ..nn.layer import arrays_of
from ..nn.layers import Softmax
from ..nn.network import Network
from ..nn.optimizer import Optimizer
from ..nn.own import overrides
from ..nn.passes import call_forward
from ..types import Floats, MaybeNone, Precision, Scaling, Steps
from ..validation import as_array, as_count, refuse_not_finite
from .inputs import as_samples
from .plan import Operands, operation_of, program_layers
from .precision import operands_of, resolve_precision
from .prediction import Predictor
from .samples import UNSCALED, Samples
from .sparse import is_sparse
from .threads import resolve_threads


class Program:
    """A network with its steps in the compiled program, and its predictions.

    Attributes
    ----------
    network : Network
    steps : list or None
        The result of `program_layers`: None if a layer is of a user's own class. Then the network
        trains and predicts layer by layer.
    predictor : Predictor or None
        None without steps.
    precision : str
        The precision of matrix products.
    has_warned : bool
        Whether a SlowTrainingWarning has been given: it comes once for each network.
    """

    def __init__(self, network: Network, precision: Precision = "highest") -> None:
        self.network, self.precision, self.has_warned = network, precision, False
        self._others: dict[Precision, Program] = {}
        self._plan()

    def at(self, precision: Precision | None, optimizer: Optimizer | None = None) -> Program:
        """Return the program of the same network for a precision: itself for its own.

        `optimizer` is that of a training; None for a prediction.

        Raises
        ------
        ValueError
            For an unknown precision, and for one that the network or its training cannot have.
        """
        choice = resolve_precision(precision, self.network.dtype)
        name = choice.precision
        if name == self.precision:
            return self
        program = self._others.get(name)
        if program is None:
            program = self._others[name] = Program(self.network, name)
        program.refresh()
        if program.steps is None:
            choice.refuse("for a model with a layer of your own")
        if optimizer is not None and not program.compiles(optimizer):
            part = "a loss" if self.network.loss.is_own else "an optimizer"
            choice.refuse(f"for training with {part} of your own")
        return program

    @property
    def operands(self) -> Operands | None:
        """How the operands of products are stored; None: as they are."""
        return operands_of(self.precision)

    def _plan(self) -> None:
        network = self.network
        self.steps: Steps | MaybeNone = program_layers(network.logit_layers())
        self.predictor: Predictor | MaybeNone = None
        if self.steps is not None:
            self.predictor = Predictor(
                self.steps, network.n_features, network.buffer, operands=self.operands
            )
        # Cached: looking it up would slow down a prediction of one row, which takes 1.5 us.
        self.task, self.finish = network.loss.task, network.loss.finish
        self.layout = network.layout

    def refresh(self) -> None:
        """Make a new plan if a layer or the loss has changed since the last one."""
        if self.layout != self.network.layout:
            self._plan()

    def note_warning(self) -> None:
        """Note that a SlowTrainingWarning has been given."""
        self.has_warned = True

    def compiles(self, optimizer: Optimizer) -> bool:
        """Return whether the layers, the loss and the optimizer can all be compiled."""
        own = self.network.loss.is_own or overrides(optimizer, Optimizer, "update")
        return self.steps is not None and not own

    def trained_arrays(self, optimizer: Optimizer) -> list[Floats]:
        """Return the arrays for which the optimizer keeps a state each."""
        if self.compiles(optimizer):
            return [self.network.parameters]
        return [getattr(owner, name) for owner, name, _ in self.network.trained_places()]

    def as_inputs(self, X: ArrayLike | Samples | None, name: str, **expected: Any) -> Samples:
        """Return `X` as checked samples; `expected` as in `as_samples`."""
        network = self.network
        categories = network.categories
        scaling = expected.get("scaling", UNSCALED)
        if categories and tuple(scaling) != UNSCALED:
            raise ValueError(
                "scale is {} and offset is {}, expected 1 and 0: layers[0], an Embedding, takes "
                "codes".format(*scaling)
            )
        # A network without parameters has no dtype to convert to.
        dtype = network.dtype if network.parametric else None
        return as_samples(
            X, name, n_features=network.n_features, dtype=dtype, categories=categories, **expected
        )

    def outputs(
        self,
        X: ArrayLike | Samples,
        name: str,
        finish: int,
        threads: int | None = None,
        n_outputs: int | None = None,
        scaling: Scaling = UNSCALED,
    ) -> Floats:
        """Return the outputs (N, O) of all samples, with the activation `finish` applied.

        `name` is the name of `X` in error messages.
        """
        if self.layout != self.network.layout:
            self._plan()
        if self.steps is None:
            inputs = self.as_inputs(X, name, scaling=scaling)
            resolve_threads(threads, 0)  # only checks: layers run in the calling thread
            # A copy, as a layer of the user's own may work in place.
            rows = inputs.take(np.arange(len(inputs)))
            return apply_finish(self.network.logits(rows, False, n_outputs), finish)
        at_once = threads is None and scaling == UNSCALED
        outputs: Any = self.predictor.run_few(X, finish) if at_once else None
        if outputs is None:
            inputs = self.as_inputs(X, name, scaling=scaling, finite=False)
            outputs = self.predictor.run(inputs, finish, threads)
            if outputs is None:
                inputs.check(name)
        result: Floats = outputs
        return result

    def outputs_in_parts(
        self,
        X: ArrayLike,
        finish: int,
        batch_size: int | None = None,
        threads: int | None = None,
        scaling: Scaling = UNSCALED,
    ) -> Floats:
        """Return the outputs as `outputs` does, from at most `batch_size` samples at a time."""
        if batch_size is None:
            return self.outputs(X, "X", finish, threads, None, scaling)
        size = as_count(batch_size, "batch_size")
        rows: Any = self.as_inputs(X, "X", scaling=scaling) if is_sparse(X) else as_array(X, "X")
        if len(rows.shape) != 2 or len(rows) <= size:
            return self.outputs(rows, "X", finish, threads, scaling=scaling)
        parts = [
            self.outputs(rows[i : i + size], f"X[{i}:{i + size}]", finish, threads, scaling=scaling)
            for i in range(0, len(rows), size)
        ]
        return np.concatenate(parts)

    def activations(self, inputs: Samples, layers: Iterable[Any]) -> Floats:
        """Return the outputs of the last of some layers, from the first on, layer by layer."""
        if inputs.is_sparse and len(inputs):  # never dense as a whole
            layers = [*layers]
            parts = [self._through(rows, layers) for _, rows in inputs.blocks(0, len(inputs))]
            return np.concatenate(parts)
        # A copy, as a layer of the user may change it in place.
        return self._through(inputs.take(np.arange(len(inputs))), layers)

    def _through(self, values: Floats, layers: Iterable[Any]) -> Floats:
        branches: list[Floats] = []  # the inputs of those without an Add so far
        for layer in layers:
            operation = operation_of(layer)
            if self.operands is not None and operation == Operation.DENSE:
                values = self._dense_outputs(layer, values)
            elif operation == Operation.BRANCH:
                branches.append(values)
            elif operation == Operation.ADD:
                values = values + branches.pop()
            else:
                # On a copy of the layer, so that its `output` does not change.
                values = call_forward(copy.copy(layer), values, False)
        return values

    def _dense_outputs(self, layer: Any, values: Floats) -> Floats:
        """Return the outputs of a dense layer with operands in bfloat16."""
        parameters = np.concatenate([array.ravel() for array in arrays_of(layer)])
        steps, operands = [(Operation.DENSE, layer)], self.operands
        predictor = Predictor(steps, values.shape[1], parameters, operands=operands)
        outputs = predictor.run(values, Operation.IDENTITY, None)
        if outputs is None:
            refuse_not_finite(values, f"the inputs of {layer!r}", values)
        return outputs

    def freeze(self) -> Predictor | None:
        """Return a predictor with a copy of the parameters; None without steps."""
        self.refresh()
        if self.steps is None:
            return None
        network = self.network
        parameters = network.buffer.copy()
        return Predictor(
            self.steps, network.n_features, parameters, frozen=True, operands=self.operands
        )


def apply_finish(outputs: Floats, finish: int) -> Floats:
    """Apply the softmax or sigmoid that `finish` names to outputs; others stay as they are."""
    layers: dict[int, type[Softmax] | type[Sigmoid]] = {
        Operation.SOFTMAX: Softmax,
        Operation.SIGMOID: Sigmoid,
    }
    return layers[finish]().forward(outputs) if finish in layers else outputs
