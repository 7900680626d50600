"""What estimators take as X and y: arrays, lists and data frames give the same bits; errors."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from errors import raises
from labelled import columns, equal, ragged
from rnncore.estimators import Estimator, RNNClassifier, RNNRegressor

pytestmark = pytest.mark.once

FRAMES = ("pandas", "polars", "pyarrow")


def small(**options: Any) -> RNNClassifier:
    return RNNClassifier(8, **{"max_iter": 3, "random_state": 0} | options)


def frame_of(library: str, table: dict[str, Any]) -> Any:
    module = pytest.importorskip(library)
    return module.table(table) if library == "pyarrow" else module.DataFrame(table)


def same(first: Any, second: Any, x: Any, other: Any) -> None:
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(other))


def test_a_list_and_an_array_of_equal_lengths_are_the_same() -> None:
    x, labels = equal()
    array, listed = small().fit(x, labels), small().fit(list(x), labels)
    assert array.n_features_in_ == listed.n_features_in_ == 2
    same(array, listed, x, list(x))
    same(array, array, x, x.tolist())
    objects = np.empty(60, object)
    objects[:] = list(x)
    same(array, array, x, objects)


def test_a_table_is_sequences_of_one_feature() -> None:
    x, labels = equal()
    table = x[:, :, 0]
    fitted = small().fit(table, labels)
    assert fitted.n_features_in_ == 6
    assert fitted.model_.core.input_size == 1
    same(fitted, small().fit(table[:, :, None], labels), table, table[:, :, None])
    same(fitted, small().fit(list(table), labels), table, list(table))
    same(fitted, small().fit(table.tolist(), labels.tolist()), table, table)
    with raises(ValueError, "X has 5 features, but RNNClassifier is expecting 6 features as input"):
        fitted.predict(table[:, 1:])


def test_each_sequence_is_answered_as_if_alone() -> None:
    x, labels = ragged(300)
    fitted = small().fit(x, labels)
    together = fitted.predict_proba(x)  # more than one batch
    alone = np.concatenate([fitted.predict_proba([each]) for each in x])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert fitted.predict([x[0], np.empty((0, 2)), x[1]]).shape == (3,)


@pytest.mark.parametrize("library", FRAMES)
def test_groups_of_a_frame_are_a_list_of_arrays(library: str) -> None:
    x, labels = ragged()
    table = columns(x, labels)
    seen = list(dict.fromkeys(table["id"]))
    places = [int(name[1:]) for name in seen]
    x, labels = [x[i] for i in places], labels[places]
    frame = frame_of(library, table)
    fitted = small(group="id", order="when", target="kind").fit(frame)
    assert list(fitted.feature_names_in_) == ["height", "speed"]
    plain = small().fit(x, labels)
    same(fitted, plain, frame, x)
    assert fitted.score(frame) == plain.score(x, labels)
    other = {name: table[name] for name in ("speed", "when", "height", "id")} | {"extra": "?"}
    other["extra"] = np.full(len(table["id"]), "?")
    same(fitted, plain, frame_of(library, other), x)


@pytest.mark.parametrize("library", FRAMES)
def test_targets_beside_a_frame_of_groups(library: str) -> None:
    x, labels = ragged()
    table = columns(x, labels)
    kind = table.pop("kind")
    frame = frame_of(library, table)
    options: Any = {"group": "id", "order": "when"}
    fitted = small(**options).fit(frame, kind)  # one for each row
    _, first = np.unique(table["id"], return_index=True)
    of_groups = kind[np.sort(first)]  # in order of first appearance
    same(fitted, small(**options).fit(frame, of_groups), frame, frame)
    by_key = frame_of(library, {"kind": labels, "id": [f"s{i}" for i in range(60)]})
    same(fitted, small(**options).fit(frame, by_key), frame, frame)
    with raises(ValueError, "y: expected a row for each group of X, got none for 's0'"):
        small(**options).fit(
            frame, frame_of(library, {"kind": labels[1:], "id": [f"s{i}" for i in range(1, 60)]})
        )


def test_a_series_of_pandas_is_taken_by_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    x, labels = ragged()
    frame = pandas.DataFrame(columns(x, labels))
    options: Any = {"group": "id", "order": "when"}
    whole = small(**options, target="kind").fit(frame)
    apart = frame.drop(columns="kind")
    series = pandas.Series(labels, index=[f"s{i}" for i in range(60)])
    same(whole, small(**options).fit(apart, series[::-1]), frame, apart)
    same(whole, small(**options).fit(apart, frame.groupby("id")["kind"].first()), frame, apart)
    with raises(ValueError, "y: expected each group once in its index, 's3' is there twice"):
        small(**options).fit(apart, pandas.concat([series, series[3:4]]))


def test_an_index_that_counts_places_holds_no_groups() -> None:
    pandas = pytest.importorskip("pandas")
    x, labels = ragged()
    frame = pandas.DataFrame(columns(x, labels))
    frame["id"] = frame["id"].str[1:].astype(int)  # 0 to 59, as the index of a series counts
    options: Any = {"group": "id", "order": "when"}
    whole = small(**options, target="kind").fit(frame)
    apart, seen = frame.drop(columns="kind"), frame["id"].unique()
    assert list(seen) != sorted(seen)
    in_order = pandas.Series(labels[seen])
    same(whole, small(**options).fit(apart, in_order), frame, apart)
    by_key = pandas.Series(labels, index=pandas.RangeIndex(60, name="id"))
    same(whole, small(**options).fit(apart, by_key), frame, apart)
    same(whole, small(**options).fit(apart, in_order.set_axis(seen)[::-1]), frame, apart)


def test_names_of_features_that_are_no_text_are_kept(tmp_path: Any) -> None:
    pandas = pytest.importorskip("pandas")
    x, labels = ragged()
    frame = pandas.DataFrame(columns(x, labels))
    fitted = small(group="id", order="when", target="kind").fit(frame)
    numbered = frame.rename(columns={"height": 7, "speed": 2, "id": 0})
    other = small(group=0, order="when", target="kind").fit(numbered)
    assert list(other.feature_names_in_) == [7, 2]
    same(fitted, other, frame, numbered[[2, 7, "when", 0]])
    other.save(tmp_path / "a")
    again = Estimator.load(tmp_path / "a")
    assert list(again.feature_names_in_) == [7, 2]
    same(fitted, again, frame, numbered[[2, 7, "when", 0]])


def test_rows_are_sorted_by_numbers_and_by_dates() -> None:
    pandas = pytest.importorskip("pandas")
    x, labels = ragged()
    frame = pandas.DataFrame(columns(x, labels))
    by_number = small(group="id", order="when", target="kind").fit(frame)
    days = [datetime.date(2024, 2, 27) + datetime.timedelta(int(when)) for when in frame["when"]]
    dated = frame.assign(when=pandas.to_datetime(days))
    by_date = small(group="id", order="when", target="kind").fit(dated)
    same(by_number, by_date, frame, dated)
    as_they_come = small(group="id", target="kind").fit(frame.drop(columns="when"))
    in_order = frame.sort_values("when", kind="stable").drop(columns="when")
    assert (as_they_come.predict_proba(in_order)[:1] != by_number.predict_proba(frame)[:1]).any()


@pytest.mark.parametrize("library", FRAMES)
def test_rows_of_a_frame_without_groups(library: str) -> None:
    x, labels = equal()
    table = {f"t{i}": x[:, i, 0] for i in range(6)}
    frame = frame_of(library, table | {"kind": labels})
    fitted = small(target="kind").fit(frame)
    assert list(fitted.feature_names_in_) == [f"t{i}" for i in range(6)]
    plain = small().fit(x[:, :, 0], labels)
    np.testing.assert_array_equal(
        fitted.predict_proba(frame_of(library, table)), plain.predict_proba(x[:, :, 0])
    )
    turned = dict(reversed(table.items()))
    with raises(ValueError, "The feature names should match those that were passed during fit.\n"
                "Feature names must be in the same order as they were in fit.\n"):  # fmt: skip
        fitted.predict(frame_of(library, turned))
    with raises(ValueError, "The feature names should match those that were passed during fit.\n"
                "Feature names unseen at fit time:\n- t7\n"
                "Feature names seen at fit time, yet now missing:\n- t0\n"):  # fmt: skip
        fitted.predict(frame_of(library, {"t7": x[:, 0, 0]} | {k: table[k] for k in [*table][1:]}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(x[:, :, 0])


def test_a_regressor_takes_several_target_columns() -> None:
    pandas = pytest.importorskip("pandas")
    x, labels = ragged()
    frame = pandas.DataFrame(columns(x, labels)).drop(columns="kind")
    frame["first"] = frame.groupby("id")["height"].transform("max")
    frame["second"] = frame.groupby("id")["speed"].transform("sum")
    options: Any = {"max_iter": 3, "random_state": 0, "group": "id", "order": "when"}
    fitted = RNNRegressor(8, target=["first", "second"], **options).fit(frame)
    numbers = frame.groupby("id", sort=False)[["first", "second"]].first()
    apart = RNNRegressor(8, **options).fit(frame.drop(columns=["first", "second"]), numbers)
    np.testing.assert_array_equal(fitted.predict(frame), apart.predict(frame))
    assert fitted.predict(frame).shape == (60, 2)


@pytest.mark.parametrize("library", FRAMES)
def test_a_frame_s_faults_are_named(library: str) -> None:
    x, labels = ragged(6)
    table = columns(x, labels)
    options: Any = {"group": "id", "order": "when", "target": "kind"}
    wrong = table | {"speed": np.array([*table["speed"].astype(str)[:-1], "n/a"])}
    with pytest.raises(
        TypeError, match=r"column 'speed': expected numbers, got .*, row \d+ is 'n/a'$"
    ):
        small(**options).fit(frame_of(library, wrong))
    missing = table["speed"].copy()
    missing[4] = np.nan
    with raises(ValueError, "column 'speed': expected a number in every row, row 4 is missing"):
        small(**options).fit(frame_of(library, table | {"speed": missing}))
    kind = table["kind"].copy()
    row = int(np.flatnonzero(table["id"] == table["id"][0])[1])
    kind[row] = "steep"
    with raises(
        ValueError,
        f"column 'kind': expected one value in each group, row {row} of group "
        f"{str(table['id'][0])!r} is steep after {kind[0]}",
    ):
        small(**options).fit(frame_of(library, table | {"kind": kind}))
    with pytest.raises(ValueError, match=r"^group: expected names of columns, .* got 'name'"):
        small(**options | {"group": "name"}).fit(frame_of(library, table))
    with pytest.raises(ValueError, match=r"^target: expected names of columns, .* mean 'kind'\?$"):
        small(**options | {"target": "kinds"}).fit(frame_of(library, table))
    fitted = small(**options).fit(frame_of(library, table))
    with pytest.raises(ValueError, match=r"^X: expected names of columns, .* got 'speed'"):
        fitted.predict(frame_of(library, {k: v for k, v in table.items() if k != "speed"}))


@pytest.mark.parametrize(
    ("x", "kind", "text"),
    [
        (np.zeros(6), ValueError, "...got shape (6,). Reshape your data: X[None] for one sequence "
         "(T, F), X[None, :, None] for one (T,)"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], ValueError,
         "X[1]: expected (T_i, 2), got (3, 1)"),
        ([np.zeros(3), "text"], TypeError, "X[1]: expected real numbers, got dtype <U4"),
        ([np.zeros((0, 2))], ValueError, "X: expected steps, got 1 empty sequences"),
        (np.zeros((2, 3), complex), ValueError,
         "X: expected real numbers, got complex128: Complex data not supported"),
        (np.array([["1", "2"]]), TypeError, "X: expected real numbers, got dtype <U1"),
        (np.array([["1", 2]], object), TypeError,
         "X: expected real numbers, got '1' at index (0, 0)"),
        (np.array([[1, np.nan]]), ValueError,
         "X: expected finite numbers, got NaN in row 0, column 1"),
        (np.array([[[1.0], [-np.inf]]]), ValueError,
         "X: expected finite numbers, got -inf in sequence 0, step 1, feature 0"),
        ([np.ones((3, 2)), np.array([[1, 1], [1, np.nan]])], ValueError,
         "X: expected finite numbers, got NaN in sequence 1, step 1, feature 1"),
    ],
)  # fmt: skip
def test_other_inputs_are_named(x: Any, kind: Any, text: str) -> None:
    with raises(kind, text):
        small().fit(x, ["a"] * len(x))


def test_other_features_are_refused_in_prediction() -> None:
    x, labels = ragged()
    fitted = small().fit(x, labels)
    with raises(ValueError, "X has 1 features, but RNNClassifier is expecting 2 features as input"):
        fitted.predict([each[:, 0] for each in x])
    fitted = small(scale=False).fit(x, labels)
    x[7][1, 1] = np.nan
    for call in (fitted.predict, fitted.predict_proba, fitted.decision_function):
        with raises(ValueError, "X: expected finite numbers, got NaN in sequence 7, step 1, "
                    "feature 1"):  # fmt: skip
            call(x)
