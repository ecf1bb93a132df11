"""Aligned windows of features and curves, cut at random places for training.

Both modalities are cut to one window, so that the length of a recording never tells its curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.curve import CURVE_RATE_HZ, WINDOW_STEPS, Curve
from models.windows import PATCH_S, WINDOW_PATCHES, WINDOW_S, window_patches, window_starts_s
from training.corpora.corpus import Corpus, CorpusError, Piece
from training.corpora.labels import first_few
from training.features import Features

_STEPS_PER_PATCH = PATCH_S * CURVE_RATE_HZ


@dataclass(frozen=True, eq=False)
class Example:
    """A piece with the features of its annotated stretch: both begin at the same moment."""

    id: str
    label: str
    curve: Curve
    features: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        """Seconds that both the curve and the recording behind the features last.

        A recording may go on after its last whole patch for up to one patch more, which is counted,
        so that a whole recording is cut as the service cuts it.
        """
        if len(self.features) == 1:  # one vector for the whole song
            return self.curve.duration_s
        return min(self.curve.duration_s, (len(self.features) + 1) * PATCH_S)

    def windows(self) -> list[tuple[NDArray[np.float32], Curve]]:
        """Cut the example as the service cuts a recording and a curve: (features, 60 steps)."""
        held = self.curve.held(WINDOW_STEPS)
        cut = []
        for start_s in window_starts_s(self.duration_s):
            first = round(start_s * CURVE_RATE_HZ)
            steps = held.values[first : first + WINDOW_STEPS]
            cut.append((window_patches(self.features, start_s), Curve(steps).held(WINDOW_STEPS)))
        return cut


def aligned_examples(corpus: Corpus, features: Features) -> list[Example]:
    """Pair every piece with its features, cut to start where its curve starts.

    Raises:
        CorpusError: pieces have no features, or they end before a curve begins.
    """
    missing = [piece.id for piece in corpus.pieces if piece.id not in features]
    if missing:
        raise CorpusError(
            f"{len(missing):,} of {len(corpus.pieces):,} pieces have no features "
            f"({first_few(missing)}): features are found by a piece's id"
        )
    return [_aligned(piece, features) for piece in corpus.pieces]


def _aligned(piece: Piece, features: Features) -> Example:
    sequence = features[piece.id]
    if len(sequence) > 1:
        sequence = sequence[round(piece.start_s / PATCH_S) :]
    if not len(sequence):
        raise CorpusError(f"the features of piece {piece.id} end before its curve begins")
    return Example(piece.id, piece.label, piece.curve, sequence)


class WindowSampler:
    """Draws one aligned 30 s window of each example, from padded tensors on ``device``."""

    def __init__(self, examples: list[Example], device: torch.device) -> None:
        self.device = device
        self._patches = torch.tensor([len(example.features) for example in examples])
        curves = [example.curve.held(WINDOW_STEPS).values for example in examples]
        self._features = _padded([example.features for example in examples]).to(device)
        self._curves = _padded([curve.astype(np.float32) for curve in curves]).to(device)
        latest = [_latest_start_s(example) * CURVE_RATE_HZ for example in examples]
        self._latest_step = np.floor(latest).astype(np.int64)

    def __len__(self) -> int:
        return len(self._latest_step)

    @property
    def feature_size(self) -> int:
        """F."""
        return int(self._features.shape[2])

    def draw(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, 31, F), their true lengths (B,), and curves (B, 60, 2)."""
        first_step = rng.integers(0, self._latest_step[rows] + 1)
        patches = self._patches[rows]
        latest_patch = (patches - WINDOW_PATCHES).clamp_min(0)
        first_patch = torch.from_numpy(np.round(first_step / _STEPS_PER_PATCH).astype(np.int64))
        first_patch = torch.minimum(first_patch, latest_patch)
        lengths = (patches - first_patch).clamp_max(WINDOW_PATCHES)

        index = torch.from_numpy(rows)[:, None]
        width = min(WINDOW_PATCHES, self._features.shape[1])
        patch_index = first_patch[:, None] + torch.arange(width)  # (B, 31)
        step_index = torch.from_numpy(first_step)[:, None] + torch.arange(WINDOW_STEPS)  # (B, 60)
        features = self._features[index, patch_index.clamp_max(self._features.shape[1] - 1)]
        return features, lengths.to(self.device), self._curves[index, step_index]

    def feature_statistics(self, *, of_means: bool) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (F,) over every true patch, or over pieces' means."""
        steps = torch.arange(self._features.shape[1])
        inside = (steps < self._patches[:, None]).to(self.device)
        if of_means:
            total = self._features.where(inside.unsqueeze(-1), 0.0).sum(dim=1)
            return _statistics(total / inside.sum(dim=1, keepdim=True))
        return _statistics(self._features[inside])

    def curve_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (2,) over the curves, as padded."""
        return _statistics(self._curves.flatten(0, 1))


def _latest_start_s(example: Example) -> float:
    """Return where the last window may begin so that its patches and its steps are of one time."""
    latest_s = example.duration_s - WINDOW_S
    if len(example.features) > 1:
        latest_s = min(latest_s, (len(example.features) - WINDOW_PATCHES + 0.5) * PATCH_S)
    return max(latest_s, 0.0)


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(dim=0), rows.std(dim=0)


def _padded(sequences: list[NDArray[np.float32]]) -> Tensor:
    """Pad (T, F) sequences to one (N, T, F), each held at its last row."""
    longest = max(len(sequence) for sequence in sequences)
    return torch.from_numpy(
        np.stack([np.pad(s, ((0, longest - len(s)), (0, 0)), mode="edge") for s in sequences])
    )
