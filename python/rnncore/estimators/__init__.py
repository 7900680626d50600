"""Estimators in scikit-learn's manner, which work without it: for series and tables."""

from rnncore.estimators._estimator import Estimator, NotFittedError
from rnncore.estimators.classifier import RNNClassifier
from rnncore.estimators.forecaster import RNNForecaster
from rnncore.estimators.forecasting.backtest import Backtest
from rnncore.estimators.forecasting.scores import ForecastScores
from rnncore.estimators.regressor import RNNRegressor
from rnncore.estimators.seq2seq import Seq2Seq

__all__ = [
    "Backtest",
    "Estimator",
    "ForecastScores",
    "NotFittedError",
    "RNNClassifier",
    "RNNForecaster",
    "RNNRegressor",
    "Seq2Seq",
]


def __dir__() -> list[str]:
    return __all__
