"""A committee is searched like one tower: ρ is its members' mean, KL their sum."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.attention import AttentionShape
from models.bundle import encode_sequences
from models.committee import (
    AnyShape,
    CommitteeShape,
    EmotionCommittee,
    MusicCommittee,
    build_tower,
    tower_shape,
)
from models.curve_components import TEXTURE_SIZE, CurveComponents, texture
from models.encoders import Encoded, TowerShape
from models.similarity import Encodings, correlation, kl_divergence

EMOTION = CommitteeShape(
    members=3, width=5, dimensions=12, dropout=0.1, components=4, textured=False
)
MUSIC = replace(EMOTION, feature_size=6, knots=9, centres=7)
TRUNK = TowerShape("bigru", 6, (8,), 5, 0.1, 12)
ATTENTIVE = TowerShape("attention", 6, (8,), 0, 0.1, 12, AttentionShape(8, 2, 1))


def music_tower(trunk: TowerShape | None = None) -> MusicCommittee:
    torch.manual_seed(0)
    tower = MusicCommittee(replace(MUSIC, trunk=trunk)).eval()
    tower.kernel.knots.copy_(torch.randn(6, 9).sort(dim=1).values)
    tower.kernel.centres.normal_()
    tower.kernel.weights.normal_()
    return tower


def emotion_tower(*, textured: bool = False) -> EmotionCommittee:
    torch.manual_seed(1)
    tower = EmotionCommittee(replace(EMOTION, textured=textured)).eval()
    tower.components.basis.normal_()
    return tower


def encodings(encoded: Encoded) -> Encodings:
    return Encodings(*(part.detach().numpy() for part in encoded))


def members(whole: Encodings) -> list[Encodings]:
    """Cut a committee's encodings into those of its members."""
    parts = [np.split(array, 3, axis=1) for array in (whole.embedding, whole.mean, whole.variance)]
    return [Encodings(*part) for part in zip(*parts, strict=True)]


@pytest.mark.parametrize("trunk", [None, TRUNK, ATTENTIVE])
def test_similarities_are_the_members(trunk: TowerShape | None) -> None:
    features, curves = torch.randn(5, 4, 6), torch.randn(7, 60, 2).tanh()
    with torch.no_grad():
        music = encodings(music_tower(trunk)(features, torch.tensor([4, 3, 4, 2, 1])))
        emotion = encodings(emotion_tower()(curves, torch.full((7,), 60)))
    assert music.embedding.shape == (5, 12)
    assert music.variance.min() > 0.01
    pairs = list(zip(members(music), members(emotion), strict=True))
    mean = np.mean([correlation(m, e) for m, e in pairs], axis=0)
    total = np.sum([kl_divergence(m, e) for m, e in pairs], axis=0)
    np.testing.assert_allclose(correlation(music, emotion), mean, atol=1e-6)
    np.testing.assert_allclose(kl_divergence(music, emotion), total, rtol=1e-6)


def test_members_differ() -> None:
    with torch.no_grad():
        first, second, _ = members(
            encodings(music_tower()(torch.randn(5, 4, 6), torch.full((5,), 4)))
        )
    assert np.abs(first.mean - second.mean).max() > 1e-2


@pytest.mark.parametrize("trunk", [None, TRUNK, ATTENTIVE])
def test_padding_and_company_change_nothing(trunk: TowerShape | None) -> None:
    tower = music_tower(trunk)
    long, short = torch.randn(6, 6), torch.randn(3, 6)
    batch = torch.stack([long, torch.cat([short, torch.full((3, 6), 1e3)])])
    with torch.no_grad():
        together = encodings(tower(batch, torch.tensor([6, 3])))
    alone = encode_sequences(tower, [long.numpy(), short.numpy()])
    for one, other in zip(
        (together.embedding, together.mean, together.variance),
        (alone.embedding, alone.mean, alone.variance),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_predictions_stand_in_for_the_kernel() -> None:
    tower = music_tower()
    features, lengths = torch.randn(5, 4, 6), torch.full((5,), 4)
    with torch.no_grad():
        own = tower(features, lengths)
        given = tower(features, lengths, tower.kernel(features.mean(dim=1)))
        others = tower(features, lengths, torch.zeros(5, 4))
    torch.testing.assert_close(own.mean, given.mean)
    assert (own.mean - others.mean).abs().max() > 1e-2


def test_a_curve_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="60 steps"):
        emotion_tower()(torch.zeros(1, 30, 2), torch.tensor([30]))


@pytest.mark.parametrize(
    "shape", [EMOTION, MUSIC, replace(MUSIC, trunk=TRUNK), replace(MUSIC, trunk=ATTENTIVE), TRUNK]
)
def test_shapes_survive_json(shape: AnyShape) -> None:
    again = tower_shape(json.loads(json.dumps(shape.as_json())))
    assert again == shape
    assert set(build_tower(again).state_dict()) == set(build_tower(shape).state_dict())


class TestCurveComponents:
    def test_are_projections_scaled_by_relevance(self) -> None:
        components = CurveComponents(3, textured=False)
        for buffer in components.buffers():
            buffer.normal_()
        curve = torch.randn(1, 60, 2)
        interleaved = [float(v) for step in curve[0] for v in step]
        for k in range(3):
            expected = sum(
                (value - float(components.centre[i])) * float(components.basis[i, k])
                for i, value in enumerate(interleaved)
            ) * float(components.relevance[k])
            assert float(components(curve)[0, k]) == pytest.approx(expected, rel=1e-4, abs=1e-4)

    def test_texture_tells_how_a_curve_was_drawn(self) -> None:
        ramp = torch.linspace(-0.5, 0.5, 60)
        torch.manual_seed(0)
        shaken = ramp + 0.05 * torch.randn(60)
        held = torch.zeros(60)
        smooth = texture(torch.stack([ramp, held], dim=1)[None])[0]
        rough = texture(torch.stack([shaken, held], dim=1)[None])[0]
        assert smooth.shape == (TEXTURE_SIZE,)
        bends, at_rest = slice(2, 4), slice(6, 8)
        assert rough[bends][0] > smooth[bends][0] + 3
        assert rough[bends][1] == smooth[bends][1]
        assert smooth[at_rest].tolist() == [0.0, 1.0]

    def test_texture_joins_the_components(self) -> None:
        components = CurveComponents(3, textured=True)
        curves = torch.randn(4, 60, 2)
        torch.testing.assert_close(components(curves)[:, 3:], texture(curves))
