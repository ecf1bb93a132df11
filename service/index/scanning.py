"""The inner loops of a search, compiled: numpy would write each product to memory and read it back.

All release the GIL. What they must give is what numpy gives for the same sums in float64, up to
single precision (tests/service/index/test_scanning.py).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from models.compiled import COMPILATION
from service.index.compiled import (
    BEST_ROWS,
    BEST_VALUES,
    CODES,
    HALF_ROWS,
    LINE_BYTES,
    MASK,
    ROW_NUMBERS,
    SHORT_ROW_NUMBERS,
    SINGLE_BLOCKS,
    SINGLE_ROWS,
    SINGLES,
    clear,
    keep,
    prefetch,
    put_in_order,
    single,
)

EVERYTHING = np.zeros(0, np.bool_)
"""A mask that lets all rows count."""

NOT_KNOWN = np.zeros(0, np.float32)
"""Products of which nothing is known before."""

_ROWS_AHEAD = 3
_ENOUGH_TO_JUDGE = 32
_DEVIATIONS = 4.0


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def _product(halves: Any, query: Any) -> Any:
    """Return the inner product of one row of halves (P,) and a query (P + 1,), less its last."""
    total = np.float32(0)
    for column in range(len(halves)):
        total += single(halves[column]) * query[column]
    return total


@numba.njit(
    types.void(HALF_ROWS, SINGLES, SINGLES, ROW_NUMBERS, SINGLES, BEST_VALUES, BEST_ROWS),
    **COMPILATION,
)
def rank_rows(
    halves: Any, constants: Any, query: Any, rows: Any, expected: Any, values: Any, best: Any
) -> None:
    """Write the largest products of a query (P + 1,) with some ``rows`` (R,), -1 among them none.

    An item is a row of ``halves`` (N, P), bits of float16, and one of ``constants`` (N,).
    ``values`` and ``best`` (C,) take products and rows, largest first, and at the end -inf and -1.

    Where ``expected`` (R,) says about what the products are, largest first, the rows are left of
    which none will be among the best any more: those below them by four standard deviations of the
    errors so far. :data:`NOT_KNOWN` has every row looked at.
    """
    if len(values) == 0:
        return
    clear(values, best)
    seen, errors, squares = 0, 0.0, 0.0
    for place in range(len(rows)):
        if place + _ROWS_AHEAD < len(rows) and rows[place + _ROWS_AHEAD] >= 0:
            coming = halves[rows[place + _ROWS_AHEAD]]
            for column in range(0, len(coming), LINE_BYTES // 2):
                prefetch(coming, column)
        row = rows[place]
        if row < 0:
            continue
        if len(expected) and seen >= _ENOUGH_TO_JUDGE:
            error = errors / seen
            deviation = np.sqrt(max(squares / seen - error * error, 0.0))
            if expected[place] + error + _DEVIATIONS * deviation < values[0]:
                break
        product = _product(halves[row], query) + constants[row] * query[-1]
        if len(expected):
            error = product - expected[place]
            seen += 1
            errors += error
            squares += error * error
        keep(values, best, product, row)
    put_in_order(values, best)


@numba.njit(
    types.void(
        HALF_ROWS,
        SINGLES,
        SINGLES,
        MASK,
        types.int64,
        types.int64,
        BEST_VALUES,
        BEST_ROWS,
    ),
    **COMPILATION,
)
def scan_rows(
    halves: Any,
    constants: Any,
    query: Any,
    mask: Any,
    first: int,
    last: int,
    values: Any,
    best: Any,
) -> None:
    """Write the largest products of a query with the rows from ``first`` to before ``last``.

    As :func:`rank_rows`; ``mask`` (N,) says which rows count (:data:`EVERYTHING`: all).
    """
    if len(values) == 0:
        return
    clear(values, best)
    for row in range(first, last):
        if len(mask) and not mask[row]:
            continue
        product = _product(halves[row], query) + constants[row] * query[-1]
        keep(values, best, product, row)
    put_in_order(values, best)


@numba.njit(types.void(SINGLES, SINGLE_ROWS, SINGLE_ROWS, BEST_VALUES, BEST_ROWS), **COMPILATION)
def best_cells(query: Any, centroids: Any, spreads: Any, values: Any, best: Any) -> None:
    """Write the cells that promise a sketched query (r,) most into ``best`` (V,), best first.

    A cell promises the product with its centroid, and as much more as one standard deviation of
    its items' products: ``centroids`` and ``spreads`` (r, L) hold means and variances of each
    number of its sketches. ``values`` (V,) are the promises.
    """
    cells = centroids.shape[1]
    promises = np.zeros(cells, np.float32)
    variances = np.zeros(cells, np.float32)
    rank = len(query)
    squared = query * query
    # Four numbers at a time: the sums are read and written a quarter as often.
    for number in range(0, rank - rank % 4, 4):
        for cell in range(cells):
            promises[cell] += (
                query[number] * centroids[number, cell]
                + query[number + 1] * centroids[number + 1, cell]
                + query[number + 2] * centroids[number + 2, cell]
                + query[number + 3] * centroids[number + 3, cell]
            )
            variances[cell] += (
                squared[number] * spreads[number, cell]
                + squared[number + 1] * spreads[number + 1, cell]
                + squared[number + 2] * spreads[number + 2, cell]
                + squared[number + 3] * spreads[number + 3, cell]
            )
    for number in range(rank - rank % 4, rank):
        for cell in range(cells):
            promises[cell] += query[number] * centroids[number, cell]
            variances[cell] += squared[number] * spreads[number, cell]
    if len(values) == 0:
        return
    clear(values, best)
    for cell in range(cells):
        promise = promises[cell] + np.sqrt(variances[cell])
        keep(values, best, promise, cell)
    put_in_order(values, best)


@numba.njit(
    types.void(
        SINGLES,
        ROW_NUMBERS,
        SINGLE_BLOCKS,
        CODES,
        ROW_NUMBERS,
        SHORT_ROW_NUMBERS,
        MASK,
        BEST_VALUES,
        BEST_ROWS,
    ),
    **COMPILATION,
)
def visit_cells(
    query: Any,
    cells: Any,
    grids: Any,
    codes: Any,
    starts: Any,
    rows: Any,
    mask: Any,
    values: Any,
    best: Any,
) -> None:
    """Write the rows in some ``cells`` (V,) whose sketches have the largest products with a query.

    ``query`` (r,) is sketched; what a cell holds is said by
    :class:`service.index.partition.Partition`. ``mask``, ``values`` and ``best`` as in
    :func:`scan_rows`.
    """
    rank = len(query)
    if len(values) == 0:
        return
    clear(values, best)
    largest = 0
    for cell in cells:
        largest = max(largest, starts[cell + 1] - starts[cell])
    products = np.empty(largest, np.float32)
    asked = np.empty(rank, np.float32)
    for turn in range(len(cells)):
        cell = cells[turn]
        if turn + 1 < len(cells):
            coming = cells[turn + 1]
            for place in range(rank * starts[coming], rank * starts[coming + 1], LINE_BYTES):
                prefetch(codes, place)
        first, size = starts[cell], starts[cell + 1] - starts[cell]
        block = codes[rank * first : rank * (first + size)]
        promise = np.float32(0)
        for number in range(rank):
            promise += query[number] * grids[cell, 0, number]
            asked[number] = query[number] * grids[cell, 1, number]
        products[:size] = promise
        for number in range(0, rank - rank % 4, 4):
            part = block[number * size :]
            for place in range(size):
                products[place] += (
                    asked[number] * part[place]
                    + asked[number + 1] * part[size + place]
                    + asked[number + 2] * part[2 * size + place]
                    + asked[number + 3] * part[3 * size + place]
                )
        for number in range(rank - rank % 4, rank):
            for place in range(size):
                products[place] += asked[number] * block[number * size + place]
        for place in range(size):
            # The mask is asked last: few get so far, and each is a look somewhere in memory.
            if products[place] > values[0] and (not len(mask) or mask[rows[first + place]]):
                keep(values, best, products[place], first + place)
    put_in_order(values, best)
    for place in range(len(best)):
        if best[place] >= 0:
            prefetch(rows, best[place])
    for place in range(len(best)):
        if best[place] >= 0:
            best[place] = rows[best[place]]
