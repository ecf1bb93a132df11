"""Framed vectors of all items in half precision on disk: scanned whole, or read here and there.

A row holds 3D halves; the last column of φ, a sum over D that is larger than the others, stays in
single precision beside them. On a GPU with room for it the file is copied there once and scanned
there; what was chosen, and why not, is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.compiled import in_parallel, torch_sized_pool
from service.index.frame import Floats32
from service.index.protocol import NOTHING, Admission
from service.index.scanning import EVERYTHING, NOT_KNOWN, rank_rows, scan_rows

HALVES_FILE, CONSTANTS_FILE = "vectors.npy", "constants.npy"
_ROWS_AT_ONCE = 1 << 16
_TILE_ROWS = 512
_PARTS_PER_THREAD = 4
_GPU_ROOM = 1.25

Best = tuple[torch.Tensor, torch.Tensor]
"""Products and rows of each query's best items, both (Q, C), best first."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HalfVectors:
    """N items: ``halves`` (N, 3D) float16 and ``constants`` (N,) float32, as tensors.

    ``halves`` may lie on a GPU; then products are computed there.
    """

    halves: torch.Tensor
    constants: torch.Tensor

    @classmethod
    def open(cls, folder: Path, device: str = "cpu") -> HalfVectors:
        """Map the files of a folder into memory, or copy them to a GPU."""
        # Copy-on-write, never written: torch takes no read-only arrays.
        halves = torch.from_numpy(np.load(folder / HALVES_FILE, mmap_mode="c"))
        constants = torch.from_numpy(np.load(folder / CONSTANTS_FILE))
        return cls(halves.to(device), constants.to(device))

    def __len__(self) -> int:
        return len(self.halves)

    def rank(
        self, query: Floats32, rows: NDArray[np.int64], count: int, expected: Floats32 = NOT_KNOWN
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Return the ``count`` best of some rows (R,) for one framed query (3D + 1,).

        Rows and products, both (C,), best first; a row of :data:`NOTHING` is none, and fills up.
        Where ``expected`` (R,) says about what the products are, largest first, rows that have no
        chance any more are not looked at (on a GPU all are).
        """
        best, products = np.full(count, NOTHING, np.int64), np.full(count, -np.inf, np.float32)
        if self.halves.device.type == "cpu":
            rank_rows(*self._mapped, query, rows, expected, products, best)
            return best, products
        real = rows[rows >= 0]
        chosen = torch.from_numpy(real).to(self.halves.device)
        asked = torch.from_numpy(query).to(self.halves.device)
        scores = torch.mv(self.halves[chosen].float(), asked[:-1])
        scores += self.constants[chosen] * asked[-1]
        values, places = torch.topk(scores, min(count, len(real)))
        best[: len(places)] = real[places.cpu().numpy()]
        products[: len(places)] = values.cpu().numpy()
        return best, products

    @cached_property
    def _mapped(self) -> tuple[NDArray[np.uint16], Floats32]:
        """The bits of the halves (N, 3D), and the constants (N,), on a CPU."""
        return self.halves.numpy().view(np.uint16), self.constants.numpy()

    def scan(
        self, queries: Floats32, count: int, admission: Admission | None = None
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Return the ``count`` best rows of each query (Q, 3D + 1) and their products, by a scan.

        Both (Q, C), best first; :data:`NOTHING` and -inf where fewer are admitted.
        """
        count = min(count, len(self))
        if len(queries) == 1 and self.halves.device.type == "cpu":
            return self._scan_one(queries[0], count, admission)
        values, rows = self._scan_batch(torch.from_numpy(queries), count, admission)
        rows[torch.isinf(values)] = NOTHING
        return rows.cpu().numpy(), values.cpu().numpy()

    def _scan_one(
        self, query: Floats32, count: int, admission: Admission | None
    ) -> tuple[NDArray[np.int64], Floats32]:
        """One query: as fast as memory can be read, on as many threads as torch has."""
        mask = EVERYTHING if admission is None else admission.mask
        parts = _PARTS_PER_THREAD * torch.get_num_threads()
        bounds = np.linspace(0, len(self), parts + 1).astype(np.int64)
        values = np.empty((len(bounds) - 1, count), np.float32)
        rows = np.empty(values.shape, np.int64)

        def scan(part: int) -> None:
            span = bounds[part], bounds[part + 1]
            scan_rows(*self._mapped, query, mask, *span, values[part], rows[part])

        in_parallel(scan, range(len(values)), torch_sized_pool())
        order = np.argsort(-values, axis=None, kind="stable")[:count]
        return rows.ravel()[None, order], values.ravel()[None, order]

    def _scan_batch(self, queries: torch.Tensor, count: int, admission: Admission | None) -> Best:
        """Several queries, or on a GPU: singles in tiles, which a CPU's cache holds."""
        device = self.halves.device
        queries = queries.to(device)
        admitted = None if admission is None else torch.from_numpy(admission.mask).to(device)
        tile_rows = _TILE_ROWS if device.type == "cpu" else _ROWS_AT_ONCE
        single = torch.empty(tile_rows, self.halves.shape[1], device=device)
        best: list[Best] = []
        for first in range(0, len(self), _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, len(self))
            products = queries[:, -1:] * self.constants[first:last]
            for begin in range(first, last, tile_rows):
                end = min(begin + tile_rows, last)
                tile = single[: end - begin].copy_(self.halves[begin:end])
                products[:, begin - first : end - first].addmm_(queries[:, :-1], tile.T)
            if admitted is not None:
                products.masked_fill_(~admitted[first:last], -torch.inf)
            best = [best_of([*best, best_of_block(products, first, count)], count)]
        return best[0]


def best_of_block(products: torch.Tensor, first_row: int, count: int) -> Best:
    """Return the ``count`` best of each query's products (Q, B) with rows from ``first_row`` on."""
    values, places = torch.topk(products, min(count, products.shape[1]), dim=1)
    return values, places + first_row


def best_of(parts: Sequence[Best], count: int) -> Best:
    """Return the ``count`` best of several parts, best first."""
    values = torch.cat([value for value, _ in parts], dim=1)
    rows = torch.cat([row for _, row in parts], dim=1)
    values, places = torch.topk(values, min(count, values.shape[1]), dim=1)
    return values, torch.gather(rows, 1, places)


def search_device(wanted: str, size_bytes: int) -> str:
    """Choose where exhaustive searches run: ``auto``, ``cpu`` or ``cuda`` as the setting says.

    ``auto`` takes a GPU that has room for ``size_bytes``. Says in the log what it falls back from.

    Raises:
        RuntimeError: ``cuda`` is wanted and cannot be had.
    """
    reason = _why_no_gpu(size_bytes) if wanted != "cpu" else "the setting says so"
    if reason is None:
        logger.info("exhaustive searches run on %s", torch.cuda.get_device_name())
        return "cuda"
    if wanted == "cuda":
        raise RuntimeError(f"exhaustive searches cannot run on a GPU: {reason}")
    logger.info("exhaustive searches run on the CPU: %s", reason)
    return "cpu"


def _why_no_gpu(size_bytes: int) -> str | None:
    if not torch.cuda.is_available():
        return "torch finds no GPU"
    free_bytes, _ = torch.cuda.mem_get_info()
    if free_bytes < _GPU_ROOM * size_bytes:
        return f"{size_bytes / 1e9:.1f} GB of vectors do not fit into {free_bytes / 1e9:.1f} GB"
    return None
