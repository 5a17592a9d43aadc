"""What `fit` is given: checked, and made into a run."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ..errors import MissingClassWarning, SlowTrainingWarning
from ..metrics import Metric, MetricLike, as_metrics
from ..nn.dropout import Dropout
from ..nn.layers import Layer, ParameterLayer
from ..nn.network import Network
from ..nn.normalization import BatchNorm
from ..nn.optimizer import Optimizer
from ..nn.optimizers import SGD
from ..nn.own import is_own, overrides
from ..nn.own_losses import OwnLoss
from ..program.compiled import CompiledTrainer
from ..program.make import make_trainer
from ..program.plan import make_plan, operation_of
from ..program.samples import UNSCALED, Samples, as_samples
from ..program.stream import Batches, BatchTrainer, Stream
from ..program.threads import ThreadTeam, resolve_threads, with_team
from ..program.trainer import (
    Data,
    Targets,
    Trainer,
    check_unchanged,
    compiles,
    describe_layers,
)
from ..types import Batch, BatchSource, Floats, Integers, PathLike, Scaling, Seed, Shuffle, Task
from ..validation import (
    as_class_weights,
    as_count,
    as_flag,
    as_generator,
    as_index,
    as_number,
    as_path,
    as_sample_weights,
    as_scaling,
    as_targets,
    as_values,
    unlocked,
)
from .callbacks import Callback, Run, as_callbacks
from .checkpoints import find_checkpoint
from .evaluation import evaluate, measure
from .history import History
from .loop import Draws, run_epochs
from .progress import Verbose, as_progress

if TYPE_CHECKING:
    from ..model import Sequential


class Trainable(Network):
    """A network that checks what it is to be trained and evaluated on."""

    def _prepare_fit(
        self,
        *,
        X: ArrayLike | Samples | None,
        y: ArrayLike | Targets | None,
        batches: BatchSource | None,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer | None,
        seed: Seed,
        validation_data: Batch | None,
        validation_split: float,
        sample_weight: ArrayLike | None,
        class_weight: Mapping[Any, float] | None,
        shuffle: Shuffle,
        drop_last: bool,
        steps_per_epoch: int | None,
        initial_epoch: int,
        resume: PathLike | None,
        metrics: Sequence[MetricLike],
        callbacks: Sequence[Callback],
        scale: float,
        offset: float,
        verbose: Verbose,
        threads: int | None,
    ) -> Callable[[], History]:
        """Check all arguments of `fit`; return the function that trains."""
        model = cast("Sequential", self)  # no other class is made of this one
        made_for = describe_layers(self)
        epochs, batch_size = as_count(epochs, "epochs"), as_count(batch_size, "batch_size")
        optimizer = SGD() if optimizer is None else optimizer
        self._check_fit(optimizer, threads)
        if not isinstance(shuffle, bool | np.bool_) and not callable(shuffle):
            raise TypeError(f"shuffle is {shuffle!r}, expected True, False or a callable of N")
        drop_last = as_flag(drop_last, "drop_last")
        if steps_per_epoch is not None:
            steps_per_epoch = as_count(steps_per_epoch, "steps_per_epoch")
        as_number(validation_split, "validation_split", 0, 1)
        if validation_split and validation_data is not None:
            raise ValueError("validation_split is given, expected no validation_data beside it")
        initial_epoch = as_index(initial_epoch, "initial_epoch", epochs)
        callbacks = as_callbacks(callbacks)
        callbacks += as_progress(verbose, callbacks)
        asked, resume = resume, None
        if asked is not None:
            resume = find_checkpoint(as_path(asked, "resume"))
        rng = as_generator(seed, "seed")
        scaling = as_scaling(scale, offset, self.dtype)
        validation = self._as_validation(validation_data, scaling)
        if batches is None:
            if X is None and y is None:
                raise TypeError("X and y are missing, expected both, or batches")
            data = self._as_data(X, y, sample_weight, "X", "y", "sample_weight", scaling=scaling)
            if validation_split:
                data, validation = _split(data, validation_split)
                self._warn_of_missing_classes(data, validation, validation_split, 4)
            if class_weight is not None:
                data = data._replace(weights=self._with_class_weights(data, class_weight))
            n, batch_size = len(data.inputs), min(batch_size, len(data.inputs))
            n_used = n - n % batch_size if drop_last else n
            if steps_per_epoch is not None:
                n_used = min(n_used, steps_per_epoch * batch_size)
            self._check_batches(n_used, batch_size)
        else:
            _refuse_beside_batches(
                X=X, y=y, sample_weight=sample_weight, validation_split=validation_split or None,
                drop_last=drop_last or None, resume=asked,
                metrics=None if validation else metrics or None,
            )  # fmt: skip
            source, data, n, n_used = Batches(batches, steps_per_epoch), None, 0, 0
            shuffle = False
            if any(each.chunk_steps for each in callbacks):
                raise ValueError(
                    "callbacks has a Checkpoint within epochs, which batches cannot go on from"
                )

        drops = any(isinstance(layer, Dropout) for layer in self.layers)
        order = Draws(n, n_used, rng, shuffle, drops)

        def observe() -> dict[str, float]:
            found = measure(model, data, measured, threads) if measured and data else {}
            check_unchanged(self, made_for)  # by a metric of a user's own
            if validation is None:
                return found
            held_out = evaluate(model, validation, measured, threads)
            return found | {f"val_{name}": value for name, value in held_out.items()}

        known = data or validation
        measured = self._as_metrics(metrics, known) if known else []
        observed = [f"val_{name}" for name in self._scores if validation is not None]
        if measured:  # one that raises does so here, before training
            observed = list(observe())
        watched = observe if observed else None
        run = Run(model, epochs, initial_epoch, measured, observed)
        if not isinstance(seed, np.random.Generator):  # else it is where the last run left it
            for _ in range(initial_epoch):
                order()
        compiled = compiles(self, optimizer)
        self._warn_of_slow_training(optimizer, 4)

        settings = {
            "n_samples": n, "samples_per_epoch": n_used, "batch_size": batch_size,
            "shuffle": "a function" if callable(shuffle) else bool(shuffle),
            "scale": float(scale), "offset": float(offset),
            "weighted": data is not None and len(data.weights) > 0,
        }  # fmt: skip
        rest = settings, callbacks, resume

        def train() -> History:
            if data is None:
                stream = Stream(self, optimizer, made_for, threads)
                trainer: Trainer = BatchTrainer(
                    stream, source, functools.partial(self._as_batch, class_weight, scaling)
                )
                return run_epochs(run, trainer, order, watched, *rest)
            work = 3 * batch_size * self._parameters.size

            def train_with(team: ThreadTeam) -> History:
                trainer = make_trainer(self, data, n_used, batch_size, optimizer, team, made_for)
                return run_epochs(run, trainer, order, watched, *rest)

            return with_team(resolve_threads(threads, work) if compiled else 1, train_with)

        return train

    def _check_fit(self, optimizer: Optimizer, threads: int | None) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}, expected one such as fastnn.SGD(...)")
        if self._parametric:
            optimizer.rates(0, 1, self.dtype)
        if threads is not None:
            as_count(threads, "threads")
        self._check_pieces()
        self._check_own_layers()
        if not self._parametric and not self._own_layers():
            raise ValueError("the model has no layer with parameters, so fit has nothing to train")

    def _check_batches(self, n_used: int, batch_size: int) -> None:
        """Refuse batches of one sample where a layer needs more."""
        if not any(isinstance(layer, BatchNorm) for layer in self.layers):
            return
        if batch_size == 1:
            raise ValueError("batch_size is 1, expected at least 2 samples for BatchNorm")
        if n_used % batch_size == 1:
            raise ValueError(
                f"batch_size is {batch_size}, which leaves one of {n_used} samples for the last "
                "batch, expected at least 2 for BatchNorm: drop_last=True leaves it out"
            )

    def _warn_of_slow_training(self, optimizer: Optimizer, level: int) -> None:
        """Warn the user, who is so many calls away, of what cannot be compiled."""
        optimizers = [optimizer] if overrides(optimizer, Optimizer, "update") else []
        losses = [self.loss] if self.loss.is_own else []
        own = [layer for layer in self._logit_layers() if operation_of(layer) is None]
        kinds = [
            f"{each.name if isinstance(each, OwnLoss) else type(each).__name__}, {kind} of your own"
            for kind, found in (("a layer", own), ("an optimizer", optimizers), ("a loss", losses))
            for each in found
        ]
        if kinds and not self._warned:
            self._warned = True
            warnings.warn(
                f"{kinds[0]}, cannot be compiled: the network trains layer by layer, "
                "several times as slowly where it is small",
                SlowTrainingWarning,
                stacklevel=level,
            )

    def _warn_of_missing_classes(
        self, train: Data, held_out: Data, part: float, level: int
    ) -> None:
        """Warn the user, who is so many calls away, of classes that are in one part only."""
        if self.loss.task == "numbers":
            return
        first, second = (_find_classes(data, self.loss.task) for data in (train, held_out))
        many = self.loss.task == "answers" and train.targets.shape[1] > 1
        places = {"the samples to train on": first - second, "the held-out samples": second - first}
        lines = [
            f"{_listed(classes, many)} only among {place}"
            for place, classes in places.items()
            if classes
        ]
        if lines:
            warnings.warn(
                f"validation_split is {part}, which holds out the last samples as they come: "
                f"{', '.join(lines)}. Shuffle the rows before, or give validation_data: "
                f"split(len(y), {part}, labels=y) of fastnn.datasets holds out some of each class",
                MissingClassWarning,
                stacklevel=level,
            )

    def _compiled_trainer(
        self, team: ThreadTeam, data: Data, n_used: int, batch_size: int, optimizer: Optimizer
    ) -> CompiledTrainer:
        parameters = self._show("parameters")
        n_states = len(optimizer.state_of(parameters).arrays)
        plan = make_plan(
            self._steps, data.inputs.shape[1], batch_size, self.dtype.itemsize, training=True,
            n_states=n_states, keep_gradients=optimizer.clip_norm is not None,
        )  # fmt: skip
        return CompiledTrainer(
            plan, team, parameters, data, n_used, batch_size, self.loss, optimizer,
            buffer=self._buffer,
        )  # fmt: skip

    # ------------------------------------------------------------------ data

    def _as_data(
        self,
        X: ArrayLike | Samples | None,
        y: ArrayLike | Targets | None,
        sample_weight: ArrayLike | None,
        *names: str,
        scaling: Scaling = UNSCALED,
    ) -> Data:
        """Return checked samples; `names` are those of the three arguments."""
        inputs = self._as_inputs(X, names[0], scaling=scaling, allow_empty=False)
        labels, targets = self._as_targets(y, names[1], inputs)
        weights = np.empty(0)
        if sample_weight is not None:
            weights = unlocked(as_sample_weights(sample_weight, len(inputs), names[2]))
        return Data(inputs, labels, targets, weights)

    def _as_inputs(self, X: ArrayLike | Samples | None, name: str, **expected: Any) -> Samples:
        # Without a dense layer there is no dtype to convert to.
        dtype = self.dtype if self._parametric else None
        return as_samples(X, name, n_features=self._n_features, dtype=dtype, **expected)

    def _as_targets(
        self, y: ArrayLike | Targets | None, name: str, inputs: Samples
    ) -> tuple[Integers, Floats]:
        """Return labels (N,) and rows (N, O), the latter empty where the labels say all."""
        if isinstance(y, Targets):
            return y
        given: Any = y
        n_classes = self._n_classes(inputs)
        dtype = self.dtype if self._parametric else np.float64
        if self.loss.task != "classes":
            rows = self.loss.as_targets(given, name, len(inputs), n_classes, dtype)
            if is_own(self.loss, "as_targets"):
                rows = as_values(rows, name, len(inputs), n_classes, dtype)
            return np.full(len(inputs), 0, np.int64), unlocked(rows)
        targets = as_targets(given, name, len(inputs), n_classes, dtype)
        if targets.ndim == 1:
            return targets, np.empty((0, n_classes), self.dtype)
        labels: Integers = targets.argmax(axis=1)
        return labels, unlocked(targets)

    def _n_classes(self, inputs: Samples) -> int:
        for layer in reversed(self._logit_layers()):
            if isinstance(layer, ParameterLayer):
                return layer.widths[1]
            if not isinstance(layer, Layer):
                break
        # Only a layer of the user's own knows; it gets a copy, as it may work in place.
        return int(self._forward_logits(inputs.take([0]), training=False).shape[1])

    def _with_class_weights(self, data: Data, class_weight: Mapping[Any, float]) -> Floats:
        if self.loss.task != "classes":
            raise ValueError("class_weight is given, expected a loss of classes with it")
        weights = data.weights if len(data.weights) else 1.0
        weights = weights * as_class_weights(class_weight, data.targets.shape[1])[data.labels]
        if not weights.sum() > 0:
            raise ValueError(
                "sample_weight times class_weight sums to 0, expected some weight above 0"
            )
        return weights

    def _as_batch(
        self, class_weight: Mapping[Any, float] | None, scaling: Scaling, number: int, batch: Batch
    ) -> Data:
        """Return the Data of one batch of `batches`; errors say which it is."""
        expected = "expected (X, y) or (X, y, sample_weight)"
        if not isinstance(batch, tuple | list):
            raise TypeError(f"batch {number} is of type {type(batch).__name__}, {expected}")
        if len(batch) not in (2, 3):
            raise TypeError(f"batch {number} has {len(batch)} items, {expected}")
        X, y, sample_weight = (*batch, None)[:3]
        try:
            names = "X", "y", "sample_weight"
            data = self._as_data(X, y, sample_weight, *names, scaling=scaling)
            if class_weight is not None:
                data = data._replace(weights=self._with_class_weights(data, class_weight))
            self._check_batches(len(data.inputs), len(data.inputs))
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {number}: {error}") from error
        return data

    def _as_validation(self, validation_data: Batch | None, scaling: Scaling) -> Data | None:
        if validation_data is None:
            return None
        try:
            X, y, *weights = validation_data
            (sample_weight,) = weights or [None]
        except (TypeError, ValueError):
            raise TypeError(
                "validation_data is not a pair, expected (X, y) or (X, y, sample_weight)"
            ) from None
        names = (f"validation_data[{i}]" for i in range(3))
        return self._as_data(X, y, sample_weight, *names, scaling=scaling)

    @property
    def _scores(self) -> list[str]:
        """The names of what every evaluation gives."""
        return ["loss"] if self.loss.task == "numbers" else ["loss", "accuracy"]

    def _as_metrics(self, metrics: Sequence[MetricLike], data: Data) -> list[Metric]:
        found = as_metrics(metrics, self.loss.task, data.targets.shape[1])
        return [metric for metric in found if metric.name not in self._scores]


def _refuse_beside_batches(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is given, expected batches without it")


def _find_classes(data: Data, task: Task) -> set[tuple[int, int]]:
    """Return {(output, class), ...} of samples: each of several answers has its classes 0 and 1."""
    if task == "classes":
        return {(0, label) for label in np.unique(data.labels).tolist()}
    right = data.targets > 0.5
    return {
        (output, answer)
        for answer, found in ((0, ~right), (1, right))
        for output in np.flatnonzero(found.any(axis=0)).tolist()
    }


def _listed(classes: Iterable[tuple[int, int]], many: bool) -> str:
    """Return the classes in words, with the verb."""
    names = [f"class {k}" + (f" of output {i}" if many else "") for i, k in sorted(classes)]
    if len(names) > 5:
        names[4:] = [f"{len(names) - 4} more"]
    return ", ".join(names) + (" are" if len(names) > 1 else " is")


def _split(data: Data, part: float) -> tuple[Data, Data]:
    """Return the Data to train on, and (inputs, labels, targets) of the last `part` of it."""
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
        raise ValueError(
            f"sample_weight is 0 on one side of validation_split {part}, expected some on both"
        )
    return parts
