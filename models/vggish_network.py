"""VGGish on a processor: its layers as products of matrices, in single precision or sixteen bits.

The first convolution has one channel and is added up directly; the other five go by
:mod:`models.winograd`. Pixels lie channels last, with zeros around them, as the next layer reads
them. A patch's features are the same bits whatever else is in its block, and wherever it lies.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from models import winograd
from models.compiled import COMPILATION, in_parallel
from models.logmel import MEL_BANDS, PATCH_FRAMES
from models.products import Factor, Precision, Rounded, Singles, room
from models.threads import core_count

Tensors = Mapping[str, NDArray[np.float32]]

FIRST = "features.0"
CONVOLUTIONS = ("features.3", "features.6", "features.8", "features.11", "features.13")
"""Names of the convolutions behind the first in torchvggish's network."""
POOLED = frozenset({"features.3", "features.8", "features.13"})
"""Those of them that a pooling follows, as it does the first."""
DENSE = ("embeddings.0", "embeddings.2", "embeddings.4")
"""Names of the fully connected layers."""

_FIRST_CHANNELS = 64
_PATCHES_AT_ONCE = 16  # of a thread in the convolutions: more of them only take more memory
_TILES_AT_ONCE = 96  # what they become, a few megabytes, stays in the caches
_DEPTH_AT_ONCE = 512  # of a fully connected layer: sums over it are added up in single precision


