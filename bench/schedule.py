"""Why the default schedule of ``circumplex reproduce`` is what it is: variants of it on DEAM.

Everything happens inside training parts: each run trains on the published training part of its
seed without its validation pieces, and is asked about those. No test piece is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.timing import Report, machine
from models.progress import Progress
from training.corpora.deam import load_deam
from training.experiments.material import Material, one_length
from training.experiments.rows import run_row
from training.experiments.schedules import DEFAULT, Schedule
from training.experiments.systems import DIRECTIONS, TowerSystem
from training.features import load_features

VARIANTS: dict[str, Schedule] = {
    "default": DEFAULT,
    "learning rate 1e-3": replace(DEFAULT, learning_rate=1e-3),
    "learning rate 1e-2": replace(DEFAULT, learning_rate=1e-2),
    "60 epochs": replace(DEFAULT, epochs=60),
    "100 epochs": replace(DEFAULT, epochs=100),
    "dropout 0.1": replace(DEFAULT, dropout=0.1),
    "dropout 0.5": replace(DEFAULT, dropout=0.5),
    "D = 32": replace(DEFAULT, dimensions=32),
    "D = 128": replace(DEFAULT, dimensions=128),
    "16 units each way": replace(DEFAULT, emotion_recurrent=16),
}
WEIGHTS = (0.0, 0.8, 1.0)
MARGIN = 1.0


def load_material(deam: Path) -> Material:
    """Read DEAM's folder, with the song-level table in it."""
    features = load_features(deam / "features_song_level_opensmile.csv")
    return one_length(load_deam(deam), features)


def run(
    material: Material,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    variants: Mapping[str, Schedule] = VARIANTS,
) -> Report:
    """Train each variant for each λ, correctly evaluated on validation pieces; means over seeds."""
    parts = [material.inner_parts(seed) for seed in seeds]
    rows = []
    with Progress("comparing schedules", len(variants) * len(WEIGHTS), "rows") as progress:
        for name, schedule in variants.items():
            for weight in WEIGHTS:
                started_s = time.process_time()
                found = run_row(
                    TowerSystem("mlp", weight, MARGIN),
                    schedule,
                    material,
                    seeds,
                    parts=parts,
                    device=torch.device("cpu"),
                )
                taken_s = time.process_time() - started_s
                row: Report = {"schedule": name, "weight": weight}
                for way in DIRECTIONS:
                    for metric in ("mrr", "ar"):
                        runs = [one["retrieved"]["correct"][way] for one in found]
                        row[f"{way}_{metric}"] = float(np.mean([x[metric] for x in runs]))
                row["cpu_s_a_run"] = taken_s / len(seeds)
                rows.append(row)
                progress.advance()
    return {"machine": machine(), "pieces": len(parts[0].held_out), "rows": rows}
