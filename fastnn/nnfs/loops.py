"""How :meth:`Model.train` takes steps: in the compiled program, or through the layers' passes.

Both loops add up what they find in the model's loss and accuracy, and move its optimizer on.
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
from ..types import Array, Floats, Integers
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


class Found(NamedTuple):
    """The figures of a step: means over the samples of its batch, before it is taken."""

    accuracy: float
    data_loss: float
    penalty: float
    rate: float | None
    n_samples: int


def is_plain(value: Any, kind: type[Any], *methods: str) -> bool:
    """Return whether `value` is a `kind` whose `methods` no class of a user's own replaces."""
    return isinstance(value, kind) and all(
        getattr(type(value), name) is getattr(kind, name) for name in methods
    )


def program_loss(model: Any) -> Any:
    """Return the loss that the program takes for the model's, or None where it has none."""
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
    """Return the layer that the program takes for a model's."""
    if is_plain(layer, Layer_Dropout, "forward", "backward"):
        return Dropout(1 - layer.rate, rng=0)
    return layer


def make_network(model: Any) -> Sequential | None:
    """Return the Sequential of the model's layers, or None where one is a user's own."""
    layers = [program_layer(layer) for layer in model.layers]
    if program_layers(layers) is None:
        return None
    return Sequential(layers, loss=program_loss(model) or MeanSquaredError())


def find_obstacle(model: Any) -> str | None:
    """Return in words what the program cannot do of a model, or None."""
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
    """Steps of the compiled program, batch after batch as the samples come."""

    def __init__(self, model: Any, data: Data, batch_size: int, team: ThreadTeam) -> None:
        self.model, network, optimizer = model, model.network, model.optimizer
        optimizer.rates(optimizer.iterations, 1, network.dtype)  # for its errors
        if data.targets.size and _is_one_hot(data.targets) and network.loss.task == "classes":
            data = data._replace(targets=data.targets[:0])
        if network.loss.task == "numbers":
            network.loss.number = float(model.accuracy.precision)
        # An accuracy counts answers, the program the fraction of each sample's.
        self.width = 1 if network.loss.task == "classes" else data.targets.shape[1]
        order = np.arange(len(data.inputs))
        n_whole = len(order) // batch_size
        self.whole = order[: n_whole * batch_size].reshape(n_whole, batch_size)
        self.rest = order[np.newaxis, n_whole * batch_size :]
        self.n_steps = n_whole + (self.rest.size > 0)
        optimizer.adopt(
            optimizer.state_of(network.parameters),
            [
                (layer, beginning, getattr(layer, name))
                for layer in network_of(network).parametric
                for name, beginning in KINDS
            ],
        )
        # Every batch is an epoch to the trainer, which adds up the figures of each.
        self.trainer = CompiledTrainer(
            program_of(network), data, batch_size, batch_size, optimizer, team, stays_packed=True
        )
        # Biases start at 0, where the slope of |b| is 1 in the book.
        self.trainer.plan.layers["biases_l1"] *= -1
        for layer in network_of(network).parametric:
            _leave_zero(layer.weights, layer.weights_l1)

    @property
    def steps_at_once(self) -> int:
        """How many steps take so little time that nobody waits for their figures."""
        return self.trainer.chunk_steps

    def begin(self) -> None:
        """Before the first `run`, and the first one after `end`."""
        self.trainer.state.iterations = self.model.optimizer.iterations
        self.trainer.repack()

    def run(self, first: int, end: int) -> list[Found]:
        """Take the steps [first, end) and return what each of them :class:`Found`.

        They are counted from the start of an epoch, and on into the next ones. Where one has a
        loss that is not finite the list ends before it.
        """
        found = []
        while first < end:
            at, count = first % self.n_steps, end - first
            if at == len(self.whole):
                rows = self.rest
            elif self.rest.size:
                rows = self.whole[at : at + count]
            else:
                rows = self.whole[np.arange(at, at + count) % self.n_steps]
            part = self._take(rows)
            found += part
            if len(part) < len(rows):
                break
            first += len(rows)
        return found

    def _take(self, rows: Integers) -> list[Found]:
        """Take a step with each of some rows of indices."""
        trainer, optimizer = self.trainer, self.model.optimizer
        keys: Any = [0] * len(rows)
        if trainer.draws_masks:  # the masks of dropout
            keys = np.random.randint(2**63 - 1, size=len(rows), dtype=np.int64)  # noqa: NPY002
        epochs = [Epoch(row, key) for row, key in zip(rows, keys, strict=True)]
        optimizer.pre_update_params()
        first = optimizer.iterations

        def count() -> list[float]:
            taken = trainer.state.iterations - first
            rates = [optimizer.rate_at(first + i) for i in range(taken)]
            optimizer.iterations = first + taken
            if taken:
                optimizer.current_learning_rate = rates[-1]
            return rates

        try:
            totals = trainer.take(epochs).sums
            rates = count()
        except BaseException:  # such as Ctrl-C, which may have broken off `count` too
            count()
            raise
        n, taken = rows.shape[1], len(rates)
        means = totals[:taken, [t.TOTAL_RIGHT, t.TOTAL_LOSS, t.TOTAL_PENALTY]] / n
        return [
            Found(accuracy, loss, penalty, rate, n)
            for (accuracy, loss, penalty), rate in zip(means.tolist(), rates, strict=True)
        ]

    def account(self, found: Found) -> None:
        """Add the figures of a step to what loss and accuracy have accumulated."""
        n, model = found.n_samples, self.model
        model.loss.accumulate(found.data_loss * n, n)
        model.accuracy.accumulate(found.accuracy * n * self.width, n * self.width)

    def end(self) -> None:
        """Bring the optimizer's averages to where the layers show them."""
        self.trainer.store()


class HandLoop:
    """Steps as a script from scratch takes them: for classes of a user's own."""

    steps_at_once = 1

    def __init__(self, model: Any, data: Any, batch_size: int) -> None:
        self.model, self.data, self.batch_size = model, data, batch_size

    def begin(self) -> None:
        """Do nothing, as `account` and `end`: the passes see to it all."""

    account = end = lambda self, *arguments: None

    def run(self, first: int, end: int) -> list[Found]:
        """Take the steps [first, end) and return what each of them :class:`Found`."""
        found = []
        for step in range(first, end):
            rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
            try:
                found.append(self._step(*(array[rows] for array in self.data)))
            except NotFiniteError:  # a layer met what an earlier one made
                break
            if not np.isfinite(found[-1].data_loss):
                return found[:-1]
        return found

    def _step(self, inputs: Any, targets: Any) -> Found:
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
        return Found(accuracy, loss, penalty, rate, len(inputs))


def _is_one_hot(rows: Array) -> bool:
    return bool(np.count_nonzero(rows) == len(rows) and (rows.max(axis=1) == 1).all())


def _leave_zero(parameters: Floats, l1: float) -> None:
    """Move parameters of 0 to the least number above it, where the slope of |p| is 1.

    In the program it is 0 at 0; in the book it is 1.
    """
    if l1:
        parameters[parameters == 0] = np.finfo(parameters.dtype).smallest_subnormal
