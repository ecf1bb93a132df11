"""Padded sequences that every run reads standardised by its own training part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FLOOR = 1e-2


class StackedSequences:
    """Sequences (N, T, F), zero behind their true ``lengths`` (N,), for R runs on one device.

    Mean and deviation are those of all true steps of a run's ``train`` rows; deviations below 1 %
    of the median one count as that, for some frontends' channels are almost always zero.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        lengths: NDArray[np.int64],
        train: Sequence[NDArray[np.int64]],
        device: torch.device,
    ) -> None:
        self.device = device
        self._values = torch.from_numpy(values).to(device)
        self._lengths = torch.from_numpy(lengths).to(device)
        inside = np.arange(values.shape[1]) < lengths[:, None]
        self._inside = torch.from_numpy(inside).to(device)
        statistics = [_statistics(values[rows][inside[rows]]) for rows in train]
        mean, scale = (np.stack(part).astype(np.float32) for part in zip(*statistics, strict=True))
        self._mean = torch.from_numpy(mean[:, None, None]).to(device)  # (R, 1, 1, F)
        self._scale = torch.from_numpy(scale[:, None, None]).to(device)

    @property
    def size(self) -> int:
        """F."""
        return int(self._values.shape[2])

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, B, T, F), zero behind true lengths, and these (R, B), of rows (R, B)."""
        standard = (self._values[rows] - self._mean) / self._scale
        return standard * self._inside[rows][..., None], self._lengths[rows]


def _statistics(steps: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, scale = steps.mean(axis=0, dtype=np.float64), steps.std(axis=0, dtype=np.float64)
    return mean, np.maximum(scale, _FLOOR * max(float(np.median(scale)), 1e-6))
