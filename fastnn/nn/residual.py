"""Residual blocks: the outputs of some layers are added to their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import ArrayLike

from ..types import Floats, MaybeNone, OwnLayer
from ..validation import as_gradient, as_rows
from .layer import Layer, ParameterLayer
from .passes import run_backward, run_forward


class Branch(Layer):
    """The begin of a residual block: passes its inputs on, and keeps them for its :class:`Add`.

    A :class:`Residual` makes both.

    Attributes
    ----------
    inputs : ndarray of shape (B, D)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, D)
        The result of the last `forward`; None before the first.
    dinputs : ndarray of shape (B, D)
        The result of the last `backward`; None before the first.
    skipped : ndarray of shape (B, D), or None
        The gradient that the last `backward` of its Add was given.

    Raises
    ------
    TypeError, ValueError
        For inputs that are not (B, D) finite numbers, and for `dvalues` unlike these.
    RuntimeError
        In `backward` before `forward`, and before `backward` of its Add.

    Examples
    --------
    >>> block = fastnn.Residual([fastnn.ReLU()])
    >>> block.layers
    (Branch(), ReLU(), Add())
    """

    skipped: Floats | MaybeNone = None
    _of_passes = *Layer._of_passes, "skipped"

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return the inputs (B, D), in a copy."""
        self.inputs = as_rows(inputs, "inputs")
        self.output = self.inputs.copy()
        return self.output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, D) plus the gradient that the Add was given."""
        inputs = self.pass_array("inputs")
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        if self.skipped is None:
            raise RuntimeError("Branch.backward was called before backward of its Add")
        skipped = as_gradient(self.skipped, "skipped", inputs.shape, inputs.dtype)
        self.dinputs = dvalues + skipped
        return self.dinputs

    def note_gradient(self, skipped: Floats) -> None:
        """Keep the gradient (B, D) that the Add of this branch was given."""
        self.skipped = skipped


class Add(Layer):
    """The end of a residual block: adds the inputs of its :class:`Branch` to its own.

    A :class:`Residual` makes both, and a model connects them: the last Branch in front of an Add
    that has none yet.

    Attributes
    ----------
    inputs : ndarray of shape (B, D)
        The argument of the last `forward`; None before the first.
    output : ndarray of shape (B, D)
        The result of the last `forward`; None before the first.
    dinputs : ndarray of shape (B, D)
        The result of the last `backward`; None before the first.

    Raises
    ------
    TypeError, ValueError
        For inputs of another shape than those of the Branch, or that are not finite.
    RuntimeError
        Without a Branch, and where `forward` of the Branch was not called before.

    Examples
    --------
    >>> model = fastnn.Sequential([fastnn.Residual([fastnn.Dense(2, 2, init="zeros")])])
    >>> model.forward(np.array([[1.0, 2.0]], np.float32))
    array([[1., 2.]], dtype=float32)
    >>> model.layers[-1]
    Add()
    """

    _branch: Branch | None = None

    def connect(self, branch: Branch) -> None:
        """Take the values to add from a branch."""
        self._branch = branch

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return inputs (B, D) + those of the branch."""
        branch = self._connected("forward")
        skipped = branch.pass_array("output")
        self.inputs = as_rows(inputs, "inputs", dtype=skipped.dtype)
        self.output = add(self.inputs, skipped)
        return self.output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return `dvalues` (B, D), in a copy; the branch adds them to its gradient."""
        inputs = self.pass_array("inputs")
        dvalues = as_gradient(dvalues, "dvalues", inputs.shape, inputs.dtype)
        self._connected("backward").note_gradient(dvalues.copy())
        self.dinputs = dvalues.copy()
        return self.dinputs

    def _connected(self, method: str) -> Branch:
        if self._branch is None:
            raise RuntimeError(f"Add.{method} was called without a Branch: expected a Residual")
        return self._branch


def add(inputs: Floats, skipped: Floats) -> Floats:
    """Return the sum of the inputs of an :class:`Add` and of what its branch keeps, (B, D)."""
    if inputs.shape != skipped.shape:
        raise ValueError(
            f"inputs has shape {inputs.shape}, expected {skipped.shape}, as at the Branch: "
            "the layers of a Residual have as many outputs as inputs"
        )
    return inputs + skipped


class Residual:
    """Layers whose outputs are added to their inputs: output = inputs + layers(inputs).

    A skip connection, as in He and others, "Deep Residual Learning for Image Recognition" (2015).
    The gradient reaches the layers in front of it unchanged, so deep networks train. In a
    :class:`Sequential` the layers stand one by one in `model.layers`, between a :class:`Branch`
    and an :class:`Add`; the whole is compiled. A Residual may contain others.

    Parameters
    ----------
    layers : list
        With as many outputs as inputs.

    Attributes
    ----------
    layers : tuple
        The Branch, the given layers, and the Add.

    Raises
    ------
    TypeError, ValueError
        For what are no layers, for none, and for other widths at the end than at the beginning.

    Examples
    --------
    A block of a ResNet for tables, between a first and a last layer:

    >>> block = fastnn.Residual([
    ...     fastnn.LayerNorm(32), fastnn.Dense(32, 64, rng=1), fastnn.ReLU(),
    ...     fastnn.Dense(64, 32, rng=2),
    ... ])
    >>> layers = [fastnn.Dense(8, 32, rng=0), block, fastnn.ReLU(), fastnn.Dense(32, 3, rng=3)]
    >>> model = fastnn.Sequential(layers)
    >>> [type(layer).__name__ for layer in model.layers[1:4]]
    ['Branch', 'LayerNorm', 'Dense']

    Alone it is a layer with the same two methods:

    >>> rows = np.ones((1, 2), np.float32)
    >>> fastnn.Residual([fastnn.Dense(2, 2, init="zeros")]).forward(rows)
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, layers: Iterable[Layer | OwnLayer | Residual]) -> None:
        try:
            inside = tuple(flatten(layers))
        except TypeError:
            raise TypeError(f"layers is {layers!r:.80}, expected a list of layers") from None
        if not inside:
            raise ValueError("layers is empty, expected at least one layer")
        self.layers: tuple[Any, ...] = (Branch(), *inside, Add())
        connect(self.layers)

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return inputs (B, D) + layers(inputs)."""
        output: Floats = run_forward(self.layers, inputs, training)
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, D); the layers keep theirs."""
        dinputs: Floats = run_backward(self.layers, dvalues)
        return dinputs

    def __repr__(self) -> str:
        layers = getattr(self, "layers", ())  # a subclass may not have called `__init__` yet
        return f"{type(self).__name__}({list(layers[1:-1])!r})"


