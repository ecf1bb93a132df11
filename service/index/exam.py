"""An exam: queries with their true answers, against which what a faster way finds is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.similarity import Encodings
from service.index.frame import Floats32, Frame
from service.index.vectors import Best, HalfVectors, best_of, best_of_block

TOP = 10
_NEAR = 64


@dataclass(eq=False)
class Exam:
    """Questions, whose answers become known while the items pass by.

    ``questions`` (E, 3D + 1) in the frame, ``groups`` (E,) number the kind and λ of each; ``best``
    are the best 64 items so far.
    """

    questions: Floats32
    groups: NDArray[np.int64]
    group_names: Sequence[str]
    best: Best | None = None

    @classmethod
    def of(
        cls,
        frame: Frame,
        kinds: Mapping[str, Encodings],
        weights: Sequence[float],
        divergence_scale: float,
    ) -> Exam:
        """Ask every query of every kind at every λ of ``weights``."""
        questions: list[Floats32] = []
        groups: list[NDArray[np.int64]] = []
        names: list[str] = []
        for kind, block in kinds.items():
            for weight in weights:
                groups.append(np.full(len(block), len(names)))
                names.append(f"{kind}, weight {weight:g}")
                questions.append(
                    frame.queries(block, weight=weight, divergence_scale=divergence_scale)
                )
        return cls(np.concatenate(questions), np.concatenate(groups), names)

    def see(self, first_row: int, vectors: Floats32) -> None:
        """Take note of a block of items (B, 3D + 1) in the frame."""
        products = torch.from_numpy(self.questions @ vectors.T)
        here = best_of_block(products, first_row, _NEAR)
        self.best = here if self.best is None else best_of([self.best, here], _NEAR)

    @property
    def near(self) -> NDArray[np.int64]:
        """The best rows (E, 64), of those that were seen."""
        if self.best is None:
            return np.zeros((len(self.questions), 0), np.int64)
        rows: NDArray[np.int64] = self.best[1].numpy()
        return rows

    @property
    def answers(self) -> NDArray[np.int64]:
        """The true best rows (E, 10)."""
        return self.near[:, :TOP]

    def half_precision_agreement(self, vectors: HalfVectors) -> float:
        """Return the share of the true best 10 that half precision has among its best 10 too."""
        kept = 0
        for question, rows in zip(self.questions, self.near, strict=True):
            kept += len(np.intersect1d(vectors.rank(question, rows, TOP)[0], rows[:TOP]))
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
