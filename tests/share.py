"""A plugin of pytest, `-p share`: a part of the tests, the same one every time.

RNNCORE_TESTS_SHARE=3/16 is the fourth of sixteen parts, which together are all tests.
"""

from __future__ import annotations

import os
import zlib

import pytest

ALWAYS = "test_sanitizers"  # few, and without them a run with a sanitizer proves nothing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part, parts = map(int, os.environ["RNNCORE_TESTS_SHARE"].split("/"))

    def stays(item: pytest.Item) -> bool:
        return ALWAYS in item.nodeid or zlib.crc32(item.nodeid.encode()) % parts == part

    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = filter(stays, items)
