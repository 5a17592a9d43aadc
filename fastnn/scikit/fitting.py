"""How an estimator is fitted: checks, first weights, epochs of sgd and adam, or L-BFGS."""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ..model import program_of
from ..program.precision import resolve_precision
from ..program.ranks import Ranks, compare
from ..run.agreement import Agreement
from ..run.data import as_data
from ..run.digests import digest_of_tree
from ..run.errors import NonFiniteLossError
from ..run.history import drop_incomplete
from ..run.meeting import compare_parameters
from ..run.request import as_ranks
from ..types import Batch, Floats, Integers
from .base import MLP
from .held_out import Part, make_measure, read_validation_data, split_off
from .parameters import make_layers, read_hidden_layers
from .solvers import AdamSteps, MomentumSteps, run_lbfgs
from .stopping import StoppingRule

_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class TrainableMLP(MLP):
    """An estimator's `fit` and `partial_fit`, but for their signatures."""

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        validation_data: Batch | None = None,
        incremental: bool = False,
        ranks: Ranks | None = None,
    ) -> Self:
        before = dict(vars(self))
        try:
            with Agreement(ranks):
                self._check_ranks(ranks)
                samples, held_out, random_state = self._prepare(
                    X, y, sample_weight, validation_data, incremental
                )
            if ranks is not None:
                compare(ranks, {**self._plain_parameters(), **_describe_held_out(held_out)})
        except Exception:
            if ranks is not None:  # nothing has changed on the ranks without a fault either
                self.__dict__ = before
            raise
        if self.solver == "lbfgs":
            self._fit_lbfgs(samples)
        else:
            self._fit_in_batches(samples, held_out, random_state, incremental, ranks)
        return self

    def _check_ranks(self, ranks: Ranks | None) -> None:
        if ranks is None:
            return
        as_ranks(ranks)
        if self.solver == "lbfgs":
            raise ValueError("ranks is given, expected None for the solver lbfgs")
        if self.random_state is None:
            raise TypeError(
                "random_state is None, expected an int beside ranks: all draw the same numbers"
            )

    def _plain_parameters(self) -> dict[str, Any]:
        """Return the parameters that must be the same on all ranks, as far as they compare."""
        plain = bool, int, float, str, type(None), tuple
        return {
            name: value
            for name, value in self.get_params(deep=False).items()
            if isinstance(value, plain) and name not in ("verbose", "threads")
        }

    def _prepare(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        validation_data: Batch | None,
        incremental: bool,
    ) -> tuple[Part, Part | None, np.random.RandomState]:
        """Check all arguments, and make the network of a first fit.

        Return the samples to train on, those to measure on, and the random state.
        """
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.solver == "lbfgs":
            self._refuse_for_lbfgs(validation_data)
        hidden, activations = read_hidden_layers(self.hidden_layer_sizes, self.activation)
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        inputs, labels = self._validate(X, y, first)
        resolve_precision(self.precision, inputs.dtype)  # for its errors, before anything changes
        targets = self._encode(labels, first, incremental, inputs.dtype)
        samples = Part(inputs, labels, targets, self._weigh(sample_weight, inputs, labels))
        random_state = check_random_state(self.random_state)
        sizes = [inputs.shape[1], *hidden, self._count_outputs(targets)]
        if first:
            layers = make_layers(sizes, activations, self.dropout, inputs.dtype, random_state)
            self._begin(layers, sizes)
        else:
            known = [self.n_features_in_, *(layer.n_neurons for layer in self._dense())]
            if sizes != known:
                raise ValueError(
                    f"the layers have sizes {sizes}, expected {known}, those of the fit before"
                )
        held_out = None
        if validation_data is not None:
            held_out = read_validation_data(self, validation_data, samples.y)
        elif self.early_stopping:
            samples, held_out = split_off(self, samples, random_state)
        return samples, held_out, random_state

    def _refuse_for_lbfgs(self, validation_data: Batch | None) -> None:
        """Raise ValueError for what needs epochs, which L-BFGS does not have."""
        if validation_data is not None:
            raise ValueError("validation_data is given, expected None for the solver lbfgs")
        for name in ("dropout", "early_stopping", "metric", "callbacks"):
            value = getattr(self, name)
            if value:
                none = {"dropout": "0", "early_stopping": "False"}.get(name, "None")
                raise ValueError(f"{name} is {value!r}, expected {none} for the solver lbfgs")

    def _fit_lbfgs(self, samples: Part) -> None:
        self.__dict__.pop("history_", None)  # of an earlier fit, with another solver
        X, targets, weights = samples.X, self._smooth(samples.targets), samples.weights
        as_loss, scale = self._scales()
        program = program_of(self.model_).at(self.precision)
        data = as_data(program, X, targets, weights)
        mass = X.shape[0] if weights is None else weights.sum()
        steps = itertools.count(1)

        def tell(x: Floats) -> None:
            print(f"Iteration {next(steps)}")

        try:
            with self._penalties(self.alpha / scale / mass):
                result, loss, penalty = run_lbfgs(
                    program, data, scale, self._threads(),
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
        train: Part,
        held_out: Part | None,
        random_state: np.random.RandomState,
        incremental: bool,
        ranks: Ranks | None,
    ) -> None:
        """Train on a part of the samples, and measure on the other where there is one."""
        n = train.X.shape[0]
        as_loss, scale = self._scales()
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = self._make_optimizer(scale)
        with Agreement(ranks):  # a metric may raise
            measure = None if held_out is None else make_measure(self, held_out)
        self._begin_epochs(measure is not None)
        tells = bool(self.verbose) and (ranks is None or ranks.rank == 0)
        rule = StoppingRule(self, self._optimizer, as_loss, n, measure, tells=tells)
        try:
            with self._penalties(self.alpha / scale):
                self.model_.fit(
                    train.X, self._smooth(train.targets), sample_weight=train.weights,
                    optimizer=self._optimizer, epochs=1 if incremental else self.max_iter,
                    batch_size=self._clip_batch(n),
                    shuffle=_Order(random_state) if self.shuffle else False,
                    seed=random_state.randint(2**31) if self.dropout else 0,
                    callbacks=[rule, *(self.callbacks or ())],
                    verbose=False, threads=self._threads(), precision=self.precision,
                    ranks=ranks,
                )  # fmt: skip
        except NonFiniteLossError as error:
            if not self.early_stopping:
                raise ValueError(f"{_NOT_FINITE} ({error})") from error
            self._note_score(math.nan)
            warnings.warn(f"Stochastic Optimizer: {error}", ConvergenceWarning, stacklevel=4)
        except KeyboardInterrupt:
            drop_incomplete(rule.history)
            if ranks is not None:  # the others leave with an error too
                raise
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:  # however it ends, the curves are those of this call
            self.history_ = rule.history
        if self.early_stopping:
            self.model_.parameters = self._best_parameters
            if ranks is not None:  # a metric may have had other values on another rank
                compare_parameters(ranks, program_of(self.model_).network)
        if not incremental and self.n_iter_ == self.max_iter and not rule.converged:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _make_optimizer(self, scale: float) -> AdamSteps | MomentumSteps:
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
        """Penalize the weights with alpha / 2 * sum of squares while they are trained."""
        try:
            for layer in self._dense():
                layer.weights_l2 = alpha / 2
            yield
        finally:
            for layer in self._dense():
                layer.weights_l2 = 0.0


def _describe_held_out(held_out: Part | None) -> dict[str, Any]:
    """Return what tells the held-out samples of an estimator apart."""
    if held_out is None:
        return {"the digest of X for validation": None}
    X: Any = held_out.X
    rows = [X.data, X.indices, X.indptr] if issparse(X) else X
    parts = {"X": rows, "y": held_out.targets, "sample_weight": held_out.weights}
    return {
        f"the digest of {name} for validation": digest_of_tree(part) for name, part in parts.items()
    }


class _Order:
    """The orders of scikit-learn's epochs: each shuffles the one before."""

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.random_state = random_state
        self.order: Integers | None = None

    def __call__(self, n: int) -> Integers:
        shuffled: NDArray[np.int64] = np.arange(n)
        self.random_state.shuffle(shuffled)
        self.order = shuffled if self.order is None else self.order[shuffled]
        return self.order
