"""Lists of sequences: one rule for layers and models, whatever the list is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore._ragged import is_ragged, read_sequences

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)


def objects(arrays: list[Any]) -> np.ndarray:
    result = np.empty(len(arrays), object)
    for i, array in enumerate(arrays):
        result[i] = array
    return result


def frame(arrays: list[Any]) -> Any:
    """A column of a data frame, each cell a sequence."""
    pandas = pytest.importorskip("pandas", reason="data frames: pandas is not installed")
    return pandas.Series([array.tolist() for array in arrays], index=range(7, 7 + len(arrays)))


FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "nested lists": lambda arrays: [array.tolist() for array in arrays],
    "nested tuples": lambda arrays: tuple(tuple(map(tuple, array.tolist())) for array in arrays),
    "lists of rows": lambda arrays: [list(array) for array in arrays],
    "objects": objects,
    "objects of lists": lambda arrays: objects([array.tolist() for array in arrays]),
    "series": frame,
}
each_form = pytest.mark.parametrize("form", FORMS)
LENGTHS = {"different": (4, 1, 3), "the same": (4, 4, 4), "an empty one": (0, 2, 3)}
each_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))


def features(lengths: tuple[int, ...], size: int = 2) -> list[Any]:
    return [RNG.standard_normal((n, size)).astype(np.float32) for n in lengths]


def assert_same(got: Any, wanted: Any) -> None:
    assert isinstance(got, type(wanted))
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@each_form
@each_length
@pytest.mark.parametrize("batch_first", [True, False])
def test_layers(form: str, lengths: tuple[int, ...], batch_first: bool) -> None:
    layer = rnncore.GRU(2, 3, batch_first=batch_first, rng=0)
    x, make = features(lengths), FORMS[form]
    y, state, tape = layer.forward(x)
    listed, again, second = layer.forward(make(x))
    assert_same(listed, y)
    np.testing.assert_array_equal(again, state)
    dx = layer.backward(tape, y)[0]
    assert_same(layer.backward(second, make([np.asarray(row) for row in y]))[0], dx)


@each_form
@each_length
def test_targets_and_masks_of_layers(form: str, lengths: tuple[int, ...]) -> None:
    layer = rnncore.RNN(2, 3, output_size=2, recurrence=("output_to_hidden",), rng=0)
    x, targets, make = features(lengths), features(lengths), FORMS[form]
    which = [RNG.random(n) < 0.5 for n in lengths]
    resets = [RNG.random(n) < 0.3 for n in lengths]
    wanted = layer.forward(x, targets=targets, teacher_forcing=which, resets=resets)[0]
    flat = {"nested tuples": lambda masks: tuple(tuple(mask.tolist()) for mask in masks)}
    masks = flat.get(form, make)
    got = layer.forward(
        make(x), targets=make(targets), teacher_forcing=masks(which), resets=masks(resets)
    )[0]
    assert_same(got, wanted)


@each_form
@each_length
def test_models_of_features(form: str, lengths: tuple[int, ...]) -> None:
    x, make = [row.astype(np.float64) for row in features(lengths)], FORMS[form]
    for kind in (rnncore.ManyToOne, rnncore.ManyToMany):
        model = kind(rnncore.LSTM(2, 3, dtype="float64", rng=0), 1, rng=0)
        assert_same(model.predict(make(x)), model.predict(x))


@pytest.mark.parametrize("form", ["tuple", "nested lists", "objects", "objects of lists", "series"])
@each_length
def test_models_of_tokens(form: str, lengths: tuple[int, ...]) -> None:
    x, make = [RNG.integers(0, 7, n) for n in lengths], FORMS[form]
    for kind in (rnncore.ManyToOne, rnncore.ManyToMany):
        embedding = rnncore.Embedding(7, 2, rng=0)
        model = kind(rnncore.LSTM(2, 3, rng=0), 1, embedding=embedding, rng=0)
        assert_same(model.predict(make(x)), model.predict(x))


@each_form
def test_read_sequences(form: str) -> None:
    x = features((3, 0, 2))
    arrays, lengths = read_sequences("x", FORMS[form](x))
    np.testing.assert_array_equal(lengths, [3, 0, 2])
    for got, wanted in zip(arrays, x, strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "x",
    [
        [], (), 5, None, "text", ["a", "b"], [1, 2], [np.float32(1)], {}, np.ones((2, 3)),
        np.ones((2, 2), object), np.array([1, "a"], object), np.array([], object),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_list_of_sequences(x: Any) -> None:
    assert not is_ragged(x)


def test_a_list_of_rows_is_one_sequence_for_a_layer() -> None:
    layer = rnncore.GRU(2, 3, rng=0)
    x = features((4,))[0]
    for one in (x.tolist(), list(x), tuple(x)):
        np.testing.assert_array_equal(layer(one)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ([[[1.0, 2]], [[1.0]]], ValueError, r"^x\[1\]: expected .*, got \(1, 1\)"),
        ([[[1.0, 2], [3.0]]], ValueError, r"^x\[0\]: expected an array, got a list whose items"),
        (objects([np.ones((2, 2), "f"), None]), (TypeError, ValueError), r"^x\[1\]: expected "),
        (objects([np.ones((2, 2), "f"), "a"]), (TypeError, ValueError), r"^x\[1\]: expected "),
        (np.ones((2, 3, 2), object), TypeError, "^x: expected real numbers, got dtype object"),
    ],
)
def test_what_does_not_fit_is_named_the_same_everywhere(x: Any, error: Any, text: str) -> None:
    layer = rnncore.GRU(2, 3, rng=0)
    for call in (layer, layer.forward, rnncore.ManyToOne(rnncore.GRU(2, 3), 1).predict):
        with pytest.raises(error, match=text):
            call(x)
