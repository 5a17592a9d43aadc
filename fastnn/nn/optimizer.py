"""The base class of optimizers: settings, a state for each array, and steps.

An optimizer keeps a state for every array that it has updated, such as the flat buffer of a model.
So a second `fit` of a model with the same optimizer continues the first.
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
from ..foreign import Pointed
from ..kernels.catalogue import Rule, n_states_of
from ..kernels.records import STEP
from ..settings import Setting, non_negative, optional_positive, shown
from ..types import Array, DType, Flags, Floats, Integers, Rate, Records
from ..validation import (
    DTYPES,
    as_array,
    as_flag,
    as_index,
    as_matrix,
    as_positive,
    is_nothing,
    unlocked,
)
from .own import overrides


def length_of(gradients: Iterable[Floats]) -> float:
    """Return the norm of all gradients together. It is inf only above the largest float64."""
    length, unit = _measure(gradients)
    return length / unit


def _measure(gradients: Iterable[Floats]) -> tuple[float, float]:
    """Return (norm of the gradients * unit, unit). The unit is below 1 if the squares overflow."""
    gradients, unit = list(gradients), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        squares = sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients)
        if squares == math.inf:
            unit = 2.0**-540
            wide = (np.multiply(g, unit, dtype=np.float64) for g in gradients)
            squares = sum(float(np.square(g).sum()) for g in wide)
    return math.sqrt(squares), unit


class State:
    """The state of an optimizer for one array: its number of steps, and averages (S, P)."""

    def __init__(self, parameters: Floats, n_states: int) -> None:
        self.iterations = 0
        self._arrays = np.full((n_states, parameters.size), 0, parameters.dtype)

    @property
    def arrays(self) -> Floats:
        """The averages (S, P), a view. Assignment copies values."""
        return shown(vars(self), "_shown", self._arrays)

    @arrays.setter
    def arrays(self, value: ArrayLike) -> None:
        array = as_array(value, "arrays")
        if array.shape != self._arrays.shape:
            raise ValueError(f"arrays has shape {array.shape}, expected {self._arrays.shape}")
        self._arrays[...] = as_matrix(array, "arrays", self._arrays.dtype)

    def begin_average(self, parameters: Floats) -> None:
        """Add the average of the parameters as a last row, which begins with their values."""
        self._arrays = np.concatenate([self._arrays, parameters.reshape(1, -1)])

    def end_average(self) -> None:
        """Remove the last row."""
        self._arrays = self._arrays[:-1].copy()

    def snapshot(self) -> tuple[int, Floats]:
        """Return a copy of the state, for `restore`."""
        return self.iterations, self._arrays.copy()

    def restore(self, snapshot: tuple[int, Floats]) -> None:
        """Restore what `snapshot` returned."""
        self.iterations, self._arrays[...] = snapshot

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_shown"}


def _as_rate(value: Rate, name: str) -> Rate:
    return value if callable(value) else as_positive(value, name)


def _n_states(optimizer: Optimizer) -> int:
    """Return how many averages the rule of an optimizer has. Kernels rely on this number."""
    n_states = n_states_of(as_index(optimizer.rule, "rule", max(Rule) + 1))
    return n_states + optimizer.is_averaging


_Place: TypeAlias = tuple[int, int, int]


def _place_of(parameters: Floats) -> tuple[Floats, _Place]:
    """Return the array that owns the memory of `parameters`, and a key for the place in it.

    Different views of the same memory have the same key, so that they share a state.
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
    """A checked step for one array, or for those of its elements that weight decay spares."""

    parameters: Floats
    kernel_array: Floats  # the parameters, or a contiguous copy that the kernel updates
    state: State
    iterations: int  # of the state, after the step
    arguments: tuple[Any, ...]  # of the kernel
    spared: Flags | None = None  # which elements they are; None: the step is for all

    def store(self) -> None:
        """Count the step, and copy the kernel's results to their arrays."""
        self.state.iterations = self.iterations
        if self.spared is not None:
            self.parameters[self.spared] = self.kernel_array
            self.state._arrays[:, self.spared.reshape(-1)] = self.arguments[1]
        elif self.kernel_array is not self.parameters:
            self.parameters[...] = self.kernel_array


def _apply(steps: list[_Step], applied: list[Any]) -> None:
    """Take all steps; append an item to `applied` for each."""
    try:
        # Built-in functions call the kernel for all arrays. Python handles no signals in between.
        calls = [step.arguments for step in steps]
        applied.extend(itertools.starmap(kernels.optimizer_update, calls))
        _store_results(steps)
    except BaseException:
        _store_results(steps[: len(applied)])
        raise


def _store_results(steps: list[_Step]) -> None:
    """Count the steps that the kernel has taken, and copy its results. Safe to call twice."""
    for step in steps:
        step.store()


def _as_mask(biases: ArrayLike | bool, parameters: Floats) -> Flags:
    """Return which elements of `parameters` are biases, as an array of bool of their shape."""
    mask = np.asarray(biases)
    if mask.dtype != np.bool_ or mask.shape not in ((), parameters.shape):
        raise ValueError(
            f"biases is {mask.dtype} of shape {mask.shape}, expected True, False or a bool for "
            f"each element of parameters, of shape {parameters.shape}"
        )
    return np.broadcast_to(mask, parameters.shape)


