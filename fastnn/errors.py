"""Errors and warnings of fastnn's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

from .types import PathLike


class SlowTrainingWarning(UserWarning):
    """A network trains layer by layer, because something in it cannot be compiled."""


class MissingClassWarning(UserWarning):
    """`validation_split` leaves a class in one part only, as where rows are sorted by class."""


class PreparedInputsWarning(UserWarning):
    """A model of `fastnn train` takes prepared inputs, not the columns of a table.

    `fastnn train` standardizes numbers, makes a feature of each category, and standardizes the
    target of a regression. The `notes` of the model say how. The model does not do it itself.

    Examples
    --------
    >>> import warnings
    >>> model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0)])
    >>> notes = {"preprocessing": [], "target": {"task": "classification"}}  # of `fastnn train`
    >>> model.save("pets.safetensors", notes=notes)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = fastnn.load("pets.safetensors")
    >>> print(str(caught[0].message)[:45])
    pets.safetensors is a model of `fastnn train`
    """


def warn_of_prepared_inputs(notes: Mapping[str, Any], what: str, level: int) -> None:
    """Warn, `level` calls up the stack, where notes are those of a model of the command line."""
    target = notes.get("target")
    if not isinstance(target, dict) or "preprocessing" not in notes:
        return
    units = ", and gives the standardized target" * (target.get("task") == "regression")
    warnings.warn(
        f"{what} is a model of `fastnn train`: it takes inputs that are prepared as its "
        f"notes['preprocessing'] says, not the columns of a table{units}. `fastnn.tables.load` "
        "and `fastnn predict` take raw rows, and `fastnn export` writes a model that takes them",
        PreparedInputsWarning,
        stacklevel=level,
    )


class FileFormatError(ValueError):
    """A file is not what fastnn writes, or not whole.

    Attributes
    ----------
    path : pathlib.Path
    problem : str
        What is wrong with it.
    """

    def __init__(self, path: PathLike, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path} {problem}")

    def __reduce__(self) -> tuple[type[Self], tuple[PathLike, str]]:
        return type(self), (self.path, self.problem)
