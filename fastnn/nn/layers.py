"""Layers: thin classes that check arrays and pass them to kernels.

`forward(inputs, training=False)` returns its result and keeps it in `output`. `backward(dvalues)`
takes the gradient of the loss with respect to the output. It returns the gradient with respect to
the inputs, and keeps it in `dinputs`. Neither writes to its argument.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..foreign import Pointed
from ..settings import Setting, known, non_negative, shown
from ..types import DType, Floats, Init, MaybeNone, Rows, Seed, Shape
from ..validation import (
    as_array,
    as_count,
    as_dtype,
    as_flag,
    as_generator,
    as_gradient,
    as_matrix,
    as_rows,
    unlocked,
)
from .initializers import as_init, make_weights
from .runs import RunGradients, Runs


class Layer:
    """Base class of fastnn's layers, for `isinstance` and annotations.

    A layer has `forward(inputs, training=False)` and `backward(dvalues)`. A layer of your own needs
    no base class: a :class:`Sequential` takes any object with these two methods.

    Attributes
    ----------
    inputs, output : ndarray of shape (B, I), (B, O), or None
        The argument and the result of the last `forward`.
    dinputs : ndarray of shape (B, I), or None
        The result of the last `backward`.
    stored : tuple of str
        The names of the attributes with the learned arrays.
    n_parameters : int
        The number of its parameters.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0), fastnn.ReLU()])
    >>> [isinstance(layer, fastnn.Layer) for layer in model.layers]
    [True, True]
    """

    inputs: Floats | MaybeNone = None
    output: Floats | MaybeNone = None
    dinputs: Floats | MaybeNone = None
    stored: tuple[str, ...] = ()
    n_parameters: int = 0
    _of_passes: tuple[str, ...] = "inputs", "output", "dinputs", "_dweights", "_dbiases"
    _exposed = False  # whether a script may hold a view of an array, and so change it
    _nested: tuple[str, ...] = ()  # arguments that are lists in a file
    _network: Callable[[], Any]

    if TYPE_CHECKING:  # each layer has its own

        def forward(self, inputs: ArrayLike, training: bool = False) -> Floats: ...
        def backward(self, dvalues: ArrayLike) -> Floats: ...

    @classmethod
    def stored_shapes(cls, arguments: Mapping[str, Any]) -> dict[str, Shape]:
        """Return {name: shape} of the learned arrays, for a dict of all (unchecked) arguments."""
        return {name: (1, as_count(arguments["n_features"], "n_features")) for name in cls.stored}

    def pass_array(self, name: str, **expected: Any) -> Floats:
        """Return an attribute that `forward` set, checked again: a script may have replaced it."""
        value = getattr(self, name)
        if value is None:
            raise RuntimeError(f"{type(self).__name__}.backward was called before forward")
        return as_rows(value, name, **expected)

    def forget_passes(self) -> None:
        """Delete the arrays of the last forward and backward pass."""
        for name in self._of_passes:
            vars(self).pop(name, None)

    def _take_note(self) -> None:
        """Tell the network that a setting of this layer has changed its predictions."""
        network = getattr(self, "_network", lambda: None)()
        if network is not None:
            network.note_layout()

    def _show(self, name: str) -> Any:
        """Return a view of the private array `_name`, or None where there is none yet."""
        array = getattr(self, f"_{name}")
        if array is None:
            return None
        self._exposed = True
        return shown(vars(self).setdefault("_shown", {}), name, array)

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a pickle: of a model's layer without those of its passes."""
        # The unpickled layer does not belong to the network.
        left_out = {"_network", "_shown"}
        if getattr(self, "_network", lambda: None)() is not None:
            left_out.update(self._of_passes)
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __copy__(self) -> Self:
        reduced: Any = self.__reduce_ex__(4)
        make, arguments, *state = reduced
        twin: Self = make(*arguments)
        if hasattr(twin, "__setstate__"):
            twin.__setstate__(*state[:1])
        else:
            vars(twin).update(*state[:1])
        # Unlike a pickle, a copy has the arrays of the last passes.
        vars(twin).update((k, vars(self)[k]) for k in self._of_passes if k in vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        memo[id(self)] = twin  # attributes may refer to the layer
        vars(twin).update(copy.deepcopy(vars(twin), memo))
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ParameterLayer(Pointed, Layer):
    """Base class of layers with weights and biases.

    The arrays may be parts of a model's flat buffers: assignment copies values into them. Kernels
    get private arrays, and the public attributes are views of these. So a script can change values
    in place, but not the shape or the dtype that a kernel relies on.
    """

    stored: tuple[str, ...] = "weights", "biases"
    use_bias: bool = True
    trainable = Setting(as_flag)  # whether training changes the parameters
    _penalty_part = 1.0  # the factor of the penalties in a step; see `share_penalties`
    _dweights: Floats | MaybeNone = None
    _dbiases: Floats | MaybeNone = None
    _weights: Rows
    _biases: Rows

    @property
    def penalties(self) -> tuple[float, float, float, float]:
        """The factors of the four penalties."""
        return 0.0, 0.0, 0.0, 0.0

    @property
    def widths(self) -> tuple[int, int]:
        """The number of input features, and of outputs."""
        return self._weights.shape

    @property
    def n_parameters(self) -> int:  # type: ignore[override]  # read-only here
        """The number of weights and biases."""
        return self._weights.size + self._biases.size

    @property
    def dtype(self) -> DType:
        """The dtype of the parameters and of all results."""
        return self._weights.dtype

    @property
    def weights(self) -> Floats:
        """The weights (I, O)."""
        weights: Floats = self._show("weights")
        return weights

    @weights.setter
    def weights(self, value: ArrayLike) -> None:
        self._assign("weights", value)

    @property
    def biases(self) -> Floats:
        """The biases (1, O)."""
        biases: Floats = self._show("biases")
        return biases

    @biases.setter
    def biases(self, value: ArrayLike) -> None:
        self._assign("biases", value)

    @property
    def dweights(self) -> Floats | MaybeNone:
        """The gradient (I, O) of the weights, or None before the first `backward`."""
        return self._show("dweights")

    @dweights.setter
    def dweights(self, value: ArrayLike) -> None:
        self._prepare_gradients()
        self._assign("dweights", value)

    @property
    def dbiases(self) -> Floats | MaybeNone:
        """The gradient (1, O) of the biases, or None before the first `backward`."""
        return self._show("dbiases")

    @dbiases.setter
    def dbiases(self, value: ArrayLike) -> None:
        self._prepare_gradients()
        self._assign("dbiases", value)

    def share_penalties(self, part: float) -> None:
        """Multiply the penalties by `part`, for an optimizer that divides them by the batch."""
        self._penalty_part = part

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write those of the parameters for each run of rows.

        The rest is as in `backward`, but without the slopes of penalties: they belong to no run.
        """
        raise NotImplementedError

    def _prepare_gradients(self) -> None:
        slopes = self._dweights  # of another size if a script has called `__init__` again
        expected = self._weights.shape, self._weights.dtype
        if slopes is None or (slopes.shape, slopes.dtype) != expected:
            self._dweights = np.full_like(self._weights, 0)
            self._dbiases = np.full_like(self._biases, 0)

    def _assign(self, name: str, value: ArrayLike) -> None:
        parameter = getattr(self, f"_{name}")
        array = as_array(value, name)
        if array.shape != parameter.shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {parameter.shape}")
        parameter[...] = as_matrix(array, name, parameter.dtype)
        self._exposed = True


def arrays_of(layer: ParameterLayer) -> tuple[Rows, Rows]:
    """Return the private weights and biases: a subclass may replace the public attributes."""
    return layer._weights, layer._biases


class Dense(ParameterLayer):
    """Fully connected layer: output = inputs @ weights + biases.

    Parameters
    ----------
    n_inputs, n_neurons : int
        I and O, the number of input features and of outputs.
    dtype : float32 or float64
        Of the parameters and of all results.
    rng : None, int or numpy.random.Generator
        Draws the initial weights; an int gives the same weights every time.
    init : str or callable
        The initial weights; the biases start at 0. Normal with the variance 2 / I ("he"),
        2 / (I + O) ("glorot") or 1 / I ("lecun"), uniform with these variances ("he_uniform",
        ...), "zeros", or a callable of (rng, (I, O)) such as `scaled_normal(0.01)`.
    weights_l1, weights_l2, biases_l1, biases_l2 : float
        At least 0. `fit` adds l1 * sum(|p|) + l2 * sum(p**2) to the loss, and `backward` its
        slope to the gradients while the layer is trainable.
    use_bias : bool
        False: the biases are zeros and stay so.
    trainable : bool
        False: `fit` leaves the parameters as they are.

    Attributes
    ----------
    weights : ndarray of shape (I, O)
    biases : ndarray of shape (1, O)
        The parameters. Assignment copies values into the existing array, which may be a part of a
        model's flat buffer. The same holds for the gradients.
    inputs, output : ndarray of shape (B, I), (B, O)
        Of the last `forward`.
    dweights, dbiases, dinputs : ndarray of shape (I, O), (1, O), (B, I)
        Gradients from the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        For sizes below 1, another dtype, an unknown `init`; in `forward` for inputs that are not
        (B, I) finite numbers; in `backward` for `dvalues` unlike the output.
    RuntimeError
        In `backward` before `forward`.

    Examples
    --------
    >>> layer = fastnn.Dense(3, 2, rng=0)
    >>> layer.forward([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    >>> layer.backward([[1.0, -1.0]]).shape
    (1, 3)
    >>> layer.dweights
    array([[ 1., -1.],
           [ 2., -2.],
           [ 3., -3.]], dtype=float32)
    """

    weights_l1, weights_l2 = Setting(non_negative), Setting(non_negative)
    biases_l1, biases_l2 = Setting(non_negative), Setting(non_negative)
    use_bias, init = Setting(as_flag), Setting(as_init)

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        *,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: Init = "he",
        weights_l1: float = 0.0,
        weights_l2: float = 0.0,
        biases_l1: float = 0.0,
        biases_l2: float = 0.0,
        use_bias: bool = True,
        trainable: bool = True,
    ) -> None:
        shape = as_count(n_inputs, "n_inputs"), as_count(n_neurons, "n_neurons")
        dtype = as_dtype(dtype)
        self.weights_l1, self.weights_l2 = weights_l1, weights_l2
        self.biases_l1, self.biases_l2 = biases_l1, biases_l2
        self.use_bias, self.trainable, self.init = use_bias, trainable, init
        self._weights = make_weights(init, as_generator(rng), shape, dtype)
        self._biases = np.full((1, self.n_neurons), 0, dtype)

    @classmethod
    def stored_shapes(cls, arguments: Mapping[str, Any]) -> dict[str, Shape]:
        """Return {name: shape} of the parameters for a dict of all arguments."""
        n_inputs, n_neurons = (as_count(arguments[n], n) for n in ("n_inputs", "n_neurons"))
        return {"weights": (n_inputs, n_neurons), "biases": (1, n_neurons)}

    def reset_parameters(self, rng: Seed = None) -> None:
        """Draw new weights as `init` says, and set the biases to 0."""
        self._weights[...] = make_weights(
            self.init, as_generator(rng), self._weights.shape, self.dtype
        )
        self._biases[...] = 0
        self._exposed = True

    @property
    def penalties(self) -> tuple[float, float, float, float]:
        """The factors of the four penalties."""
        return self.weights_l1, self.weights_l2, self.biases_l1, self.biases_l2

    @property
    def n_inputs(self) -> int:
        """I, the number of input features."""
        return self._weights.shape[0]

    @property
    def n_neurons(self) -> int:
        """O, the number of outputs."""
        return self._weights.shape[1]

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return inputs (B, I) @ weights + biases, of shape (B, O)."""
        n_inputs, n_neurons = self._weights.shape  # a subclass may replace the properties
        inputs = as_rows(inputs, "inputs", n_features=n_inputs, dtype=self._weights.dtype)
        output = np.empty((len(inputs), n_neurons), self._weights.dtype)
        kernels.dense_forward(output, unlocked(inputs), self._weights, self._biases)
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, I); keep those of the parameters."""
        inputs, dvalues = self._as_passes(dvalues)
        self._prepare_gradients()
        dinputs = np.empty_like(inputs)
        kernels.dense_backward(
            dinputs,
            self._dweights,
            self._dbiases,
            unlocked(dvalues),
            unlocked(inputs),
            self._weights,
        )
        if self.trainable and any(self.penalties):
            self._add_slopes()
        self.dinputs = dinputs
        return dinputs

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write those of the parameters for each run of rows."""
        inputs, dvalues = self._as_passes(dvalues)
        dinputs = np.empty_like(inputs)
        for rows, dweights, dbiases in gradients:
            kernels.dense_backward(
                dinputs[rows], dweights, dbiases, unlocked(dvalues)[rows], unlocked(inputs)[rows],
                self._weights,
            )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def _as_passes(self, dvalues: ArrayLike) -> tuple[Floats, Floats]:
        """Return the inputs of the last `forward`, and `dvalues` checked."""
        (n_inputs, n_neurons), dtype = self._weights.shape, self._weights.dtype
        inputs = self.pass_array("inputs", n_features=n_inputs, dtype=dtype)
        return inputs, as_gradient(dvalues, "dvalues", (len(inputs), n_neurons), dtype)

    def _add_slopes(self) -> None:
        """Add the slopes of the penalties to the gradients."""
        for values, slopes, l1, l2 in (
            (self._weights, self._dweights, self.weights_l1, self.weights_l2),
            (self._biases, self._dbiases, self.biases_l1, self.biases_l2),
        ):
            l1, l2 = l1 * self._penalty_part, l2 * self._penalty_part
            slopes += l1 * self._sign(values) + 2 * l2 * values

    @staticmethod
    def _sign(values: Floats) -> Floats:
        return np.sign(values)

    def __repr__(self) -> str:
        usual = {"use_bias": True, "trainable": True, "init": "he"}
        usual |= dict.fromkeys(("weights_l1", "weights_l2", "biases_l1", "biases_l2"), 0)
        special = "".join(
            f", {name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if known(self, name, value) != value
        )
        sizes, names = "{}, {}, dtype={}", ("n_inputs", "n_neurons", "dtype")
        sizes = sizes.format(*(known(self, name) for name in names))
        return f"{type(self).__name__}({sizes}{special})"


class ReLU(Layer):
    """Rectified linear unit: output = max(inputs, 0).

    The gradient passes where an input is above 0. Input is (B, I), float32 or float64; other
    numbers become one of the two. Errors as in :class:`Dense`.

    Examples
    --------
    >>> relu = fastnn.ReLU()
    >>> relu.forward([[-1.0, 2.0]])
    array([[0., 2.]])
    >>> relu.backward([[5.0, 5.0]])
    array([[0., 5.]])
    """

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return max(inputs (B, I), 0)."""
        inputs = as_rows(inputs, "inputs")
        output = np.empty_like(inputs)
        kernels.relu_forward(output, unlocked(inputs))
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, I) where the inputs were above 0, else 0."""
        inputs = self.pass_array("inputs")
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        dinputs = np.empty_like(inputs)
        kernels.relu_backward(dinputs, unlocked(dvalues), unlocked(inputs))
        self.dinputs = dinputs
        return dinputs


class Softmax(Layer):
    """Probabilities from logits: exp(inputs), normalized to sum to 1 over each row.

    Row maxima are subtracted first, so large logits do not overflow. Input is (B, C), float32 or
    float64; other numbers become one of the two. Errors as in :class:`Dense`.

    Examples
    --------
    >>> fastnn.Softmax().forward([[0.0, 0.0], [0.0, 1000.0]])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the probabilities (B, C)."""
        inputs = as_rows(inputs, "inputs")
        output = np.empty_like(inputs)
        kernels.softmax_forward(output, unlocked(inputs))
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return output * (dvalues - sum(dvalues * output)), the sum over each row."""
        output = self.pass_array("output")
        dvalues = as_gradient(dvalues, "dvalues", output.shape, output.dtype)
        dinputs = np.empty_like(output)
        kernels.softmax_backward(dinputs, unlocked(dvalues), unlocked(output))
        self.dinputs = dinputs
        return dinputs
