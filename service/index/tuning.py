"""How far a search must look: measured on the index that was built, against an exhaustive search.

Queries of each kind (curves, recordings), at several λ, are answered exhaustively while the vectors
are written; then cells and candidates grow until what is found holds the true answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.frame import Floats32, Frame
from service.index.partition import Effort, Partition
from service.index.vectors import HalfVectors

WEIGHTS = (0.0, 0.05, 0.3, 0.6, 1.0)
"""The λ that are measured at; a sketch is fitted over others."""

TOP = 10
_NEAR = 64
_CANDIDATES = (100, 200, 400, 800, 1_600)
_ENOUGH = 0.998


@dataclass(frozen=True, eq=False)
class Exam:
    """Questions with their true answers, filled in while the items pass by.

    ``questions`` (E, 3D + 1) in the frame, ``groups`` (E,) number the kind and λ of each; ``rows``
    and ``products`` (E, 64) are the best items so far.
    """

    questions: Floats32
    groups: NDArray[np.int64]
    group_names: Sequence[str]
    best: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, frame: Frame, kinds: dict[str, Encodings], divergence_scale: float) -> Exam:
        """Ask every query of every kind at every λ."""
        questions: list[Floats32] = []
        groups: list[NDArray[np.int64]] = []
        names: list[str] = []
        for kind, block in kinds.items():
            for weight in WEIGHTS:
                groups.append(np.full(len(block), len(names)))
                names.append(f"{kind}, weight {weight:g}")
                questions.append(
                    frame.queries(block, weight=weight, divergence_scale=divergence_scale)
                )
        return cls(np.concatenate(questions), np.concatenate(groups), names)

    def see(self, first_row: int, vectors: Floats32) -> None:
        """Take note of a block of items (B, 3D + 1) in the frame."""
        products = torch.from_numpy(self.questions @ vectors.T)
        values, rows = torch.topk(products, min(_NEAR, len(vectors)), dim=1)
        self.best.append((values, rows + first_row))
        values, rows = (torch.cat(parts, dim=1) for parts in zip(*self.best, strict=True))
        values, places = torch.topk(values, min(_NEAR, values.shape[1]), dim=1)
        self.best[:] = [(values, torch.gather(rows, 1, places))]

    @property
    def answers(self) -> NDArray[np.int64]:
        """The true best rows (E, 10)."""
        rows: NDArray[np.int64] = self.best[0][1][:, :TOP].numpy()
        return rows

    def half_precision_agreement(self, vectors: HalfVectors) -> float:
        """Return the share of the true best 10 that half precision has among its best 10 too."""
        near = self.best[0][1].numpy()
        kept = 0
        for question, rows in zip(self.questions, near, strict=True):
            scores = vectors.rescore(question, rows)
            kept += len(np.intersect1d(rows[np.argsort(-scores)[:TOP]], rows[:TOP]))
        return kept / self.answers.size

    def worst(self, found: NDArray[np.int64]) -> float:
        """Return the recall, in the worst group, of candidates (E, C)."""
        return min(self.recalls(found).values())

    def recalls(self, found: NDArray[np.int64]) -> dict[str, float]:
        """Return the recall of the true best 10 among candidates (E, C), by group."""
        kept = (self.answers[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)
        return {
            name: float(kept[self.groups == number].mean())
            for number, name in enumerate(self.group_names)
        }


def tune(partition: Partition, exam: Exam) -> tuple[Effort, dict[str, float]]:
    """Return the least effort that finds the true answers, and the recall with it, by group.

    Where none finds 99.8 % of them in every group, the largest is returned.
    """
    most = min(_CANDIDATES[-1], partition.lists.ntotal)
    cells, limit = 8, len(partition.centroids) // 2
    while True:
        found = partition.candidates(exam.questions, cells, most, None)
        if exam.worst(found) >= _ENOUGH or cells >= limit:
            break
        cells = min(round(cells * 1.5), limit)
    for candidates in _CANDIDATES:
        if exam.worst(found[:, :candidates]) >= _ENOUGH:
            break
    candidates = min(candidates, most)
    return Effort(cells, candidates), exam.recalls(found[:, :candidates])
