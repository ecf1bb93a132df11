"""Benchmarks of stacked runs and of schedules give the figures they promise, on tiny inputs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench import __main__ as command_line
from bench import rows, schedule
from bench.timing import DisagreementError
from tests.training.conftest import audible_corpus
from tests.training.test_experiments import TINY
from training.experiments.material import one_length


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


def test_schedules_are_compared_on_validation_pieces() -> None:
    material = one_length(*audible_corpus(48))
    report = schedule.run(
        material,
        seeds=[0, 1],
        variants={"tiny": replace(TINY, epochs=1), "longer": replace(TINY, epochs=2)},
    )
    assert report["pieces"] == len(material.inner_parts(0).held_out) == 5
    assert [(row["schedule"], row["weight"]) for row in report["rows"]] == [
        (name, weight) for name in ("tiny", "longer") for weight in (0.0, 0.8, 1.0)
    ]
    for row in report["rows"]:
        assert 0 < row["m2e_mrr"] <= 1
        assert 1 <= row["e2m_ar"] <= 5


@pytest.mark.parametrize("name", ["rows", "schedule"])
def test_both_are_benchmarks_of_the_command_line(name: str) -> None:
    assert name in command_line._BENCHMARKS
