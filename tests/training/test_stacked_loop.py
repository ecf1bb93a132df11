"""The loop of stacked runs: no run knows its company, and an interruption leaves no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import training.stacked.loop
from training.stacked.layers import Generators, StackedDense, StackedLinear, drop
from training.stacked.loop import Learner, Steps, train_together

STEPS = Steps(epochs=6, learning_rate=0.01, falling=True, batch_size=16)


class Line(Learner):
    """R small networks that learn y = sum(x), with dropout."""

    def __init__(self, seeds: list[int], rows: int = 40) -> None:
        super().__init__()
        self.inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(9))
        plain, ends = [], []
        for seed in seeds:
            torch.manual_seed(seed)
            plain.append([nn.Linear(3, 8), nn.Linear(8, 8)])
            ends.append(nn.Linear(8, 1))
        self.dense, self.end = StackedDense(plain, 0.2), StackedLinear(ends)

    def losses(self, rows: Tensor, generators: Generators) -> Tensor:
        inputs = self.inputs[rows]
        found: Tensor = self.end(self.dense(drop(inputs, 0.1, generators), generators))
        return (found - inputs.sum(dim=2, keepdim=True)).square().mean(dim=(1, 2))


class Exploding(Line):
    """Learns nothing finite in its second run."""

    def losses(self, rows: Tensor, generators: Generators) -> Tensor:
        return super().losses(rows, generators) * torch.tensor([1.0, torch.nan])


def _trained(
    seeds: list[int], checkpoint: Path | None = None, stop_at: int | None = None
) -> dict[str, Tensor]:
    learner = Line(seeds)

    def on_epoch(epoch: int) -> None:
        if epoch == stop_at:
            raise KeyboardInterrupt

    train_together(
        learner, _rows(len(seeds)), seeds, STEPS, checkpoint=checkpoint, on_epoch=on_epoch
    )
    return learner.state_dict()


def _rows(runs: int) -> list[NDArray[np.int64]]:
    return [np.arange(40)] * runs


def test_learns() -> None:
    learner = Line([0, 1])
    rows = torch.arange(40).repeat(2, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    before = learner.losses(rows, generators)
    train_together(learner, _rows(2), [0, 1], Steps(40, 0.04, False, 20))
    assert (learner.losses(rows, generators) < 0.3 * before).all()


def test_a_run_is_the_same_in_any_company() -> None:
    together, alone = _trained([3, 4, 5]), _trained([4])
    for name, stack in together.items():
        assert (stack[1] - alone[name][0]).abs().max() < 1e-6


def test_same_seeds_give_the_same_bits_and_others_do_not() -> None:
    first, second, other = _trained([3, 4]), _trained([3, 4]), _trained([3, 6])
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["end.weight"][1], other["end.weight"][1])


@pytest.mark.parametrize("stop_at", [1, 5])
def test_goes_on_to_the_same_bits_after_a_break(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.stacked.loop, "CHECKPOINT_EVERY_S", 0.0)
    checkpoint = tmp_path / "row.pt"
    with pytest.raises(KeyboardInterrupt):
        _trained([3, 4], checkpoint, stop_at)
    assert checkpoint.exists()
    seen: list[int] = []
    learner = Line([3, 4])
    train_together(learner, _rows(2), [3, 4], STEPS, checkpoint=checkpoint, on_epoch=seen.append)
    assert seen == list(range(stop_at, 7))
    whole = _trained([3, 4])
    assert all(torch.equal(value, whole[name]) for name, value in learner.state_dict().items())


def test_another_trainings_checkpoint_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.stacked.loop, "CHECKPOINT_EVERY_S", 0.0)
    checkpoint, seen = tmp_path / "row.pt", list[int]()
    train_together(Line([1]), _rows(1), [1], STEPS, checkpoint=checkpoint, identity="one")
    train_together(
        Line([1]),
        _rows(1),
        [1],
        STEPS,
        checkpoint=checkpoint,
        identity="other",
        on_epoch=seen.append,
    )
    assert seen[0] == 0


def test_a_loss_that_is_not_finite_names_its_seed() -> None:
    with pytest.raises(FloatingPointError, match=r"seeds \[8\]"):
        train_together(Exploding([7, 8]), _rows(2), [7, 8], STEPS)
