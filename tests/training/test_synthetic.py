"""The built-in corpus: the same bytes every time, and music that follows its curve."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import av
import librosa
import mutagen
import numpy as np
import pytest
from numpy.typing import NDArray

from training.corpora.synthetic import (
    MUSIC_STREAM,
    NAMES_STREAM,
    STEPS,
    SYNTHETIC_PIECES,
    SYNTHETIC_SEED,
    hidden_curve,
    synthesise,
)
from training.synthesis.instruments import RATE_HZ
from training.synthesis.names import draw_artist, draw_title
from training.synthesis.piece import part_streams, render
from training.synthesis.style import draw_style

PIECES = 5
VALENCE, AROUSAL = 0, 1
MAJOR_TRIAD, MINOR_TRIAD = (0, 4, 7), (0, 3, 7)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    synthesise(root, pieces=PIECES, workers=2)
    return root


@pytest.fixture(scope="module")
def all_curves() -> NDArray[np.float64]:
    return np.array([hidden_curve(SYNTHETIC_SEED, index) for index in range(SYNTHETIC_PIECES)])


def read_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


class InterruptionError(Exception):
    """What a user's Ctrl-C is to this test."""


# What is written


def test_the_bytes_depend_neither_on_the_workers_nor_on_an_interruption(
    corpus: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 1:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        synthesise(tmp_path, pieces=PIECES, workers=1, on_piece=interrupt)
    assert not (tmp_path / "corpus.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio/*.flac")}
    assert 1 <= len(finished) < PIECES

    progress: list[tuple[int, int]] = []
    synthesise(tmp_path, pieces=PIECES, workers=1, on_piece=lambda *counts: progress.append(counts))
    assert progress == [(done, PIECES) for done in range(len(finished), PIECES + 1)]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert read_files(tmp_path) == read_files(corpus)


def test_a_whole_corpus_is_left_as_it_is(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.glob("audio/*")}
    progress: list[tuple[int, int]] = []
    synthesise(corpus, pieces=PIECES, on_piece=lambda *counts: progress.append(counts))
    assert progress == [(PIECES, PIECES)]
    assert {path: path.stat().st_mtime_ns for path in corpus.glob("audio/*")} == before


def test_the_layout_is_that_of_a_folder_corpus(corpus: Path) -> None:
    with (corpus / "curves.csv").open(encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["id", "time_s", "arousal", "valence"]
    points: dict[str, list[list[float]]] = defaultdict(list)
    for piece_id, *values in rows:
        points[piece_id].append([float(value) for value in values])
    assert {path.stem for path in corpus.glob("audio/*")} == set(points)
    written = [np.array(curve) for curve in points.values()]
    assert all(np.array_equal(curve[:, 0], np.arange(STEPS) / 2) for curve in written)
    hidden = [hidden_curve(SYNTHETIC_SEED, index) for index in range(PIECES)]
    assert sorted(curve[:, 1:].tolist() for curve in written) == sorted(
        curve[:, ::-1].tolist() for curve in hidden
    )
    manifest = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    assert (manifest["seed"], manifest["pieces"]) == (SYNTHETIC_SEED, PIECES)


def test_every_recording_is_stereo_flac_of_45_s_with_its_title_and_artist(corpus: Path) -> None:
    with (corpus / "tracks.csv").open(encoding="utf-8") as file:
        tracks = list(csv.DictReader(file))
    assert len(tracks) == PIECES
    for track in tracks:
        path = corpus / "audio" / f"{track['id']}.flac"
        recording = mutagen.File(path)
        assert recording["title"] == [track["title"]]
        assert recording["artist"] == [track["artist"]]
        with av.open(str(path)) as container:
            samples = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
        assert (recording.info.channels, samples.size) == (2, 2 * 45 * RATE_HZ)


def test_another_seed_or_size_is_refused(corpus: Path) -> None:
    before = read_files(corpus)
    with pytest.raises(ValueError, match="holds another synthetic corpus"):
        synthesise(corpus, pieces=PIECES, seed=SYNTHETIC_SEED + 1)
    with pytest.raises(
        ValueError, match=rf"{PIECES + 1} pieces, engine \d+: choose another folder"
    ):
        synthesise(corpus, pieces=PIECES + 1)
    assert read_files(corpus) == before


def test_somebody_elses_curves_are_not_overwritten(tmp_path: Path) -> None:
    curves = tmp_path / "curves.csv"
    curves.write_text("id,time_s,arousal,valence\nx,0.0,0.1,0.2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds another corpus"):
        synthesise(tmp_path, pieces=PIECES)
    assert curves.read_text(encoding="utf-8").endswith("x,0.0,0.1,0.2\n")


# The hidden curves


def test_curves_stay_in_range_and_cover_the_plane(all_curves: NDArray[np.float64]) -> None:
    assert all_curves.shape == (SYNTHETIC_PIECES, 90, 2)
    assert np.abs(all_curves).max() <= 1
    points = all_curves.reshape(-1, 2)
    share = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=[[-1, 1]] * 2)[0] / len(points)
    assert share.min() > 0.5 / 16
    assert share.max() < 1.7 / 16


