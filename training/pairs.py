"""Two towers in training: how they begin, and how a batch of examples goes through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.committee import EmotionCommittee, MusicCommittee
from models.encoders import Encoded, EncoderKind, Tower
from training.examples import CutWindows, Example, WindowSampler
from training.founding import found_committees
from training.recipes import Recipe

_MOST_WINDOWS = 3_000
"""The kernel is solved in the cube of its windows: so many take half a minute."""


class EncodedBatch(NamedTuple):
    """Both encodings of B windows, and their curves (B, 60, 2)."""

    music: Encoded
    emotion: Encoded
    curves: Tensor


class Pair(Protocol):
    """A music and an emotion tower that know their training examples."""

    @property
    def music(self) -> Tower | MusicCommittee:
        """The music tower."""

    @property
    def emotion(self) -> Tower | EmotionCommittee:
        """The emotion tower."""

    def __len__(self) -> int:
        """Count the examples."""

    def encode(self, examples: NDArray[np.int64], rng: np.random.Generator) -> EncodedBatch:
        """Draw one window of each of the given examples and encode it."""

    def without_trunk(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters outside a committee's trunk, and those of the trunk."""


class PlainPair:
    """The paper's towers, on windows from anywhere within an example.

    ``initial_music``, entries of ``Tower.state_dict()``, is what the music tower begins with in
    place of random weights and the statistics of ``train``: see training/pretraining.py.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: EncoderKind,
        train: list[Example],
        device: torch.device,
        initial_music: Mapping[str, Tensor],
    ) -> None:
        self._sampler = WindowSampler(train, device)
        self.music = Tower(recipe.music_shape(encoder, self._sampler.feature_size)).to(device)
        self.emotion = Tower(recipe.emotion_shape()).to(device)
        self.music.standardise_by(*self._sampler.feature_statistics(of_means=encoder == "mlp"))
        self.emotion.standardise_by(*self._sampler.curve_statistics())
        self.music.load_state_dict({**self.music.state_dict(), **initial_music})

    def __len__(self) -> int:
        return len(self._sampler)

    def encode(self, examples: NDArray[np.int64], rng: np.random.Generator) -> EncodedBatch:
        """Draw one window of each of the given examples and encode it."""
        batch = self._sampler.draw(examples, rng)
        steps = torch.full((len(examples),), batch.curves.shape[1], device=batch.curves.device)
        return EncodedBatch(
            self.music(batch.features, batch.lengths),
            self.emotion(batch.curves, steps),
            batch.curves,
        )

    def without_trunk(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return all parameters; there is no trunk."""
        return [*self.music.parameters(), *self.emotion.parameters()], []


class CommitteePair:
    """The committees of our own recipe, on the windows that the service would cut.

    Their kernel is fitted first, in closed form; what trains is the committees and the trunk.
    ``initial_music`` is what the trunk begins with.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: EncoderKind,
        train: list[Example],
        device: torch.device,
        initial_music: Mapping[str, Tensor],
    ) -> None:
        self._windows = CutWindows(train, _MOST_WINDOWS)
        self._examples = len(train)
        self.music, self.emotion, predicted = found_committees(recipe, encoder, self._windows)
        self.music.to(device), self.emotion.to(device)
        if self.music.trunk is not None:
            begun = {**self.music.trunk.state_dict(), **initial_music}
            self.music.trunk.load_state_dict(begun)
        self._predicted = predicted.to(device)
        self._device = device

    def __len__(self) -> int:
        return self._examples

    def encode(self, examples: NDArray[np.int64], rng: np.random.Generator) -> EncodedBatch:
        """Draw one window of each of the given examples and encode it."""
        rows = torch.from_numpy(self._windows.draw(examples, rng))
        lengths = self._windows.lengths[rows].to(self._device)
        curves = self._windows.curves[rows].to(self._device)
        steps = torch.full((len(rows),), curves.shape[1], device=self._device)
        return EncodedBatch(
            self.music(
                self._windows.features[rows].to(self._device),
                lengths,
                self._predicted[rows.to(self._device)],
            ),
            self.emotion(curves, steps),
            curves,
        )

    def without_trunk(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the committees' parameters, and those of the trunk."""
        trunk = [] if self.music.trunk is None else list(self.music.trunk.parameters())
        committees = (self.music.committee, self.emotion.committee)
        return [value for part in committees for value in part.parameters()], trunk
