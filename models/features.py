"""What a frontend is, and how a network over log-mel patches becomes one.

A network works through patches in blocks; a patch's features are the same bits whatever else is in
its block, and wherever in the block it lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BLOCK_PATCHES = 32


class FrontendError(RuntimeError):
    """A frontend that cannot be built from what was given; the text says what to do."""


class Frontend(Protocol):
    """What turns waveforms into features, and says exactly which one it is."""

    @property
    def name(self) -> str:
        """``logmel``, ``vggish``, ``onnx`` or ``opensmile``."""

    @property
    def feature_size(self) -> int:
        """F."""

    @property
    def sample_rate_hz(self) -> int:
        """What the waveform's rate must be."""

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (samples,) mono into (T, F) float32, T ≥ 1 from 0.975 s on."""

    def identity(self) -> dict[str, str | int | float]:
        """Return what a bundle's manifest records.

        On one machine equal identities give equal bits; between machines float32 features differ
        by what their libraries' rounding differs.
        """

    def save(self, folder: Path) -> list[str]:
        """Write the files that the frontend needs beside a bundle; return their names."""


@runtime_checkable
class PatchFrontend(Frontend, Protocol):
    """A frontend that is a network over log-mel patches: several recordings may share a block."""

    def patches(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn (samples,) mono at 16 kHz into the network's log-mel patches (T, 96, 64)."""

    def run(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (P, 1, 96, 64), P ≤ 32; returns (P, F). Any thread may call it."""


def in_blocks(frontend: PatchFrontend, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the features (T, F) of one recording, by a network over its patches."""
    patches = frontend.patches(waveform)
    features = np.empty((len(patches), frontend.feature_size), np.float32)
    for first in range(0, len(patches), BLOCK_PATCHES):
        part = patches[first : first + BLOCK_PATCHES]
        features[first : first + len(part)] = frontend.run(block_of([part]))
    return features


def block_of(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Lay parts (t, 96, 64), at most 32 patches in all, into one block (P, 1, 96, 64)."""
    return np.concatenate(parts)[:, None]
