"""What comes in from users: arrays, lengths and sizes, checked and made readable for a kernel."""

from __future__ import annotations

import math
import operator
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rnncore._memory import empty
from rnncore._random import default
from rnncore._types import Array, Lengths, Seed

_MAX_SIZE = 2**31 - 1
_BLOCK = 2**16  # numbers that are looked at in one go

_MAKERS = {
    "keras": "rnncore.keras.from_keras makes one of it",  # which may be one of torch as well
    "torch": "rnncore.torch.from_torch makes one of it",
    "onnx": "rnncore.onnx.load makes one of it",
}

_warned: set[str] = set()  # what was said already, once per process


def as_array(name: str, value: Any, dtype: np.dtype[Any], *, contiguous: bool = False) -> Array:
    """Return `value` as an aligned, native array of `dtype` whose last dimension is contiguous.

    No copy is made of an array that a kernel can read as it is; the other strides are free
    unless `contiguous` asks for C order. Booleans, narrower floats and integers that `dtype`
    holds exactly convert silently. Other integers, timestamps say, and wider floats warn, each
    once per process; a list of Python floats does not, since Python has but one width.

    Raises
    ------
    TypeError
        If the elements are no real numbers.
    ValueError
        If `value` is a ragged list, or a masked array with masked elements.
    """
    if type(value) is np.ndarray and value.dtype == dtype:
        return readable(value, dtype, contiguous=contiguous)
    array = _real(name, value, dtype)
    result = readable(array, dtype, contiguous=contiguous)  # MemoryError before a long look at it
    _warn_of_changes(name, value, array, dtype)
    return result


def readable(array: Array, dtype: np.dtype[Any], *, contiguous: bool = False) -> Array:
    """Return real numbers as `as_array` does, from an array that it or `as_real` would take."""
    if array.dtype == dtype:
        flags = array.flags
        if flags.aligned and (flags.c_contiguous or (not contiguous and _rows_contiguous(array))):
            return array
    return _copy(array, dtype)


def _rows_contiguous(array: Array) -> bool:
    return array.ndim > 0 and (array.shape[-1] == 1 or array.strides[-1] == array.itemsize)


def as_real(name: str, value: Any, dtype: np.dtype[Any], given: Any = None) -> Array:
    """Return real numbers that are to become `dtype`, as they are; warn and raise as `as_array`.

    `given` is what the user passed, where `value` was made of it: lists of Python's numbers have no
    width that anybody chose.
    """
    array = _real(name, value, dtype)
    _warn_of_changes(name, value if given is None else given, array, dtype)
    return array


