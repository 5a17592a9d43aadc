"""scikit-learn's `MLPClassifier` and `MLPRegressor`, trained by the compiled epoch.

The parameters, fitted attributes, first weights, order of samples and steps are scikit-learn's:
a script changes its import, and gets the same curves to rounding.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..nn.layers import Layer
from ..nn.optimizer import Optimizer
from ..requirements import missing
from ..run.callbacks import Callback
from ..run.data import as_data
from ..run.history import History
from ..types import Array, Batch, DType, Floats, MaybeNone

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError:
    raise missing("MLPClassifier and MLPRegressor need", "scikit-learn", "sklearn") from None
from joblib.parallel import get_active_backend
from scipy.sparse import issparse
from scipy.special import expit, log_expit, log_softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..kernels import table as t
from ..model import Sequential, program_of
from ..nn.activations import Activation, Identity, Sigmoid, Tanh
from ..nn.classes import ACTIVATIONS, LOSSES_OF_NUMBERS
from ..nn.dropout import Dropout
from ..nn.layers import Dense, ReLU
from ..nn.loss import Loss
from ..nn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ..nn.own_losses import LossLike, as_loss
from ..run.errors import NonFiniteLossError
from .solvers import AdamSteps, MomentumSteps, StoppingRule, run_lbfgs

if TYPE_CHECKING:  # scikit-learn has no types, and its decorators would hide ours
    F = TypeVar("F", bound=Callable[..., Any])

    def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...
else:
    from sklearn.base import _fit_context
    from sklearn.utils.metaestimators import available_if

# First those of scikit-learn, under its names.
_ACTIVATIONS: dict[str, Any] = {
    "identity": Identity, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU,
    **{
        name: made
        for name, made in ACTIVATIONS.items()
        if name not in ("identity", "sigmoid", "tanh", "relu")
    },
}  # fmt: skip
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class _MLP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share."""

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's name)
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS)), list, tuple, Activation, ReLU],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {math.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "metric": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "callbacks": [list, tuple, None],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": [
            StrOptions({"float32", "float64"}),
            Options(type, {np.float32, np.float64}),
            None,
        ],
    }

    def _assign(self, given: dict[str, Any]) -> None:
        """Keep the arguments of `__init__`, also where a subclass has fewer or others."""
        for name, value in given.items():
            if name != "self":
                setattr(self, name, value)

    def _has_steps(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs the solver adam or sgd, solver is lbfgs")
        return True

    # ------------------------------------------------------------------ what was learned

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

    def transform(self, X: ArrayLike) -> Floats:
        """Return the values of the last hidden layer: (N, units), of samples `X` (N, I).

        What the network made of the features before it decides.
        """
        check_is_fitted(self)
        samples: Floats = self._as_samples(X)
        hidden = len(self.model_.layers) > 1
        return self.model_.activations(samples, -2) if hidden else samples

    def _as_samples(self, X: Any) -> Any:
        X = validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=self.model_.dtype, reset=False
        )
        return X.toarray() if issparse(X) else X

    def _outputs(self, X: Any) -> Floats:
        """Return the outputs (N, O) of the last layer: logits of a classifier."""
        return program_of(self.model_).outputs(X, "X", t.IDENTITY, self._threads())

    def _threads(self) -> int | None:
        # Beside other jobs of joblib a fit takes one thread: the cores have work already.
        backend: Any = get_active_backend()[0]
        nested: int = getattr(backend, "nesting_level", 0)
        if self.threads is None and nested:
            return 1
        return self.threads

    # ------------------------------------------------------------------ training

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: Batch | None = None,
        incremental: bool = False,
    ) -> Self:
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.solver == "lbfgs":
            self._refuse_for_lbfgs(validation_data)
        hidden, activations = self._hidden_layers()
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y = self._validate(X, y, first)
        targets = self._encode(y, first, incremental, X.dtype)
        weights = self._weigh(sample_weight, X, y)
        random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, self._count_outputs(targets)]
        if first:
            self._start(sizes, activations, X.dtype, random_state)
        else:
            known = [self.n_features_in_, *(layer.n_neurons for layer in self._dense())]
            if sizes != known:
                raise ValueError(
                    f"the layers have sizes {sizes}, expected {known}, those of the fit before"
                )
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, self._smooth(targets), weights)
        else:
            held_out = self._hold_out(X, y, targets, weights, validation_data, random_state)
            self._fit_in_batches(*held_out, random_state, incremental)
        return self

    def _refuse_for_lbfgs(self, validation_data: Batch | None) -> None:
        """Raise ValueError for what needs epochs, which L-BFGS does not have."""
        if validation_data is not None:
            raise ValueError("validation_data is given, expected None for the solver lbfgs")
        for name in ("dropout", "early_stopping", "metric", "callbacks"):
            value = getattr(self, name)
            if value:
                none = {"dropout": "0", "early_stopping": "False"}.get(name, "None")
                raise ValueError(f"{name} is {value!r}, expected {none} for the solver lbfgs")

    def _hidden_layers(self) -> tuple[list[int], list[Any]]:
        """Return the sizes of the hidden layers and the activation layer of each, checked."""
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if np.iterable(sizes) else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        if not all(isinstance(size, Integral) for size in sizes):
            raise TypeError(
                f"hidden_layer_sizes is {self.hidden_layer_sizes!r}, expected whole numbers"
            )
        given = self.activation
        if isinstance(given, list | tuple):
            if len(given) != len(sizes):
                raise ValueError(
                    f"activation has {len(given)} entries, expected {len(sizes)}, one a hidden "
                    "layer"
                )
        else:
            given = [given] * len(sizes)
        for each in given:
            if not isinstance(each, Activation | ReLU) and each not in _ACTIVATIONS:
                raise ValueError(
                    f"activation is {each!r}, expected one of {', '.join(_ACTIVATIONS)} or an "
                    "activation of fastnn"
                )
        return sizes, list(given)

    def _validate(self, X: Any, y: Any, first: bool, **options: Any) -> tuple[Any, Any]:
        """Return samples (N, I) and targets as scikit-learn checks them."""
        wanted = (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=first,
            dtype=wanted if first else self.model_.dtype, **options,
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X.toarray() if issparse(X) else X, y

    def _weigh(self, sample_weight: ArrayLike | None, X: Any, y: Any) -> Floats | None:
        """Return the weights (N,) of the samples, or None where all are 1."""
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)

    def _start(
        self, sizes: Sequence[int], activations: Sequence[Any], dtype: DType, random_state: Any
    ) -> None:
        """Make a network with scikit-learn's first weights, and empty curves.

        Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
        networks" (2010), equation 16; biases likewise.
        """
        layers: list[Layer] = []
        for i, (n_inputs, n_outputs) in enumerate(itertools.pairwise(sizes)):
            bend: Any = activations[min(i, len(activations) - 1)] if activations else None
            factor = 2.0 if bend == "logistic" or isinstance(bend, Sigmoid) else 6.0
            bound = math.sqrt(factor / (n_inputs + n_outputs))
            dense = Dense(n_inputs, n_outputs, dtype=dtype, rng=0, init="zeros")
            dense.weights = random_state.uniform(-bound, bound, (n_inputs, n_outputs))
            dense.biases = random_state.uniform(-bound, bound, n_outputs).reshape(1, -1)
            layers.append(dense)
            if i < len(activations) and bend != "identity":
                layers.append(
                    _ACTIVATIONS[bend]() if isinstance(bend, str) else copy.deepcopy(bend)
                )
            if i < len(activations) and self.dropout:
                layers.append(Dropout(self.dropout, rng=0))
        self.model_ = Sequential(layers, loss=self._make_loss())
        self.n_layers_, self.n_outputs_ = len(sizes), sizes[-1]
        self.n_iter_ = self.t_ = 0
        if self.solver != "lbfgs":
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.best_loss_: float | None = None if self.early_stopping else math.inf
            self.validation_scores_: list[float] | MaybeNone = None
            self.best_validation_score_: float | None = None

    def _fit_lbfgs(self, X: Any, targets: Array, weights: Floats | None) -> None:
        self.__dict__.pop("history_", None)  # of an earlier fit, with another solver
        as_loss, scale = self._scales()
        data = as_data(program_of(self.model_), X, targets, weights)
        mass = len(X) if weights is None else weights.sum()
        steps = itertools.count(1)

        def tell(x: Floats) -> None:
            print(f"Iteration {next(steps)}")

        try:
            with self._penalties(self.alpha / scale / mass):
                result, loss, penalty = run_lbfgs(
                    program_of(self.model_), data, scale, self._threads(),
                    callback=tell if self.verbose else None,
                    options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
                )  # fmt: skip
        except FloatingPointError as error:
            raise ValueError(_NOT_FINITE) from error
        self.n_iter_, self.loss_ = min(result.nit, self.max_iter), as_loss(loss, penalty)
        if not result.success:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) "
                f"(status={result.status}): {result.message}. You might want to increase the "
                "number of iterations (max_iter) or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _fit_in_batches(
        self,
        train: tuple[Any, Any, Any],
        held_out: tuple[Any, Any, Any, Any] | None,
        random_state: Any,
        incremental: bool,
    ) -> None:
        """Train on (X, targets, weights), and watch held-out samples where there are some."""
        X, targets, weights = train
        n = len(X)
        as_loss, scale = self._scales()
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._make_optimizer(scale)
        measure = held_out and self._make_measure(*held_out)
        if measure and self.validation_scores_ is None:
            self.validation_scores_ = []
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -math.inf
            self._best_parameters = self.model_.parameters.copy()
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = math.inf
        rule = StoppingRule(self, self._optimizer, as_loss, n, measure)
        self.n_iter_ = 0
        try:
            with self._penalties(self.alpha / scale):
                self.model_.fit(
                    X, targets, sample_weight=weights, optimizer=self._optimizer,
                    epochs=1 if incremental else self.max_iter, batch_size=self._clip_batch(n),
                    shuffle=_Order(random_state) if self.shuffle else False,
                    seed=random_state.randint(2**31) if self.dropout else 0,
                    callbacks=[rule, *(self.callbacks or ())],
                    verbose=False, threads=self._threads(),
                )  # fmt: skip
        except NonFiniteLossError as error:
            if not self.early_stopping:
                raise ValueError(f"{_NOT_FINITE} ({error})") from error
            self.validation_scores_.append(math.nan)
            warnings.warn(f"Stochastic Optimizer: {error}", ConvergenceWarning, stacklevel=4)
        except KeyboardInterrupt:
            rule.history._trim()
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:  # however it ends, the curves are those of this call
            self.history_: History | MaybeNone = rule.history
        if self.early_stopping:
            self.model_.parameters = self._best_parameters
        if not incremental and self.n_iter_ == self.max_iter and not rule.converged:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _make_optimizer(self, scale: float) -> Optimizer:
        if self.solver == "adam":
            return AdamSteps(self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon, scale)
        return MomentumSteps(self.learning_rate_init, self.momentum, self.nesterovs_momentum, scale)

    def _clip_batch(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,
            )
        return min(self.batch_size, n)

    @contextlib.contextmanager
    def _penalties(self, alpha: float) -> Iterator[None]:
        """Give the weights the penalty alpha / 2 * sum of squares, while they are trained."""
        try:
            for layer in self._dense():
                layer.weights_l2 = alpha / 2
            yield
        finally:
            for layer in self._dense():
                layer.weights_l2 = 0.0

    # ------------------------------------------------------------------ held-out samples

    def _hold_out(
        self,
        X: Array,
        y: Array,
        targets: Array,
        weights: Floats | None,
        validation_data: Batch | None,
        random_state: Any,
    ) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any, Any] | None]:
        """Return (X, targets, weights) to train on, and (X, y, targets, weights) to watch."""
        if validation_data is not None:
            return (X, self._smooth(targets), weights), self._as_validation(validation_data, y)
        if not self.early_stopping:
            return (X, self._smooth(targets), weights), None
        stratify = targets.astype(bool) if self._stratifies() else None
        train, held_out = train_test_split(
            np.arange(len(X)), random_state=random_state, test_size=self.validation_fraction,
            stratify=stratify,
        )  # fmt: skip
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        w_train, w_held_out = (
            (None, None) if weights is None else (weights[train], weights[held_out])
        )
        return (
            (X[train], self._smooth(targets[train]), w_train),
            (X[held_out], y[held_out], self._check_targets(targets[held_out], "y"), w_held_out),
        )

    def _as_validation(self, validation_data: Batch, wanted: Array) -> tuple[Any, Any, Any, Any]:
        """Return (X, y, targets, weights) of held-out samples, with targets as those `wanted`."""
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise TypeError("validation_data is not a tuple, expected (X, y) or (X, y, weights)")
        X, y, *rest = validation_data
        X, y = self._validate(X, y, False)
        if y.shape[1:] != wanted.shape[1:]:
            expected = (len(y), *wanted.shape[1:])
            raise ValueError(
                f"validation_data[1] has shape {y.shape}, expected {expected}, as y has"
            )
        weights = self._weigh(rest[0] if rest else None, X, y)
        targets = self._encode(y, False, True, self.model_.dtype, "validation_data[1]")
        return X, y, self._check_targets(targets, "validation_data[1]"), weights

    def _check_targets(self, targets: Array, name: str) -> Array:
        """Refuse targets that the loss does not take, such as counts below 0."""
        loss = self.model_.loss
        if loss.task == "numbers":
            loss.as_targets(targets, name, len(targets), targets.shape[1], self.model_.dtype)
        return targets

    def _make_measure(
        self, X: Any, y: Any, targets: Array, weights: Floats | None
    ) -> Callable[[Sequential], tuple[float, float]]:
        """Return the function that gives (loss, score) of the model on held-out samples."""
        as_loss, _ = self._scales()
        X, metric = np.ascontiguousarray(X), self._make_metric(X, y, targets, weights)
        threads = self._threads()

        def measure(model: Sequential) -> tuple[float, float]:
            outputs = program_of(model).outputs(X, "validation_data[0]", t.IDENTITY, threads)
            if not np.isfinite(outputs).all():
                return math.inf, math.nan
            each = np.ones(1) if weights is None else weights
            losses, _ = model.loss.measure(outputs, targets, each)
            if not np.isfinite(losses).all():
                return math.inf, math.nan
            loss = as_loss(float(np.average(losses, weights=weights)), 0.0)
            score = -loss if metric is None else float(metric(outputs))
            if self.early_stopping and math.isnan(score):
                raise ValueError(
                    f"metric is {self.metric!r}, which gives nan for the held-out samples: "
                    "expected a number, to find the best epoch"
                )
            return loss, score

        measure(self.model_)  # an error of a metric comes before training
        return measure

    def _make_metric(
        self, X: Any, y: Any, targets: Array, weights: Floats | None
    ) -> Callable[[Floats], Any] | None:
        """Return a function of outputs that gives their score; None where it is the loss."""
        given = {} if weights is None else {"sample_weight": weights}
        if self.metric is None:
            return lambda outputs: self._score(outputs, targets, weights)
        if self.metric == "loss":
            return None
        if callable(self.metric) and not hasattr(self.metric, "_score_func"):
            return lambda outputs: self.metric(y, self._decide(outputs))
        scorer = get_scorer(self.metric)
        view = copy.copy(self)  # without names of features: these samples have none
        view.__dict__.pop("feature_names_in_", None)
        return lambda outputs: scorer(view, X, y, **given)

    def __getstate__(self) -> Any:
        state = dict(super().__getstate__())
        if "_optimizer" in state:  # a copy of an optimizer has no averages of its own
            state["_averages"] = self._optimizer.state_of(self.model_.parameters)
        return state

    def __setstate__(self, state: Any) -> None:
        averages = state.pop("_averages", None)
        super().__setstate__(state)
        if averages is not None:
            own = self._optimizer.state_of(self.model_.parameters)
            own.iterations, own.arrays = averages.iterations, averages.arrays

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _distinct(y: Array, multilabel: bool) -> Array:
    """Return the labels of `y`, sorted."""
    if multilabel:
        return np.arange(y.shape[1])
    # scikit-learn's function takes many times as long, but has the error for mixed kinds.
    return unique_labels(y) if y.dtype == object else np.unique(y)


