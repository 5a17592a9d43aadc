"""How :meth:`Model.train` takes steps: in the compiled program, or through the layers' passes.

Both loops add the figures of steps to the means of the model's loss and accuracy, and update its
optimizer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..kernels import table as t
from ..model import Sequential, network_of, program_of
from ..nn.dropout import Dropout
from ..nn.losses import BinaryCrossEntropy, MeanAbsoluteError, MeanSquaredError
from ..program.compiled import CompiledTrainer
from ..program.plan import operation_of, program_layers
from ..program.threads import ThreadTeam
from ..program.trainer import Data, Epoch
from ..types import Array, Integers
from ..validation import NotFiniteError
from .accuracy import Accuracy_Categorical, Accuracy_Regression
from .layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dropout,
)
from .losses import (
    EPSILON,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
    ProgramCrossEntropy,
)
from .optimizers import KINDS, Optimizer


class StepFigures(NamedTuple):
    """The figures of a step: means over its batch, before the update of the parameters."""

    accuracy: float
    data_loss: float
    penalty: float
    rate: float | None
    n_samples: int


def is_plain(value: Any, kind: type[Any], *methods: str) -> bool:
    """Return whether `value` is a `kind`, and no subclass of the user's overrides `methods`."""
    return isinstance(value, kind) and all(
        getattr(type(value), name) is getattr(kind, name) for name in methods
    )


def program_loss(model: Any) -> Any:
    """Return the program's counterpart of the model's loss, or None if there is none."""
    methods = "forward", "backward", "calculate", "calculate_accumulated", "regularization_loss"
    for kind, make in (
        (Loss_BinaryCrossentropy, lambda: BinaryCrossEntropy(from_logits=False, epsilon=EPSILON)),
        (Loss_MeanSquaredError, MeanSquaredError),
        (Loss_MeanAbsoluteError, MeanAbsoluteError),
    ):
        if is_plain(model.loss, kind, *methods):
            return make()
    fused = is_plain(model.layers[-1], Activation_Softmax, "forward", "backward")
    if fused and is_plain(model.loss, Loss_CategoricalCrossentropy, *methods):
        return ProgramCrossEntropy()
    return None


def program_layer(layer: Any) -> Any:
    """Return the program's counterpart of a layer."""
    if is_plain(layer, Layer_Dropout, "forward", "backward"):
        return Dropout(1 - layer.rate, rng=0)
    return layer


def make_network(model: Any) -> Sequential | None:
    """Return a Sequential of the model's layers, or None if one of them is the user's own."""
    layers = [program_layer(layer) for layer in model.layers]
    if program_layers(layers) is None:
        return None
    return Sequential(layers, loss=program_loss(model) or MeanSquaredError())


def find_obstacle(model: Any) -> str | None:
    """Return a description of the part that the program cannot take, or None."""
    for i, layer in enumerate(model.layers):
        if operation_of(program_layer(layer)) is None:
            return f"layers[{i}], {layer!r},"
    loss, last = program_loss(model), model.layers[-1]
    if loss is None or model.network is None:
        return f"loss {type(model.loss).__name__} behind {last!r}"
    head = {"classes": Activation_Softmax, "answers": Activation_Sigmoid}.get(loss.task)
    heads = (Activation_Linear, Activation_ReLU) if head is None else (head,)
    if not any(is_plain(last, head, "predictions") for head in heads):
        return f"predictions of {last!r}"
    kind = Accuracy_Regression if loss.task == "numbers" else Accuracy_Categorical
    counts = is_plain(model.accuracy, kind, "calculate", "compare", "calculate_accumulated")
    if not counts or getattr(model.accuracy, "binary", False) != (loss.task == "answers"):
        return f"accuracy {model.accuracy!r} with {type(model.loss).__name__}"
    steps = "rate_at", "rates", "pre_update_params", "update_params", "post_update_params"
    if not is_plain(model.optimizer, Optimizer, *steps):
        return f"optimizer {type(model.optimizer).__name__}"
    return None


