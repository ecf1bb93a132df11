"""Folder corpora, precomputed features, splits and the alignment of both modalities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.curve import Curve
from models.frontends import LogMelFrontend
from models.windows import WINDOW_PATCHES
from training.corpora.corpus import CorpusError, split_ids
from training.corpora.folder import load_folder_corpus
from training.corpora.labels import read_labels
from training.corpora.loading import load_corpus
from training.examples import Example, WindowSampler, aligned_examples
from training.features import extract_features, load_features


def _write_corpus(root: Path, curves: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "curves.csv").write_text(curves)


def test_a_folder_corpus_is_read_whole(tmp_path: Path) -> None:
    _write_corpus(
        tmp_path, "song,time_s,arousal,valence\nb,15,0.5,-1\nb,16,0.7,0\na,0,0.1,0.2\na,0.5,0.3,0\n"
    )
    (tmp_path / "tracks.csv").write_text("id,title,artist\na,Title,Artist\n")
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "b.mp3").touch()
    corpus = load_folder_corpus(tmp_path)
    first, second = corpus.pieces
    assert (first.id, first.label, first.start_s, first.audio) == ("a", "Artist - Title", 0.0, None)
    assert (second.id, second.label, second.start_s) == ("b", "b", 15.0)
    assert second.audio == tmp_path / "audio" / "b.mp3"
    np.testing.assert_allclose(second.curve.arousal, [0.5, 0.6, 0.7])
    np.testing.assert_allclose(second.curve.valence, [-1, -0.5, 0])


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ("id,time_s,arousal\na,0,0\n", "lacks the column valence"),
        ("id,time_s,arousal,valence\na,0,x,0\n", "line 2"),
        ("id,time_s,arousal,valence\na,0,1.2,0\n", "item a: arousal\\[0\\]: is 1.2"),
        ("id,time_s,arousal,valence\na,1,0,0\na,0,0,0\n", "strictly increasing"),
        ("id,time_s,arousal,valence\n", "no curve"),
    ],
)
def test_a_wrong_corpus_says_where(tmp_path: Path, curves: str, message: str) -> None:
    _write_corpus(tmp_path, curves)
    with pytest.raises(CorpusError, match=message):
        load_folder_corpus(tmp_path)


def test_a_missing_corpus_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"needs curves.csv"):
        load_corpus("folder", tmp_path / "nowhere")


def test_the_real_folder_corpus_reads(shared_data: Path) -> None:
    corpus = load_folder_corpus(shared_data / "vgmidi")
    features = load_features(shared_data / "vgmidi" / "features_yamnet.npz")
    examples = aligned_examples(corpus, features)
    assert len(examples) == 200
    assert all(example.features.shape[1] == 1024 for example in examples)
    assert all(piece.audio is not None for piece in corpus.pieces)


@given(count=st.integers(10, 300), seed=st.integers(0, 1000))
def test_split_follows_the_published_rule(count: int, seed: int) -> None:
    ids = [f"{i:04d}" for i in range(count)]
    split = split_ids(ids, seed, 0.8)
    order = np.random.default_rng(seed).permutation(count)
    trained = round(0.8 * count)
    assert [*split.train, *split.validation] == [ids[i] for i in order[:trained]]
    assert list(split.test) == [ids[i] for i in order[trained:]]
    assert split.validation


def test_split_permutes_ids_in_the_order_of_their_corpus() -> None:
    numbers = [str(number) for number in (2, 10, 9, 100)]
    split = split_ids(numbers, 0, 0.5)
    order = np.random.default_rng(0).permutation(4)
    assert [*split.train, *split.validation, *split.test] == [numbers[i] for i in order]


def test_csv_and_npz_features(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("song_id,f1,f2\n3,1.5,-2\n4,0,1\n")
    features = load_features(tmp_path / "f.csv")
    np.testing.assert_array_equal(features["3"], np.array([[1.5, -2]], np.float32))
    np.savez(tmp_path / "f.npz", a=np.ones((4, 3), np.float16))
    assert load_features(tmp_path / "f.npz")["a"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,f\n", "holds no features"),
        ("id,f\na,x\n", "expected a CSV"),
        ("id,f,g\na,1,2\nb,1\n", "different sizes"),
        ("id,f\na,nan\n", "not finite"),
    ],
)
def test_wrong_features_say_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        load_features(tmp_path / "f.csv")


def test_extracted_features_are_cached_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    _write_corpus(tmp_path, "id,time_s,arousal,valence\na,0,0,0\nb,0,0,0\n")
    (tmp_path / "audio").mkdir()
    for name in "ab":
        noise = rng.normal(scale=0.1, size=32_000)
        soundfile.write(tmp_path / "audio" / f"{name}.flac", noise, 16_000)
    corpus = load_folder_corpus(tmp_path)
    cache = tmp_path / "cache"
    first = extract_features(corpus, LogMelFrontend(), cache)
    times = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    (cache / next(iter(times))).unlink()
    again = extract_features(corpus, LogMelFrontend(), cache)
    assert set(first) == {"a", "b"}
    np.testing.assert_array_equal(first["a"], again["a"])
    np.testing.assert_array_equal(first["b"], again["b"])
    kept = [path for path in cache.iterdir() if path.stat().st_mtime_ns == times[path.name]]
    assert len(kept) == 1
    assert "extracting features: 2/2" in capsys.readouterr().err


def _example(steps: int, patches: int) -> Example:
    """Make features that count patches and a curve that counts steps."""
    ramp = np.arange(steps) / 1000
    features = np.arange(patches, dtype=np.float32)[:, None]
    return Example("x", "x", Curve(np.stack([ramp, -ramp], axis=1)), features)


@pytest.mark.parametrize(
    ("steps", "patches"), [(90, 46), (240, 124), (240, 60), (60, 31), (30, 15)]
)
def test_drawn_windows_are_aligned_in_time(steps: int, patches: int) -> None:
    example = _example(steps, patches)
    sampler = WindowSampler([example, _example(120, 62)], torch.device("cpu"))
    rng = np.random.default_rng(0)
    starts = set()
    for _ in range(50):
        features, lengths, curves = sampler.draw(np.array([0]), rng)
        length = int(lengths[0])
        first_patch, first_step = float(features[0, 0, 0]), float(curves[0, 0, 0]) * 1000
        assert length == min(WINDOW_PATCHES, patches)
        assert abs(first_patch * 0.96 - first_step / 2) <= 0.5
        assert float(features[0, length - 1, 0]) == first_patch + length - 1 <= patches - 1
        assert curves.shape == (1, 60, 2)
        starts.add(first_step)
    longer_than_a_window = min(steps / 2, patches * 0.96) > 31
    assert len(starts) > 3 if longer_than_a_window else len(starts) == 1


def test_example_windows_are_those_of_the_service() -> None:
    windows = _example(120, 62).windows()
    assert [round(float(curve.valence[0]) * 2000) for _, curve in windows] == [0, 30 * 2, 60 * 2]
    assert [int(features[0, 0]) for features, _ in windows] == [0, 16, 31]


def test_annotation_that_begins_later_cuts_the_features(tmp_path: Path) -> None:
    _write_corpus(tmp_path, "id,time_s,arousal,valence\na,15,0,0\na,44.5,0,0\n")
    corpus = load_folder_corpus(tmp_path)
    example = aligned_examples(corpus, {"a": np.arange(47, dtype=np.float32)[:, None]})[0]
    assert float(example.features[0, 0]) == 16  # 15.36 s
    with pytest.raises(CorpusError, match="end before its curve begins"):
        aligned_examples(corpus, {"a": np.zeros((5, 1), np.float32)})


def test_pieces_without_features_are_counted_and_named_and_others_are_left(tmp_path: Path) -> None:
    ids = "abcdefgh"
    rows = "".join(f"{name},0,0,0\n" for name in ids)
    _write_corpus(tmp_path, f"id,time_s,arousal,valence\n{rows}")
    corpus = load_folder_corpus(tmp_path)
    features = {name: np.zeros((1, 3), np.float32) for name in [*ids, "unknown"]}
    assert [example.id for example in aligned_examples(corpus, features)] == list(ids)
    with pytest.raises(
        CorpusError, match=r"^7 of 8 pieces have no features \(a, b, d, e, f, ...\)"
    ):
        aligned_examples(corpus, {"c": features["c"]})
    with pytest.raises(CorpusError, match=r"^1 of 8 pieces have no features \(h\)"):
        aligned_examples(corpus, {name: features[name] for name in ids[:-1]})


def test_pieces_without_recording_are_counted_and_named(tmp_path: Path) -> None:
    _write_corpus(tmp_path, "id,time_s,arousal,valence\na,0,0,0\nb,0,0,0\n")
    corpus = load_folder_corpus(tmp_path)
    message = r"2 of 2 pieces have no recording \(a, b\). recordings belong in audio/<id>"
    with pytest.raises(CorpusError, match=message):
        extract_features(corpus, LogMelFrontend(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_recording_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    _write_corpus(tmp_path, "id,time_s,arousal,valence\na,0,0,0\n")
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.mp3").write_text("no music")
    with pytest.raises(CorpusError, match=r"audio/a.mp3: "):
        extract_features(load_folder_corpus(tmp_path), LogMelFrontend(), tmp_path / "cache")


def test_one_recording_under_two_ids_is_extracted_twice_at_once(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    rows = "".join(f"{name},0,0,0\n" for name in names)
    _write_corpus(tmp_path, f"id,time_s,arousal,valence\n{rows}")
    (tmp_path / "audio").mkdir()
    for name in names:
        noise = np.random.default_rng(0).normal(scale=0.1, size=32_000)
        soundfile.write(tmp_path / "audio" / f"{name}.flac", noise, 16_000)
    cache = tmp_path / "cache"
    features = extract_features(load_folder_corpus(tmp_path), LogMelFrontend(), cache)
    assert all(np.array_equal(features[name], features["00"]) for name in names)
    assert len(list(cache.iterdir())) == 1


def test_labels_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        'Id,Artist,Song title\n1,"\tAn  Artist\t","\tA ""Title""\t"\n2,,Only\n3,,\n4\n'
    )
    assert read_labels(table) == {"1": 'An Artist - A "Title', "2": "Only"}
    assert read_labels(tmp_path / "none.csv") == {}
