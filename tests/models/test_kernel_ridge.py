"""The kernel layer against its definition in float64, one value at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from models.kernel_ridge import KernelRidge, gaussianised

Floats = NDArray[np.float64]


def plain_quantile(value: float, knots: Floats) -> float:
    """Find a value's rank by looking at one knot after the other."""
    count = len(knots)
    equal = [i for i in range(count) if knots[i] == value]
    if equal:
        rank = (equal[0] + equal[-1]) / 2
    elif value < knots[0]:
        rank = 0.0
    elif value > knots[-1]:
        rank = count - 1.0
    else:
        above = next(i for i in range(count) if knots[i] > value)
        rank = above - 1 + (value - knots[above - 1]) / (knots[above] - knots[above - 1])
    return float(norm.ppf((rank + 0.5) / count))


numbers = st.integers(-6, 6).map(lambda n: n / 2)


class TestGaussianised:
    @given(st.lists(numbers, min_size=2, max_size=9), st.lists(numbers, min_size=1, max_size=5))
    def test_is_the_plain_definition(self, knots: list[float], values: list[float]) -> None:
        ordered = np.sort(np.array(knots))
        found = gaussianised(
            torch.tensor(values).double()[:, None], torch.from_numpy(ordered)[None]
        )
        expected = [[plain_quantile(value, ordered)] for value in values]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)

    def test_treats_every_feature_by_its_own_knots(self) -> None:
        knots = torch.tensor([[0.0, 1.0, 2.0], [0.0, 100.0, 200.0]])
        found = gaussianised(torch.tensor([[1.0, 100.0], [0.5, 50.0]]), knots)
        assert torch.equal(found[:, 0], found[:, 1])
        assert found[0, 0] == 0

    def test_goes_no_further_than_the_training_went(self) -> None:
        knots = torch.linspace(0, 1, 257)[None]
        far, edge = gaussianised(torch.tensor([[1e9], [1.0]]), knots)
        assert far == edge
        assert torch.isfinite(far).all()

    def test_a_feature_that_never_changes_says_nothing(self) -> None:
        found = gaussianised(torch.tensor([[0.0]]), torch.zeros(1, 8))
        assert abs(float(found)) < 1e-6


@pytest.fixture
def layer() -> KernelRidge:
    made = KernelRidge(3, 17, 5, 2).double()
    generator = torch.Generator().manual_seed(0)
    for name, buffer in made.named_buffers():
        if name != "gamma":
            buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
    made.knots.copy_(made.knots.sort(dim=1).values)
    made.gamma.fill_(0.4)
    return made


def test_the_layer_is_the_plain_definition(layer: KernelRidge) -> None:
    means = torch.tensor([[0.3, -0.2, 1.5], [2.0, 0.1, -0.4]], dtype=torch.float64)
    found = layer(means).numpy()
    for row, mean in enumerate(means.numpy()):
        gaussian = [
            plain_quantile(value, knots)
            for value, knots in zip(mean, layer.knots.numpy(), strict=True)
        ]
        for output in range(2):
            total = -float(layer.offset[output])
            for centre, weights in zip(layer.centres.numpy(), layer.weights.numpy(), strict=True):
                distance = np.mean((np.array(gaussian) - centre) ** 2)
                total += float(np.exp(-0.4 * distance) * weights[output])
            assert found[row, output] == pytest.approx(total, abs=1e-12)
