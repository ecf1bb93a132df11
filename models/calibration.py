"""How close a score is, as a number in [0, 1] that a reader can compare between answers.

A bundle keeps (ρ, KL) of two samples of validation pairs per direction: *true* pairs, which belong
together, and *unrelated* ones. For any λ both samples have known scores; ``similarity`` is 0 at the
unrelated pairs' median, 1 at the closest true pair, and linear between, so it never
decreases as the score grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.similarity import composite

Direction = Literal["m2e", "e2m", "m2m"]
"""Which modality asks which: music → emotion, emotion → music, music → music."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True, eq=False)
class PairSample:
    """(ρ, KL) of true and of unrelated validation pairs: ``true`` (n, 2), ``unrelated`` (m, 2)."""

    true: NDArray[np.float64]
    unrelated: NDArray[np.float64]


class SimilarityCalibration:
    """Turns composite scores into similarities, for every direction and λ."""

    def __init__(self, samples: dict[Direction, PairSample], divergence_scale: float) -> None:
        self.samples = samples
        self._divergence_scale = divergence_scale

    def similarity(
        self, scores: NDArray[np.float64], direction: Direction, weight: float
    ) -> NDArray[np.float64]:
        """Return the similarity in [0, 1] of each composite score made with λ = ``weight``."""
        sample = self.samples[direction]
        close = float(self._scores(sample.true, weight).max())
        unrelated = float(np.median(self._scores(sample.unrelated, weight)))
        # A model that cannot tell true pairs from unrelated ones at this λ still gets an order.
        span = max(close - unrelated, 1e-9)
        return np.clip((scores - unrelated) / span, 0.0, 1.0)

    def _scores(self, pairs: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
        return composite(
            pairs[:, 0], pairs[:, 1], weight=weight, divergence_scale=self._divergence_scale
        )
