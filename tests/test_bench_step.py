"""The benchmark of a training step: its peer says the same, and memory is measured for real."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import step
from bench.timing import DisagreementError
from models.encoders import Encoded


@pytest.mark.parametrize("chunk_rows", [1, 7, 40])
def test_the_definition_says_the_same(chunk_rows: int) -> None:
    pairs = [step._inputs("cpu", 30, 12) for _ in range(2)]
    loss = step._composite_step(*pairs[0])
    expected = step._definition_step(*pairs[1], chunk_rows=chunk_rows)
    assert loss == pytest.approx(expected, rel=1e-5)
    for here, plain in zip((*pairs[0][0], *pairs[0][1]), (*pairs[1][0], *pairs[1][1]), strict=True):
        assert here.grad is not None
        assert plain.grad is not None
        assert plain.grad.abs().max() > 0
        torch.testing.assert_close(here.grad, plain.grad, rtol=1e-3, atol=1e-4)


def test_the_report_compares_time_and_memory() -> None:
    report = step.run(batch=200, dimensions=64, chunk_rows=16, rounds=1)
    assert (report["batch"], report["dimensions"]) == (200, 64)
    found = report["cpu"]
    assert found["definition_over_here"] == pytest.approx(found["definition_ms"] / found["here_ms"])
    # Three tensors of a chunk must be held at once, and all six gradients.
    assert found["definition_peak_bytes"] > 3 * 16 * 200 * 64 * 4
    assert found["here_peak_bytes"] > 6 * 200 * 64 * 4
    assert found["relative_loss_difference"] <= step.LOSS_DIFFERENCE
    assert found["relative_gradient_difference"] <= step.GRADIENT_DIFFERENCE


def _hold_64_mib(music: Encoded, emotion: Encoded) -> float:
    return float(torch.ones(2**24).sum())


def test_a_peak_is_the_steps_own_however_much_its_parent_holds() -> None:
    ballast = np.ones(2**25)  # 256 MiB, which getrusage would count for a child too
    measured = step._in_own_process(_hold_64_mib, "cpu", 4, 2, 2)
    assert ballast.sum() == 2**25
    # The kernel counts pages in batches, so that a few may be missing.
    assert 63 * 2**20 < measured.peak_bytes < 80 * 2**20
    assert measured.loss == 2**24


def test_steps_that_disagree_are_an_error() -> None:
    ones = [np.ones((2, 2), np.float32)] * 6
    here = step._Measured(1.0, 1.0, 1, 2.0, ones)
    assert step._beside(here, here)["relative_gradient_difference"] == 0
    with pytest.raises(DisagreementError, match="losses"):
        step._beside(here, step._Measured(1.0, 1.0, 1, 2.001, ones))
    with pytest.raises(DisagreementError, match="gradients"):
        step._beside(here, step._Measured(1.0, 1.0, 1, 2.0, [*ones[:5], 1.01 * ones[5]]))
