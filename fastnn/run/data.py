"""Checks of the samples, targets and weights that a user passes, for a given network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..nn.layer import Layer, ParameterLayer
from ..nn.loss import Loss, known_rows
from ..nn.network import Network
from ..nn.normalization import BatchNorm
from ..nn.own import is_own
from ..program.batches import Batches
from ..program.program import Program
from ..program.samples import UNSCALED, Samples
from ..program.trainer import Data
from ..types import Batch, BatchSource, Floats, Integers, Scaling, Task
from ..validation import (
    as_class_weights,
    as_sample_weights,
    as_targets,
    as_values,
    as_weights,
    unlocked,
)
from .digests import digest_of_batch
from .order import count_used

NAMES = "X", "y", "sample_weight"


class Targets(NamedTuple):
    """Checked targets, which several models can share."""

    labels: Integers  # (N,) int64
    targets: Floats  # (N, O), or (0, O) where `labels` has the classes


def as_data(
    program: Program,
    X: ArrayLike | Samples | None,
    y: ArrayLike | Targets | None,
    sample_weight: ArrayLike | None = None,
    names: tuple[str, ...] = NAMES,
    scaling: Scaling = UNSCALED,
    *,
    finite: bool | Literal["later"] = True,
    is_part: bool = False,
    weighs: bool = True,
) -> Data:
    """Return checked samples; `names` are those of the three arguments.

    With "later" as `finite`, rows of the inputs are still to be checked. Samples of which no target
    is known weigh 0, unless the data `is_part` of others: then it is still to be seen to. With
    `weighs`, weights that are all 0 are refused.
    """
    inputs = program.as_inputs(X, names[0], scaling=scaling, allow_empty=False, finite=finite)
    labels, targets = as_checked_targets(program.network, y, names[1], inputs)
    weights = np.empty(0)
    if sample_weight is not None:
        as_checked = as_sample_weights if weighs else as_weights
        weights = unlocked(as_checked(sample_weight, len(inputs), names[2]))
    data = Data(inputs, labels, targets, weights)
    if is_part:
        return data
    return leave_out_unknown(data, program.network.loss, names[1], weighs=weighs)


def leave_out_unknown(data: Data, loss: Loss, name: str = "y", *, weighs: bool = True) -> Data:
    """Return samples in which those without a known target weigh 0; `name` is that of `y`.

    With `weighs`, samples that all weigh 0 are refused.
    """
    if not loss.masks_targets:
        return data
    known = known_rows(data.targets)
    if known.all():
        return data
    weights = known * (data.weights if len(data.weights) else 1.0)
    if weighs and not weights.sum() > 0:
        raise ValueError(
            f"{name} has only NaN where samples count, expected targets that are known"
        )
    return data._replace(weights=weights)


def as_checked_targets(
    network: Network, y: ArrayLike | Targets | None, name: str, inputs: Samples
) -> Targets:
    """Return the :class:`Targets` of checked samples."""
    if isinstance(y, Targets):
        return y
    values: Any = y
    n_outputs, loss = count_outputs(network, inputs), network.loss
    dtype = network.dtype if network.parametric else np.float64
    if loss.task != "classes":
        rows = loss.as_targets(values, name, len(inputs), n_outputs, dtype)
        if is_own(loss, "as_targets"):
            rows = as_values(
                rows, name, len(inputs), n_outputs, dtype, allow_nan=loss.masks_targets
            )
        return Targets(np.full(len(inputs), 0, np.int64), unlocked(rows))
    targets = as_targets(values, name, len(inputs), n_outputs, dtype)
    if targets.ndim == 1:
        return Targets(targets, np.empty((0, n_outputs), network.dtype))
    return Targets(targets.argmax(axis=1), unlocked(targets))


def count_outputs(network: Network, inputs: Samples) -> int:
    """Return the number of outputs of a network for such samples."""
    for layer in reversed(network.logit_layers()):
        if isinstance(layer, ParameterLayer):
            return layer.widths[1]
        if not isinstance(layer, Layer):
            break
    # Run the layers of the user to see their outputs, on a copy: they may work in place.
    return int(network.logits(inputs.take([0]), training=False).shape[1])


def with_class_weights(
    data: Data, class_weight: Mapping[Any, float] | None, task: Task, *, weighs: bool = True
) -> Data:
    """Return samples whose weights are multiplied by the `class_weight` of their labels.

    With `weighs`, weights that are all 0 are refused.

    Those of one yes-or-no question have the labels 0 and 1; between them the weight is linear.
    """
    if class_weight is None:
        return data
    if task == "classes":
        factors = as_class_weights(class_weight, data.targets.shape[1])[data.labels]
    elif task == "answers" and data.targets.shape[1] == 1:
        no, yes = as_class_weights(class_weight, 2)
        # What is unknown weighs 0 already.
        share = np.nan_to_num(data.targets[:, 0].astype(np.float64))
        factors = no * (1 - share) + yes * share
    else:
        raise ValueError(
            "class_weight is given, expected a loss of classes with it, or one yes-or-no question"
        )
    weights = (data.weights if len(data.weights) else 1.0) * factors
    if weighs and not weights.sum() > 0:
        raise ValueError("sample_weight times class_weight sums to 0, expected some weight above 0")
    return data._replace(weights=weights)


class ValidationParts:
    """Validation data that are read in parts, the same after each epoch.

    Attributes
    ----------
    digest : int
        Of all parts of the last time that they were read, after `keep_digest`.
    """

    def __init__(self, program: Program, source: BatchSource, scaling: Scaling) -> None:
        self.program, self.source, self.scaling = program, source, scaling
        self._has_digest, self.digest = False, 0

    def keep_digest(self) -> None:
        """Form a digest whenever the parts are read."""
        self._has_digest = True

    def __iter__(self) -> Iterator[Data]:
        """Yield the checked samples of all parts."""
        self.digest = 0
        with contextlib.closing(Batches(self.source).iterate()) as batches:
            for position, batch in batches:
                place = f"validation_data, batch {position}"
                X, y, sample_weight = _unpack(batch, place)
                try:
                    data = as_data(self.program, X, y, sample_weight, scaling=self.scaling)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"{place}: {error}") from error
                if self._has_digest:
                    self.digest = digest_of_batch(data, self.digest)
                yield data


def as_validation(
    program: Program, validation_data: Batch | BatchSource | None, scaling: Scaling
) -> Data | ValidationParts | None:
    """Return the checked samples of `validation_data`, or None; parts are checked later."""
    if validation_data is None:
        return None
    batch: Any = validation_data
    if hasattr(batch, "of_epoch") or callable(batch):
        return ValidationParts(program, batch, scaling)
    try:
        X, y, *weights = batch
        (sample_weight,) = weights or [None]
    except (TypeError, ValueError):
        raise TypeError(
            "validation_data is not a pair, expected (X, y) or (X, y, sample_weight)"
        ) from None
    names = tuple(f"validation_data[{i}]" for i in range(3))
    return as_data(program, X, y, sample_weight, names, scaling)


def as_batch(
    program: Program,
    class_weight: Mapping[Any, float] | None,
    scaling: Scaling,
    batch_size: int | None,
    drop_last: bool,
    position: int,
    batch: Batch,
) -> Data:
    """Return the checked samples of one batch of `batches`.

    `position` is that of the batch in its epoch, from 1. Errors name it. `batch_size` is that of
    the steps into which it is cut; None: it is one step.
    """
    X, y, sample_weight = _unpack(batch, f"batch {position}")
    try:
        # A batch may weigh nothing, as in a file that is sorted: its steps have no gradient.
        data = as_data(program, X, y, sample_weight, scaling=scaling, weighs=False)
        data = with_class_weights(data, class_weight, program.network.loss.task, weighs=False)
        n = len(data.inputs)
        size = n if batch_size is None else min(batch_size, n)
        check_batches(program.network, count_used(n, batch_size, drop_last), size)
    except (TypeError, ValueError) as error:
        raise type(error)(f"batch {position}: {error}") from error
    return data


def _unpack(batch: Batch, name: str) -> tuple[Any, Any, Any]:
    """Return (X, y, sample_weight or None) of a batch; TypeError for anything else."""
    expected = "expected (X, y) or (X, y, sample_weight)"
    if not isinstance(batch, tuple | list):
        raise TypeError(f"{name} is of type {type(batch).__name__}, {expected}")
    if len(batch) not in (2, 3):
        raise TypeError(f"{name} has {len(batch)} items, {expected}")
    X, y, sample_weight = (*batch, None)[:3]
    return X, y, sample_weight


def check_batches(network: Network, n_samples: int, batch_size: int) -> None:
    """Raise ValueError for batches of one sample where a BatchNorm needs at least two."""
    if not any(isinstance(layer, BatchNorm) for layer in network.layers):
        return
    if batch_size == 1:
        raise ValueError("batch_size is 1, expected at least 2 samples for BatchNorm")
    if n_samples % batch_size == 1:
        raise ValueError(
            f"batch_size is {batch_size}, which leaves one of {n_samples} samples for the last "
            "batch, expected at least 2 for BatchNorm: drop_last=True leaves it out"
        )


def split_off(data: Data, part: float) -> tuple[Data, Data]:
    """Return the samples to train on, and the last `part` of them, which is held out."""
    n_held_out = round(len(data.inputs) * part)
    n = len(data.inputs) - n_held_out
    if n == 0 or n_held_out == 0:
        raise ValueError(
            f"validation_split is {part}, expected one that leaves some of {n + n_held_out} "
            "samples on both sides"
        )
    parts = (
        Data._make(array[:n] for array in data),
        Data._make(array[n:] if len(array) else array for array in data),
    )
    if len(data.weights) and not all(each.weights.sum() > 0 for each in parts):
        what = "y is NaN" if np.isnan(data.targets).any() else "sample_weight is 0"
        raise ValueError(f"{what} on one side of validation_split {part}, expected some on both")
    return parts


def missing_classes(train: Data, held_out: Data, task: Task) -> list[str]:
    """Return a line of text for the classes that only one of two parts contains."""
    if task == "numbers":
        return []
    first, second = (_find_classes(data, task) for data in (train, held_out))
    several = task == "answers" and train.targets.shape[1] > 1
    places = {"the samples to train on": first - second, "the held-out samples": second - first}
    return [
        f"{_in_words(classes, several)} only among {place}"
        for place, classes in places.items()
        if classes
    ]


def _find_classes(data: Data, task: Task) -> set[tuple[int, int]]:
    """Return {(output, class), ...} of samples. Yes-or-no outputs have the classes 0 and 1."""
    if task == "classes":
        return {(0, label) for label in np.unique(data.labels).tolist()}
    return {
        (output, answer)
        for answer, rows in ((0, data.targets <= 0.5), (1, data.targets > 0.5))
        for output in np.flatnonzero(rows.any(axis=0)).tolist()
    }


def _in_words(classes: Iterable[tuple[int, int]], several: bool) -> str:
    """Return the classes in words, with the verb; `several` where there are several outputs."""
    names = [f"class {k}" + (f" of output {i}" if several else "") for i, k in sorted(classes)]
    if len(names) > 5:
        names[4:] = [f"{len(names) - 4} more"]
    return ", ".join(names) + (" are" if len(names) > 1 else " is")
