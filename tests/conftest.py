"""What every test may ask for: the shared real data, and a tiny but real trained-shape model."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.encode import write_random_weights
from models.bundle import Bundle, Manifest, ReferenceCurve, save_bundle
from models.calibration import DIRECTIONS, Direction, PairSample, SimilarityCalibration
from models.curve import Curve
from models.encoders import Tower, TowerShape
from models.estimate import EstimateCalibration
from models.frontends import LogMelFrontend, Precision, VGGishFrontend

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


@pytest.fixture(scope="session")
def read_composition() -> Callable[[Path], tuple[int, str, str]]:
    """Let docker-compose read a file; gives its status and what it says. Needs no engine."""
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("needs docker-compose (no engine): apt-get install docker-compose")

    def read(file: Path) -> tuple[int, str, str]:
        arguments = [command, "--file", str(file), "config", "--quiet"]
        read = subprocess.run(arguments, capture_output=True, text=True, check=False)
        return read.returncode, read.stdout, read.stderr

    return read


def is_running(process_id: int) -> bool:
    """Tell whether a process is there and more than an entry that waits to be read."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "Z" not in status.split()[0]


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


@pytest.fixture(scope="session")
def vggish_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write random weights of VGGish's shapes, and remove them afterwards."""
    folder = tmp_path_factory.mktemp("vggish")
    write_random_weights(folder / "weights.safetensors", seed=5)
    yield folder / "weights.safetensors"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def vggish_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for the graphs of :func:`vggish_weights`, removed afterwards."""
    folder = tmp_path_factory.mktemp("vggish-cache")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def vggish_of(vggish_weights: Path, vggish_cache: Path) -> Callable[[Precision], VGGishFrontend]:
    """Build VGGish in a precision, once."""

    @cache
    def build(precision: Precision) -> VGGishFrontend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CIRCUMPLEX_CACHE", str(vggish_cache))
            return VGGishFrontend(vggish_weights, precision)

    return build
