"""Recipes: every number that training needs, one frozen record per way of training.

``cmer-cl`` is the paper (Takashima et al. 2023): its layers, its composite loss, its schedule.
``circumplex`` is ours and the default; why its numbers are what they are, and what was measured, is
in docs/decisions/0004-training-recipe.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from models.attention import AttentionShape
from models.encoders import EncoderKind, TowerShape


@dataclass(frozen=True)
class Committee:
    """What of a committee is chosen, not found in the data.

    ``components`` of a curve are told apart by what mean features say of them; over a trunk, which
    hears the course of the music, ``trunk_components`` are, each with a relevance of at least
    ``trunk_relevance``, and the estimate's error has the share ``trunk_curve_regression`` in the
    loss. ``members``, ``width``, ``dropout`` and ``textured`` are those of
    models.committee.CommitteeShape.
    """

    members: int
    width: int
    dropout: float
    components: int
    trunk_components: int
    trunk_relevance: float
    trunk_curve_regression: float
    textured: bool


@dataclass(frozen=True)
class Recipe:
    """How towers are shaped and trained.

    ``objective``: ``composite`` is CCA + KL ranking with margin; ``contrastive`` ranks by ρ and by
    KL, each as a softmax over the batch with a learned temperature. ``averaging`` is the decay of
    the running mean of the weights, which is what is evaluated and kept (0: the last weights).
    ``curve_regression`` is the share of the estimate's error in the loss. ``decay`` is the weight
    decay, ``trunk_decay`` that of a committee's encoder of sequences. ``patience`` counts
    validations, ``validate_every`` epochs. A small corpus, with few batches an epoch, goes on for
    ``least_steps``. With a ``committee`` the towers are those of
    models/committee.py, and the layers of the paper's encoders are those of its trunk.
    """

    name: str
    objective: Literal["composite", "contrastive"]
    weight: float
    margin: float
    dimensions: int
    mlp_widths: tuple[int, ...]
    bigru_recurrent: int
    bigru_widths: tuple[int, ...]
    attention: AttentionShape
    attention_widths: tuple[int, ...]
    emotion_recurrent: int
    emotion_widths: tuple[int, ...]
    dropout: float
    emotion_dropout: float
    learning_rate: float
    decay: float
    trunk_decay: float
    batch_size: int
    epochs: int
    least_steps: int
    validate_every: int
    patience: int
    averaging: float
    curve_regression: float
    committee: Committee | None = None

    def whole_epochs(self, examples: int) -> int:
        """Return for how many epochs so many examples are trained."""
        batches = math.ceil(examples / self.batch_size)
        return max(self.epochs, math.ceil(self.least_steps / batches))

    def estimate_share(self, encoder: EncoderKind) -> float:
        """Return the share of the estimate's error in the loss."""
        if self.committee is None or encoder == "mlp":
            return self.curve_regression
        return max(self.curve_regression, self.committee.trunk_curve_regression)

    def music_shape(self, encoder: EncoderKind, feature_size: int) -> TowerShape:
        """Return the music tower's shape for features of size F."""
        widths = {
            "mlp": self.mlp_widths,
            "bigru": self.bigru_widths,
            "attention": self.attention_widths,
        }
        return TowerShape(
            encoder,
            feature_size,
            widths[encoder],
            self.bigru_recurrent if encoder == "bigru" else 0,
            self.dropout,
            self.dimensions,
            self.attention if encoder == "attention" else None,
        )

    def emotion_shape(self) -> TowerShape:
        """Return the emotion tower's shape; its encoder is always a BiGRU over curves."""
        return TowerShape(
            "bigru",
            2,
            self.emotion_widths,
            self.emotion_recurrent,
            self.emotion_dropout,
            self.dimensions,
        )


CMER_CL = Recipe(
    name="cmer-cl",
    objective="composite",
    weight=0.5,
    margin=1.0,
    dimensions=1024,
    mlp_widths=(256, 512, 512, 1024, 1024),
    bigru_recurrent=512,
    bigru_widths=(512, 512, 512, 1024, 1024),
    attention=AttentionShape(width=512, heads=8, layers=2),
    attention_widths=(512, 512, 512, 1024, 1024),
    emotion_recurrent=512,
    emotion_widths=(512, 512, 512, 1024, 1024),
    dropout=0.5,
    emotion_dropout=0.5,
    learning_rate=1e-5,
    decay=0.0,
    trunk_decay=0.0,
    batch_size=512,
    epochs=5_001,
    least_steps=0,
    validate_every=10,
    patience=50,
    averaging=0.0,
    curve_regression=0.0,
)

COMMITTEE = Committee(
    members=6,
    width=64,
    dropout=0.2,
    components=12,
    trunk_components=32,
    trunk_relevance=0.2,
    trunk_curve_regression=1.0,
    textured=False,
)

CIRCUMPLEX = Recipe(
    name="circumplex",
    objective="contrastive",
    weight=0.5,
    margin=1.0,
    dimensions=96,
    mlp_widths=(),
    bigru_recurrent=64,
    bigru_widths=(64, 32),
    attention=AttentionShape(width=64, heads=4, layers=1),
    attention_widths=(32,),
    emotion_recurrent=0,
    emotion_widths=(),
    dropout=0.5,
    emotion_dropout=0.0,
    learning_rate=3e-3,
    decay=1.0,
    trunk_decay=1.0,
    batch_size=256,
    epochs=80,
    least_steps=600,
    validate_every=4,
    patience=20,
    averaging=0.9,
    curve_regression=0.0,
    committee=COMMITTEE,
)

RECIPES = {recipe.name: recipe for recipe in (CIRCUMPLEX, CMER_CL)}


def textured(recipe: Recipe) -> Recipe:
    """Let a recipe's committee also see how a curve was drawn.

    A corpus' own protocol rewards it, and no listener wants it: in DEAM it tells the year of the
    annotation, as the music's features do (docs/decisions/0007-the-campaign-leak.md). A mood or a
    drawn curve has no such texture, so what serves is never trained on it.
    """
    assert recipe.committee is not None, "only a committee sees texture"
    return replace(recipe, committee=replace(recipe.committee, textured=True))
