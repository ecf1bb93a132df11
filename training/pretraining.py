"""Self-supervised pre-training of a music encoder: predict masked patches from the others.

Spans of a window's patches are hidden, and a linear layer on the encoder's states has to restore
them, as in Mockingjay (Liu et al. 2020, "Unsupervised Speech Representation Learning with Deep
Bidirectional Transformer Encoders", section 2). It needs recordings, no curves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import OneCycleLR

from models.encoders import MLPEncoder, Tower, TowerShape
from models.padding import true_steps
from models.progress import Progress
from models.windows import WINDOW_PATCHES

_SPANS = 2
_SPAN_PATCHES = 10
_BATCH_SIZE = 64
_LEARNING_RATE = 1e-3
_DROPOUT = 0.1
"""Less than a recipe's: here there is more to learn than a few curves."""
_WEIGHT_DECAY = 0.01
_GRADIENT_NORM = 5.0
_FARTHEST = 4.0
"""Standard deviations that a hidden feature counts as at most: a channel that is almost always zero
would otherwise make most of the error by the few patches where it is not."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a music tower begins with, and how well it restores what was hidden.

    ``weights`` are entries of ``Tower.state_dict()``: the feature statistics and the encoder's
    layers over the sequence. ``masked_error`` is the last epoch's squared error over hidden patches
    relative to what predicting every feature's mean gives, which is 1.
    """

    weights: Mapping[str, Tensor]
    masked_error: float
    sequences: int

    def as_json(self) -> dict[str, float]:
        """Return what a manifest says of it."""
        return {"sequences": self.sequences, "masked_error": self.masked_error}


def pretrain_tower(
    sequences: Sequence[NDArray[np.float32]],
    shape: TowerShape,
    *,
    seed: int,
    epochs: int = 30,
    device: torch.device | None = None,
) -> Pretrained:
    """Pre-train the encoder of a tower of this shape on sequences (T, F) of any lengths.

    In an epoch every sequence gives as many random 30 s windows as fit into it, at least one.

    Raises:
        ValueError: the encoder hears no sequence, or there are no sequences of two patches.
    """
    torch.manual_seed(seed)
    device = device or torch.device("cpu")
    tower = Tower(replace(shape, dropout=_DROPOUT)).to(device)
    encoder = tower.encoder
    if isinstance(encoder, MLPEncoder):
        raise ValueError("an mlp hears only the mean of a sequence: pre-train bigru or attention")
    sequences = [sequence for sequence in sequences if len(sequence) > 1]
    windows = _Windows(sequences, device)
    tower.standardise_by(windows.patches.mean(dim=0), windows.patches.std(dim=0))
    restore = nn.Linear(encoder.state_size, shape.feature_size).to(device)
    parameters = [*encoder.parameters(), *restore.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = OneCycleLR(optimiser, _LEARNING_RATE, total_steps=epochs * windows.batches)
    rng = np.random.default_rng(seed)
    encoder.train()
    error = float("nan")
    with Progress("pre-training the encoder", epochs, "epochs") as progress:
        for _ in range(epochs):
            squares = np.zeros(2)
            for features, lengths in windows.epoch(rng):
                standard = tower.standardised(features)
                hidden = hidden_spans(lengths, features.shape[1], rng)
                seen = standard.masked_fill(hidden.unsqueeze(-1), 0.0)
                truth = standard[hidden].clamp(-_FARTHEST, _FARTHEST)
                loss = mse_loss(restore(encoder.states(seen, lengths)[hidden]), truth)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(parameters, _GRADIENT_NORM)
                optimiser.step()
                schedule.step()
                squares += float(loss.detach()) * truth.numel(), float(truth.square().sum())
            error = float(squares[0] / squares[1])
            progress.advance()
            progress.note(f"masked error {error:.3f}")
    return Pretrained(_trained_weights(tower), error, len(sequences))


def hidden_spans(lengths: Tensor, longest: int, rng: np.random.Generator) -> Tensor:
    """Choose what to hide: (B,) → (B, T) booleans, two spans of at most ten true steps each."""
    first = rng.integers(0, lengths.cpu().numpy()[:, None], (len(lengths), _SPANS))
    start = torch.from_numpy(first).to(lengths.device).unsqueeze(-1)  # (B, spans, 1)
    steps = torch.arange(longest, device=lengths.device)
    spans = (start <= steps) & (steps < start + _SPAN_PATCHES)
    return spans.any(dim=1) & true_steps(lengths, longest)


class _Windows:
    """Draws 30 s windows at random places of sequences that lie one behind the other."""

    def __init__(self, sequences: list[NDArray[np.float32]], device: torch.device) -> None:
        if not sequences:
            raise ValueError("pre-training needs sequences of two patches or more")
        lengths = np.array([len(sequence) for sequence in sequences])
        self.patches = torch.from_numpy(np.concatenate(sequences)).to(device)
        self._width = min(WINDOW_PATCHES, int(lengths.max()))
        fitting = np.maximum(lengths // WINDOW_PATCHES, 1)
        self._offsets = np.repeat(np.cumsum(lengths) - lengths, fitting)
        self._lengths = np.repeat(lengths, fitting)

        self.batches = -(-len(self._lengths) // _BATCH_SIZE)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of features (B, 31, F) and their true lengths (B,), in random order."""
        for rows in np.array_split(rng.permutation(len(self._lengths)), self.batches):
            latest = np.maximum(self._lengths[rows] - self._width, 0)
            first = self._offsets[rows] + rng.integers(0, latest + 1)
            index = first[:, None] + np.arange(self._width)  # (B, 31)
            inside = torch.from_numpy(np.minimum(index, len(self.patches) - 1))
            lengths = torch.from_numpy(np.minimum(self._lengths[rows], self._width))
            yield self.patches[inside.to(self.patches.device)], lengths.to(self.patches.device)


def _trained_weights(tower: Tower) -> dict[str, Tensor]:
    """Leave out what pre-training has not touched: the FC layers and the heads."""
    touched = ("feature_", "encoder.gru.", "encoder.attention.")
    return {
        name: value.cpu() for name, value in tower.state_dict().items() if name.startswith(touched)
    }
