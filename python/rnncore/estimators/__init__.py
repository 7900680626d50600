"""Estimators in scikit-learn's manner, which work without it: for series and tables."""

from rnncore.estimators._estimator import Estimator, NotFittedError

__all__ = [
    "Estimator",
    "NotFittedError",
]


def __dir__() -> list[str]:
    return __all__
