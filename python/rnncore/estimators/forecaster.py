"""RNNForecaster: the next steps of one series or many."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnncore._checks import inner_fraction, positive_int
from rnncore.estimators._estimator import Estimator
from rnncore.estimators._fitting import fitting
from rnncore.estimators.forecasting.backtest import Backtest, run_backtest
from rnncore.estimators.forecasting.fitted import FittedSeries, fit_panel
from rnncore.estimators.forecasting.frames import Answer
from rnncore.estimators.forecasting.scores import ForecastScores
from rnncore.estimators.forecasting.settings import Settings
from rnncore.estimators.forecasting.source import Source, read_first
from rnncore.estimators.forecasting.windows import SeriesTable
from rnncore.estimators.tables.panel import Panel
from rnncore.training import History


class RNNForecaster(Estimator):
    """Forecasts series: ridge regression on what is known, a network on what that leaves over.

    Parameters
    ----------
    horizon : int
        Steps to forecast.
    window : int, optional
        Steps that a forecast looks back. By default seven days of shorter steps (two of minutes),
        four weeks of days, two years of months, else 30; at least twice the horizon, where the data
        allow it.
    time : hashable, optional
        The column of times. By default pandas' index of dates, else the only column of dates, or
        of text that is dates, else, if no text is left over, the number of the row.
    target : hashable or list, optional
        What to forecast. By default the only column of numbers without another role; all columns of
        an array.
    group : hashable or list, optional
        Columns that say which series a row belongs to.
    past, future, static : hashable or list, optional
        Columns that are known up to now; ahead too (holidays, prices); that have one value for each
        group. Text becomes categories.
    freq : str or int, optional
        How far apart steps are: "15min", "h", "D", "B", "W", "M", ... or "rows", where each row is
        a step whatever its time, such as trading days. By default what the times say.
    timezone : str, optional
        The zone whose wall clock the times are.
    irregular : {"raise", "repair"}
        Whether rows out of order, times that occur twice, gaps, clock changes and missing values
        are an error that names them, or repaired: rows are sorted, rows of one time averaged, and
        series cut, so that no window holds a gap. Nothing is made up; `repairs_` says what.
    calendar : "auto", None or list of str
        Features of the time, such as "hour=13", "weekday=Mon", "month=1", "day sin 1", "year cos
        2". By default those that suit, and of which the training part has seen two periods.
    season : "auto", None or int
        Steps of a season. By default those of a day, a week or a year, by the steps' length.
    strategy : {"direct", "recursive"}
        Whether all steps are forecast at once, or one after the other from the forecasts before.
    linear : bool
        Whether there is a linear part.
    log : "auto" or bool
        Whether to try logarithms, where no target is negative.
    interval : {"residuals", "quantile"}
        Where intervals come from: the errors on the validation part, or a network that learns
        quantiles, moved apart by as much as that part needs.
    coverage : float
        The share of values, in (0, 1), that an interval is to hold.
    cell, hidden_size, num_layers, dropout, random_state, verbose
        As of `RNNClassifier`; with verbose the scores are printed too.
    learning_rate, max_iter, batch_size, clip_norm : float, int, int, float or None
        Of the training: Adam's rate, most epochs, windows per step, most of a gradient's norm.
    validation_fraction : float
        The share of each series, at its end, that chooses and is not trained on; at least `horizon`
        steps.
    early_stopping, n_iter_no_change : bool, int
        Whether to stop when the loss there has not improved for so many epochs, and keep the best.

    Attributes
    ----------
    scores_ : ForecastScores
        Errors on the validation part, beside those of simple methods; a little too good, for this
        part also chose: see `evaluate` and `backtest`.
    view_ : str
        What targets are counted from, as the validation part chose.
    season_, window_, frequency_, calendar_ : int, int, str, list of str
        As used; ``season_`` is 0 where there is none.
    repairs_ : list of str
        What was repaired, a line each.
    model_, history_ : ManyToOne or ManyToMany, History
    loss_curve_, validation_scores_ : list of float
        Loss of each epoch, on the training and the validation part: less is better.
    n_iter_, n_features_in_, feature_names_in_ : int, int, numpy.ndarray of object
        Epochs; targets, and columns of the past, known ahead, and static.

    Notes
    -----
    A forecast is anchor + linear part + network. The anchor is zero, the last value, the window's
    mean or the last season, of a series scaled by its mean and standard deviation in the training
    part. The linear part is ridge regression, for each step to come, on the differences from the
    anchor in the window, the columns of the past, the static ones and those known of that step. The
    network reads the window step by step and learns what this leaves over; it begins with nothing
    and stops where the validation part says so, which also chooses anchor, logarithms, penalty and
    how much older lags count. At last ridge regression is solved again on all rows. Forecasts far
    beyond what the window shows are cut off.
    """

    def __init__(
        self, horizon: int, window: int | None = None, *, time: Any = None, target: Any = None,
        group: Any = None, past: Any = None, future: Any = None, static: Any = None,
        freq: Any = None, timezone: str | None = None, irregular: str = "raise",
        calendar: Any = "auto", season: Any = "auto", strategy: str = "direct", linear: bool = True,
        log: Any = "auto", interval: str = "residuals", coverage: float = 0.8, cell: str = "gru",
        hidden_size: int = 32, num_layers: int = 1, dropout: float = 0.0,
        learning_rate: float = 1e-3, max_iter: int = 50, batch_size: int = 64,
        clip_norm: float | None = 1.0, validation_fraction: float = 0.15,
        early_stopping: bool = True, n_iter_no_change: int = 5, random_state: Any = None,
        verbose: bool = False,
    ) -> None:  # fmt: skip
        self.horizon, self.window = horizon, window
        self.time, self.target, self.group = time, target, group
        self.past, self.future, self.static = past, future, static
        self.freq, self.timezone, self.irregular = freq, timezone, irregular
        self.calendar, self.season, self.strategy = calendar, season, strategy
        self.linear, self.log, self.interval, self.coverage = linear, log, interval, coverage
        self.cell, self.hidden_size, self.num_layers = cell, hidden_size, num_layers
        self.dropout, self.learning_rate, self.max_iter = dropout, learning_rate, max_iter
        self.batch_size, self.clip_norm = batch_size, clip_norm
        self.validation_fraction, self.early_stopping = validation_fraction, early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.random_state, self.verbose = random_state, verbose

    def fit(self, data: Any, y: None = None, *, comm: Any = None) -> RNNForecaster:
        """Learn from series.

        Parameters
        ----------
        data : data frame, series, or array_like of shape (N,) or (N, D)
            A row for each step and group, of pandas, polars, pyarrow or numpy. Rows at the end
            without a target, but with the columns known ahead, are the steps to come of `predict`.
        y : None
            The targets are columns of `data`.
        comm : Communicator, optional
            The ranks that share the training; see `RNNClassifier.fit`.

        Returns
        -------
        RNNForecaster
            This object.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, a column is missing or holds something else, the
            series are irregular and are not to be repaired, or too short.

        Warns
        -----
        UserWarning
            If a simple method is better on the validation part.
        """
        if y is not None:
            raise ValueError("y: expected None: the targets are columns of data (target=), got y")
        with fitting(self, comm) as ranks:
            settings, panel = Settings.read(self.get_params()), read_first(data, self.get_params())
            trained, fit = fit_panel(panel, settings, ranks)
            if settings.progress and ranks.first:
                print(fit.scores)
            fit.scores.warn()
        self._source = Source.of(panel, data, trained)
        self._trained, self.model_ = trained, trained.core.model
        self.scores_, self.view_ = fit.scores, str(fit.choice)
        self.validation_scores_ = list(fit.history.validation_loss)
        self._describe(fit.history, fit.history.loss)
        return self

    def partial_fit(self, data: Any, y: None = None, *, comm: Any = None) -> RNNForecaster:
        """Go on learning from new rows; the first call is a `fit`.

        The network is trained once on the windows of `data`; all else stays, as do groups without
        new rows. `predict` goes on behind the rows, or behind those before if they end later.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(data, y, comm=comm)
        with fitting(self, comm) as ranks:
            panel = self._source.read_on(data, self.get_params(), self.window_)
            found = self._trained.train_once(panel.series, Settings.read(self.get_params()), ranks)
        self._source = self._source.gone_on(panel, data, self._trained)
        self._describe(found, self.loss_curve_ + found.loss)
        return self

    def predict(self, data: Any = None, *, future: Any = None) -> Any:
        """Forecast the `horizon` steps that follow.

        Parameters
        ----------
        data : data frame, series or array_like, optional
            Rows up to now, at least `window_` without a gap for each group; groups that `fit` has
            not seen too. By default those of `fit`; rows that go on where these ended, by their
            times, are forecast from both.
        future : data frame, or array_like of shape (N, F), optional
            Group, time and columns known ahead of the steps to come, and perhaps of others. By
            default those that `data` has behind the last target.

        Returns
        -------
        data frame, series or numpy.ndarray
            Of the caller's kind: groups, times and targets, `horizon` rows for each group; a series
            for a series; (H,) or (H, D) for an array.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If columns or steps are missing, or hold something else; if no group is long enough.

        Warns
        -----
        UserWarning
            If some groups are too short or end with a gap; it names them, and the others are
            forecast.
        """
        answer = self._answer(data, future, None)
        return answer.frame(answer.values)

    def predict_interval(
        self, data: Any = None, *, coverage: float | None = None, future: Any = None
    ) -> Any:
        """Forecast the steps that follow, with an interval for each.

        Parameters
        ----------
        data, future
            As for `predict`.
        coverage : float
            Of the intervals; by default the parameter.

        Returns
        -------
        data frame or numpy.ndarray
            As `predict`; for each target three columns, "y", "y_lower" and "y_upper", or a last
            axis of three.

        Notes
        -----
        Intervals are split conformal ones: they reach as far as the errors on the validation part,
        a little further the fewer forecasts fit there without a common step. Under ten of these
        intervals are as wide for the first step as for the last, and at 80 % under four they reach
        as far as the largest error: then take more rows, or a larger `validation_fraction`.
        """
        answer = self._answer(data, future, self._coverage(coverage))
        return answer.frame(answer.values[..., [1, 0, 2]], ("", "_lower", "_upper"))

    def predict_history(
        self, data: Any, *, every: int | None = None, coverage: float | None = None
    ) -> Any:
        """Forecast steps of `data` itself, each from the rows in front of it alone.

        Parameters
        ----------
        data : data frame, series or array_like
            As for `evaluate`.
        every : int, optional
            Steps from one forecast to the next, the last one at the end of each piece without gaps;
            `horizon` by default, so that they follow one another.
        coverage : float, optional
            As for `predict_interval`.

        Returns
        -------
        data frame or numpy.ndarray
            As `predict_interval` gives it, with a column "step", 1 to `horizon`; an array has no
            such column.
        """
        share = self._coverage(coverage)
        panel, table, trained = self._read_on(data)
        step = trained.core.future if every is None else positive_int("every", every)
        windows = trained.windows(table).every(step)
        values = trained.values(table, windows, share)
        answer = Answer.of_windows(panel, windows, values, data)
        return answer.frame(values[..., [1, 0, 2]], ("", "_lower", "_upper"), steps=True)

    def evaluate(self, data: Any) -> ForecastScores:
        """Forecast every piece of `data` that is long enough, and compare with what came.

        Parameters
        ----------
        data : data frame, series or array_like
            As for `fit`. Rows that go on where those of `fit` ended, by their times, may be
            forecast from these. A new group is scaled by its first window, but by `predict` by all
            rows it is given: of a group that grows, `predict` knows more than was tried here.

        Returns
        -------
        ForecastScores
            Errors of the forecaster and of the simple methods.
        """
        _, table, trained = self._read_on(data)
        return trained.scores("test data", table, trained.windows(table))

    def score(self, data: Any, y: None = None) -> float:
        """Return R^2, the mean over targets, of all forecasts that `evaluate` makes.

        scikit-learn's GridSearchCV uses it if no ``scoring`` is given. Named scorers, such as
        "neg_mean_absolute_error", compare `predict(X)` with a y, which there is none of: they fail,
        which ``error_score`` turns into NaN.
        """
        _, table, trained = self._read_on(data)
        return trained.r_squared(table)

    def backtest(
        self, data: Any, *, origins: int = 5, every: int | None = None, comm: Any = None
    ) -> Backtest:
        """Fit and forecast again from several origins, each time from the rows before it alone.

        Parameters
        ----------
        data, comm
            As for `fit`.
        origins, every : int
            How many, and how many steps apart, `horizon` by default, which the last one leaves.

        Returns
        -------
        Backtest
            Errors beside the simple methods', and what share of values the intervals held. This
            forecaster stays as it is. Series with a gap at an origin do not count there; origins
            at which all have one are skipped, with a warning.
        """
        with fitting(self, comm) as ranks:
            settings, panel = Settings.read(self.get_params()), read_first(data, self.get_params())
            return run_backtest(panel, settings, positive_int("origins", origins), every, ranks)

    def plot(
        self, data: Any = None, *, future: Any = None, group: Any = None, target: Any = None,
        coverage: float | None = None, ax: Any = None,
    ) -> Any:  # fmt: skip
        """Draw the last rows, the forecast and its interval; needs matplotlib.

        Parameters
        ----------
        data, future, coverage
            As for `predict_interval`.
        group, target : hashable, optional
            Which series, and which target; the first by default.
        ax : matplotlib.axes.Axes, optional
            What to draw into, and what is returned; by default those of a new figure.
        """
        answer = self._answer(data, future, self._coverage(coverage))
        return answer.plot(group, target, self.window_, ax)

    def _read_on(self, data: Any) -> tuple[Panel, SeriesTable, FittedSeries]:
        """Return new rows behind those remembered, as series and as a table, with their scales."""
        self._check_fitted()
        panel = self._source.read_on(data, self.get_params(), self.window_)
        return (panel, *self._trained.table(panel.series))

    def _answer(self, data: Any, future: Any, coverage: float | None) -> Answer:
        self._check_fitted()
        return self._source.answer(data, future, self._trained, coverage, self.get_params())

    def _coverage(self, coverage: float | None) -> float:
        self._check_fitted()
        return self._trained.coverage(inner_fraction("coverage", self.coverage), coverage)

    def _describe(self, history: History, losses: list[float]) -> None:
        """Set the attributes that say what was fitted, and by which epochs."""
        panel, trained = self._source.panel, self._trained
        self.history_, self.loss_curve_, self.n_iter_ = history, list(losses), len(losses)
        self.window_, self.season_ = trained.core.past, trained.season
        self.frequency_, self.calendar_ = str(panel.frequency), list(trained.calendar)
        names = panel.roles.features
        self.repairs_, self.n_features_in_ = list(panel.repairs), len(names)
        vars(self).pop("feature_names_in_", None)
        if all(isinstance(name, str) for name in names):
            self.feature_names_in_ = np.array(names, dtype=object)

    def _summary(self) -> dict[str, Any]:
        return {
            "counted from": self.view_, "window": self.window_, "season": self.season_,
            "calendar": ", ".join(self.calendar_) or "none", **super()._summary(),
            "scores": self.scores_,
        }  # fmt: skip

    def _state(self) -> dict[str, Any]:
        return {
            "trained": self._trained.to_dict(), "source": self._source.to_dict(),
            "scores": self.scores_.to_dict(), "view": self.view_,
            "losses": self.loss_curve_, "validation": self.validation_scores_,
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self._trained = FittedSeries.from_dict(state["trained"], self.model_)
        self._source = Source.from_dict(state["source"])
        self.scores_, self.view_ = ForecastScores(**state["scores"]), state["view"]
        self.validation_scores_ = state["validation"]
        self._describe(self.history_, state["losses"])
