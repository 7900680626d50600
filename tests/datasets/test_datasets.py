"""The data sets by name: where their files are found, what is refused, and what they hold."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rnncore import datasets
from rnncore.datasets import readers, sources
from rnncore.datasets.sources import DebianSource, Source

pytestmark = pytest.mark.once

ONE = {"pack/_data/one.txt": b"one"}
MANY = {"pack/x/a.md": b"first", "pack/x/b.md": b"second", "pack/y/c.md": b"third"}


def contents(files: dict[str, bytes]) -> dict[str, bytes]:
    return files


def source(files: dict[str, bytes], pattern: str, **changes: Any) -> Source:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    (digest, *others) = digests.values()
    if others:
        listing = "".join(f"{value}  {path}\n" for path, value in digests.items())
        digest = hashlib.sha256(listing.encode()).hexdigest()
    arguments = {"package": "My-Pack", "version": "1.2", "read": contents} | changes
    return Source(pattern=pattern, sha256=digest, **arguments)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def write_zip(path: Path, files: dict[str, bytes], prefix: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in reversed(files.items()):
            archive.writestr(prefix + name, data)


def write_tar(path: Path, files: dict[str, bytes], prefix: str = "") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in reversed(files.items()):
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Only the folder "installed" counts as installed, and nothing is downloaded."""
    installed = tmp_path / "installed"
    installed.mkdir()
    monkeypatch.setattr(sources, "sys", SimpleNamespace(path=[str(installed)]))
    monkeypatch.delenv("RNNCORE_DATA", raising=False)
    monkeypatch.setitem(datasets._SETS, "one", (source(ONE, "pack/_data/one.txt"),))
    monkeypatch.setitem(datasets._SETS, "many", (source(MANY, "pack/*/*.md"),))
    return installed


@pytest.mark.parametrize(("name", "files"), [("one", ONE), ("many", MANY)])
def test_files_are_read_out_of_an_installed_package(
    alone: Path, name: str, files: dict[str, bytes]
) -> None:
    write_folder(alone, files)
    (alone / "pack" / "__init__.py").write_text("raise RuntimeError('imported')")
    read = datasets.load(name)
    assert read == files
    assert list(read) == sorted(files)


@pytest.mark.parametrize(("name", "files"), [("one", ONE), ("many", MANY)])
@pytest.mark.parametrize(
    ("archive", "write", "prefix"),
    [
        ("my_pack-1.2-py3-none-any.whl", write_zip, ""),
        ("my-pack-1.2.zip", write_zip, "my-pack-1.2/"),
        ("My-Pack-1.2.tar.gz", write_tar, "My-Pack-1.2/"),
        ("my.pack-1.2.tar.gz", write_tar, ""),
    ],
)
def test_files_are_read_out_of_a_downloaded_archive(
    alone: Path, tmp_path: Path, monkeypatch: Any, archive: str, write: Any, prefix: str,
    name: str, files: dict[str, bytes],
) -> None:  # fmt: skip
    folder = tmp_path / "downloads"
    folder.mkdir()
    write(folder / archive, files, prefix)
    assert datasets.load(name, folder) == files
    assert list(datasets.load(name, str(folder))) == sorted(files)
    (entry,) = (entry for entry in os.scandir(tmp_path) if entry.name == folder.name)
    assert datasets.load(name, entry) == files  # path-like, but no path
    monkeypatch.setenv("RNNCORE_DATA", str(folder))
    assert datasets.load(name) == files


def test_the_folder_comes_before_installed_packages(alone: Path, tmp_path: Path) -> None:
    write_folder(alone, {"pack/_data/one.txt": b"other"})
    folder = tmp_path / "unpacked"
    write_folder(folder, ONE)
    assert datasets.load("one", folder) == ONE
    with pytest.raises(ValueError, match="than the one pinned"):
        datasets.load("one")


