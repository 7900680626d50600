"""Many to one, ragged: who says "ae"? 12 features of speech, 7 to 29 frames, 9 speakers.

The data (JapaneseVowels, BSD-3) come with aeon: pip install --no-deps aeon==1.6.0

A bidirectional GRU reads an utterance; both ends' states name the speaker. Five such nets vote.
Training utterances get noise anew in every epoch: a little in every frame, and an offset for the
whole utterance, which imitates how a voice differs from one recording to the next. Size, noise and
epochs were chosen on the training set alone, three thirds in turn left out; --validate shows one of
them: trained on the first 20 utterances of each speaker, scored on the other 10.

Baseline: ridge regression on each channel's mean and standard deviation over the utterance.
"""

from __future__ import annotations

import time

import numpy as np
from common import fit, load, options, picture, report
from rnncore import GRU, ManyToOne, data

EPOCHS, NETS, HIDDEN, NOISE, OFFSET = 60, 5, 64, 0.3, 0.3


def train(
    x: np.ndarray, lengths: np.ndarray, labels: np.ndarray, epochs: int, seed: int
) -> ManyToOne:
    """Return a net trained on padded utterances x (N, T, 12)."""
    core = GRU(x.shape[2], HIDDEN, bidirectional=True, rng=seed)
    model = ManyToOne(core, 9, loss="softmax_cross_entropy", rng=seed + 100)

    def noisy(rng: np.random.Generator) -> np.ndarray:
        noise = NOISE * rng.standard_normal(x.shape)
        noise += OFFSET * rng.standard_normal((len(x), 1, x.shape[2]))
        return x + noise.astype(np.float32)

    fit(model, noisy, labels, lengths=lengths, epochs=epochs, lr=3e-3, batch_size=16, seed=seed)
    return model


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of each row."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def ridge(train_x: list, labels: np.ndarray, test_x: list) -> np.ndarray:
    """Return the classes that a linear model sees in means and deviations over time."""
    features = [np.array([[*a.mean(0), *a.std(0)] for a in part]) for part in (train_x, test_x)]
    scaler = data.Standardizer().fit(features[0])
    a, b = (np.column_stack([scaler.transform(f), np.ones(len(f))]) for f in features)
    weights = np.linalg.solve(a.T @ a + np.eye(a.shape[1]), a.T @ np.eye(9)[labels])
    return (b @ weights).argmax(axis=1)


def main() -> None:
    """Train, test, draw."""
    chosen = options(__doc__.splitlines()[0], validate="score on a part of the training set")
    begin = time.perf_counter()
    vowels = load("japanese-vowels")
    known, asked = np.arange(270), np.arange(270, 640)
    if chosen.validate:  # a speaker's 30 training utterances follow one another
        known, asked = known[known % 30 < 20], known[known % 30 >= 20]
    parts = [[vowels.x[i] for i in which] for which in (known, asked)]
    truth = vowels.labels[asked]
    scaler = data.Standardizer().fit(np.concatenate(parts[0]))
    (x, lengths), (test_x, test_lengths) = (
        data.pad([scaler.transform(a).astype(np.float32) for a in part]) for part in parts
    )
    epochs, nets = (10, 1) if chosen.short else (EPOCHS, NETS)
    models = [train(x, lengths, vowels.labels[known], epochs, seed) for seed in range(nets)]
    print(f"{nets} x {models[0]}, {models[0].num_parameters:,} parameters each, {epochs} epochs")
    votes = np.array([probabilities(m.predict(test_x, lengths=test_lengths)) for m in models])
    single = (votes.argmax(axis=2) == truth).mean(axis=1)
    guess = votes.mean(axis=0).argmax(axis=1)
    linear = ridge(parts[0], vowels.labels[known], parts[1])
    report(
        "validation accuracy" if chosen.validate else "test accuracy",
        {
            f"{nets} GRUs, voting": (guess == truth).mean(),
            "baseline: ridge on means and deviations": (linear == truth).mean(),
            f"one GRU, mean of {nets} ({single.min():.1%} to {single.max():.1%})": single.mean(),
        },
        time.perf_counter() - begin,
    )
    table = np.zeros((9, 9), int)
    np.add.at(table, (truth, guess), 1)

    def draw(figure) -> None:
        axes = figure.subplots()
        axes.imshow(np.log1p(table), cmap="Blues")
        for (row, column), count in np.ndenumerate(table):
            colour = "white" if count > 20 else "black"
            axes.text(column, row, count or "", ha="center", va="center", color=colour)
        axes.set(
            xticks=range(9), yticks=range(9), xticklabels=vowels.classes,
            yticklabels=vowels.classes, xlabel="speaker said by the nets", ylabel="speaker",
            title=f"{len(truth)} utterances: {(guess != truth).sum()} errors",
        )  # fmt: skip

    picture(chosen.out / "vowels.png", (5.5, 5.5), draw)


if __name__ == "__main__":
    main()
