"""What both estimators share, training aside: parameters, fitted attributes, predictions."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..kernels.catalogue import Operation
from ..model import Sequential, program_of
from ..nn.layer import Layer
from ..nn.layers import Dense
from ..nn.loss import Loss
from ..nn.optimizer import State
from ..nn.optimizers import SGD
from ..run.history import History
from ..types import Array, DType, Floats, MaybeNone
from .parameters import CONSTRAINTS
from .solvers import AdamSteps, MomentumSteps


class MLP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """The parameters, the fitted attributes, and what a subclass defines for its targets."""

    _parameter_constraints = CONSTRAINTS

    model_: Sequential
    history_: History
    n_layers_: int
    n_outputs_: int
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | MaybeNone
    best_validation_score_: float | MaybeNone
    _no_improvement_count: int
    _best_parameters: Floats
    _optimizer: AdamSteps | MomentumSteps

    def _assign(self, parameters: dict[str, Any]) -> None:
        """Keep the arguments of `__init__`, also where a subclass has fewer or others."""
        for name, value in parameters.items():
            if name != "self":
                setattr(self, name, value)

    def _has_steps(self) -> bool:
        """Return True, or raise AttributeError where `partial_fit` does not exist."""
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs the solver adam or sgd, solver is lbfgs")
        return True

    # ------------------------------------------------------------------ what targets decide

    @abstractmethod
    def _encode(
        self, y: Array, first: bool, incremental: bool, dtype: DType, name: str = "y"
    ) -> Array:
        """Return targets as the network takes them: labels (N,), or rows (N, O) of `dtype`."""

    @abstractmethod
    def _count_outputs(self, targets: Array) -> int:
        """Return the number of outputs that the network has for encoded targets."""

    @abstractmethod
    def _make_loss(self) -> Loss:
        """Return the loss of the network."""

    @abstractmethod
    def _smooth(self, targets: Array) -> Array:
        """Return encoded targets as label smoothing leaves them for training."""

    @abstractmethod
    def _scales(self) -> tuple[Callable[[float, float], float], float]:
        """Return scikit-learn's loss as a function of ours, and the factor of its gradient."""

    @abstractmethod
    def _stratifies(self) -> bool:
        """Return whether held-out samples have the same shares of the classes."""

    @abstractmethod
    def _decide(self, outputs: Floats) -> Array:
        """Return what `predict` gives for outputs (N, O)."""

    @abstractmethod
    def _score(self, outputs: Floats, targets: Array, weights: Floats | None) -> float:
        """Return the score of outputs (N, O), of which more is better."""

    # ------------------------------------------------------------------ fitted attributes

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _dense(self) -> list[Dense]:
        if not hasattr(self, "model_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return [layer for layer in self.model_.layers if isinstance(layer, Dense)]

    @property
    def coefs_(self) -> list[Floats]:
        """The weights of each layer, as views: list of (I, O). Assigning copies values."""
        return [layer.weights for layer in self._dense()]

    @coefs_.setter
    def coefs_(self, values: Iterable[ArrayLike]) -> None:
        for layer, value in zip(self._dense(), values, strict=True):
            layer.weights = value

    @property
    def intercepts_(self) -> list[Floats]:
        """The biases of each layer, as views: list of (O,). Assigning copies values."""
        return [layer.biases[0] for layer in self._dense()]

    @intercepts_.setter
    def intercepts_(self, values: Iterable[ArrayLike]) -> None:
        for layer, value in zip(self._dense(), values, strict=True):
            layer.biases = np.reshape(value, (1, -1))

    @property
    def _n_features_out(self) -> int:
        return self.model_.layers[-1].n_inputs

    def _begin(self, layers: Sequence[Layer], sizes: Sequence[int]) -> None:
        """Take a new network, and empty the curves."""
        model = Sequential(layers, loss=self._make_loss())
        program_of(model).at(self.precision, SGD())  # for its errors, as with any optimizer
        self.model_ = model
        self.n_layers_, self.n_outputs_ = len(sizes), sizes[-1]
        self.n_iter_ = self.t_ = 0
        if self.solver != "lbfgs":
            self.loss_curve_ = []
            self._no_improvement_count = 0
            self.best_loss_ = None if self.early_stopping else math.inf
            self.validation_scores_ = None
            self.best_validation_score_ = None

    def _begin_epochs(self, is_measured: bool) -> None:
        """Prepare the curves for a call that trains in epochs."""
        self.n_iter_ = 0
        if is_measured and self.validation_scores_ is None:
            self.validation_scores_ = []
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -math.inf
            self._best_parameters = self.model_.parameters.copy()
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = math.inf

    def _note_epoch(self, loss: float, n_samples: int) -> None:
        """Count an epoch, and append its loss to the curve."""
        self.loss_ = loss
        self.n_iter_ += 1
        self.t_ += n_samples
        self.loss_curve_.append(loss)

    def _note_score(self, score: float) -> None:
        """Append the score of the held-out samples to the curve."""
        self.validation_scores_.append(score)

    def _judge_epoch(self) -> int:
        """Keep the best parameters; return how many epochs in a row brought no improvement."""
        if self.early_stopping:
            score, best = self.validation_scores_[-1], self.best_validation_score_
            improves = not score < best + self.tol
            if score > best:
                self.best_validation_score_ = score
                self._best_parameters = self.model_.parameters.copy()
        else:
            best_loss = math.inf if self.best_loss_ is None else self.best_loss_
            improves = not self.loss_ > best_loss - self.tol
            self.best_loss_ = min(self.loss_, best_loss)
        self._no_improvement_count = 0 if improves else self._no_improvement_count + 1
        return self._no_improvement_count

    def _forgive(self) -> None:
        """Count the epochs without an improvement from 0 again."""
        self._no_improvement_count = 0

    # ------------------------------------------------------------------ samples and outputs

    def transform(self, X: ArrayLike) -> Floats:
        """Return the values of the last hidden layer, (N, units), for samples `X` (N, I)."""
        check_is_fitted(self)
        samples = self._as_samples(X)
        if len(self.model_.layers) > 1:
            return self.model_.activations(samples, -2, precision=self.precision)
        return samples.toarray() if issparse(samples) else samples

    def _as_samples(self, X: ArrayLike) -> Any:
        """Return samples (N, I) for the fitted network, an array or a sparse matrix."""
        return validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=self.model_.dtype, reset=False
        )

    def _validate(self, X: ArrayLike, y: ArrayLike, first: bool, **options: Any) -> tuple[Any, Any]:
        """Return samples (N, I) and targets as scikit-learn checks them; both may be sparse."""
        dtypes = (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)
        samples, targets = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=first,
            dtype=dtypes if first else self.model_.dtype, **options,
        )  # fmt: skip
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        return samples.tocsr() if issparse(samples) else samples, targets

    def _weigh(self, sample_weight: ArrayLike | None, X: Any, y: Array) -> Floats | None:
        """Return the weights (N,) of the samples, or None where all are 1."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)

    def _outputs(self, X: Any) -> Floats:
        """Return the outputs (N, O) of the last layer: logits of a classifier."""
        program = program_of(self.model_).at(self.precision)
        return program.outputs(X, "X", Operation.IDENTITY, self._threads())

    def _probabilities(self, X: Any) -> Floats:
        """Return the probabilities (N, O) of the network's outputs."""
        return self.model_.predict_proba(X, threads=self._threads(), precision=self.precision)

    def _threads(self) -> int | None:
        # Beside other jobs of joblib a fit takes one thread: the cores have work already.
        backend, _ = get_active_backend()
        nested: int = getattr(backend, "nesting_level", 0)
        if self.threads is None and (nested or _is_job_of_dask()):
            return 1
        return self.threads

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_optimizer" in state:  # a copy of an optimizer has no averages of its own
            state["_averages"] = self._averages()
        best = state.get("_best_parameters")
        if best is not None and np.array_equal(best, self.model_.parameters):
            state["_best_parameters"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        averages = state.pop("_averages", None)
        state.setdefault("precision", None)  # pickles of early versions do not have it
        super().__setstate__(state)
        if averages is not None:
            own = self._averages()
            own.iterations, own.arrays = averages.iterations, averages.arrays
        if state.get("_best_parameters", ()) is None:
            self._best_parameters = self.model_.parameters.copy()

    def _averages(self) -> State:
        """Return the state of the optimizer for the parameters."""
        return self._optimizer.state_of(self.model_.parameters)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_job_of_dask() -> bool:
    """Return whether this is a job in a worker of Dask that nothing limits to a number of threads.

    Dask starts most workers with `OMP_NUM_THREADS=1`, which all of fastnn respects, but not those
    in its client's process. joblib does not know that their jobs are nested.
    """
    distributed: Any = sys.modules.get("distributed")
    if distributed is None or "OMP_NUM_THREADS" in os.environ:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
