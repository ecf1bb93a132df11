"""The losses against their plain float64 definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.encoders import Encoded
from models.similarity import Encodings, correlation, kl_divergence
from training.losses import (
    MarginSign,
    cca_loss,
    cca_projections,
    composite_loss,
    kl_matrix,
    kl_ranking_loss,
    pearson_matrix,
)


def _encoded(rng: np.random.Generator, *shape: int) -> Encoded:
    return Encoded(
        torch.from_numpy(rng.normal(size=shape)).requires_grad_(),
        torch.from_numpy(rng.normal(size=shape)).requires_grad_(),
        torch.from_numpy(rng.uniform(0.01, 3, shape)).requires_grad_(),
    )


def _run(encoded: Encoded, run: int) -> Encoded:
    return Encoded(*(part[run] for part in encoded))


def _gradients(loss: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss.sum(), inputs, materialize_grads=True)


def _encodings(encoded: Encoded) -> Encodings:
    return Encodings(*(part.detach().numpy() for part in encoded))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), items=st.integers(1, 9), dimensions=st.integers(2, 20))
def test_batched_kl_and_pearson_equal_the_definition(
    seed: int, items: int, dimensions: int
) -> None:
    rng = np.random.default_rng(seed)
    query, item = _encoded(rng, items, dimensions), _encoded(rng, items + 2, dimensions)
    np.testing.assert_allclose(
        kl_matrix(query, item).detach(),
        kl_divergence(_encodings(query), _encodings(item)),
        rtol=1e-8,
        atol=1e-8,
    )
    np.testing.assert_allclose(
        pearson_matrix(query, item).detach(),
        correlation(_encodings(query), _encodings(item)),
        atol=1e-10,
    )


def test_the_query_of_kl_comes_first() -> None:
    narrow = Encoded(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 0.5))
    wide = Encoded(torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 2.0))
    narrow_asks = 0.5 * (np.log(2 / 0.5) + 0.5 / 2 - 1)
    wide_asks = 0.5 * (np.log(0.5 / 2) + 2 / 0.5 - 1)
    assert kl_matrix(narrow, wide).item() == pytest.approx(narrow_asks)
    assert kl_matrix(wide, narrow).item() == pytest.approx(wide_asks)


def test_kl_has_the_gradient_of_its_definition() -> None:
    rng = np.random.default_rng(6)
    query, items = _encoded(rng, 2, 3, 4), _encoded(rng, 2, 5, 4)

    def divergence(*parts: Tensor) -> Tensor:
        return kl_matrix(Encoded(query.embedding, *parts[:2]), Encoded(items.embedding, *parts[2:]))

    parts = (query.mean, query.variance, items.mean, items.variance)
    assert torch.autograd.gradcheck(divergence, parts)


def _naive_ranking_loss(
    music: Encoded, emotion: Encoded, margin: float, sign: MarginSign = "standard"
) -> float:
    """Both hinge sums by double loops over the definition."""
    heard, felt = _encodings(music), _encodings(emotion)
    total = 0.0
    for query, items in ((heard, felt), (felt, heard)):
        divergence = kl_divergence(query, items)
        for i in range(len(divergence)):
            for j in range(len(divergence)):
                true, other = divergence[i, i], divergence[i, j]
                if i != j and sign == "standard":
                    total += max(0.0, margin + true - other)
                elif i != j:
                    total += max(0.0, true - margin - other)
    return total


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 7),
    margin=st.floats(0, 3),
    sign=st.sampled_from(["standard", "printed"]),
)
def test_ranking_loss_equals_the_double_loop(
    seed: int, items: int, margin: float, sign: MarginSign
) -> None:
    rng = np.random.default_rng(seed)
    music, emotion = _encoded(rng, items, 4), _encoded(rng, items, 4)
    expected = _naive_ranking_loss(music, emotion, margin, sign)
    found = kl_ranking_loss(music, emotion, margin, sign).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_only_the_printed_margin_is_minimal_where_all_are_the_same() -> None:
    one = Encoded(torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4, 3))
    assert kl_ranking_loss(one, one, 1.0).item() == pytest.approx(2 * 4 * 3)
    assert kl_ranking_loss(one, one, 1.0, "printed").item() == 0


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


def _plain_cca_loss(music: Tensor, emotion: Tensor) -> Tensor:
    """By symmetric inverse square roots and every step's own derivative (Andrew et al. 2013)."""

    def inverse_root(centred: Tensor) -> Tensor:
        covariance = centred.T @ centred / (len(centred) - 1)
        ridge = 1e-4 * covariance.diagonal().mean() + 1e-12
        values, vectors = torch.linalg.eigh(
            covariance + ridge * torch.eye(len(covariance), dtype=torch.float64)
        )
        root: Tensor = vectors @ torch.diag(values**-0.5) @ vectors.T
        return root

    music, emotion = music - music.mean(dim=0), emotion - emotion.mean(dim=0)
    cross = music.T @ emotion / (len(music) - 1)
    whitened = inverse_root(music) @ cross @ inverse_root(emotion)
    total: Tensor = torch.linalg.svdvals(whitened).sum()
    return -total


