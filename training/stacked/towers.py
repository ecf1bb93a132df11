"""The two towers of R runs at once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from models.encoders import SMALLEST_VARIANCE, BiGRUEncoder, Encoded, MLPEncoder, Tower
from training.stacked.gru import StackedBiGRU
from training.stacked.layers import Generators, StackedDense, StackedLinear, linear_layers


class StackedTower(nn.Module):
    """R towers of one shape, from R of models.encoders.Tower: MLP or BiGRU.

    Features are standardised outside, once for a training. An MLP takes each item's mean features
    as a sequence of one step.
    """

    def __init__(self, towers: Sequence[Tower]) -> None:
        super().__init__()
        shape = towers[0].shape
        encoders = [tower.encoder for tower in towers]
        if not all(isinstance(encoder, MLPEncoder | BiGRUEncoder) for encoder in encoders):
            raise ValueError(f"a tower with the encoder {shape.encoder} cannot be stacked")
        recurrent = [encoder.gru for encoder in encoders if isinstance(encoder, BiGRUEncoder)]
        self.gru = StackedBiGRU(recurrent) if recurrent else None
        self.dense = StackedDense(
            [linear_layers(encoder) for encoder in encoders],
            shape.dropout,
            dropout_first=bool(recurrent),
        )
        self.embedding = StackedLinear([tower.embedding for tower in towers])
        self.mean = StackedLinear([tower.mean for tower in towers])
        self.variance = StackedLinear([tower.variance for tower in towers])

    def forward(
        self, features: Tensor, lengths: Tensor, generators: Generators | None = None
    ) -> Encoded:
        """Encode (R, B, T, F) of true lengths (R, B) as three (R, B, D); σ is at least 0.01.

        ``generators``, one a run, draw the dropout of a training step; without them none is drawn.
        """
        sized = features[:, :, 0] if self.gru is None else self.gru(features, lengths)
        hidden: Tensor = self.dense(sized, generators)
        variance = functional.softplus(self.variance(hidden)) + SMALLEST_VARIANCE
        return Encoded(self.embedding(hidden), self.mean(hidden), variance)
