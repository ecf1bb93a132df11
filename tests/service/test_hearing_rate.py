"""A bundle that hears at 44.1 kHz: recordings reach its frontend at that rate on every path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.audio import SAMPLE_RATE_HZ, decode
from models.bundle import Bundle, load_bundle, save_bundle
from models.encoders import Tower, TowerShape
from models.frontends import OpensmileFrontend
from service import catalogue
from service.live import LiveService
from service.retrieval import Limits
from service.settings import Settings
from tests.conftest import tiny_bundle
from tests.service.conftest import write_tone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the tiny bundle with the opensmile frontend in its frontend's place."""
    made, frontend = tiny_bundle(), OpensmileFrontend()
    shape = made.manifest.music_tower
    assert isinstance(shape, TowerShape)
    shape = replace(shape, feature_size=frontend.feature_size)
    manifest = replace(made.manifest, frontend=frontend.identity(), music_tower=shape)
    bundle = Bundle(
        manifest, Tower(shape), made.emotion, frontend, made.references, made.similarity
    )
    saved = tmp_path_factory.mktemp("hearing") / "hears-44"
    save_bundle(bundle, saved)
    return saved


def test_uploads_and_catalogue_hear_what_the_frontend_hears(folder: Path, tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "tone.flac", 1, seconds=3.0)
    settings = Settings(home=tmp_path / "home")
    assert catalogue.ingest(settings, [tone], bundle=folder).added == 1

    bundle = load_bundle(folder)
    assert bundle.frontend is not None
    recording = decode(tone.read_bytes(), rate_hz=44_100)
    features = bundle.frontend.features(recording.waveform)
    expected = bundle.encode_features(features, recording.duration_s)

    service = LiveService(settings)
    try:
        with tone.open("rb") as file:
            answer = service.search_emotions(file, Limits(k=1))
        shelf = service.searcher.tracks
        stored = shelf.take(np.arange(shelf.windows))
        assert np.array_equal(stored.mean, expected.encodings.mean)
        estimate = bundle.estimator.estimate(
            expected.encodings, expected.starts_s, recording.duration_s
        )
        assert np.array_equal(answer.estimate.curve.values, estimate.curve.values)
    finally:
        service.close()


def test_a_waveform_of_another_rate_is_refused(folder: Path, tmp_path: Path) -> None:
    tone = write_tone(tmp_path / "tone.flac", 2)
    bundle = load_bundle(folder)
    assert bundle.hearing_rate_hz == 44_100
    assert tiny_bundle().hearing_rate_hz == SAMPLE_RATE_HZ
    with pytest.raises(ValueError, match="16000 Hz, where the frontend hears 44100 Hz"):
        bundle.encode_recording(decode(tone.read_bytes()))
