"""The losses against their plain float64 definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.encoders import Encoded
from models.similarity import Encodings, correlation, kl_divergence
from training.losses import (
    cca_loss,
    cca_projections,
    composite_loss,
    kl_matrix,
    kl_ranking_loss,
    pearson_matrix,
)


def _encoded(rng: np.random.Generator, items: int, dimensions: int) -> Encoded:
    return Encoded(
        torch.from_numpy(rng.normal(size=(items, dimensions))),
        torch.from_numpy(rng.normal(size=(items, dimensions))),
        torch.from_numpy(rng.uniform(0.01, 3, (items, dimensions))),
    )


def _encodings(encoded: Encoded) -> Encodings:
    return Encodings(*(part.numpy() for part in encoded))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), items=st.integers(1, 9), dimensions=st.integers(2, 20))
def test_batched_kl_and_pearson_equal_the_definition(
    seed: int, items: int, dimensions: int
) -> None:
    rng = np.random.default_rng(seed)
    query, item = _encoded(rng, items, dimensions), _encoded(rng, items + 2, dimensions)
    np.testing.assert_allclose(
        kl_matrix(query, item),
        kl_divergence(_encodings(query), _encodings(item)),
        rtol=1e-8,
        atol=1e-8,
    )
    np.testing.assert_allclose(
        pearson_matrix(query, item), correlation(_encodings(query), _encodings(item)), atol=1e-10
    )


def test_the_query_of_kl_comes_first() -> None:
    narrow = Encoded(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 0.5))
    wide = Encoded(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 2.0))
    narrow_asks = 0.5 * (np.log(2 / 0.5) + 0.5 / 2 - 1)
    wide_asks = 0.5 * (np.log(0.5 / 2) + 2 / 0.5 - 1)
    assert kl_matrix(narrow, wide).item() == pytest.approx(narrow_asks)
    assert kl_matrix(wide, narrow).item() == pytest.approx(wide_asks)


def _naive_ranking_loss(music: Encoded, emotion: Encoded, margin: float) -> float:
    """Both hinge sums by double loops over the definition."""
    heard, felt = _encodings(music), _encodings(emotion)
    total = 0.0
    for query, items in ((heard, felt), (felt, heard)):
        divergence = kl_divergence(query, items)
        for i in range(len(divergence)):
            for j in range(len(divergence)):
                if i != j:
                    total += max(0.0, margin + divergence[i, i] - divergence[i, j])
    return total


def test_ranking_loss_equals_the_double_loop() -> None:
    rng = np.random.default_rng(5)
    music, emotion = _encoded(rng, 7, 4), _encoded(rng, 7, 4)
    expected = _naive_ranking_loss(music, emotion, 1.0)
    assert expected > 0
    assert kl_ranking_loss(music, emotion, 1.0).item() == pytest.approx(expected, rel=1e-9)


def test_standard_margin_is_not_minimal_where_all_are_the_same() -> None:
    one = Encoded(torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4, 3))
    assert kl_ranking_loss(one, one, 1.0).item() == pytest.approx(2 * 4 * 3)


def _naive_canonical_correlations(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosines between the column spaces (Björck and Golub 1973): no covariance is inverted."""
    q_x, _ = np.linalg.qr(x - x.mean(axis=0))
    q_y, _ = np.linalg.qr(y - y.mean(axis=0))
    return np.linalg.svd(q_x.T @ q_y, compute_uv=False)


def test_cca_loss_is_the_negative_sum_of_canonical_correlations() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 5))
    y = x @ rng.normal(size=(5, 5)) + 2 * rng.normal(size=(400, 5))
    expected = -_naive_canonical_correlations(x, y).sum()
    found = cca_loss(torch.from_numpy(x), torch.from_numpy(y)).item()
    assert found == pytest.approx(expected, abs=0.02)  # the ridge takes a little


@pytest.mark.parametrize(("batch", "dimensions"), [(4, 16), (16, 16), (3, 64)])
def test_cca_loss_is_stable_where_the_batch_is_small(batch: int, dimensions: int) -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(size=(batch, dimensions))).requires_grad_()
    y = torch.from_numpy(rng.normal(size=(batch, dimensions))).requires_grad_()
    loss = cca_loss(x, y)
    loss.backward()  # type: ignore[no-untyped-call]
    assert -batch <= loss.item() < 0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_cca_projections_correlate_dimension_by_dimension() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(500, 3))

    def mixed() -> torch.Tensor:
        rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
        return torch.from_numpy(np.hstack([shared, rng.normal(size=(500, 2))]) @ rotation)

    x, y = mixed(), mixed()
    map_x, map_y = cca_projections(x, y)
    u, v = (x - x.mean(dim=0)) @ map_x, (y - y.mean(dim=0)) @ map_y
    cross = np.corrcoef(u.numpy().T, v.numpy().T)[:5, 5:]
    np.testing.assert_allclose(np.diag(cross)[:3], 1.0, atol=0.02)
    assert np.abs(cross - np.diag(np.diag(cross))).max() < 0.05
    np.testing.assert_allclose(u.std(dim=0).numpy(), 1.0, atol=0.05)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_composite_weighs_its_two_parts(weight: float) -> None:
    rng = np.random.default_rng(4)
    music, emotion = _encoded(rng, 6, 4), _encoded(rng, 6, 4)
    expected = weight * cca_loss(music.embedding, emotion.embedding) + (
        1 - weight
    ) * kl_ranking_loss(music, emotion, 0.4)
    found = composite_loss(music, emotion, weight=weight, margin=0.4)
    assert found.item() == pytest.approx(expected.item())
