"""Types for the signatures of several modules."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""Of any dtype."""

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
"""Of float32 or float64."""

Rows: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
"""(B, I) of float32 or float64: samples."""

Integers: TypeAlias = npt.NDArray[np.int64]

Flags: TypeAlias = npt.NDArray[np.bool_]

Records: TypeAlias = npt.NDArray[np.void]
"""Of one of the structured dtypes of `kernels/records.py`."""

DType: TypeAlias = np.dtype[np.floating[Any]]
"""float32 or float64, as a dtype object."""

MaybeNone: TypeAlias = Any
"""In `Floats | MaybeNone`: None until the method that makes it has run, an array after that.

It is Any, so that a caller of the method need not check for None.
"""

PathLike: TypeAlias = str | os.PathLike[str]

Seed: TypeAlias = int | np.integer[Any] | np.random.Generator | None
"""A whole number gives the same results each time; None gives other results each time."""

Rate: TypeAlias = float | Callable[[int], float]
"""A learning rate, or a function of the step, counted from 0."""

Init: TypeAlias = str | Callable[[np.random.Generator, tuple[int, int]], npt.ArrayLike]
"""How weights are initialized: a name, or a function of (rng, (I, O))."""

Categories: TypeAlias = Mapping[int, int | tuple[int, int]] | Sequence[tuple[int, int, int]]
"""Of columns: their number of categories, or a pair of that and a dimension; or triples."""

Scaling: TypeAlias = tuple[float, float]
"""(scale, offset): a network takes inputs * scale + offset."""

Shape: TypeAlias = tuple[int, ...]

Task: TypeAlias = Literal["classes", "answers", "numbers"]
"""What a network predicts: one of several classes, yes or no for each output, or numbers."""

Shuffle: TypeAlias = bool | Callable[[int], npt.ArrayLike]
"""Whether samples are shuffled, or a function of N that gives their order."""

Batch: TypeAlias = (
    tuple[npt.ArrayLike, npt.ArrayLike] | tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None]
)
"""(X, y) or (X, y, sample_weight)."""


class EpochBatches(Protocol):
    """Batches that are others in each epoch, and may begin within one."""

    def of_epoch(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """Return the batches of an epoch, from 1, without `first` of them."""

    def describe(self) -> dict[str, Any]:
        """Return what has to be the same in a resumed run, as JSON can hold it."""


BatchSource: TypeAlias = Iterable[Batch] | Callable[[], Iterable[Batch]] | EpochBatches
"""Batches of one epoch after the other, or a function that returns those of an epoch."""

Precision: TypeAlias = Literal["highest", "high", "medium"]
"""How exact products of matrices are; `fastnn.set_precision` describes the three."""

Steps: TypeAlias = list[tuple[int, Any]]
"""(operation of the compiled program, layer), in the order of the network."""

Snapshot: TypeAlias = tuple[Floats, list[tuple[Floats, Floats]]]
"""All that a network has learned: its buffer, and the parameters of a user's own layers."""

StateSnapshot: TypeAlias = tuple[int, Floats]
"""The steps that an optimizer has taken on an array, and its averages (S, P)."""


class OwnLayer(Protocol):
    """A layer of a user's own class. It returns its results, or stores them as attributes."""

    def forward(self, inputs: Any, /) -> Any: ...
    def backward(self, dvalues: Any, /) -> Any: ...
