"""The inner loops of a search, compiled: numpy would write each product to memory and read it back.

All release the GIL. The best of a stream are kept in a heap whose root is the worst of them, so
that most items cost one comparison. What they must give is what numpy gives for the same sums in
float64, up to single precision (tests/service/index/test_kernels.py).
"""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config as _numba_config
from numba.extending import intrinsic

from models.cache import cache_folder

_config: Any = _numba_config  # its names are made at run time

EVERYTHING = np.zeros(0, np.bool_)
"""A mask that lets all rows count."""


def _compilation() -> dict[str, Any]:
    """Return how to compile: kept beside the models, if that can be written, else anew each time.

    ``NUMBA_CACHE_DIR`` has the last word.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    folder = cache_folder() / "compiled"
    if not _config.CACHE_DIR:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return options
        if not os.access(folder, os.W_OK):
            return options
        _config.CACHE_DIR = str(folder)
    return options | {"cache": True}


_COMPILATION = _compilation()


def _read(scalar: Any, dimensions: int) -> Any:
    # Read-only, since an array mapped from a file is; others are taken as well.
    return types.Array(scalar, dimensions, "C", readonly=True)


_SINGLES, _SINGLE_ROWS = _read(types.float32, 1), _read(types.float32, 2)
_DOUBLES, _DOUBLE_ROWS = _read(types.float64, 1), _read(types.float64, 2)
_HALF_ROWS, _CODES = _read(types.uint16, 2), _read(types.int8, 1)
_SHORT_ROW_NUMBERS, _ROW_NUMBERS = _read(types.int32, 1), _read(types.int64, 1)
_MASK = _read(types.boolean, 1)
_BEST_VALUES, _BEST_ROWS = types.float32[::1], types.int64[::1]


@intrinsic
def _widen(_: Any, half: Any) -> Any:
    """Read the 16 bits of a half-precision number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(half), generate


