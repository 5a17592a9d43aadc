"""The codes of everything that a kernel chooses by number: operations, optimizer rules, losses.

Each enumeration is a named tuple, not an `enum.IntEnum`: its members are plain integers, so that a
code from Python and one from jitted code have one type; `constants.py` makes them constants there.
The order of the codes has no meaning. What belongs to a group is asked by the functions below,
which `groups.py` has for jitted code: none of them calls another.
"""

from typing import NamedTuple

from .catalogue import ACTIVATIONS, RULE_OF
from .catalogue import Loss as Loss
from .catalogue import Operation as Operation
from .catalogue import Rule as Rule

_ACTIVATIONS = tuple(row.code for row in ACTIVATIONS)


def is_activation(operation: int) -> bool:
    """Return whether `activations.py` calculates an operation, element by element."""
    return operation in _ACTIVATIONS


def is_norm(operation: int) -> bool:
    """Return whether an operation normalizes, and has weights and biases (1, O)."""
    return operation == Operation.LAYER_NORM or operation == Operation.BATCH_NORM


def is_basic(operation: int) -> bool:
    """Return whether the program for plain networks has an operation: it takes no number."""
    return (
        operation == Operation.DENSE
        or operation == Operation.RELU
        or operation == Operation.SOFTMAX
    )


def depends_on_mode(operation: int) -> bool:
    """Return whether an operation does something else in training than in a prediction."""
    return (
        operation == Operation.DROPOUT
        or operation == Operation.LAYER_NORM
        or operation == Operation.BATCH_NORM
    )


def has_parameters(operation: int) -> bool:
    """Return whether an operation has weights and biases."""
    return (
        operation == Operation.DENSE
        or operation == Operation.LAYER_NORM
        or operation == Operation.BATCH_NORM
    )


_FIRST_RULE = min(Rule)
_N_STATES = tuple(
    RULE_OF[code].n_states if code in RULE_OF else -1 for code in range(_FIRST_RULE, max(Rule) + 1)
)


def n_states_of(rule: int) -> int:
    """Return how many states a rule keeps of each parameter; -1 where there is no such rule."""
    if rule < _FIRST_RULE or rule - _FIRST_RULE >= len(_N_STATES):
        return -1
    return _N_STATES[rule - _FIRST_RULE]


class _Epilogues(NamedTuple):
    STORE: int = 0  # result = sums
    RELU: int = 1  # result = sums where > 0 or NaN, else 0
    RELU_MASK: int = 2  # result = sums where `other` > 0 or NaN, else 0: the gradient of a ReLU
    DESCENT: int = 3  # result = result - rate * sums, 0 where subnormal: in place


Epilogue = _Epilogues()
"""What a tile of a matrix product does with its sums while they are in registers."""


class _SampleTypes(NamedTuple):
    UINT8: int = 0
    INT8: int = 1
    FLOAT16: int = 2
    FLOAT32: int = 3
    FLOAT64: int = 4


SampleType = _SampleTypes()
"""The dtypes of samples that are converted while a batch is gathered (`conversion.py`)."""

ITEM_SIZES = (1, 1, 2, 4, 8)  # bytes of a number of each SampleType


class _ScoreRows(NamedTuple):
    LOSS: int = 0
    RIGHT: int = 1  # the weight of a right answer, else 0
    TOTAL: int = 2
    WEIGHT: int = 3


ScoreRow = _ScoreRows()
"""The rows of the scores (batch_size,) float64 that a step keeps of its samples.

First they hold what the loss is made of (`cross_entropy.label_row`), then LOSS is the loss.
"""

N_SCORES = len(ScoreRow)


class _SumRows(NamedTuple):
    SQUARES: int = 0  # of the gradient
    PENALTY: int = 1


SumRow = _SumRows()
"""The rows of the sums (float64) that the weights phase keeps of rows of weights, and of biases."""

N_SUMS = len(SumRow)


class _BarrierPlaces(NamedTuple):
    ARRIVED: int = 0
    GENERATION: int = 8
    LEAVE: int = 16  # not 0: all threads leave


BarrierPlace = _BarrierPlaces()
"""The places in the barrier of `threads.py` (int64), each on a cache line of its own."""

BARRIER_SIZE = 24
