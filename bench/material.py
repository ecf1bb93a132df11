"""What is measured on: a generated recording, and a catalogue of the demo's size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, Manifest, ReferenceCurve, save_bundle
from models.calibration import DIRECTIONS, Direction, PairSample, SimilarityCalibration
from models.committee import EmotionCommittee, MusicCommittee
from models.curve import Curve
from models.estimate import EstimateCalibration
from models.frontends import Frontend, LogMelFrontend
from models.windows import WINDOW_S, window_starts_s
from service import catalogue, repository
from service.database import Database
from service.settings import Settings
from service.tables import TrackRow, WindowRow
from training.founding import committee_shapes
from training.recipes import CIRCUMPLEX, Recipe

MP3_RATE_HZ = 44_100
DEMO_TRACKS = 240
DEMO_TRACK_S = 45.0
_MP3_BITS_PER_S = 192_000

_TRACKS_AT_ONCE = 256


def tones(seconds: float, rate_hz: int, seed: int = 0) -> NDArray[np.float32]:
    """Return (samples, 2) of slowly swelling tones over quiet noise: no silence, no pattern."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    channels = []
    for _ in range(2):
        samples = rng.normal(0, 0.01, len(time_s))
        for frequency_hz in rng.uniform(60, 7_000, 12):
            swell = 1 + np.sin(2 * np.pi * (rng.uniform(0.1, 2) * time_s + rng.uniform()))
            samples += 0.03 * swell * np.sin(2 * np.pi * frequency_hz * time_s)
        channels.append(samples)
    return np.stack(channels, axis=1).astype(np.float32)


def mp3(seconds: float, seed: int = 0) -> bytes:
    """Return a stereo MP3 at 44.1 kHz of :func:`tones`."""
    planes = np.ascontiguousarray(tones(seconds, MP3_RATE_HZ, seed).T)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=MP3_RATE_HZ, layout="stereo")
        stream.bit_rate = _MP3_BITS_PER_S
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.sample_rate = MP3_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def wandering_curve(rng: np.random.Generator, steps: int) -> Curve:
    """Draw a smooth random curve of ``steps`` steps."""
    knots = rng.uniform(-0.9, 0.9, (max(steps // 15, 2), 2))
    grid = np.linspace(0, len(knots) - 1, steps)
    axes = [np.interp(grid, np.arange(len(knots)), knots[:, axis]) for axis in (0, 1)]
    return Curve(np.stack(axes, axis=1))


@contextmanager
def home_settings(
    home: Path | None,
    *,
    tracks: int = DEMO_TRACKS,
    references: int | None = None,
    frontend: Frontend | None = None,
) -> Iterator[Settings]:
    """Open a home folder; where there is none, one of random towers and ``tracks`` random tracks.

    The towers know so many ``references``, as a rule about two for three tracks. ``frontend``, with
    F = 128, is what they hear with: logmel unless another is given.

    What a search costs depends on shapes and numbers of windows, not on what was learned.
    """
    if home is not None:
        yield Settings(home=home)
        return
    with TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", database_url="")
        known = round(0.64 * tracks) if references is None else references
        bundle = random_bundle(CIRCUMPLEX, references=known, frontend=frontend)
        save_bundle(bundle, Path(folder) / "random")
        bundle_id = catalogue.register_bundle(settings, Path(folder) / "random")
        add_random_tracks(settings, bundle_id, range(tracks))
        catalogue.build_index(settings)
        yield settings


def add_random_tracks(settings: Settings, bundle_id: str, numbers: range) -> None:
    """Write random tracks and their windows, as an ingest does, some at a time."""
    with closing(Database(settings.database)) as database:
        for first in range(numbers.start, numbers.stop, _TRACKS_AT_ONCE):
            rng = np.random.default_rng(first)
            with database.writing() as session:
                for number in numbers[first - numbers.start :][:_TRACKS_AT_ONCE]:
                    session.add(_track_row(number))
                    session.add_all(_window_rows(rng, number, bundle_id, CIRCUMPLEX.dimensions))


def random_bundle(
    recipe: Recipe, *, references: int, seed: int = 0, frontend: Frontend | None = None
) -> Bundle:
    """Build a model of a recipe's shape, by default on logmel, with seeded random weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    frontend = frontend or LogMelFrontend()
    size = frontend.feature_size
    music_shape, emotion_shape = committee_shapes(
        recipe, "bigru", size, knots=257, centres=references, components=12
    )
    music, emotion = MusicCommittee(music_shape), EmotionCommittee(emotion_shape)
    assert music.trunk is not None
    music.trunk.standardise_by(torch.full((size,), -2.0), torch.ones(size))
    emotion.components.basis.normal_()
    pairs: dict[Direction, PairSample] = {
        direction: PairSample(rng.uniform(0, 1, (40, 2)), rng.uniform(-1, 1, (40, 2)))
        for direction in DIRECTIONS
    }
    ones, zeros = (1.0, 1.0), (0.0, 0.0)
    manifest = Manifest(
        recipe=recipe.name,
        corpus="random",
        seed=seed,
        weight=recipe.weight,
        margin=recipe.margin,
        divergence_scale=1.0,
        frontend=frontend.identity(),
        music_tower=music.shape,
        emotion_tower=emotion.shape,
        estimate=EstimateCalibration(recipe.weight, 0.1, ones, zeros, ones, (0.05, 0.05)),
        split={"train": references, "validation": 0, "test": 0},
        training={},
        metrics={},
    )
    steps = round(2 * DEMO_TRACK_S)
    curves = [
        ReferenceCurve(f"random-{number}", f"Random {number}", wandering_curve(rng, steps))
        for number in range(references)
    ]
    return Bundle(manifest, music, emotion, frontend, curves, SimilarityCalibration(pairs, 1.0))


def _track_id(number: int) -> str:
    return f"random{number:06}"


def _track_row(number: int) -> TrackRow:
    return TrackRow(
        id=_track_id(number),
        content_sha256=f"{number:064x}",
        path=f"random/{number}.mp3",
        title=f"Random {number}",
        artist=f"Artist {number % 40}",
        duration_s=DEMO_TRACK_S,
        sample_rate_hz=MP3_RATE_HZ,
        channels=2,
        format="mp3",
        size_bytes=1,
        added_at=repository.now(),
    )


def _window_rows(
    rng: np.random.Generator, number: int, bundle_id: str, dimensions: int
) -> list[WindowRow]:
    return [
        WindowRow(
            track_id=_track_id(number),
            bundle_id=bundle_id,
            position=position,
            start_s=start_s,
            end_s=start_s + WINDOW_S,
            embedding=rng.normal(0, 1, dimensions).astype(np.float32),
            mean=rng.normal(0, 0.5, dimensions).astype(np.float32),
            variance=rng.uniform(0.2, 1, dimensions).astype(np.float32),
        )
        for position, start_s in enumerate(window_starts_s(DEMO_TRACK_S))
    ]
