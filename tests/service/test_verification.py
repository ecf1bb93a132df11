"""How much of a catalogue a server reads to measure its own recall."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.verification import brief_queries


@pytest.mark.parametrize(
    ("windows", "queries"),
    [(0, 16), (1_000, 16), (1_000_000, 16), (10_000_000, 2), (1_000_000_000, 1)],
)
def test_a_larger_catalogue_is_asked_less(windows: int, queries: int) -> None:
    shelf: Any = SimpleNamespace(windows=windows)
    assert brief_queries(shelf) == queries
    assert windows * queries * 8 <= 200_000_000 or queries == 1
