"""Estimators in scikit-learn's manner, which work without it: for series and tables."""

from rnncore.estimators._estimator import Estimator, NotFittedError
from rnncore.estimators.classifier import RNNClassifier
from rnncore.estimators.regressor import RNNRegressor

__all__ = [
    "Estimator",
    "NotFittedError",
    "RNNClassifier",
    "RNNRegressor",
]


def __dir__() -> list[str]:
    return __all__
