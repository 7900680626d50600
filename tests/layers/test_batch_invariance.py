"""batch_invariant: a sequence's bits, whatever is beside it and however it is cut into calls."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from rnncore import GRU, LSTM, RNN

pytestmark = pytest.mark.per_variant

B, T, I, O = 9, 11, 7, 5  # noqa: E741
CUTS = (0, 1, 4, 10, T)

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"bidirectional": True},
    {"recurrence": "hidden"},
    {"recurrence": "output_to_hidden"},
    {"recurrence": ("hidden", "output_to_output")},
    {
        "recurrence": ("hidden", "output_to_hidden", "output_to_output"),
        "feedback_delays": (1, 3),
        "output_activation": "softmax",
    },
)
CASES = [(kind, options) for kind in (RNN, LSTM, GRU) for options in OPTIONS]
CASES.append((LSTM, {"proj_size": 6}))


def values(*shape: int, seed: int, dtype: str) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_a_sequence_gets_its_bits_alone_and_in_pieces(
    kind: Any, options: Any, layers: int, dtype: str
) -> None:
    if "recurrence" in options:
        options = options | {"output_size": O}
    layer = kind(I, 33, layers, dtype=dtype, rng=1, **options)
    x, y = values(B, T, I, seed=2, dtype=dtype), values(B, T, O, seed=3, dtype=dtype)
    feeds_back = options.get("recurrence", "hidden") != "hidden"
    for targets in (None, y) if feeds_back else (None,):

        def run(part: Any, steps: slice, state: Any = None, targets: Any = targets) -> Any:
            fed = {} if targets is None else {"targets": targets[part, steps]}
            return layer(x[part, steps], state, batch_invariant=True, **fed)

        everything = slice(None)
        whole, _ = run(everything, everything)
        for b in range(B):
            np.testing.assert_array_equal(run([b], everything)[0][0], whole[b])
        if layer.bidirectional:
            continue
        for part in (everything, [3]):
            state, pieces = None, []
            for begin, end in itertools.pairwise(CUTS):
                piece, state = run(part, slice(begin, end), state)
                pieces.append(piece)
            np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole[part])


@pytest.mark.parametrize("value", [0, None, "", "yes", 1])
def test_the_option_is_a_boolean(value: Any) -> None:
    """What counts as False in Python is no False either."""
    layer = GRU(I, 4, rng=0)
    with pytest.raises(TypeError, match="batch_invariant: expected True or False"):
        layer(values(B, T, I, seed=2, dtype="float32"), batch_invariant=value)
