"""The catalogue: one row for each operation, loss and optimizer rule, with its formula in NumPy.

Whatever has to know them all reads it: the plan of a network, the checks of kernels, what runs
without numba, the names that estimators and the command line take, the exports, and the tests,
which run on every row. Classes of `fastnn` stand here by name, since nothing here imports them.

Each enumeration is a named tuple, not an `enum.IntEnum`: its members are plain integers, so that a
code from Python and one from jitted code have one type; `constants.py` makes them constants there.
The order of the codes has no meaning. Files of models do not have codes but names of classes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import loss_formulas, room
from .room import Room

Array: TypeAlias = NDArray[Any]

_NOTHING: Mapping[str, Any] = {}


class _Operations(NamedTuple):
    DENSE: int = 0  # outputs = inputs @ weights + biases, and a ReLU where the epilogue says so
    RELU: int = 1
    SOFTMAX: int = 2
    IDENTITY: int = 3
    SIGMOID: int = 4
    TANH: int = 5
    LEAKY_RELU: int = 6
    ELU: int = 7
    GELU: int = 8
    GELU_TANH: int = 9
    SILU: int = 10
    EXP: int = 11  # only behind the last layer, where a loss asks for it
    DROPOUT: int = 12  # only while training
    LAYER_NORM: int = 13
    BATCH_NORM: int = 14
    SOFTPLUS: int = 15
    BRANCH: int = 16  # in front of layers whose outputs are added to their inputs by ADD
    ADD: int = 17
    EMBEDDING: int = 18  # in front of all others: codes of categories become rows of tables


Operation = _Operations()
"""What a layer of the program calculates."""


class _Losses(NamedTuple):
    SOFTMAX_CROSS_ENTROPY: int = 0
    BINARY_FROM_LOGITS: int = 1
    BINARY_FROM_PROBABILITIES: int = 2
    SQUARED_ERROR: int = 3
    ABSOLUTE_ERROR: int = 4
    HUBER: int = 5
    QUANTILE: int = 6
    POISSON: int = 7


Loss = _Losses()
"""What `cross_entropy.py` and `losses.py` calculate."""

MASKED = 64
"""Added to the code of a loss of `losses.py`: targets that are NaN are left out."""


class _Rules(NamedTuple):
    # DESCENT that neither clips nor decays, without penalties, where all layers train and have
    # biases: tiles of a gradient take the step by themselves. For batches of up to SUM_ROWS.
    FUSED_DESCENT: int = -1
    DESCENT: int = 0
    MOMENTUM: int = 1
    NESTEROV: int = 2
    VELOCITY: int = 3
    ADAGRAD: int = 4
    RMSPROP: int = 5
    ADAM: int = 6
    AMSGRAD: int = 7
    LOOKAHEAD: int = 8  # VELOCITY in Nesterov's form
    LION: int = 9


Rule = _Rules()
"""How parameters follow their gradients (`update.py`)."""


# ------------------------------------------------------------------------------ operations


Value: TypeAlias = Callable[[Array, float], Array]
Slope: TypeAlias = Callable[[Array, Array, float], Array | float]

# What operations have in common. The program for plain networks has "dense", "relu" and "softmax".
# An "activation" is any other function of one element (`activations.py`). A "dropout" draws at
# random while training, and a prediction leaves it out. A "norm" normalizes. A "residual" is one
# end of a skip connection (`residual.py`). An "embedding" looks up rows of tables (`embedding.py`).
Group: TypeAlias = Literal[
    "dense", "relu", "softmax", "activation", "dropout", "norm", "residual", "embedding"
]


class OperationRow(NamedTuple):
    """An operation of the program.

    The formulas of an activation, and nothing else has them here, are those of one element:
    `forward(x, number)`, and `slope(x, y, number)`, the derivative at x, where its value is y.
    """

    code: int
    group: Group
    name: str  # that estimators, the command line and the exports know it by
    layer: str = ""  # the class; "" where a loss alone asks for the operation
    options: Mapping[str, Any] = _NOTHING  # arguments of the class that mean this operation
    number: str = ""  # the attribute of the layer that kernels get as its number
    forward: Value | None = None
    slope: Slope | None = None
    # What the layer needs. All names below are fields of LAYER, see `records.py`.
    # (I, O), which are packed, or (1, O), both with biases; or (1, W): the tables of an embedding
    weights: Literal["", "matrix", "row", "tables"] = ""
    attributes: tuple[str, ...] = ()  # of the layer that its record has by the same names
    running: tuple[str, ...] = ()  # arrays (1, O) behind all parameters, in this order
    room: Mapping[str, Room] = _NOTHING  # in the workspace of training, in this order
    room_to_predict: Mapping[str, Room] = _NOTHING  # in that of a prediction
    reads_outputs: bool = False  # on the way back; else their gradient may take their place

    @property
    def is_activation(self) -> bool:
        """Whether `activations.py` calculates it, element by element."""
        return self.group == "activation"


def _activation(
    code: int,
    name: str,
    layer: str = "",
    options: Mapping[str, Any] = _NOTHING,
    *,
    number: str = "",
    forward: Value,
    slope: Slope,
) -> OperationRow:
    """Return the row of an activation. Kernels may form its slope from the outputs."""
    formulas = number, forward, slope
    return OperationRow(code, "activation", name, layer, options, *formulas, reads_outputs=True)


_erfc = np.vectorize(math.erfc, otypes=[float])


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _bend(x: Array) -> Array:
    """Return what GELU with tanh takes the tanh of."""
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _slope_of_gelu(x: Array, y: Array, number: float) -> Array:
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return _erfc(-x / math.sqrt(2)) / 2 + x * density


def _slope_of_gelu_tanh(x: Array, y: Array, number: float) -> Array:
    bend = np.tanh(_bend(x))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (1 + bend) / 2 + x / 2 * (1 - bend * bend) * slope


def _slope_of_silu(x: Array, y: Array, number: float) -> Array:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


# In the order in which messages list the activations.
OPERATIONS = (
    OperationRow(Operation.DENSE, "dense", "dense", "Dense", weights="matrix"),
    OperationRow(Operation.RELU, "relu", "relu", "ReLU"),
    OperationRow(Operation.SOFTMAX, "softmax", "softmax", "Softmax", reads_outputs=True),
    OperationRow(
        Operation.DROPOUT, "dropout", "dropout", "Dropout", number="rate",
        room={"mask": room.batch},
    ),
    OperationRow(
        Operation.LAYER_NORM, "norm", "layer_norm", "LayerNorm", number="epsilon", weights="row",
        room={
            "normalized": room.batch, "dweights": room.one_a_column, "scales": room.one_a_row,
        },
    ),
    OperationRow(
        Operation.BATCH_NORM, "norm", "batch_norm", "BatchNorm", number="epsilon", weights="row",
        attributes=("momentum",), running=("running_mean", "running_variance"),
        room={
            "normalized": room.batch, "dweights": room.one_a_column, "moments": room.two_a_block,
            "sums": room.two_a_block, "scales": room.three_a_column,
        },
        room_to_predict={"scales": room.three_a_column},
    ),
    OperationRow(
        Operation.BRANCH, "residual", "branch", "Branch",
        room_to_predict={"skip": room.batch},
    ),
    OperationRow(Operation.ADD, "residual", "add", "Add"),
    OperationRow(Operation.EMBEDDING, "embedding", "embedding", "Embedding", weights="tables"),
    _activation(
        Operation.TANH, "tanh", "Tanh",
        forward=lambda x, number: np.tanh(x),
        slope=lambda x, y, number: 1 - y * y,
    ),
    _activation(
        Operation.SIGMOID, "sigmoid", "Sigmoid",
        forward=lambda x, number: _sigmoid(x),
        slope=lambda x, y, number: y * (1 - y),
    ),
    _activation(
        Operation.LEAKY_RELU, "leaky_relu", "LeakyReLU", number="negative_slope",
        forward=lambda x, number: np.where(x > 0, x, number * x),
        slope=lambda x, y, number: np.where(x > 0, 1, number),
    ),
    _activation(
        Operation.ELU, "elu", "ELU", number="alpha",
        forward=lambda x, number: np.where(x > 0, x, number * np.expm1(np.minimum(x, 0))),
        slope=lambda x, y, number: np.where(x > 0, 1, y + number),
    ),
    _activation(
        Operation.GELU, "gelu", "GELU",
        forward=lambda x, number: x / 2 * _erfc(-x / math.sqrt(2)),
        slope=_slope_of_gelu,
    ),
    _activation(
        Operation.GELU_TANH, "gelu_tanh", "GELU", {"approximate": "tanh"},
        forward=lambda x, number: x / (1 + np.exp(-2 * _bend(x))),
        slope=_slope_of_gelu_tanh,
    ),
    _activation(
        Operation.SILU, "silu", "SiLU",
        forward=lambda x, number: x / (1 + np.exp(-x)),
        slope=_slope_of_silu,
    ),
    _activation(
        Operation.SOFTPLUS, "softplus", "Softplus",
        forward=lambda x, number: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        slope=lambda x, y, number: _sigmoid(x),
    ),
    _activation(
        Operation.IDENTITY, "identity", "Identity",
        forward=lambda x, number: x,
        slope=lambda x, y, number: 1.0,
    ),
    _activation(
        Operation.EXP, "exp",
        forward=lambda x, number: np.exp(x),
        slope=lambda x, y, number: y,
    ),
)  # fmt: skip

OPERATION_OF = {row.code: row for row in OPERATIONS}
ACTIVATIONS = tuple(row for row in OPERATIONS if row.is_activation)


def _codes_of(*groups: Group) -> tuple[int, ...]:
    return tuple(row.code for row in OPERATIONS if row.group in groups)


# For jitted code `chains.py` makes functions of these codes.
BASIC, NORMS = _codes_of("dense", "relu", "softmax"), _codes_of("norm")
RESIDUAL = _codes_of("residual")
DEPENDENT_ON_MODE = _codes_of("dropout", "norm")
WITH_PARAMETERS = tuple(row.code for row in OPERATIONS if row.weights)


def is_basic(operation: int) -> bool:
    """Return whether the program for plain networks has an operation: it takes no number."""
    return operation in BASIC


def is_norm(operation: int) -> bool:
    """Return whether an operation normalizes, and has weights and biases (1, O)."""
    return operation in NORMS


def is_residual(operation: int) -> bool:
    """Return whether an operation is one end of a skip connection."""
    return operation in RESIDUAL


def is_embedding(operation: int) -> bool:
    """Return whether an operation looks up rows of tables."""
    return operation == Operation.EMBEDDING


def depends_on_mode(operation: int) -> bool:
    """Return whether an operation does something else in training than in a prediction."""
    return operation in DEPENDENT_ON_MODE


def has_parameters(operation: int) -> bool:
    """Return whether an operation has weights and biases."""
    return operation in WITH_PARAMETERS


# The names of activations that a user may give in place of a layer: {name: class}. They are made
# without arguments, so that an operation of an option has no name of its own.
ACTIVATION_LAYERS = {
    row.name: row.layer
    for row in OPERATIONS
    if row.group in ("relu", "activation") and row.layer and not row.options
}


# ---------------------------------------------------------------------------------- losses


class LossRow(NamedTuple):
    """A loss. `formula(z, y, number)` returns (loss, slope) of outputs z and targets y."""

    code: int
    name: str  # that estimators know it by
    task: str  # what is learned: "classes", "answers" to yes-or-no questions, or "numbers"
    loss: str  # the class
    options: Mapping[str, Any] = _NOTHING  # arguments of the class that mean this loss
    number: str = ""  # the attribute of the loss that kernels get as its number
    # None of the one for classes, whose outputs are not independent: see `reference.py`.
    formula: Callable[[Array, Array, float], tuple[Array, Array]] | None = None


LOSSES = (
    LossRow(
        Loss.SOFTMAX_CROSS_ENTROPY, "softmax_cross_entropy", "classes", "SoftmaxCrossEntropy",
    ),
    LossRow(
        Loss.BINARY_FROM_LOGITS, "binary_from_logits", "answers", "BinaryCrossEntropy",
        number="pos_weight", formula=loss_formulas.binary_from_logits,
    ),
    LossRow(
        Loss.BINARY_FROM_PROBABILITIES, "binary_from_probabilities", "answers",
        "BinaryCrossEntropy", {"from_logits": False}, "epsilon",
        formula=loss_formulas.binary_from_probabilities,
    ),
    LossRow(
        Loss.SQUARED_ERROR, "squared_error", "numbers", "MeanSquaredError",
        formula=loss_formulas.squared_error,
    ),
    LossRow(
        Loss.ABSOLUTE_ERROR, "absolute_error", "numbers", "MeanAbsoluteError",
        formula=loss_formulas.absolute_error,
    ),
    LossRow(Loss.HUBER, "huber", "numbers", "Huber", number="delta", formula=loss_formulas.huber),
    LossRow(
        Loss.QUANTILE, "quantile", "numbers", "Quantile", number="q",
        formula=loss_formulas.quantile,
    ),
    LossRow(Loss.POISSON, "poisson", "numbers", "Poisson", formula=loss_formulas.poisson),
)  # fmt: skip

LOSS_OF = {row.code: row for row in LOSSES}


# ------------------------------------------------------------------------- optimizer rules


class StepNumbers(NamedTuple):
    """What a formula of a rule needs to know of a step; see STEP in `records.py`."""

    rate: float
    first: float
    second: float
    epsilon: float
    correction: float


class RuleRow(NamedTuple):
    """A rule. `formula(p, states, g, n)` takes one step, in place, along gradients g.

    p (P,), states (S, P), n :class:`StepNumbers`.
    """

    code: int
    n_states: int  # S, how many numbers it keeps of each parameter
    formula: Callable[[Array, Array, Array, StepNumbers], None]
    optimizers: tuple[str, ...] = ()  # the classes that follow it
    options: Mapping[str, Any] = _NOTHING  # arguments of these classes that mean this rule


def _descent(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    p -= n.rate * g


def _momentum(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    states[0] = n.first * states[0] + g
    p -= n.rate * states[0]


def _nesterov(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    states[0] = n.first * states[0] + g
    p -= n.rate * (g + n.first * states[0])


def _velocity(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    states[0] = n.first * states[0] - n.rate * g
    p += states[0]


def _lookahead(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    states[0] = n.first * states[0] - n.rate * g
    p += n.first * states[0] - n.rate * g


def _squarable(g: Array, p: Array) -> Array:
    """Return gradients with 0 for those whose square is subnormal in the dtype of p."""
    return np.where(g * g < np.finfo(p.dtype).tiny, 0, g)


def _scaled(p: Array, direction: Array, size: Array, n: StepNumbers) -> None:
    """Take a step along `direction`, divided by the root of `size`."""
    scale = np.sqrt(size) * n.correction + n.epsilon
    with np.errstate(invalid="ignore"):  # 0 / 0 without an epsilon is NaN, as in the kernel
        p -= n.rate * (direction / scale)


def _adagrad(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    g = _squarable(g, p)
    states[0] += g * g
    _scaled(p, g, states[0], n)


def _rmsprop(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    g = _squarable(g, p)
    states[0] = n.second * states[0] + (1 - n.second) * g * g
    _scaled(p, g, states[0], n)


def _moments(states: Array, g: Array, n: StepNumbers) -> None:
    states[0] = n.first * states[0] + (1 - n.first) * g
    states[1] = n.second * states[1] + (1 - n.second) * g * g


def _adam(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    _moments(states, _squarable(g, p), n)
    _scaled(p, states[0], states[1], n)


def _amsgrad(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    _moments(states, _squarable(g, p), n)
    states[2] = np.maximum(states[1], states[2])
    _scaled(p, states[0], states[2], n)


def _lion(p: Array, states: Array, g: Array, n: StepNumbers) -> None:
    p -= n.rate * np.sign(n.first * states[0] + (1 - n.first) * g)
    states[0] = n.second * states[0] + (1 - n.second) * g


# In the order in which messages list the optimizers.
RULES = (
    RuleRow(Rule.FUSED_DESCENT, 0, _descent),
    RuleRow(Rule.DESCENT, 0, _descent, ("SGD",)),
    RuleRow(Rule.MOMENTUM, 1, _momentum, ("SGD",), {"momentum": 0.9}),
    RuleRow(Rule.NESTEROV, 1, _nesterov, ("SGD",), {"momentum": 0.9, "nesterov": True}),
    RuleRow(Rule.VELOCITY, 1, _velocity),  # of estimators alone, as the next one
    RuleRow(Rule.LOOKAHEAD, 1, _lookahead),
    RuleRow(Rule.ADAM, 2, _adam, ("Adam", "AdamW")),
    RuleRow(Rule.AMSGRAD, 3, _amsgrad, ("Adam", "AdamW"), {"amsgrad": True}),
    RuleRow(Rule.RMSPROP, 1, _rmsprop, ("RMSprop",)),
    RuleRow(Rule.ADAGRAD, 1, _adagrad, ("AdaGrad",)),
    RuleRow(Rule.LION, 1, _lion, ("Lion",)),
)

RULE_OF = {row.code: row for row in RULES}


def n_states_of(rule: int) -> int:
    """Return how many states a rule has; 0 where there is no such rule."""
    return RULE_OF[rule].n_states if rule in RULE_OF else 0


def is_adaptive(rule: int) -> bool:
    """Return whether a rule divides by the root of a mean of squares."""
    return rule == Rule.ADAM or rule == Rule.AMSGRAD or rule == Rule.RMSPROP or rule == Rule.ADAGRAD


# The names of optimizers that a user may give: {name: class}.
OPTIMIZERS = {name.lower(): name for row in RULES if not row.options for name in row.optimizers}