def _related_batches(rng: np.random.Generator, batch: int, dimensions: int) -> list[Tensor]:
    music = rng.normal(size=(batch, dimensions)) * rng.uniform(0.1, 3, dimensions)
    emotion = music @ rng.normal(size=(dimensions, dimensions)) + rng.normal(
        size=(batch, dimensions)
    )
    return [torch.from_numpy(side).requires_grad_() for side in (music, emotion)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dimensions=st.integers(1, 12), more=st.integers(2, 30))
def test_cca_loss_and_gradient_equal_the_eigendecomposition(
    seed: int, dimensions: int, more: int
) -> None:
    pair = _related_batches(np.random.default_rng(seed), dimensions + more, dimensions)
    found, expected = cca_loss(*pair), _plain_cca_loss(*pair)
    assert found.item() == pytest.approx(expected.item(), rel=1e-8)
    for ours, plain in zip(
        _gradients(found, tuple(pair)), _gradients(expected, tuple(pair)), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-7 * float(plain.abs().max()))


@pytest.mark.parametrize(("batch", "dimensions"), [(12, 5), (6, 6), (5, 6), (4, 16), (2, 3)])
def test_cca_loss_has_the_gradient_of_its_value(batch: int, dimensions: int) -> None:
    pair = _related_batches(np.random.default_rng(8), batch, dimensions)
    expected = _plain_cca_loss(*pair)
    assert cca_loss(*pair).item() == pytest.approx(expected.item(), rel=1e-7)
    assert torch.autograd.gradcheck(cca_loss, pair, atol=1e-6)


def test_cca_loss_of_directions_that_tell_nothing() -> None:
    """Constant and repeated dimensions, whose covariance is singular without the ridge."""
    music, emotion = _related_batches(np.random.default_rng(9), 40, 6)
    flat = torch.cat([music, torch.ones(40, 2), music[:, :2]], dim=1).detach().requires_grad_()
    other = torch.cat([emotion, torch.zeros(40, 4)], dim=1)
    loss = cca_loss(flat, other)
    assert loss.item() == pytest.approx(_plain_cca_loss(flat, other).item(), rel=1e-6)
    (gradient,) = _gradients(loss, (flat,))
    assert torch.isfinite(gradient).all()
    assert cca_loss(flat, torch.zeros(40, 3, dtype=torch.float64)).item() == 0


def test_cca_loss_of_float32_is_computed_in_float64() -> None:
    pair = _related_batches(np.random.default_rng(10), 40, 6)
    singles = [side.detach().float().requires_grad_() for side in pair]
    loss = cca_loss(*singles)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(cca_loss(*pair).item(), rel=1e-6)
    assert {gradient.dtype for gradient in _gradients(loss, tuple(singles))} == {torch.float32}


