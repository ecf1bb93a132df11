"""Framed vectors of all items in half precision on disk: scanned whole, or read here and there.

A row holds 3D halves; the last column of φ, a sum over D that is larger than the others, stays in
single precision beside them. On a GPU with room for it the file is copied there once and scanned
there; what was chosen, and why not, is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.index.frame import Floats32
from service.index.protocol import NOTHING, Admission

HALVES_FILE, CONSTANTS_FILE = "vectors.npy", "constants.npy"
_ROWS_AT_ONCE = 1 << 17
_TILE_ROWS = 512
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

    def rescore(self, query: Floats32, rows: NDArray[np.int64]) -> Floats32:
        """Return the products of one framed query (3D + 1,) with some items: (C,)."""
        if self.halves.device.type == "cpu":  # numpy gathers rows several times faster
            halves = torch.from_numpy(self.halves.numpy().take(rows, axis=0))
            constants = torch.from_numpy(self.constants.numpy().take(rows))
        else:
            chosen = torch.from_numpy(rows).to(self.halves.device)
            halves, constants = self.halves[chosen].cpu(), self.constants[chosen].cpu()
        asked = torch.from_numpy(query)
        scores: Floats32 = torch.mv(halves.float(), asked[:-1]).numpy()
        scores += constants.numpy() * query[-1]
        return scores

    def scan(
        self, queries: Floats32, count: int, admission: Admission | None = None
    ) -> tuple[NDArray[np.int64], Floats32]:
        """Return the ``count`` best rows of each query (Q, 3D + 1) and their products, by a scan.

        Both (Q, C), best first; :data:`NOTHING` and -inf where fewer are admitted.
        """
        device = self.halves.device
        admitted = None
        if admission is not None:
            admitted = torch.from_numpy(admission.mask).to(device)
        asked = torch.from_numpy(queries).to(device)
        count = min(count, len(self))
        if len(queries) == 1:
            values, rows = self._scan_one(asked[0], count, admitted)
        else:
            values, rows = self._scan_batch(asked, count, admitted)
        rows[torch.isinf(values)] = NOTHING
        return rows.cpu().numpy(), values.cpu().numpy()

    def _scan_one(
        self, query: torch.Tensor, count: int, admitted: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One query: as fast as memory can be read, since a half is half of the bytes.

        The query itself is rounded to half precision; brought near one, it cannot overflow.
        """
        largest = query[:-1].abs().max().clamp_min(1e-30)
        half = (query[:-1] / largest).half()
        products = torch.empty(len(self), device=self.halves.device)
        for first in range(0, len(self), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            products[part] = torch.mv(self.halves[part], half)
        products.mul_(largest).add_(self.constants, alpha=float(query[-1]))
        if admitted is not None:
            products.masked_fill_(~admitted, -torch.inf)
        values, rows = torch.topk(products, count)
        return values[None], rows[None]

    def _scan_batch(
        self, queries: torch.Tensor, count: int, admitted: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Several queries: singles in tiles that stay in the cache, then the best."""
        single = torch.empty(_TILE_ROWS, self.halves.shape[1], device=self.halves.device)
        best: list[Best] = []
        for first in range(0, len(self), _ROWS_AT_ONCE // 2):
            last = min(first + _ROWS_AT_ONCE // 2, len(self))
            products = queries[:, -1:] * self.constants[first:last]
            for begin in range(first, last, _TILE_ROWS):
                end = min(begin + _TILE_ROWS, last)
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
