"""Convolutions 3 × 3 by Winograd's F(4 × 4, 3 × 3).

Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, equations 8 to 12: a
tile of 4 × 4 outputs needs 36 products a pair of channels in place of 144. A tile of 6 × 6 inputs
is transformed to 36 numbers a channel; for each of the 36 all tiles and channels are one product of
matrices; and 36 sums are transformed back. Channels lie side by side, eight of them in a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from models.compiled import COMPILATION

TILE = 4
"""Height and width must be multiples of it."""

SEEN = TILE + 2
POINTS = SEEN * SEEN
"""How many numbers a channel a tile becomes."""

_LANES = 8
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


def transformed(weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn kernels (K, C, 3, 3) into the factors of 36 products, (36, C, K)."""
    outputs, inputs = weight.shape[:2]
    points = np.einsum("ai,kcij,bj->abck", _KERNEL, weight.astype(np.float64), _KERNEL)
    factors: NDArray[np.float64] = points.reshape(POINTS, inputs, outputs)
    return factors


_VECTOR = ir.VectorType(ir.FloatType(), _LANES)


class _Vectors:
    """Writes operations on eight channels at once."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def load(self, pointer: Any, place: Any) -> Any:
        return self._builder.load(self._at(pointer, place), align=4)

    def store(self, pointer: Any, place: Any, value: Any) -> None:
        self._builder.store(value, self._at(pointer, place), align=4)

    def _at(self, pointer: Any, place: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(pointer, [place]), _VECTOR.as_pointer())

    def both_ways(self, matrix: NDArray[np.float64], tile: list[list[Any]]) -> list[list[Any]]:
        """Return matrix · tile · matrixᵀ."""
        half = [self._combine(matrix, column) for column in zip(*tile, strict=True)]
        return [self._combine(matrix, row) for row in zip(*half, strict=True)]

    def _combine(self, matrix: NDArray[np.float64], vectors: Sequence[Any]) -> list[Any]:
        return [self._sum(factors, vectors) for factors in matrix]

    def _sum(self, factors: NDArray[np.float64], vectors: Sequence[Any]) -> Any:
        total = None
        for factor, vector in zip(factors, vectors, strict=True):
            if factor == 0:
                continue
            if total is None:
                total = vector if factor == 1 else self._scaled(abs(factor), vector)
                if factor < 0:
                    total = self._builder.fneg(total)
            else:
                term = vector if abs(factor) == 1 else self._scaled(abs(factor), vector)
                add = self._builder.fadd if factor > 0 else self._builder.fsub
                total = add(total, term, flags=("contract",))
        return total

    def _scaled(self, factor: float, vector: Any) -> Any:
        constant = ir.Constant(_VECTOR, [factor] * _LANES)
        return self._builder.fmul(vector, constant, flags=("contract",))

    def larger(self, first: Any, second: Any) -> Any:
        return self._builder.select(self._builder.fcmp_ordered(">", first, second), first, second)

    def rectified_sum(self, value: Any, bias: Any) -> Any:
        zero = ir.Constant(_VECTOR, [0.0] * _LANES)
        return self.larger(self._builder.fadd(value, bias), zero)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, arguments[place]).data


@intrinsic
def _input_transform(
    _: Any, pixels: Any, begin: Any, down: Any, right: Any, points: Any, target: Any, apart: Any
) -> Any:
    """Turn 6 × 6 pixels of eight channels into 36 points; strides are in numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder)
        source = _pointer(context, builder, signature, arguments, 0)
        result = _pointer(context, builder, signature, arguments, 4)
        begin, down, right = arguments[1:4]
        target, apart = arguments[5:7]
        number = ir.IntType(64)
        tile = []
        for row in range(SEEN):
            at = builder.add(begin, builder.mul(down, number(row)))
            tile.append(
                [
                    vectors.load(source, builder.add(at, builder.mul(right, number(column))))
                    for column in range(SEEN)
                ]
            )
        found = [point for row in vectors.both_ways(_INPUT, tile) for point in row]
        for place, point in enumerate(found):
            vectors.store(result, builder.add(target, builder.mul(apart, number(place))), point)
        return context.get_dummy_value()

    return types.void(pixels, begin, down, right, points, target, apart), generate


