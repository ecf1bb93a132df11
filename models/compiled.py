"""How inner loops are compiled, and run on every core."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
from numba.core import config as _numba_config

from models.cache import cache_folder

_config: Any = _numba_config  # its names are made at run time


def _compilation() -> dict[str, Any]:
    """Return how to compile: kept beside the models, if that can be written, else anew each time.

    ``NUMBA_CACHE_DIR`` has the last word.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
    if not _config.CACHE_DIR:
        folder = cache_folder() / "compiled" / _digest_of_compiled_files()[:12]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return options
        if not os.access(folder, os.W_OK):
            return options
        _config.CACHE_DIR = str(folder)
    return options | {"cache": True}


def _digest_of_compiled_files() -> str:
    """Return what changes with any file that is compiled.

    A function is not made anew where one of another file changes that it has taken in.
    """
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for folder in ("models", "service"):
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_bytes()
            if b"numba" in source:
                digest.update(source)
    return digest.hexdigest()


COMPILATION = _compilation()


def in_parallel(
    work: Callable[[int], None], parts: Sequence[int], pool: ThreadPoolExecutor | None
) -> None:
    """Do every part of some work, which releases the GIL; without a pool, in this thread."""
    if pool is None or len(parts) == 1:
        for part in parts:
            work(part)
    else:
        list(pool.map(work, parts))


def torch_sized_pool() -> ThreadPoolExecutor | None:
    """Return as many threads as torch has, the same to all who ask; None where that is one."""
    threads = torch.get_num_threads()
    return _pool(threads) if threads > 1 else None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "search")
