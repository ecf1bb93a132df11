"""The published code's departures, against plain loops; which index is the query."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from models.encoders import Encoded
from models.similarity import Encodings, composite, correlation, kl_divergence
from training.metrics import ranks
from training.published import (
    RegressionLines,
    published_cca_loss,
    published_cca_map,
    published_composite,
    published_composite_loss,
    published_ranking_loss,
)

Floats = NDArray[np.float64]


def _encodings(rng: np.random.Generator, items: int, dimensions: int) -> Encodings:
    return Encodings(
        rng.normal(size=(items, dimensions)),
        rng.normal(size=(items, dimensions)),
        rng.uniform(0.1, 2, (items, dimensions)),
    )


def _encoded(encodings: Encodings) -> Encoded:
    return Encoded(
        *(
            torch.from_numpy(part).requires_grad_()
            for part in (encodings.embedding, encodings.mean, encodings.variance)
        )
    )


def _points(means: list[float], variances: list[float]) -> Encodings:
    """Gaussians of one dimension; no embedding is needed to compare them."""
    column = np.array(means)[:, None]
    return Encodings(np.zeros_like(column), column, np.array(variances)[:, None])


class TestWhichIndexIsTheQuery:
    """Three songs and their emotions on a line, each Gaussian written out by hand.

    Recording 0 is vague (variance 4), recordings 1 and 2 are sharp; emotions are sharp. With equal
    variances KL is half the squared distance, and no transposition would show.
    """

    music = _points([0.0, 1.0, 4.0], [4.0, 1.0, 1.0])
    emotion = _points([1.0, 0.0, 4.0], [1.0, 1.0, 1.0])

    def by_hand(self, query: Encodings, items: Encodings) -> list[list[float]]:
        return [
            [
                0.5 * (np.log(t_v / q_v) + (q_v + (q_m - t_m) ** 2) / t_v - 1)
                for t_m, t_v in zip(items.mean[:, 0], items.variance[:, 0], strict=True)
            ]
            for q_m, q_v in zip(query.mean[:, 0], query.variance[:, 0], strict=True)
        ]

    def test_correct_scores_have_the_query_in_rows(self) -> None:
        divergence = kl_divergence(self.music, self.emotion)
        np.testing.assert_allclose(divergence, self.by_hand(self.music, self.emotion))
        # Recording 0 to the emotions 0, 1, 2: variance 4 costs each 3/2 - ln 2, distance the rest.
        vague = 1.5 - np.log(2)
        np.testing.assert_allclose(divergence[0], [0.5 + vague, vague, 8 + vague])
        # Every recording to the emotion 0.
        np.testing.assert_allclose(divergence[:, 0], [0.5 + vague, 0, 4.5])
        scores = composite(np.zeros((3, 3)), divergence, weight=0.0, divergence_scale=1.0)
        assert ranks(scores).tolist() == [2, 2, 1]

    def test_published_scores_have_the_answer_in_rows(self) -> None:
        divergence = kl_divergence(self.music, self.emotion)
        scores = published_composite(np.zeros((3, 3)), divergence, weight=0.0)
        vague = 1.5 - np.log(2)
        # Row 0 is recording 0's, but holds every recording's divergence from *emotion* 0.
        np.testing.assert_allclose(scores[0], [-0.5 - vague, 0, -4.5])
        np.testing.assert_allclose(scores[:, 0], [-0.5 - vague, -vague, -8 - vague])
        # Emotion 1 is at 0, where recording 0 is, but vaguely: recording 1 is closer.
        assert ranks(scores).tolist() == [2, 1, 1]

    def test_published_scores_of_the_other_direction(self) -> None:
        scores = published_composite(
            np.zeros((3, 3)), kl_divergence(self.emotion, self.music), weight=0.0
        )
        expected = -np.array(self.by_hand(self.emotion, self.music)).T
        np.testing.assert_allclose(scores, expected)

    def test_the_correlation_term_is_not_transposed(self) -> None:
        correlations = np.array([[0.1, 0.9, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8]])
        divergence = kl_divergence(self.music, self.emotion)
        scores = published_composite(correlations, divergence, weight=0.25)
        assert scores[0, 1] == pytest.approx(0.25 * 0.9 - 0.75 * divergence[1, 0])
        assert ranks(published_composite(correlations, divergence, weight=1.0)).tolist() == [
            3,
            2,
            1,
        ]

    def test_only_square_matrices_of_one_size(self) -> None:
        for other in (np.zeros((2, 2)), np.zeros((3, 2))):
            with pytest.raises(ValueError, match="square"):
                published_composite(np.zeros((3, 2)), other, weight=0.5)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), items=st.integers(1, 8), weight=st.floats(0, 1))
def test_published_is_correct_where_and_only_where_divergences_are_symmetric(
    seed: int, items: int, weight: float
) -> None:
    rng = np.random.default_rng(seed)
    query, item = _encodings(rng, items, 3), _encodings(rng, items, 3)
    correlations, divergences = correlation(query, item), kl_divergence(query, item)
    symmetric = divergences + divergences.T
    np.testing.assert_allclose(
        published_composite(correlations, symmetric, weight=weight),
        composite(correlations, symmetric, weight=weight, divergence_scale=1.0),
    )
    differs = published_composite(correlations, divergences, weight=weight) - composite(
        correlations, divergences, weight=weight, divergence_scale=1.0
    )
    np.testing.assert_allclose(differs, (1 - weight) * (divergences - divergences.T), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), items=st.integers(1, 6), margin=st.floats(0, 3))
def test_published_ranking_equals_the_double_loop(seed: int, items: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    music, emotion = _encodings(rng, items, 4), _encodings(rng, items, 4)
    expected = 0.0
    for query, answers in ((music, emotion), (emotion, music)):
        divergence = kl_divergence(query, answers)
        for answer in range(items):
            for asker in range(items):
                expected += 1e-3 * abs(divergence[answer, answer])
                if asker != answer:
                    expected += max(
                        0.0, margin + divergence[answer, answer] - divergence[asker, answer]
                    )
    found = published_ranking_loss(_encoded(music), _encoded(emotion), margin)
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-9)


def _plain_published_cca(music: Floats, emotion: Floats, w_m: Floats, w_e: Floats) -> float:
    """Covariances of columns that are samples, element by element."""
    (batch, size), blocks = music.shape, {}
    centred = {
        "m": np.array([row - row.mean() for row in music]),
        "e": np.array([row - row.mean() for row in emotion]),
    }
    for one, other in ("mm", "ee", "me"):
        blocks[one + other] = sum(
            np.outer(a, b) for a, b in zip(centred[one], centred[other], strict=True)
        ) / (batch - 1)
    mapped = w_m.T @ blocks["me"] @ w_e
    gram = mapped @ mapped.T
    correlating = sum(np.sqrt(gram[d, d]) for d in range(size))
    off = 2 * np.eye(size)
    for block, w in (("mm", w_m), ("ee", w_e)):
        off = off - w.T @ (blocks[block] + 1e-4 * np.eye(size)) @ w
    return float(-correlating + 0.5 * np.abs(off).sum())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(2, 9), dimensions=st.integers(1, 6))
def test_published_cca_equals_its_definition(seed: int, batch: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    music, emotion = rng.normal(size=(2, batch, dimensions))
    maps = rng.normal(size=(2, dimensions, dimensions))
    found = published_cca_loss(*(torch.from_numpy(x) for x in (music, emotion, *maps)))
    expected = _plain_published_cca(music, emotion, *maps)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_published_cca_is_blind_to_what_cca_sees() -> None:
    """What all dimensions of a sample share is taken away, though it correlates perfectly."""
    rng = np.random.default_rng(0)
    shared = torch.from_numpy(rng.normal(size=(20, 1)))
    music, emotion = shared.expand(20, 3), -2 * shared.expand(20, 3)
    identity = torch.eye(3, dtype=torch.float64)
    nothing = 0.5 * 3 * (2 - 2e-4)
    found = published_cca_loss(music, emotion, identity, identity)
    assert found.item() == pytest.approx(nothing)


def test_published_losses_have_the_gradient_of_their_value() -> None:
    rng = np.random.default_rng(1)
    parts = (*_encoded(_encodings(rng, 5, 3)), *_encoded(_encodings(rng, 5, 3)))
    maps = [torch.from_numpy(rng.normal(size=(3, 3))).requires_grad_() for _ in range(2)]

    def loss(*tensors: Tensor) -> Tensor:
        music, emotion = Encoded(*tensors[:3]), Encoded(*tensors[3:6])
        return published_composite_loss(
            music, emotion, (tensors[6], tensors[7]), weight=0.4, margin=1.0
        )

    assert torch.autograd.gradcheck(loss, (*parts, *maps))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_stacked_runs_equal_runs_one_by_one(weight: float) -> None:
    rng = np.random.default_rng(2)
    sides = [[_encoded(_encodings(rng, 6, 4)) for _ in range(3)] for _ in range(2)]
    maps = [torch.from_numpy(rng.normal(size=(3, 4, 4))) for _ in range(2)]
    music, emotion = (
        Encoded(*(torch.stack(part) for part in zip(*side, strict=True))) for side in sides
    )
    stacked = published_composite_loss(
        music, emotion, (maps[0], maps[1]), weight=weight, margin=torch.tensor([0.4, 1.0, 2.0])
    )
    for run, margin in enumerate([0.4, 1.0, 2.0]):
        alone = published_composite_loss(
            sides[0][run],
            sides[1][run],
            (maps[0][run], maps[1][run]),
            weight=weight,
            margin=margin,
        )
        assert stacked[run].item() == pytest.approx(alone.item(), rel=1e-6)


def test_maps_begin_small_and_the_same_for_one_seed() -> None:
    drawn = published_cca_map(64, torch.Generator().manual_seed(3))
    assert drawn.shape == (64, 64)
    assert drawn.abs().max() <= 0.2
    assert 0.08 < drawn.std() < 0.1  # what is left of 0.1 without the tails
    assert torch.equal(drawn, published_cca_map(64, torch.Generator().manual_seed(3)))


class TestRegressionLines:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), training=st.integers(3, 30), items=st.integers(1, 6))
    def test_equal_a_plain_loop(self, seed: int, training: int, items: int) -> None:
        rng = np.random.default_rng(seed)
        query = _encodings(rng, training, 5)
        answers = _encodings(rng, training, 5)
        answers.embedding[:, :3] += rng.normal(size=3) * query.embedding[:, :3]
        lines = RegressionLines.fit(query, answers)
        asked, offered = _encodings(rng, items, 5), _encodings(rng, items + 1, 5)
        expected = np.zeros((items, items + 1))
        for d in range(5):
            x, y = query.embedding[:, d], answers.embedding[:, d]
            r = np.corrcoef(x, y)[0, 1]
            assert lines.correlation[d] == pytest.approx(r)
            if r < 0.4:
                continue
            slope, intercept = np.polyfit(x, y, 1)
            for i in range(items):
                for j in range(items + 1):
                    line = slope * asked.embedding[i, d] + intercept
                    expected[i, j] -= r * abs(offered.embedding[j, d] - line)
        np.testing.assert_allclose(lines.similarity(asked, offered), expected, atol=1e-9)

    def test_the_query_is_in_rows_and_on_the_line(self) -> None:
        embedding = np.array([[0.0], [1.0], [2.0]])
        query = Encodings(embedding, embedding, np.ones((3, 1)))
        answers = Encodings(3 * embedding + 1, embedding, np.ones((3, 1)))
        similarity = RegressionLines.fit(query, answers).similarity(query, answers)
        np.testing.assert_allclose(similarity, [[0, -3, -6], [-3, 0, -3], [-6, -3, 0]], atol=1e-12)
        backwards = RegressionLines.fit(answers, query).similarity(answers, query)
        np.testing.assert_allclose(backwards, similarity / 3, atol=1e-12)

    def test_weakly_related_and_constant_dimensions_do_not_count(self) -> None:
        x = np.array([-1.0, -1.0, 1.0, 1.0])
        weak = np.array([-1.0, 1.0, -1.0, 1.0])  # uncorrelated with x
        query = Encodings(np.stack([x, x, x, np.ones(4)], axis=1), np.ones((4, 4)), np.ones((4, 4)))
        answers = Encodings(np.stack([x, weak, -x, x], axis=1), np.ones((4, 4)), np.ones((4, 4)))
        lines = RegressionLines.fit(query, answers)
        np.testing.assert_allclose(lines.correlation, [1, 0, -1, 0], atol=1e-12)
        np.testing.assert_allclose(
            lines.similarity(query, answers), -np.abs(x[None, :] - x[:, None]), atol=1e-12
        )
