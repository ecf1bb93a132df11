"""Kernel ridge regression as a layer: mean features of a window → what they say of its curve.

A radial basis function compares the features, each made Gaussian by its rank in the training part,
with those of the training windows. What the weights are fitted to, and how training avoids being
told its own answers, is in training/kernel_fitting.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelRidge(nn.Module):
    """Weighted kernels around N centres: (B, F) → (B, K).

    ``knots`` (F, Q) are each feature's quantiles in the training part, ``centres`` (N, F) Gaussian
    features, ``weights`` (N, K), ``offset`` (K,), and ``gamma`` is the kernel's exp(-γ · mean
    squared difference over the F features).
    """

    knots: Tensor
    centres: Tensor
    weights: Tensor
    offset: Tensor
    gamma: Tensor

    def __init__(self, feature_size: int, knots: int, centres: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.arange(float(knots)).repeat(feature_size, 1))
        self.register_buffer("centres", torch.zeros(centres, feature_size))
        self.register_buffer("weights", torch.zeros(centres, outputs))
        self.register_buffer("offset", torch.zeros(outputs))
        self.register_buffer("gamma", torch.ones(()))

    def forward(self, means: Tensor) -> Tensor:
        """(B, F) → (B, K)."""
        gaussian = gaussianised(means, self.knots)
        squares = (gaussian**2).sum(dim=1)[:, None] + (self.centres**2).sum(dim=1)
        distance = (squares - 2 * gaussian @ self.centres.T).clamp_min(0) / means.shape[1]
        predicted: Tensor = torch.exp(-self.gamma * distance) @ self.weights - self.offset
        return predicted


def gaussianised(values: Tensor, knots: Tensor) -> Tensor:
    """Give each value (B, F) the normal quantile of its rank among its feature's knots (F, Q).

    Between knots the rank is interpolated, on equal knots it is their middle one, and beyond the
    outermost it stays theirs: a recording unlike any of the training is never further away than
    the most unusual one of the training.
    """
    columns = values.T.contiguous()  # (F, B)
    count = knots.shape[1]
    left = torch.searchsorted(knots, columns)
    right = torch.searchsorted(knots, columns, right=True)
    above = left.clamp(1, count - 1)
    low, high = knots.gather(1, above - 1), knots.gather(1, above)
    share = ((columns - low) / (high - low).clamp_min(1e-30)).clamp(0, 1)
    between = above - 1 + share
    tied = (left + right - 1) / 2
    rank = torch.where(right > left, tied, between).clamp(0, count - 1)
    gaussian: Tensor = torch.special.ndtri((rank + 0.5) / count)
    return gaussian.T.contiguous()
