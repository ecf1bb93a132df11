"""The loop that trains R runs at once, readable top to bottom; it resumes within a training."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.stacked.layers import Generators, stacked_generators

CHECKPOINT_EVERY_S = 60.0


class Learner(nn.Module, ABC):
    """R networks that know their data and their loss."""

    @abstractmethod
    def losses(self, rows: Tensor, generators: Generators) -> Tensor:
        """Return each run's loss (R,) on its own batch of rows (R, B)."""


@dataclass(frozen=True)
class Steps:
    """How a training proceeds; ``falling``: the rate falls along half a cosine to zero."""

    epochs: int
    learning_rate: float
    falling: bool
    batch_size: int


def train_together(
    learner: Learner,
    train: Sequence[NDArray[np.int64]],
    seeds: Sequence[int],
    steps: Steps,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[int], None] = lambda _: None,
) -> None:
    """Train with Adam on each run's rows ``train`` (all equally many), shuffled by its own seed.

    What a run draws depends on its seed and the epoch alone, so neither company nor interruption
    changes it. With ``checkpoint`` the state is written about once a minute under ``identity``, and
    a later call with the same arguments goes on from there; the caller removes the file.
    ``on_epoch`` is told how many epochs are done, at once those of the checkpoint.

    Raises:
        FloatingPointError: the loss of a run is no longer finite.
    """
    parameters = list(learner.parameters())
    device = parameters[0].device
    optimiser = torch.optim.Adam(parameters, lr=steps.learning_rate)
    generators = stacked_generators(seeds, device)
    epoch = _resume(checkpoint, identity, learner, optimiser)
    saved_at_s = time.monotonic()
    on_epoch(epoch)
    while epoch < steps.epochs:
        for group in optimiser.param_groups:
            group["lr"] = steps.learning_rate * (
                0.5 * (1 + math.cos(math.pi * epoch / steps.epochs)) if steps.falling else 1.0
            )
        order = torch.from_numpy(_shuffled(train, seeds, epoch, generators)).to(device)
        for rows in torch.split(order, steps.batch_size, dim=1):
            if rows.shape[1] < 2:
                continue  # ranking needs a negative
            losses = learner.losses(rows, generators)
            optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        epoch += 1
        if not bool(losses.detach().isfinite().all()):
            lost = [seed for seed, loss in zip(seeds, losses.tolist(), strict=True) if loss != loss]
            raise FloatingPointError(f"the loss is not finite in epoch {epoch}, of seeds {lost}")
        if checkpoint is not None and time.monotonic() - saved_at_s >= CHECKPOINT_EVERY_S:
            _save(checkpoint, identity, epoch, learner, optimiser)
            saved_at_s = time.monotonic()
        on_epoch(epoch)


def _shuffled(
    train: Sequence[NDArray[np.int64]], seeds: Sequence[int], epoch: int, generators: Generators
) -> NDArray[np.int64]:
    """Return each run's rows in this epoch's order (R, n), and seed its dropout."""
    orders = []
    for rows, seed, generator in zip(train, seeds, generators, strict=True):
        rng = np.random.default_rng([seed, epoch])
        orders.append(rng.permutation(rows))
        generator.manual_seed(int(rng.integers(2**62)))
    return np.stack(orders)


def _resume(
    checkpoint: Path | None, identity: str, learner: Learner, optimiser: torch.optim.Adam
) -> int:
    """Take up a checkpoint of the same training, if there is one; return the epochs it has done."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    device = next(learner.parameters()).device
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    if state["identity"] != identity:
        return 0
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    epoch: int = state["epoch"]
    return epoch


def _save(
    checkpoint: Path, identity: str, epoch: int, learner: Learner, optimiser: torch.optim.Adam
) -> None:
    """Write the whole state, atomically."""
    partial = checkpoint.with_suffix(".partial")
    torch.save(
        {
            "identity": identity,
            "epoch": epoch,
            "learner": learner.state_dict(),
            "optimiser": optimiser.state_dict(),
        },
        partial,
    )
    partial.replace(checkpoint)
