"""Spelling to phonemes: an encoder-decoder with attention learns how English words are spoken.

Data: the CMU Pronouncing Dictionary; `rnncore.datasets.load` says what to install. Words are held
out with all of their pronunciations, and an answer is compared with the nearest of them.

    python examples/pronunciation.py                        # under 3 minutes
    python examples/pronunciation.py --words all --epochs 20
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rnncore import GRU, Embedding, EncoderDecoder, Vocabulary, datasets
from rnncore.optim import Adam

LETTERS = Vocabulary("abcdefghijklmnopqrstuvwxyz")
SHOWN = 8  # held-out words to print
DRAWN = "thoughtfulness"  # never trained on: its attention is drawn

Phones = tuple[str, ...]
Ways = dict[str, list[Phones]]  # all pronunciations of each word


def main() -> None:
    """Train, test and draw."""
    options = read_options()
    pairs = datasets.load("cmudict")
    ways: Ways = {
        word: [first, *others]
        for word, first, others in zip(pairs.sources, pairs.targets, pairs.others, strict=True)
    }
    train, validation, test = split(list(ways), options.words, options.held_out)
    phones = Vocabulary(
        sorted({phone for target in pairs.targets for phone in target}), start="<s>", end="</s>"
    )
    print(f"{len(train)} words to learn from, {len(test)} held out; {len(phones) - 2} phonemes")

    model = build(phones, options.hidden)
    start = time.perf_counter()
    history = model.fit(
        *spoken(train, ways, phones),
        validation_data=spoken(validation, ways, phones),
        epochs=options.epochs,
        batch_size=64,
        optimizer=Adam(model, 3e-3),
        schedule="cosine",
        clip_norm=1.0,
        rng=0,
    )
    seconds = time.perf_counter() - start
    print(
        f"{model.num_parameters} parameters, {options.epochs} epochs, about {seconds:.0f} s;",
        end=" ",
    )
    print(f"loss {history.loss[-1]:.4f}, on validation words {history.validation_loss[-1]:.4f}")

    table = LetterTable(train, ways)
    beam = predict(model, test, phones, method="beam", beam_width=options.beam, alpha=1.0)
    answers = {
        "nearest word (longest common ending)": nearest_words(train, ways, test),
        "letter table (a letter between its neighbours)": [table.speak(word) for word in test],
        "EncoderDecoder, greedy": predict(model, test, phones),
        f"EncoderDecoder, beam of {options.beam}": beam,
    }
    print(f"{'held-out words':48}{'phoneme errors':>16}{'words right':>14}")
    for name, found in answers.items():
        errors, right = score(found, test, ways)
        print(f"{name:48}{errors:>15.2%}{right:>14.1%}")

    for word, found in zip(test[:SHOWN], beam, strict=False):
        wrong = "" if found in ways[word] else f"    (in the dictionary: {' '.join(ways[word][0])})"
        print(f"  {word:16}{' '.join(found)}{wrong}")
    options.out.mkdir(parents=True, exist_ok=True)
    draw(model, DRAWN, phones, options.out / "pronunciation.png")


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few words: to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the picture")
    parser.add_argument("--words", help='words to learn from, or "all"')
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--hidden", type=int, help="units of the decoder")
    parser.add_argument("--beam", type=int, default=5)
    options = parser.parse_args()
    words, epochs, hidden, held_out = (
        (3000, 2, 64, 400) if options.short else (50_000, 8, 160, 4000)
    )
    options.words = words if options.words is None else options.words
    options.words = None if options.words == "all" else int(options.words)
    options.epochs = options.epochs or epochs
    options.hidden = options.hidden or hidden
    options.held_out = held_out
    return options


def split(words: list[str], size: int | None, held_out: int) -> tuple[list[str], ...]:
    """Return words to train, validate and test on; the test words don't depend on the size."""
    order = np.random.default_rng(0).permutation(len(words))
    mixed = [words[i] for i in order if words[i] != DRAWN]
    test, validation = mixed[:held_out], mixed[held_out : held_out + held_out // 4]
    rest = mixed[5000:]
    return rest[:size], validation, test


def spoken(words: Sequence[str], ways: Ways, phones: Vocabulary) -> tuple[Any, Any]:
    """Return spellings and pronunciations as tokens: one pair for each pronunciation."""
    both = [(word, way) for word in words for way in ways[word]]
    return [LETTERS.encode(word) for word, _ in both], [phones.encode(way) for _, way in both]


def build(phones: Vocabulary, hidden: int) -> EncoderDecoder:
    """Return a model that reads letters in both directions and writes phonemes."""
    rng = np.random.default_rng(0)
    return EncoderDecoder(
        GRU(32, hidden // 2, bidirectional=True, rng=rng),
        GRU(32, hidden, rng=rng),
        len(phones),
        source_embedding=Embedding(len(LETTERS), 32, rng=rng),
        target_embedding=Embedding(len(phones), 32, rng=rng),
        attention="dot",
        start_id=phones.start_id,
        end_id=phones.end_id,
        rng=rng,
    )


def predict(
    model: EncoderDecoder, words: Sequence[str], phones: Vocabulary, **how: Any
) -> list[Phones]:
    """Return the model's pronunciation of each word."""
    found = model.predict([LETTERS.encode(word) for word in words], max_steps=40, **how)
    return [tuple(phones.symbols[i] for i in tokens) for tokens in found]


class LetterTable:
    """Baseline: the most frequent phonemes of a letter between its two neighbours.

    Letters and phonemes are aligned by length: letter i of n takes the phonemes from i m / n to
    (i + 1) m / n. A letter between neighbours that were never seen is looked up alone.
    """

    def __init__(self, words: Sequence[str], ways: Ways) -> None:
        counts: defaultdict[str, Counter[Phones]] = defaultdict(Counter)
        for word in words:
            way, framed = ways[word][0], f" {word} "
            cuts = [round(i * len(way) / len(word)) for i in range(len(word) + 1)]
            for i, letter in enumerate(word):
                part = way[cuts[i] : cuts[i + 1]]
                counts[framed[i : i + 3]][part] += 1
                counts[letter][part] += 1
        self._best = {key: parts.most_common(1)[0][0] for key, parts in counts.items()}

    def speak(self, word: str) -> Phones:
        """Return the phonemes of all letters, one after the other."""
        framed = f" {word} "
        parts = [self._best.get(framed[i : i + 3], self._best[word[i]]) for i in range(len(word))]
        return tuple(phone for part in parts for phone in part)


def nearest_words(train: Sequence[str], ways: Ways, words: Sequence[str]) -> list[Phones]:
    """Baseline: the pronunciation of the word with the longest common ending, nearest in length."""
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for word in train:
        for i in range(len(word)):
            ends[word[i:]].append(word)
    found = []
    for word in words:
        ending = next((word[i:] for i in range(len(word)) if word[i:] in ends), "")
        near = min(ends.get(ending, train), key=lambda other: abs(len(other) - len(word)))
        found.append(ways[near][0])
    return found


def score(found: Sequence[Phones], words: Sequence[str], ways: Ways) -> tuple[float, float]:
    """Return phoneme error rate and share of words without an error, by nearest references.

    The rate is the sum of edits over the sum of the references' lengths.
    """
    edits = length = right = 0
    for answer, word in zip(found, words, strict=True):
        distance, size = min((edit_distance(answer, way), len(way)) for way in ways[word])
        edits, length, right = edits + distance, length + size, right + (distance == 0)
    return edits / length, right / len(words)


def edit_distance(a: Phones, b: Phones) -> int:
    """Return the fewest insertions, deletions and substitutions from a to b (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def draw(model: EncoderDecoder, word: str, phones: Vocabulary, path: Path) -> None:
    """Draw which letters each phoneme was read from."""
    from matplotlib.figure import Figure

    source = [LETTERS.encode(word)]
    written = model.predict(source, max_steps=40)
    (weights,) = model.attention_weights(source, written)
    names = [phones.symbols[i] for i in written[0]] + ["end"]
    figure = Figure(figsize=(7, 5.5), dpi=150, layout="constrained", facecolor="white")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(word)), list(word))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("letter read")
    axes.set_ylabel("phoneme written")
    axes.set_title(f"attention of each phoneme over the letters of {word!r} (not in training)")
    figure.colorbar(image, label="weight")
    figure.savefig(path)
    print(f"attention of {word!r} drawn in {path}")


if __name__ == "__main__":
    main()