class _Order:
    """The orders of scikit-learn's epochs: each shuffles the one before."""

    def __init__(self, random_state: Any) -> None:
        self.random_state = random_state
        self.order: Any = None

    def __call__(self, n: int) -> Any:
        shuffled = np.arange(n)
        self.random_state.shuffle(shuffled)
        self.order = shuffled if self.order is None else self.order[shuffled]
        return self.order


class MLPClassifier(ClassifierMixin, _MLP):
    """scikit-learn's `MLPClassifier`, trained by the compiled epoch.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        The units of each hidden layer; an int is one layer, an empty sequence none.
    activation : str or activation layer, or a list of them
        Of all hidden layers, or one for each: "identity", "logistic", "tanh", "relu",
        "leaky_relu", "elu", "gelu", "silu", or a layer such as `fastnn.LeakyReLU(0.2)`.
    solver : {"adam", "sgd", "lbfgs"}
        Adam, gradient descent with momentum, or L-BFGS on all samples at once.
    alpha : float
        The factor of sum(weights**2) / 2 / (weight of the batch), which is added to the loss.
    batch_size : int or "auto"
        Samples of a batch; "auto" is the smaller of 200 and N. Not used by lbfgs.
    learning_rate : {"constant", "invscaling", "adaptive"}
        How the rate of sgd goes on from `learning_rate_init`: it stays; it is divided by
        (samples seen + 1)**power_t after each epoch; or it is divided by 5 where the training
        would stop, down to 1e-6.
    learning_rate_init : float
        The first learning rate of sgd and adam.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The most epochs of sgd and adam, or iterations of lbfgs.
    shuffle : bool
        Whether each epoch of sgd and adam has a new order of the samples.
    random_state : int, numpy.random.RandomState or None
        Of the first weights, the order of samples, dropout and what is held out: an int gives the
        same result each time.
    tol : float
        An epoch counts as an improvement where the loss falls, or the score rises, by at least
        this. For lbfgs the largest slope at which it ends.
    verbose : bool
        Print a line an epoch.
    warm_start : bool
        Whether `fit` goes on from the parameters of the call before.
    momentum : float
        Of sgd, from 0 to 1.
    nesterovs_momentum : bool
        Whether sgd with momentum takes Nesterov's step.
    early_stopping : bool
        Hold out a part of the samples, stop when its score no longer improves, and keep the
        parameters of the best epoch.
    validation_fraction : float
        The part that is held out, at least 0 and below 1.
    beta_1 : float
        The decay of Adam's average of gradients, at least 0 and below 1.
    beta_2 : float
        The decay of Adam's average of their squares, at least 0 and below 1.
    epsilon : float
        Added to the denominator of Adam's step.
    n_iter_no_change : int or inf
        sgd and adam stop where more epochs than this in a row bring no improvement.
    max_fun : int
        The most times that lbfgs may ask for the loss.
    dropout : float
        The fraction of the values of each hidden layer that is left out in training.
    class_weight : "balanced" or dict, optional
        Factors of the samples' weights, as in scikit-learn's linear models.
    label_smoothing : float
        At least 0 and below 1: this part of each target is spread over all classes.
    metric : str or callable, optional
        What `early_stopping` watches: "loss", a name of scikit-learn's scorers, or a function
        (y_true, y_pred) -> float of which more is better. By default accuracy. NaN is an error
        where it decides.
    callbacks : list of fastnn.Callback, optional
        Called around each epoch. The curves are loss, accuracy, penalty and, with held-out
        samples, val_loss and val_score (of which more is better, as `mode="auto"` knows). The
        solver lbfgs has no epochs: it refuses `callbacks`, `metric`, `dropout`, `early_stopping`
        and `validation_data`.
    threads : int, optional
        As in :meth:`Sequential.fit`; by default 1 inside a job of joblib.
    dtype : float32 or float64, optional
        Of the parameters; by default float32 where X is, else float64.

    Attributes
    ----------
    model_ : Sequential
        The network, to save, to export, or to call from jitted code.
    history_ : History
        All curves of the last call of `fit` or `partial_fit`, also where an error or Ctrl-C ended
        it; not with the solver lbfgs.
    classes_ : ndarray of shape (C,)
        The labels, sorted; of several labels a row their numbers.
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
        The samples that the training has taken.
    n_iter_ : int
        The epochs of the last call, or the iterations of lbfgs.
    n_layers_ : int
        Input, hidden layers and output.
    n_outputs_ : int
        The outputs of the network.
    out_activation_ : str
        What follows the last layer: "softmax" or "logistic".
    n_features_in_ : int
        The features of a sample.
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
        **_MLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Activation | ReLU | Sequence[str | Activation | ReLU] = "relu",
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
    ) -> None:
        self._assign(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation_data: Batch | None = None,
    ) -> Self:
        """Train on samples `X` (N, I) and targets `y`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (N, I)
            A sparse one is made dense.
        y : array-like of shape (N,) or (N, O)
            Labels of any kind; or rows of 0 and 1, one for each of several labels.
        sample_weight : array-like of shape (N,), optional
            At least 0.
        validation_data : (X, y) or (X, y, sample_weight), optional
            What is watched, in place of a part of `X`. It stops the training only with
            `early_stopping`.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(lambda self: self._has_steps())
    @_fit_context(prefer_skip_nested_validation=True)
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
            return self.model_.predict_proba(X, threads=self._threads())
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
            # Of labels whose probabilities round to 1 none comes before the others.
            found = self.model_.predict_proba(X, threads=self._threads())
            return np.log(found, out=log_expit(outputs), where=found > 0.5)
        if len(self.classes_) == 1:
            return np.zeros_like(outputs)
        return log_expit(np.hstack([-outputs, outputs]))

    @property
    def out_activation_(self) -> str:
        """The activation behind the last layer: "softmax" or "logistic"."""
        return "softmax" if len(self.classes_) > 2 and not self._multilabel else "logistic"

    def _validate(self, X: Any, y: Any, first: bool, **options: Any) -> tuple[Any, Any]:
        X, y = super()._validate(X, y, first, **options)
        return X, y.toarray() if issparse(y) else y

    def _weigh(self, sample_weight: ArrayLike | None, X: Any, y: Any) -> Floats | None:
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

    def _score(self, outputs: Floats, targets: Array, weights: Floats | None) -> Any:
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


