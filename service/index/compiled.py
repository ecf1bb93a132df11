"""What the search's compiled loops are made of: their types, a heap of the best.

The best of a stream are kept in a heap whose root is the worst of them, so that most items cost one
comparison.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from models.compiled import COMPILATION


def _read(scalar: Any, dimensions: int) -> Any:
    # Read-only, since an array mapped from a file is; others are taken as well.
    return types.Array(scalar, dimensions, "C", readonly=True)


SINGLES, SINGLE_ROWS = _read(types.float32, 1), _read(types.float32, 2)
DOUBLES, DOUBLE_ROWS = _read(types.float64, 1), _read(types.float64, 2)
SINGLE_BLOCKS, DOUBLE_BLOCKS = _read(types.float32, 3), _read(types.float64, 3)
HALF_ROWS, CODE_BLOCKS = _read(types.uint16, 2), _read(types.int8, 3)
SHORT_ROW_NUMBERS, ROW_NUMBERS = _read(types.int32, 1), _read(types.int64, 1)
MASK = _read(types.boolean, 1)
BEST_VALUES, BEST_ROWS = types.float32[::1], types.int64[::1]


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
single: Any = _widen
prefetch: Any = _fetch

LINE_BYTES = 64


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def sink(values: Any, rows: Any, size: int) -> None:
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


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def clear(values: Any, rows: Any) -> None:
    """Make a heap that holds nothing yet: -inf and -1."""
    values[:] = -np.inf
    rows[:] = -1


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def keep(values: Any, rows: Any, value: float, row: int) -> None:
    """Put a row in the place of a heap's smallest, where it is larger."""
    if value > values[0]:
        values[0], rows[0] = value, row
        sink(values, rows, len(values))


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def put_in_order(values: Any, rows: Any) -> None:
    """Turn a heap, smallest first, into a list, largest first."""
    for size in range(len(values) - 1, 0, -1):
        value, row = values[0], rows[0]
        values[0], rows[0] = values[size], rows[size]
        sink(values, rows, size)
        values[size], rows[size] = value, row
