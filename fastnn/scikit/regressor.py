"""The estimator of numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..kernels import catalogue
from ..nn.classes import LOSSES_OF_NUMBERS
from ..nn.loss import Loss
from ..nn.own_losses import LossLike, as_loss
from ..program.ranks import Ranks
from ..run.callbacks import Callback
from ..types import Array, Batch, DType, Floats, Precision
from .decorators import available_if, fit_context
from .fitting import TrainableMLP
from .parameters import CONSTRAINTS, ActivationLike


class MLPRegressor(RegressorMixin, TrainableMLP):
    """scikit-learn's `MLPRegressor`, trained by the compiled epoch.

    Parameters
    ----------
    loss : str, Loss, object or pair of callables
        "squared_error", "poisson" (for counts: the network gives the logarithms of what
        `predict` gives), "absolute_error", "huber" (with a delta of 1), "quantile" (the median),
        or a loss of numbers such as `fastnn.Quantile(0.9)`, also one of your own, as `Sequential`
        takes it; not with the solver lbfgs. As in scikit-learn, the loss is half the squared
        error, or half the Poisson deviance. The gradient is the one of the sum over the outputs.
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
    metric : str or callable, optional
        What `early_stopping` watches: "loss", a name of scikit-learn's scorers, or a function
        (y_true, y_pred) -> float where higher is better. By default R2. NaN is an error
        where the best epoch depends on it.
    callbacks : list of fastnn.Callback, optional
        Called around each epoch. The curves are loss, penalty and, with held-out
        samples, val_loss and val_score (higher is better: `mode="max"`). The solver lbfgs
        has no epochs: it refuses `callbacks`, `metric`, `dropout`, `early_stopping` and
        `validation_data`.
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
        All curves of the last call of `fit` or `partial_fit`; not with the solver lbfgs.
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
        What follows the last layer: "identity", or "exp" where `loss` is "poisson".
    n_features_in_ : int
        The number of features of a sample.
    feature_names_in_ : ndarray of str
        Their names, where X had names that are strings.

    Raises
    ------
    TypeError, ValueError
        As :class:`MLPClassifier`.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> network = fastnn.MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", random_state=0)
    >>> round(network.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2), 1)
    1.0
    """

    _parameter_constraints = {  # noqa: RUF012
        **CONSTRAINTS,
        "loss": [
            StrOptions(set(LOSSES_OF_NUMBERS)),
            Loss,
            HasMethods(["forward", "backward"]),
            tuple,
        ],
    }

    def __init__(
        self,
        loss: str | LossLike = "squared_error",
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
        """Train on samples `X` (N, I) and numbers `y` (N,) or (N, O).

        The rest as in :meth:`MLPClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, validation_data, ranks=ranks)

    @available_if(lambda self: self._has_steps())
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one epoch more on samples `X` (N, I) and numbers `y` (N,) or (N, O)."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: ArrayLike) -> Floats:
        """Return the predictions for samples `X` (N, I): (N, O), or (N,) of one output."""
        check_is_fitted(self)
        return self._decide(self._outputs(self._as_samples(X)))

    @property
    def out_activation_(self) -> str:
        """The activation behind the last layer: "exp" for rates, else "identity"."""
        check_is_fitted(self)
        return "exp" if self.model_.loss.kind == catalogue.Loss.POISSON else "identity"

    def _validate(
        self, X: ArrayLike, y: ArrayLike, first: bool, **options: Any
    ) -> tuple[Floats, Array]:
        return super()._validate(X, y, first, y_numeric=True, **options)

    def _encode(
        self, y: Array, first: bool, incremental: bool, dtype: DType, name: str = "y"
    ) -> Array:
        return y.reshape(len(y), -1).astype(dtype, copy=False)

    def _count_outputs(self, targets: Array) -> int:
        return targets.shape[1]

    def _make_loss(self) -> Loss:
        if isinstance(self.loss, str):
            return LOSSES_OF_NUMBERS[self.loss]()
        loss = as_loss(copy.deepcopy(self.loss))
        if loss.task != "numbers":
            raise ValueError(f"loss is {self.loss!r}, expected a loss of numbers, such as Huber()")
        if loss.is_own and self.solver == "lbfgs":
            raise ValueError(
                f"loss is {self.loss!r}, a loss of your own, "
                "expected the solver adam or sgd with it"
            )
        return loss

    def _smooth(self, targets: Array) -> Array:
        return targets

    def _scales(self) -> tuple[Callable[[float, float], float], float]:
        """Return scikit-learn's loss as a function of ours, and the factor of its gradient."""
        loss = self.model_.loss
        if loss.kind == catalogue.Loss.POISSON and not loss.is_own:
            # The sum over the outputs, not the mean.
            return lambda loss, penalty: self.n_outputs_ * (loss + penalty), self.n_outputs_
        part = 0.5 if loss.kind == catalogue.Loss.SQUARED_ERROR and not loss.is_own else 1.0
        scale = part * self.n_outputs_
        return lambda loss, penalty: part * loss + scale * penalty, scale

    def _stratifies(self) -> bool:
        return False

    def _decide(self, outputs: Floats) -> Floats:
        decided: Floats = self.model_.loss.decide(outputs)
        return decided

    def _score(self, outputs: Floats, targets: Array, weights: Floats | None) -> float:
        """Return the mean R2 of the outputs."""
        outputs = self._decide(outputs).reshape(targets.shape)
        mean = np.average(targets, axis=0, weights=weights)
        error = np.average((targets - outputs) ** 2, axis=0, weights=weights)
        spread = np.average((targets - mean) ** 2, axis=0, weights=weights)
        known = np.where(spread > 0, spread, 1.0)
        # As scikit-learn has it where all targets are the same: 1 for the right answer, else 0.
        return np.where(spread > 0, 1 - error / known, np.where(error > 0, 0.0, 1.0)).mean()