def _real(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    array = as_numpy(name, value)
    if array.dtype != dtype and array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got {_elements(value, array)}")
    return array


def _warn_of_changes(name: str, value: Any, array: Array, dtype: np.dtype[Any]) -> None:
    """Warn, once per process and kind, of numbers that `dtype` does not hold."""
    if array.dtype.kind == "f" and array.itemsize > dtype.itemsize and _width_was_chosen(value):
        _warn_once(
            "float",
            f"{name}: {array.dtype} data is converted to the layer's {dtype}; pass {dtype} arrays "
            f"or build the layer with dtype={array.dtype}",
        )
    rounded = _rounded(array, dtype) if array.dtype.kind in "iu" else None
    if rounded is not None:
        _warn_once(
            "integer",
            f"{name}: {array.dtype.name} data holds integers that {dtype} rounds, such as "
            f"{rounded}; subtract an offset first, or scale them as float64",
        )


def _rounded(integers: Array, dtype: np.dtype[Any]) -> int | None:
    """Return the first integer that floats of `dtype` do not hold; None without any.

    Looks at blocks: what comes may be a view of far fewer numbers, such as windows of a series.
    """
    if integers.size == 0 or integers.itemsize <= 2:
        return None
    once = (slice(0, 1) if stride == 0 else slice(None) for stride in integers.strides)
    integers = integers[tuple(once)]  # what is broadcast once
    largest = max(-int(integers.min()), int(integers.max()))
    if largest <= 2 ** (np.finfo(dtype).nmant + 1):
        return None
    integers = np.atleast_1d(integers)
    rows = max(1, _BLOCK // integers[0].size)
    for start in range(0, len(integers), rows):
        some = integers[start : start + rows]
        with np.errstate(invalid="ignore"):  # 2**63 is beyond int64
            wrong = some.astype(dtype).astype(some.dtype) != some
        if wrong.any():
            return int(some[wrong][0])
    return None


def _copy(array: Array, dtype: np.dtype[Any]) -> Array:
    result = empty(array.shape, dtype)
    result[...] = array
    return result


def as_numpy(name: str, value: Any) -> Array:
    """Return numpy.asarray with errors that name the argument; masked elements are refused.

    What offers itself by DLPack alone is taken that way, without a copy too.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name}: expected no masked elements, got {int(np.ma.getmaskarray(value).sum())}; "
            "pass lengths=, or fill them with .filled(...)"
        )
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except ValueError as error:
        if isinstance(value, (list, tuple)):
            got = f"a {_type(value)} whose items differ in shape"
        else:
            got = f"{_type(value)}: {error}"
        raise ValueError(f"{name}: expected an array, got {got}") from error
    except (TypeError, RuntimeError, BufferError) as error:
        # a torch tensor on a GPU, or that requires grad; a dtype that numpy does not have
        raise TypeError(f"{name}: expected an array, got {_type(value)}: {error}") from error


def as_integers(name: str, value: Any, expected: str = "integers") -> Array:
    """Return an array of integers of any width, also of an empty list; TypeError for others."""
    array = as_numpy(name, value)
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected {expected}, got {_elements(value, array)}")
    return array


def as_int64(array: Array) -> Array:
    """Return integers as an aligned int64 array in C order; no copy is made of one that is."""
    result = np.asarray(array, np.int64, order="C")
    return result if result.flags.aligned else result.copy()


def as_booleans(name: str, value: Any) -> Array:
    """Return an array of booleans; TypeError for others."""
    array = as_numpy(name, value)
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected booleans, got {_elements(value, array)}")
    return array


def refuse(
    name: str,
    array: Array,
    wrong: Array,
    expected: str,
    error: type[Exception] = ValueError,
    first: int = 0,
) -> None:
    """Raise `error` for the first element of `array` where `wrong` is True, with its index.

    `array` starts with sample `first` of what the user gave.
    """
    if wrong.any():
        at = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        place = (*(i + first for i in at[:1]), *at[1:])
        where = place[0] if len(place) == 1 else place
        raise error(f"{name}: expected {expected}, got {array[at]} at index {where}")


def _type(value: Any) -> str:
    return type(value).__name__


def _elements(value: Any, array: Array) -> str:
    """Say what came: None and the like become object arrays without a dimension."""
    return _type(value) if array.dtype == object and array.ndim == 0 else f"dtype {array.dtype}"


def _width_was_chosen(value: Any) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return hasattr(value, "dtype") or not isinstance(value, (list, tuple, float, int))


def _warn_once(kind: str, text: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(f"{text} (said once per process)", stacklevel=users_level())


def forget_warnings() -> None:
    """Let what was said once be said again: a test then finds what a new process would."""
    _warned.clear()


def users_level() -> int:
    """Return the stacklevel of the first caller outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame.f_globals):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(names: Mapping[str, Any]) -> bool:
    """Whether a frame of these globals is this package's, or enters a context of it."""
    package = (names.get("__package__") or "").split(".")[0]
    return package == __package__ or names.get("__name__") == "contextlib"


def check_shape(name: str, array: Array, symbols: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `array` has `shape`, whose dimensions `symbols` names."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected {symbols} = {shape}, got {array.shape}")


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype; raise ValueError for anything else."""
    try:
        result = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}") from error
    if dtype is None or result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    return result


def check_lengths(lengths: Any, steps: int, batch: int) -> Lengths | None:
    """Return a fresh int64 copy of `lengths` (B,), each in [0, T]; None stays None."""
    if lengths is None:
        return None
    array = as_integers("lengths", lengths)
    check_shape("lengths", array, "(B,)", (batch,))
    refuse("lengths", array, (array < 0) | (array > steps), f"integers in [0, {steps}]")
    return np.array(array, dtype=np.int64, order="C")


def integer(name: str, value: Any, least: int, most: int, expected: str = "an integer") -> int:
    """Return an int in [least, most]; TypeError for no integer, ValueError outside."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None
    if not least <= result <= most:
        raise ValueError(f"{name}: expected an integer in [{least}, {most}], got {result}")
    return result


def positive_int(name: str, value: Any, most: int = _MAX_SIZE) -> int:
    """Return a size as an int; TypeError for no integer, ValueError outside [1, most]."""
    return integer(name, value, 1, most, "a positive integer")


def boolean(name: str, value: Any) -> bool:
    """Return a flag as a bool; TypeError for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def number(name: str, value: Any, expected: str = "a number") -> float:
    """Return a real number as a float; TypeError for all else, text and booleans included."""
    try:
        if isinstance(value, (str, bytes, bytearray, bool, np.bool_)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected {expected}, got {value!r}") from None


def fraction(name: str, value: Any) -> float:
    """Return a number in [0, 1) as a float; TypeError for no number, ValueError outside."""
    result = number(name, value, "a number in [0, 1)")
    if not 0.0 <= result < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
    return result


def not_negative(name: str, value: Any, expected: str = "a number") -> float:
    """Return a finite number >= 0 as a float; TypeError for no number, ValueError for others."""
    result = number(name, value, expected)
    if not 0.0 <= result < math.inf:
        raise ValueError(f"{name}: expected a finite number >= 0, got {value!r}")
    return result


def inner_fraction(name: str, value: Any) -> float:
    """Return a number in (0, 1) as a float; TypeError for no number, ValueError outside."""
    result = number(name, value, "a number in (0, 1)")
    if not 0.0 < result < 1.0:
        raise ValueError(f"{name}: expected a number in (0, 1), got {value!r}")
    return result


def closed_fraction(name: str, value: Any) -> float:
    """Return a number in [0, 1] as a float; TypeError for no number, ValueError outside."""
    result = number(name, value, "a number in [0, 1]")
    if not 0.0 <= result <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return result


def expect_none(reason: str, **values: Any) -> None:
    """Raise ValueError for the first of these arguments that was given."""
    for name, value in values.items():
        if value is not None:
            raise ValueError(f"{name}: expected None {reason}, got {value!r}")


def what_came(value: Any, home: str = "rnncore") -> str:
    """Say what came where an object of `home` was expected: its class, and another library."""
    if isinstance(value, type):
        return f"the class {value.__name__}, not an object of it"
    library = library_of(value)
    return _type(value) if library in (None, home) else f"{_type(value)} of {library}"


def library_of(value: Any) -> str | None:
    """Return the library that an object's class comes from, or is made of; None for any other."""
    packages = {base.__module__.split(".")[0] for base in type(value).__mro__}
    return next((name for name in (*_MAKERS, __package__) if name in packages), None)


def expect_module(name: str, value: Any, kind: Any, expected: str = "a layer or a model") -> None:
    """Raise TypeError for no object of a class, or of some; say what converts a stranger's."""
    if not isinstance(value, kind):
        text = f"{name}: expected {expected}, got {what_came(value)}"
        hint = None if isinstance(value, type) else _MAKERS.get(library_of(value) or "")
        raise TypeError(f"{text}; {hint}" if hint else text)


def choice(name: str, value: Any, options: Sequence[str]) -> str:
    """Return `value` if it is one of `options`; ValueError lists them."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, options))}, got {value!r}")
    return value


def generator(rng: Seed, place: str = "") -> np.random.Generator:
    """Return a generator of a seed, with errors that name the argument.

    A Generator is used as it is. Any other seed is mixed with `place`, so that one seed given to a
    core and to what stands beside it draws unrelated numbers. Without a place the numbers are those
    of numpy.random.default_rng.
    """
    rng = default() if rng is None else rng
    try:
        return np.random.default_rng(_placed(rng, place) if place else rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng: expected an int, a numpy.random.Generator or None, got {rng!r}: {error}"
        ) from error


def _placed(rng: Any, place: str) -> Any:
    """Return a seed mixed with a place, as a spawn key; None and generators as they are."""
    random = np.random
    if rng is None or isinstance(rng, (random.Generator, random.BitGenerator, random.RandomState)):
        return rng
    seed = rng if isinstance(rng, random.SeedSequence) else random.SeedSequence(rng)
    key = (*seed.spawn_key, zlib.crc32(place.encode()))
    return random.SeedSequence(seed.entropy, spawn_key=key)
