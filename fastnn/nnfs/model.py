"""The Model of networks from scratch, trained by the compiled program."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import SlowTrainingWarning
from ..model import program_of
from ..nn.passes import call_backward, call_forward
from ..program.threads import resolve_threads, with_team
from ..run.data import as_data
from ..run.history import History
from ..types import Floats, PathLike
from ..validation import as_anything, as_array, as_count, as_rows
from . import files
from .layers import Activation_Softmax, Layer_Input
from .loops import HandLoop, ProgramLoop, find_obstacle, make_network
from .losses import Activation_Softmax_Loss_CategoricalCrossentropy, Loss_CategoricalCrossentropy
from .training import Training


class Model:
    """Layers in a row with a loss, an optimizer and an accuracy.

    `train` runs in the compiled program if all of them are fastnn's. With a class of your own
    among them it calls the passes of the layers one by one, which is slower.

    Attributes
    ----------
    layers : list
        All layers.
    trainable_layers : list
        After `finalize`: the layers with weights.
    input_layer : Layer_Input
        After `finalize`: the layer before the first one.
    output_layer_activation : layer
        After `finalize`: the last layer, whose `predictions` turns outputs into predictions.
    loss : Loss or None
        The argument of `set`.
    optimizer : Optimizer or None
        The argument of `set`.
    accuracy : Accuracy or None
        The argument of `set`.
    softmax_classifier_output : Activation_Softmax_Loss_CategoricalCrossentropy or None
        The backward pass of softmax and cross-entropy in one, if the model ends in them.
    network : Sequential or None
        After `finalize`: the same layers as a :class:`fastnn.Sequential`, or None if one of them
        is of a class of your own.
    history : History
        The curves of the last `train`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        For bad arguments, before anything changes, and for a method that is called too early.

    Examples
    --------
    >>> from fastnn.nnfs import *
    >>> np.random.seed(0)
    >>> model = Model()
    >>> model.add(Layer_Dense(2, 2))
    >>> model.add(Activation_Softmax())
    >>> model.set(
    ...     loss=Loss_CategoricalCrossentropy(),
    ...     optimizer=Optimizer_SGD(),
    ...     accuracy=Accuracy_Categorical(),
    ... )
    >>> model.finalize()
    >>> model.train(np.eye(2), np.array([0, 1]))
    epoch: 1
    step: 0, acc: 1.000, loss: 0.687 (data_loss: 0.687, reg_loss: 0.000), lr: 1.0
    training, acc: 1.000, loss: 0.687 (data_loss: 0.687, reg_loss: 0.000), lr: 1.0
    """

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.trainable_layers: list[Any] = []
        self.loss: Any = None
        self.optimizer: Any = None
        self.accuracy: Any = None
        self.input_layer: Any = None
        self.output_layer_activation: Any = None
        self.softmax_classifier_output: Any = None
        self.network: Any = None
        self.history, self._final, self._warned = History(), False, False
        self._finalized_parts: tuple[Any, ...] = ()

    def add(self, layer: Any) -> None:
        """Add a layer after the others."""
        _check_methods(layer, "layer", ("forward", "backward"), "Layer_Dense(2, 64)")
        if any(layer is other for other in self.layers):
            raise ValueError("layer is in the model already, expected another one")
        self.layers.append(layer)
        self._final = False

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set the loss, the optimizer and the accuracy; None leaves one as it is."""
        if loss is not None:
            methods: tuple[str, ...] = (
                "calculate",
                "backward",
                "new_pass",
                "remember_trainable_layers",
            )
            _check_methods(loss, "loss", methods, "Loss_MeanSquaredError()")
            self.loss = loss
        if optimizer is not None:
            methods = "pre_update_params", "update_params", "post_update_params"
            _check_methods(optimizer, "optimizer", methods, "Optimizer_Adam()")
            self.optimizer = optimizer
        if accuracy is not None:
            methods = "init", "calculate", "new_pass"
            _check_methods(accuracy, "accuracy", methods, "Accuracy_Categorical()")
            self.accuracy = accuracy
        if self._final:
            self.finalize()

    def finalize(self) -> None:
        """Connect the layers. Call it after the last `add`."""
        if not self.layers:
            raise ValueError("layers is empty, expected add() before finalize()")
        self.input_layer = Layer_Input()
        row = [self.input_layer, *self.layers, self.loss]
        for before, layer, behind in zip(row, row[1:], row[2:], strict=False):
            layer.prev, layer.next = before, behind
        self.input_layer.next, self.output_layer_activation = self.layers[0], self.layers[-1]
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        if self.loss is not None:
            self.loss.remember_trainable_layers(self.trainable_layers)
        fused = isinstance(self.loss, Loss_CategoricalCrossentropy)
        fused = fused and isinstance(self.layers[-1], Activation_Softmax)
        self.softmax_classifier_output = (
            Activation_Softmax_Loss_CategoricalCrossentropy() if fused else None
        )
        self.network = None  # first: a layer belongs to one network at a time
        self.network, self._final = make_network(self), True
        self._finalized_parts = self._parts()

    def _parts(self) -> tuple[Any, ...]:
        """Return what `finalize` depends on, and a script may change."""
        return self.loss, *((layer, getattr(layer, "rate", None)) for layer in self.layers)

    # ------------------------------------------------------------------ training

    def train(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        print_every: int = 1,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        """Train on samples `X` and targets `y`, in their order, and print the figures.

        There is a line for every `print_every`-th step of an epoch and for its last one, a line
        for the whole epoch, and one for the validation after it.

        Parameters
        ----------
        X : array-like of shape (N, I)
        y : array-like of shape (N,) or (N, O)
            As the loss and the accuracy take them.
        epochs : int
        batch_size : int, optional
            By default all samples. The last batch may be smaller.
        print_every : int
        validation_data : (X, y), optional

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts.
        NonFiniteLossError
            If training diverges. The model is then as it was after the last good epoch.
        """
        self._check_set("train", "loss", "optimizer", "accuracy")
        epochs, print_every = as_count(epochs, "epochs"), as_count(print_every, "print_every")
        data = self._as_data(X, y, "X", "y")
        n = len(data[0])
        batch_size = n if batch_size is None else min(as_count(batch_size, "batch_size"), n)
        if validation_data is not None:
            try:
                X_val, y_val = validation_data
            except (TypeError, ValueError):
                raise TypeError("validation_data is not a pair, expected (X, y)") from None
            self._as_data(X_val, y_val, "validation_data[0]", "validation_data[1]")
        self.accuracy.init(as_anything(y, "y"))
        n_steps = -(-n // batch_size)
        shown = [step for step in range(n_steps) if step % print_every == 0 or step == n_steps - 1]
        self.history = History()
        validate = None
        if validation_data is not None:

            def validate() -> dict[str, float]:
                return self._evaluate(X_val, y_val, batch_size)

        training = Training(self, epochs, shown, validate)
        self._run_in_loop(training.run, data, batch_size)

    def _run_in_loop(self, run: Callable[[Any], None], data: Any, batch_size: int) -> None:
        obstacle = find_obstacle(self)
        if obstacle is None:
            threads = resolve_threads(None, 3 * batch_size * self.network.parameters.size)
            with_team(threads, lambda team: run(ProgramLoop(self, data, batch_size, team)))
            return
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{obstacle} cannot be compiled: the model trains layer by layer, "
                "several times as slowly where it is small",
                SlowTrainingWarning,
                stacklevel=3,
            )
        run(HandLoop(self, data, batch_size))

    def _as_data(self, X: ArrayLike, y: ArrayLike, name: str, y_name: str) -> Any:
        """Return checked samples and targets: a Data for the program, or a pair."""
        if find_obstacle(self) is not None:
            inputs, targets = as_rows(X, name, allow_empty=False), as_array(y, y_name)
            if targets.ndim == 0 or len(targets) != len(inputs):
                raise ValueError(
                    f"{y_name} has shape {targets.shape}, expected {len(inputs)} targets"
                )
            return inputs, targets
        return as_data(program_of(self.network), X, y, None, (name, y_name))

    # ------------------------------------------------------------------ answers

    def evaluate(
        self, X_val: ArrayLike, y_val: ArrayLike, *, batch_size: int | None = None
    ) -> None:
        """Print accuracy and loss, without penalties, on samples `X_val` and targets `y_val`."""
        self._check_set("evaluate", "loss", "accuracy")
        self._evaluate(X_val, y_val, batch_size)

    def _evaluate(
        self, X_val: ArrayLike, y_val: ArrayLike, batch_size: int | None
    ) -> dict[str, float]:
        output = self.predict(X_val, batch_size=batch_size)
        y_val = as_anything(y_val, "y_val")
        self.loss.new_pass()
        self.accuracy.new_pass()
        self.loss.calculate(output, y_val)
        self.accuracy.calculate(self.output_layer_activation.predictions(output), y_val)
        loss, accuracy = self.loss.calculate_accumulated(), self.accuracy.calculate_accumulated()
        print(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")
        return {"loss": float(loss), "accuracy": float(accuracy)}

    def predict(self, X: ArrayLike, *, batch_size: int | None = None) -> Floats:
        """Return the outputs (N, O) of the last layer for samples `X` (N, I).

        `batch_size` samples at a time are converted, and go through layers of your own.
        """
        self._check_set("predict")
        if batch_size is not None:
            batch_size = as_count(batch_size, "batch_size")
        if self.network is not None:
            program = program_of(self.network)
            return program.outputs_in_parts(X, program.finish, batch_size)
        inputs = as_rows(X, "X", allow_empty=False)
        size = batch_size or len(inputs)
        starts = range(0, len(inputs), size)
        return np.vstack([self.forward(inputs[i : i + size], False) for i in starts])

    def forward(self, X: ArrayLike, training: bool) -> Any:
        """Return the output of the last layer; calls the forward passes one by one."""
        values = self.input_layer.forward(X, training)
        for layer in self.layers:
            values = call_forward(layer, values, training)
        return values

    def backward(self, output: Any, y: Any) -> None:
        """Compute the gradients of the loss at `output`; calls the backward passes one by one."""
        layers = self.layers
        if self.softmax_classifier_output is None:
            dvalues = self.loss.backward(output, y)
            dvalues = self.loss.dinputs if dvalues is None else dvalues
        else:
            dvalues = self.softmax_classifier_output.backward(output, y)
            layers, layers[-1].dinputs = layers[:-1], dvalues
        for layer in reversed(layers):
            dvalues = call_backward(layer, dvalues)

    def _check_set(self, method: str, *names: str) -> None:
        if not self._final:
            raise RuntimeError(f"{method} was called before finalize")
        if self._parts() != self._finalized_parts:
            self.finalize()
        for name in names:
            if getattr(self, name) is None:
                raise RuntimeError(f"{name} is None, expected set({name}=...) before {method}")
        if names and not hasattr(self.layers[-1], "predictions"):
            raise TypeError(
                f"the last layer is {self.layers[-1]!r}, "
                "expected one with predictions(), such as Activation_Linear()"
            )

    # ------------------------------------------------------------------ parameters and files

    def get_parameters(self) -> list[tuple[Floats, Floats]]:
        """Return [(weights, biases), ...] of the trainable layers."""
        self._check_set("get_parameters")
        return [layer.get_parameters() for layer in self.trainable_layers]

    def set_parameters(self, parameters: Iterable[tuple[ArrayLike, ArrayLike]]) -> None:
        """Copy [(weights, biases), ...] into the trainable layers, or on an error none of them."""
        self._check_set("set_parameters")
        pairs = _as_pairs(parameters, len(self.trainable_layers))
        before = [
            tuple(a.copy() for a in layer.get_parameters()) for layer in self.trainable_layers
        ]
        try:
            for layer, pair in zip(self.trainable_layers, pairs, strict=True):
                layer.set_parameters(*pair)
        except (TypeError, ValueError):
            for layer, pair in zip(self.trainable_layers, before, strict=True):
                layer.set_parameters(*pair)
            raise

    def save_parameters(self, path: PathLike) -> None:
        """Write the parameters to a safetensors file, whatever its suffix."""
        files.save_parameters(self.get_parameters(), path)

    def load_parameters(self, path: PathLike) -> None:
        """Read the parameters from a file of `save_parameters`, or on an error none of them."""
        self.set_parameters(files.load_parameters(path))

    def save(self, path: PathLike) -> None:
        """Write the model to a safetensors file, whatever its suffix.

        The file has the layers, parameters, loss, accuracy, and the optimizer with its averages, so
        that training can go on. It has no inputs or outputs of layers, and no pickle.

        Raises
        ------
        TypeError
            If the model has an object of your own class, which a file cannot hold.
        """
        self._check_set("save")
        files.save_model(self, path)

    @staticmethod
    def load(path: PathLike) -> Model:
        """Return the finalized model in a file of `save`.

        Raises
        ------
        FileNotFoundError, FileFormatError
            If there is no such file, or if it is not a file of `save`.
        """
        model = Model()
        files.load_model(model, path)
        return model

    def __getstate__(self) -> dict[str, Any]:
        made_by_finalize = (
            "input_layer", "output_layer_activation", "softmax_classifier_output", "network",
        )  # fmt: skip
        return {**vars(self), **dict.fromkeys(made_by_finalize), "trainable_layers": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state.get("_final"):
            self.finalize()

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in getattr(self, "layers", ()))
        return f"{type(self).__name__}([\n{layers}])"


def _as_pairs(parameters: Iterable[Any], count: int) -> list[Any]:
    try:
        pairs = [tuple(pair) for pair in parameters]
    except TypeError:
        raise TypeError(
            f"parameters is {parameters!r:.60}, expected a list of (weights, biases)"
        ) from None
    if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"parameters has {len(pairs)} entries, expected {count} pairs (weights, biases)"
        )
    return pairs


def _check_methods(value: Any, name: str, methods: Iterable[str], example: str) -> None:
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if isinstance(value, type) or missing:
        method = f", with the method {missing[0]}" if missing else ""
        raise TypeError(f"{name} is {value!r}, expected an object such as {example}{method}")
