"""Many to one, words: whether a snippet of a movie review is good or bad.

The data come with the source archive of vaderSentiment (an MIT package):
pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d DIR, and set RNNCORE_DATA=DIR

10,605 snippets, each with the mean of ratings from -4 to 4; the sign is to be predicted (the 37
rated 0 count neither in training nor in the test). A bidirectional GRU reads the words; the head
sees each unit's maximum over the words. It learns from how good a snippet is, not only from the
sign: its target is the logistic function of twice the rating. Against overfitting half of the words
are hidden (made unknown), others in every epoch, and the weights decay. Three nets vote.
Drawn once: 1,000 snippets for choosing sizes and epochs (--validate), 2,000 for the test.

Baselines: naive Bayes on which words occur, and on which words and pairs of neighbouring words.
Nobody wins: on the test the nets are 0.2 points of accuracy ahead of the second one, on the
validation part they are 0.7 behind, and chance is larger than that. So few texts do not teach a net
from nothing what a word means, and counting need not be taught. Both together do better than
either, by 1.8 points on the test and 0.4 on the validation part.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import pairwise

import numpy as np
from common import fit, load, options, picture, report
from rnncore import GRU, Embedding, ManyToOne, Vocabulary, data

EPOCHS, NETS, HIDDEN, HIDE = 6, 3, 64, 0.5


def split_words(text: str) -> list[str]:
    """Return lower-case words, ! and ?; a text of none is one that no vocabulary knows."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?|[!?]", text.lower().replace("''", '"')) or ["..."]


def naive_bayes(train: list, good: np.ndarray, test: list, pairs: bool) -> np.ndarray:
    """Return log p(good | which words occur) - log p(bad | ...) of each test text, up to scale."""

    def events(words: list[str]) -> set:
        return set(words) | (set(pairwise(words)) if pairs else set())

    counts: tuple[Counter, Counter] = (Counter(), Counter())
    for words, is_good in zip(train, good, strict=True):
        counts[is_good].update(events(words))
    sizes = np.bincount(good, minlength=2)
    known = counts[0].keys() | counts[1].keys()
    slope = {
        event: np.log((counts[1][event] + 1) / (sizes[1] + 2))
        - np.log((counts[0][event] + 1) / (sizes[0] + 2))
        for event in known
    }
    prior = np.log(sizes[1] / sizes[0])
    return np.array([prior + sum(slope.get(e, 0.0) for e in events(words)) for words in test])


def train_net(
    tokens: np.ndarray, lengths: np.ndarray, ratings: np.ndarray, words: Vocabulary, epochs: int,
    seed: int,
) -> ManyToOne:  # fmt: skip
    """Return a net trained on padded tokens (N, T)."""
    embedding = Embedding(len(words), HIDDEN, rng=seed + 100)
    embedding.parameters["weight"][...] *= 0.1  # a rare word has few steps to find its place
    model = ManyToOne(
        GRU(HIDDEN, HIDDEN, bidirectional=True, rng=seed), 1, loss="binary_cross_entropy",
        embedding=embedding, pooling="max", rng=seed + 200,
    )  # fmt: skip

    def hide(rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(tokens.shape) < HIDE, words.unknown_id, tokens)

    target = 1 / (1 + np.exp(-2 * ratings[:, None]))
    fit(model, hide, target, lengths=lengths, epochs=epochs, lr=1e-3, weight_decay=1.0, seed=seed)
    return model


def main() -> None:
    """Train, test, draw."""
    chosen = options(__doc__.splitlines()[0], validate="score the snippets set aside for choosing")
    begin = time.perf_counter()
    reviews = load("movie-reviews")
    order = np.random.default_rng(0).permutation(len(reviews.texts))
    order = order[reviews.ratings[order] != 0]
    validation, test, training = order[:1000], order[1000:3000], order[3000:]
    epochs, nets = EPOCHS, NETS
    if chosen.validate:
        test = validation
    if chosen.short:
        training, nets = training[:2500], 1
    known, asked = ([split_words(reviews.texts[i]) for i in part] for part in (training, test))
    truth = reviews.ratings[test] > 0

    words = Vocabulary.of(known, min_count=2, padding="<pad>", unknown="<unknown>")
    tokens, lengths = data.pad([words.encode(text) for text in known], words.padding_id)
    ratings = reviews.ratings[training]
    models = [train_net(tokens, lengths, ratings, words, epochs, seed) for seed in range(nets)]
    size = models[0].num_parameters
    print(f"{len(known):,} texts, {len(words):,} words; {nets} nets of {size:,} parameters")
    tokens, lengths = data.pad([words.encode(text) for text in asked], words.padding_id)
    votes = np.array([model.predict(tokens, lengths=lengths)[:, 0] for model in models])
    good = (ratings > 0).astype(int)
    bayes, pairs = (naive_bayes(known, good, asked, both) for both in (False, True))
    together = votes.mean(axis=0) / votes.mean(axis=0).std() + pairs / pairs.std()

    def accuracy(score: np.ndarray) -> float:
        return ((score > 0) == truth).mean()

    report(
        "validation accuracy" if chosen.validate else "test accuracy",
        {
            f"{nets} GRUs, logits added": accuracy(votes.sum(axis=0)),
            "baseline: naive Bayes, words and pairs of words": accuracy(pairs),
            "naive Bayes, words": accuracy(bayes),
            f"one GRU, mean of {nets}": np.mean([accuracy(vote) for vote in votes]),
            "GRUs and naive Bayes with pairs, half and half": accuracy(together),
        },
        time.perf_counter() - begin,
    )

    def draw(figure) -> None:
        axes = figure.subplots()
        score = votes.mean(axis=0)
        axes.scatter(reviews.ratings[test], score, s=4, alpha=0.5)
        axes.axhline(0, color="grey", lw=0.8)
        axes.axvline(0, color="grey", lw=0.8)
        correlation = np.corrcoef(reviews.ratings[test], score)[0, 1]
        axes.set(
            xlabel="mean rating by people", ylabel="logit of the nets",
            title=f"{len(test):,} snippets: correlation {correlation:.2f}",
        )  # fmt: skip

    picture(chosen.out / "sentiment.png", (6, 5), draw)


if __name__ == "__main__":
    main()
