"""RNNClassifier: what it learns, and what it may not see."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from errors import raises
from labelled import NAMES, equal, ragged
from rnncore import GRU, CheckpointError, ManyToOne, load, training
from rnncore.estimators import Estimator, NotFittedError, RNNClassifier
from rnncore.estimators._labels import held_of_each
from rnncore.estimators._stopping import Stopping
from rnncore.optim import AdamW

pytestmark = pytest.mark.once


def small(**options: Any) -> RNNClassifier:
    return RNNClassifier(8, **{"max_iter": 15, "random_state": 0} | options)


def parameters(estimator: Any) -> Any:
    return estimator.model_.flat_parameters


def test_it_names_classes_and_knows_how_sure_it_is() -> None:
    x, labels = ragged(90)
    fitted = small(max_iter=40).fit(x[:60], labels[:60])
    assert fitted.score(x[60:], labels[60:]) > 0.9
    predicted, p = fitted.predict(x[60:]), fitted.predict_proba(x[60:])
    np.testing.assert_array_equal(fitted.classes_, NAMES)
    np.testing.assert_array_equal(predicted, NAMES[p.argmax(axis=1)])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x[60:])), p, rtol=1e-6)
    assert fitted.score(x[60:], labels[60:]) == (predicted == labels[60:]).mean()
    z = fitted.decision_function(x[60:])
    np.testing.assert_allclose(np.log(p[:, 0] / p[:, 2]), z[:, 0] - z[:, 2], rtol=1e-4, atol=1e-5)
    weight = np.arange(30.0)
    expected = np.average(predicted == labels[60:], weights=weight)
    assert fitted.score(x[60:], labels[60:], weight) == pytest.approx(expected)


def test_the_model_is_one_of_ours_trained_on_scaled_sequences() -> None:
    """The same bits as a ManyToOne that someone trains by hand."""
    x, labels = ragged()
    fitted = small(cell="lstm", bidirectional=False, pooling="last").fit(x, labels)
    flat = np.concatenate(x)
    np.testing.assert_allclose(fitted.scaler_.mean, flat.mean(axis=0))
    np.testing.assert_allclose(fitted.scaler_.std, flat.std(axis=0))
    scaled = [((a - flat.mean(axis=0)) / flat.std(axis=0)).astype(np.float32) for a in x]
    outputs = fitted.model_.predict(scaled)
    np.testing.assert_array_equal(fitted.predict(x), NAMES[outputs.argmax(axis=1)])
    np.testing.assert_allclose(fitted.decision_function(x), outputs, rtol=1e-3, atol=1e-4)
    assert type(fitted.model_).__name__ == "ManyToOne"
    assert type(fitted.model_.core).__name__ == "LSTM"
    assert fitted.model_.pooling == "last"


@pytest.mark.parametrize(
    "names",
    [np.array([3, 7, -1]), np.array([True, False]), np.array(["a", "b"], object), ["x", "y", "zz"]],
)
def test_classes_of_any_kind_come_back_as_they_were(names: Any) -> None:
    x, _ = equal()
    labels = np.asarray(names)[np.arange(60) % len(names)]
    fitted = small(max_iter=1).fit(x, labels)
    assert fitted.classes_.dtype == np.asarray(names).dtype
    assert set(fitted.predict(x)) <= set(labels)
    assert fitted.predict(x).dtype == labels.dtype


def test_the_same_seed_gives_the_same_bits_and_clones_are_their_own() -> None:
    x, labels = ragged()
    first, second = small(dropout=0.3, num_layers=2), small(dropout=0.3, num_layers=2)
    first.fit(x, labels)
    second.fit(x, labels)
    np.testing.assert_array_equal(parameters(first), parameters(second))
    other = small(dropout=0.3, num_layers=2, random_state=1).fit(x, labels)
    assert (parameters(first) != parameters(other)).any()
    before = parameters(second).copy()
    first.fit(x, labels[::-1])
    np.testing.assert_array_equal(parameters(second), before)
    drawn = [small(random_state=np.random.RandomState(3)).fit(x, labels) for _ in range(2)]
    np.testing.assert_array_equal(*map(parameters, drawn))


def test_class_weights_weigh_the_loss() -> None:
    """One epoch in one batch: the loss is the mean of cross-entropies, weighted by hand."""
    x, labels = equal(30)
    options: Any = {"max_iter": 1, "batch_size": 30, "dtype": np.float64, "learning_rate": 1e-12}
    weights = {"falling": 2.0, "rising": 0.5}
    fitted = small(class_weight=weights, **options).fit(x, labels)
    truth = labels[:, None] == NAMES
    losses = -fitted.predict_log_proba(x)[truth]  # the step was too small to see
    each = np.array([weights.get(name, 1.0) for name in labels])
    assert fitted.loss_ == pytest.approx(np.average(losses, weights=each), rel=1e-8)
    assert fitted.loss_ != pytest.approx(losses.mean(), rel=1e-3)
    own = np.arange(30) % 4
    both = small(class_weight=weights, **options).fit(x, labels, sample_weight=own)
    assert both.loss_ == pytest.approx(
        np.average(-both.predict_log_proba(x)[truth], weights=own * each), rel=1e-8
    )


def test_balanced_weights_are_those_of_the_counts() -> None:
    x, labels = equal(60)
    some = np.r_[np.flatnonzero(labels == "flat"), np.flatnonzero(labels == "rising")[:5]]
    counted = {"flat": 25 / (2 * 20), "rising": 25 / (2 * 5)}
    balanced = small(class_weight="balanced").fit(x[some], labels[some])
    by_hand = small(class_weight=counted).fit(x[some], labels[some])
    np.testing.assert_array_equal(parameters(balanced), parameters(by_hand))
    some, early = some[:24], {"early_stopping": True, "validation_fraction": 0.2}
    counted = {"flat": 19 / (2 * 16), "rising": 19 / (2 * 3)}  # of 20 and 4 those in training
    balanced = small(class_weight="balanced", **early).fit(x[some], labels[some])
    by_hand = small(class_weight=counted, **early).fit(x[some], labels[some])
    np.testing.assert_array_equal(parameters(balanced), parameters(by_hand))


def test_early_stopping_keeps_the_best_and_scores_a_part_of_each_class() -> None:
    x, labels = ragged(90)
    fitted = small(early_stopping=True, max_iter=60, validation_fraction=0.2).fit(x, labels)
    scores = fitted.validation_scores_
    assert len(scores) == fitted.n_iter_ == len(fitted.loss_curve_) < 60
    assert fitted.best_validation_score_ == max(scores)
    assert fitted.history_.stopped == "no validation score higher by 0.0001 for 10 epochs"
    assert set(np.asarray(scores) * 18 % 1) == {0.0}  # six of each class


def test_each_class_has_some_on_either_side() -> None:
    codes = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 2])
    for held in (1, 9):
        chosen = held_of_each(codes, held, np.random.default_rng(0))
        assert set(codes[chosen]) == {0, 1}
        assert set(codes[~chosen]) == {0, 1, 2}


def test_early_stopping_ends_with_the_parameters_that_scored_best() -> None:
    model = ManyToOne(GRU(3, 4, rng=1), 2, rng=2)
    x = np.random.default_rng(0).standard_normal((8, 5, 3)).astype(np.float32)
    scores, after = iter([0.1, 0.9, 0.3, 0.2, 0.5]), []

    class Note(training.Callback):
        def on_epoch_end(self, trainer: training.Trainer) -> None:
            after.append(trainer.model.flat_parameters.copy())

    stopping = Stopping(2, 0.0)
    model.fit(
        x, x[:, 0, :2], validation_data=(x, x[:, 0, :2]), callbacks=[Note(), stopping], epochs=9,
        metrics={"score": lambda y, target: next(scores)}, progress=False, rng=0,
    )  # fmt: skip
    assert (len(after), stopping.best_score) == (5, 0.9)
    np.testing.assert_array_equal(model.flat_parameters, after[1])


def test_weights_stay_with_their_sequences_when_a_part_is_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, labels = equal(30)
    seen, fit = [], ManyToOne.fit

    def spy(model: Any, x: Any, y: Any, **options: Any) -> Any:
        seen.append((y, options["sample_weight"]))
        return fit(model, x, y, **options)

    monkeypatch.setattr(ManyToOne, "fit", spy)
    weight = 1.0 + np.searchsorted(NAMES, labels)
    small(early_stopping=True, max_iter=1).fit(x, labels, sample_weight=weight)
    ((y, given),) = seen
    assert len(y) == 27
    np.testing.assert_array_equal(given, 1.0 + y)


def test_nothing_is_measured_on_the_validation_part() -> None:
    """Values of the validation rows never move the scaler or a parameter; those of others do."""
    x, labels = equal(60)
    options: Any = {"early_stopping": True, "max_iter": 3, "n_iter_no_change": 50, "tol": -1.0}
    first = small(**options).fit(x, labels)
    moved = []
    for i in range(60):
        other = x.copy()
        other[i] += 1000
        second = small(**options | {"max_iter": 1}).fit(other, labels)
        moved.append(bool((second.scaler_.mean != first.scaler_.mean).any()))
    held = ~np.array(moved)
    assert held.sum() == 6
    assert {name: int((labels[held] == name).sum()) for name in NAMES} == dict.fromkeys(NAMES, 2)
    other = x.copy()
    other[held] *= 1 + 1e-6  # too little for another epoch to be the best
    second = small(**options).fit(other, labels)
    np.testing.assert_array_equal(parameters(first), parameters(second))


def test_partial_fit_goes_on() -> None:
    x, labels = ragged()
    fitted = small(random_state=0)
    fitted.partial_fit(x, labels, classes=NAMES)
    after_one = parameters(fitted).copy()
    fitted.partial_fit(x, labels)
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 2
    assert fitted.loss_curve_[1] < fitted.loss_curve_[0]
    other = small(random_state=0).partial_fit(x, labels, classes=NAMES)
    np.testing.assert_array_equal(parameters(other), after_one)
    for _ in range(25):
        fitted.partial_fit(x, labels)
    assert fitted.score(x, labels) > 0.9
    some = labels != "flat"
    fitted.partial_fit([a for a, here in zip(x, some, strict=True) if here], labels[some])
    np.testing.assert_array_equal(fitted.classes_, NAMES)


def test_warm_start_goes_on_and_fit_begins_anew() -> None:
    x, labels = ragged()
    fitted = small(max_iter=2).fit(x, labels)
    fresh = parameters(fitted).copy()
    np.testing.assert_array_equal(parameters(fitted.fit(x, labels)), fresh)
    warm = small(max_iter=2, warm_start=True).fit(x, labels).fit(x, labels)
    assert warm.n_iter_ == 4
    assert warm.loss_curve_[2] < fitted.loss_curve_[0]


def test_a_warm_start_that_fails_notes_no_training() -> None:
    x, labels = ragged()
    fitted = small(max_iter=2, warm_start=True).fit(x, labels)
    before, curve = parameters(fitted).copy(), list(fitted.loss_curve_)
    with raises(ValueError, "batch_size: expected an integer in [1, 2147483647], got 0"):
        fitted.set_params(batch_size=0).fit(x, labels)
    assert (fitted.loss_curve_, fitted.n_iter_) == (curve, 2)
    with pytest.raises(FloatingPointError):
        fitted.set_params(batch_size=32, learning_rate=1e30, clip_norm=None).fit(x, labels)
    np.testing.assert_array_equal(parameters(fitted), before)  # there was no whole epoch


@pytest.mark.parametrize("dtype", ["<M8[D]", "<M8[ns]", ">M8[s]", "<m8[h]"])
def test_a_file_keeps_dates_as_classes(dtype: str, tmp_path: Any) -> None:
    x, labels = equal()
    dates = np.array([18262, -3, 19000])[np.searchsorted(NAMES, labels)].astype(dtype)
    fitted = small(max_iter=2).fit(x, dates)
    fitted.save(tmp_path / "dates.safetensors")
    again = Estimator.load(tmp_path / "dates.safetensors")
    assert again.classes_.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(again.classes_, np.unique(dates))
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


@pytest.mark.parametrize(
    "kept", [pickle.dumps, copy.deepcopy, None], ids=["pickle", "copy", "file"]
)
def test_what_is_kept_gives_the_same_bits_and_goes_on(kept: Any, tmp_path: Any) -> None:
    x, labels = ragged()
    fitted = small(num_layers=2, dropout=0.2, class_weight={"flat": 2.0}).fit(x, labels)
    if kept is None:
        fitted.save(tmp_path / "kinds.safetensors")
        again = Estimator.load(tmp_path / "kinds.safetensors")
    else:
        again = kept(fitted)
        again = pickle.loads(again) if isinstance(again, bytes) else again
    assert repr(again) == repr(fitted)
    assert again.get_params() == fitted.get_params()
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert again.classes_.dtype == fitted.classes_.dtype
    assert (again.loss_curve_, again.n_iter_) == (fitted.loss_curve_, fitted.n_iter_)
    for each in (again, fitted):
        each.partial_fit(x, labels)
    np.testing.assert_array_equal(parameters(again), parameters(fitted))


def test_a_generator_is_no_part_of_a_file(tmp_path: Any) -> None:
    x, labels = equal()
    small(random_state=np.random.default_rng(0)).fit(x, labels).save(tmp_path / "a")
    assert RNNClassifier.load(tmp_path / "a").random_state is None


def test_the_model_alone_is_not_read_out_of_an_estimators_file(tmp_path: Any) -> None:
    """It takes scaled steps and gives logits: other answers than those of the estimator."""
    small().fit(*equal()).save(tmp_path / "kinds")
    with raises(
        CheckpointError,
        f"{tmp_path / 'kinds'}: expected a model alone, got one of RNNClassifier, whose scales and "
        "names the file has too: rnncore.estimators.RNNClassifier.load(path)",
    ):
        load(tmp_path / "kinds")


def test_training_stops_when_the_loss_falls_no_more() -> None:
    x, labels = equal()
    fitted = small(max_iter=50, tol=10.0, n_iter_no_change=3).fit(x, labels)
    assert fitted.n_iter_ == 5  # the first one is better than none
    assert fitted.history_.stopped == "no training loss lower by 10 for 3 epochs"


def test_it_shows_what_was_chosen() -> None:
    assert repr(RNNClassifier()) == "RNNClassifier()"
    assert repr(small(dtype=np.float64)) == (
        "RNNClassifier(hidden_size=8, max_iter=15, random_state=0, dtype=numpy.float64)"
    )
    shown = small(target="<b>")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "not fitted" in shown
    x, labels = equal()
    assert "ManyToOne(GRU(2, 8, bidirectional=True), 3" in small(max_iter=1).fit(
        x, labels
    )._repr_html_().replace("&quot;", '"')


def test_ctrl_c_keeps_what_was_trained(monkeypatch: Any) -> None:
    x, labels = equal()
    fitted = small(max_iter=40)
    steps = iter(range(100))

    def step(self: Any) -> None:
        if next(steps) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(x, labels)
    assert fitted.predict(x).shape == (60,)
    assert len(fitted.loss_curve_) == 3  # two batches each


def test_an_error_leaves_the_estimator_as_it_was() -> None:
    x, labels = equal()
    fitted = small(max_iter=2).fit(x, labels)
    before = fitted.predict_proba(x)
    fitted.set_params(cell="transformer")
    with raises(ValueError, "cell: expected one of 'gru', 'lstm', 'rnn', got 'transformer'"):
        fitted.fit(x[:, :, :1], np.arange(60) % 2)
    np.testing.assert_array_equal(fitted.predict_proba(x), before)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"hidden_size": 0}, ValueError,
         "hidden_size: expected an integer in [1, 2147483647], got 0"),
        ({"max_iter": 0}, ValueError, "max_iter: expected an integer in [1, 2147483647], got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size: expected a positive integer, got 1.5"),
        ({"pooling": "sum"}, ValueError,
         "pooling: expected one of 'last', 'mean', 'max', got 'sum'"),
        ({"scale": "yes"}, TypeError, "scale: expected True or False, got 'yes'"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError,
         "validation_fraction: expected a number in (0, 1), got 1.0"),
        ({"class_weight": {"steep": 2}}, ValueError,
         "class_weight: expected classes of ['falling', 'flat', 'rising'], got 'steep'"),
        ({"class_weight": "even"}, ValueError,
         "class_weight: expected a dict, 'balanced' or None, got 'even'"),
        ({"random_state": "x"}, TypeError,
         "random_state: expected an int >= 0, a generator or None, got 'x'"),
        ({"random_state": -1}, ValueError,
         "random_state: expected an int >= 0, a generator or None, got -1"),
        ({"order": "when"}, ValueError,
         "order: expected None without group=, got 'when'; each row is a sequence"),
        ({"group": "id"}, TypeError, "X: expected a data frame with group='id', got ndarray"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(options: Any, kind: Any, text: str) -> None:
    x, labels = equal()
    estimator = RNNClassifier(**{"hidden_size": 8, "max_iter": 2} | options)
    with raises(kind, text):
        estimator.fit(x, labels)


def test_wrong_targets_are_named() -> None:
    x, labels = equal()
    with raises(ValueError, "y: expected one for each of the 60 sequences, got 59"):
        small().fit(x, labels[1:])
    missing = labels.astype(object)
    missing[4] = None
    with raises(ValueError, "...got None at index 4: Input y contains NaN."):
        small().fit(x, missing)
    mixed = labels.astype(object)
    mixed[4] = 3
    with raises(TypeError, "y: expected names of one kind, got int and str"):
        small().fit(x, mixed)
    fitted = small(max_iter=1).fit(x, labels)
    with raises(ValueError, "y: expected classes of ['falling', 'flat', 'rising'], got "
                f"{np.str_('up')!r} at index 0"):  # fmt: skip
        fitted.partial_fit(x, np.full(60, "up"))
    with raises(ValueError, "sample_weight: expected finite numbers >= 0, got -1.0 at index 2"):
        small().fit(x, labels, sample_weight=[1, 1, -1] * 20)
    with raises(ValueError, "sample_weight: expected a weight > 0, got zeros alone"):
        small().fit(x, labels, sample_weight=np.zeros(60))
    with raises(ValueError, "early_stopping: expected False with partial_fit, got True"):
        small(early_stopping=True).partial_fit(x, labels, NAMES)
    with raises(ValueError, "class_weight: expected a dict or None with partial_fit, "
                "got 'balanced'"):  # fmt: skip
        small(class_weight="balanced").partial_fit(x, labels, NAMES)


def test_set_params_sets_all_or_nothing() -> None:
    estimator = small()
    with pytest.raises(ValueError, match=r"^hidden: expected a parameter of RNNClassifier, one of"):
        estimator.set_params(max_iter=3, hidden=2)
    assert estimator.max_iter == 15


def test_what_is_not_fitted_says_so(tmp_path: Any) -> None:
    for call in (lambda: small().predict(equal()[0]), lambda: small().save(tmp_path / "a")):
        with pytest.raises((NotFittedError, ValueError), match="call of fit before this one"):
            call()
    ManyToOne(GRU(2, 3), 1).save(tmp_path / "model")
    with pytest.raises(ValueError, match="expected an estimator, got a ManyToOne alone"):
        Estimator.load(tmp_path / "model")
