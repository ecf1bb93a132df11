"""One row of a table: a system's runs trained together, and what each of them found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from training.baselines import Reads, Regression, features_at_curve_steps
from training.experiments.evaluate import (
    EvaluationName,
    Retrieved,
    cosines_of,
    metrics_of,
    score_towers,
)
from training.experiments.material import Material, Parts
from training.experiments.schedules import Schedule
from training.experiments.systems import RegressionSystem, TowerSystem
from training.experiments.towers import TowerLearner, project
from training.stacked.loop import Learner, Steps, train_together
from training.stacked.sequences import StackedSequences


class Found(TypedDict):
    """What a run found on its held-out part; ``cosines`` are of every query, for box plots."""

    retrieved: Retrieved
    cosines: dict[EvaluationName, dict[str, list[float]]]


def run_row(
    system: TowerSystem | RegressionSystem,
    schedule: Schedule,
    material: Material,
    seeds: Sequence[int],
    *,
    parts: Sequence[Parts],
    device: torch.device,
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[int], None] = lambda _: None,
) -> list[Found]:
    """Train a system once a seed, all at once, and evaluate each run on its held-out part.

    ``checkpoint``, ``identity`` and ``on_epoch`` as in training.stacked.loop; the checkpoint is
    removed by the caller, once it has what this returns.
    """

    def train(learner: Learner) -> None:
        train_together(
            learner,
            [part.train for part in parts],
            seeds,
            Steps(
                schedule.epochs_of(system),
                schedule.learning_rate,
                schedule.falling,
                schedule.batch_size,
            ),
            checkpoint=checkpoint,
            identity=identity,
            on_epoch=on_epoch,
        )

    if isinstance(system, RegressionSystem):
        regression = _regression(system, schedule, material, parts, seeds, device)
        train(regression)
        return _evaluate_regression(system, regression, material, parts)
    towers = TowerLearner(system, schedule, material, parts, seeds, device)
    train(towers)
    return _evaluate_towers(system, towers, material, parts)


def _evaluate_towers(
    system: TowerSystem, towers: TowerLearner, material: Material, parts: Sequence[Parts]
) -> list[Found]:
    trained = towers.encodings([part.train for part in parts])
    asked = towers.encodings([part.held_out for part in parts])
    found: list[Found] = []
    for train, held_out, part in zip(trained, asked, parts, strict=True):
        if system.weight > 0:  # else the embeddings were not trained, and do not count
            train, held_out = project(train, held_out)
        scores = score_towers(train, held_out, weight=system.weight)
        campaigns = material.campaigns[part.held_out]
        shown: tuple[EvaluationName, ...] = ("correct", "as_published_lines")
        cosines = {name: cosines_of(scores[name], material, part) for name in shown}
        found.append({"retrieved": metrics_of(scores, campaigns), "cosines": cosines})
    return found


def _evaluate_regression(
    system: RegressionSystem, regression: Regression, material: Material, parts: Sequence[Parts]
) -> list[Found]:
    matrices = regression.scores([part.held_out for part in parts])
    return [
        {
            "retrieved": metrics_of(
                {"correct": {system.direction: matrix}}, material.campaigns[part.held_out]
            ),
            "cosines": {"correct": cosines_of({system.direction: matrix}, material, part)},
        }
        for matrix, part in zip(matrices, parts, strict=True)
    ]


def _regression(
    system: RegressionSystem,
    schedule: Schedule,
    material: Material,
    parts: Sequence[Parts],
    seeds: Sequence[int],
    device: torch.device,
) -> Regression:
    train = [part.train for part in parts]
    one = np.ones_like(material.curve_lengths)

    def stacked(values: NDArray[np.float32], lengths: NDArray[np.int64]) -> StackedSequences:
        return StackedSequences(values, lengths, train, device)

    curves = stacked(material.curves, material.curve_lengths)
    mean_curves = stacked(material.mean_curves(), one)
    mean_features = stacked(material.mean_features(), one)
    reads: Reads = "means"
    widths = schedule.regression_widths
    if system.network == "mlp":
        inputs, targets = mean_features, mean_curves
        if system.direction == "e2m":
            inputs, targets = mean_curves, mean_features
            widths = schedule.e2m_widths
    elif system.direction == "e2m":
        reads, inputs, targets = "sequences", curves, mean_features
    else:
        reads, targets = "sequences step by step", curves
        at_steps = features_at_curve_steps(
            material.features,
            material.feature_lengths,
            material.curve_lengths,
            material.curve_starts_s,
        )
        inputs = stacked(at_steps, material.curve_lengths)
    return Regression(
        reads,
        inputs,
        targets,
        recurrent=schedule.regression_recurrent,
        widths=widths,
        dropout=schedule.regression_dropout,
        ranks_by="cosine" if system.direction == "e2m" else "distance",
        seeds=seeds,
    )
