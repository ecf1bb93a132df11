"""How a committee's towers begin: components of curves, and the kernel that predicts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.committee import CommitteeShape, EmotionCommittee, MusicCommittee
from models.curve_components import CurveComponents, texture
from models.encoders import EncoderKind
from training.examples import CutWindows
from training.kernel_fitting import fit_kernel
from training.recipes import Recipe

_SMALLEST_DEVIATION = 1e-6


def found_committees(
    recipe: Recipe, encoder: EncoderKind, windows: CutWindows
) -> tuple[MusicCommittee, EmotionCommittee, Tensor]:
    """Build both towers on the training windows; their committees are still random.

    Returns the music tower, the emotion tower and, for training, what the kernel predicts of each
    window when its piece is left out, (N, K).
    """
    committee = recipe.committee
    assert committee is not None, "the paper's recipe has no committee"
    curves = windows.curves.double()
    count = committee.components if encoder == "mlp" else committee.trunk_components
    components = fit_components(curves, count, textured=committee.textured)
    targets = components(curves).numpy()
    means = windows.mean_features().double().numpy()
    kernel = fit_kernel(means, targets, windows.pieces)

    centre, scale = kernel.left_out.mean(axis=0), kernel.left_out.std(axis=0)
    relevance = kernel.relevance
    if encoder != "mlp":
        relevance = np.maximum(relevance, committee.trunk_relevance)
    factor = relevance / np.maximum(scale, _SMALLEST_DEVIATION)
    music_shape, emotion_shape = committee_shapes(
        recipe,
        encoder,
        means.shape[1],
        knots=kernel.knots.shape[1],
        centres=len(means),
        components=components.basis.shape[1],
    )
    music = MusicCommittee(music_shape)
    _fill(music.kernel.knots, kernel.knots)
    _fill(music.kernel.centres, kernel.centres)
    _fill(music.kernel.weights, kernel.weights * factor)
    _fill(music.kernel.offset, centre * factor)
    _fill(music.kernel.gamma, np.array(kernel.gamma))
    if music.trunk is not None:
        music.trunk.standardise_by(*windows.feature_statistics())

    emotion = EmotionCommittee(emotion_shape)
    _fill(components.relevance, relevance)
    emotion.components.load_state_dict(components.state_dict())
    predicted = (kernel.left_out - centre) * factor
    return music, emotion, torch.from_numpy(predicted.astype(np.float32))


def committee_shapes(
    recipe: Recipe,
    encoder: EncoderKind,
    feature_size: int,
    *,
    knots: int,
    centres: int,
    components: int,
) -> tuple[CommitteeShape, CommitteeShape]:
    """Return the shapes of a recipe's music and emotion tower; the mlp encoder has no trunk."""
    committee = recipe.committee
    assert committee is not None, "the paper's recipe has no committee"
    emotion = CommitteeShape(
        members=committee.members,
        width=committee.width,
        dimensions=recipe.dimensions,
        dropout=committee.dropout,
        components=components,
        textured=committee.textured,
    )
    trunk = None if encoder == "mlp" else recipe.music_shape(encoder, feature_size)
    music = replace(emotion, feature_size=feature_size, knots=knots, centres=centres, trunk=trunk)
    return music, emotion


def fit_components(curves: Tensor, count: int, *, textured: bool) -> CurveComponents:
    """Find the principal components of curves (N, 60, 2), scaled to unit variance."""
    flat = curves.flatten(1)
    centre = flat.mean(dim=0)
    _, lengths, directions = torch.linalg.svd(flat - centre, full_matrices=False)
    deviations = lengths / len(flat) ** 0.5
    count = min(count, int((deviations > _SMALLEST_DEVIATION).sum()))
    components = CurveComponents(count, textured=textured).double()
    _fill(components.centre, centre.numpy())
    _fill(components.basis, (directions[:count].T / deviations[:count]).numpy())
    if textured:
        described = texture(curves)
        _fill(components.texture_centre, described.mean(dim=0).numpy())
        spread = described.std(dim=0, correction=0).clamp_min(_SMALLEST_DEVIATION)
        _fill(components.texture_scale, spread.numpy())
    return components


@torch.no_grad()
def _fill(buffer: Tensor, values: NDArray[np.float64]) -> None:
    buffer.copy_(torch.from_numpy(np.ascontiguousarray(values)).reshape(buffer.shape))
