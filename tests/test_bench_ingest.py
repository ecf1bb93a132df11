"""The benchmark of ingest gives the figures it promises, on a few short files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import ingest
from service.tags import read_tags


def test_ingest() -> None:
    report = ingest.run(files=24, few=4, seconds=6.0, frontends=("logmel",))
    measured = report["logmel"]
    assert measured["times_real_time"] == pytest.approx(6 * measured["tracks_per_s"], rel=0.1)
    assert 0 < measured["cores_busy"] <= measured["cores_wanted"] + 0.3
    assert measured["cpu_with_blas_threads_over_without"] > 0.3
    assert 100 < measured["most_memory_few_mb"] <= measured["most_memory_mb"] + 100


def test_copies_are_different_files_of_the_same_music(tmp_path: Path) -> None:
    ingest.write_recordings(tmp_path / "a", 9, 1.2, first=7)
    contents = {path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert len(contents) == 9
    assert read_tags(tmp_path / "a" / "000008.mp3").title == "15"
