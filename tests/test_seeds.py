"""Seeds: one for a core and what stands beside it gives unrelated numbers, the same each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rnncore
from rnncore.models.initial_state import InitialState
from rnncore.module import Module

pytestmark = pytest.mark.once

E, H = 50, 40
SEEDS: dict[str, Callable[[], Any]] = {
    "int": lambda: 0,
    "numpy integer": lambda: np.int64(7),
    "list": lambda: [1, 2],
    "SeedSequence": lambda: np.random.SeedSequence(3),
    "spawned": lambda: np.random.SeedSequence(3).spawn(2)[1],
}


def values(module: Module, name: str) -> np.ndarray:
    """The first numbers that a module drew for an array."""
    return module.parameters[name].ravel()[: E * H].astype(np.float64)


def drawn(seed: Callable[[], Any]) -> dict[str, np.ndarray]:
    """What stands side by side in models, all from one seed; each array is its first draw."""
    core = rnncore.RNN(E, H, rng=seed())
    language = rnncore.LanguageModel(rnncore.RNN(E, H), H, rng=seed())
    start = rnncore.OneToMany(
        rnncore.RNN(1, E, output_size=2, recurrence=("output_to_hidden",)), 2, vector_size=H,
        rng=seed(),
    )  # fmt: skip
    return {
        "core": values(core, "weight_ih_l0"),
        "head": values(rnncore.ManyToOne(rnncore.RNN(2, E), H, rng=seed()), "head.weight"),
        "embedding": values(rnncore.Embedding(H, E, rng=seed()), "weight"),
        "attention": values(rnncore.DotAttention(H, E, rng=seed()), "keys.weight"),
        "language model": values(language, "embedding.weight"),
        "one to many": values(start, "start.linear.weight"),
    }


@pytest.mark.parametrize("kind", SEEDS)
def test_one_seed_gives_unrelated_numbers_in_different_places(kind: str) -> None:
    numbers = drawn(SEEDS[kind])
    for (a, first), (b, second) in itertools.combinations(numbers.items(), 2):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1, (a, b)
    for name, again in drawn(SEEDS[kind]).items():
        np.testing.assert_array_equal(again, numbers[name])


def test_two_seeds_give_unrelated_numbers() -> None:
    first, second = drawn(lambda: 0), drawn(lambda: 1)
    for name in first:
        assert abs(np.corrcoef(first[name], second[name])[0, 1]) < 0.1, name


@pytest.mark.parametrize("kind", [rnncore.RNN, rnncore.LSTM, rnncore.GRU, rnncore.LSTMCell])
def test_recurrent_layers_draw_from_the_seed_alone(kind: Any) -> None:
    """As they always did: saved experiments go on with the same numbers."""
    by_hand = kind(3, 4, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(kind(3, 4, rng=5).flat_parameters, by_hand.flat_parameters)


def test_a_generator_is_used_as_it_is() -> None:
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    layer = rnncore.Embedding(3, 4, rng=rng)
    np.testing.assert_array_equal(
        layer.parameters["weight"], same.standard_normal((3, 4), dtype=np.float32)
    )
    assert rng.random() == same.random()  # it went on from there
    start = InitialState(3, rnncore.GRU(1, 4), rng=np.random.default_rng(5))
    linear = rnncore.Linear(3, 4, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(start.flat_parameters, linear.flat_parameters)


@pytest.mark.parametrize("rng", [-1, 1.5, "0", {}])
def test_what_is_no_seed_is_named(rng: Any) -> None:
    for make in (rnncore.Linear, rnncore.LSTM, rnncore.Embedding, rnncore.DotAttention):
        with pytest.raises((TypeError, ValueError), match=r"^rng: expected an int, a numpy.random"):
            make(2, 3, rng=rng)


def test_one_seed_makes_everything_repeatable() -> None:
    x = np.random.default_rng(0).standard_normal((20, 5, 3)).astype(np.float32)

    def trained() -> Any:
        model = rnncore.ManyToOne(rnncore.LSTM(3, 8, 2, dropout=0.3), 2)
        model.fit(x, x[:, 0, :2], epochs=2, batch_size=8, progress=False)
        return model.flat_parameters.copy()

    try:
        rnncore.seed(3)
        first, second = trained(), trained()
        rnncore.seed(3)
        np.testing.assert_array_equal(trained(), first)
        assert not np.array_equal(first, second)
        rnncore.seed(None)
        assert not np.array_equal(trained(), first)
        own = [rnncore.LSTM(3, 8, rng=0).flat_parameters for _ in "ab"]
        np.testing.assert_array_equal(*own)
        for value, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError)):
            with pytest.raises(error, match="value: expected an integer >= 0 or None"):
                rnncore.seed(value)  # type: ignore[arg-type]
    finally:
        rnncore.seed(None)
