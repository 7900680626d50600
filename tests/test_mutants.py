"""The table of faults is not stale: each still fits the sources and names a test; the draw."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mutants
import pytest
from planted import MUTANTS
from planted.mutant import Mutant, changed, write_source

pytestmark = pytest.mark.once


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_fault_fits_the_sources(mutant: Mutant) -> None:
    text = (mutants.ROOT / mutant.file).read_text()
    assert changed(text, mutant) != text
    path, function = mutant.test.split("::")
    assert f"def {function}(" in (mutants.ROOT / path).read_text()


def test_a_text_that_is_not_found_once_is_named() -> None:
    for text in ("b", "aa"):
        with pytest.raises(ValueError, match=r"f\.py: expected once, found [02] times: 'a'"):
            changed(text, Mutant("f.py", (("a", "b"),), ""))


def test_a_draw_has_few_builds_and_follows_its_seed() -> None:
    drawn = mutants.draw(MUTANTS, 10, 3, "a")
    assert len(set(drawn)) == 10
    assert sum(MUTANTS[name].compiled for name in drawn) == 3
    assert mutants.draw(MUTANTS, 10, 3, "a") == drawn
    assert any(mutants.draw(MUTANTS, 10, 3, seed) != drawn for seed in "bcd")
    assert not any(MUTANTS[name].compiled for name in mutants.draw(MUTANTS, 10, 0, "a"))


def test_python_reads_a_planted_fault_anew(tmp_path: Path) -> None:
    """A change that leaves size and second as they were."""
    path, found = tmp_path / "m.py", []
    for text in ("value = 1\n", "value = 2\n", "value = 1\n"):
        write_source(path, text)
        spec = importlib.util.spec_from_file_location("m", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(module.value)
    assert found == [1, 2, 1]
