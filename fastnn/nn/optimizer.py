"""What all optimizers share: settings, a state for each array, steps that are taken or not.

Each optimizer keeps its state for every array that it has updated, such as the flat buffer of a
model. So to fit a model again with the same optimizer goes on where it was.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import kernels
from ..kernels.catalogue import Rule, n_states_of
from ..kernels.records import STEP
from ..settings import Setting, non_negative, optional_positive, shown
from ..types import Array, DType, Floats, Integers, Rate, Records
from ..validation import (
    DTYPES,
    as_array,
    as_index,
    as_matrix,
    as_positive,
    is_nothing,
    unlocked,
)
from .own import overrides


def length_of(gradients: Iterable[Floats]) -> float:
    """Return the length of all gradients together: inf only above the largest float64."""
    length, unit = _measure(gradients)
    return length / unit


def _measure(gradients: Iterable[Floats]) -> tuple[float, float]:
    """Return (length of the gradients times unit, unit): a unit below 1 where squares overflow."""
    gradients, unit = list(gradients), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        squares = sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients)
        if squares == math.inf:
            unit = 2.0**-540
            wide = (np.multiply(g, unit, dtype=np.float64) for g in gradients)
            squares = sum(float(np.square(g).sum()) for g in wide)
    return math.sqrt(squares), unit


class State:
    """What an optimizer keeps of one array of parameters: steps taken, and averages (S, P)."""

    def __init__(self, parameters: Floats, n_states: int) -> None:
        self.iterations = 0
        self._arrays = np.full((n_states, parameters.size), 0, parameters.dtype)

    @property
    def arrays(self) -> Floats:
        """The averages (S, P), a view. Assigning copies values."""
        return shown(vars(self), "_shown", self._arrays)

    @arrays.setter
    def arrays(self, value: ArrayLike) -> None:
        array = as_array(value, "arrays")
        if array.shape != self._arrays.shape:
            raise ValueError(f"arrays has shape {array.shape}, expected {self._arrays.shape}")
        self._arrays[...] = as_matrix(array, "arrays", self._arrays.dtype)

    def snapshot(self) -> tuple[int, Floats]:
        """Return what `restore` needs to come back to this moment."""
        return self.iterations, self._arrays.copy()

    def restore(self, snapshot: tuple[int, Floats]) -> None:
        """Come back to the moment of a snapshot."""
        self.iterations, self._arrays[...] = snapshot


def _as_rate(value: Rate, name: str) -> Rate:
    return value if callable(value) else as_positive(value, name)


def _n_states(optimizer: Optimizer) -> int:
    """Return how many averages the rule of an optimizer has: kernels count on it."""
    return n_states_of(as_index(optimizer.rule, "rule", max(Rule) + 1))


_Place: TypeAlias = tuple[int, int, int]


def _place_of(parameters: Floats) -> tuple[Floats, _Place]:
    """Return the array that owns the memory of `parameters`, and what tells the place in it.

    Views come and go; what an optimizer keeps belongs to the numbers.
    """
    owner: Any = parameters
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    address = parameters.__array_interface__["data"][0]
    return owner, (id(owner), address, parameters.nbytes)


def as_steps(numbers: Floats, count: int) -> Records:
    """Return what `Optimizer.numbers` gave for `count` steps as an array (count,) of STEP.

    Raises
    ------
    ValueError
        Where an optimizer of the user's own gave something else.
    """
    rows, shape = np.array(numbers, order="C"), (count, len(STEP.names))
    if rows.shape != shape or rows.dtype != np.float64:
        raise ValueError(
            f"optimizer.numbers gave {rows.dtype} of shape {rows.shape}, "
            f"expected float64 of {shape}"
        )
    steps: Records = rows.view(STEP)[:, 0]
    return steps


class _Step(NamedTuple):
    """A step of one array, checked."""

    parameters: Floats
    ready: Floats  # the parameters, or a copy as a kernel takes them
    state: State
    iterations: int  # the state's, after the step
    arguments: tuple[Any, ...]  # of the kernel


def _apply(steps: list[_Step], applied: list[Any]) -> None:
    """Take all steps; `applied` gets an item for each that has been taken."""
    try:
        # Built-in functions call the kernel for all arrays. Python handles no signals in between.
        calls = [step.arguments for step in steps]
        applied.extend(itertools.starmap(kernels.optimizer_update, calls))
        _finish(steps)
    except BaseException:
        _finish(steps[: len(applied)])
        raise


def _finish(steps: list[_Step]) -> None:
    """Do what is left when the kernel has been called. It may be done twice."""
    for parameters, ready, state, iterations, _ in steps:
        state.iterations = iterations
        if ready is not parameters:
            parameters[...] = ready


class Optimizer:
    """Base of optimizers: what `isinstance` asks, and what annotations say.

    Parameters
    ----------
    learning_rate : float or callable
        Above 0; a callable gives the rate of each step, counted from 0.
    weight_decay : float
        weight_decay * parameters is added to the gradients.
    clip_norm : float, optional
        Gradients longer than this, over all parameters, are scaled to this length.
    clip_value : float, optional
        No element of the gradient is larger, or smaller than its negative.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> isinstance(fastnn.Adam(), fastnn.Optimizer)
    True
    """

    rule = Rule.DESCENT
    per_sample = False  # whether penalties are divided by the weight of the batch
    learning_rate: Setting[Any] = Setting(_as_rate)
    weight_decay = Setting(non_negative)
    clip_norm, clip_value = Setting(optional_positive), Setting(optional_positive)

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float,
        clip_norm: float | None,
        clip_value: float | None,
    ) -> None:
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._states: dict[_Place, tuple[weakref.ref[Array], State]] = {}

    @property
    def n_states(self) -> int:
        """How many averages each parameter has."""
        return _n_states(self)

    @property
    def is_plain(self) -> bool:
        """Whether a step is parameters - rate * gradients and nothing else."""
        clips = self.clip_norm is not None or self.clip_value is not None
        return self.rule == Rule.DESCENT and not clips and not self.weight_decay

    def state_of(self, parameters: Floats) -> State:
        """Return the :class:`State` kept of the array `parameters`: zeros at first."""
        owner, key = _place_of(parameters)
        entry = self._states.get(key)
        # A rule that a script has changed may need other averages.
        n_states = _n_states(self)
        shape = n_states, parameters.size
        fits = entry is not None and entry[1]._arrays.shape == shape
        if entry is None or not fits or entry[0]() is not owner:
            states = self._states
            reference = weakref.ref(owner, lambda _: states.pop(key, None))
            entry = self._states[key] = reference, State(parameters, n_states)
        return entry[1]

    def rates(self, first: int, count: int, dtype: DType) -> Floats:
        """Return the learning rates of the steps [first, first + count), checked for `dtype`."""
        if not callable(self.learning_rate):
            return np.full(count, self.rate_for(dtype), np.float64)
        rates = np.empty(count)
        limit = float(np.finfo(dtype).max)
        for i in range(count):
            try:
                rate = self.learning_rate(first + i)
            except OverflowError:
                rate = math.inf
            if not isinstance(rate, int | float | np.number) or not 0 <= rate <= limit:
                raise ValueError(
                    f"learning_rate({first + i}) is {rate!r}, expected a number from 0 to {limit}"
                )
            rates[i] = rate
        return rates

    def rate_for(self, dtype: DType) -> np.floating[Any]:
        """Return the learning rate as a `dtype` number; ValueError where it has none for it."""
        limits = np.finfo(dtype)
        value: Any = self.learning_rate  # a script may have set it
        rate = as_positive(value, "learning_rate")
        if not float(limits.tiny) <= rate <= float(limits.max):
            raise ValueError(
                f"learning_rate is {rate}, "
                f"expected {limits.tiny} to {limits.max}, the range of {dtype}"
            )
        return dtype.type(rate)

    def numbers(self, first: int, count: int, dtype: DType) -> Floats:
        """Return what the kernels need to know for the steps [first, first + count).

        (count, 10) of float64: a column for each field of STEP in `kernels/records.py`.
        """
        rows = np.full((count, len(STEP.names)), 0.0)
        steps = rows.view(STEP)[:, 0]
        steps["learning_rate"] = self.rates(first, count, dtype)
        steps["correction"] = steps["shrink"] = 1
        steps["decay"] = self.weight_decay
        steps["clip"] = math.inf if self.clip_value is None else self.clip_value
        steps["clip_norm"] = math.inf if self.clip_norm is None else self.clip_norm
        self._fill(steps, first + 1 + np.arange(count))
        return rows

    def _fill(self, steps: Records, numbers: Integers) -> None:
        """Add what is the optimizer's own; `numbers` (count,) of the steps begin with 1."""

    def forget(self, parameters: Floats) -> None:
        """Start anew with the array `parameters`."""
        self._states.pop(_place_of(parameters)[1], None)

    def update(
        self, parameters: Floats, gradients: ArrayLike, *, length: float | None = None
    ) -> None:
        """Take one step for two arrays of one shape, float32 or float64; `parameters` changes.

        A state is kept for each array: views of the same numbers share it. `length`: of the whole
        gradient, for `clip_norm`, where these are only a part.

        Raises
        ------
        TypeError, ValueError
            For other arrays, and for a learning rate out of the dtype's range.
        """
        _apply([self._prepare(parameters, gradients, length)], [])

    def update_all(
        self, pairs: Sequence[tuple[Floats, Floats]], applied: list[Any], **options: Any
    ) -> None:
        """Take one step for several (parameters, gradients), with the options of `update`.

        Where an exception of a signal handler strikes, such as Ctrl-C, it takes none or all.
        `applied`, an empty list, has an item for each array that has changed.
        """
        if not overrides(self, Optimizer, "update"):
            _apply([self._prepare(*pair, **options) for pair in pairs], applied)
            return
        for parameters, gradients in pairs:
            self.update(parameters, gradients, **options)
            applied.append(None)

    def _prepare(
        self, parameters: Floats, gradients: ArrayLike, length: float | None = None
    ) -> _Step:
        """Check the arguments of `update`, and return the step to take."""
        if not isinstance(parameters, np.ndarray) or parameters.dtype not in DTYPES:
            kind = getattr(parameters, "dtype", type(parameters).__name__)
            raise TypeError(f"parameters is {kind}, expected an array of float32 or float64")
        gradients, state = as_array(gradients, "gradients"), self.state_of(parameters)
        # Objects of its own: no script can give them another shape.
        parameters = np.asarray(parameters).view()
        if gradients.shape != parameters.shape or gradients.dtype != parameters.dtype:
            raise ValueError(
                f"gradients is {gradients.dtype} of shape {gradients.shape}, "
                f"expected {parameters.dtype} of shape {parameters.shape}, as parameters"
            )
        if not parameters.flags.writeable:
            raise ValueError("parameters is read-only, expected an array that can be updated")
        ready = np.require(parameters, requirements=["C_CONTIGUOUS", "ALIGNED"])
        if state._arrays.shape != (_n_states(self), ready.size):
            raise ValueError("parameters had another shape a moment ago, expected it to stay")
        step = as_steps(self.numbers(state.iterations, 1, parameters.dtype), 1)
        slopes = np.require(gradients, requirements=["C_CONTIGUOUS", "ALIGNED"])
        scale = 1.0
        if self.clip_norm is not None:
            size, unit = _measure([slopes]) if length is None else (length, 1.0)
            scale = min(1.0, self.clip_norm / (size + 1e-6 * unit) * unit)
        arguments = (
            ready.reshape(-1), state._arrays, unlocked(slopes).reshape(-1), self.rule, step,
            scale, 0.0, 0.0,
        )  # fmt: skip
        return _Step(parameters, ready, state, state.iterations + 1, arguments)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_states": {}}  # a copy has met no parameters yet

    def _arguments(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value!r}"
            for name, value in self._arguments().items()
            if name == "learning_rate" or not is_nothing(value)
        )
        return f"{type(self).__name__}({arguments})"
