"""The Model of networks from scratch, trained by the compiled program."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import SlowTrainingWarning
from ..model import program_of
from ..nn.network import call_backward, call_forward
from ..program.threads import resolve_threads, with_team
from ..run.data import as_data
from ..run.errors import NonFiniteLossError
from ..run.history import History
from ..run.rollback import DivergedError, undo_if_diverged
from ..types import Floats, PathLike
from ..validation import as_anything, as_array, as_count, as_rows
from . import files
from .layers import Activation_Softmax, Layer_Input
from .loops import Found, HandLoop, ProgramLoop, find_obstacle, make_network
from .losses import Activation_Softmax_Loss_CategoricalCrossentropy, Loss_CategoricalCrossentropy
from .optimizers import KINDS


class Model:
    """Layers in a row with a loss, an optimizer and an accuracy.

    `train` runs in the compiled program where all of them are fastnn's. With a class of a user's
    own among them it takes the layers' passes one by one, which is slower.

    Attributes
    ----------
    layers, trainable_layers : list
        All, and after `finalize` those with weights.
    input_layer, output_layer_activation : layer
        After `finalize`: what stands before the first layer, and the last layer, whose
        `predictions` says what its outputs mean.
    loss, optimizer, accuracy
        As `set`, or None.
    softmax_classifier_output : Activation_Softmax_Loss_CategoricalCrossentropy or None
        Goes back through softmax and loss at once, where the model ends in them.
    network : Sequential or None
        The same layers as a network of fastnn's, after `finalize`.
    history : History
        The curves of the last `train`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        For bad arguments, before anything changes, and for what is called too early.

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
        self._made_of: tuple[Any, ...] = ()

    def add(self, layer: Any) -> None:
        """Add a layer behind the others."""
        _check_methods(layer, "layer", ("forward", "backward"), "Layer_Dense(2, 64)")
        if any(layer is other for other in self.layers):
            raise ValueError("layer is in the model already, expected another one")
        self.layers.append(layer)
        self._final = False

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set those of the three that are given."""
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
        """Connect the layers: to be called when all are there."""
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
        self.network = None  # before there is another one: a layer belongs to one network
        self.network, self._final = make_network(self), True
        self._made_of = self._parts()

    def _parts(self) -> tuple[Any, ...]:
        """Return what the network was made of, and a script may change."""
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
        """Train on samples `X` and targets `y`, in their order, and print how it goes.

        A line for every `print_every`-th step of an epoch and for its last one, with the figures
        of that step, and lines for the whole epoch and for the validation after it.

        Parameters
        ----------
        X : array-like of shape (N, I)
        y : array-like of shape (N,) or (N, O)
            As the loss and the accuracy take them.
        epochs : int
        batch_size : int, optional
            By default all samples at once. The last batch may be short.
        print_every : int
        validation_data : (X, y), optional

        Raises
        ------
        TypeError, ValueError
            For bad arguments, before training starts.
        NonFiniteLossError
            When training diverges; the model is as the last good epoch left it.
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
        self.history, epoch = History(), 0

        def run(loop: Any) -> None:
            nonlocal epoch
            may_run_ahead = validation_data is None
            while epoch < epochs:
                count = min(loop.steps_at_once // n_steps, epochs - epoch)
                if may_run_ahead and count > 1:
                    may_run_ahead = self._run_ahead(loop, epoch, count, shown)
                    epoch += count if may_run_ahead else 0
                    continue
                epoch += 1
                curves = self._run_epoch(loop, epoch, shown)
                if validation_data is not None:
                    held_out = self._evaluate(X_val, y_val, batch_size)
                    curves |= {f"val_{name}": value for name, value in held_out.items()}
                self.history.append(epoch, curves)

        self._run_in_loop(run, data, batch_size)

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
        """Return checked samples and targets: a Data for the program, else a pair."""
        if find_obstacle(self) is not None:
            inputs, targets = as_rows(X, name, allow_empty=False), as_array(y, y_name)
            if targets.ndim == 0 or len(targets) != len(inputs):
                raise ValueError(
                    f"{y_name} has shape {targets.shape}, expected {len(inputs)} targets"
                )
            return inputs, targets
        return as_data(program_of(self.network), X, y, None, (name, y_name))

    def _run_epoch(self, loop: Any, epoch: int, shown: Any) -> dict[str, float]:
        """Take the steps of an epoch, print those to be shown, and return its curves."""
        self._begin_epoch(epoch)
        stops = [step + 1 for step in shown]
        if loop.steps_at_once >= stops[-1]:
            stops = stops[-1:]
        before = self._snapshot()

        def take() -> Found:
            done = 0
            loop.begin()
            try:
                for stop in stops:
                    found = loop.run(done, stop)
                    self._report(loop, found, done, shown)
                    done += len(found)
                    if done < stop:
                        raise DivergedError(done + 1)
                loop.end()
            except BaseException:  # such as Ctrl-C, which may have broken off `end` too
                loop.end()
                raise
            last: Found = found[-1]
            return last

        try:
            last = undo_if_diverged(take, self._is_finite, lambda: self._restore(before))
        except DivergedError as error:
            batch = stops[-1] if error.batch is None else error.batch
            raise NonFiniteLossError(
                epoch, batch, self.history, at_end=error.batch is None
            ) from None
        return self._end_epoch(self.loss.regularization_loss(), last.rate)

    def _run_ahead(self, loop: Any, epoch: int, count: int, shown: Any) -> bool:
        """Take several short epochs in one compiled call; then print.

        Return whether that was done: where one diverges all are undone, to be taken one by one.
        """
        n_steps = shown[-1] + 1
        before, drawn = self._snapshot(), np.random.get_state()  # noqa: NPY002

        def take() -> list[Found]:
            loop.begin()
            try:
                found: list[Found] = loop.run(0, count * n_steps)
                loop.end()
            except BaseException:  # such as Ctrl-C, which may have broken off `end` too
                loop.end()
                raise
            if len(found) < count * n_steps:
                raise DivergedError(len(found) + 1)
            return found

        def restore() -> None:
            self._restore(before)
            np.random.set_state(drawn)  # noqa: NPY002

        try:
            found = undo_if_diverged(take, self._is_finite, restore)
        except DivergedError:
            return False
        # The penalty after an epoch is the one that the next step meets.
        penalties = [step.penalty for step in found[n_steps::n_steps]]
        penalties.append(self.loss.regularization_loss())
        for i, penalty in enumerate(penalties):
            steps = found[i * n_steps : (i + 1) * n_steps]
            self._begin_epoch(epoch + i + 1)
            self._report(loop, steps, 0, shown)
            self.history.append(epoch + i + 1, self._end_epoch(penalty, steps[-1].rate))
        return True

    def _begin_epoch(self, epoch: int) -> None:
        print(f"epoch: {epoch}")
        self.loss.new_pass()
        self.accuracy.new_pass()

    def _report(self, loop: Any, found: list[Found], first: int, shown: Any) -> None:
        """Account for some steps, of which the first has the number `first`, and print them."""
        for step in found:
            loop.account(step)
        for step in shown:
            if first <= step < first + len(found):
                accuracy, data_loss, penalty, rate, _ = found[step - first]
                _show(f"step: {step}", accuracy, data_loss, penalty, rate)

    def _end_epoch(self, penalty: float, rate: float | None) -> dict[str, float]:
        """Print the figures of an epoch, and return its curves."""
        accuracy, loss = self.accuracy.calculate_accumulated(), self.loss.calculate_accumulated()
        _show("training", accuracy, loss, penalty, rate)
        curves = {"loss": loss + penalty, "accuracy": accuracy, "penalty": penalty}
        return {name: float(value) for name, value in curves.items()}

    def _is_finite(self) -> bool:
        arrays = [array for layer in self.trainable_layers for array in _arrays_of(layer)]
        return all(np.isfinite(array).all() for array in arrays)

    def _snapshot(self) -> Any:
        """Return copies of all that a step changes."""
        arrays = [
            (layer, name, getattr(layer, name).copy())
            for layer in self.trainable_layers
            for name in _trained_names(layer)
        ]
        names = "iterations", "current_learning_rate"
        return arrays, {name: getattr(self.optimizer, name, None) for name in names}

    def _restore(self, snapshot: Any) -> None:
        arrays, counted = snapshot
        for layer in self.trainable_layers:
            for name in _trained_names(layer):
                if not any(layer is owner and name == kept for owner, kept, _ in arrays):
                    delattr(layer, name)  # an average that began in the bad epoch
        for layer, name, values in arrays:
            getattr(layer, name)[...] = values
        vars(self.optimizer).update(counted)

    # ------------------------------------------------------------------ answers

    def evaluate(
        self, X_val: ArrayLike, y_val: ArrayLike, *, batch_size: int | None = None
    ) -> None:
        """Print accuracy and loss, without penalties, on samples `X_val` and targets `y_val`."""
        self._check_set("evaluate", "loss", "accuracy")
        self._evaluate(X_val, y_val, batch_size)

    def _evaluate(self, X_val: ArrayLike, y_val: ArrayLike, batch_size: int | None) -> Any:
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

        `batch_size`: how many are converted, and go through layers of a user's own, at a time.
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
        """Return the output of the last layer, after the passes of all layers, one by one."""
        values = self.input_layer.forward(X, training)
        for layer in self.layers:
            values = call_forward(layer, values, training)
        return values

    def backward(self, output: Any, y: Any) -> None:
        """Take the gradient of the loss at `output` back through all layers, one by one."""
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
        if self._parts() != self._made_of:
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
        """Copy [(weights, biases), ...] into the trainable layers; all, or on an error none."""
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
        """Write the parameters to a safetensors file, whatever its name ends with."""
        files.save_parameters(self.get_parameters(), path)

    def load_parameters(self, path: PathLike) -> None:
        """Read the parameters from a file of `save_parameters`, or on an error none."""
        self.set_parameters(files.load_parameters(path))

    def save(self, path: PathLike) -> None:
        """Write the model to a safetensors file, whatever its name ends with.

        Layers, parameters, loss, accuracy and optimizer with its averages, so that training goes
        on where it was; nothing of the last passes. No pickle.

        Raises
        ------
        TypeError
            Where the model has a class of a user's own, which no file can hold.
        """
        self._check_set("save")
        files.save_model(self, path)

    @staticmethod
    def load(path: PathLike) -> Model:
        """Return the finalized model in a file of `save`.

        Raises
        ------
        FileNotFoundError, FileFormatError
            Where there is no such file, or something else in it.
        """
        model: Model = files.load_model(Model(), path)
        return model

    def __getstate__(self) -> dict[str, Any]:
        gone = "input_layer", "output_layer_activation", "softmax_classifier_output", "network"
        return {**vars(self), **dict.fromkeys(gone), "trainable_layers": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state.get("_final"):
            self.finalize()

    def __repr__(self) -> str:
        layers = "".join(f"    {layer!r},\n" for layer in getattr(self, "layers", ()))
        return f"{type(self).__name__}([\n{layers}])"


def _show(
    place: str, accuracy: float, data_loss: float, penalty: float, rate: float | None
) -> None:
    print(
        f"{place}, acc: {accuracy:.3f}, loss: {data_loss + penalty:.3f} "
        f"(data_loss: {data_loss:.3f}, reg_loss: {penalty:.3f}), lr: {rate}"
    )


def _arrays_of(layer: Any) -> tuple[Floats, Floats]:
    return layer.weights, layer.biases


def _trained_names(layer: Any) -> list[str]:
    """Return the names of a layer's parameters and of their averages."""
    names = [name for name, _ in KINDS]
    names += [beginning + end for _, beginning in KINDS for end in ("momentums", "cache")]
    return [name for name in names if getattr(layer, name, None) is not None]


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
        wanted = f", with the method {missing[0]}" if missing else ""
        raise TypeError(f"{name} is {value!r}, expected an object such as {example}{wanted}")