@dataclass(frozen=True, eq=False)
class _Convolution:
    factor: Factor
    bias: Singles
    height: int
    width: int
    pooled: bool
    last: bool

    @property
    def tiles(self) -> int:
        """How many tiles a patch has."""
        return self.height * self.width // winograd.TILE**2

    @property
    def patches_at_once(self) -> int:
        return max(_TILES_AT_ONCE // self.tiles, 1)

    def room_for_pixels(self) -> Singles:
        """Return zeros for what the layer gives of a block."""
        part, edge = 2 if self.pooled else 1, 0 if self.last else 2
        height, width = self.height // part + edge, self.width // part + edge
        return np.zeros((_PATCHES_AT_ONCE, height, width, self.factor.columns), np.float32)


@dataclass(frozen=True, eq=False)
class _Dense:
    factor: Factor
    bias: Singles


class Network:
    """VGGish's network with some weights, ready to run from any thread."""

    def __init__(self, tensors: Tensors, precision: Precision, *, threads: int = 0) -> None:
        """Lay out the weights, by their names in torchvggish's network.

        ``threads`` are those that one block uses, 0 for one a core.
        """
        self.precision: Precision = precision
        self._threads = threads or core_count()
        weight = tensors[f"{FIRST}.weight"]  # (64, 1, 3, 3)
        self._first = np.ascontiguousarray(weight.reshape(len(weight), 9).T)
        self._first_bias = tensors[f"{FIRST}.bias"]
        self._convolutions = _convolutions(tensors, precision)
        self._dense = [
            _Dense(
                Factor.of(_in_groups(tensors[f"{name}.weight"]), precision), tensors[f"{name}.bias"]
            )
            for name in DENSE
        ]
        self._rooms = threading.local()
        # Its own: searches do not wait behind a network.
        self._pool = ThreadPoolExecutor(self._threads, "network") if self._threads > 1 else None

    def __call__(self, block: Singles) -> Singles:
        """Turn log-mel patches (P, 1, 96, 64), at most 32, into features (P, 128)."""
        patches = block[:, 0]
        share = min(-(-len(patches) // self._threads), _PATCHES_AT_ONCE)
        # Rows are multiplied in pairs.
        pixels = np.zeros((len(patches) + len(patches) % 2, *self._pixels_shape), np.float32)

        def convolve(first: int) -> None:
            part = patches[first : first + share]
            pixels[first : first + len(part)] = self._convolved(part)

        in_parallel(convolve, range(0, len(patches), share), self._pool)
        return self._embedded(pixels)[: len(patches)]

    @property
    def _pixels_shape(self) -> tuple[int, int]:
        """How many pixels and channels the last convolution gives of a patch."""
        last = self._convolutions[-1]
        return last.height * last.width // 4, last.factor.columns

    def _convolved(self, patches: Singles) -> Singles:
        rooms = self._room_of_this_thread()
        padded = np.zeros((len(patches), PATCH_FRAMES + 2, MEL_BANDS + 2), np.float32)
        padded[:, 1:-1, 1:-1] = patches
        pixels = rooms.first[: len(patches)]
        convolve_one_channel(padded, self._first, self._first_bias, pixels)
        for layer, target in zip(self._convolutions, rooms.pixels, strict=True):
            for first in range(0, len(patches), layer.patches_at_once):
                part = pixels[first : first + layer.patches_at_once]
                winograd.to_points(part, rooms.points)
                count = len(part) * layer.tiles
                rows, scales = layer.factor.rounded(rooms.points, count, rooms.whole, rooms.scales)
                every = (0, layer.factor.panel_count)
                layer.factor.multiply(rows, count, scales, rooms.sums, every)
                winograd.to_pixels(
                    rooms.sums,
                    layer.bias,
                    target[first : first + len(part)],
                    0 if layer.last else 1,
                    layer.pooled,
                )
            pixels = target[: len(patches)]
        return pixels.reshape(len(patches), *self._pixels_shape)

    def _room_of_this_thread(self) -> _Rooms:
        if not hasattr(self._rooms, "of_this_thread"):
            self._rooms.of_this_thread = _Rooms.for_layers(self._convolutions)
        rooms: _Rooms = self._rooms.of_this_thread
        return rooms

    def _embedded(self, pixels: Singles) -> Singles:
        count = len(pixels)
        rows = np.ascontiguousarray(pixels.transpose(1, 0, 2)).reshape(pixels.shape[1], -1)
        for layer in self._dense:
            sums = self._multiplied(layer.factor, rows, count)
            columns = layer.factor.columns
            depth = min(_DEPTH_AT_ONCE, columns)
            rows = np.empty((columns // depth, count * depth), np.float32)
            add_up(sums, layer.bias, count, depth, rows)
        return rows.reshape(count, -1)

    def _multiplied(self, factor: Factor, rows: Singles, count: int) -> Singles:
        """Return the products (G, R · N) of ``count`` rows, each thread's share of the columns."""
        groups = len(factor.panels)
        whole = np.empty(rows.shape, np.int16)
        rounded, scales = factor.rounded(rows, count, whole, np.empty(groups * count, np.float32))
        sums = np.empty((groups, count * factor.columns), np.float32)
        share = -(-factor.panel_count // self._threads)

        def multiply(first: int) -> None:
            behind = min(first + share, factor.panel_count)
            factor.multiply(rounded, count, scales, sums, (first, behind))

        in_parallel(multiply, range(0, factor.panel_count, share), self._pool)
        return sums


@dataclass(frozen=True, eq=False)
class _Rooms:
    """What a thread computes in, kept since new memory comes page by page."""

    first: Singles
    pixels: list[Singles]
    points: Singles
    whole: Rounded
    scales: Singles
    sums: Singles

    @classmethod
    def for_layers(cls, layers: list[_Convolution]) -> _Rooms:
        inputs = _TILES_AT_ONCE * max(layer.factor.depth for layer in layers)
        outputs = _TILES_AT_ONCE * max(layer.factor.columns for layer in layers)
        height, width = layers[0].height + 2, layers[0].width + 2
        return cls(
            first=np.zeros((_PATCHES_AT_ONCE, height, width, _FIRST_CHANNELS), np.float32),
            pixels=[layer.room_for_pixels() for layer in layers],
            points=room(winograd.POINTS, inputs, np.float32),
            whole=room(winograd.POINTS, inputs, np.int16),
            scales=np.zeros(winograd.POINTS * _TILES_AT_ONCE, np.float32),
            sums=room(winograd.POINTS, outputs, np.float32),
        )


def _convolutions(tensors: Tensors, precision: Precision) -> list[_Convolution]:
    height, width = PATCH_FRAMES // 2, MEL_BANDS // 2
    layers = []
    for name in CONVOLUTIONS:
        factor = Factor.of(winograd.transformed(tensors[f"{name}.weight"]), precision)
        pooled, last = name in POOLED, name == CONVOLUTIONS[-1]
        bias = tensors[f"{name}.bias"]
        layers.append(_Convolution(factor, bias, height, width, pooled, last))
        if pooled:
            height, width = height // 2, width // 2
    return layers


def _in_groups(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the weights (N, D) of a fully connected layer into factors (D / 512, 512, N)."""
    outputs, inputs = weight.shape
    return weight.reshape(outputs, inputs // _DEPTH_AT_ONCE, _DEPTH_AT_ONCE).transpose(1, 2, 0)


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def convolve_one_channel(patches: Any, weight: Any, bias: Any, pixels: Any) -> None:
    """Convolve (P, H + 2, W + 2) with (9, K), pool 2 × 2, rectify: pixels (P, H/2 + 2, W/2 + 2, K).

    Edges are left as they are.
    """
    items, height, width, channels = pixels.shape
    for item in range(items):
        patch = patches[item]
        for row in range(height - 2):
            for column in range(width - 2):
                target = pixels[item, row + 1, column + 1]
                for channel in range(channels):
                    largest = np.float32(-np.inf)
                    for down in range(2):
                        for right in range(2):
                            total = np.float32(0)
                            for tap in range(9):
                                seen = patch[
                                    2 * row + down + tap // 3, 2 * column + right + tap % 3
                                ]
                                total += weight[tap, channel] * seen
                            largest = max(largest, total)
                    target[channel] = max(largest + bias[channel], np.float32(0))


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def add_up(sums: Any, bias: Any, count: int, depth: int, rows: Any) -> None:
    """Add up sums (G, R · N) over groups and a bias (N,), rectified, in rows (N / D, R · D)."""
    columns = len(bias)
    for row in range(count):
        for part in range(columns // depth):
            target = rows[part, row * depth : (row + 1) * depth]
            begin = row * columns + part * depth
            target[:] = bias[part * depth : (part + 1) * depth]
            for group in range(len(sums)):
                found = sums[group, begin : begin + depth]
                for column in range(depth):
                    target[column] += found[column]
            for column in range(depth):
                target[column] = max(target[column], np.float32(0))
