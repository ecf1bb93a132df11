"""Fully connected layers of R runs: batched products, and dropout that each run draws itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Generators = Sequence[torch.Generator]
"""One source of random numbers a run, so that a run draws the same in any company."""


class StackedLinear(nn.Module):
    """R linear layers of one size, from R of torch's."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        weights = torch.stack([layer.weight.detach().T for layer in layers])
        self.weight = nn.Parameter(weights.contiguous())  # (R, in, out)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, inputs: Tensor) -> Tensor:
        """(R, B, in) → (R, B, out)."""
        return torch.baddbmm(self.bias, inputs, self.weight)


class StackedDense(nn.Module):
    """FC layers with softplus, and dropout between them (not behind the last), of R runs.

    With ``dropout_first`` the input is dropped out too, as behind a BiGRU.
    """

    def __init__(
        self, layers: Sequence[Sequence[nn.Linear]], dropout: float, *, dropout_first: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(StackedLinear(same) for same in zip(*layers, strict=True))
        self._dropout = dropout
        self._dropout_first = dropout_first

    def forward(self, inputs: Tensor, generators: Generators | None) -> Tensor:
        """(R, B, in) → (R, B, out); without ``generators`` nothing is dropped."""
        hidden = inputs
        for position, layer in enumerate(self.layers):
            if position > 0 or self._dropout_first:
                hidden = drop(hidden, self._dropout, generators)
            hidden = functional.softplus(layer(hidden))
        return hidden


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """Collect the linear layers of a plain network, in their order."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def drop(hidden: Tensor, dropout: float, generators: Generators | None) -> Tensor:
    """Zero each unit with probability ``dropout`` and scale the others up, as in torch's layer."""
    if generators is None or dropout == 0:
        return hidden
    kept = torch.empty_like(hidden)
    for run, generator in zip(kept, generators, strict=True):
        run.bernoulli_(1 - dropout, generator=generator)
    return hidden * kept.div_(1 - dropout)


def stacked_generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
    """Make one source of random numbers a run."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]
