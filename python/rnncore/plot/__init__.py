"""Pictures of trainings, forecasts, classes and what happens inside a layer; needs matplotlib.

Each function draws into the Axes that it is given, or into a new figure of pyplot, which a notebook
shows, and returns the Axes: ``ax.figure.savefig(path)`` writes a file. matplotlib is imported when
something is drawn.
"""

from rnncore.plot._classes import confusion_matrix
from rnncore.plot._forecasts import forecast, forecast_error
from rnncore.plot._inside import gradient_norm, trace
from rnncore.plot._training import history

__all__ = ["confusion_matrix", "forecast", "forecast_error", "gradient_norm", "history", "trace"]


def __dir__() -> list[str]:
    return __all__
