"""The loss and the metrics of a network on checked samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..kernels.catalogue import Operation
from ..metrics import Metric, MetricLike, as_metrics
from ..nn.loss import Loss
from ..program.program import Program, apply_finish
from ..program.trainer import Data, Description, check_unchanged
from ..types import Array, Floats
from .data import ValidationParts


def evaluate(
    program: Program, data: Data, metrics: Iterable[Metric] = (), threads: int | None = None
) -> dict[str, float]:
    """Return {"loss": ..., "accuracy": ..., the metrics}, weighted where `data` has weights."""
    network, metrics = program.network, [*metrics]
    outputs = _outputs_for(program, data, threads)
    loss, weights = network.loss, data.weights if len(data.weights) else None
    losses, _ = loss.measure(outputs, data.loss_targets, np.ones(1) if weights is None else weights)
    scores = {"loss": float(np.average(losses, weights=weights)) + network.penalty()}
    if loss.task != "numbers":
        hits = loss.hits(outputs, data.loss_targets, data.labels)
        scores["accuracy"] = float(np.average(hits, weights=weights))
    return scores | _measure(loss, outputs, data, metrics)


def evaluate_parts(
    program: Program, parts: Iterable[Data], threads: int | None = None
) -> dict[str, float]:
    """Return what `evaluate` does, of samples that come in parts."""
    scores, sizes = [], []
    for data in parts:
        scores.append(evaluate(program, data, (), threads))
        sizes.append(float(data.weights.sum()) if len(data.weights) else len(data.inputs))
    return {
        name: float(np.average([each[name] for each in scores], weights=sizes))
        for name in scores[0]
    }


def measure(
    program: Program, data: Data, metrics: Iterable[Metric], threads: int | None = None
) -> dict[str, float]:
    """Return {name: value} of the metrics, weighted where `data` has weights."""
    outputs = _outputs_for(program, data, threads)
    return _measure(program.network.loss, outputs, data, [*metrics])


class Observer:
    """Evaluates a network after each epoch.

    On the training samples it measures the metrics, on the validation data the loss too.

    Parameters
    ----------
    program : Program
    description : tuple
        What `describe_network` gave when the data were checked.
    data : Data or None
    validation : Data, ValidationParts or None
    metrics : list of Metric
    threads : int, optional
    """

    def __init__(
        self,
        program: Program,
        description: Description,
        data: Data | None,
        validation: Data | ValidationParts | None,
        metrics: Sequence[Metric],
        threads: int | None,
    ) -> None:
        self.program, self.description, self.metrics = program, description, metrics
        self.data, self.validation, self.threads = data, validation, threads

    def __call__(self) -> dict[str, float]:
        """Return {name of a curve: its value}."""
        program, scores = self.program, {}
        if self.metrics and self.data:
            scores = measure(program, self.data, self.metrics, self.threads)
        check_unchanged(program.network, self.description)  # a user's metric may change it
        if self.validation is None:
            return scores
        if isinstance(self.validation, ValidationParts):
            held_out = evaluate_parts(program, self.validation, self.threads)
        else:
            held_out = evaluate(program, self.validation, self.metrics, self.threads)
        return scores | {f"val_{name}": value for name, value in held_out.items()}

    def find_curve_names(self) -> list[str]:
        """Return the names of the curves.

        Metrics are measured once for that. So a metric that raises does so before training.
        """
        if self.metrics:
            return list(self())
        names = score_names(self.program.network.loss) if self.validation is not None else []
        return [f"val_{name}" for name in names]


def score_names(loss: Loss) -> list[str]:
    """Return the names of the scores in every evaluation."""
    return ["loss"] if loss.task == "numbers" else ["loss", "accuracy"]


def as_further_metrics(metrics: Sequence[MetricLike], loss: Loss, data: Data) -> list[Metric]:
    """Return the metrics without those that every evaluation gives anyway."""
    names = score_names(loss)
    return [
        metric
        for metric in as_metrics(metrics, loss.task, data.targets.shape[1])
        if metric.name not in names
    ]


def _outputs_for(program: Program, data: Data, threads: int | None) -> Floats:
    return program.outputs(data.inputs, "X", Operation.IDENTITY, threads, data.targets.shape[1])


def _measure(
    loss: Loss, outputs: Floats, data: Data, metrics: Sequence[Metric]
) -> dict[str, float]:
    if loss.masks_targets and metrics:
        outputs, data = _keep_known(outputs, data, metrics)

    def squeezed(rows: Array) -> Array:  # as `decide` leaves out the axis of a single output
        return rows[:, 0] if rows.shape[1] == 1 and loss.task != "classes" else rows

    true = data.labels
    if loss.task != "classes":
        answers = (data.targets > 0.5).astype(np.int64)
        true = squeezed(answers if loss.task == "answers" else data.targets)

    def predict() -> Array:  # new rows for each metric: a user's function may change them
        return loss.decide(outputs)

    def predict_proba() -> Floats:
        return squeezed(apply_finish(outputs, loss.finish))

    asked = predict, None if loss.task == "numbers" else predict_proba
    weights = data.weights if len(data.weights) else None
    return {metric.name: metric.measure(true, *asked, weights) for metric in metrics}


def _keep_known(outputs: Floats, data: Data, metrics: Sequence[Metric]) -> tuple[Floats, Data]:
    """Return the outputs and samples whose target is known.

    Raises
    ------
    ValueError
        For several outputs, some of whose targets are not known: a metric takes whole rows.
    """
    unknown = np.isnan(data.targets)
    if not unknown.any():
        return outputs, data
    if data.targets.shape[1] > 1:
        names = ", ".join(metric.name for metric in metrics)
        raise ValueError(
            f"metrics has {names}, expected none: y has NaN in some of several outputs, which "
            "only the loss and the accuracy leave out"
        )
    known = ~unknown[:, 0]
    weights = data.weights[known] if len(data.weights) else data.weights
    data = data._replace(labels=data.labels[known], targets=data.targets[known], weights=weights)
    return outputs[known], data
