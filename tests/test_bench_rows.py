"""The benchmark of stacked runs gives the figures it promises; it says nothing if losses differ."""

from __future__ import annotations

import json

import pytest

from bench import __main__ as command_line
from bench import rows
from bench.timing import DisagreementError
from tests.training.test_experiments import TINY


def test_rows_compare_stacked_runs_with_plain_ones() -> None:
    report = rows.run(runs=2, schedule=TINY, rounds=1)
    assert report["runs"] == 2
    found = report["cpu"]
    assert found["relative_loss_difference"] < rows.RELATIVE_DIFFERENCE
    ratio = found["one_by_one_step_ms"] / found["stacked_step_ms"]
    assert found["one_by_one_over_stacked"] == pytest.approx(ratio)
    steps = TINY.epochs * 91  # batches of 16 of 1,441 pieces
    assert found["row_of_a_whole_schedule_s"] == pytest.approx(
        steps * found["stacked_step_ms"] / 1e3
    )
    json.dumps(report)


def test_losses_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "RELATIVE_DIFFERENCE", -1.0)
    with pytest.raises(DisagreementError, match="losses"):
        rows.run(runs=2, schedule=TINY, rounds=1)


def test_rows_is_a_benchmark_of_the_command_line() -> None:
    assert "rows" in command_line._BENCHMARKS
