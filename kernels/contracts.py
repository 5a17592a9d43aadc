"""What every public kernel takes, as data: `README.md` in this folder says the same in words.

FASTNN_CHECKS=1 compiles checks from it (`checks.py`). Sizes in shapes are those of `README.md`: a
letter stands for one number in all arguments of a call, a capital name for one of `codes.py` or
`table.py`.
"""

from typing import NamedTuple

from .catalogue import ACTIVATIONS, MASKED, Loss, Operation, Rule


class Array(NamedTuple):
    """An array among the arguments of a kernel."""

    shapes: tuple[str, ...]
    """One of these: sizes with spaces between them, or "..." for any shape, the same in a call."""

    dtype: str = "float"
    """A dtype; "float" is the one of the call, "floats" float32 or float64, whatever the others.
    "targets" are labels (B,) of int64 below C, or rows (B, C) of the dtype of the call."""

    written: bool = False
    optional: bool = False
    """None will do."""

    may_be: tuple[str, ...] = ()
    """Of a written array: the arguments that it may be. With all others it shares no memory."""

    below: str = ""
    """Of indices: the size that they are less than."""

    read_for: str = ""
    """It is not looked at where this argument is None."""


class Number(NamedTuple):
    """A number among the arguments of a kernel."""

    whole: bool
    bounds: str = ""
    """A condition on it, which stands at {}."""

    optional: bool = False
    """None will do."""

    record: str = ""
    """An array of records of this dtype, by its name in `records.py`, will do too."""


class Record(NamedTuple):
    """An array of one record among the arguments of a kernel."""

    dtype: str
    """The name of its dtype in `records.py`."""

    fields: dict[str, Number]
    """Those that have bounds; a condition may name fields before its own."""


class Parts(NamedTuple):
    """A tuple of arrays among the arguments of a kernel; its last ones may be missing."""

    parts: dict[str, Array | Record]
    optional: bool = False
    """None will do."""


def _array(*shapes, **properties):
    return Array(shapes, **properties)


def _out(*shapes, **properties):
    return Array(shapes, written=True, **properties)


def _number(bounds=""):
    return Number(False, bounds)


def _whole(bounds=""):
    return Number(True, bounds)


def _code(codes):
    # Not `min <= {} <= max`: the order of codes has no meaning, and there may be gaps.
    return Number(True, " or ".join(f"{{0}} == {code}" for code in codes))


_LAYERS = _array("L", dtype="LAYER")
_LAYOUT = Record("SAMPLE_LAYOUT", {})
_EXTENDED = Number(True, optional=True, record="COLUMN")
_COLUMNS = _array("I", dtype="COLUMN")
_TARGETS = _array("B", "B C", dtype="targets")
_FINISH = _code((Operation.SOFTMAX, Operation.IDENTITY, Operation.SIGMOID, Operation.EXP))
_EPSILON = _number("0 < {} < 0.5")
_ACTIVATION = _code(row.code for row in ACTIVATIONS)
_LOSSES = [code for code in Loss if code != Loss.SOFTMAX_CROSS_ENTROPY]
_LOSSES += [code + MASKED for code in _LOSSES]
_LOSS = _code(_LOSSES)
_RULE = _code(Rule)
_JOB = Record(
    "JOB",
    {
        "first_step": _whole("0 <= {}"),
        "last_step": _whole("first_step <= {}"),
        "batch_size": _whole("1 <= {}"),
        "loss": _code([Loss.SOFTMAX_CROSS_ENTROPY, *_LOSSES]),
        "smoothing": _number("0 <= {} < 1"),
        "rule": _RULE,
    },
)
_OPERANDS = {"operand_tiles": _out("H", dtype="uint16")}
_TILES = Parts({"weight_tiles": _out("G", dtype="uint16"), **_OPERANDS}, optional=True)
_PACKED_TILES = Parts({"weight_tiles": _array("G", dtype="uint16"), **_OPERANDS}, optional=True)

