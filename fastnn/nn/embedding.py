"""Embeddings: a row of learned numbers for each category of a column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import kernels
from ..kernels.records import COLUMN
from ..settings import Setting, known, non_negative
from ..types import Categories, DType, Floats, Init, Records, Seed, Shape
from ..validation import (
    as_count,
    as_dtype,
    as_generator,
    as_gradient,
    as_index,
    as_rows,
    check_codes,
    unlocked,
)
from .initializers import as_init, make_weights, scaled_normal
from .layer import ParameterLayer
from .runs import RunGradients, Runs

_SMALL = scaled_normal(0.05)


class Table(NamedTuple):
    """A column of categories, and the size of its table."""

    column: int
    n_categories: int
    dimension: int


def embedding_dimension(n_categories: int) -> int:
    """Return the default dimension of a table: 1.6 * n_categories ** 0.56, at most 600.

    The rule of fastai (`emb_sz_rule`), which was found by trying.

    Examples
    --------
    >>> [fastnn.embedding_dimension(n) for n in (2, 10, 100, 1000, 100_000)]
    [2, 6, 21, 77, 600]
    """
    count = as_count(n_categories, "n_categories")
    return min(600, round(1.6 * math.pow(count, 0.56)))


class Embedding(ParameterLayer):
    """Replace the codes of categories by rows of learned tables: the first layer of a network.

    The inputs are rows (B, I) of a table of data. A column of categories has codes, whole numbers
    from 0 to n - 1, and becomes `dimension` columns: the row of its table (n, dimension) at the
    code. All other columns have numbers, and pass through. The order of the columns stays.

    The outputs are those of a dense layer without biases on one-hot columns, and so are the
    gradients, but nothing of size n is multiplied. It helps with columns of many categories. Guo
    and Berkhahn, "Entity Embeddings of Categorical Variables" (2016).

    Parameters
    ----------
    n_inputs : int
        I, the number of columns.
    columns : dict of int to int or (int, int)
        For each column of categories its number of categories, or a pair of that and the
        dimension, which is that of :func:`embedding_dimension` by default. Categories number at
        most 2**24 in float32, which has no larger whole numbers without gaps.
    dtype : float32 or float64
        Of the parameters and of all results.
    rng : None, int or numpy.random.Generator
        Draws the initial tables, in the order of the columns.
    init : callable or str
        The initial tables, as for :class:`Dense`, of (rng, (n, dimension)). By default normal with
        the standard deviation 0.05.
    weights_l1 : float
        At least 0. The penalty of all tables, as for :class:`Dense`.
    weights_l2 : float
        Likewise, of squares.
    trainable : bool
        False: `fit` leaves the tables as they are.

    Attributes
    ----------
    columns : dict of int to (int, int)
        As given, with all dimensions. Not to be changed.
    tables : dict of int to ndarray of shape (n, dimension)
        The table of each column, as a view of `weights`.
    weights : ndarray of shape (1, W)
        All tables, one after the other, by rows.
    biases : ndarray of shape (1, 0)
        None: the layer has no biases.
    n_inputs : int
        I.
    n_outputs : int
        O, the columns of the outputs.
    inputs : ndarray of shape (B, I)
        Of the last `forward`.
    output : ndarray of shape (B, O)
        Of the last `forward`.
    dweights : ndarray of shape (1, W)
        From the last `backward`; None before the first.
    dinputs : ndarray of shape (B, I)
        From the last `backward`: 0 for columns of categories.

    Raises
    ------
    TypeError, ValueError
        For columns that are not in [0, I), and for sizes below 1; in `forward` and in all methods
        of a model for a code that is no whole number from 0 to n - 1; and for one that is not the
        first layer of a model.
    RuntimeError
        In `backward` before `forward`.

    Examples
    --------
    Column 1 has 3 categories, each of which becomes 2 numbers:

    >>> layer = fastnn.Embedding(3, {1: (3, 2)}, rng=0)
    >>> layer.tables[1][...] = [[10, 11], [20, 21], [30, 31]]
    >>> layer.forward([[0.5, 2, -1.0], [0.25, 0, -2.0]])
    array([[ 0.5 , 30.  , 31.  , -1.  ],
           [ 0.25, 10.  , 11.  , -2.  ]], dtype=float32)

    A model of four columns of numbers and two of categories:

    >>> first = fastnn.Embedding(6, {2: 1000, 4: 50}, rng=0)
    >>> first
    Embedding(6, {2: (1000, 77), 4: (50, 14)}, dtype=float32)
    >>> layers = [first, fastnn.Dense(first.n_outputs, 32, rng=1), fastnn.ReLU()]
    >>> model = fastnn.Sequential([*layers, fastnn.Dense(32, 2, rng=2)])
    """

    use_bias = False
    weights_l1, weights_l2 = Setting(non_negative), Setting(non_negative)
    init = Setting(as_init)
    _nested = ("columns",)

    def __init__(
        self,
        n_inputs: int,
        columns: Categories,
        *,
        dtype: DTypeLike = np.float32,
        rng: Seed = None,
        init: Init = _SMALL,
        weights_l1: float = 0.0,
        weights_l2: float = 0.0,
        trainable: bool = True,
    ) -> None:
        self._n_inputs, dtype = as_count(n_inputs, "n_inputs"), as_dtype(dtype)
        self._tables = as_tables(columns, self._n_inputs, dtype)
        self.weights_l1, self.weights_l2 = weights_l1, weights_l2
        self.init, self.trainable = init, trainable
        self._records = _make_records(self._n_inputs, self._tables)
        self._weights = self._make_weights(as_generator(rng), dtype)
        self._biases = np.empty((1, 0), dtype)

    @classmethod
    def stored_shapes(cls, arguments: Mapping[str, Any]) -> dict[str, Shape]:
        """Return {name: shape} of the parameters for a dict of all arguments."""
        n_inputs = as_count(arguments["n_inputs"], "n_inputs")
        tables = as_tables(arguments["columns"], n_inputs, as_dtype(arguments["dtype"]))
        size = sum(each.n_categories * each.dimension for each in tables)
        return {"weights": (1, size), "biases": (1, 0)}

    def reset_parameters(self, rng: Seed = None) -> None:
        """Draw new tables as `init` says."""
        self._weights[...] = self._make_weights(as_generator(rng), self.dtype)
        self._exposed = True

    def _make_weights(self, rng: np.random.Generator, dtype: DType) -> Floats:
        drawn = [
            make_weights(self.init, rng, (each.n_categories, each.dimension), dtype).ravel()
            for each in self._tables
        ]
        weights: Floats = np.concatenate(drawn)[np.newaxis]
        return weights

    @property
    def penalties(self) -> tuple[float, float, float, float]:
        """The factors of the four penalties."""
        return self.weights_l1, self.weights_l2, 0.0, 0.0

    @property
    def n_inputs(self) -> int:
        """I, the number of columns."""
        return self._n_inputs

    @property
    def n_outputs(self) -> int:
        """O, the number of outputs."""
        return self._n_inputs + sum(each.dimension - 1 for each in self._tables)

    @property
    def widths(self) -> tuple[int, int]:
        """The number of input features, and of outputs."""
        return self.n_inputs, self.n_outputs

    @property
    def columns(self) -> dict[int, tuple[int, int]]:
        """{column: (number of categories, dimension)} of the columns of categories."""
        return {each.column: (each.n_categories, each.dimension) for each in self._tables}

    @property
    def categories(self) -> dict[int, int]:
        """{column: number of categories} of the columns of categories."""
        return {each.column: each.n_categories for each in self._tables}

    @property
    def tables(self) -> dict[int, Floats]:
        """{column: table (n, dimension)}, views of `weights`."""
        weights, start, tables = self.weights[0], 0, {}
        for column, count, dimension in self._tables:
            end = start + count * dimension
            tables[column] = weights[start:end].reshape(count, dimension)
            start = end
        return tables

    @property
    def records(self) -> Records:
        """(I,) of COLUMN, see `kernels/records.py`: what kernels make of each column."""
        return self._records

    def forward(self, inputs: ArrayLike, training: bool = False) -> Floats:
        """Return inputs (B, I) with a row of a table for each code, of shape (B, O)."""
        dtype = self._weights.dtype
        inputs = as_rows(inputs, "inputs", n_features=self._n_inputs, dtype=dtype)
        check_codes(inputs, self.categories, "inputs")
        output = np.empty((len(inputs), self.n_outputs), dtype)
        kernels.embedding_forward(output, unlocked(inputs), self._weights, self._records)
        self.inputs, self.output = inputs, output
        return output

    def backward(self, dvalues: ArrayLike) -> Floats:
        """Return the gradient with respect to the inputs, (B, I); keep that of the tables."""
        inputs, dvalues = self._as_passes(dvalues)
        self._prepare_gradients()
        dinputs = np.empty_like(inputs)
        kernels.embedding_backward(
            dinputs, self._dweights, unlocked(dvalues), unlocked(inputs), self._records
        )
        if self.trainable and any(self.penalties):
            self._add_slopes()
        self.dinputs = dinputs
        return dinputs

    def backward_runs(
        self, dvalues: Floats, gradients: Sequence[RunGradients], runs: Runs
    ) -> Floats:
        """Return the gradient of the inputs; write that of the tables for each run of rows."""
        inputs, dvalues = self._as_passes(dvalues)
        dinputs = np.empty_like(inputs)
        for rows, dweights, _ in gradients:
            kernels.embedding_backward(
                dinputs[rows], dweights, unlocked(dvalues)[rows], unlocked(inputs)[rows],
                self._records,
            )  # fmt: skip
        self.dinputs = dinputs
        return dinputs

    def _as_passes(self, dvalues: ArrayLike) -> tuple[Floats, Floats]:
        """Return the inputs of the last `forward`, and `dvalues` checked."""
        dtype = self._weights.dtype
        inputs = self.pass_array("inputs", n_features=self._n_inputs, dtype=dtype)
        shape = len(inputs), self.n_outputs
        return inputs, as_gradient(dvalues, "dvalues", shape, dtype)

    def _add_slopes(self) -> None:
        """Add the slopes of the penalties to the gradients."""
        l1, l2 = self.weights_l1 * self._penalty_part, self.weights_l2 * self._penalty_part
        slopes: Any = self._dweights
        slopes += l1 * np.sign(self._weights) + 2 * l2 * self._weights

    def __repr__(self) -> str:
        usual = {"weights_l1": 0, "weights_l2": 0, "trainable": True}
        special = "".join(
            f", {name}={getattr(self, name)!r}"
            for name, value in usual.items()
            if known(self, name, value) != value
        )
        if not hasattr(self, "_weights"):  # a subclass may not have called `__init__` yet
            return f"{type(self).__name__}(?)"
        return (
            f"{type(self).__name__}({self.n_inputs}, {self.columns}, dtype={self.dtype}{special})"
        )


def as_tables(value: Any, n_inputs: int, dtype: DType) -> tuple[Table, ...]:
    """Return the tables of `columns`, a dict or triples as in a file, in the order of the columns.

    Raises
    ------
    TypeError, ValueError
        For anything else, columns that are not in [0, `n_inputs`), and sizes below 1.
    """
    tables: dict[int, Table] = {}
    for column, size in _items(value):
        name = f"columns[{column!r:.40}]"
        try:
            index = as_index(column, "a column", n_inputs)
        except (TypeError, ValueError):
            raise ValueError(
                f"columns has {column!r:.40}, expected whole numbers from 0 to {n_inputs - 1}"
            ) from None
        if index in tables:
            raise ValueError(f"columns has {index} twice, expected each column once")
        sizes = size if isinstance(size, tuple | list) else (size,)
        if not 0 < len(sizes) < 3:
            raise ValueError(f"{name} is {size!r:.80}, expected (n_categories, dimension)")
        count = as_count(sizes[0], f"the number of categories of {name}")
        most = 2 ** (np.finfo(dtype).nmant + 1)
        if count > most:
            raise ValueError(
                f"the number of categories of {name} is {count}, expected at most {most}, up to "
                f"which {dtype} has all whole numbers"
            )
        dimension = (
            as_count(sizes[1], f"the dimension of {name}")
            if len(sizes) > 1
            else embedding_dimension(count)
        )
        tables[index] = Table(index, count, dimension)
    if not tables:
        raise ValueError("columns is empty, expected at least one column of categories")
    return tuple(tables[index] for index in sorted(tables))


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return pairs of a column and its size."""
    if isinstance(value, Mapping):
        return value.items()
    triples = isinstance(value, list | tuple) and all(
        isinstance(each, list | tuple) and len(each) == 3 for each in value
    )
    if not triples:
        raise TypeError(
            f"columns is {value!r:.80}, expected a dict of columns to their number of categories"
        )
    return [(column, (count, dimension)) for column, count, dimension in value]


def _make_records(n_inputs: int, tables: tuple[Table, ...]) -> Records:
    """Return (I,) of COLUMN."""
    records = np.zeros(n_inputs, COLUMN)
    records["dimension"], records["table"] = 1, -1
    columns, counts, dimensions = np.array(tables, np.int64).T
    records["n_categories"][columns], records["dimension"][columns] = counts, dimensions
    sizes = counts * dimensions
    records["table"][columns] = sizes.cumsum() - sizes
    records["output"] = records["dimension"].cumsum() - records["dimension"]
    return records
