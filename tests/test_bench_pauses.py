"""The benchmark of pauses sees an index built anew beside a server, and what queries waited for."""

from __future__ import annotations

import time

import pytest

from bench import pauses


def test_pauses() -> None:
    report = pauses.run(tracks=40, added=20, quiet_s=0.5)
    phases = report["phases"]
    assert [phase["phase"] for phase in phases] == [
        "quiet",
        "tracks are written, an index is built",
        "the index is swapped",
    ]
    for phase in phases:
        assert phase["queries"] > 0
        assert 0 < phase["p50_ms"] <= phase["p99_ms"] <= phase["longest_ms"]
        usual = phases[0]["p50_ms"]
        assert phase["longest_pause_ms"] == pytest.approx(phase["longest_ms"] - usual)
    assert report["idle_clock_latest_ms"] > 0


def test_a_late_clock_says_so() -> None:
    with pauses.late_clock() as clock:
        began_s = time.perf_counter()
        sum(range(3_000_000))  # holds the interpreter's lock, for the most part
        time.sleep(0.02)
    assert 0 < clock.latest_s < time.perf_counter() - began_s
