"""Measuring: medians of runs that take turns, and what they ran on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

Report = dict[str, Any]
"""What a benchmark returns: JSON, each quantity with its unit in its name."""


class DisagreementError(AssertionError):
    """Two ways of computing the same thing differ, so that comparing their speed means nothing."""


def medians_ms(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time functions, each once per round in turn, and return each one's median in milliseconds.

    They take turns so that whatever else the machine does falls on all of them alike. The first
    round, which fills caches and compiles, is not counted.
    """
    seen: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(1 + rounds):
        for name, function in functions.items():
            started_ns = time.perf_counter_ns()
            function()
            seen[name].append((time.perf_counter_ns() - started_ns) / 1e6)
    return {name: float(np.median(times[1:])) for name, times in seen.items()}


def machine() -> Report:
    """Say what a measurement ran on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "torch_threads": torch.get_num_threads(),
        "library_threads": {
            pool["prefix"]: pool["num_threads"] for pool in threadpool_info() if "prefix" in pool
        },
    }


def status_bytes(field: str) -> int:
    """Return what Linux says of this process's memory: ``RssAnon``, ``VmRSS``, ..."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1_024
    raise ValueError(f"/proc/self/status has no {field}")


def require_close(what: str, first: object, second: object, tolerance: float) -> float:
    """Return the largest difference of two arrays.

    Raises:
        DisagreementError: it is larger than ``tolerance``, or the shapes differ.
    """
    here, there = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if here.shape != there.shape:
        raise DisagreementError(f"{what}: shapes {here.shape} and {there.shape}")
    difference = float(np.abs(here - there).max(initial=0.0))
    if not difference <= tolerance:
        raise DisagreementError(f"{what}: differ by {difference:g}, allowed are {tolerance:g}")
    return difference
