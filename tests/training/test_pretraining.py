"""Pre-training: what is hidden, what it learns, what it hands on, and what it never hears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cli.main import main
from models.attention import AttentionShape
from models.bundle import load_bundle
from models.committee import CommitteeShape, MusicCommittee
from models.encoders import EncoderKind, Tower, TowerShape
from models.frontends import LogMelFrontend
from tests.training.conftest import audible_corpus
from training.corpora.corpus import Corpus, CorpusError, split_ids
from training.examples import Example
from training.features import Features, load_unlabelled
from training.pipeline import train_bundle
from training.pretraining import _Windows, hidden_spans, pretrain_tower
from training.recipes import RECIPES, Recipe
from training.trainer import train_towers

CPU = torch.device("cpu")
SHAPES: dict[EncoderKind, TowerShape] = {
    "bigru": TowerShape("bigru", 6, (12, 8), 16, 0.0, 4),
    "attention": TowerShape("attention", 6, (12, 8), 0, 0.0, 4, AttentionShape(32, 2, 1)),
}
encoders = pytest.mark.parametrize("encoder", SHAPES)


def swinging(count: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Sequences whose hidden patches can be told from those around: slow sines of one frequency."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, (count, 6))
    steps = np.arange(40)[:, None]
    return [np.sin(2 * np.pi * steps / 124 + phase).astype(np.float32) * 3 + 1 for phase in phases]


class TestWhatIsHidden:
    @given(lengths=st.lists(st.integers(1, 31), min_size=1, max_size=8), seed=st.integers(0, 99))
    def test_one_or_two_spans_of_true_steps(self, lengths: list[int], seed: int) -> None:
        hidden = hidden_spans(torch.tensor(lengths), 31, np.random.default_rng(seed)).numpy()
        assert hidden.shape == (len(lengths), 31)
        for row, length in zip(hidden, lengths, strict=True):
            assert not row[length:].any()
            assert 1 <= row.sum() <= 20
            assert np.diff(np.concatenate([[0], row, [0]])).clip(0).sum() <= 2

    def test_every_step_of_a_window_is_hidden_about_as_often(self) -> None:
        lengths = torch.full((4_000,), 31)
        share = hidden_spans(lengths, 31, np.random.default_rng(0)).float().mean(dim=0).numpy()
        expected = [1 - (1 - min(step + 1, 10) / 31) ** 2 for step in range(31)]
        np.testing.assert_allclose(share, expected, atol=0.03)


class TestWindows:
    @given(lengths=st.lists(st.integers(2, 100), min_size=1, max_size=80), seed=st.integers(0, 99))
    def test_each_is_a_run_of_one_sequence(self, lengths: list[int], seed: int) -> None:
        sequences = [
            np.stack([np.full(n, i), np.arange(n)], axis=1).astype(np.float32)
            for i, n in enumerate(lengths)
        ]
        drawn = np.zeros(len(lengths), int)
        for features, true in _Windows(sequences, CPU).epoch(np.random.default_rng(seed)):
            for window, length in zip(features.numpy(), true.tolist(), strict=True):
                source = int(window[0, 0])
                drawn[source] += 1
                assert length == min(lengths[source], 31)
                first = int(window[0, 1])
                assert first + length <= lengths[source]
                np.testing.assert_array_equal(
                    window[:length], sequences[source][first : first + length]
                )
        assert drawn.tolist() == [max(length // 31, 1) for length in lengths]


@encoders
class TestLearning:
    def test_restores_what_can_be_told_and_not_what_cannot(self, encoder: EncoderKind) -> None:
        shape = SHAPES[encoder]
        learned = pretrain_tower(swinging(64), shape, seed=0, epochs=150)
        assert learned.masked_error < 0.85
        noise = np.random.default_rng(0).normal(size=(64, 40, 6)).astype(np.float32)
        guessed = pretrain_tower(list(noise), shape, seed=0, epochs=20)
        assert guessed.masked_error > 0.95

    def test_same_seed_same_bits(self, encoder: EncoderKind) -> None:
        first, again, other = (
            pretrain_tower(swinging(8), SHAPES[encoder], seed=seed, epochs=3) for seed in (0, 0, 1)
        )
        assert first.masked_error == again.masked_error
        for name, value in first.weights.items():
            assert torch.equal(value, again.weights[name])
        assert first.masked_error != other.masked_error

    def test_hands_on_statistics_and_the_layers_over_the_sequence(
        self, encoder: EncoderKind
    ) -> None:
        sequences = swinging(8)
        weights = pretrain_tower(sequences, SHAPES[encoder], seed=0, epochs=2).weights
        patches = np.concatenate(sequences)
        np.testing.assert_allclose(weights["feature_mean"], patches.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(weights["feature_scale"], patches.std(axis=0, ddof=1), rtol=1e-4)
        names = set(Tower(SHAPES[encoder]).state_dict())
        left_out = {name for name in names if name.startswith(("embedding", "mean", "variance"))}
        left_out |= {name for name in names if name.startswith("encoder.dense")}
        assert set(weights) == names - left_out

    def test_a_tower_begins_with_it(
        self, encoder: EncoderKind, audible_examples: list[Example], quick_recipe: Recipe
    ) -> None:
        recipe = replace(quick_recipe, learning_rate=0.0)
        sequences = [example.features for example in audible_examples[:28]]
        pretrained = pretrain_tower(sequences, recipe.music_shape(encoder, 6), seed=0, epochs=2)
        towers = train_towers(
            recipe,
            encoder,
            audible_examples[:28],
            [],
            seed=0,
            last_epoch=1,
            device=CPU,
            initial_music=pretrained.weights,
        )
        assert isinstance(towers.music, MusicCommittee)
        assert towers.music.trunk is not None
        state = towers.music.trunk.state_dict()
        for name, value in pretrained.weights.items():
            torch.testing.assert_close(state[name], value)


class TestRefusals:
    def test_an_mlp(self) -> None:
        with pytest.raises(ValueError, match="pre-train bigru or attention"):
            pretrain_tower(swinging(2), TowerShape("mlp", 6, (8,), 0, 0.0, 4), seed=0)

    def test_song_level_features(self) -> None:
        songs = [sequence[:1] for sequence in swinging(4)]
        with pytest.raises(ValueError, match="two patches or more"):
            pretrain_tower(songs, SHAPES["bigru"], seed=0)

    def test_a_checkpoint_that_began_otherwise(
        self, audible_examples: list[Example], quick_recipe: Recipe, tmp_path: Path
    ) -> None:
        recipe = replace(quick_recipe, epochs=2, validate_every=1)
        parts = audible_examples[:12], audible_examples[12:16]
        checkpoint = tmp_path / "run.checkpoint"
        train_towers(recipe, "bigru", *parts, seed=0, checkpoint=checkpoint, device=CPU)
        sequences = [example.features for example in parts[0]]
        begun = pretrain_tower(sequences, recipe.music_shape("bigru", 6), seed=0, epochs=1)
        with pytest.raises(ValueError, match="another training"):
            train_towers(
                recipe,
                "bigru",
                *parts,
                seed=0,
                checkpoint=checkpoint,
                device=CPU,
                initial_music=begun.weights,
            )


def test_only_training_pieces_and_unlabelled_music_are_heard(
    audible: tuple[Corpus, Features], quick_recipe: Recipe
) -> None:
    corpus, features = audible
    recipe = replace(quick_recipe, epochs=2, validate_every=1)
    split = split_ids([piece.id for piece in corpus.pieces], 0, corpus.train_share)
    extra = {"elsewhere": swinging(1)[0]}

    def error(heard: Features) -> dict[str, float]:
        bundle, _ = train_bundle(
            corpus, heard, None, recipe, "bigru", seed=0, device=CPU, unlabelled=extra
        )
        found: dict[str, float] = bundle.manifest.training["pretraining"]
        return found

    straight = error(features)
    assert straight["sequences"] == len(split.train) + 1
    unheard = {
        piece_id: features[piece_id][::-1].copy() for piece_id in (*split.validation, *split.test)
    }
    assert error(features | unheard) == straight
    trained_on = {split.train[0]: features[split.train[0]][::-1].copy()}
    assert error(features | trained_on) != straight


class TestUnlabelledMusic:
    def test_a_folder_of_recordings_is_heard_once(
        self, real_recording: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "music" / "deeper"
        folder.mkdir(parents=True)
        (folder / "one.mp3").write_bytes(real_recording.read_bytes())
        (folder / "notes.txt").write_text("no music")
        frontend, cache = LogMelFrontend(), tmp_path / "cache"
        found = load_unlabelled(tmp_path / "music", frontend, cache)
        assert list(found) == ["deeper/one.mp3"]
        assert found["deeper/one.mp3"].shape[1] == frontend.feature_size
        (cached,) = cache.glob("*.npy")
        np.testing.assert_array_equal(np.load(cached), found["deeper/one.mp3"])

    def test_a_folder_needs_a_frontend_and_recordings(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="--frontend"):
            load_unlabelled(tmp_path, None, tmp_path / "cache")
        with pytest.raises(CorpusError, match="holds no recordings"):
            load_unlabelled(tmp_path, LogMelFrontend(), tmp_path / "cache")


class TestCommand:
    @pytest.fixture
    def command(self, tmp_path: Path) -> list[str]:
        """Write a folder corpus with features, and unlabelled sequences beside it."""
        corpus, features = audible_corpus(24)
        lines = ["id,time_s,arousal,valence"]
        for piece in corpus.pieces:
            for step, (valence, arousal) in enumerate(piece.curve.values):
                lines.append(f"{piece.id},{step / 2},{arousal},{valence}")
        (tmp_path / "curves.csv").write_text("\n".join(lines) + "\n")
        labelled: dict[str, Any] = dict(features)
        np.savez(tmp_path / "features.npz", **labelled)
        unlabelled: dict[str, Any] = {f"u{i}": s for i, s in enumerate(swinging(5))}
        np.savez(tmp_path / "unlabelled.npz", **unlabelled)
        np.savez(tmp_path / "others.npz", a=np.zeros((9, 7), np.float32))
        return [
            *("train", "--corpus", "folder", "--root", str(tmp_path)),
            *("--features", str(tmp_path / "features.npz"), "--out", str(tmp_path / "bundle")),
        ]

    def test_trains_a_bundle_that_says_so(
        self,
        command: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        quick_recipe: Recipe,
    ) -> None:
        recipe = replace(quick_recipe, epochs=5, validate_every=1)
        monkeypatch.setitem(RECIPES, "circumplex", recipe)
        pretrain = ["--encoder", "attention", "--pretrain", str(tmp_path / "unlabelled.npz")]
        assert main([*command, *pretrain]) == 0
        manifest = load_bundle(tmp_path / "bundle").manifest
        assert isinstance(manifest.music_tower, CommitteeShape)
        assert manifest.music_tower.trunk is not None
        assert manifest.music_tower.trunk.attention == recipe.attention
        assert manifest.training["pretraining"]["sequences"] == manifest.split["train"] + 5

    @pytest.mark.parametrize(
        ("encoder", "path", "said"),
        [
            ("mlp", "unlabelled.npz", "needs a sequence"),
            ("bigru", "others.npz", "7 values, those of the corpus 6"),
            ("bigru", "nothing.npz", "nothing.npz"),
            ("bigru", ".", "--frontend"),
        ],
    )
    def test_what_cannot_be_pretrained_on_is_refused(
        self,
        command: list[str],
        tmp_path: Path,
        encoder: str,
        path: str,
        said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert main([*command, "--encoder", encoder, "--pretrain", str(tmp_path / path)]) == 2
        assert said in capsys.readouterr().err
