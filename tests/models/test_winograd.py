"""Winograd's convolution against the definition, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models import winograd
from models.products import room


def by_tiles(
    images: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    pooled: bool,
    edge: int,
) -> NDArray[np.float32]:
    """Convolve (N, C, H, W); the products in between are numpy's."""
    items, inputs, height, width = images.shape
    outputs, tiles = len(weight), items * height * width // winograd.TILE**2
    padded = np.pad(images.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    points = room(winograd.POINTS, tiles * inputs, np.float32)
    winograd.to_points(np.ascontiguousarray(padded), points)
    rows = points[:, : tiles * inputs].reshape(winograd.POINTS, tiles, inputs)
    sums = room(winograd.POINTS, tiles * outputs, np.float32)
    found = rows @ winograd.transformed(weight).astype(np.float32)
    sums[:, : tiles * outputs] = found.reshape(winograd.POINTS, -1)
    side = 2 if pooled else 1
    shape = (items, height // side + 2 * edge, width // side + 2 * edge, outputs)
    pixels = np.full(shape, np.nan, np.float32)
    winograd.to_pixels(sums, bias, pixels, edge, pooled)
    inside = pixels[:, edge : shape[1] - edge, edge : shape[2] - edge]
    assert np.isnan(pixels).sum() == pixels.size - inside.size  # edges are left as they were
    return inside.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    ("items", "inputs", "outputs", "height", "width", "edge"),
    [(1, 8, 8, 4, 4, 0), (3, 8, 24, 8, 12, 1), (2, 64, 16, 12, 4, 1)],
)
def test_equals_the_definition(
    items: int, inputs: int, outputs: int, height: int, width: int, edge: int, pooled: bool
) -> None:
    rng = np.random.default_rng(items)
    images = rng.normal(size=(items, inputs, height, width)).astype(np.float32)
    weight = rng.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    image, kernel, added = (torch.from_numpy(each).double() for each in (images, weight, bias))
    expected = functional.conv2d(image, kernel, added, padding=1).relu()
    if pooled:
        expected = functional.max_pool2d(expected, 2)
    found = by_tiles(images, weight, bias, pooled=pooled, edge=edge)
    assert found.shape == expected.shape
    assert expected.max() > 1
    assert np.abs(found - expected.numpy()).max() < 2e-5 * float(expected.max())


def test_one_pixel_reaches_its_nine_neighbours_and_no_others() -> None:
    weight = np.zeros((8, 8, 3, 3), np.float32)
    weight[3, 5] = np.arange(1, 10).reshape(3, 3)
    images = np.zeros((2, 8, 12, 8), np.float32)
    images[1, 5, 7, 3] = 1
    found = by_tiles(images, weight, np.zeros(8, np.float32), pooled=False, edge=1)
    expected = np.zeros_like(found)
    expected[1, 3, 6:9, 2:5] = np.arange(9, 0, -1).reshape(3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
