"""Seq2Seq: answers for each step, and answers of their own length, in the caller's own kind."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from errors import raises
from rnncore.estimators import Estimator, Seq2Seq

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abc"), size)) for size in RNG.integers(1, 6, 300)]
TURNED = [word[::-1].upper() for word in WORDS]
X = RNG.standard_normal((120, 10, 2))
SUMS = X[:, :, 0].cumsum(axis=1)
SIGNS = np.where(SUMS > 0, "up", "down")
LISTED = [x[: 3 + i % 8] for i, x in enumerate(X)]


def small(**options: Any) -> Seq2Seq:
    return Seq2Seq(**{"hidden_size": 16, "max_iter": 30, "random_state": 0} | options)


def test_text_is_answered_by_text() -> None:
    fitted = small(hidden_size=32, max_iter=40).fit(WORDS[:250], TURNED[:250])
    assert not fitted.aligned_
    assert list(fitted.classes_) == ["A", "B", "C"]
    answers = fitted.predict(WORDS[250:])
    assert all(isinstance(answer, str) for answer in answers)
    right = np.mean([a == b for a, b in zip(answers, TURNED[250:], strict=True)])
    assert fitted.score(WORDS[250:], TURNED[250:]) == right > 0.9
    beam = fitted.set_params(beam_width=5).predict(WORDS[250:])
    assert np.mean([a == b for a, b in zip(beam, TURNED[250:], strict=True)]) > 0.9
    ids = [fitted.vocabulary_.encode(word) for word in WORDS[250:]]
    expected = fitted.model_.predict(ids, method="beam", beam_width=5)
    assert beam == ["".join("ABC"[i] for i in tokens) for tokens in expected]
    assert len(fitted.predict(["zebra"])) == 1  # symbols never seen
    assert max(map(len, fitted.set_params(max_steps=2).predict(WORDS))) <= 2


def test_symbols_may_be_words_and_answers_numbers() -> None:
    x = [[f"<{letter}>" for letter in word] for word in WORDS]
    y = [["abc".index(letter) * 10 for letter in word] + [99] for word in WORDS]
    fitted = small(max_iter=40, hidden_size=32).fit(x, y)
    answers = fitted.predict(x)
    assert all(type(answer) is list for answer in answers)
    assert fitted.score(x, y) > 0.9
    assert list(fitted.classes_) == [0, 10, 20, 99]


def test_labels_for_each_step() -> None:
    fitted = small().fit(X[:90], SIGNS[:90])
    assert fitted.aligned_
    predicted = fitted.predict(X[90:])
    assert predicted.shape == (30, 10)
    assert (predicted == SIGNS[90:]).mean() > 0.9
    whole = (predicted == SIGNS[90:]).all(axis=1).mean()
    assert fitted.score(X[90:], SIGNS[90:]) == whole > 0.2
    outputs = fitted.model_.predict(fitted.scaler_.transform(X[90:]).astype(np.float32))
    np.testing.assert_array_equal(predicted, fitted.classes_[outputs.argmax(axis=2)])


def test_numbers_for_each_step_in_their_unit() -> None:
    y = 100 + 5 * SUMS
    fitted = small().fit(X[:90], y[:90])
    predicted = fitted.predict(X[90:])
    assert predicted.shape == (30, 10)
    r2 = 1 - ((predicted - y[90:]) ** 2).sum() / ((y[90:] - y[90:].mean()) ** 2).sum()
    assert fitted.score(X[90:], y[90:]) == pytest.approx(r2, rel=1e-5)
    assert r2 > 0.9
    two = np.stack([y, -y], axis=2)
    assert small(max_iter=1).fit(X, two).predict(X).shape == (120, 10, 2)


def test_integers_are_numbers_where_those_of_fit_were() -> None:
    y = np.rint(100 + 5 * SUMS)
    fitted = small(max_iter=20).fit(X[:90], y=y[:90])
    whole = y.astype(int)
    assert fitted.score(X[90:], y=whole[90:]) == fitted.score(X[90:], y[90:]) > 0.5
    other = small(max_iter=20).fit(X[:90], y=y[:90]).partial_fit(X, y=whole)
    fitted.partial_fit(X, y)
    np.testing.assert_array_equal(fitted.model_.flat_parameters, other.model_.flat_parameters)
    two = small(max_iter=1).fit(X, np.stack([y, -y], axis=2))
    assert two.score(X, np.stack([whole, -whole], axis=2)) == two.score(X, np.stack([y, -y], 2))
    with raises(ValueError, "y: expected 2 numbers a step, got (1200, 1)"):
        two.score(X, whole)
    with raises(ValueError, "y[0]: expected an answer for each of the 10 steps of X[0], got 9"):
        fitted.score(X, whole[:, 1:])
    with raises(TypeError, "y: expected numbers as in fit, got dtype <U4"):
        fitted.score(X, SIGNS)


def test_scikit_learn_passes_answers_by_name() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    scores = selection.cross_val_score(small(max_iter=5), X, SUMS, cv=2, error_score="raise")
    fitted = small(max_iter=5).fit(X[60:], SUMS[60:])
    assert scores[0] == fitted.score(X[:60], SUMS[:60])


def test_lists_of_any_length_and_their_kinds() -> None:
    sums = [SUMS[i, : len(x)] for i, x in enumerate(LISTED)]
    fitted = small().fit(LISTED, sums)
    assert fitted.aligned_
    found = fitted.predict(LISTED)
    assert [each.shape for each in found] == [each.shape for each in sums]
    assert fitted.score(LISTED, sums) > 0.8
    signs = [SIGNS[i, : len(x)].tolist() for i, x in enumerate(LISTED)]
    answers = small(max_iter=1).fit(LISTED, signs).predict(LISTED)
    assert [len(answer) for answer in answers] == [len(x) for x in LISTED]
    assert {type(answer) for answer in answers} == {list}
    few = [sign[:1] for sign in signs]
    assert not small(max_iter=1).fit(LISTED, few).aligned_
    tags = small(max_iter=1, aligned=True).fit(WORDS, TURNED).predict(WORDS)
    assert [len(tag) for tag in tags] == [len(word) for word in WORDS]
    assert all(isinstance(tag, str) for tag in tags)


@pytest.mark.parametrize("data", [(WORDS, TURNED), (X, SIGNS), (LISTED, [x + 1 for x in LISTED])])
def test_what_is_kept_gives_the_same_answers_and_goes_on(data: Any, tmp_path: Any) -> None:
    fitted = small(max_iter=2).fit(*data)
    fitted.save(tmp_path / "a")
    for again in (Estimator.load(tmp_path / "a"), pickle.loads(pickle.dumps(fitted))):
        for one, other in zip(again.predict(data[0]), fitted.predict(data[0]), strict=True):
            np.testing.assert_array_equal(one, other)
        again.partial_fit(*data)
        assert again.n_iter_ == 3
        expected = small(max_iter=2).fit(*data).partial_fit(*data).model_.flat_parameters
        np.testing.assert_array_equal(again.model_.flat_parameters, expected)


def test_early_stopping_measures_nothing_of_the_validation_part() -> None:
    fitted = small(early_stopping=True, n_iter_no_change=3, max_iter=60).fit(X, 1.0 * SUMS)
    history = fitted.history_
    assert len(history.validation_loss) == fitted.n_iter_
    held = 0
    for i in range(0, 120, 3):
        other = X.copy()
        other[i] += 100
        once = small(early_stopping=True, max_iter=1).fit(other, 1.0 * SUMS)
        held += bool((once.scaler_.mean == fitted.scaler_.mean).all())
    assert 0 < held < 12


def test_partial_fit_begins_too() -> None:
    fitted = small()
    for _ in range(3):
        fitted.partial_fit(X, SIGNS)
    assert fitted.n_iter_ == 3
    assert fitted.loss_curve_[2] < fitted.loss_curve_[0]
    with raises(ValueError, f"y: expected classes of ['down', 'up'], got {np.str_('flat')!r} "
                "at index 0"):  # fmt: skip
        fitted.partial_fit(X[:1], np.full((1, 10), "flat"))
    with raises(TypeError, "y: expected labels as in fit, got dtype float64"):
        fitted.partial_fit(X, SUMS)


@pytest.mark.parametrize(
    ("x", "y", "options", "kind", "text"),
    [
        (X, SIGNS[1:], {}, ValueError,
         "y: expected one sequence for each of the 120 of X, got 119"),
        (X, SUMS[:, 1:], {}, ValueError,
         "y: expected a number for each step of X, got sequences of other lengths; symbols alone "
         "are generated"),
        (X, SIGNS[:, 1:], {"aligned": True}, ValueError,
         "y[0]: expected an answer for each of the 10 steps of X[0], got 9"),
        (X, None, {}, ValueError, "y: expected a list of sequences, or an array, got NoneType"),
        (WORDS[:2], "ab", {}, ValueError, "y: expected a list of sequences, or an array, got str"),
        (WORDS[:2], ["a", ""], {"attention": 1}, TypeError,
         "attention: expected True or False, got 1"),
        (X[:2], [[1.0, np.nan], [2.0]], {}, ValueError,
         "y[0]: expected finite numbers, got nan at step 1"),
        (WORDS[:2], ["", ""], {}, ValueError,
         "y: expected labels or numbers, got 2 empty sequences"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(x: Any, y: Any, options: Any, kind: Any, text: str) -> None:
    with raises(kind, text):
        small(max_iter=1, **options).fit(x, y)


def test_prediction_takes_what_fit_took() -> None:
    text, numbers = small(max_iter=1).fit(WORDS, TURNED), small(max_iter=1).fit(X, SIGNS)
    with raises(TypeError, "X: expected text as in fit, got ndarray of others"):
        text.predict(X)
    with raises(TypeError, "X: expected numbers as in fit, got list of others"):
        numbers.predict(WORDS)
    with raises(ValueError, "X has 1 features, but Seq2Seq is expecting 2 features as input"):
        numbers.predict(X[:, :, :1])
