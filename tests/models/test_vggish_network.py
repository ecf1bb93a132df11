"""VGGish's layers on the processor against torch's, and their bits in any company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from models import vggish
from models.products import Precision
from models.vggish_network import Network, add_up, convolve_one_channel


@pytest.fixture(scope="module", params=["float32", "int16"])
def network(request: pytest.FixtureRequest, vggish_weights: Path) -> Network:
    precision: Precision = request.param
    return Network(vggish.load_tensors(vggish_weights), precision, threads=1)


def patches(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    shape = (count, 1, 96, 64)
    return np.random.default_rng(seed).uniform(-4.6, 3, shape).astype(np.float32)


def test_features_are_torchs(network: Network, vggish_weights: Path) -> None:
    block = patches(3)
    with torch.inference_mode():
        expected = vggish.load_network(vggish_weights)(torch.from_numpy(block)).numpy()
    found = network(block)
    off = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < off < (1e-5 if network.precision == "float32" else 5e-3)


def test_a_block_of_any_size_and_any_threads_gives_the_same_bits(
    network: Network, vggish_weights: Path
) -> None:
    block = patches(16)
    together = network(block)
    assert len(np.unique(together, axis=0)) == 16
    for count in (1, 2, 5):
        assert network(block[-count:]).tobytes() == together[-count:].tobytes()
    tensors = vggish.load_tensors(vggish_weights)
    several = Network(tensors, network.precision, threads=3)
    assert several(block).tobytes() == together.tobytes()


def test_loud_and_silent_patches_stay_finite(network: Network) -> None:
    block = np.stack([np.full((1, 96, 64), level, np.float32) for level in (-4.6, 0, 1e4)])
    found = network(block)
    assert np.isfinite(found).all()
    assert found.max() > 0


def test_the_first_convolution_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 8, 12)).astype(np.float32)
    weight = rng.normal(size=(16, 1, 3, 3)).astype(np.float32)
    bias = rng.normal(size=16).astype(np.float32)
    pixels = np.full((2, 6, 8, 16), np.nan, np.float32)
    convolve_one_channel(
        np.pad(image, ((0, 0), (1, 1), (1, 1))),
        np.ascontiguousarray(weight.reshape(16, 9).T),
        bias,
        pixels,
    )
    exact = [torch.from_numpy(each).double() for each in (image[:, None], weight, bias)]
    expected = functional.max_pool2d(
        functional.conv2d(exact[0], exact[1], exact[2], padding=1).relu(), 2
    )
    inside = pixels[:, 1:-1, 1:-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(inside, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert np.isnan(pixels).sum() == pixels.size - inside.size


def test_sums_are_added_up_by_plain_numpy() -> None:
    rng = np.random.default_rng(1)
    sums = rng.normal(size=(3, 4 * 24)).astype(np.float32)  # three groups, four rows, 24 columns
    bias = rng.normal(size=24).astype(np.float32)
    rows = np.empty((2, 4 * 12), np.float32)
    add_up(sums, bias, 4, 12, rows)
    expected = np.maximum(sums.reshape(3, 4, 24).sum(axis=0) + bias, 0)
    found = rows.reshape(2, 4, 12).transpose(1, 0, 2).reshape(4, 24)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
