"""Recipes: every number that training needs, one frozen record per way of training.

``cmer-cl`` is the paper (Takashima et al. 2023): its layers, its composite loss, its schedule.
``circumplex`` is ours and the default; why its numbers are what they are, and what was measured, is
in docs/decisions/0004-training-recipe.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.attention import AttentionShape
from models.encoders import EncoderKind, TowerShape


@dataclass(frozen=True)
class Recipe:
    """How towers are shaped and trained.

    ``objective``: ``composite`` is CCA + KL ranking with margin; ``contrastive`` ranks by ρ and by
    KL, each as a softmax over the batch with a learned temperature. ``averaging`` is the decay of
    the running mean of the weights, which is what is evaluated and kept (0: the last weights).
    ``curve_regression`` is the share of the estimate's error in the loss. ``mlp_decay`` is the
    weight decay of an MLP tower, ``bigru_decay`` that of towers over sequences, the emotion tower
    included, ``shortcut_decay`` that of what sees the mean features directly. ``patience`` counts
    validations, ``validate_every`` epochs.
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
    mlp_decay: float
    bigru_decay: float
    batch_size: int
    epochs: int
    validate_every: int
    patience: int
    averaging: float
    curve_regression: float
    shortcut_dropout: float | None
    shortcut_decay: float

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
            self.shortcut_dropout,
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
            self.shortcut_dropout,
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
    mlp_decay=0.0,
    bigru_decay=0.0,
    batch_size=512,
    epochs=5_001,
    validate_every=10,
    patience=50,
    averaging=0.0,
    curve_regression=0.0,
    shortcut_dropout=None,
    shortcut_decay=0.0,
)

CIRCUMPLEX = Recipe(
    name="circumplex",
    objective="contrastive",
    weight=0.5,
    margin=1.0,
    dimensions=32,
    mlp_widths=(16,),
    bigru_recurrent=64,
    bigru_widths=(128, 64),
    attention=AttentionShape(width=64, heads=4, layers=1),
    attention_widths=(64,),
    emotion_recurrent=32,
    emotion_widths=(64, 64),
    dropout=0.3,
    emotion_dropout=0.1,
    learning_rate=1.5e-3,
    mlp_decay=6.0,
    bigru_decay=0.1,
    batch_size=512,
    epochs=300,
    validate_every=10,
    patience=15,
    averaging=0.98,
    curve_regression=5.0,
    shortcut_dropout=0.5,
    shortcut_decay=6.0,
)

RECIPES = {recipe.name: recipe for recipe in (CIRCUMPLEX, CMER_CL)}