def test_archives_of_other_versions_and_packages_are_not_opened(
    alone: Path, tmp_path: Path
) -> None:
    for name in ("my_pack-1.20-py3-none-any.whl", "my_pack-1.1.zip", "pack-1.2.tar.gz", "my_pack"):
        (tmp_path / name).write_bytes(b"no archive")
    write_folder(alone, ONE)
    assert datasets.load("one", tmp_path) == ONE


def test_nothing_found_says_what_to_run(alone: Path, tmp_path: Path) -> None:
    expected = (
        r"data set 'one' is carried by a package that is neither installed nor downloaded: "
        r"pip install --no-deps My-Pack==1\.2, or pip download --no-deps My-Pack==1\.2 -d DIR and "
        r"set RNNCORE_DATA=DIR"
    )
    with pytest.raises(ModuleNotFoundError, match=expected):
        datasets.load("one")
    write_zip(tmp_path / "my_pack-1.2.whl", {"pack/_data/two.txt": b"one"})
    with pytest.raises(ModuleNotFoundError, match=expected):
        datasets.load("one", tmp_path)


def test_data_of_a_source_archive_is_not_to_be_installed(alone: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(datasets._SETS, "one", (source(ONE, "one.txt", built=False),))
    with pytest.raises(ModuleNotFoundError) as caught:
        datasets.load("one")
    assert "pip install" not in str(caught.value)
    assert "pip download --no-binary :all: --no-deps My-Pack==1.2 -d DIR" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"pack/x/a.md": b"First"},
        {"pack/x/a.md": b"second", "pack/x/b.md": b"first"},
        {"pack/z/d.md": b"more"},
        {"pack/x/a.md": b""},
    ],
)
def test_other_files_than_the_pinned_are_refused(alone: Path, change: dict[str, bytes]) -> None:
    write_folder(alone, MANY | change)
    with pytest.raises(ValueError, match=r"data set 'many': .* has another pack/\*/\*\.md than"):
        datasets.load("many")


def test_a_file_too_few_is_refused(alone: Path) -> None:
    write_folder(alone, dict(list(MANY.items())[1:]))
    with pytest.raises(ValueError, match="than the one pinned"):
        datasets.load("many")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_damaged_archive_is_named(alone: Path, tmp_path: Path, write: Any) -> None:
    path = tmp_path / ("my_pack-1.2.zip" if write is write_zip else "my_pack-1.2.tar.gz")
    write(path, {"pack/_data/one.txt": bytes(np.random.default_rng(0).bytes(300))})
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"my_pack-1\.2.*(damaged|another).*pip install"):
            datasets.load("one", tmp_path)
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        path.write_bytes(flipped)
        with pytest.raises((ValueError, ModuleNotFoundError), match="pip install --no-deps My-P"):
            datasets.load("one", tmp_path)


def test_an_archive_cannot_swell_without_bound(alone: Path, tmp_path: Path) -> None:
    path = tmp_path / "my_pack-1.2.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack/_data/one.txt", bytes((1 << 26) + 1))
    with pytest.raises(ModuleNotFoundError, match="neither installed nor downloaded"):
        datasets.load("one", tmp_path)


def test_another_package_that_carries_the_same_will_do(alone: Path, monkeypatch: Any) -> None:
    second = source(ONE, "other/one.txt", package="other", version="3")
    monkeypatch.setitem(datasets._SETS, "one", (*datasets._SETS["one"], second))
    write_folder(alone, {"other/one.txt": b"one"})
    assert datasets.load("one") == {"other/one.txt": b"one"}


@pytest.fixture
def packed(alone: Path, monkeypatch: Any, tmp_path: Path) -> Path:
    """A folder with a file of a Debian package, pinned by what it holds unpacked."""
    pinned = hashlib.sha256(
        f"{hashlib.sha256(b'clothes').hexdigest()}  wear/all.gz\n".encode()
    ).hexdigest()
    kept = DebianSource("wear-data", "1-1", "wear/*.gz", pinned, contents, origin="https://o.org")
    monkeypatch.setitem(datasets._SETS, "one", (kept,))
    write_folder(tmp_path, {"wear/all.gz": gzip.compress(b"clothes", 9, mtime=1)})
    return tmp_path