class MLPRegressor(RegressorMixin, _MLP):
    """scikit-learn's `MLPRegressor`, trained by the compiled epoch.

    Parameters
    ----------
    loss : str, Loss, object or pair of callables
        "squared_error", "poisson" (for counts: the network gives the logarithms of what
        `predict` gives), "absolute_error", "huber" (with a delta of 1), "quantile" (the median),
        or a loss of numbers such as `fastnn.Quantile(0.9)`, also one of your own, as `Sequential`
        takes it; not with the solver lbfgs. Half the squared error, and half the Poisson
        deviance, are taken, as in scikit-learn. The gradient is the one of the sum over the
        outputs.
    hidden_layer_sizes : int or sequence of int
        The units of each hidden layer; an int is one layer, an empty sequence none.
    activation : str or activation layer, or a list of them
        Of all hidden layers, or one for each: "identity", "logistic", "tanh", "relu",
        "leaky_relu", "elu", "gelu", "silu", or a layer such as `fastnn.LeakyReLU(0.2)`.
    solver : {"adam", "sgd", "lbfgs"}
        Adam, gradient descent with momentum, or L-BFGS on all samples at once.
    alpha : float
        The factor of sum(weights**2) / 2 / (weight of the batch), which is added to the loss.
    batch_size : int or "auto"
        Samples of a batch; "auto" is the smaller of 200 and N. Not used by lbfgs.
    learning_rate : {"constant", "invscaling", "adaptive"}
        How the rate of sgd goes on from `learning_rate_init`: it stays; it is divided by
        (samples seen + 1)**power_t after each epoch; or it is divided by 5 where the training
        would stop, down to 1e-6.
    learning_rate_init : float
        The first learning rate of sgd and adam.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The most epochs of sgd and adam, or iterations of lbfgs.
    shuffle : bool
        Whether each epoch of sgd and adam has a new order of the samples.
    random_state : int, numpy.random.RandomState or None
        Of the first weights, the order of samples, dropout and what is held out: an int gives the
        same result each time.
    tol : float
        An epoch counts as an improvement where the loss falls, or the score rises, by at least
        this. For lbfgs the largest slope at which it ends.
    verbose : bool
        Print a line an epoch.
    warm_start : bool
        Whether `fit` goes on from the parameters of the call before.
    momentum : float
        Of sgd, from 0 to 1.
    nesterovs_momentum : bool
        Whether sgd with momentum takes Nesterov's step.
    early_stopping : bool
        Hold out a part of the samples, stop when its score no longer improves, and keep the
        parameters of the best epoch.
    validation_fraction : float
        The part that is held out, at least 0 and below 1.
    beta_1 : float
        The decay of Adam's average of gradients, at least 0 and below 1.
    beta_2 : float
        The decay of Adam's average of their squares, at least 0 and below 1.
    epsilon : float
        Added to the denominator of Adam's step.
    n_iter_no_change : int or inf
        sgd and adam stop where more epochs than this in a row bring no improvement.
    max_fun : int
        The most times that lbfgs may ask for the loss.
    dropout : float
        The fraction of the values of each hidden layer that is left out in training.
    metric : str or callable, optional
        What `early_stopping` watches: "loss", a name of scikit-learn's scorers, or a function
        (y_true, y_pred) -> float of which more is better. By default R2. NaN is an error
        where it decides.
    callbacks : list of fastnn.Callback, optional
        Called around each epoch. The curves are loss, penalty and, with held-out
        samples, val_loss and val_score (of which more is better: `mode="max"`). The solver lbfgs
        has no epochs: it refuses `callbacks`, `metric`, `dropout`, `early_stopping` and
        `validation_data`.
    threads : int, optional
        As in :meth:`Sequential.fit`; by default 1 inside a job of joblib.
    dtype : float32 or float64, optional
        Of the parameters; by default float32 where X is, else float64.

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
        The samples that the training has taken.
    n_iter_ : int
        The epochs of the last call, or the iterations of lbfgs.
    n_layers_ : int
        Input, hidden layers and output.
    n_outputs_ : int
        The outputs of the network.
    out_activation_ : str
        What follows the last layer: "identity", or "exp" where `loss` is "poisson".
    n_features_in_ : int
        The features of a sample.
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
        **_MLP._parameter_constraints,
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
        activation: str | Activation | ReLU | Sequence[str | Activation | ReLU] = "relu",
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
    ) -> None:
        self._assign(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation_data: Batch | None = None,
    ) -> Self:
        """Train on samples `X` (N, I) and numbers `y` (N,) or (N, O).

        The rest as in :meth:`MLPClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(lambda self: self._has_steps())
    @_fit_context(prefer_skip_nested_validation=True)
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
        return "exp" if self.model_.loss.kind == t.POISSON else "identity"

    def _validate(self, X: Any, y: Any, first: bool, **options: Any) -> tuple[Any, Any]:
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
        if loss.kind == t.POISSON and not loss.is_own:  # the sum over the outputs, not the mean
            return lambda loss, penalty: self.n_outputs_ * (loss + penalty), self.n_outputs_
        part = 0.5 if loss.kind == t.SQUARED_ERROR and not loss.is_own else 1.0
        scale = part * self.n_outputs_
        return lambda loss, penalty: part * loss + scale * penalty, scale

    def _stratifies(self) -> bool:
        return False

    def _decide(self, outputs: Floats) -> Floats:
        decided: Floats = self.model_.loss.decide(outputs)
        return decided

    def _score(self, outputs: Floats, targets: Array, weights: Floats | None) -> Any:
        """Return the mean R2 of the outputs."""
        outputs = self._decide(outputs).reshape(targets.shape)
        mean = np.average(targets, axis=0, weights=weights)
        error = np.average((targets - outputs) ** 2, axis=0, weights=weights)
        spread = np.average((targets - mean) ** 2, axis=0, weights=weights)
        known = np.where(spread > 0, spread, 1.0)
        # As scikit-learn has it where all targets are the same: 1 for the right answer, else 0.
        return np.where(spread > 0, 1 - error / known, np.where(error > 0, 0.0, 1.0)).mean()
