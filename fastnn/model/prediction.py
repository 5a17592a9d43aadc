"""What a trained model computes: predictions, outputs of layers, scores, handles."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from ..kernels.catalogue import Operation
from ..metrics import MetricLike
from ..nn.layer import Layer
from ..nn.own import is_own
from ..program.handle import CompiledModel
from ..run.data import as_data
from ..run.evaluation import as_further_metrics, evaluate
from ..types import Array, Floats, OwnLayer, Precision
from ..validation import as_scaling
from .base import Model, index_of


class PredictingModel(Model):
    """A model that predicts samples. :class:`Sequential` adds training and files."""

    def predict_proba(
        self,
        X: ArrayLike,
        *,
        batch_size: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> Floats:
        """Return the probabilities (N, C) of samples `X` (N, I).

        `batch_size`, `threads` and `precision` as in `predict`, the rest and errors as in `fit`; a
        regression model has no probabilities and raises AttributeError.
        """
        if self._program.task == "numbers":
            raise AttributeError(
                "the model predicts numbers, which have no probabilities: use predict"
            )
        scaling = as_scaling(scale, offset, self.dtype)
        program = self._program.at(precision)
        return program.outputs_in_parts(X, program.finish, batch_size, threads, scaling)

    def predict(
        self,
        X: ArrayLike,
        *,
        batch_size: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> Array:
        """Return the predictions for samples `X` (N, I).

        For a loss of classes, they are the labels (N,) of the most probable classes, int64. For
        other losses they are (N, O), or (N,) if O is 1: answers 0 or 1, int64, for
        :class:`BinaryCrossEntropy`, rates for :class:`Poisson`, and else the outputs.

        Parameters
        ----------
        X : array-like of shape (N, I)
            The samples.
        batch_size : int, optional
            The number of samples that are converted, and passed to a layer of your own, at a time.
            By default all. The built-in layers always work on small blocks.
        scale : float
            As in `fit`.
        offset : float
            As in `fit`.
        threads : int, optional
            As in `fit`, as are the errors. Several threads may predict with one model at once.
        precision : "highest", "high" or "medium", optional
            The precision of matrix products, by default that of `set_precision`.
        """
        scaling = as_scaling(scale, offset, self.dtype)
        outputs = self._program.at(precision).outputs_in_parts(
            X, Operation.IDENTITY, batch_size, threads, scaling
        )
        return self._network.loss.decide(outputs)

    def activations(
        self,
        X: ArrayLike,
        layer: int | Layer | OwnLayer,
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        precision: Precision | None = None,
    ) -> Floats:
        """Return the outputs of a layer for samples `X` (N, I), as in a prediction.

        Parameters
        ----------
        X : array-like of shape (N, I)
            The samples.
        layer : int or Layer
            The index of the layer, negative to count from the end; or the layer itself.
        scale : float
            As in `fit`.
        offset : float
            As in `fit`.
        precision : "highest", "high" or "medium", optional
            As in `fit`.

        Returns
        -------
        ndarray of shape (N, O)
        """
        last = index_of(self.layers, layer)
        scaling = as_scaling(scale, offset, self.dtype)
        program = self._program.at(precision)
        inputs = program.as_inputs(X, "X", scaling=scaling)
        return program.activations(inputs, self.layers[: last + 1])

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        metrics: Sequence[MetricLike] = (),
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        threads: int | None = None,
        precision: Precision | None = None,
    ) -> dict[str, float]:
        """Return {"loss": mean loss, "accuracy": fraction of right classes} on `X` and `y`.

        For :class:`BinaryCrossEntropy` the accuracy is the fraction of right answers; for losses of
        regression there is none. The `metrics` follow. All are weighted with `sample_weight` (N,),
        if a metric supports weights. Arguments and errors as in `fit`.
        """
        scaling = as_scaling(scale, offset, self.dtype)
        self._program.refresh()
        program = self._program.at(precision)
        data = as_data(program, X, y, sample_weight, scaling=scaling)
        return evaluate(program, data, as_further_metrics(metrics, self.loss, data), threads)

    def compiled(self, *, precision: Precision | None = None) -> CompiledModel:
        """Return a :class:`CompiledModel`: this network as it is now, also for jitted code.

        The handle has a copy of the parameters, packed once. Later training does not change it.

        Parameters
        ----------
        precision : "highest", "high" or "medium", optional
            As in `fit`; the handle keeps it.

        Raises
        ------
        ValueError
            If the network has a layer of your own, or its loss a `decide` of your own: they cannot
            be compiled.
        """
        predictor = self._program.at(precision).freeze()
        if predictor is None:
            raise ValueError("the model has a layer of your own, so it cannot be compiled")
        if is_own(self.loss, "decide"):
            raise ValueError("the loss has a `decide` of your own, so it cannot be compiled")
        return CompiledModel(predictor, self.loss)
