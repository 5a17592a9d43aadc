"""scikit-learn's `MLPClassifier` and `MLPRegressor`, trained by the compiled epoch.

The parameters, fitted attributes, first weights, order of samples and steps are scikit-learn's:
a script changes its import, and gets the same curves to rounding.
"""

from ..requirements import missing

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError:
    raise missing("MLPClassifier and MLPRegressor need", "scikit-learn", "sklearn") from None

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