def flatten(layers: Iterable[Any]) -> Iterator[Any]:
    """Yield the layers of a list, those of each Residual one by one."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from layer.layers
        else:
            yield layer


def connect(layers: tuple[Any, ...]) -> None:
    """Connect each Add with its Branch.

    Raises
    ------
    ValueError
        For an end of a skip connection without the other one, and for layers between them that have
        not as many outputs as inputs.
    """
    branches: list[tuple[int, Branch]] = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Branch):
            branches.append((i, layer))
        elif isinstance(layer, Add):
            if not branches:
                raise ValueError(f"layers[{i}] is an Add without a Branch before it")
            first, branch = branches.pop()
            inside = layers[first + 1 : i]
            n_inputs, n_outputs = _first_width(inside), _last_width(inside)
            if None not in (n_inputs, n_outputs) and n_inputs != n_outputs:
                raise ValueError(
                    f"layers[{first}] to layers[{i}], a Residual, takes {n_inputs} inputs and has "
                    f"{n_outputs} outputs, expected as many: it adds them"
                )
            layer.connect(branch)
    if branches:
        raise ValueError(f"layers[{branches[-1][0]}] is a Branch without an Add behind it")


def _first_width(layers: tuple[Any, ...]) -> int | None:
    """Return the inputs of some layers; None where they do not say."""
    for layer in layers:
        if isinstance(layer, ParameterLayer):
            return layer.widths[0]
        if not isinstance(layer, Layer):
            return None
    return None


def _last_width(layers: tuple[Any, ...]) -> int | None:
    """Return the outputs of some layers; None where they do not say."""
    for layer in reversed(layers):
        if isinstance(layer, ParameterLayer):
            return int(layer.widths[1])
        if not isinstance(layer, Layer):
            return None
    return None
