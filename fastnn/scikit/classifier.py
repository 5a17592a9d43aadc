"""The estimator of classes and of several labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy.sparse import issparse
from scipy.special import expit, log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import check_is_fitted

from ..nn.loss import Loss
from ..nn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ..program.ranks import Ranks
from ..run.callbacks import Callback
from ..types import Array, Batch, DType, Floats, Precision
from .decorators import available_if, fit_context
from .fitting import TrainableMLP
from .parameters import CONSTRAINTS, ActivationLike


class MLPClassifier(ClassifierMixin, TrainableMLP):
    """scikit-learn's `MLPClassifier`, trained by the compiled epoch.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        The units of each hidden layer; an int is one layer, an empty sequence none.
    activation : str or activation layer, or a list of them
        Of all hidden layers, or one for each: "identity", "logistic", "tanh", "relu",
        the name of another activation, such as "leaky_relu", or a layer such as
        `fastnn.LeakyReLU(0.2)`.
    solver : {"adam", "sgd", "lbfgs"}
        Adam, gradient descent with momentum, or L-BFGS on all samples at once.
    alpha : float
        The factor of sum(weights**2) / 2 / (weight of the batch), which is added to the loss.
    batch_size : int or "auto"
        Samples of a batch; "auto" is the smaller of 200 and N. Not used by lbfgs.
    learning_rate : {"constant", "invscaling", "adaptive"}
        The schedule of sgd, from `learning_rate_init`: the rate stays the same; or it is divided
        by (samples seen + 1)**power_t after each epoch; or it is divided by 5, down to 1e-6, each
        time the training would stop.
    learning_rate_init : float
        The first learning rate of sgd and adam.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The largest number of epochs of sgd and adam, or of iterations of lbfgs.
    shuffle : bool
        Whether each epoch of sgd and adam has a new order of the samples.
    random_state : int, numpy.random.RandomState or None
        The source of the first weights, the order of the samples, dropout and the choice of the
        held-out samples: an int gives the same result each time.
    tol : float
        An epoch counts as an improvement where the loss falls, or the score rises, by at least
        this. lbfgs ends where the largest element of the gradient is at most this.
    verbose : bool
        Whether to print a line for each epoch.
    warm_start : bool
        Whether `fit` continues with the parameters of the previous call.
    momentum : float
        The momentum of sgd, from 0 to 1.
    nesterovs_momentum : bool
        Whether sgd with momentum takes Nesterov's step.
    early_stopping : bool
        Whether to hold out a part of the samples, to stop when its score no longer improves, and
        to keep the parameters of the best epoch.
    validation_fraction : float
        The part that is held out, at least 0 and below 1.
    beta_1 : float
        The decay of Adam's average of gradients, at least 0 and below 1.
    beta_2 : float
        The decay of Adam's average of their squares, at least 0 and below 1.
    epsilon : float
        Added to the denominator of Adam's step.
    n_iter_no_change : int or inf
        sgd and adam stop after more than this number of epochs in a row without an improvement.
    max_fun : int
        The largest number of times that lbfgs computes the loss.
    dropout : float
        The fraction of the values of each hidden layer that is left out in training.
    class_weight : "balanced" or dict, optional
        Factors of the samples' weights, as in scikit-learn's linear models.
    label_smoothing : float
        At least 0 and below 1: this part of each target is spread over all classes.
    metric : str or callable, optional
        What `early_stopping` watches: "loss", a name of scikit-learn's scorers, or a function
        (y_true, y_pred) -> float where higher is better. By default accuracy. NaN is an error
        where the best epoch depends on it.
    callbacks : list of fastnn.Callback, optional
        Called around each epoch. The curves are loss, accuracy, penalty and, with held-out
        samples, val_loss and val_score (higher is better, as `mode="auto"` knows). The
        solver lbfgs has no epochs: it refuses `callbacks`, `metric`, `dropout`, `early_stopping`
        and `validation_data`.
    threads : int, optional
        As in :meth:`Sequential.fit`; by default 1 inside a job of joblib.
    dtype : float32 or float64, optional
        Of the parameters; by default float32 where X is, else float64.
    precision : {"highest", "high", "medium"}, optional
        The precision of matrix products, in training and predictions, as in
        :meth:`Sequential.fit`. "high" and "medium" need parameters of float32: pass
        ``dtype="float32"`` where X has another dtype.

    Attributes
    ----------
    model_ : Sequential
        The network, to save, to export, or to call from jitted code.
    history_ : History
        All curves of the last call of `fit` or `partial_fit`, also where an error or Ctrl-C ended
        it; not with the solver lbfgs.
    classes_ : ndarray of shape (C,)
        The labels, sorted. Where a sample has several labels: 0, 1, ..., C - 1.
    coefs_ : list of ndarray
        The weights (I, O) of each layer, as views.
    intercepts_ : list of ndarray
        The biases (O,) of each layer, as views.
    loss_ : float
        The loss of the last epoch, penalty included. With sample weights it is the weighted mean
        over its samples, also where batches weigh differently.
    best_loss_ : float or None
        The least loss of an epoch; None with `early_stopping`.
    loss_curve_ : list of float
        The losses of all epochs; not with the solver lbfgs.
    validation_scores_ : list of float, or None
        The scores of the held-out samples after each epoch.
    best_validation_score_ : float or None
        The highest of them; None without `early_stopping`.
    t_ : int
        The number of samples that training has seen, each once per epoch.
    n_iter_ : int
        The number of epochs of the last call, or of iterations of lbfgs.
    n_layers_ : int
        The number of layers: input, hidden layers and output.
    n_outputs_ : int
        The number of outputs of the network.
    out_activation_ : str
        What follows the last layer: "softmax" or "logistic".
    n_features_in_ : int
        The number of features of a sample.
    feature_names_in_ : ndarray of str
        Their names, where X had names that are strings.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, and where the parameters are no longer finite.

    Examples
    --------
    >>> from fastnn.datasets import make_spiral
    >>> X, y = make_spiral(100, 3, rng=0)
    >>> X, names = X.astype(np.float64), np.array(["left", "right", "top"])
    >>> network = fastnn.MLPClassifier((32,), tol=1e-3, learning_rate_init=0.05, random_state=0)
    >>> round(network.fit(X, names[y]).score(X, names[y]), 1)
    1.0
    >>> print(*network.classes_)
    left right top
    """

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationLike | Sequence[ActivationLike] = "relu",
        *,
        solver: Literal["lbfgs", "sgd", "adam"] = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.0,
        metric: str | Callable[..., float] | None = None,
        callbacks: Sequence[Callback] | None = None,
        threads: int | None = None,
        dtype: DTypeLike | None = None,
        precision: Precision | None = None,
    ) -> None:
        self._assign(locals())

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation_data: Batch | None = None,
        ranks: Ranks | None = None,
    ) -> Self:
        """Train on samples `X` (N, I) and targets `y`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (N, I)
            Rows of a sparse matrix become dense a few at a time.
        y : array-like of shape (N,) or (N, O)
            Labels of any kind; or rows of 0 and 1, one for each of several labels.
        sample_weight : array-like of shape (N,), optional
            At least 0.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Samples to measure on after each epoch, in place of a part of `X`. They stop the
            training only with `early_stopping`.
        ranks : Ranks, optional
            Processes that train this estimator together and make the same call, see
            :mod:`fastnn.distributed`. `random_state` has to be set. Each of them gets the whole
            estimator. Not for the solver lbfgs.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation_data, ranks=ranks)

    @available_if(lambda self: self._has_steps())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train one epoch more on samples `X` (N, I) and targets `y`.

        The first call needs `classes`, all labels that will ever come.
        """
        if self.class_weight == "balanced":
            raise ValueError('class_weight is "balanced", expected a dict or None for partial_fit')
        if _check_partial_fit_first_call(self, classes):
            self._multilabel = type_of_target(y).startswith("multilabel")
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: ArrayLike) -> Array:
        """Return the labels (N,) of samples `X` (N, I), or rows (N, O) of 0 and 1."""
        check_is_fitted(self)
        return self._decide(self._outputs(self._as_samples(X)))

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return the probabilities (N, C) of the classes, or (N, O) of several labels."""
        check_is_fitted(self)
        X = self._as_samples(X)
        if self.out_activation_ == "softmax" or self._multilabel:
            return self._probabilities(X)
        outputs = self._outputs(X)
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        return expit(np.hstack([-outputs, outputs]))  # 1 - p would lose digits of small ones

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Return the logarithms of the probabilities, finite also where these are 0."""
        check_is_fitted(self)
        X = self._as_samples(X)
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return log_softmax(outputs, axis=1)
        if self._multilabel:
            # Labels whose probabilities round to 1 are equal, as in `predict_proba`.
            probabilities = self._probabilities(X)
            logs = log_expit(outputs)
            return np.log(probabilities, out=logs, where=probabilities > 0.5)
        if len(self.classes_) == 1:
            return np.zeros_like(outputs)
        return log_expit(np.hstack([-outputs, outputs]))

    @property
    def out_activation_(self) -> str:
        """The activation behind the last layer: "softmax" or "logistic"."""
        return "softmax" if len(self.classes_) > 2 and not self._multilabel else "logistic"

    def _validate(
        self, X: ArrayLike, y: ArrayLike, first: bool, **options: Any
    ) -> tuple[Floats, Array]:
        samples, targets = super()._validate(X, y, first, **options)
        return samples, targets.toarray() if issparse(targets) else targets

    def _weigh(self, sample_weight: ArrayLike | None, X: Floats, y: Array) -> Floats | None:
        weights = super()._weigh(sample_weight, X, y)
        if self.class_weight is None:
            return weights
        factors = compute_sample_weight(self.class_weight, y)
        return factors if weights is None else weights * factors

    def _encode(
        self, y: Array, first: bool, incremental: bool, dtype: DType, name: str = "y"
    ) -> Array:
        """Return labels (N,) of more than two classes, else answers (N, O)."""
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("Multioutput target data is not supported with label binarization")
        multilabel = kind == "multilabel-indicator"
        if not multilabel and kind not in ("binary", "multiclass"):
            check_classification_targets(y)  # raises
        if not hasattr(self, "classes_") or (first and not incremental):
            self._multilabel = multilabel
            self.classes_ = _distinct(y, multilabel)
        else:
            self._check_classes(_distinct(y, multilabel), name)
        if multilabel:
            return (y != 0).astype(dtype)
        labels = np.searchsorted(self.classes_, y)
        if len(self.classes_) > 2:
            return labels
        return labels.reshape(-1, 1).astype(dtype)

    def _check_classes(self, classes: Array, name: str) -> None:
        """Check the labels of `y`, or of held-out samples, of which some may be missing."""
        if self.warm_start and name == "y" and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. `self.classes_` has "
                f"{self.classes_}. '{name}' has {classes}."
            )

    def _count_outputs(self, targets: Array) -> int:
        return len(self.classes_) if targets.ndim == 1 else targets.shape[1]

    def _make_loss(self) -> Loss:
        if self.out_activation_ == "softmax":
            return SoftmaxCrossEntropy(self.label_smoothing)
        return BinaryCrossEntropy()

    def _smooth(self, targets: Array) -> Array:
        """Return targets of answers as smoothing makes them; labels are smoothed by the loss."""
        if targets.ndim == 1 or not self.label_smoothing:
            return targets
        return targets * (1 - self.label_smoothing) + self.label_smoothing / 2

    def _scales(self) -> tuple[Callable[[float, float], float], float]:
        """Return scikit-learn's loss as a function of ours, and the factor of its gradient."""
        # The loss of several answers is their sum, not their mean.
        n = self.n_outputs_ if self.out_activation_ == "logistic" else 1
        return lambda loss, penalty: n * (loss + penalty), n

    def _stratifies(self) -> bool:
        return self.n_outputs_ == 1

    def _decide(self, outputs: Floats) -> Array:
        """Return the labels of outputs (N, O)."""
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        answers = (outputs > 0).astype(np.int64)
        if self._multilabel:
            return answers
        return self.classes_[np.minimum(answers[:, 0], len(self.classes_) - 1)]

    def _score(self, outputs: Floats, targets: Array, weights: Floats | None) -> float:
        """Return the accuracy; of several labels a row is right where all are."""
        if targets.ndim == 1:
            right = outputs.argmax(axis=1) == targets
        else:
            right = ((outputs > 0) == (targets > 0.5)).all(axis=1)
        return np.average(right, weights=weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _distinct(y: Array, multilabel: bool) -> Array:
    """Return the labels of `y`, sorted."""
    if multilabel:
        return np.arange(y.shape[1])
    # scikit-learn's function takes many times as long, but has the error for mixed kinds.
    return unique_labels(y) if y.dtype == object else np.unique(y)
