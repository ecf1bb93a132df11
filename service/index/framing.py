"""Encodings written in a frame, compiled: see :class:`service.index.frame.Frame`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from models.compiled import COMPILATION
from service.index.compiled import DOUBLE_ROWS, DOUBLES


@numba.njit(
    types.void(
        DOUBLE_ROWS,
        DOUBLE_ROWS,
        DOUBLE_ROWS,
        types.float64,
        types.float64,
        DOUBLES,
        DOUBLES,
        DOUBLES,
        types.float32[:, ::1],
        types.float64[::1],
    ),
    **COMPILATION,
)
def frame_queries(
    embedding: Any,
    mean: Any,
    variance: Any,
    weight: float,
    kl_weight: float,
    shift: Any,
    centre: Any,
    scale: Any,
    vectors: Any,
    offsets: Any,
) -> None:
    """Write queries, (Q, D) each part, as ``vectors`` (Q, 3D + 1) of a frame, with ``offsets``.

    See :meth:`service.index.frame.Frame.questions`; what numpy makes of the same takes ten times
    as long for one query, which is a sixth of a search.
    """
    dimensions = len(shift)
    for row in range(len(embedding)):
        middle = embedding[row].sum() / dimensions
        square, logarithms = 0.0, 0.0
        for column in range(dimensions):
            square += (embedding[row, column] - middle) ** 2
            logarithms += np.log(variance[row, column])
        unit = weight / np.sqrt(square) if square > 0 else 0.0
        offset = 0.5 * kl_weight * (dimensions + logarithms) - 0.5 * kl_weight * centre[-1]
        for column in range(dimensions):
            apart = mean[row, column] - shift[column]
            first = unit * (embedding[row, column] - middle)
            second = -0.5 * kl_weight * (variance[row, column] + apart * apart)
            third = kl_weight * apart
            offset += (
                first * centre[column]
                + second * centre[dimensions + column]
                + third * centre[2 * dimensions + column]
            )
            vectors[row, column] = first * scale[column]
            vectors[row, dimensions + column] = second * scale[dimensions + column]
            vectors[row, 2 * dimensions + column] = third * scale[2 * dimensions + column]
        vectors[row, -1] = -0.5 * kl_weight * scale[-1]
        offsets[row] = offset


@numba.njit(
    types.void(
        DOUBLE_ROWS,
        DOUBLE_ROWS,
        DOUBLE_ROWS,
        DOUBLES,
        DOUBLES,
        DOUBLES,
        types.float32[:, ::1],
    ),
    **COMPILATION,
)
def frame_items(
    embedding: Any,
    mean: Any,
    variance: Any,
    shift: Any,
    centre: Any,
    scale: Any,
    vectors: Any,
) -> None:
    """Write items, (B, D) each part, as ``vectors`` (B, 3D + 1) of a frame.

    See :meth:`service.index.frame.Frame.items`; the building of an index spends most of its time
    here, a tenth of what numpy takes.
    """
    dimensions = len(shift)
    for row in range(len(embedding)):
        middle = embedding[row].sum() / dimensions
        square = 0.0
        for column in range(dimensions):
            square += (embedding[row, column] - middle) ** 2
        unit = 1 / np.sqrt(square) if square > 0 else 0.0
        constant = 0.0
        for column in range(dimensions):
            first = unit * (embedding[row, column] - middle)
            second = 1 / variance[row, column]
            apart = mean[row, column] - shift[column]
            third = apart * second
            constant += apart * third
            vectors[row, column] = (first - centre[column]) / scale[column]
            at = dimensions + column
            vectors[row, at] = (second - centre[at]) / scale[at]
            at += dimensions
            vectors[row, at] = (third - centre[at]) / scale[at]
        for column in range(0, dimensions - 1, 2):
            constant += np.log(variance[row, column] * variance[row, column + 1])
        if dimensions % 2:
            constant += np.log(variance[row, -1])
        vectors[row, -1] = (constant - centre[-1]) / scale[-1]
