"""A case for each row of the catalogue, for the tests of what knows all of them."""

import functools

from fastnn.kernels import catalogue
from fastnn.nn.classes import CLASSES

# Values of parameters, other than those of the constructors.
NUMBERS = {
    "negative_slope": 0.2, "alpha": 0.7, "rate": 0.5, "epsilon": 1e-3, "delta": 0.5, "q": 0.8,
    "pos_weight": 2.5,
}  # fmt: skip


def _case(name, row):
    """Return (title, what makes the layer or the loss of a row, given sizes)."""
    numbers = {row.number: NUMBERS[row.number]} if row.number else {}
    title = " ".join([name, *map(str, row.options.values())])
    return title, functools.partial(CLASSES[name], **row.options, **numbers)


# {title: what makes a layer}, such as "ReLU" and "GELU tanh". The two ends of a residual block
# stand in pairs, and an embedding comes first: they are in `test_residual.py` and
# `test_embedding.py`.
LAYERS = dict(
    _case(row.layer, row)
    for row in catalogue.OPERATIONS
    if row.layer and row.group not in ("residual", "embedding")
)
NORMS = "LayerNorm", "BatchNorm"
ACTIVATIONS = {
    title: make for title, make in LAYERS.items() if title not in ("Dense", "Dropout", *NORMS)
}
# {name of the kernels' code: what makes the loss}
LOSSES = {
    name: _case(catalogue.LOSS_OF[code].loss, catalogue.LOSS_OF[code])[1]
    for name, code in catalogue.Loss._asdict().items()
}
OPTIMIZERS = {name: CLASSES[name] for name in catalogue.OPTIMIZERS.values()}


def names_of(rows, codes):
    """Return the names of the codes of some rows."""
    names = {code: name for name, code in codes._asdict().items()}
    return tuple(names[row.code] for row in rows)
