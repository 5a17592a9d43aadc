"""Attributes of layers, losses, optimizers and schedules that stay as checked."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from .types import Array
from .validation import as_number, as_positive

T = TypeVar("T")


class Setting(Generic[T]):
    """An attribute that is checked whenever it is assigned, by a constructor or by a script.

    Parameters
    ----------
    check : callable
        `check(value, name)` returns the value to store, or raises TypeError or ValueError.
    predicts : bool
        Predictions depend on the value: the object's method `_take_note`, if it has one, is called
        after a change.
    lasts : bool
        The value cannot be changed.

    Notes
    -----
    Where the object has a method `_check_together`, it is called before each assignment with a
    dict of all attributes as they would be.

    The value is stored in the instance under the same name. There is no `__get__`, so reading it
    costs as little as reading any attribute.
    """

    def __init__(
        self, check: Callable[[Any, str], T], *, predicts: bool = False, lasts: bool = False
    ) -> None:
        self.check, self.predicts, self.lasts = check, predicts, lasts

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type[Any]) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type[Any]) -> T: ...
        def __get__(self, instance: object | None, owner: type[Any]) -> Self | T: ...

    def __set__(self, instance: object, value: T) -> None:
        checked, attributes = self.check(value, self.name), vars(instance)
        together = getattr(instance, "_check_together", None)
        if together is not None:
            together({**attributes, self.name: checked})
        changes = self.name in attributes and attributes[self.name] != checked
        if changes and self.lasts:
            raise AttributeError(
                f"{self.name} cannot be assigned, expected it to stay {attributes[self.name]!r}: "
                f"make another {type(instance).__name__}"
            )
        attributes[self.name] = checked
        if changes and self.predicts:
            take_note = getattr(instance, "_take_note", None)
            if take_note is not None:
                take_note()


def settings_of(instance: object) -> dict[str, Any]:
    """Return {name: value} of the attributes of an object that are Settings of its class."""
    classes = reversed(type(instance).__mro__)
    names = (name for each in classes for name, value in vars(each).items() if _is_setting(value))
    return {name: vars(instance)[name] for name in names if name in vars(instance)}


def _is_setting(value: object) -> bool:
    return isinstance(value, Setting)


def known(instance: object, name: str, unknown: Any = "?") -> Any:
    """Return an attribute for a repr, or `unknown` where no constructor has set it."""
    value = getattr(instance, name, unknown)
    return unknown if isinstance(value, Setting) else value


class Guarded:
    """Base of classes whose attributes named in `_fixed` belong to the class, not to an instance.

    These attributes choose the kernels, and the layout of a network depends on them.
    """

    _fixed: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed:
            raise AttributeError(
                f"{name} of {type(self).__name__} cannot be assigned, "
                f"expected it to stay {getattr(self, name)!r}"
            )
        super().__setattr__(name, value)


def non_negative(value: float, name: str) -> float:
    """Return `value`, a finite number of at least 0."""
    return as_number(value, name, 0)


def fraction(value: float, name: str) -> float:
    """Return `value`, a number of at least 0 and below 1."""
    return as_number(value, name, 0, 1)


def small_epsilon(value: float, name: str) -> float:
    """Return `value`, a number above 0 and below 0.5: probabilities are clipped by so much."""
    epsilon = as_positive(value, name)
    if epsilon >= 0.5:
        raise ValueError(f"{name} is {epsilon}, expected a number below 0.5")
    return epsilon


def optional_positive(value: float | None, name: str) -> float | None:
    """Return `value`, None or a finite number above 0."""
    return None if value is None else as_positive(value, name)


def shown(memory: MutableMapping[str, Any], name: str, array: Array) -> Array:
    """Return a view of a private array for users: the same one each time, kept in `memory`.

    Kernels get the private array. A script may give the view another shape or dtype in place; then
    the next call returns a new view.
    """
    last = memory.get(name)
    if last is not None and last[0] is array:
        view: Array = last[1]
        root = array if array.base is None else array.base
        same = view.shape == array.shape and view.dtype is array.dtype
        if same and view.strides == array.strides and view.base is root:
            return view
    view = array.view()
    memory[name] = array, view
    return view
