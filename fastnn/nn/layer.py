"""The base classes of layers: what they have in common, with and without parameters.

`forward(inputs, training=False)` returns its result and keeps it in `output`. `backward(dvalues)`
takes the gradient of the loss with respect to the output. It returns the gradient with respect to
the inputs, and keeps it in `dinputs`. Neither writes to its argument.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..foreign import Pointed
from ..settings import Setting, shown
from ..types import DType, Floats, MaybeNone, Rows, Shape
from ..validation import (
    as_array,
    as_count,
    as_flag,
    as_matrix,
    as_rows,
)
from .runs import RunGradients, Runs


class Layer:
    """Base class of fastnn's layers, for `isinstance` and annotations.

    A layer has `forward(inputs, training=False)` and `backward(dvalues)`. A layer of your own needs
    no base class: a :class:`Sequential` takes any object with these two methods.

    Attributes
    ----------
    inputs : ndarray of shape (B, I), or None
        The argument of the last `forward`.
    output : ndarray of shape (B, O), or None
        The result of the last `forward`.
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
    spared: tuple[str, ...] = ("biases",)  # by weight decay, if an optimizer spares biases
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
