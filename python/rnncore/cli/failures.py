"""CommandError: what ends a command with one line on stderr; and the estimators' errors as such."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence

WRONG_USE = 2  # the exit code of a wrong call; 1 is that of a call that failed

# Parameters of the forecaster whose options have another name.
_OPTIONS = {
    "irregular": "--repair", "max_iter": "--epochs", "hidden_size": "--hidden",
    "random_state": "--seed", "origins": "--backtest",
    **{name: f"--{name}" for name in (
        "horizon", "window", "time", "target", "group", "past", "future", "static", "freq",
        "timezone", "calendar", "strategy", "coverage", "cell",
    )},
}  # fmt: skip
_WORDS = {
    "irregular='repair' does": "--repair does", "pass future=,": "pass --future,",
    "pass time=,": "pass --time,",
    "strategy='": "--strategy '", "freq='rows'": "--freq rows",
}  # fmt: skip


class CommandError(Exception):
    """A command cannot go on; its text goes to stderr.

    Parameters
    ----------
    text : str
        One line, if it can be.
    code : int
        The exit code: 1, or `WRONG_USE`.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


@contextlib.contextmanager
def in_options_words() -> Iterator[None]:
    """Turn errors of an estimator into failures which name options in place of parameters."""
    try:
        yield
    except (FloatingPointError, TypeError, ValueError) as error:
        text = str(error)
        for word, option in _WORDS.items():
            text = text.replace(word, option)
        if re.search(r"\brow \d", text):
            text += ("\n" if "\n" in text else " ") + "(row 0 is the one below the header)"
        name = re.match(r"(\w+): ", text)
        if name is None or name[1] not in _OPTIONS:
            raise CommandError(text) from error
        raise CommandError(_OPTIONS[name[1]] + text[name.end(1) :], WRONG_USE) from error


@contextlib.contextmanager
def warnings_as_notes(known: Sequence[str] = ()) -> Iterator[None]:
    """Print warnings as lines on stderr, but for those which end in a text that is known."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(each.message) for each in caught):
        if not text.endswith(tuple(known)):
            print(f"note: {text}", file=sys.stderr)
