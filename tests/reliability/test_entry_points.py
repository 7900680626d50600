"""Every public call that takes an array: the same numbers in any form, and what is no array.

An answer is that of the plain array; an error names the argument, and leaves all as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import child
import entry_points
import hostile
import numpy as np
import pytest
from arrays import flat
from entry_points import EVERY, MASKS, REAL, WHOLE, Entry

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:.*said once per process"),
    pytest.mark.filterwarnings("ignore:overflow encountered in cast"),
]

every = pytest.mark.parametrize("name", EVERY)
REFUSALS = (TypeError, ValueError, IndexError)


def snapshot(module: Any) -> Any:
    """The bits of parameters and gradients; None of what has none."""
    buffers = (getattr(module, name, None) for name in ("flat_parameters", "flat_grads"))
    return [None if buffer is None else buffer.tobytes() for buffer in buffers]


def numbers(answer: Any) -> Any:
    """All numbers of a nest of arrays; a list of sequences has a list as its answer."""
    arrays = [each for each in flat(answer) if each is not None]
    return np.concatenate([np.asarray(each, np.float64).ravel() for each in arrays])


def same_forms(name: str) -> dict[str, Callable[[Any], Any]]:
    """Forms that hold the same numbers, in types that the argument takes."""
    types = hostile.FLOATS if name in REAL else hostile.INTEGERS if name in WHOLE else ()
    forms = hostile.LAYOUTS | {each: hostile.of(each) for each in types}
    return {key: form for key, form in forms.items() if key not in EVERY[name].other}


def wrong_forms(name: str) -> dict[str, Callable[[Any], Any]]:
    """Forms that are refused whatever the sizes are."""
    entry = EVERY[name]
    forms = hostile.NO_NUMBERS | (hostile.WRONG_RANK if entry.rank else {})
    if name in WHOLE:
        forms = forms | {each: hostile.of(each) for each in ("float32", "float64", "bool")}
        forms = forms | {str(each): hostile.at_the_end(each) for each in hostile.NO_INDEX}
    if name in MASKS:
        forms = forms | {each: hostile.of(each) for each in ("float32", "int64")}
    return {key: form for key, form in forms.items() if key not in entry.other}


@every
def test_the_same_numbers_in_any_form_give_the_same_answer(name: str) -> None:
    entry = EVERY[name]
    expected = numbers(entry.call()[1](entry.good))
    for key, form in same_forms(name).items():
        value = form(entry.good)
        found = numbers(entry.call()[1](value))
        assert len(found) == len(expected), key
        # A loss answers in the type that it is given.
        tolerance = 1e-3 if key == "float16" else 1e-6
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=key)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, entry.good, err_msg=key)


@every
def test_what_is_no_such_array_is_named_and_changes_nothing(name: str) -> None:
    entry = EVERY[name]
    module, call = entry.call()
    before = snapshot(module)
    for key, form in wrong_forms(name).items():
        with pytest.raises(REFUSALS) as error:
            pytest.fail(f"{key} was taken: {call(form(entry.good))}")
        assert str(error.value).startswith(entry.names), (key, error.value)
        assert snapshot(module) == before, key


@every
def test_other_sizes_are_taken_or_named(name: str) -> None:
    entry = EVERY[name]
    forms = {
        f"axis {axis} by {by}": hostile.resized(axis, by)
        for axis in range(entry.good.ndim) for by in (-1, 1)
    }  # fmt: skip
    forms |= {"none": lambda a: a[:0], "no features": lambda a: a[..., :0]}
    refused(entry, forms)


@pytest.mark.parametrize("name", REAL)
def test_numbers_of_any_size_are_taken_or_named(name: str) -> None:
    refused(REAL[name], {key: hostile.second(each) for key, each in hostile.EXTREME.items()})


def refused(entry: Entry, forms: dict[str, Callable[[Any], Any]]) -> None:
    """A call that is taken is no matter here; an error has a name, and nothing moved."""
    # Arguments that do not fit any more.
    others = {"queries", "lengths", "label_lengths", "labels", "y", "x and y"}
    for key, form in forms.items():
        module, call = entry.call()
        before, error = snapshot(module), None
        with contextlib.suppress(FloatingPointError):  # of a training that blows up
            try:
                call(form(entry.good))
            except REFUSALS as raised:
                error = raised
        if error is not None:
            assert str(error).startswith((*entry.names, *others)), (key, error)
            assert snapshot(module) == before, key


def test_a_fault_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes everything, one that names nothing, one that moves a parameter."""

    def careless(value: Any) -> Any:
        return 0.0

    def nameless(value: Any) -> Any:
        raise ValueError("operands could not be broadcast together")

    def by_type(value: Any) -> Any:
        return np.asarray(value).nbytes

    def layer_that_moves() -> tuple[Any, Callable[[Any], Any]]:
        layer = entry_points.layer()

        def call(value: Any) -> Any:
            layer.flat_parameters[0] += 1
            raise ValueError("x: expected something else")

        return layer, call

    for call in (lambda: (None, careless), lambda: (None, nameless), layer_that_moves):
        monkeypatch.setitem(EVERY, "faulty", Entry(call, entry_points.X, ("x",)))
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test_what_is_no_such_array_is_named_and_changes_nothing("faulty")
    monkeypatch.setitem(EVERY, "faulty", Entry(lambda: (None, by_type), entry_points.X, ("x",)))
    with pytest.raises(AssertionError):
        test_the_same_numbers_in_any_form_give_the_same_answer("faulty")


@pytest.mark.parametrize("name", REAL)
def test_tensors_and_frames(name: str) -> None:
    """A tensor is an array; one that requires grad is refused, since its gradient would be lost."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    entry = REAL[name]
    expected = numbers(entry.call()[1](entry.good))
    values = [torch.from_numpy(entry.good.copy())]
    if entry.good.ndim == 2:
        values.append(pandas.DataFrame(entry.good))
    for value in values:
        found = numbers(entry.call()[1](value))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(TypeError) as error:
        entry.call()[1](torch.from_numpy(entry.good.copy()).requires_grad_())
    assert str(error.value).startswith(entry.names), error.value


# Calls that go through any number of rows, a batch at a time: these take the time that it takes.
ENDLESS = (
    "OneToMany.predict", "EncoderDecoder.predict", "Standardizer.fit", "LanguageModel.fit",
    "LanguageModel.score", "data.windows",
)  # fmt: skip

HUGE = """
import warnings
import entry_points, hostile
warnings.simplefilter("ignore")
for name, entry in entry_points.EVERY.items():
    if name in ENDLESS:
        continue
    call = entry.call()[1]
    try:
        call(hostile.huge(entry.good))
    except (MemoryError, ValueError, TypeError, IndexError):
        continue
    raise SystemExit(f"{name}: taken")
print("done")
"""


def test_views_of_more_numbers_than_memory_holds_are_refused() -> None:
    code = f"import sys; sys.path.insert(0, {str(entry_points.__file__)!r}.rpartition('/')[0])\n"
    assert child.run(code + f"ENDLESS = {ENDLESS!r}\n" + HUGE) == "done\n"
