"""From a data set's files to what `load` returns: one function per set."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
from collections.abc import Mapping, Sequence

import numpy as np

from rnncore._types import Array
from rnncore.datasets.kinds import LabelledSeries, Pairs, RatedTexts, Sequences, Series

Files = Mapping[str, bytes]  # contents by path, in the order of the paths


def _text(files: Files) -> str:
    """Return the only file as text."""
    (data,) = files.values()
    return data.decode()


def _labels(names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Return class numbers and the sorted names of the classes."""
    classes, labels = np.unique(np.array(names), return_inverse=True)
    return labels.astype(np.int64), tuple(classes.tolist())


def sf_temps(files: Files) -> Series:
    """Read hourly temperatures."""
    rows = list(csv.DictReader(io.StringIO(_text(files))))
    time = [row["date"].replace("/", "-").replace(" ", "T") for row in rows]
    values = [[float(row["temp"])] for row in rows]
    return Series(
        np.array(time, "datetime64[s]").astype("datetime64[h]"),
        np.array(values),
        ("temperature",),
        ("°F",),
    )


def seattle_weather(files: Files) -> LabelledSeries:
    """Read daily weather with its class."""
    rows = list(csv.DictReader(io.StringIO(_text(files))))
    columns = {"precipitation": "mm", "temp_max": "°C", "temp_min": "°C", "wind": "m/s"}
    labels, classes = _labels([row["weather"] for row in rows])
    return LabelledSeries(
        np.array([row["date"].replace("/", "-") for row in rows], "datetime64[D]"),
        np.array([[float(row[column]) for column in columns] for row in rows]),
        tuple(columns),
        tuple(columns.values()),
        labels,
        classes,
    )


def stocks(files: Files) -> dict[str, Series]:
    """Read daily prices and volumes by ticker."""
    (data,) = files.values()
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(data).decode())))
    columns = ("Open", "High", "Low", "Close", "Volume", "Adj Close")
    prices = {}
    for ticker in dict.fromkeys(row["Ticker"] for row in rows):
        own = [row for row in rows if row["Ticker"] == ticker]
        prices[ticker] = Series(
            np.array([row["Date"] for row in own], "datetime64[D]"),
            np.array([[float(row[column]) for column in columns] for row in own]),
            tuple(column.lower() for column in columns),
            ("USD", "USD", "USD", "USD", "shares", "USD"),
        )
    return prices


def japanese_vowels(files: Files) -> Sequences:
    """Read the .ts files: "v,v,...:v,v,...:label", one line per sequence, one part per channel."""
    parts = {}
    for path, data in files.items():
        lines = data.decode().partition("@data\n")[2].split()
        parts["TRAIN" if "TRAIN" in path else "TEST"] = [line.split(":") for line in lines]
    rows = parts["TRAIN"] + parts["TEST"]
    x = [np.array([channel.split(",") for channel in row[:-1]], np.float64).T for row in rows]
    labels, classes = _labels([row[-1] for row in rows])
    size = len(parts["TRAIN"])
    return Sequences(
        [np.ascontiguousarray(a) for a in x], labels, classes, slice(0, size), slice(size, None)
    )


def spoken_digits(files: Files) -> Sequences:
    """Read MFCC features, all recordings one after the other."""
    (data,) = files.values()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        x, labels, lengths = arrays["X"], arrays["y"], arrays["lengths"]
    parts = np.split(x, np.cumsum(lengths)[:-1])
    return Sequences(parts, labels.astype(np.int64), tuple("0123456789"), None, None)


def splice(files: Files) -> Sequences:
    """Read "A, C, ..., class" lines, with or without a header of lines that begin with @."""
    rows = [line.replace(" ", "").split(",") for line in _text(files).splitlines()]
    rows = [row for row in rows if len(row) == 61]
    labels, classes = _labels([row[-1] for row in rows])
    return Sequences(["".join(row[:-1]) for row in rows], labels, classes, None, None)


def penbased(files: Files) -> Sequences:
    """Read "x, y, x, y, ..., digit" lines: 8 points each."""
    table = np.array([line.split(",") for line in _text(files).splitlines()], np.float64)
    points = table[:, :-1].reshape(len(table), 8, 2)
    return Sequences(list(points), table[:, -1].astype(np.int64), tuple("0123456789"), None, None)


def movie_reviews(files: Files) -> RatedTexts:
    """Read "number, rating, text" lines, split by tabs, of one file of the inner archive."""
    (data,) = files.values()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert member is not None
        rows = [line.split("\t") for line in member.read().decode().splitlines()]
    return RatedTexts([row[2] for row in rows], np.array([float(row[1]) for row in rows]))


def shakespeare(files: Files) -> dict[str, str]:
    """Read plays by name."""
    return {
        path.rpartition("/")[2].removesuffix(".md"): data.decode() for path, data in files.items()
    }


def cmudict(files: Files) -> Pairs:
    """Read "word PH0 PH1 ... # remark" lines; "word(2)" is another pronunciation."""
    spoken: dict[str, list[tuple[str, ...]]] = {}
    for line in _text(files).splitlines():
        word, *marked = line.partition("#")[0].split()
        match = re.fullmatch(r"([a-z]+)(\(\d+\))?", word)
        phones = tuple(phone.rstrip("012") for phone in marked)
        if match and phones not in spoken.setdefault(match[1], []):
            spoken[match[1]].append(phones)  # some differ in stress alone
    first = [ways[0] for ways in spoken.values()]
    return Pairs(list(spoken), first, [tuple(ways[1:]) for ways in spoken.values()])


def fashion_mnist(files: Files) -> Sequences:
    """Read four idx files: bytes of images behind a header of 16, of labels behind one of 8."""
    images, labels = [], []
    for part in ("train", "t10k"):
        (pixels,) = (data for path, data in files.items() if f"{part}-images" in path)
        (classes,) = (data for path, data in files.items() if f"{part}-labels" in path)
        images.append(np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28))
        labels.append(np.frombuffer(classes, np.uint8, offset=8).astype(np.int64))
    clothes = (
        "T-shirt/top", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
    size = len(images[0])
    train, test = slice(0, size), slice(size, None)
    return Sequences(list(np.concatenate(images)), np.concatenate(labels), clothes, train, test)