def test_arousal_and_valence_are_independent(all_curves: NDArray[np.float64]) -> None:
    means = all_curves.mean(axis=1)
    assert abs(pearson(*all_curves.reshape(-1, 2).T)) < 0.1
    assert abs(pearson(*means.T)) < 0.15


def test_most_curves_move_and_no_two_are_alike(all_curves: NDArray[np.float64]) -> None:
    moved = all_curves.std(axis=1).max(axis=1)
    assert np.mean(moved > 0.3) > 0.9
    apart = np.sqrt(((all_curves[:, None] - all_curves[None]) ** 2).mean(axis=(2, 3)))
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.15


def test_curves_drift_and_jump_and_rest(all_curves: NDArray[np.float64]) -> None:
    steps = np.abs(np.diff(all_curves, axis=1)).max(axis=(1, 2))
    still = (np.abs(np.diff(all_curves, axis=1)) < 0.01).mean(axis=1).max(axis=1)
    assert np.mean(steps > 0.4) > 0.2, "jumps"
    assert np.mean(steps < 0.15) > 0.1, "slow drifts"
    assert np.mean(still > 0.5) > 0.2, "plateaus"


# What an independent ear hears


def hear(valence: float, arousal: float, piece: int) -> dict[str, float]:
    """Play one piece at a constant emotion and listen to it with librosa."""
    curve = np.tile([valence, arousal], (40, 1)).astype(np.float64)
    samples = render(curve, np.random.default_rng([7, piece])).mean(axis=1)
    onsets = librosa.onset.onset_strength(y=samples, sr=RATE_HZ)
    semitones = np.abs(librosa.cqt(samples, sr=RATE_HZ, fmin=librosa.midi_to_hz(36), n_bins=72))
    # The lowest octave is the kick drum's, the highest that of overtones.
    chroma = semitones[12:60].reshape(4, 12, -1).sum(axis=0)
    chroma /= np.linalg.norm(chroma, axis=0)
    major, minor = fit_triads(MAJOR_TRIAD, chroma), fit_triads(MINOR_TRIAD, chroma)
    register = semitones.sum(axis=1)
    # A wide prior around a slow tempo keeps the ear from doubling that of a calm piece.
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=RATE_HZ, start_bpm=90, std_bpm=1.5)
    return {
        "loudness_db": float(10 * np.log10(np.mean(samples**2))),
        "onsets": len(librosa.onset.onset_detect(onset_envelope=onsets, sr=RATE_HZ)),
        "brightness_hz": float(librosa.feature.spectral_centroid(y=samples, sr=RATE_HZ).mean()),
        "tempo_bpm": float(tempo[0]),
        "register": float(register @ np.arange(36, 108) / register.sum()),
        "majorness": float(np.mean(major - minor)),
        "consonance": float(np.mean(np.maximum(major, minor))),
    }


