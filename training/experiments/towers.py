"""CMER-CL's two towers of R runs: their data, their loss, and what they say of every piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.encoders import Encoded, Tower, TowerShape
from models.similarity import Encodings
from training.cca import cca_projections
from training.experiments.evaluate import Pair
from training.experiments.material import Material, Parts
from training.experiments.schedules import Schedule
from training.experiments.systems import TowerSystem
from training.losses import composite_loss
from training.published import published_cca_map, published_composite_loss
from training.stacked.layers import Generators
from training.stacked.loop import Learner
from training.stacked.sequences import StackedSequences
from training.stacked.towers import StackedTower

_ENCODED_AT_ONCE = 512


class TowerLearner(Learner):
    """The towers of one system, a run for each of ``seeds`` with its own part of the material.

    An MLP hears each piece's mean features. Features and curves are standardised by each run's
    training part, which the paper does not say.
    """

    def __init__(
        self,
        system: TowerSystem,
        schedule: Schedule,
        material: Material,
        parts: Sequence[Parts],
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        super().__init__()
        self._system = system
        train = [part.train for part in parts]
        features, lengths = material.features, material.feature_lengths
        if system.encoder == "mlp":
            features, lengths = material.mean_features(), np.ones_like(lengths)
        self._heard = StackedSequences(features, lengths, train, device)
        self._felt = StackedSequences(material.curves, material.curve_lengths, train, device)
        music = schedule.music_shape(system.encoder, features.shape[2])
        self.music = StackedTower(_plain_towers(music, seeds, stream=0)).to(device)
        self.emotion = StackedTower(_plain_towers(schedule.emotion_shape(), seeds, stream=1)).to(
            device
        )
        self._maps: nn.ParameterList | None = None
        if system.loss == "published":
            self._maps = _published_maps(schedule.dimensions, seeds).to(device)

    def losses(self, rows: Tensor, generators: Generators) -> Tensor:
        """Return each run's composite loss (R,) on its batch of rows (R, B)."""
        music, emotion = self._encode(rows, generators)
        if self._maps is not None:
            return published_composite_loss(
                music,
                emotion,
                (self._maps[0], self._maps[1]),
                weight=self._system.weight,
                margin=self._system.margin,
            )
        return composite_loss(
            music,
            emotion,
            weight=self._system.weight,
            margin=self._system.margin,
            margin_sign=self._system.margin_sign,
        )

    @torch.no_grad()
    def encodings(self, rows: Sequence[NDArray[np.int64]]) -> list[Pair]:
        """Encode each run's rows in float64, without dropout."""
        index = torch.from_numpy(np.stack(rows)).to(self._heard.device)
        blocks = [
            self._encode(block, None) for block in torch.split(index, _ENCODED_AT_ONCE, dim=1)
        ]
        music, emotion = (
            [torch.cat(part, dim=1).double().cpu().numpy() for part in zip(*side, strict=True)]
            for side in zip(*blocks, strict=True)
        )
        return [
            Pair(
                Encodings(*(part[run] for part in music)),
                Encodings(*(part[run] for part in emotion)),
            )
            for run in range(len(rows))
        ]

    def _encode(self, rows: Tensor, generators: Generators | None) -> tuple[Encoded, Encoded]:
        return (
            self.music(*self._heard.take(rows), generators),
            self.emotion(*self._felt.take(rows), generators),
        )


def project(train: Pair, held_out: Pair) -> tuple[Pair, Pair]:
    """Fit linear CCA on the training part's embeddings; return both parts with E = Wᵀ FC(f).

    Section III-B: after training, W is fitted on the training set.
    """
    maps = cca_projections(*(torch.from_numpy(side.embedding) for side in train))

    def projected(part: Pair) -> Pair:
        return Pair(
            *(
                Encodings(
                    (side.embedding - own.embedding.mean(axis=0)) @ w, side.mean, side.variance
                )
                for side, own, w in zip(part, train, (w.numpy() for w in maps), strict=True)
            )
        )

    return projected(train), projected(held_out)


def _plain_towers(shape: TowerShape, seeds: Sequence[int], *, stream: int) -> list[Tower]:
    """Draw each run's initial weights from its seed; ``stream`` keeps the two towers apart."""
    towers = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(2 * seed + stream)
            towers.append(Tower(shape))
    return towers


def _published_maps(dimensions: int, seeds: Sequence[int]) -> nn.ParameterList:
    """Draw the published CCA loss' own parameters, music's and emotion's: two (R, D, D)."""
    drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
    return nn.ParameterList(
        nn.Parameter(torch.stack([published_cca_map(dimensions, own) for own in drawn]))
        for _ in ("music", "emotion")
    )
