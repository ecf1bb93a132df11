"""Ids as one sorted array of fixed width, which can be mapped into memory and searched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def id_array(ids: Sequence[str]) -> NDArray[np.bytes_]:
    """Write ids, in their order, as one array of fixed width."""
    encoded = [each.encode() for each in ids]
    return np.array(encoded, f"S{max(map(len, encoded), default=1)}")


def place_of(ids: NDArray[np.bytes_], wanted: str) -> int | None:
    """Return the position of an id among sorted ones, None where it is not there."""
    encoded = wanted.encode()
    place = int(np.searchsorted(ids, encoded))
    return place if place < len(ids) and ids[place] == encoded else None
