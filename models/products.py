"""Products of stacks of matrices, as the layers of a network need them: many rows, fixed factors.

A factor is laid out once in panels of sixteen columns, which stay in the first cache while rows
pass by. Each row's sums are added in one order whatever its place and company, so that it gets the
same bits wherever it lies.

In sixteen bits a row and a column are scaled so that their norms, as whole numbers, are at most
2^15 - 1 and 2^16 - 1. By Cauchy and Schwarz no sum of their products, and no part of it, can then
leave 32 bits, whatever they hold; and a row's scale is its own, whoever is beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
from numpy.typing import NDArray

from models import tile_assembly
from models.compiled import COMPILATION
from models.tile_assembly import COLUMNS, PAIR

Precision = Literal["float32", "int16"]

Singles = NDArray[np.float32]
Rounded = NDArray[np.int16]

DEPTH_MULTIPLE = 2 * PAIR

_ROW_NORM, _COLUMN_NORM, _LARGEST = 2.0**15 - 1, 2.0**16 - 1, 2.0**15 - 1
_UNSCALED = np.ones(1, np.float32)


def room(groups: int, numbers: int, kind: type[np.float32] | type[np.int16]) -> NDArray[Any]:
    """Return room for a stack of matrices, (G, M): each of ``numbers`` numbers, M a bit more.

    At equal distances of a power of two, what belongs together would share a few places of the
    caches, and each would drive out another.
    """
    return np.zeros((groups, numbers + 64 // np.dtype(kind).itemsize), kind)


@dataclass(frozen=True, eq=False)
class Factor:
    """The right sides of a stack of products, (G, D, N): fixed, and in panels.

    The left sides are matrices (R, D), the results (R, N), one in each row of an array as of
    :func:`room`. R must be even.
    """

    panels: Singles | Rounded  # (G, N / 16, D / n, 16, n): n is 1, in whole numbers 2
    scales: Singles  # (G, N), of whole numbers

    @classmethod
    def of(cls, matrices: NDArray[np.floating], precision: Precision) -> Factor:
        """Lay out ``matrices`` (G, D, N).

        Raises:
            ValueError: D is no multiple of 4, or N none of 16.
        """
        groups, depth, columns = matrices.shape
        if depth % DEPTH_MULTIPLE or columns % COLUMNS:
            raise ValueError(f"({depth}, {columns}) must be multiples of 4 and 16")
        kind, pair = (np.int16, PAIR) if precision == "int16" else (np.float32, 1)
        panels = np.empty((groups, columns // COLUMNS, depth // pair, COLUMNS, pair), kind)
        scales = np.ones((groups, columns), np.float32)
        for group, matrix in enumerate(matrices):
            factors = np.ascontiguousarray(matrix)
            if precision == "int16":
                scales[group] = _column_scales(factors)
                factors = np.rint(factors / scales[group])
            split = factors.reshape(depth // pair, pair, columns // COLUMNS, COLUMNS)
            panels[group] = split.transpose(2, 0, 3, 1)
        return cls(panels, scales)

    @property
    def depth(self) -> int:
        """D."""
        _, _, steps, _, pair = self.panels.shape
        return int(steps * pair)

    @property
    def columns(self) -> int:
        """N."""
        return self.panel_count * COLUMNS

    @property
    def panel_count(self) -> int:
        """N / 16."""
        return int(self.panels.shape[1])

    def rounded(
        self, rows: Singles, count: int, whole: Rounded, scales: Singles
    ) -> tuple[Singles | Rounded, Singles]:
        """Return ``count`` rows of each matrix as they are multiplied, and their scales.

        ``whole``, as large as ``rows``, and ``scales`` (G · R,) are room for whole numbers.
        """
        if self.panels.dtype == np.float32:
            return rows, _UNSCALED
        round_rows(rows, count, self.depth, whole, scales)
        return whole, scales

    def multiply(
        self,
        rows: Singles | Rounded,
        count: int,
        scales: Singles,
        sums: Singles,
        panels: tuple[int, int],
    ) -> None:
        """Write the products of :meth:`rounded` rows with the panels from one to before another.

        Single precision needs what :data:`models.tile_assembly.AVAILABLE` tells.
        """
        _multiply(rows, count, scales, self.panels, self.scales, sums, *panels)


def _column_scales(matrix: NDArray[np.floating]) -> Singles:
    """Return by what the columns of (D, N) are divided to be whole numbers, (N,)."""
    norms = np.sqrt(np.einsum("dn,dn->n", matrix, matrix, dtype=np.float64))
    # Rounding adds at most half a unit to each number: a norm of sqrt(D) / 2 is kept free.
    free = _COLUMN_NORM - np.sqrt(len(matrix)) / 2
    exact = np.maximum(norms / free, np.abs(matrix).max(axis=0) / _LARGEST)
    scales: Singles = np.maximum(exact * (1 + 1e-6), np.finfo(np.float32).tiny).astype(np.float32)
    return scales


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def round_rows(rows: Any, count: int, depth: int, whole: Any, scales: Any) -> None:
    """Write rows as whole numbers, and the scales (G · R,) that make them what they were."""
    free = np.float32(_ROW_NORM - np.sqrt(depth) / 2)
    for group in range(len(rows)):
        for row in range(count):
            values = rows[group, row * depth : (row + 1) * depth]
            target = whole[group, row * depth : (row + 1) * depth]
            squares = np.float32(0)
            for column in range(depth):
                squares += values[column] * values[column]
            norm = np.sqrt(squares)
            scales[group * count + row] = norm / free
            factor = free / norm if norm > 0 else np.float32(0)
            for column in range(depth):
                target[column] = np.int16(np.rint(values[column] * factor))


_six, _four, _two = (tile_assembly.tile(rows) for rows in (6, 4, 2))


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def multiply_tiles(
    rows: Any,
    count: int,
    scales: Any,
    panels: Any,
    column_scales: Any,
    sums: Any,
    first: int,
    behind: int,
) -> None:
    """Write products with the panels from ``first`` on by :mod:`models.tile_assembly`."""
    groups, panel_count, steps, _, pair = panels.shape
    depth, columns = steps * pair, panel_count * COLUMNS
    a, b, c, b_scales = rows.ravel(), panels.ravel(), sums.ravel(), column_scales.ravel()
    for group in range(groups):
        for panel in range(first, behind):
            panel_at = (group * panel_count + panel) * depth * COLUMNS
            scales_at = group * columns + panel * COLUMNS
            row = 0
            while row < count:
                at = group * rows.shape[1] + row * depth
                sums_at = group * sums.shape[1] + row * columns + panel * COLUMNS
                places = (at, depth, panel_at, sums_at, columns, group * count + row, scales_at)
                if count - row >= 6:
                    _six(a, scales, b, b_scales, c, places, steps)
                    row += 6
                elif count - row >= 4:
                    _four(a, scales, b, b_scales, c, places, steps)
                    row += 4
                else:
                    _two(a, scales, b, b_scales, c, places, steps)
                    row += 2


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def multiply_whole_plainly(
    rows: Any,
    count: int,
    scales: Any,
    panels: Any,
    column_scales: Any,
    sums: Any,
    first: int,
    behind: int,
) -> None:
    """Write the same bits, of whole numbers, where the processor is another."""
    groups, panel_count, steps, _, pair = panels.shape
    depth, columns = steps * pair, panel_count * COLUMNS
    totals = np.empty(COLUMNS, np.int32)
    for group in range(groups):
        for panel in range(first, behind):
            factors = panels[group, panel]
            for row in range(count):
                values = rows[group, row * depth : (row + 1) * depth]
                totals[:] = 0
                for step in range(steps):
                    for column in range(COLUMNS):
                        for part in range(pair):
                            factor = np.int32(factors[step, column, part])
                            totals[column] += np.int32(values[pair * step + part]) * factor
                place, begin = row * columns + panel * COLUMNS, panel * COLUMNS
                for column in range(COLUMNS):
                    scaled = np.float32(totals[column]) * scales[group * count + row]
                    sums[group, place + column] = scaled * column_scales[group, begin + column]


_multiply = multiply_tiles if tile_assembly.AVAILABLE else multiply_whole_plainly