def test_a_packed_file_is_pinned_by_what_it_holds(packed: Path) -> None:
    assert datasets.load("one", packed) == {"wear/all.gz": b"clothes"}
    write_folder(packed, {"wear/all.gz": gzip.compress(b"clothes", 1, mtime=2)})
    assert datasets.load("one", packed) == {"wear/all.gz": b"clothes"}
    write_folder(packed, {"wear/all.gz": gzip.compress(b"Clothes")})
    with pytest.raises(ValueError, match=r"another wear/.*than the one pinned"):
        datasets.load("one", packed)


def test_a_damaged_packed_file_is_named(packed: Path) -> None:
    whole = (packed / "wear/all.gz").read_bytes()
    for size in range(len(whole)):
        (packed / "wear/all.gz").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"wear.*(damaged|pinned).*apt-get install wear-data"):
            datasets.load("one", packed)


def test_a_packed_file_cannot_swell_without_bound(packed: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sources, "_LARGEST", 100)
    write_folder(packed, {"wear/all.gz": gzip.compress(bytes(10_000))})
    with pytest.raises(ValueError, match="than the one pinned"):
        datasets.load("one", packed)


def test_a_debian_package_nowhere_says_what_to_run(packed: Path) -> None:
    (packed / "wear/all.gz").unlink()
    with pytest.raises(ModuleNotFoundError) as caught:
        datasets.load("one", packed)
    assert "apt-get install wear-data (Debian, Ubuntu), or put the files *.gz of https://o.org" in (
        str(caught.value)
    )
    assert "into DIR/wear and set RNNCORE_DATA=DIR" in str(caught.value)


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none_is_named(
    alone: Path, tmp_path: Path, monkeypatch: Any, folder: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=rf"^folder: expected a folder, got '.*{folder}'"):
        datasets.load("one", tmp_path / folder)
    monkeypatch.setenv("RNNCORE_DATA", str(tmp_path / folder))
    with pytest.raises(ValueError, match=r"^RNNCORE_DATA: expected a folder, got"):
        datasets.load("one")
    with pytest.raises(TypeError, match=r"^folder: expected a path, got 5"):
        datasets.load("one", 5)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["nope", [], None])
def test_an_unknown_name_lists_the_known(name: Any) -> None:
    with pytest.raises(ValueError, match=r"name: expected one of 'sf-temps', 'seattle-weather', "):
        datasets.load(name)


