"""The optimizers.

The formulas and defaults are those of `torch.optim`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..kernels.catalogue import Rule
from ..settings import Setting, fraction, non_negative
from ..types import DType, Floats, Integers, Rate, Records
from ..validation import as_flag
from .optimizer import Optimizer
from .schedules import InverseTimeRate


class SGD(Optimizer):
    """Stochastic gradient descent: parameters -= learning_rate * gradients.

    With momentum, v = momentum * v + gradients replaces the gradients; with Nesterov momentum,
    gradients + momentum * v does. Sutskever and others, "On the importance of initialization and
    momentum in deep learning" (2013), in the form of PyTorch.

    Parameters
    ----------
    learning_rate : float or callable
        Above 0; a callable takes the index of a step, from 0, and returns its rate.
    momentum : float
        At least 0 and below 1.
    nesterov : bool
        Whether to use Nesterov momentum. Needs a `momentum` above 0.
    decay : float
        The rate of step s is learning_rate / (1 + decay * s).
    weight_decay : float
        weight_decay * parameters is added to the gradients.
    clip_norm : float, optional
        The largest norm of the gradients of all parameters: larger ones are scaled down to it.
    clip_value : float, optional
        Each element of the gradient is clipped to [-clip_value, clip_value].
    spare_biases : bool
        Whether weight decay leaves out biases, and the weights of :class:`LayerNorm` and
        :class:`BatchNorm`. By default it applies to all parameters, as in PyTorch.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.SGD(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0.8 , -2.05])
    """

    momentum, decay = Setting(fraction), Setting(non_negative)
    nesterov = Setting(as_flag)

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        decay: float = 0.0,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clip_norm, clip_value, spare_biases)
        self.momentum, self.nesterov, self.decay = momentum, nesterov, decay

    def _check_together(self, values: Mapping[str, Any]) -> None:
        if values.get("nesterov") and not values["momentum"]:
            raise ValueError("nesterov is True, expected a momentum above 0 with it")
        if values.get("decay") and callable(values["learning_rate"]):
            raise ValueError(f"decay is {values['decay']}, expected 0 beside a schedule")

    @property
    def rule(self) -> int:  # type: ignore[override]  # read-only here
        """The rule of the kernels."""
        if not self.momentum:
            return Rule.DESCENT
        return Rule.NESTEROV if self.nesterov else Rule.MOMENTUM

    def rates(self, first: int, count: int, dtype: DType) -> Floats:
        """Return the learning rates of some steps."""
        rates = super().rates(first, count, dtype)
        if self.decay:
            decay = InverseTimeRate(1.0, self.decay)
            rates *= [decay(first + i) for i in range(count)]
        return rates

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["first"] = self.momentum


class AdaGrad(Optimizer):
    """parameters -= learning_rate * gradients / (sqrt(sum of squared gradients) + epsilon).

    Duchi, Hazan, Singer, "Adaptive Subgradient Methods" (2011).

    Parameters
    ----------
    learning_rate : float or callable
        As in :class:`SGD`.
    epsilon : float
        At least 0.
    weight_decay : float
        As in :class:`SGD`.
    clip_norm : float, optional
        As in :class:`SGD`.
    clip_value : float, optional
        As in :class:`SGD`.
    spare_biases : bool
        As in :class:`SGD`.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.AdaGrad(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0.9, -2.1])
    """

    rule = Rule.ADAGRAD
    epsilon = Setting(non_negative)

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clip_norm, clip_value, spare_biases)
        self.epsilon = epsilon

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["epsilon"] = self.epsilon


class RMSprop(AdaGrad):
    """As :class:`AdaGrad` with a running mean: v = rho * v + (1 - rho) * gradients**2.

    Tieleman, Hinton, "Lecture 6.5" (2012).

    Parameters
    ----------
    learning_rate : float or callable
        As in :class:`SGD`.
    rho : float
        At least 0 and below 1.
    epsilon : float
        As in :class:`AdaGrad`.
    weight_decay : float
        As in :class:`SGD`.
    clip_norm : float, optional
        As in :class:`SGD`.
    clip_value : float, optional
        As in :class:`SGD`.
    spare_biases : bool
        As in :class:`SGD`.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.RMSprop(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0., -3.])
    """

    rule = Rule.RMSPROP
    rho = Setting(fraction)

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(
            learning_rate, epsilon, weight_decay, clip_norm=clip_norm, clip_value=clip_value,
            spare_biases=spare_biases,
        )  # fmt: skip
        self.rho = rho

    def _fill(self, steps: Records, numbers: Integers) -> None:
        super()._fill(steps, numbers)
        steps["second"] = self.rho


class Adam(Optimizer):
    """parameters -= learning_rate * m / (sqrt(v) + epsilon), with bias-corrected m and v.

    m = beta_1 * m + (1 - beta_1) * gradients and v = beta_2 * v + (1 - beta_2) * gradients**2, at
    step s divided by 1 - beta**s. Kingma, Ba, "Adam: A Method for Stochastic Optimization" (2015),
    algorithm 1.

    Parameters
    ----------
    learning_rate : float or callable
        As in :class:`SGD`.
    beta_1 : float
        At least 0 and below 1.
    beta_2 : float
        At least 0 and below 1.
    epsilon : float
        At least 0.
    weight_decay : float
        As in :class:`SGD`.
    amsgrad : bool
        Whether to use the largest v so far. Reddi, Kale, Kumar, "On the Convergence of
        Adam and Beyond" (2018), algorithm 2.
    clip_norm : float, optional
        As in :class:`SGD`.
    clip_value : float, optional
        As in :class:`SGD`.
    spare_biases : bool
        As in :class:`SGD`.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.Adam(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0.9, -2.1])
    """

    beta_1, beta_2 = Setting(fraction), Setting(fraction)
    epsilon, amsgrad = Setting(non_negative), Setting(as_flag)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clip_norm, clip_value, spare_biases)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.amsgrad = amsgrad

    @property
    def rule(self) -> int:  # type: ignore[override]  # read-only here
        """The rule of the kernels."""
        return Rule.AMSGRAD if self.amsgrad else Rule.ADAM

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["first"], steps["second"] = self.beta_1, self.beta_2
        steps["epsilon"] = self.epsilon
        steps["learning_rate"] /= 1 - self.beta_1**numbers
        steps["correction"] = 1 / np.sqrt(1 - self.beta_2**numbers)


class AdamW(Adam):
    """:class:`Adam` with decoupled weight decay: parameters *= 1 - learning_rate * weight_decay.

    Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.AdamW(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0.899, -2.098])
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, weight_decay, amsgrad,
            clip_norm=clip_norm, clip_value=clip_value, spare_biases=spare_biases,
        )  # fmt: skip

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["shrink"] = 1 - steps["learning_rate"] * self.weight_decay
        steps["decay"] = 0
        super()._fill(steps, numbers)


