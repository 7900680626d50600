"""Losses: each returns the weighted mean over what counts, and its gradient.

As functions of (y, target), and as objects that hold a function's numbers, for a model's `loss=`.
"""

from rnncore.losses._classes import negative_log_likelihood, softmax_cross_entropy
from rnncore.losses._ctc import LabelSequences, ctc, ctc_decode
from rnncore.losses._elementwise import (
    binary_cross_entropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    quantile,
)
from rnncore.losses._likelihoods import (
    gaussian_negative_log_likelihood,
    student_t_negative_log_likelihood,
)
from rnncore.losses._objects import (
    CTC,
    BinaryCrossEntropy,
    GaussianNegativeLogLikelihood,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    NegativeLogLikelihood,
    Quantile,
    SoftmaxCrossEntropy,
    StudentTNegativeLogLikelihood,
)
from rnncore.losses._registry import as_loss, from_description
from rnncore.losses._user import UserLoss

__all__ = [
    "CTC",
    "BinaryCrossEntropy",
    "GaussianNegativeLogLikelihood",
    "Huber",
    "LabelSequences",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "Quantile",
    "SoftmaxCrossEntropy",
    "StudentTNegativeLogLikelihood",
    "UserLoss",
    "as_loss",
    "binary_cross_entropy",
    "ctc",
    "ctc_decode",
    "from_description",
    "gaussian_negative_log_likelihood",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "negative_log_likelihood",
    "quantile",
    "softmax_cross_entropy",
    "student_t_negative_log_likelihood",
]


def __dir__() -> list[str]:
    return __all__