@pytest.mark.parametrize("dimensions", [3, 9])
def test_cca_loss_refuses_what_is_not_finite(dimensions: int) -> None:
    music, emotion = _related_batches(np.random.default_rng(11), 8, dimensions)
    with pytest.raises(RuntimeError, match="linalg"):
        cca_loss(music * torch.nan, emotion)


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
    stacked = cca_projections(torch.stack([y, x]), torch.stack([x, y]))
    torch.testing.assert_close(stacked[0][1].abs(), map_x.abs())
    torch.testing.assert_close(stacked[1][1].abs(), map_y.abs())
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


@pytest.mark.parametrize("sign", ["standard", "printed"])
def test_composite_has_the_gradient_of_its_value(sign: MarginSign) -> None:
    rng = np.random.default_rng(12)
    parts = (*_encoded(rng, 2, 6, 4), *_encoded(rng, 2, 6, 4))
    weight, margin = torch.tensor([0.3, 0.8]), torch.tensor([1.0, 0.4])

    def loss(*parts: Tensor) -> Tensor:
        return composite_loss(
            Encoded(*parts[:3]),
            Encoded(*parts[3:]),
            weight=weight.double(),
            margin=margin.double(),
            margin_sign=sign,
        )

    assert torch.autograd.gradcheck(loss, parts)


_LOSSES: dict[str, Callable[[Encoded, Encoded], Tensor]] = {
    "kl_matrix": kl_matrix,
    "pearson_matrix": pearson_matrix,
    "kl_ranking": lambda music, emotion: kl_ranking_loss(music, emotion, 0.4),
    "cca": lambda music, emotion: cca_loss(music.embedding, emotion.embedding),
    "composite": lambda music, emotion: composite_loss(music, emotion, weight=0.6, margin=1.0),
    "composite, CCA only": lambda m, e: composite_loss(m, e, weight=1, margin=1.0),
    "composite, KL only": lambda m, e: composite_loss(m, e, weight=0.0, margin=1.0),
}


@pytest.mark.parametrize("name", _LOSSES)
@pytest.mark.parametrize("batch", [9, 4])
def test_stacked_runs_equal_runs_one_by_one(name: str, batch: int) -> None:
    rng = np.random.default_rng(13)
    music, emotion = _encoded(rng, 3, batch, 5), _encoded(rng, 3, batch, 5)
    stacked = _LOSSES[name](music, emotion)
    alone = torch.stack([_LOSSES[name](_run(music, r), _run(emotion, r)) for r in range(3)])
    torch.testing.assert_close(stacked, alone)
    for together, apart in zip(
        _gradients(stacked.square(), (*music, *emotion)),
        _gradients(alone.square(), (*music, *emotion)),
        strict=True,
    ):
        torch.testing.assert_close(together, apart)


def test_stacked_runs_may_each_have_their_own_weight_and_margin() -> None:
    rng = np.random.default_rng(14)
    music, emotion = _encoded(rng, 3, 6, 4), _encoded(rng, 3, 6, 4)
    weights, margins = [0.0, 0.5, 1.0], [0.4, 1.0, 2.0]
    found = composite_loss(
        music, emotion, weight=torch.tensor(weights), margin=torch.tensor(margins)
    )
    for run in range(3):
        expected = composite_loss(
            _run(music, run), _run(emotion, run), weight=weights[run], margin=margins[run]
        )
        assert found[run].item() == pytest.approx(expected.item(), rel=1e-6)


class _LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return made


def test_no_step_makes_a_tensor_of_all_pairs_and_dimensions() -> None:
    rng = np.random.default_rng(15)
    music, emotion = _encoded(rng, 30, 20), _encoded(rng, 30, 20)
    with _LargestTensor() as largest:
        _gradients(composite_loss(music, emotion, weight=0.5, margin=1.0), (*music, *emotion))
    assert 30 * 20 <= largest.elements <= 30 * 30
