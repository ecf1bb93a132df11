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
    CODE_BLOCKS,
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
from service.index.selection import put_largest_first

EVERYTHING = np.zeros(0, np.bool_)
"""A mask that lets all rows count."""

NOT_KNOWN = np.zeros(0, np.float32)
"""Products of which nothing is known before."""

BLOCK_ITEMS = 32
"""The items of a cell whose codes lie together: four of a processor's vectors."""

_ROWS_AHEAD = 3
_ROOM = 4  # for each that is wanted, so many are gathered before the best are kept
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
    for cell in range(cells):
        promises[cell] += np.sqrt(variances[cell])
    numbers = np.arange(cells)
    found = put_largest_first(promises, numbers, cells, len(values))
    values[:found], best[:found] = promises[:found], numbers[:found]


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def _write_products(codes: Any, asked: Any, promise: Any, products: Any) -> None:
    """Write the products (32,) of a query with a block's items from their ``codes`` (r * 32,)."""
    rank = len(asked)
    products[:] = promise
    for number in range(0, rank - rank % 4, 4):
        first, second = asked[number], asked[number + 1]
        third, fourth = asked[number + 2], asked[number + 3]
        part = codes[number * BLOCK_ITEMS : (number + 4) * BLOCK_ITEMS]
        for item in range(BLOCK_ITEMS):
            products[item] += (
                first * part[item]
                + second * part[BLOCK_ITEMS + item]
                + third * part[2 * BLOCK_ITEMS + item]
                + fourth * part[3 * BLOCK_ITEMS + item]
            )
    for number in range(rank - rank % 4, rank):
        part = codes[number * BLOCK_ITEMS : (number + 1) * BLOCK_ITEMS]
        for item in range(BLOCK_ITEMS):
            products[item] += asked[number] * part[item]


@numba.njit(
    types.void(
        SINGLES,
        ROW_NUMBERS,
        SINGLE_BLOCKS,
        CODE_BLOCKS,
        ROW_NUMBERS,
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
    first_blocks: Any,
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
    count, largest = len(values), 0
    for cell in cells:
        largest = max(largest, first_blocks[cell + 1] - first_blocks[cell])
    products = np.empty(largest * BLOCK_ITEMS, np.float32)
    flat_codes, block_codes = codes.reshape(-1), rank * BLOCK_ITEMS
    asked = np.empty(rank, np.float32)
    room = _ROOM * count
    found_values = np.empty(room + products.size, np.float32)
    found = np.empty(room + products.size, np.int64)
    held, least = 0, np.float32(-np.inf)
    for turn in range(len(cells)):
        cell = cells[turn]
        first_block, blocks = first_blocks[cell], first_blocks[cell + 1] - first_blocks[cell]
        next_cell = cells[min(turn + 1, len(cells) - 1)]
        coming = block_codes * first_blocks[next_cell]
        promise = np.float32(0)
        for number in range(rank):
            promise += query[number] * grids[cell, 0, number]
            asked[number] = query[number] * grids[cell, 1, number]
        for block in range(blocks):
            begin, ahead = block_codes * (first_block + block), coming + block_codes * block
            for place in range(ahead, ahead + block_codes, LINE_BYTES):
                prefetch(flat_codes, place)  # of no harm where the next cell has fewer
            _write_products(
                flat_codes[begin : begin + block_codes],
                asked,
                promise,
                products[block * BLOCK_ITEMS : (block + 1) * BLOCK_ITEMS],
            )
        first, size = starts[cell], starts[cell + 1] - starts[cell]
        for place in range(size):
            # The mask is asked last: few get so far, and each is a look somewhere in memory.
            if products[place] > least and (not len(mask) or mask[rows[first + place]]):
                found_values[held], found[held] = products[place], first + place
                held += 1
        if held >= room > 0:
            held = put_largest_first(found_values, found, held, count)
            least = found_values[held - 1]
    held = put_largest_first(found_values, found, held, count)
    clear(values, best)
    for place in range(held):
        prefetch(rows, found[place])
    for place in range(held):
        values[place], best[place] = found_values[place], rows[found[place]]
