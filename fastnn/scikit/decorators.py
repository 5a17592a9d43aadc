"""Two of scikit-learn's decorators, typed so that a type checker sees the decorated method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...
else:
    from sklearn.base import _fit_context as fit_context  # noqa: F401
    from sklearn.utils.metaestimators import available_if  # noqa: F401
