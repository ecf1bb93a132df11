"""What one run found: correctly evaluated, and as the published code evaluates it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.curve import from_signed
from models.similarity import Encodings, composite, correlation, kl_divergence
from training.campaigns import within_campaign
from training.experiments.material import Material, Parts
from training.experiments.systems import Direction
from training.metrics import RetrievalMetrics, retrieval_metrics, top_share_cosine
from training.published import RegressionLines, published_composite

Floats64 = NDArray[np.float64]
EvaluationName = Literal[
    "correct", "as_published", "as_published_lines", "correct_lines", "within_campaign"
]

TITLES: dict[EvaluationName, str] = {
    "correct": "correct",
    "as_published": "as published (KL transposed)",
    "as_published_lines": "as published, regression lines for ρ",
    "correct_lines": "correct KL, regression lines for ρ",
}

WITHIN_CAMPAIGN: EvaluationName = "within_campaign"
"""The correct scores, where only pieces of the query's own campaign are candidates."""

Retrieved = dict[EvaluationName, dict[Direction, RetrievalMetrics]]
"""Metrics by how and in which direction they were asked for."""


class Pair(NamedTuple):
    """Both modalities' encodings of the same pieces, row by row."""

    music: Encodings
    emotion: Encodings


def score_towers(
    train: Pair, held_out: Pair, *, weight: float, divergence_scale: float = 1.0
) -> dict[EvaluationName, dict[Direction, Floats64]]:
    """Score all pairs of held-out pieces in both directions and all ways of evaluating.

    ``train`` is what the published regression lines are fitted on. λ is ``weight``; the published
    evaluation knows no ``divergence_scale``.
    """
    queries: dict[Direction, tuple[Pair, Pair]] = {
        "m2e": (train, held_out),
        "e2m": (Pair(*train[::-1]), Pair(*held_out[::-1])),
    }
    found: dict[EvaluationName, dict[Direction, Floats64]] = {name: {} for name in TITLES}
    for direction, (fitted, asked) in queries.items():
        pearson, divergence = correlation(*asked), kl_divergence(*asked)
        lines = RegressionLines.fit(*fitted).similarity(*asked)
        scale = divergence_scale
        found["correct"][direction] = composite(
            pearson, divergence, weight=weight, divergence_scale=scale
        )
        found["correct_lines"][direction] = composite(
            lines, divergence, weight=weight, divergence_scale=scale
        )
        found["as_published"][direction] = published_composite(pearson, divergence, weight=weight)
        found["as_published_lines"][direction] = published_composite(
            lines, divergence, weight=weight
        )
    return found


def metrics_of(
    scores: dict[EvaluationName, dict[Direction, Floats64]], campaigns: NDArray[np.str_]
) -> Retrieved:
    """Compute MRR, AR and recall@10 of every score matrix, ties against the system.

    ``campaigns`` (N,) says by which annotation campaign each piece was annotated; where there is
    more than one, the correct scores are also ranked within the campaigns (training/campaigns.py).
    """
    if len(set(campaigns)) > 1:
        within = {
            way: within_campaign(matrix, campaigns) for way, matrix in scores["correct"].items()
        }
        scores = {**scores, WITHIN_CAMPAIGN: within}
    return {
        name: {direction: retrieval_metrics(matrix) for direction, matrix in found.items()}
        for name, found in scores.items()
    }


def cosines_of(
    scores: dict[Direction, Floats64], material: Material, parts: Parts
) -> dict[str, list[float]]:
    """Average cosine similarity of the top 5 % of every query (Fig. 5), in the query's modality.

    ``m2e``: of mean features, standardised by the training part; ``e2m_signed`` and ``e2m_unit``:
    of curves as written in [-1, 1] and in [0, 1].
    """
    found: dict[str, list[float]] = {}
    if "m2e" in scores:
        found["m2e"] = _rounded(top_share_cosine(scores["m2e"], _music(material, parts)))
    if "e2m" in scores:
        curves = [
            material.curves[row, : material.curve_lengths[row]].astype(np.float64)
            for row in parts.held_out
        ]
        found["e2m_signed"] = _rounded(top_share_cosine(scores["e2m"], curves))
        unit = [from_signed(curve, "unit") for curve in curves]
        found["e2m_unit"] = _rounded(top_share_cosine(scores["e2m"], unit))
    return found


def _music(material: Material, parts: Parts) -> list[Floats64]:
    means = material.mean_features()[:, 0].astype(np.float64)
    train = means[parts.train]
    standard = (means[parts.held_out] - train.mean(axis=0)) / np.maximum(train.std(axis=0), 1e-12)
    return list(standard)


def _rounded(values: Floats64) -> list[float]:
    return [round(float(value), 4) for value in values]
