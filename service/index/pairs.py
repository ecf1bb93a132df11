"""Pairs of encodings scored in float64 by the definition, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from models.compiled import COMPILATION
from service.index.compiled import (
    DOUBLE_BLOCKS,
    DOUBLE_ROWS,
    LINE_BYTES,
    ROW_NUMBERS,
    SINGLE_BLOCKS,
    prefetch,
)

_HALVINGS = 4
_SMALLEST, _LARGEST = 1e-18, 1e18
"""Sixteen ratios in between have a product that is in range."""


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def _logarithms(ratios: Any, products: Any) -> float:
    """Return the sum of some ratios' logarithms, from products of sixteen where none is extreme.

    A logarithm takes longer than all else that is done with a ratio.
    """
    count = len(ratios)
    extreme, total = 0, 0.0
    for column in range(count):
        extreme += not _SMALLEST < ratios[column] < _LARGEST
        products[column] = ratios[column]
    if extreme:
        for column in range(count):
            total += np.log(ratios[column])
        return total
    for _ in range(_HALVINGS):
        if count % 2:
            break
        count //= 2
        for column in range(count):
            products[column] *= products[count + column]
    for column in range(count):
        total += np.log(products[column])
    return total


def _of(items: Any) -> Any:
    queries = DOUBLE_ROWS, DOUBLE_ROWS, DOUBLE_ROWS, ROW_NUMBERS
    return types.void(*queries, items, ROW_NUMBERS, types.float64[::1], types.float64[::1])


@numba.njit([_of(SINGLE_BLOCKS), _of(DOUBLE_BLOCKS)], **COMPILATION)
def score_pairs(
    embedding: Any,
    mean: Any,
    variance: Any,
    query_rows: Any,
    items: Any,
    item_rows: Any,
    correlations: Any,
    divergences: Any,
) -> None:
    """Write Pearson's ρ and KL(query ‖ item) of P pairs, all in float64.

    Queries are an embedding, a mean and a variance, (Q, D) each; pair p is that of the query
    ``query_rows[p]`` with the item ``item_rows[p]``, whose embedding, mean and variance lie side by
    side in ``items`` (N, 3, D), in single precision or double. What is written of a pair does not
    depend on the others. See :func:`models.similarity.correlation` and
    :func:`models.similarity.kl_divergence`.
    """
    dimensions = embedding.shape[1]
    unit = np.empty(embedding.shape)
    for asked in range(len(embedding)):
        unit[asked] = embedding[asked] - embedding[asked].sum() / dimensions
        square = (unit[asked] * unit[asked]).sum()
        if square > 0:
            unit[asked] /= np.sqrt(square)
    ratios, products = np.empty(dimensions), np.empty(dimensions)
    for pair in range(len(query_rows)):
        asked, item = query_rows[pair], items[item_rows[pair]]
        if pair + 1 < len(query_rows):
            coming = items[item_rows[pair + 1]].ravel()
            for place in range(0, len(coming), LINE_BYTES // items.itemsize):
                prefetch(coming, place)
        centre = 0.0
        for column in range(dimensions):
            centre += item[0, column]
        centre /= dimensions
        product, square = 0.0, 0.0
        for column in range(dimensions):
            apart = item[0, column] - centre
            product += unit[asked, column] * apart
            square += apart * apart
        correlations[pair] = product / np.sqrt(square) if square > 0 else 0.0
        total = 0.0
        for column in range(dimensions):
            precision = 1 / np.float64(item[2, column])
            ratio = variance[asked, column] * precision
            apart = mean[asked, column] - item[1, column]
            total += (ratio - 1) + apart * apart * precision
            ratios[column] = ratio
        divergences[pair] = 0.5 * (total - _logarithms(ratios, products))