def test_readers_read_what_the_files_look_like() -> None:
    weather = readers.seattle_weather(
        {"": b"date,precipitation,temp_max,temp_min,wind,weather\n"
             b"2012/01/01,0.5,12.8,5.0,4.7,sun\n2012/01/02,1,2,3,4,fog\n"}
    )  # fmt: skip
    np.testing.assert_array_equal(weather.values, [[0.5, 12.8, 5.0, 4.7], [1, 2, 3, 4]])
    np.testing.assert_array_equal(weather.labels, [1, 0])
    assert weather.classes == ("fog", "sun")
    assert weather.units == ("mm", "°C", "°C", "m/s")
    rows = b"Ticker,Date,Open,High,Low,Close,Volume,Adj Close\nA,2000-01-03,1,2,3,4,5,6\n"
    prices = readers.stocks({"": gzip.compress(rows + b"B,2000-01-04,6,5,4,3,2,1\n")})
    assert list(prices) == ["A", "B"]
    np.testing.assert_array_equal(prices["B"].values, [[6, 5, 4, 3, 2, 1]])
    assert prices["B"].time[0] == np.datetime64("2000-01-04")
    vowels = readers.japanese_vowels(
        {"V_TEST.ts": b"@data\n7,8:9,10:2\n", "V_TRAIN.ts": b"#x\n@data\n1,2,3:4,5,6:1\n"}
    )
    np.testing.assert_array_equal(vowels.x[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(vowels.x[vowels.test][0], [[7, 9], [8, 10]])
    np.testing.assert_array_equal(vowels.labels, [0, 1])
    lines = b"'em AH0 M\ncat K AE1 T # pet\ncat(2) K AE0 T\ncat(3) K AH0 T\na-b AH0\n"
    pairs = readers.cmudict({"": lines})
    assert pairs == datasets.Pairs(["cat"], [("K", "AE", "T")], [(("K", "AH", "T"),)])
    written = readers.penbased({"": b"1,2, 3,4, 5,6, 7,8, 9,10, 11,12, 13,14, 15,16, 7\n"})
    np.testing.assert_array_equal(written.x[0], np.arange(1, 17).reshape(8, 2))
    assert written.labels.tolist() == [7]


def load_or_skip(name: str) -> Any:
    try:
        return datasets.load(name)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def test_temperatures_are_the_year_that_was_pinned() -> None:
    series = load_or_skip("sf-temps")
    assert series.values.shape == (8759, 1)
    assert series.units == ("°F",)
    np.testing.assert_allclose(series.values.mean(), 56.9241, atol=1e-4)
    np.testing.assert_allclose(series.values[[0, -1], 0], [47.8, 48.3])
    gaps = np.diff(series.time).astype(int)
    assert list(np.unique(gaps, return_counts=True)[1]) == [8757, 1]  # one hour is missing
    assert series.time[0] == np.datetime64("2010-01-01T00")


def test_seattle_weather_is_four_years_of_days() -> None:
    weather = load_or_skip("seattle-weather")
    assert weather.values.shape == (1461, 4)
    assert set(np.diff(weather.time).astype(int)) == {1}
    assert weather.classes == ("drizzle", "fog", "rain", "snow", "sun")
    assert weather.names[0] == "precipitation"
    np.testing.assert_array_equal(np.bincount(weather.labels), [54, 411, 259, 23, 714])


def test_stocks_are_five_tickers() -> None:
    stocks = load_or_skip("stocks")
    assert sorted(stocks) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert sum(len(series.time) for series in stocks.values()) == 12154
    for series in stocks.values():
        assert np.all(np.diff(series.time).astype(int) > 0)
        assert series.values.shape == (len(series.time), 6)
        assert np.all(series.values > 0)
    np.testing.assert_allclose(
        stocks["AAPL"].values[0, :5], [118.56, 132.06, 118.5, 130.31, 9616100]
    )


def test_vowels_come_with_their_authors_split() -> None:
    vowels = load_or_skip("japanese-vowels")
    assert (len(vowels.x[vowels.train]), len(vowels.x[vowels.test])) == (270, 370)
    assert {array.shape[1] for array in vowels.x} == {12}
    lengths = [len(array) for array in vowels.x]
    assert (min(lengths), max(lengths)) == (7, 29)
    np.testing.assert_array_equal(np.bincount(vowels.labels[vowels.train]), [30] * 9)
    np.testing.assert_allclose(vowels.x[0][:2, 0], [1.860936, 1.891651])


def test_spoken_digits_are_cut_at_their_lengths() -> None:
    digits = load_or_skip("spoken-digits")
    lengths = [len(array) for array in digits.x]
    assert (len(lengths), min(lengths), max(lengths), sum(lengths)) == (3000, 6, 92, 53999)
    assert digits.x[0].shape[1] == 13
    np.testing.assert_array_equal(np.bincount(digits.labels), [300] * 10)


def test_splice_is_sixty_bases_and_three_classes() -> None:
    dna = load_or_skip("splice")
    assert dna.classes == ("EI", "IE", "N")
    np.testing.assert_array_equal(np.bincount(dna.labels), [767, 768, 1655])
    assert {len(bases) for bases in dna.x} == {60}
    assert len(set(dna.x)) == 3005
    donors = [bases[30:32] for bases, label in zip(dna.x, dna.labels, strict=True) if label == 0]
    assert donors.count("GT") > 750  # introns begin with GT


def test_both_packages_carry_the_same_splice_sites(monkeypatch: Any) -> None:
    first = load_or_skip("splice")
    monkeypatch.setitem(datasets._SETS, "splice", datasets._SETS["splice"][1:])
    second = load_or_skip("splice")
    assert first.x == second.x
    np.testing.assert_array_equal(first.labels, second.labels)


def test_written_digits_are_points_in_a_box() -> None:
    digits = load_or_skip("penbased")
    x = np.array(digits.x)
    assert x.shape == (10992, 8, 2)
    assert (x.min(), x.max()) == (0, 100)
    assert len(np.bincount(digits.labels)) == 10


def test_movie_reviews_have_a_rating_each() -> None:
    reviews = load_or_skip("movie-reviews")
    assert len(reviews.texts) == len(reviews.ratings) == 10605
    assert -4 <= reviews.ratings.min() < -3 < 3 < reviews.ratings.max() <= 4
    assert reviews.texts[2] == "Effective but too tepid biopic"
    assert reviews.ratings[2] == -0.6


def test_shakespeare_is_whole() -> None:
    plays = load_or_skip("shakespeare")
    assert len(plays) == 38
    text = "".join(plays.values())
    assert (len(text), len(set(text))) == (5_318_730, 84)
    assert "To be, or not to be" in plays["hamlet"]


def test_cmudict_is_words_and_phones() -> None:
    pairs = load_or_skip("cmudict")
    assert len(pairs.sources) == len(pairs.targets) == 117_493
    assert len({phone for phones in pairs.targets for phone in phones}) == 39
    assert pairs.targets[pairs.sources.index("rhythm")] == ("R", "IH", "DH", "AH", "M")
    either = pairs.sources.index("either")
    assert pairs.targets[either] == ("IY", "DH", "ER")
    assert pairs.others[either] == (("AY", "DH", "ER"),)


def test_the_packages_are_not_imported() -> None:
    load_or_skip("sf-temps")
    code = (
        "import sys; from rnncore import datasets; datasets.load('sf-temps'); "
        "assert 'vega_datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_a_data_set_shows_of_itself_is_short() -> None:
    """It may hold a hundred thousand words, and an interpreter prints what it is given."""
    from rnncore.datasets import kinds

    words = ["ab"] * 100_000
    zeros = np.zeros(len(words))
    shown = [
        repr(kinds.Pairs(words, [("A",)] * len(words), [()] * len(words))),
        repr(kinds.RatedTexts(words, zeros)),
        repr(kinds.Sequences(words, zeros, ("a", "b"), None, None)),
    ]
    assert all(len(text) < 100 and str(len(words)) in text for text in shown), shown


def test_mnist_1d_is_the_set_that_was_published() -> None:
    digits = load_or_skip("mnist-1d")
    x = np.array(digits.x)
    assert x.shape == (5000, 40, 1)
    assert (digits.train, digits.test) == (slice(0, 4000), slice(4000, None))
    # out of the authors' own mnist1d_data.pkl, which differs from ours by 1e-15 at most
    np.testing.assert_allclose(
        x[0, :4, 0], [-0.33200567, -0.47191037, -0.77869708, -1.00974083], atol=1e-8
    )
    np.testing.assert_allclose(x[-1, -3:, 0], [0.65987565, 0.87773435, 1.19315184], atol=1e-8)
    np.testing.assert_allclose((x[digits.test] ** 2).sum(), 40751.746134651374, rtol=1e-12)
    np.testing.assert_array_equal(
        np.bincount(digits.labels[digits.test]), [102, 104, 89, 106, 106, 98, 99, 96, 98, 102]
    )


def test_fashion_mnist_is_seventy_thousand_pictures() -> None:
    clothes = load_or_skip("fashion-mnist")
    x = np.array(clothes.x)
    assert (x.shape, x.dtype) == ((70_000, 28, 28), np.uint8)
    assert (clothes.train, clothes.test) == (slice(0, 60_000), slice(60_000, None))
    np.testing.assert_array_equal(np.bincount(clothes.labels[clothes.train]), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(clothes.labels[clothes.test]), [1000] * 10)
    np.testing.assert_allclose(x[clothes.train].mean() / 255, 0.2860, atol=5e-5)  # as often quoted
    assert clothes.classes[clothes.labels[0]] == "ankle boot"
