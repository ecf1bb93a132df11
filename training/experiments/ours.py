"""Our recipe in the paper's protocol: the house's own training, asked as the paper's towers are."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.encoders import EncoderKind
from models.similarity import composite_similarity
from training.evaluation import encode_examples
from training.experiments.evaluate import Pair, cosines_of, metrics_of
from training.experiments.material import Material
from training.experiments.rows import Found
from training.experiments.systems import Direction, RecipeSystem
from training.recipes import RECIPES, textured
from training.trainer import train_towers


class OurEncodings(NamedTuple):
    """What the recipe's towers say of the held-out pieces, and how their terms are weighed."""

    held_out: Pair
    weight: float
    divergence_scale: float


def run_ours(system: RecipeSystem, material: Material, seed: int, *, device: torch.device) -> Found:
    """Train the recipe on a run's training part and evaluate it on the held-out part."""
    encoded = _train_and_encode(system, material, seed, device)
    music, emotion = encoded.held_out
    how = {"weight": encoded.weight, "divergence_scale": encoded.divergence_scale}
    m2e = composite_similarity(music, emotion, **how)
    e2m = composite_similarity(emotion, music, **how)
    scores: dict[Direction, NDArray[np.float64]] = {"m2e": m2e, "e2m": e2m}
    parts = material.parts(seed)
    return {
        "retrieved": metrics_of({"correct": scores}, material.campaigns[parts.held_out]),
        "cosines": {"correct": cosines_of(scores, material, parts)},
    }


def _train_and_encode(
    system: RecipeSystem, material: Material, seed: int, device: torch.device
) -> OurEncodings:
    """Choose the number of epochs on validation pieces, train on all but the held-out ones."""
    recipe = RECIPES[system.recipe]
    if system.textured:
        recipe = textured(recipe)
    encoder: EncoderKind = "bigru" if material.has_sequences else "mlp"
    assert material.examples is not None
    inner, outer = material.inner_parts(seed), material.parts(seed)
    train, validation, held_out = (
        [material.examples[row] for row in rows]
        for rows in (inner.train, inner.held_out, outer.held_out)
    )
    with redirect_stderr(io.StringIO()):  # its own progress would tear the reproduction's
        scouts = train_towers(recipe, encoder, train, validation, seed=seed, device=device)
        towers = train_towers(
            recipe,
            encoder,
            train + validation,
            [],
            seed=seed,
            last_epoch=scouts.best_epoch,
            device=device,
        )
    music, emotion, _ = encode_examples(towers.music, towers.emotion, held_out)
    return OurEncodings(Pair(music, emotion), recipe.weight, towers.divergence_scale)