class Lion(Optimizer):
    """parameters -= learning_rate * sign(beta_1 * m + (1 - beta_1) * gradients).

    Then m = beta_2 * m + (1 - beta_2) * gradients; the sign of 0 is 0. The weight decay is
    decoupled as in :class:`AdamW`: parameters *= 1 - learning_rate * weight_decay. All
    parameters move by the same amount, so the rate should be 3 to 10 times smaller than for Adam,
    and the weight decay larger by as much. Chen and others, "Symbolic Discovery of Optimization
    Algorithms" (2023), algorithm 2.

    Parameters
    ----------
    learning_rate : float or callable
        As in :class:`SGD`.
    beta_1 : float
        At least 0 and below 1.
    beta_2 : float
        At least 0 and below 1.
    weight_decay : float
        At least 0.
    clip_norm : float, optional
        As in :class:`SGD`.
    clip_value : float, optional
        As in :class:`SGD`.
    spare_biases : bool
        As in :class:`SGD`.

    Examples
    --------
    >>> parameters = np.array([1.0, -2.0])
    >>> fastnn.Lion(0.1).update(parameters, np.array([2.0, 0.5]))
    >>> parameters.round(4)
    array([ 0.9, -2.1])
    """

    rule = Rule.LION
    beta_1, beta_2 = Setting(fraction), Setting(fraction)

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float = 0.0,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        spare_biases: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clip_norm, clip_value, spare_biases)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def _fill(self, steps: Records, numbers: Integers) -> None:
        steps["first"], steps["second"] = self.beta_1, self.beta_2
        steps["shrink"] = 1 - steps["learning_rate"] * self.weight_decay
        steps["decay"] = 0
