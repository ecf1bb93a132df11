"""Convolutions 3 × 3 by Winograd's F(4 × 4, 3 × 3), as nodes of an ONNX graph.

Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: a tile of 4 × 4
outputs needs 36 products a pair of channels in place of 144. Here pixels are the rows of a matrix
(pixels, channels), in any order: the tiles of 6 × 6 inputs are gathered by row, and every other
step is a product of matrices, so that nothing is ever transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

Constants = dict[str, NDArray[np.generic]]

TILE = 4
"""Height and width must be multiples of it."""

_SEEN = TILE + 2
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float64,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)


def convolution(
    name: str,
    source: str,
    rows: NDArray[np.int64],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    pooled: bool,
) -> tuple[list[NodeProto], Constants, NDArray[np.int64]]:
    """Return nodes and constants of a padded convolution with ReLU, and perhaps 2 × 2 pooling.

    ``source`` is a matrix (pixels, C); ``rows`` (N, H, W) says in which row each pixel is;
    ``weight`` is (K, C, 3, 3), ``bias`` (K,). The result, a matrix called ``name`` of (pixels, K),
    has its pixels in another order: that of the returned rows.
    """
    outputs, inputs = weight.shape[:2]
    tiles = _tiles(rows)  # (36, tiles): which row each pixel of each tile is, the last one for none
    count = tiles.shape[1]
    transformed = np.einsum("ai,kcij,bj->abck", _KERNEL, weight.astype(np.float64), _KERNEL)
    frequencies = _SEEN * _SEEN
    constants: Constants = {
        f"{name}.none": np.zeros((1, inputs), np.float32),
        f"{name}.tiles": tiles,
        f"{name}.flat": np.array([frequencies, count * inputs]),
        f"{name}.stacked": np.array([frequencies, count, inputs]),
        f"{name}.flat_sums": np.array([frequencies, count * outputs]),
        f"{name}.kernel": transformed.reshape(frequencies, inputs, outputs).astype(np.float32),
        f"{name}.bias": bias,
        "winograd.input": _both_ways(_INPUT),
        "winograd.output": _both_ways(_OUTPUT),
    }
    chain = _Chain(name)
    chain.add("Concat", source, f"{name}.none", axis=0)
    chain.add("Gather", chain.end, f"{name}.tiles", axis=0)
    chain.add("Reshape", chain.end, f"{name}.flat")
    chain.add("MatMul", "winograd.input", chain.end)
    chain.add("Reshape", chain.end, f"{name}.stacked")
    chain.add("MatMul", chain.end, f"{name}.kernel")
    chain.add("Reshape", chain.end, f"{name}.flat_sums")
    chain.add("MatMul", "winograd.output", chain.end)
    side = TILE
    if pooled:
        side = TILE // 2
        constants[f"{name}.pairs"] = np.array([side, 2, side, 2, count * outputs])
        constants["winograd.pair_axes"] = np.array([1, 3])
        chain.add("Reshape", chain.end, f"{name}.pairs")
        chain.add("ReduceMax", chain.end, "winograd.pair_axes", keepdims=0)
    constants[f"{name}.pixels"] = np.array([side * side * count, outputs])
    chain.add("Reshape", chain.end, f"{name}.pixels")
    chain.add("Add", chain.end, f"{name}.bias")
    chain.nodes.append(helper.make_node("Relu", [chain.end], [name]))
    return chain.nodes, constants, _rows_behind(rows.shape, side)


class _Chain:
    """Nodes, each of which takes what the one before it gave."""

    def __init__(self, name: str) -> None:
        self.nodes: list[NodeProto] = []
        self._name = name

    @property
    def end(self) -> str:
        return f"{self._name}.{len(self.nodes)}"

    def add(self, operation: str, *sources: str, **attributes: Any) -> None:
        target = f"{self._name}.{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(operation, list(sources), [target], **attributes))


def _both_ways(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the matrix that transforms rows and columns of a flattened tile at once."""
    return np.kron(matrix, matrix).astype(np.float32)


def _tiles(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (36, N · tiles): the rows of each tile's 6 × 6 inputs, which overlap by two."""
    items, height, width = rows.shape
    padded = np.full((items, height + 2, width + 2), rows.size)
    padded[:, 1:-1, 1:-1] = rows
    seen: Sequence[NDArray[np.int64]] = [
        padded[:, down : down + height : TILE, right : right + width : TILE]
        for down in range(_SEEN)
        for right in range(_SEEN)
    ]
    return np.stack(seen).reshape(_SEEN * _SEEN, -1)


def _rows_behind(shape: tuple[int, ...], side: int) -> NDArray[np.int64]:
    """Return (N, H', W'): where each pixel lies after (side, side, N, tiles down, tiles right)."""
    items, down, right = shape[0], shape[1] // TILE, shape[2] // TILE
    rows = np.arange(side * side * items * down * right).reshape(side, side, items, down, right)
    return rows.transpose(2, 3, 0, 4, 1).reshape(items, down * side, right * side)