CONTRACTS = {
    "dense_forward": {
        "outputs": _out("B O"),
        "inputs": _array("B I"),
        "weights": _array("I O"),
        "biases": _array("1 O", "O"),
    },
    "dense_backward": {
        "dinputs": _out("B I", optional=True),
        "dweights": _out("I O", optional=True),
        "dbiases": _out("1 O", "O", optional=True),
        "doutputs": _array("B O"),
        "inputs": _array("B I", read_for="dweights"),
        "weights": _array("I O", read_for="dinputs"),
    },
    "relu_forward": {"outputs": _out("...", may_be=("inputs",)), "inputs": _array("...")},
    "relu_backward": {
        "dinputs": _out("...", may_be=("doutputs", "inputs")),
        "doutputs": _array("..."),
        "inputs": _array("..."),
    },
    "softmax_forward": {"outputs": _out("B C", may_be=("inputs",)), "inputs": _array("B C")},
    "softmax_backward": {
        "dinputs": _out("B C", may_be=("doutputs", "outputs")),
        "doutputs": _array("B C"),
        "outputs": _array("B C"),
    },
    "cross_entropy_forward": {
        "losses": _out("B", dtype="floats"),
        "probabilities": _array("B C"),
        "targets": _TARGETS,
        "epsilon": _EPSILON,
    },
    "cross_entropy_backward": {
        "dprobabilities": _out("B C"),
        "probabilities": _array("B C"),
        "targets": _TARGETS,
        "epsilon": _EPSILON,
    },
    "softmax_cross_entropy_forward": {
        "losses": _out("B", dtype="floats"),
        "probabilities": _out("B C", may_be=("logits",)),
        "logits": _array("B C"),
        "targets": _TARGETS,
    },
    "softmax_cross_entropy_backward": {
        "dlogits": _out("B C", may_be=("probabilities",)),
        "probabilities": _array("B C"),
        "targets": _TARGETS,
    },
    "softmax_cross_entropy": {
        "losses": _out("B", dtype="floats"),
        "dlogits": _out("B C", may_be=("logits",)),
        "logits": _array("B C"),
        "targets": _TARGETS,
    },
    "dropout_forward": {
        "outputs": _out("B I", may_be=("inputs",)),
        "mask": _out("B I"),
        "inputs": _array("B I"),
        "rate": _number("0 <= {} < 1"),
        "key": _whole("0 <= {}"),
        "layer": _whole("0 <= {} < 2**32"),
        "step": _whole("0 <= {} < 2**32"),
    },
    "dropout_backward": {
        "dinputs": _out("...", may_be=("doutputs", "mask")),
        "doutputs": _array("..."),
        "mask": _array("..."),
    },
    "layer_norm_forward": {
        "outputs": _out("B I", may_be=("inputs",)),
        "normalized": _out("B I"),
        "scales": _out("B"),
        "inputs": _array("B I"),
        "weights": _array("1 I"),
        "biases": _array("1 I"),
        "epsilon": _number(),
    },
    "layer_norm_backward": {
        "dinputs": _out("B I"),
        "dweights": _out("1 I"),
        "dbiases": _out("1 I"),
        "doutputs": _array("B I"),
        "normalized": _array("B I"),
        "scales": _array("B"),
        "weights": _array("1 I"),
    },
    "batch_norm_forward": {
        "outputs": _out("B I", may_be=("inputs",)),
        "normalized": _out("B I"),
        "scales": _out("1 I"),
        "means": _out("1 I"),
        "variances": _out("1 I"),
        "inputs": _array("B I"),
        "weights": _array("1 I"),
        "biases": _array("1 I"),
        "epsilon": _number(),
    },
    "batch_norm_backward": {
        "dinputs": _out("B I"),
        "dweights": _out("1 I"),
        "dbiases": _out("1 I"),
        "doutputs": _array("B I"),
        "normalized": _array("B I"),
        "scales": _array("1 I"),
        "weights": _array("1 I"),
    },
    "batch_norm_predict": {
        "outputs": _out("B I", may_be=("inputs",)),
        "inputs": _array("B I"),
        "weights": _array("1 I"),
        "biases": _array("1 I"),
        "running_mean": _array("1 I"),
        "running_variance": _array("1 I"),
        "epsilon": _number(),
    },
    "running_update": {
        "running_mean": _out("1 I"),
        "running_variance": _out("1 I"),
        "means": _array("1 I"),
        "variances": _array("1 I"),
        "rows": _whole("0 <= {}"),
        "momentum": _number(),
    },
    "embedding_forward": {
        "outputs": _out("B O"),
        "inputs": _array("B I"),
        "weights": _array("1 W"),
        "columns": _COLUMNS,
    },
    "embedding_backward": {
        "dinputs": _out("B I"),
        "dweights": _out("1 W"),
        "doutputs": _array("B O"),
        "inputs": _array("B I"),
        "columns": _COLUMNS,
    },
    "gather_rows": {
        "rows": _out("B I"),
        "source": _array("N I"),
        "indices": _array("B", dtype="int64", below="N"),
    },
    "convert_rows": {
        "rows": _out("B I"),
        "source": _array("S", dtype="uint8"),
        "layout": _LAYOUT,
        "indices": _array("B", dtype="int64"),
    },
    "all_finite": {"values": _array("...")},
    "sgd_update": {
        "parameters": _out("...", may_be=("gradients",)),
        "gradients": _array("..."),
        "learning_rate": _number(),
    },
    "optimizer_update": {
        "parameters": _out("P"),
        "states": _out("S P"),
        "gradients": _array("P"),
        "rule": _RULE,
        "step": Record("STEP", {}),
        "scale": _number(),
        "l1": _number(),
        "l2": _number(),
    },
    "activation_forward": {
        "outputs": _out("...", may_be=("inputs",)),
        "inputs": _array("..."),
        "kind": _ACTIVATION,
        "number": _number(),
    },
    "activation_backward": {
        "dinputs": _out("...", may_be=("doutputs", "inputs", "outputs")),
        "doutputs": _array("..."),
        "inputs": _array("..."),
        "outputs": _array("..."),
        "kind": _ACTIVATION,
        "number": _number(),
    },
    "loss_forward": {
        "losses": _out("B", dtype="floats"),
        "outputs": _array("B C"),
        "targets": _array("B C"),
        "kind": _LOSS,
        "number": _number(),
    },
    "loss_backward": {
        "doutputs": _out("B C", may_be=("outputs",)),
        "outputs": _array("B C"),
        "targets": _array("B C"),
        "kind": _LOSS,
        "number": _number(),
    },
    "train_steps": {
        "memory": Parts(
            {
                "parameters": _out("P"),
                "workspace": _out("W"),
                "scores": _out("N_SCORES M", dtype="float64"),
                "sums": _out("N_SUMS U", dtype="float64"),
                "barrier": _out("BARRIER_SIZE", dtype="int64"),
            }
        ),
        "layers": _LAYERS,
        "inputs": _array("N I", "Y", dtype="samples"),
        "extended": Parts(
            {
                "states": _out("S Q"),
                "layout": _LAYOUT,
                "sample_weights": _array("V", dtype="float64"),
                "columns": _array("Z", dtype="COLUMN", optional=True),
            },
            optional=True,
        ),
        "tiles": _TILES,
        "answers": Parts({"labels": _array("K", dtype="int64"), "targets": _array("T O")}),
        "order": _array("E D", dtype="int64"),
        "keys": _array("E 2", dtype="int64", optional=True),
        "task": Parts({"job": _JOB, "steps": _array("X", dtype="STEP")}),
        "totals": _out("E N_TOTALS", dtype="float64"),
        "thread": _whole("0 <= {}"),
        "threads": _whole("thread < {}"),
    },
    "shard_gradients": {
        "memory": Parts(
            {
                "parameters": _array("P"),
                "workspace": _out("W"),
                "scores": _out("N_SCORES M", dtype="float64"),
                "barrier": _out("BARRIER_SIZE", dtype="int64"),
            }
        ),
        "layers": _LAYERS,
        "inputs": _array("N I", "Y", dtype="samples"),
        "extended": Parts(
            {
                "states": _array("S Q"),
                "layout": _LAYOUT,
                "sample_weights": _array("V", dtype="float64"),
                "columns": _array("Z", dtype="COLUMN", optional=True),
            },
            optional=True,
        ),
        "answers": Parts({"labels": _array("K", dtype="int64"), "targets": _array("T O")}),
        "indices": _array("B", dtype="int64"),
        "keys": _array("1 2", dtype="int64", optional=True),
        "bounds": _array("D", dtype="int64"),
        "job": _JOB,
        "gradients": _out("G P"),
        "thread": _whole("0 <= {}"),
        "threads": _whole("thread < {}"),
    },
    "unpack_states": {
        "states": _out("S P"),
        "workspace": _array("W"),
        "layers": _LAYERS,
        "tiles": _TILES,
    },
    "pack_network": {
        "panels": _out("Q"),
        "layers": _LAYERS,
        "tiles": _TILES,
        "parameters": _array("P"),
    },
    "predict_rows": {
        "outputs": _out("N O"),
        "workspace": _out("W"),
        "panels": _array("Q"),
        "layers": _LAYERS,
        "extended": _EXTENDED,
        "tiles": _PACKED_TILES,
        "parameters": _array("P"),
        "inputs": _array("N I"),
        "block": _whole("1 <= {}"),
        "finish": _FINISH,
    },
    "predict_few": {
        "outputs": _out("N O"),
        "workspace": _out("W"),
        "layers": _LAYERS,
        "extended": _EXTENDED,
        "parameters": _array("P"),
        "inputs": _array("N I"),
        "finish": _FINISH,
    },
}