def _output_transform(*, pooled: bool) -> Any:
    @intrinsic
    def transform(
        _: Any,
        sums: Any,
        begin: Any,
        apart: Any,
        bias: Any,
        channel: Any,
        pixels: Any,
        target: Any,
        down: Any,
        right: Any,
    ) -> Any:
        """Turn 36 sums of eight channels into 4 × 4 pixels, rectified, or 2 × 2 if pooled."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vectors = _Vectors(builder)
            source = _pointer(context, builder, signature, arguments, 0)
            biases = _pointer(context, builder, signature, arguments, 3)
            result = _pointer(context, builder, signature, arguments, 5)
            begin, apart, channel = arguments[1], arguments[2], arguments[4]
            target, down, right = arguments[6:9]
            number = ir.IntType(64)
            points = [
                vectors.load(source, builder.add(begin, builder.mul(apart, number(place))))
                for place in range(POINTS)
            ]
            tile = [points[first : first + SEEN] for first in range(0, POINTS, SEEN)]
            found = vectors.both_ways(_OUTPUT, tile)
            if pooled:
                found = [
                    [
                        vectors.larger(
                            vectors.larger(found[row][column], found[row][column + 1]),
                            vectors.larger(found[row + 1][column], found[row + 1][column + 1]),
                        )
                        for column in range(0, TILE, 2)
                    ]
                    for row in range(0, TILE, 2)
                ]
            bias = vectors.load(biases, channel)
            for row, values in enumerate(found):
                at = builder.add(target, builder.mul(down, number(row)))
                for column, value in enumerate(values):
                    place = builder.add(at, builder.mul(right, number(column)))
                    vectors.store(result, place, vectors.rectified_sum(value, bias))
            return context.get_dummy_value()

        return (
            types.void(sums, begin, apart, bias, channel, pixels, target, down, right),
            generate,
        )

    return transform


# Compiled code calls them without the first argument.
_transform_input: Any = _input_transform
_to_pixels, _to_pooled_pixels = _output_transform(pooled=False), _output_transform(pooled=True)


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def to_points(pixels: Any, points: Any) -> None:
    """Transform pixels (P, H + 2, W + 2, C), zero at the edges, to points: 36 of (P · tiles, C).

    C is a multiple of eight; a row of ``points`` (36, M) holds a matrix, and may be longer.
    """
    items, height, width, channels = pixels.shape
    source, target = pixels.ravel(), points.ravel()
    right, down = channels, width * channels
    apart = points.shape[1]
    tile = 0
    for item in range(items):
        for top in range(0, height - 2, TILE):
            for left in range(0, width - 2, TILE):
                begin = ((item * height + top) * width + left) * channels
                for channel in range(0, channels, _LANES):
                    _transform_input(
                        source,
                        begin + channel,
                        down,
                        right,
                        target,
                        tile * channels + channel,
                        apart,
                    )
                tile += 1


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def to_pixels(sums: Any, bias: Any, pixels: Any, edge: int, pooled: bool) -> None:
    """Transform 36 sums of (P · tiles, K) to pixels (P, H + 2 · edge, W + 2 · edge, K), rectified.

    A row of ``sums`` (36, M) holds a matrix, and may be longer; ``bias`` is (K,). If ``pooled``,
    each pixel is the largest of 2 × 2. Edges are left as they are.
    """
    items, height, width, channels = pixels.shape
    source, target = sums.ravel(), pixels.ravel()
    right, down = channels, width * channels
    apart = sums.shape[1]
    side = TILE // 2 if pooled else TILE
    tile = 0
    for item in range(items):
        for top in range(edge, height - edge, side):
            for left in range(edge, width - edge, side):
                begin = ((item * height + top) * width + left) * channels
                for channel in range(0, channels, _LANES):
                    at = tile * channels + channel
                    if pooled:
                        _to_pooled_pixels(
                            source, at, apart, bias, channel, target, begin + channel, down, right
                        )
                    else:
                        _to_pixels(
                            source, at, apart, bias, channel, target, begin + channel, down, right
                        )
                tile += 1
