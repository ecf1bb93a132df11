"""Means and standard deviations over runs: what tables, plots and programs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from training.campaigns import campaign_only_scores
from training.experiments.evaluate import TITLES, WITHIN_CAMPAIGN, EvaluationName, Retrieved
from training.experiments.material import Material
from training.experiments.paper import PaperFigures, paper_figures
from training.experiments.reproduce import Plan, Results, lack_of
from training.experiments.rows import Found
from training.experiments.systems import DIRECTIONS, Direction
from training.length_leak import length_only_scores
from training.metrics import RetrievalMetrics, chance_metrics, expected_metrics_with_random_ties


class Spread(TypedDict):
    """Means over runs, and their standard deviations (n - 1; 0 of a single run)."""

    mrr: float
    mrr_sd: float
    ar: float
    ar_sd: float
    recall_at_10: float
    recall_at_10_sd: float


@dataclass(frozen=True)
class Line:
    """One system on one protocol, by the ways of evaluating it; ``paper`` is [MRR, AR] of it."""

    system: str
    label: str
    protocol: str
    runs: int
    evaluations: dict[EvaluationName, dict[Direction, Spread]]
    cosines: dict[EvaluationName, dict[str, list[float]]]
    paper: PaperFigures | None


@dataclass(frozen=True)
class Lacking:
    """A system that was not trained on a protocol, and why."""

    system: str
    label: str
    protocol: str
    why: str


@dataclass(frozen=True)
class Summary:
    """All lines, in the order of the tables, and what is missing among them."""

    lines: list[Line]
    lacking: list[Lacking]


def summarise(plan: Plan, results: Results) -> Summary:
    """Bring all runs together, with the length-only baseline and chance in every protocol."""
    lines: list[Line] = []
    lacking: list[Lacking] = []
    for material in plan.materials:
        for system in plan.systems:
            why = lack_of(system, material)
            if why is not None:
                lacking.append(Lacking(system.key, system.label, material.protocol, why))
                continue
            found = results[material.protocol, system.key]
            paper = paper_figures(material.corpus, system)
            lines.append(_line(system.key, system.label, material.protocol, found, paper))
        lines += _baselines(material, plan.seeds)
    return Summary(lines, lacking)


def _line(
    key: str,
    label: str,
    protocol: str,
    found: Sequence[Found],
    paper: PaperFigures | None = None,
) -> Line:
    evaluations: dict[EvaluationName, dict[Direction, Spread]] = {}
    cosines: dict[EvaluationName, dict[str, list[float]]] = {}
    for name in (*TITLES, WITHIN_CAMPAIGN):
        runs = [run["retrieved"][name] for run in found if name in run["retrieved"]]
        if runs:
            asked = [direction for direction in DIRECTIONS if direction in runs[0]]
            evaluations[name] = {way: spread([run[way] for run in runs]) for way in asked}
        shown = [run["cosines"][name] for run in found if name in run["cosines"]]
        if shown:
            cosines[name] = {
                kind: [value for run in shown for value in run[kind]] for kind in shown[0]
            }
    return Line(key, label, protocol, len(found), evaluations, cosines, paper)


def _baselines(material: Material, seeds: Sequence[int]) -> list[Line]:
    """What the number of steps alone finds, ties broken at random, and what chance does."""
    by_length, by_chance, by_campaign = [], [], []
    for seed in seeds:
        lengths = material.curve_lengths[material.parts(seed).held_out]
        found = expected_metrics_with_random_ties(length_only_scores(lengths, lengths))
        by_length.append(_both_ways(found))
        by_chance.append(_both_ways(chance_metrics(len(lengths))))
        by_campaign.append(_campaign_only(material.campaigns[material.parts(seed).held_out]))
    return [
        _line("campaign-only", "campaign known, nothing else", material.protocol, by_campaign),
        _line("length-only", "length only, ties at random", material.protocol, by_length),
        _line("chance", "chance", material.protocol, by_chance),
    ]


def _campaign_only(campaigns: NDArray[np.str_]) -> Found:
    """What knowing of music and curve alike who annotated them finds, ties broken at random."""
    found = expected_metrics_with_random_ties(campaign_only_scores(campaigns))
    retrieved: Retrieved = {"correct": {"m2e": found, "e2m": found}}
    if len(set(campaigns)) > 1:
        retrieved[WITHIN_CAMPAIGN] = retrieved["correct"]
    return {"retrieved": retrieved, "cosines": {}}


def _both_ways(found: RetrievalMetrics) -> Found:
    return {"retrieved": {"correct": {"m2e": found, "e2m": found}}, "cosines": {}}


def spread(runs: Sequence[RetrievalMetrics]) -> Spread:
    """Average metrics over runs."""

    def of(values: list[float]) -> tuple[float, float]:
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    mrr, mrr_sd = of([run["mrr"] for run in runs])
    ar, ar_sd = of([run["ar"] for run in runs])
    recall, recall_sd = of([run["recall_at_10"] for run in runs])
    return {
        "mrr": mrr,
        "mrr_sd": mrr_sd,
        "ar": ar,
        "ar_sd": ar_sd,
        "recall_at_10": recall,
        "recall_at_10_sd": recall_sd,
    }
