"""Aligned windows of features and curves, cut at random places for training.

Both modalities are cut to one window, so that the length of a recording never tells its curve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.curve import CURVE_RATE_HZ, WINDOW_STEPS, Curve
from models.padding import masked_mean, true_steps
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
        return self.windows_at(window_starts_s(self.duration_s))

    def windows_at(self, starts_s: Iterable[float]) -> list[tuple[NDArray[np.float32], Curve]]:
        """Cut the windows that start there: (features, 60 steps) each."""
        held = self.curve.held(WINDOW_STEPS)
        cut = []
        for start_s in starts_s:
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


class Batch(NamedTuple):
    """Windows to train on: features (B, 31, F), their true lengths (B,), and curves (B, 60, 2)."""

    features: Tensor
    lengths: Tensor
    curves: Tensor


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

    def draw(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Cut one window of each of the examples ``rows``, anywhere within it."""
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
        return Batch(features, lengths.to(self.device), self._curves[index, step_index])

    def feature_statistics(self, *, of_means: bool) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (F,) over every true patch, or over pieces' means."""
        if of_means:
            return _statistics(masked_mean(self._features, self._patches.to(self.device)))
        inside = true_steps(self._patches, self._features.shape[1]).to(self.device)
        return _statistics(self._features[inside])

    def curve_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (2,) over the curves, as padded."""
        return _statistics(self._curves.flatten(0, 1))


_HOP_S = 3 * PATCH_S


class CutWindows:
    """Windows of examples at fixed places, on the CPU; about ``most`` of them or fewer.

    ``features`` (N, 31, F) padded, ``lengths`` (N,), ``curves`` (N, 60, 2), ``pieces`` (N,): which
    example each window is of.
    """

    def __init__(self, examples: list[Example], most: int) -> None:
        cut = [
            (piece, features, curve)
            for piece, example in enumerate(examples)
            for features, curve in example.windows_at(_starts_s(example, most // len(examples)))
        ]
        self.pieces = np.array([piece for piece, _, _ in cut])
        self.features = _padded([features for _, features, _ in cut])
        self.lengths = torch.tensor([len(features) for _, features, _ in cut])
        self.curves = torch.from_numpy(
            np.stack([curve.values.astype(np.float32) for _, _, curve in cut])
        )
        self._first = np.searchsorted(self.pieces, np.arange(len(examples)))
        self._count = np.bincount(self.pieces)

    def draw(self, examples: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Choose one window of each of the given examples; returns the windows' rows."""
        rows: NDArray[np.int64] = self._first[examples] + rng.integers(0, self._count[examples])
        return rows

    def mean_features(self) -> Tensor:
        """Average each window's true patches: (N, F)."""
        return masked_mean(self.features, self.lengths)

    def feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (F,) over every true patch."""
        return _statistics(self.features[true_steps(self.lengths, self.features.shape[1])])


def _starts_s(example: Example, most: int) -> NDArray[np.float64]:
    """Start windows every three patches, or ``most`` windows evenly over the example."""
    latest_s = _latest_start_s(example)
    count = min(int(latest_s / _HOP_S) + 1, max(most, 1))
    return np.linspace(0, latest_s, count) if count > 1 else np.zeros(1)


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
