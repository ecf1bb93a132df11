"""The largest of many numbers, compiled: by counting, as no processor foresees a heap's turns."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from models.compiled import COMPILATION
from service.index.compiled import clear, keep, put_in_order

_BUCKETS = 1_024


@numba.njit(**COMPILATION)  # type: ignore[untyped-decorator]
def put_largest_first(values: Any, rows: Any, size: int, count: int) -> int:
    """Bring the ``count`` largest of the first ``size`` values to the front, largest first.

    Their ``rows`` go with them. Returns how many there are: ``count``, or ``size`` if that is less.
    Values are finite. They are counted into buckets of equal width, from the uppermost of which as
    many are taken as it needs; where most are in one bucket, a heap is used.
    """
    count = min(count, size)
    if count == 0:
        return 0
    low, high = values[0], values[0]
    for place in range(size):
        low, high = min(low, values[place]), max(high, values[place])
    scale = np.float32(_BUCKETS - 1) / (high - low) if high > low else np.float32(0)
    buckets = np.empty(size, np.int32)
    ends = np.zeros(_BUCKETS, np.int32)
    for place in range(size):
        bucket: Any = np.int32((values[place] - low) * scale)
        buckets[place] = min(max(bucket, 0), _BUCKETS - 1)  # whatever a value is, stay inside
    for place in range(size):
        ends[buckets[place]] += 1
    least, taken = _BUCKETS - 1, ends[_BUCKETS - 1]
    ends[least] = 0
    while taken < count:
        least -= 1
        inside = ends[least]
        ends[least] = taken
        taken += inside
    sorted_values, sorted_rows = np.empty(taken, np.float32), np.empty(taken, np.int64)
    for place in range(size):
        if buckets[place] >= least:
            end = ends[buckets[place]]
            ends[buckets[place]] += 1
            sorted_values[end], sorted_rows[end] = values[place], rows[place]
    if taken > 2 * count + _BUCKETS:
        clear(values[:count], rows[:count])
        for place in range(taken):
            keep(values[:count], rows[:count], sorted_values[place], sorted_rows[place])
        put_in_order(values[:count], rows[:count])
        return count
    for place in range(taken):
        value, row = sorted_values[place], sorted_rows[place]
        while place > 0 and sorted_values[place - 1] < value:
            sorted_values[place], sorted_rows[place] = (
                sorted_values[place - 1],
                sorted_rows[place - 1],
            )
            place -= 1
        sorted_values[place], sorted_rows[place] = value, row
    values[:count], rows[:count] = sorted_values[:count], sorted_rows[:count]
    return count
