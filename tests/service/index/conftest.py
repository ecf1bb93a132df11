"""One segment that is large enough to be parted, built once."""

from __future__ import annotations

import pytest

from models.similarity import Encodings
from service.index.shelf import Segment
from tests.service.index.material import PARTITIONED, Towers, write_segment


@pytest.fixture(scope="session")
def towers() -> Towers:
    return Towers(24)


@pytest.fixture(scope="session")
def items(towers: Towers) -> Encodings:
    return towers.items(PARTITIONED)


@pytest.fixture(scope="session")
def segment(tmp_path_factory: pytest.TempPathFactory, towers: Towers, items: Encodings) -> Segment:
    folder = tmp_path_factory.mktemp("segment")
    return write_segment(folder, items, towers.queries(300, seed=9), per_track=3)