class ProgramLoop:
    """Takes steps in the compiled program, with batches in the order of the samples."""

    def __init__(self, model: Any, data: Data, batch_size: int, team: ThreadTeam) -> None:
        self.model, network, optimizer = model, model.network, model.optimizer
        optimizer.rates(optimizer.iterations, 1, network.dtype)  # for its errors
        if data.targets.size and _is_one_hot(data.targets) and network.loss.task == "classes":
            data = data._replace(targets=data.targets[:0])
        precision = None
        if network.loss.task == "numbers":
            precision = float(model.accuracy.precision)
        # An accuracy counts single answers, the program the fraction of right ones of a sample.
        self.width = 1 if network.loss.task == "classes" else data.targets.shape[1]
        order = np.arange(len(data.inputs))
        n_whole = len(order) // batch_size
        self.whole = order[: n_whole * batch_size].reshape(n_whole, batch_size)
        self.rest = order[np.newaxis, n_whole * batch_size :]
        self.n_steps = n_whole + (self.rest.size > 0)
        optimizer.adopt(
            optimizer.state_of(network.parameters),
            [
                (layer, prefix, getattr(layer, name))
                for layer in network_of(network).parametric
                for name, prefix in KINDS
            ],
        )
        # For the trainer, each batch is an epoch, so that it returns the sums of each.
        self.trainer = CompiledTrainer(
            program_of(network), data, batch_size, batch_size, optimizer, team,
            stays_packed=True, slope_at_zero=True, loss_parameter=precision,
        )  # fmt: skip

    @property
    def steps_at_once(self) -> int:
        """The number of steps of one compiled call: the user waits that long for figures."""
        return self.trainer.chunk_steps

    def begin(self) -> None:
        """Load the state; called before the first `run`, and after an `end`."""
        self.trainer.state.iterations = self.model.optimizer.iterations
        self.trainer.repack()

    def run(self, first: int, end: int) -> list[StepFigures]:
        """Take the steps [first, end) and return their figures.

        Steps are counted from the start of an epoch, and may go on into the next ones. If the loss
        of a step is not finite, the list ends before it.
        """
        figures = []
        while first < end:
            at, count = first % self.n_steps, end - first
            if at == len(self.whole):
                rows = self.rest
            elif self.rest.size:
                rows = self.whole[at : at + count]
            else:
                rows = self.whole[np.arange(at, at + count) % self.n_steps]
            part = self._take(rows)
            figures += part
            if len(part) < len(rows):
                break
            first += len(rows)
        return figures

    def _take(self, rows: Integers) -> list[StepFigures]:
        """Take a step for each row of indices."""
        trainer, optimizer = self.trainer, self.model.optimizer
        keys: Any = [0] * len(rows)
        if trainer.draws_masks:  # the masks of dropout
            keys = np.random.randint(2**63 - 1, size=len(rows), dtype=np.int64)  # noqa: NPY002
        epochs = [Epoch(row, key) for row, key in zip(rows, keys, strict=True)]
        optimizer.pre_update_params()
        first = optimizer.iterations

        def count() -> list[float]:
            n_steps = trainer.state.iterations - first
            rates = [optimizer.rate_at(first + i) for i in range(n_steps)]
            optimizer.iterations = first + n_steps
            if n_steps:
                optimizer.current_learning_rate = rates[-1]
            return rates

        try:
            totals = trainer.take(epochs).sums
            rates = count()
        except BaseException:  # such as Ctrl-C, which may have interrupted `count` too
            count()
            raise
        n = rows.shape[1]
        means = totals[: len(rates), [t.TOTAL_RIGHT, t.TOTAL_LOSS, t.TOTAL_PENALTY]] / n
        return [
            StepFigures(accuracy, loss, penalty, rate, n)
            for (accuracy, loss, penalty), rate in zip(means.tolist(), rates, strict=True)
        ]

    def account(self, figures: StepFigures) -> None:
        """Add the figures of a step to the means of loss and accuracy."""
        n, model = figures.n_samples, self.model
        model.loss.accumulate(figures.data_loss * n, n)
        model.accuracy.accumulate(figures.accuracy * n * self.width, n * self.width)

    def end(self) -> None:
        """Store the parameters and averages in the arrays of the layers."""
        self.trainer.store()


class HandLoop:
    """Takes steps by the methods of the parts, as a script does, for classes of the user's own."""

    steps_at_once = 1

    def __init__(self, model: Any, data: Any, batch_size: int) -> None:
        self.model, self.data, self.batch_size = model, data, batch_size

    def begin(self) -> None:
        """Do nothing, as `account` and `end`: `run` has done it."""

    account = end = lambda self, *arguments: None

    def run(self, first: int, end: int) -> list[StepFigures]:
        """Take the steps [first, end) and return their figures, as `ProgramLoop.run` does."""
        figures = []
        for step in range(first, end):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            try:
                figures.append(self._step(*(array[rows] for array in self.data)))
            except NotFiniteError:  # of the output of an earlier layer
                break
            if not np.isfinite(figures[-1].data_loss):
                return figures[:-1]
        return figures

    def _step(self, inputs: Any, targets: Any) -> StepFigures:
        model, optimizer = self.model, self.model.optimizer
        output = model.forward(inputs, True)
        loss, penalty = model.loss.calculate(output, targets, include_regularization=True)
        predictions = model.output_layer_activation.predictions(output)
        accuracy = model.accuracy.calculate(predictions, targets)
        model.backward(output, targets)
        optimizer.pre_update_params()
        for layer in model.trainable_layers:
            optimizer.update_params(layer)
        optimizer.post_update_params()
        rate = getattr(optimizer, "current_learning_rate", None)
        return StepFigures(accuracy, loss, penalty, rate, len(inputs))


def _is_one_hot(rows: Array) -> bool:
    return bool(np.count_nonzero(rows) == len(rows) and (rows.max(axis=1) == 1).all())
