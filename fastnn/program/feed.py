"""What the compiled program reads of checked data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..kernels.catalogue import is_basic
from ..nn.loss import Loss
from ..types import Array, Floats, Integers, Records
from ..validation import unlocked
from .trainer import Data


class Feed(NamedTuple):
    """Arguments of `kernels.train_steps`, whose docstring describes them."""

    inputs: Array
    extended: tuple[Array, ...] | None
    answers: tuple[Integers, Floats]


def smooth_rows(data: Data, loss: Loss) -> Data:
    """Return `data` with smoothed rows of targets: the program smooths only labels itself."""
    if len(data.targets) and loss.task == "classes":
        smoothing: Any = loss
        return data._replace(targets=smoothing.smoothed(data.targets, data.targets))
    return data


def make_feed(
    data: Data,
    loss: Loss,
    loss_parameter: float,
    operations: Iterable[int],
    states: Floats,
    *,
    is_fused: bool = True,
    columns: Records | None = None,
) -> Feed:
    """Return what the program reads of `data`, for a network of these operations.

    `states` are those of the optimizer. If `is_fused` is False, the optimizer needs the code that
    a plain network goes without. `columns` are those of the plan.
    """
    answers = data.labels, data.targets
    by_label = loss.task == "classes" and not len(data.targets)
    is_special = getattr(loss, "label_smoothing", 0) or loss_parameter or len(data.weights)
    is_plain = by_label and not is_special and all(map(is_basic, operations))
    if is_fused and is_plain and data.inputs.is_ready:
        return Feed(unlocked(data.inputs.array), None, answers)
    inputs, layout = data.inputs.view()
    extended = states, layout, data.weights
    return Feed(inputs, extended if columns is None else (*extended, columns), answers)
