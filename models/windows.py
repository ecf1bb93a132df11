"""Where windows lie: the stretches of a recording or of a curve that are encoded as one item.

A window is 30 s long and the next begins 15 s later. The last window ends where the whole ends;
what is shorter than a window is one window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 30.0
WINDOW_HOP_S = 15.0
PATCH_S = 0.96
WINDOW_PATCHES = 31
"""Whole 0.96 s patches in 30 s (29.76 s)."""


def window_starts_s(duration_s: float) -> list[float]:
    """Return the start of every window of something that lasts ``duration_s`` seconds.

    A tail shorter than half a patch, which would be heard as the same patches once more, moves the
    last regular window to the end instead of getting one of its own; the first window stays.
    """
    last_start_s = duration_s - WINDOW_S
    if last_start_s <= 0:
        return [0.0]
    regular = np.arange(0.0, last_start_s + 1e-9, WINDOW_HOP_S).tolist()
    if len(regular) > 1 and last_start_s - regular[-1] < PATCH_S / 2:
        regular.pop()
    if last_start_s > regular[-1]:
        regular.append(last_start_s)
    return regular


def window_patches(features: NDArray[np.float32], start_s: float) -> NDArray[np.float32]:
    """Cut the patches of the window that starts at ``start_s`` out of a feature sequence.

    ``features`` (T, F) has one row per 0.96 s from the start of the recording. Returns (31, F), or
    all of (T, F) where the recording is shorter than a window.
    """
    first = min(round(start_s / PATCH_S), max(len(features) - WINDOW_PATCHES, 0))
    return features[first : first + WINDOW_PATCHES]