@intrinsic
def _fetch(_: Any, array: Any, place: Any) -> Any:  # noqa: ARG001  of any whole type
    """Have the memory at a place of an array brought into the cache, and do not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        number, pointer = ir.IntType(32), ir.PointerType(ir.IntType(8))
        to_read, to_be_kept, of_data = number(0), number(3), number(1)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer],
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
        )
        address = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        builder.call(prefetch, [address, to_read, to_be_kept, of_data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


# Compiled code calls them without the first argument.
_single: Any = _widen
_prefetch: Any = _fetch

_LINE_BYTES = 64
_ROWS_AHEAD = 3


@numba.njit(**_COMPILATION)  # type: ignore[untyped-decorator]
def _sink(values: Any, rows: Any, size: int) -> None:
    """Let the root of a heap of ``size``, smallest first, sink to its place."""
    value, row = values[0], rows[0]
    place, child = 0, 1
    while child < size:
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if value <= values[child]:
            break
        values[place], rows[place] = values[child], rows[child]
        place, child = child, 2 * child + 1
    values[place], rows[place] = value, row


@numba.njit(**_COMPILATION)  # type: ignore[untyped-decorator]
def _put_in_order(values: Any, rows: Any) -> None:
    """Turn a heap, smallest first, into a list, largest first."""
    for size in range(len(values) - 1, 0, -1):
        value, row = values[0], rows[0]
        values[0], rows[0] = values[size], rows[size]
        _sink(values, rows, size)
        values[size], rows[size] = value, row


@numba.njit(**_COMPILATION)  # type: ignore[untyped-decorator]
def _product(halves: Any, query: Any) -> Any:
    """Return the inner product of one row of halves (P,) and a query (P + 1,), less its last."""
    total = np.float32(0)
    for column in range(len(halves)):
        total += _single(halves[column]) * query[column]
    return total


@numba.njit(
    types.void(
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        types.float64,
        types.float64,
        _DOUBLES,
        _DOUBLES,
        _DOUBLES,
        types.float32[:, ::1],
        types.float64[::1],
    ),
    **_COMPILATION,
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
    types.void(_HALF_ROWS, _SINGLES, _SINGLES, _ROW_NUMBERS, _BEST_VALUES, _BEST_ROWS),
    **_COMPILATION,
)
def rank_rows(halves: Any, constants: Any, query: Any, rows: Any, values: Any, best: Any) -> None:
    """Write the largest products of a query (P + 1,) with some ``rows`` (R,), -1 among them none.

    An item is a row of ``halves`` (N, P), bits of float16, and one of ``constants`` (N,).
    ``values`` and ``best`` (C,) take products and rows, largest first, and at the end -inf and -1.
    """
    values[:] = -np.inf
    best[:] = -1
    for place in range(len(rows)):
        if place + _ROWS_AHEAD < len(rows) and rows[place + _ROWS_AHEAD] >= 0:
            coming = halves[rows[place + _ROWS_AHEAD]]
            for column in range(0, len(coming), _LINE_BYTES // 2):
                _prefetch(coming, column)
        row = rows[place]
        if row < 0:
            continue
        product = _product(halves[row], query) + constants[row] * query[-1]
        if product > values[0]:
            values[0], best[0] = product, row
            _sink(values, best, len(values))
    _put_in_order(values, best)


@numba.njit(
    types.void(
        _HALF_ROWS,
        _SINGLES,
        _SINGLES,
        _MASK,
        types.int64,
        types.int64,
        _BEST_VALUES,
        _BEST_ROWS,
    ),
    **_COMPILATION,
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
    values[:] = -np.inf
    best[:] = -1
    for row in range(first, last):
        if len(mask) and not mask[row]:
            continue
        product = _product(halves[row], query) + constants[row] * query[-1]
        if product > values[0]:
            values[0], best[0] = product, row
            _sink(values, best, len(values))
    _put_in_order(values, best)


@numba.njit(
    types.void(_SINGLES, _SINGLE_ROWS, _SINGLE_ROWS, _BEST_VALUES, _BEST_ROWS), **_COMPILATION
)
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
    values[:] = -np.inf
    best[:] = -1
    for cell in range(cells):
        promise = promises[cell] + np.sqrt(variances[cell])
        if promise > values[0]:
            values[0], best[0] = promise, cell
            _sink(values, best, len(values))
    _put_in_order(values, best)


@numba.njit(
    types.void(
        _SINGLES,
        _ROW_NUMBERS,
        _SINGLE_ROWS,
        _SINGLE_ROWS,
        _CODES,
        _ROW_NUMBERS,
        _SHORT_ROW_NUMBERS,
        _MASK,
        _BEST_VALUES,
        _BEST_ROWS,
    ),
    **_COMPILATION,
)
def visit_cells(
    query: Any,
    cells: Any,
    centroids: Any,
    steps: Any,
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
    values[:] = -np.inf
    best[:] = -1
    largest = 0
    for cell in cells:
        largest = max(largest, starts[cell + 1] - starts[cell])
    products = np.empty(largest, np.float32)
    asked = np.empty(rank, np.float32)
    for turn in range(len(cells)):
        cell = cells[turn]
        if turn + 1 < len(cells):
            coming = cells[turn + 1]
            for place in range(rank * starts[coming], rank * starts[coming + 1], _LINE_BYTES):
                _prefetch(codes, place)
        first, size = starts[cell], starts[cell + 1] - starts[cell]
        block = codes[rank * first : rank * (first + size)]
        promise = np.float32(0)
        for number in range(rank):
            promise += query[number] * centroids[number, cell]
            asked[number] = query[number] * steps[number, cell]
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
            if products[place] > values[0]:
                if len(mask) and not mask[rows[first + place]]:
                    continue
                values[0], best[0] = products[place], first + place
                _sink(values, best, len(values))
    _put_in_order(values, best)
    for place in range(len(best)):
        if best[place] >= 0:
            _prefetch(rows, best[place])
    for place in range(len(best)):
        if best[place] >= 0:
            best[place] = rows[best[place]]


@numba.njit(
    types.void(
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        _ROW_NUMBERS,
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        _DOUBLE_ROWS,
        types.float64[::1],
        types.float64[::1],
    ),
    **_COMPILATION,
)
def score_pairs(
    embedding: Any,
    mean: Any,
    variance: Any,
    query_rows: Any,
    item_embedding: Any,
    item_mean: Any,
    item_variance: Any,
    correlations: Any,
    divergences: Any,
) -> None:
    """Write Pearson's ρ and KL(query ‖ item) of P pairs, all in float64.

    Queries are an embedding, a mean and a variance, (Q, D) each; pair p is that of the query
    ``query_rows[p]`` with row p of the items (P, D). What is written of a pair does not depend on
    the others. See :func:`models.similarity.correlation` and
    :func:`models.similarity.kl_divergence`.
    """
    dimensions = embedding.shape[1]
    unit = np.empty(embedding.shape)
    for asked in range(len(embedding)):
        unit[asked] = embedding[asked] - embedding[asked].sum() / dimensions
        square = (unit[asked] * unit[asked]).sum()
        if square > 0:
            unit[asked] /= np.sqrt(square)
    for pair in range(len(query_rows)):
        asked = query_rows[pair]
        centre = item_embedding[pair].sum() / dimensions
        product, square = 0.0, 0.0
        for column in range(dimensions):
            apart = item_embedding[pair, column] - centre
            product += unit[asked, column] * apart
            square += apart * apart
        correlations[pair] = product / np.sqrt(square) if square > 0 else 0.0
        total = 0.0
        for column in range(dimensions):
            precision = 1 / item_variance[pair, column]
            ratio = variance[asked, column] * precision
            apart = mean[asked, column] - item_mean[pair, column]
            total += (ratio - 1) + apart * apart * precision
        logarithms = 0.0
        # One logarithm for two ratios: of single-precision variances, their product is in range.
        for column in range(0, dimensions - 1, 2):
            logarithms += np.log(
                (variance[asked, column] / item_variance[pair, column])
                * (variance[asked, column + 1] / item_variance[pair, column + 1])
            )
        if dimensions % 2:
            logarithms += np.log(variance[asked, -1] / item_variance[pair, -1])
        divergences[pair] = 0.5 * (total - logarithms)
