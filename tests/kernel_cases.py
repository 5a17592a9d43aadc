"""One registry of the kernels on plain arrays: what the tests check is what the benchmarks time.

Dimensions: B batch rows, I inputs, O outputs (neurons), C classes.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from catalogue_cases import names_of

from fastnn import Adam, kernels
from fastnn.kernels import catalogue, reference, reference_program
from fastnn.kernels.catalogue import Loss, Operation, Rule
from fastnn.kernels.codes import SampleType
from fastnn.kernels.records import COLUMN, SAMPLE_LAYOUT
from fastnn.nn.optimizer import as_steps


class Case(NamedTuple):
    """One kernel with one kind of arguments."""

    kernel: Callable
    reference: Callable
    dimensions: str
    """One letter for each size of a shape: "BIO" goes with (32, 784, 10)."""
    make_arguments: Callable
    """(rng, shape, dtype) -> (outputs, inputs) for `kernel(*outputs, *inputs)`; an output that is
    None is not asked for."""
    error: Callable
    """(expected outputs, *inputs) -> a bound for the rounding error of each, in units of eps."""
    gradient_of: str | None = None
    """The case whose kernel this one inverts; `dinputs` here is the gradient at `inputs` there."""
    in_place: bool = False
    """The outputs are read as well."""


# ------------------------------------------------------------------- arguments, a word for each


def _logits(rng, size, dtype):
    return 3 * rng.standard_normal((size["B"], size["C"]), dtype)


def _probabilities(rng, size, dtype):
    weights = np.exp(rng.standard_normal((size["B"], size["C"])))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(dtype)


def _labels(rng, size, dtype):
    return rng.integers(0, size["C"], size["B"])


def _rows(rng, size, dtype):
    """Soft targets, half of them 0. Their sums are 0.5 to 1.5: no kernel relies on 1."""
    weights = rng.random((size["B"], size["C"])) * rng.integers(0, 2, (size["B"], size["C"]))
    weights[:, 0] += 0.01
    sums = weights.sum(axis=1, keepdims=True)
    return (weights / sums * rng.uniform(0.5, 1.5, sums.shape)).astype(dtype)


WORDS = {
    "logits": _logits,
    "probabilities": _probabilities,
    "labels": _labels,
    "rows": _rows,
    "epsilon": lambda rng, size, dtype: 1e-7,
    "source": lambda rng, size, dtype: rng.standard_normal((size["B"] + 3, size["I"]), dtype),
    "indices": lambda rng, size, dtype: rng.integers(0, size["B"] + 3, size["B"]),
    "rate": lambda rng, size, dtype: dtype(0.05),
    "-": lambda rng, size, dtype: None,
    "chances": lambda rng, size, dtype: rng.uniform(0.05, 0.95, _shape(size)).astype(dtype),
    "counts": lambda rng, size, dtype: rng.integers(0, 4, _shape(size)).astype(dtype),
    "mask": lambda rng, size, dtype: (rng.integers(0, 2, (size["B"], size["I"])) / 0.7).astype(
        dtype
    ),
    "number": lambda rng, size, dtype: 0.3,
    "states": lambda rng, size, dtype: rng.uniform(0.1, 2, (3, size["I"])).astype(dtype),
    "step": lambda rng, size, dtype: as_steps(
        Adam(weight_decay=0.1).numbers(3, 1, np.dtype(dtype)), 1
    ),
    "small": lambda rng, size, dtype: 1e-3,
    "variances": lambda rng, size, dtype: rng.uniform(0.1, 2, (1, size["I"])).astype(dtype),
    "rows_seen": lambda rng, size, dtype: size["B"] + 1,
    "key": lambda rng, size, dtype: int(rng.integers(2**63)),
    "place": lambda rng, size, dtype: int(rng.integers(2**32)),
    "half": lambda rng, size, dtype: 0.5,
    # Of rows and columns: far from 0, and with squares that overflow.
    "far": lambda rng, size, dtype: (
        rng.standard_normal((size["B"], size["I"])) + (3e4 if dtype == np.float32 else 3e8)
    ).astype(dtype),
    "huge": lambda rng, size, dtype: (
        rng.standard_normal((size["B"], size["I"])) * (1e30 if dtype == np.float32 else 1e200)
    ).astype(dtype),
}


def _columns(size):
    """Return what is in the columns of a table: in each third one codes, in the others numbers."""
    columns, output, table = np.zeros(size["I"], COLUMN), 0, 0
    for j, column in enumerate(columns):
        count, dimension = (3 + j % 50, 1 + j % 19) if j % 3 == 0 else (0, 1)
        column["n_categories"], column["dimension"] = count, dimension
        column["table"], column["output"] = (table if count else -1), output
        output, table = output + dimension, table + count * dimension
    return columns


def _coded(rng, size, dtype):
    """Return rows of numbers and codes."""
    rows = rng.standard_normal((size["B"], size["I"]), dtype)
    for j, count in enumerate(_columns(size)["n_categories"]):
        if count:
            rows[:, j] = rng.integers(0, count, len(rows))
    return rows


def _tables(rng, size, dtype):
    columns = _columns(size)
    count = (columns["n_categories"] * columns["dimension"]).sum()
    return rng.standard_normal((1, count), dtype)


WORDS |= {
    "columns": lambda rng, size, dtype: _columns(size),
    "coded": _coded,
    "tables": _tables,
    "looked_up": lambda rng, size, dtype: rng.standard_normal(
        (size["B"], _columns(size)["dimension"].sum()), dtype
    ),
}


def _shape(size):
    return size["B"], size["O"]


ACTIVATIONS = names_of(catalogue.ACTIVATIONS, catalogue.Operation)
LOSSES = names_of([row for row in catalogue.LOSSES if row.formula], catalogue.Loss)
# The fused one is a part of a product.
RULES = names_of(
    [row for row in catalogue.RULES if row.code != catalogue.Rule.FUSED_DESCENT], catalogue.Rule
)


def _always(value):
    return lambda rng, size, dtype: value


NUMBERS = {
    SampleType.UINT8: np.uint8, SampleType.INT8: np.int8, SampleType.FLOAT16: np.float16,
    SampleType.FLOAT32: np.float32, SampleType.FLOAT64: np.float64,
}  # fmt: skip


def _layout(size, kind, strided, scale=1.0, offset=0.0):
    """Rows that lie backwards and columns two apart, behind a byte that makes all unaligned."""
    itemsize, columns = np.dtype(NUMBERS[kind]).itemsize, size["I"]
    step = itemsize * (2 if strided else 1)
    row = step * columns + strided
    first = strided + row * (size["B"] + 2) * strided
    return np.array([(kind, first, row * (1 - 2 * strided), step, scale, offset)], SAMPLE_LAYOUT)


def _bytes(rng, size, kind, strided):
    """Samples in bytes; of floats none is far from 1, so that each is finite in every dtype."""
    (layout,) = _layout(size, kind, strided)
    itemsize, width = np.dtype(NUMBERS[kind]).itemsize, abs(int(layout["row_step"]))
    size_in_bytes = strided + (size["B"] + 3) * width + itemsize
    if kind in (SampleType.UINT8, SampleType.INT8):
        return rng.integers(0, 256, size_in_bytes).astype(np.uint8)
    shape, source = (size["B"] + 3, size["I"]), np.full(size_in_bytes, 255, np.uint8)
    strides = layout["row_step"], layout["column_step"]
    numbers = np.ndarray(shape, NUMBERS[kind], source, layout["start"], strides)
    numbers[...] = rng.standard_normal(shape)
    return source


SCALINGS = {"unscaled": (1.0, 0.0), "scaled": (1 / 255, -0.3)}


def _add_layouts():
    for kind, dtype in NUMBERS.items():
        for strided in (0, 1):
            name = f"{dtype.__name__}{'-strided' * strided}"

            for scaling, factors in SCALINGS.items():

                def layout(rng, size, dtype, kind=kind, strided=strided, factors=factors):
                    return _layout(size, kind, strided, *factors)

                WORDS[f"layout-{name}-{scaling}"] = layout

            def source(rng, size, dtype, kind=kind, strided=strided):
                return _bytes(rng, size, kind, strided)

            WORDS["bytes-" + name] = source
            yield name


LAYOUTS = tuple(_add_layouts())

for _codes, _names in ((Operation, ACTIVATIONS), (Loss, LOSSES), (Rule, RULES)):
    WORDS |= {name: _always(getattr(_codes, name)) for name in _names}


def _maker(dimensions, outputs, inputs):
    """Return `make_arguments` from words: one of `WORDS`, or the dimensions of a normal array."""

    def make_arguments(rng, shape, dtype):
        size = {"1": 1, **dict(zip(dimensions, shape, strict=True))}

        def make(word):
            if word in WORDS:
                return WORDS[word](rng, size, dtype)
            return rng.standard_normal([size[letter] for letter in word], dtype)

        return tuple(map(make, outputs.split())), tuple(map(make, inputs.split()))

    return make_arguments


# ------------------------------------------- rounding errors: the terms of a sum, times their size


def _exact(expected, *inputs):
    return [0] * len(expected)


def _relative(expected, first, *inputs):
    # C terms, exp and log, and logits up to 25 apart, whose difference is rounded before exp.
    return [(first.shape[1] + 32) * np.abs(e) for e in expected]


def _convert_rows(expected, source, layout, indices):
    (rows,), (place,) = expected, layout
    if place["scale"] != 1:  # three roundings, of the scale too
        return [3 * (np.abs(rows - place["offset"]) + abs(place["offset"]))]
    return [np.abs(rows) if place["type"] == SampleType.FLOAT64 else 0]


def _dense_forward(expected, inputs, weights, biases):
    return [(len(weights) + 1) * (np.abs(inputs) @ np.abs(weights) + np.abs(biases))]


def _dense_backward(expected, doutputs, inputs, weights):
    doutputs, (rows, columns) = np.abs(doutputs), doutputs.shape
    return [
        columns * (doutputs @ np.abs(weights).T),
        rows * (np.abs(inputs).T @ doutputs),
        rows * doutputs.sum(axis=0, keepdims=True),
    ]


def _softmax_backward(expected, doutputs, outputs):
    size = np.abs(doutputs) + np.abs(doutputs * outputs).sum(axis=1, keepdims=True)
    return [(outputs.shape[1] + 3) * outputs * size]


def _logits_gradient(expected, first, targets):
    # The difference of two numbers up to 1.5, the largest sum of `_rows`, divided by B.
    return [1.5 * (first.shape[1] + 32) / max(len(first), 1)]


def _losses(expected, logits, targets):
    # The logarithm turns the relative error of a sum into an absolute one.
    return [(logits.shape[1] + 32) * (1 + expected[0])]


def _losses_and_probabilities(expected, logits, targets):
    return _losses(expected, logits, targets) + _relative(expected[1:], logits)


def _losses_and_gradient(expected, logits, targets):
    return _losses(expected, logits, targets) + _logits_gradient(expected, logits, targets)


def _sgd_update(expected, gradients, learning_rate):
    return [np.abs(expected[0]) + 2 * learning_rate * np.abs(gradients)]


def _activation_forward(expected, x, kind, number):
    # The tails of GELU and SiLU multiply an error of x by x**2.
    return [64 * (1 + x * x) * np.abs(expected[0])]


def _activation_backward(expected, doutputs, x, y, kind, number):
    return [64 * np.abs(doutputs) * (1 + x * x) * (1 + y * y)]


def _outputs_loss(expected, outputs, targets, kind, number):
    size = (1 + np.abs(outputs) + np.abs(targets)) ** 2
    return [(outputs.shape[1] + 64) * size.max(axis=1, initial=0)]


def _outputs_gradient(expected, outputs, targets, kind, number):
    return [64 * (1 + np.abs(outputs) + np.abs(targets)) * 25 / max(outputs.size, 1)]


def _spread(inputs, scales, axis):
    """Return how far rounding moves what is normalized, of inputs along an axis."""
    largest = np.abs(inputs).max(axis=axis, keepdims=True, initial=0)
    return (4 * inputs.shape[axis] + 64) * (1 + largest * scales)


def _layer_norm_forward(expected, inputs, weights, biases, epsilon):
    _, normalized, scales = expected
    bound = _spread(inputs, scales[:, None], 1)
    moved = bound * (1 + np.abs(normalized))
    return [moved * np.abs(weights) + np.abs(biases), moved, bound[:, 0] * scales]


def _batch_norm_forward(expected, inputs, weights, biases, epsilon):
    _, normalized, scales, *_ = expected
    bound = _spread(inputs, scales, 0)
    moved = bound * (1 + np.abs(normalized))
    size = (len(inputs) + 8) * np.abs(inputs).max(axis=0, keepdims=True, initial=0)
    return [
        moved * np.abs(weights) + np.abs(biases), moved, bound * scales, size, 4 * size * (1 + size)
    ]  # fmt: skip


def _embedding_backward(expected, doutputs, inputs, columns):
    dinputs, dweights = (np.zeros_like(each) for each in expected)
    reference.embedding_backward(dinputs, dweights, np.abs(doutputs), inputs, columns)
    return [0, len(inputs) * dweights]


def _norm_backward(axis):
    def error(expected, doutputs, normalized, scales, weights):
        slope, x = np.abs(doutputs * weights), np.abs(normalized)
        scales = np.abs(scales).reshape((-1, 1) if axis else (1, -1))
        size = slope + slope.mean(axis=axis, keepdims=True) if slope.size else slope
        size = size + x * (slope * x).max(axis=axis, keepdims=True, initial=0)
        rows, terms = doutputs.shape[0], doutputs.shape[axis]
        return [
            (4 * terms + 64) * size * scales,
            (rows + 8) * np.abs(doutputs * normalized).sum(axis=0, keepdims=True),
            (rows + 8) * np.abs(doutputs).sum(axis=0, keepdims=True),
        ]

    return error


def _batch_norm_predict(expected, inputs, weights, biases, mean, variance, epsilon):
    scale = np.abs(weights) / np.sqrt(variance)
    return [16 * (np.abs(inputs) * scale + np.abs(mean) * scale + np.abs(biases))]


def _running_update(expected, means, variances, rows, momentum):
    new = means, variances
    return [8 * (np.abs(e) + np.abs(n)) + 8 for e, n in zip(expected, new, strict=True)]


def _relative_to_one(expected, *inputs):
    return [4 * np.abs(e) for e in expected]


def _optimizer_update(expected, gradients, rule, step, *factors):
    # The second moment of states that go down to 0.1, under a root, in the denominator.
    return [np.full_like(value, 256 * (1 + np.abs(gradients).max(initial=0)) ** 2)
            for value in expected]  # fmt: skip


# ----------------------------------------------------------------------------------- the registry


def find_oracle(name):
    """Return the kernel `name` in NumPy."""
    return getattr(reference_program if hasattr(reference_program, name) else reference, name)


def _case(name, dimensions, outputs, inputs, error, **properties):
    kernel, oracle = getattr(kernels, name), find_oracle(name)
    return Case(
        kernel, oracle, dimensions, _maker(dimensions, outputs, inputs), error, **properties
    )


KERNELS = {
    "all_finite": _case("all_finite", "BI", "", "BI", _exact),
    "dense_forward": _case("dense_forward", "BIO", "BO", "BI IO 1O", _dense_forward),
    "dropout_forward": _case(
        "dropout_forward", "BI", "BI BI", "BI number key place place", _relative_to_one
    ),
    "dropout_backward": _case(
        "dropout_backward", "BI", "BI", "BI mask", _relative_to_one, gradient_of="dropout_forward"
    ),
    "layer_norm_forward": _case(
        "layer_norm_forward", "BI", "BI BI B", "BI 1I 1I small", _layer_norm_forward
    ),
    "layer_norm_forward-far": _case(
        "layer_norm_forward", "BI", "BI BI B", "far 1I 1I small", _layer_norm_forward
    ),
    "layer_norm_forward-huge": _case(
        "layer_norm_forward", "BI", "BI BI B", "huge 1I 1I small", _layer_norm_forward
    ),
    "layer_norm_backward": _case(
        "layer_norm_backward", "BI", "BI 1I 1I", "BI BI B 1I", _norm_backward(1),
        gradient_of="layer_norm_forward",
    ),
    "batch_norm_forward": _case(
        "batch_norm_forward", "BI", "BI BI 1I 1I 1I", "BI 1I 1I small", _batch_norm_forward
    ),
    "batch_norm_forward-far": _case(
        "batch_norm_forward", "BI", "BI BI 1I 1I 1I", "far 1I 1I small", _batch_norm_forward
    ),
    "batch_norm_backward": _case(
        "batch_norm_backward", "BI", "BI 1I 1I", "BI BI 1I 1I", _norm_backward(0),
        gradient_of="batch_norm_forward",
    ),
    "batch_norm_predict": _case(
        "batch_norm_predict", "BI", "BI", "BI 1I 1I 1I variances small", _batch_norm_predict
    ),
    "running_update": _case(
        "running_update", "BI", "1I variances", "1I variances rows_seen number", _running_update,
        in_place=True,
    ),
    "embedding_forward": _case(
        "embedding_forward", "BI", "looked_up", "coded tables columns", _exact
    ),
    "embedding_backward": _case(
        "embedding_backward", "BI", "BI tables", "looked_up coded columns", _embedding_backward
    ),
    "gather_rows": _case("gather_rows", "BI", "BI", "source indices", _exact),
    "relu_forward": _case("relu_forward", "BI", "BI", "BI", _exact),
    "relu_backward": _case(
        "relu_backward", "BI", "BI", "BI BI", _exact, gradient_of="relu_forward"
    ),
    "sgd_update": _case("sgd_update", "BI", "BI", "BI rate", _sgd_update, in_place=True),
    "softmax_forward": _case("softmax_forward", "BC", "BC", "logits", _relative),
    "softmax_backward": _case(
        "softmax_backward", "BC", "BC", "BC probabilities", _softmax_backward,
        gradient_of="softmax_forward",
    ),
}  # fmt: skip

for _layout_name, _scaling in itertools.product(LAYOUTS, SCALINGS):
    KERNELS[f"convert_rows-{_layout_name}-{_scaling}"] = _case(
        "convert_rows", "BI", "BI",
        f"bytes-{_layout_name} layout-{_layout_name}-{_scaling} indices", _convert_rows,
    )  # fmt: skip

for _suffix, _outputs in {
    "": "BI IO 1O",
    "-dinputs": "BI - -",
    "-dweights": "- IO -",
    "-dbiases": "- - 1O",
}.items():
    KERNELS["dense_backward" + _suffix] = _case(
        "dense_backward", "BIO", _outputs, "BO BI IO", _dense_backward, gradient_of="dense_forward"
    )

for _targets in ("labels", "rows"):
    for _name, _outputs, _inputs, _error, _forward in (
        ("cross_entropy_forward", "B", "probabilities {} epsilon", _relative, None),
        (
            "cross_entropy_backward", "BC", "probabilities {} epsilon", _relative,
            "cross_entropy_forward-{}",
        ),
        ("softmax_cross_entropy_forward", "B BC", "logits {}", _losses_and_probabilities, None),
        (
            "softmax_cross_entropy_backward", "BC", "probabilities {}", _logits_gradient,
            "softmax_cross_entropy_forward-{}",
        ),
        (
            "softmax_cross_entropy", "B BC", "logits {}", _losses_and_gradient,
            "softmax_cross_entropy_forward-{}",
        ),
    ):  # fmt: skip
        KERNELS[f"{_name}-{_targets}"] = _case(
            _name, "BC", _outputs, _inputs.format(_targets), _error,
            gradient_of=_forward and _forward.format(_targets),
        )  # fmt: skip

for _kind in ACTIVATIONS:
    KERNELS[f"activation_forward-{_kind}"] = _case(
        "activation_forward", "BI", "BI", f"BI {_kind} number", _activation_forward
    )
    KERNELS[f"activation_backward-{_kind}"] = _case(
        "activation_backward", "BI", "BI", f"BI BI BI {_kind} number", _activation_backward,
        gradient_of=f"activation_forward-{_kind}",
    )  # fmt: skip

for _kind in LOSSES:
    _outputs = "chances" if _kind == "BINARY_FROM_PROBABILITIES" else "BO"
    _targets = "counts" if _kind == "POISSON" else "chances"
    _arguments = f"{_outputs} {_targets} {_kind}"
    _number = "epsilon" if _kind == "BINARY_FROM_PROBABILITIES" else "number"
    KERNELS[f"loss_forward-{_kind}"] = _case(
        "loss_forward", "BO", "B", f"{_arguments} {_number}", _outputs_loss
    )
    KERNELS[f"loss_backward-{_kind}"] = _case(
        "loss_backward", "BO", "BO", f"{_arguments} {_number}", _outputs_gradient,
        gradient_of=f"loss_forward-{_kind}",
    )  # fmt: skip

for _kind in RULES:
    KERNELS[f"optimizer_update-{_kind}"] = _case(
        "optimizer_update", "I", "I states", f"I {_kind} step half number number",
        _optimizer_update, in_place=True,
    )  # fmt: skip
