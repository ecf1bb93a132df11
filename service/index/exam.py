"""An exam: queries with their true answers, against which what a faster way finds is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """Queries at several λ, whose answers become known while the items pass by.

    ``ends`` (2, Q, 3D + 1) are the queries in the frame at λ = 0 and 1, and whatever lies between
    is a mixture of the two. Question e asks query ``e % Q`` at ``weights[e // Q]``; ``best`` are
    the best 64 items of each of E questions so far. ``kinds`` says how many queries of each kind
    there are, in their order.
    """

    ends: Floats32
    kinds: Mapping[str, int]
    weights: Sequence[float]
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
        queries = Encodings.stack(list(kinds.values()))
        ends = [
            frame.queries(queries, weight=weight, divergence_scale=divergence_scale)
            for weight in (0.0, 1.0)
        ]
        sizes = {kind: len(block) for kind, block in kinds.items()}
        return cls(np.stack(ends), sizes, tuple(weights))

    @property
    def questions(self) -> Floats32:
        """All questions (E, 3D + 1)."""
        asked: Floats32 = torch.cat(list(self._mixed(torch.from_numpy(self.ends)))).numpy()
        return asked

    def see(self, first_row: int, vectors: Floats32) -> None:
        """Take note of a block of items (B, 3D + 1) in the frame."""
        ends = torch.from_numpy(self.ends) @ torch.from_numpy(vectors).T
        seen = [best_of_block(products, first_row, _NEAR) for products in self._mixed(ends)]
        here = torch.cat([values for values, _ in seen]), torch.cat([rows for _, rows in seen])
        self.best = here if self.best is None else best_of([self.best, here], _NEAR)

    def _mixed(self, ends: torch.Tensor) -> Iterator[torch.Tensor]:
        """Mix what is so at both ends (2, Q, X) to what is so at each λ, (Q, X)."""
        for weight in self.weights:
            yield torch.lerp(ends[0], ends[1], weight)

    @property
    def near(self) -> NDArray[np.int64]:
        """The best rows (E, 64), of those that were seen."""
        if self.best is None:
            return np.zeros((len(self.weights) * self.ends.shape[1], 0), np.int64)
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
        kept = (self.answers[:, :, None] == found[:, None, :]).any(axis=2)
        return {name: float(part.mean()) for name, part in self.by_group(kept).items()}

    def by_group(self, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Part what is known of each question (E, X) by its kind and λ."""
        by_weight = values.reshape(len(self.weights), -1, *values.shape[1:])
        bounds = np.cumsum(list(self.kinds.values()))[:-1]
        return {
            f"{kind}, weight {weight:g}": part
            for weight, asked in zip(self.weights, by_weight, strict=True)
            for kind, part in zip(self.kinds, np.split(asked, bounds), strict=True)
        }
