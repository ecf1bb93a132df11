"""Padded batches: which steps are an item's own, and their mean."""

from __future__ import annotations

import torch
from torch import Tensor


def true_steps(lengths: Tensor, longest: int) -> Tensor:
    """Return (B, T) of booleans, true before each item's length; ``longest`` is T."""
    steps = torch.arange(longest, device=lengths.device)
    return steps < lengths[:, None]


def masked_mean(features: Tensor, lengths: Tensor) -> Tensor:
    """Average each item's true time steps: (B, T, F), (B,) → (B, F)."""
    inside = true_steps(lengths, features.shape[1]).unsqueeze(-1)  # (B, T, 1)
    return features.where(inside, 0.0).sum(dim=1) / lengths[:, None]
