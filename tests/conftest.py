"""What every test may ask for: the shared real data, and a tiny but real trained-shape model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle, Manifest, ReferenceCurve, save_bundle
from models.calibration import DIRECTIONS, Direction, PairSample, SimilarityCalibration
from models.curve import Curve
from models.encoders import Tower, TowerShape
from models.estimate import EstimateCalibration
from models.frontends import LogMelFrontend

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data; without it a test skips, except where CI promises it."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED_DATA} is missing, and CI must have it")
        pytest.skip(f"needs the real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def real_recording(shared_data: Path) -> Path:
    """Return a real 30-60 s pop recording (MP3)."""
    return shared_data / "recordings" / "pop-83.mp3"


def random_curve(rng: np.random.Generator, steps: int) -> Curve:
    """Draw a smooth random curve of ``steps`` steps."""
    knots = rng.uniform(-0.9, 0.9, (max(steps // 15, 2), 2))
    grid = np.linspace(0, len(knots) - 1, steps)
    axes = [np.interp(grid, np.arange(len(knots)), knots[:, i]) for i in (0, 1)]
    return Curve(np.stack(axes, axis=1))


def tiny_bundle(seed: int = 0) -> Bundle:
    """Build a small model on the logmel frontend: real towers with seeded random weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    music_shape = TowerShape("bigru", 128, (32, 16), 16, 0.0, 8)
    emotion_shape = TowerShape("bigru", 2, (32, 16), 16, 0.0, 8)
    music, emotion = Tower(music_shape), Tower(emotion_shape)
    music.standardise_by(torch.full((128,), -2.0), torch.ones(128))
    pairs: dict[Direction, PairSample] = {
        direction: PairSample(
            np.stack([rng.uniform(0.2, 1, 40), rng.uniform(0, 1, 40)], axis=1),
            np.stack([rng.uniform(-1, 1, 40), rng.uniform(0, 4, 40)], axis=1),
        )
        for direction in DIRECTIONS
    }
    ones, zeros = (1.0, 1.0), (0.0, 0.0)
    manifest = Manifest(
        recipe="tiny",
        corpus="random",
        seed=seed,
        weight=0.5,
        margin=1.0,
        divergence_scale=0.25,
        frontend=LogMelFrontend().identity(),
        music_tower=music_shape,
        emotion_tower=emotion_shape,
        estimate=EstimateCalibration(0.5, 0.1, ones, zeros, ones, (0.05, 0.05)),
        split={"train": 12, "validation": 0, "test": 0},
        training={},
        metrics={},
    )
    references = [
        ReferenceCurve(f"curve-{i}", f"Curve {i}", random_curve(rng, 60 + 15 * (i % 4)))
        for i in range(12)
    ]
    similarity = SimilarityCalibration(pairs, manifest.divergence_scale)
    return Bundle(manifest, music, emotion, LogMelFrontend(), references, similarity)


@pytest.fixture(scope="session")
def tiny_bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save :func:`tiny_bundle` once; tests that damage it copy it first."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    save_bundle(tiny_bundle(), folder)
    return folder
