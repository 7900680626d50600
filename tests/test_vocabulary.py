"""Vocabulary: symbols to ids and back, and every wrong symbol named."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from rnncore import Vocabulary

pytestmark = pytest.mark.once

FULL = Vocabulary("cab", padding="<pad>", start="<s>", end="</s>", unknown="?")


def test_specials_come_first_and_only_those_given() -> None:
    assert FULL.symbols == ("<pad>", "<s>", "</s>", "?", "c", "a", "b")
    assert (FULL.padding_id, FULL.start_id, FULL.end_id, FULL.unknown_id) == (0, 1, 2, 3)
    some = Vocabulary(["x", "y"], end="#")
    assert some.symbols == ("#", "x", "y")
    assert (some.padding_id, some.start_id, some.end_id, some.unknown_id) == (None, None, 0, None)
    assert len(FULL) == 7
    assert "a" in FULL
    assert "<pad>" in FULL
    assert "d" not in FULL
    assert 4 not in FULL


def test_encode_gives_positions_and_decode_inverts_it() -> None:
    ids = FULL.encode("abcxa", start=True, end=True)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, [1, 5, 6, 4, 3, 5, 2])
    assert FULL.decode(ids) == "abc?a"
    assert FULL.decode(ids, strip=False) == "<s>abc?a</s>"
    assert FULL.decode(ids, joined=False) == ["a", "b", "c", "?", "a"]
    np.testing.assert_array_equal(FULL.encode(["a", "<pad>", "b"]), [5, 0, 6])
    assert FULL.encode("").shape == (0,)
    assert FULL.encode("").dtype == np.int64
    assert FULL.decode([]) == ""


def test_decode_stops_at_the_first_end() -> None:
    assert FULL.decode([0, 1, 5, 0, 6, 2, 4, 4, 2, 0]) == "ab"
    assert FULL.decode([2]) == ""
    assert Vocabulary("ab", padding="_").decode([0, 2, 1, 0]) == "ba"


def test_words_are_not_joined_and_no_string_is_taken_for_them() -> None:
    words = Vocabulary(["the", "cat", "a"])
    assert not words.characters
    ids = words.encode(["a", "cat"])
    np.testing.assert_array_equal(ids, [2, 1])
    assert words.decode(ids) == ["a", "cat"]
    assert words.decode(ids, joined=True) == "acat"
    with pytest.raises(TypeError, match=r"^sequence: expected a list of symbols.*'the cat'"):
        words.encode("the cat")


def test_of_sorts_by_count_then_alphabet() -> None:
    assert Vocabulary.of(["banana", "nab"]).symbols == ("a", "n", "b")
    assert Vocabulary.of(["zyx", "xyz"]).symbols == ("x", "y", "z")
    texts = [["to", "be", "or"], ["not", "to", "be"]]
    assert Vocabulary.of(texts, min_count=2, unknown="*").symbols == ("*", "be", "to")
    assert Vocabulary.of(texts, max_size=3, end="#").symbols == ("#", "be", "to", "not")
    assert Vocabulary.of(word for word in ("ab", "b")).symbols == ("b", "a")


def test_dna_takes_anything_but_bases_for_n() -> None:
    dna = Vocabulary.dna(padding="-")
    assert dna.symbols == ("-", "N", "A", "C", "G", "T")
    assert dna.decode(dna.encode("GATTRCA")) == "GATTNCA"


@pytest.mark.parametrize("vocabulary", [FULL, Vocabulary(["the", "né"]), Vocabulary.dna()])
def test_every_copy_is_equal(vocabulary: Vocabulary) -> None:
    copies = [
        pickle.loads(pickle.dumps(vocabulary)),
        copy.deepcopy(vocabulary),
        Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))),
    ]
    for other in copies:
        assert other == vocabulary
        assert hash(other) == hash(vocabulary)
        assert other.symbols == vocabulary.symbols
        assert other.unknown_id == vocabulary.unknown_id
    assert vocabulary != Vocabulary("cab")
    assert vocabulary != vocabulary.symbols


def test_the_same_symbols_with_other_roles_are_another_vocabulary() -> None:
    assert Vocabulary("ab", end="#") != Vocabulary("ab", start="#")
    assert Vocabulary("#ab") != Vocabulary("ab", start="#")


def test_nothing_can_be_changed() -> None:
    with pytest.raises(AttributeError, match="padding: a Vocabulary cannot be changed"):
        FULL.padding = "x"
    with pytest.raises(AttributeError, match="symbols: a Vocabulary cannot be changed"):
        del FULL.symbols


def test_repr_is_short() -> None:
    text = repr(Vocabulary("abcdefgh", end="#"))
    assert text == "Vocabulary(9 symbols: 'a', 'b', 'c', 'd', 'e', ..., end='#')"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, r"^symbols: expected at least one, got none"),
        (("abca",), ValueError, r"^symbols: expected distinct ones, got 'a' at index 0 and 3"),
        ((["a", ""],), ValueError, r"^symbols\[1\]: expected a string that is not empty"),
        ((["a", 1],), TypeError, r"^symbols\[1\]: expected a string, got 1"),
        ((b"abc",), TypeError, r"^symbols\[0\]: expected a string, got 97"),
        ((5,), TypeError, r"^symbols: expected strings or lists of strings, got int"),
        ((None,), TypeError, r"^symbols: expected strings or lists of strings, got NoneType"),
        (({"a", "b"},), TypeError, r"^symbols: expected symbols in a fixed order, got a set"),
    ],
)
def test_wrong_symbols_are_named(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Vocabulary(*arguments)


@pytest.mark.parametrize(
    ("specials", "error", "message"),
    [
        ({"padding": "b"}, ValueError, r"^padding: expected .* not in symbols, got 'b', .*\[1\]"),
        ({"start": "|", "end": "|"}, ValueError, r"^end: expected another .* than start, got '\|'"),
        ({"unknown": 0}, TypeError, r"^unknown: expected a string, got 0"),
        ({"end": ""}, ValueError, r"^end: expected a string that is not empty"),
    ],
)
def test_wrong_specials_are_named(specials: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Vocabulary("abc", **specials)


@pytest.mark.parametrize(
    ("sequence", "error", "message"),
    [
        ("abd", ValueError, r"^sequence: expected symbols of the vocabulary, got 'd' at index 2"),
        (["a", 1], TypeError, r"^sequence\[1\]: expected a string, got 1"),
        (["a", ["b"]], TypeError, r"^sequence\[1\]: expected a string, got \['b'\]"),
        (3, TypeError, r"^sequence: expected strings or lists of strings, got int"),
    ],
)
def test_encode_names_symbol_and_position(sequence: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Vocabulary("abc").encode(sequence)


def test_marks_that_do_not_exist_cannot_be_added() -> None:
    with pytest.raises(ValueError, match=r"^start: expected False, since .* no start symbol"):
        Vocabulary("abc", end="#").encode("a", start=True)
    with pytest.raises(TypeError, match=r"^end: expected True or False, got 'yes'"):
        FULL.encode("a", end="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 7], ValueError, r"^ids: expected integers in \[0, 7\), got 7 at index 1"),
        ([0, -1], ValueError, r"^ids: expected integers in \[0, 7\), got -1 at index 1"),
        ([0.0], TypeError, r"^ids: expected integers, got dtype float64"),
        ([True], TypeError, r"^ids: expected integers, got dtype bool"),
        ([[0, 1]], ValueError, r"^ids: expected \(T,\), one sequence, got \(1, 2\)"),
        (4, ValueError, r"^ids: expected \(T,\), one sequence, got \(\)"),
    ],
)
def test_decode_names_what_is_no_id(ids: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        FULL.decode(ids)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary.of([]), ValueError, r"^sequences: expected a symbol that occurs 1"),
        (lambda: Vocabulary.of(["ab"], min_count=2), ValueError, r"occurs 2 times or more"),
        (lambda: Vocabulary.of(["ab"], min_count=0), ValueError, r"^min_count: expected an int"),
        (lambda: Vocabulary.of(["ab"], max_size=1.5), TypeError, r"^max_size: expected a pos"),
        (lambda: Vocabulary.of(7), TypeError, r"^sequences: expected strings or lists"),
        (lambda: Vocabulary.of(["a", 7]), TypeError, r"^sequences\[1\]: expected strings or l"),
        (lambda: Vocabulary.of([["a"], [7]]), TypeError, r"^sequences\[1\]\[0\]: expected a str"),
        (lambda: Vocabulary.of(["a#"], end="#"), ValueError, r"^end: expected .* got '#'"),
        (lambda: Vocabulary.from_dict([]), TypeError, r"^mapping: expected a dict, got list"),
        (lambda: Vocabulary.from_dict({}), ValueError, r"^mapping: expected the key 'symbols'"),
        (lambda: Vocabulary.from_dict({"symbol": []}), ValueError, r"^mapping: key: expected one"),
        (lambda: Vocabulary.from_dict({"symbols": 4}), TypeError, r"^symbols: expected strings"),
    ],
)
def test_wrong_material_is_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_numpy_strings_become_plain_ones() -> None:
    vocabulary = Vocabulary(np.array(["to", "be"]))
    assert json.dumps(vocabulary.to_dict())
    assert type(vocabulary.symbols[0]) is str
    np.testing.assert_array_equal(vocabulary.encode(np.array(["be", "to"])), [1, 0])
