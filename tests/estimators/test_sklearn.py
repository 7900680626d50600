"""scikit-learn: its own checks of estimators, its searches and splits; and life without it."""

from __future__ import annotations

import warnings
from typing import Any

import child
import numpy as np
import pytest
from labelled import equal, ragged
from rnncore.estimators import RNNClassifier, RNNForecaster, RNNRegressor, Seq2Seq

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn", minversion="1.6")

pytestmark = pytest.mark.once

ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": (
        "asks for results equal to 1e-7, which is float32's rounding; passes in float64"
    )
}


def small(**options: Any) -> RNNClassifier:
    return RNNClassifier(8, **{"max_iter": 20, "random_state": 0} | options)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (RNNClassifier(max_iter=30), ROUNDING),
        (RNNRegressor(max_iter=30), ROUNDING),
        (RNNClassifier(max_iter=30, dtype=np.float64), {}),
        (RNNRegressor(max_iter=30, dtype=np.float64), {}),
    ],
    ids=["classifier", "regressor", "classifier in float64", "regressor in float64"],
)
def test_its_own_checks_pass(estimator: Any, expected: Any) -> None:
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(
            estimator, expected_failed_checks=expected, on_skip=None, on_fail="raise"
        )
    assert len(found) > 50
    assert {each["check_name"] for each in found if each["status"] == "xfail"} == set(expected)
    skipped = {each["check_name"] for each in found if each["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # needs a setting of scipy


def test_clone_tags_and_not_fitted() -> None:
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    x, labels = equal()
    fitted = small(class_weight={"flat": 2.0}).fit(x, labels)
    check_is_fitted(fitted)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(x)
    with pytest.raises(NotFittedError):
        check_is_fitted(Seq2Seq())
    assert is_classifier(fitted)
    assert is_regressor(RNNRegressor())
    assert not is_classifier(Seq2Seq())
    for estimator in (fitted, RNNRegressor(), Seq2Seq()):
        assert estimator.__sklearn_tags__().input_tags.three_d_array
    assert not RNNForecaster(1).__sklearn_tags__().input_tags.three_d_array


def test_cross_validation_of_lists_and_arrays() -> None:
    from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit, cross_val_score

    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    for x, labels in (ragged(90), equal(90)):
        scores = cross_val_score(small(), x, labels, cv=folds)
        assert scores.min() > 0.75
        by_hand = []
        for parts in folds.split(np.zeros(90), labels):
            train, test = ([x[i] for i in part] for part in parts)
            fitted = small().fit(train, labels[parts[0]])
            by_hand.append(fitted.score(test, labels[parts[1]]))
        np.testing.assert_allclose(scores, by_hand)
    y = equal(90)[0][:, :, 0].sum(axis=1)
    scores = cross_val_score(
        RNNRegressor(8, random_state=0), equal(90)[0], y, cv=TimeSeriesSplit(2)
    )
    assert scores[-1] > 0.9


def test_a_grid_search_of_sequences() -> None:
    from sklearn.model_selection import GridSearchCV

    x, labels = ragged(60)
    search = GridSearchCV(small(), {"cell": ["gru", "rnn"], "hidden_size": [1, 8]}, cv=3)
    search.fit(x, labels)
    assert search.best_score_ > 0.85
    assert search.best_params_["hidden_size"] == 8
    assert search.predict(x[:2]).shape == (2,)


def test_a_pipeline_of_a_table() -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_iris(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), RNNClassifier(16, max_iter=40, random_state=0))
    assert cross_val_score(pipe, x, y, cv=3).mean() > 0.92
    assert "RNNClassifier" in pipe.fit(x, y)._repr_html_()


def test_groups_stay_together_in_a_cross_validation() -> None:
    pandas = pytest.importorskip("pandas")
    from labelled import columns
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

    x, labels = ragged(60)
    frame = pandas.DataFrame(columns(x, labels))
    estimator = small(group="id", order="when", target="kind")
    folds = StratifiedGroupKFold(3)
    one = cross_val_score(estimator, frame, None, groups=frame["id"],
                          cv=folds.split(frame, frame["kind"], frame["id"]))  # fmt: skip
    apart = cross_val_score(
        small(group="id", order="when"), frame.drop(columns="kind"), frame["kind"],
        groups=frame["id"], cv=folds,
    )  # fmt: skip
    assert one.min() > 0.8
    np.testing.assert_array_equal(one, apart)


def test_without_scikit_learn_all_works() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from rnncore.estimators import NotFittedError, RNNClassifier, RNNRegressor
x = np.random.default_rng(0).normal(size=(40, 5, 2))
y = np.where(x[:, :, 0].sum(axis=1) > 0, "up", "down")
try:
    RNNClassifier().predict(x)
except NotFittedError as error:
    print(error)
fitted = RNNClassifier(8, max_iter=30, random_state=0).fit(x, y[:, None])
print(fitted.score(x, y) > 0.9, RNNRegressor(8, max_iter=2).fit(x, x[:, 0, 0]).n_iter_)
"""
    printed = child.run(code, PYTHONWARNINGS="ignore").splitlines()
    assert printed == [
        "RNNClassifier: expected a call of fit before this one, got none", "True 2"
    ]  # fmt: skip


def test_nothing_is_imported_that_the_caller_does_not_use() -> None:
    code = """
import sys
import numpy as np
from rnncore.estimators import RNNClassifier
x = np.zeros((4, 5, 2)); x[::2] = 1
fitted = RNNClassifier(2, max_iter=1).fit(x, ["a", "b"] * 2)
fitted.predict([*x]), fitted.score(x, ["a", "b"] * 2)
print(*{"sklearn", "pandas", "polars", "pyarrow", "narwhals", "matplotlib"} & set(sys.modules))
"""
    assert child.run(code).split() == []
