"""The mutant table is not stale: every fault still fits the sources and names a test."""

from __future__ import annotations

import mutants
import pytest

pytestmark = pytest.mark.once


@pytest.mark.parametrize("mutant", mutants.MUTANTS.values(), ids=mutants.MUTANTS.keys())
def test_fault_fits_the_sources(mutant):
    text = (mutants.ROOT / mutant.file).read_text()
    for old, new in mutant.edits:
        assert text.count(old) == 1, old
        assert old != new
    path, function = mutant.test.split("::")
    assert f"def {function}(" in (mutants.ROOT / path).read_text()
