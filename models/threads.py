"""How many threads numerics use where several recordings are heard side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def core_count() -> int:
    """Return how many cores this process may use."""
    return os.cpu_count() or 1


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let each thread compute by itself: BLAS and torch start no threads of their own.

    BLAS's threads wait for each other by spinning, which costs more than what they compute where
    every core has a recording. No result depends on it: the bits are the same with any number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