def _spare(whole: _Step, gradients: Floats, mask: Flags) -> list[_Step]:
    """Return the step of the elements in `mask`, without weight decay; nothing if there are none.

    It is taken on copies of them, whose results then replace those of the step for all.
    """
    if not mask.any():
        return []
    state, (_, _, _, rule, step, *factors) = whole.state, whole.arguments
    step = step.copy()
    step["decay"], step["shrink"] = 0, 1
    values, states = whole.parameters[mask], state._arrays[:, mask.reshape(-1)]
    arguments = values, np.ascontiguousarray(states), gradients[mask], rule, step, *factors
    return [whole._replace(kernel_array=values, arguments=arguments, spared=mask)]


class Optimizer(Pointed):
    """Base class of optimizers, for `isinstance` and annotations.

    Parameters
    ----------
    learning_rate : float or callable
        Above 0; a callable takes the index of a step, from 0, and returns its rate.
    weight_decay : float
        weight_decay * parameters is added to the gradients.
    clip_norm : float, optional
        The largest norm of the gradients of all parameters: larger ones are scaled down to it.
    clip_value : float, optional
        Each element of the gradient is clipped to [-clip_value, clip_value].
    spare_biases : bool
        Whether weight decay leaves out biases, and the weights of :class:`LayerNorm` and
        :class:`BatchNorm`.

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
    spare_biases = Setting(as_flag)
    _average_decay: float | None = None

    def __init__(
        self,
        learning_rate: Rate,
        weight_decay: float,
        clip_norm: float | None,
        clip_value: float | None,
        spare_biases: bool = False,
    ) -> None:
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.spare_biases = spare_biases
        self._states: dict[_Place, tuple[weakref.ref[Array], State]] = {}

    @property
    def n_states(self) -> int:
        """How many averages each parameter has."""
        return _n_states(self)

    def begin_averages(self, decay: float) -> None:
        """Keep an average of each parameter from now on, as the last of its states.

        After step s, from 0, average = d * average + (1 - d) * parameter, where d is the smaller of
        `decay` and (1 + s) / (10 + s).
        """
        self._average_decay = decay

    @property
    def is_averaging(self) -> bool:
        """Whether the last state of each parameter is its average over the steps."""
        return self._average_decay is not None

    def end_averages(self) -> None:
        """Drop the averages that `begin_averages` began."""
        self._average_decay = None
        for _, state in list(self._states.values()):
            if len(state._arrays) > _n_states(self):
                state.end_average()

    @property
    def is_plain(self) -> bool:
        """Whether a step is parameters - rate * gradients and nothing else."""
        clips = self.clip_norm is not None or self.clip_value is not None
        others = clips or self.weight_decay or self.is_averaging
        return self.rule == Rule.DESCENT and not others

    @property
    def decays_in_part(self) -> bool:
        """Whether weight decay leaves out some of the parameters: a step has to know which."""
        return self.spare_biases and bool(self.weight_decay)

    def state_of(self, parameters: Floats) -> State:
        """Return the :class:`State` of the array `parameters`; a new one begins with zeros."""
        owner, key = _place_of(parameters)
        entry = self._states.get(key)
        # A script may have changed the rule to one with other averages.
        shape = _n_states(self), parameters.size
        if entry is not None and entry[0]() is owner:
            state = entry[1]
            if self.is_averaging and state._arrays.shape == (shape[0] - 1, shape[1]):
                state.begin_average(parameters)
            if state._arrays.shape == shape:
                return state
        states = self._states
        reference = weakref.ref(owner, lambda _: states.pop(key, None))
        state = State(parameters, shape[0] - self.is_averaging)
        if self.is_averaging:
            state.begin_average(parameters)
        states[key] = reference, state
        return state

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
        """Return the learning rate in `dtype`; raise ValueError if it is out of range."""
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
        """Return the coefficients of the steps [first, first + count) for the kernels.

        The array has the shape (count, 12) and float64: a column for each field of STEP in
        `kernels/records.py`.
        """
        rows = np.full((count, len(STEP.names)), 0.0)
        steps = rows.view(STEP)[:, 0]
        steps["learning_rate"] = self.rates(first, count, dtype)
        steps["correction"] = steps["shrink"] = 1
        steps["decay"], steps["spares_biases"] = self.weight_decay, self.spare_biases
        steps["clip"] = math.inf if self.clip_value is None else self.clip_value
        steps["clip_norm"] = math.inf if self.clip_norm is None else self.clip_norm
        self._fill(steps, first + 1 + np.arange(count))
        if self._average_decay is not None:
            step = first + np.arange(count)
            steps["average"] = 1 - np.minimum(self._average_decay, (1 + step) / (10 + step))
        return rows

    def _fill(self, steps: Records, numbers: Integers) -> None:
        """Fill in the coefficients of a subclass; `numbers` (count,) of the steps begin with 1."""

    def forget(self, parameters: Floats) -> None:
        """Delete the state of the array `parameters`."""
        self._states.pop(_place_of(parameters)[1], None)

    def take_over(self, trained: Optimizer) -> None:
        """Take over the settings of a copy that has trained: callbacks and schedules change them.

        Each keeps its own state for arrays.
        """
        settings = {name: value for name, value in vars(trained).items() if name != "_states"}
        schedule = self.learning_rate
        if callable(schedule) and callable(rate := settings["learning_rate"]):
            del settings["learning_rate"]  # a script may use the schedule
            if hasattr(schedule, "restore") and hasattr(rate, "state"):
                schedule.restore(rate.state())
        vars(self).update(settings)

    def update(
        self,
        parameters: Floats,
        gradients: ArrayLike,
        *,
        length: float | None = None,
        biases: ArrayLike | bool | None = None,
    ) -> None:
        """Take one step: update `parameters` in place with `gradients` of the same shape and dtype.

        Each array has a state of its own, and views of the same memory share it. If `gradients` are
        only a part of the gradient, `length` is the norm of the whole, for `clip_norm`. With
        `spare_biases`, `biases` says which parameters weight decay leaves out: an array of bool of
        their shape, such as `model.bias_mask`, or True or False for all.

        Raises
        ------
        TypeError, ValueError
            For other arrays, for a learning rate out of the dtype's range, and where `biases` is
            missing.
        """
        _apply(self._prepare(parameters, gradients, length, biases), [])

    def update_all(
        self,
        pairs: Sequence[tuple[Floats, Floats]],
        applied: list[Any],
        masks: Sequence[ArrayLike | bool] | None = None,
        **options: Any,
    ) -> None:
        """Take one step for several (parameters, gradients), with the options of `update`.

        If a signal handler raises, such as with Ctrl-C, either no step is taken or all are.
        `applied`, an empty list, gets an item for each array that has changed. `masks` has the
        `biases` of each pair.
        """
        each = [options] * len(pairs)
        if masks is not None:
            each = [{**options, "biases": mask} for mask in masks]
        if not overrides(self, Optimizer, "update"):
            steps = [self._prepare(*pair, **own) for pair, own in zip(pairs, each, strict=True)]
            _apply([*itertools.chain(*steps)], applied)
            return
        for pair, own in zip(pairs, each, strict=True):
            self.update(*pair, **own)
            applied.append(None)

    def _prepare(
        self,
        parameters: Floats,
        gradients: ArrayLike,
        length: float | None = None,
        biases: ArrayLike | bool | None = None,
    ) -> list[_Step]:
        """Check the arguments of `update`, and return the step to take.

        Where weight decay spares some elements, a second one for those follows.
        """
        if not isinstance(parameters, np.ndarray) or parameters.dtype not in DTYPES:
            kind = getattr(parameters, "dtype", type(parameters).__name__)
            raise TypeError(f"parameters is {kind}, expected an array of float32 or float64")
        gradients, state = as_array(gradients, "gradients"), self.state_of(parameters)
        # A new view: a script cannot change its shape.
        parameters = np.asarray(parameters).view()
        if gradients.shape != parameters.shape or gradients.dtype != parameters.dtype:
            raise ValueError(
                f"gradients is {gradients.dtype} of shape {gradients.shape}, "
                f"expected {parameters.dtype} of shape {parameters.shape}, as parameters"
            )
        if not parameters.flags.writeable:
            raise ValueError("parameters is read-only, expected an array that can be updated")
        kernel_array = np.require(parameters, requirements=["C_CONTIGUOUS", "ALIGNED"])
        if state._arrays.shape != (_n_states(self), kernel_array.size):
            raise ValueError("parameters had another shape a moment ago, expected it to stay")
        mask = None if biases is None else _as_mask(biases, parameters)
        step = as_steps(self.numbers(state.iterations, 1, parameters.dtype), 1)
        slopes = np.require(gradients, requirements=["C_CONTIGUOUS", "ALIGNED"])
        scale = 1.0
        if self.clip_norm is not None:
            size, unit = _measure([slopes]) if length is None else (length, 1.0)
            scale = min(1.0, self.clip_norm / (size + 1e-6 * unit) * unit)
        arguments = (
            kernel_array.reshape(-1), state._arrays, unlocked(slopes).reshape(-1), self.rule,
            step, scale, 0.0, 0.0,
        )  # fmt: skip
        whole = _Step(parameters, kernel_array, state, state.iterations + 1, arguments)
        if not self.decays_in_part:
            return [whole]
        if mask is None:
            raise ValueError(
                "biases is None, expected which of the parameters are biases beside "
                "spare_biases=True, such as model.bias_mask"
            )
        return [whole, *_spare(whole, slopes, mask)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"spare_biases": False, **state})  # of an early version

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_states": {}}  # a copy has no states

    def _arguments(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name[0] != "_"}

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value!r}"
            for name, value in self._arguments().items()
            if name == "learning_rate" or not is_nothing(value)
        )
        return f"{type(self).__name__}({arguments})"