def fit_triads(triad: tuple[int, ...], chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """How well the best transposition of a triad fits, at each time of chroma (12, times)."""
    template = np.isin(np.arange(12), triad) / np.sqrt(3)
    fits = [np.roll(template, root) @ chroma for root in range(12)]
    return np.asarray(np.max(fits, axis=0), dtype=np.float64)


@pytest.mark.parametrize("piece", range(3))
def test_arousal_alone_is_heard(piece: int) -> None:
    calm, moderate, excited = (hear(0.0, arousal, piece) for arousal in (-0.8, 0.0, 0.8))
    for cue, least in {"loudness_db": 2.5, "onsets": 20, "brightness_hz": 200}.items():
        assert moderate[cue] - calm[cue] > least, cue
        assert excited[cue] - moderate[cue] > least, cue
    assert moderate["tempo_bpm"] / calm["tempo_bpm"] == pytest.approx(2 ** (0.6 * 0.8), rel=0.06)


@pytest.mark.parametrize("piece", range(3))
def test_valence_alone_is_heard(piece: int) -> None:
    dark, minor, major = (hear(valence, -0.6, piece) for valence in (-0.9, -0.4, 0.8))
    assert major["register"] - minor["register"] > 1.5
    assert major["register"] - dark["register"] > 3
    assert major["majorness"] > 0.03
    assert minor["majorness"] < -0.02
    assert min(major["consonance"], minor["consonance"]) > dark["consonance"] + 0.02


@pytest.mark.parametrize("piece", range(3))
def test_valence_leaves_tempo_and_loudness_alone(piece: int) -> None:
    negative, positive = (hear(valence, 0.0, piece) for valence in (-0.8, 0.8))
    assert positive["tempo_bpm"] == pytest.approx(negative["tempo_bpm"], rel=0.03)
    assert abs(positive["loudness_db"] - negative["loudness_db"]) < 3


def test_a_piece_follows_a_jump_of_arousal_within_a_second() -> None:
    curve = np.zeros((60, 2))
    curve[:, AROUSAL] = np.where(np.arange(60) < 30, -0.8, 0.8)
    samples = render(curve, np.random.default_rng(3)).mean(axis=1)
    level_db = 10 * np.log10(np.mean(samples.reshape(30, -1) ** 2, axis=1))
    assert level_db[16:29].min() > level_db[1:14].max()


@pytest.mark.parametrize("valence", [-1.0, 1.0])
@pytest.mark.parametrize("arousal", [-1.0, 1.0])
def test_no_corner_of_the_plane_clips_or_falls_silent(valence: float, arousal: float) -> None:
    samples = render(np.tile([valence, arousal], (40, 1)), np.random.default_rng(5))
    assert samples.shape == (20 * RATE_HZ, 2)
    assert samples.dtype == np.float32
    assert np.mean(np.abs(samples) > 0.98) < 1e-4
    second_db = 10 * np.log10(np.mean(samples.reshape(20, -1) ** 2, axis=1))
    assert second_db.min() > -48


@pytest.mark.parametrize(
    "curve", [np.zeros((90,)), np.zeros((90, 3)), np.full((90, 2), 1.1), np.full((90, 2), np.nan)]
)
def test_what_is_no_curve_is_refused(curve: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="a curve"):
        render(curve, np.random.default_rng(0))


# What must not tell the answer


def test_nothing_but_the_sound_knows_the_curve(all_curves: NDArray[np.float64]) -> None:
    """No correlation over the pieces beyond what chance gives so many pairs (4 standard errors)."""
    means = all_curves.mean(axis=1)
    moved = all_curves.std(axis=1)
    surface = []
    for index in range(SYNTHETIC_PIECES):
        names = np.random.default_rng([SYNTHETIC_SEED, index, NAMES_STREAM])
        title, artist = draw_title(names), draw_artist(names)
        music = np.random.default_rng([SYNTHETIC_SEED, index, MUSIC_STREAM])
        style = draw_style(part_streams(music)[0])
        names_told = [len(title), ord(title[0]), len(artist), ord(artist[0]), index]
        score_told = [style.tonic, style.tempo_bpm, style.beats_per_bar, style.swing]
        room_told = [style.reverberation_s, style.reverberation_db, style.noise_dbfs]
        surface.append([*names_told, *score_told, *room_told, style.gain_db, *style.eq_db])
    hidden = np.column_stack([means, moved])
    between = np.corrcoef(hidden.T, np.array(surface, dtype=np.float64).T)[:4, 4:]
    assert np.abs(between).max() < 4 / np.sqrt(SYNTHETIC_PIECES)


def test_the_style_is_the_same_in_every_mood() -> None:
    """Before the curves part, the same generator plays the same samples."""
    calm = np.zeros((60, 2))
    moved = calm.copy()
    moved[40:] = (0.9, 0.9)
    one, other = (render(curve, np.random.default_rng(11)) for curve in (calm, moved))
    np.testing.assert_allclose(one[: 15 * RATE_HZ], other[: 15 * RATE_HZ], atol=1e-5)
    assert np.abs(one[25 * RATE_HZ :] - other[25 * RATE_HZ :]).max() > 0.05
