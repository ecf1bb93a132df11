"""The parts of a reproduction: what is compared, on what, and how a run is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.similarity import Encodings, composite_similarity, kl_divergence
from training.corpora.corpus import Corpus, CorpusError
from training.corpora.deam import load_deam
from training.corpora.pmemo import load_pmemo
from training.experiments.evaluate import Pair, cosines_of, metrics_of, score_towers
from training.experiments.material import Material, one_length, whole_clips
from training.experiments.rows import run_row
from training.experiments.schedules import DEFAULT, QUICK, Schedule, published
from training.experiments.systems import (
    CHOSEN,
    RegressionSystem,
    System,
    TowerSystem,
    systems_of,
)
from training.experiments.towers import TowerLearner, project
from training.features import Features, load_features
from training.metrics import chance_metrics

CPU = torch.device("cpu")

TINY = replace(
    QUICK,
    name="tiny",
    epochs=12,
    learning_rate=0.01,
    batch_size=16,
    dimensions=6,
    mlp_widths=(16,),
    bigru_recurrent=8,
    bigru_widths=(16,),
    emotion_recurrent=8,
    emotion_widths=(16,),
    dropout=0.1,
    regression_recurrent=8,
    regression_widths=(16,),
    e2m_epochs=25,
)


@pytest.fixture(scope="session")
def deam_material(shared_data: Path) -> Material:
    """Return DEAM's real curves and song-level features."""
    root = shared_data / "deam"
    features = load_features(root / "features_song_level_opensmile.csv")
    return one_length(load_deam(root), features)


@pytest.fixture(scope="session")
def pmemo(shared_data: Path) -> tuple[Corpus, Features]:
    """Return PMEmo's real annotations, with generated features of the clips' true lengths."""
    corpus = load_pmemo(shared_data / "pmemo")
    rng = np.random.default_rng(0)
    features = {}
    for piece in corpus.pieces:
        patches = int((piece.start_s + piece.curve.duration_s) / 0.96)
        features[piece.id] = rng.normal(size=(patches, 4)).astype(np.float32)
    return corpus, features


@pytest.fixture(scope="session")
def heard(audible: tuple[Corpus, Features]) -> Material:
    """Return the small audible corpus, every third step of its first 30 s."""
    whole = one_length(*audible)
    thinned = np.ascontiguousarray(whole.curves[:, ::3])
    return replace(whole, curves=thinned, curve_lengths=np.full(len(whole.ids), 20))


class TestMaterial:
    def test_deam_is_sixty_steps_of_every_song(self, deam_material: Material) -> None:
        assert deam_material.curves.shape == (1_802, 60, 2)
        assert set(deam_material.curve_lengths) == {60}
        assert deam_material.features.shape == (1_802, 1, 167)
        assert not deam_material.has_sequences

    def test_deam_splits_by_the_designs_rule(self, deam_material: Material) -> None:
        order = np.random.default_rng(3).permutation(1_802)
        parts, inner = deam_material.parts(3), deam_material.inner_parts(3)
        assert parts.train.tolist() == order[:1_441].tolist()
        assert parts.held_out.tolist() == order[1_441:].tolist()
        assert len(inner.train) == 1_225
        assert [*inner.train, *inner.held_out] == parts.train.tolist()

    def test_pmemo_shows_lengths_or_hides_them(self, pmemo: tuple[Corpus, Features]) -> None:
        whole, blind = whole_clips(*pmemo), one_length(*pmemo)
        assert len(whole.parts(0).train) == 560
        assert len(np.unique(whole.curve_lengths)) > 20
        assert len(np.unique(whole.feature_lengths)) > 20
        assert set(whole.curve_starts_s) == {15.0}
        assert set(blind.curve_lengths) == {16}  # the shortest of the 701
        assert set(blind.feature_lengths) == {7}
        assert blind.features.shape == (701, 7, 4)
        piece, row = pmemo[0].pieces[5], pmemo[1][pmemo[0].pieces[5].id]
        assert np.array_equal(blind.curves[5], piece.curve.values[:16].astype(np.float32))
        assert np.array_equal(blind.features[5], row[16:23])
        assert np.array_equal(whole.features[5, : len(row)], row)
        assert not whole.features[5, len(row) :].any()

    def test_means_are_those_of_true_steps(self, pmemo: tuple[Corpus, Features]) -> None:
        whole = whole_clips(*pmemo)
        for row, piece in enumerate(pmemo[0].pieces[:9]):
            mean = pmemo[1][piece.id].mean(axis=0)
            assert whole.mean_features()[row, 0] == pytest.approx(mean, abs=1e-6)
            assert whole.mean_curves()[row, 0] == pytest.approx(
                piece.curve.values.mean(axis=0), abs=1e-6
            )

    def test_features_that_end_too_early_are_named(self, pmemo: tuple[Corpus, Features]) -> None:
        corpus, features = pmemo
        name = corpus.pieces[3].id
        with pytest.raises(CorpusError, match=name):
            one_length(corpus, {**features, name: features[name][:18]})
        with pytest.raises(CorpusError, match=f"1 pieces: {name}"):
            whole_clips(corpus, {key: value for key, value in features.items() if key != name})

    def test_its_digest_changes_with_any_value(self, heard: Material) -> None:
        other = heard.features.copy()
        other[3, 4, 1] += 1e-3
        assert heard.digest() == replace(heard).digest()
        assert heard.digest() != replace(heard, features=other).digest()


class TestSystems:
    @pytest.mark.parametrize("corpus", ["deam", "pmemo"])
    def test_hold_everything_that_the_paper_compares(self, corpus: str) -> None:
        systems = systems_of(corpus, quick=False)
        weight, margin = CHOSEN[corpus]
        grid = [round(0.1 * step, 1) for step in range(11)]
        for loss in ("paper", "published"):
            assert {
                x.weight
                for x in systems
                if isinstance(x, TowerSystem)
                and (x.encoder, x.margin, x.loss, x.margin_sign)
                == ("mlp", margin, loss, "standard")
            } == set(grid)
        assert {TowerSystem(encoder, 0.5, 1.0) for encoder in ("mlp", "bigru")} <= set(systems)
        assert {
            RegressionSystem(network, direction)
            for network in ("mlp", "bigru")
            for direction in ("m2e", "e2m")
        } <= set(systems)
        alphas = {TowerSystem("mlp", weight, alpha) for alpha in (0.2, 0.4, 0.6, 0.8, 1.0)}
        assert alphas <= set(systems)
        assert TowerSystem("mlp", weight, margin, margin_sign="printed") in systems

    @pytest.mark.parametrize("quick", [False, True])
    def test_have_names_of_their_own(self, quick: bool) -> None:
        systems = systems_of("deam", quick=quick)
        assert len({x.key for x in systems}) == len({x.label for x in systems}) == len(systems)

    def test_the_published_schedule_is_the_papers(self) -> None:
        deam, other = published("deam"), published("pmemo")
        assert (deam.epochs, other.epochs) == (5_001, 10_001)
        assert (deam.learning_rate, deam.batch_size, deam.dimensions) == (1e-5, 512, 1_024)
        assert deam.music_shape("mlp", 128).widths == (256, 512, 512, 1024, 1024)
        assert deam.music_shape("bigru", 128).recurrent == 512
        assert deam.emotion_shape().dropout == 0.5
        assert deam.e2m_widths == DEFAULT.e2m_widths == (32, 2)


def _pairs(seed: int = 0) -> tuple[Pair, Pair]:
    """Draw encodings whose modalities correlate, of 30 training and 12 held-out pieces."""
    rng = np.random.default_rng(seed)

    def pair(pieces: int) -> Pair:
        shared = rng.normal(size=(pieces, 4))
        return Pair(
            *(
                Encodings(
                    shared + 0.5 * rng.normal(size=(pieces, 4)),
                    shared + 0.5 * rng.normal(size=(pieces, 4)),
                    rng.uniform(0.2, 2, (pieces, 4)),
                )
                for _ in ("music", "emotion")
            )
        )

    return pair(30), pair(12)


class TestEvaluation:
    def test_the_correct_one_is_the_composite_similarity(self) -> None:
        train, (music, emotion) = _pairs()
        found = score_towers(train, Pair(music, emotion), weight=0.7, divergence_scale=0.3)
        how = {"weight": 0.7, "divergence_scale": 0.3}
        assert found["correct"]["m2e"] == pytest.approx(composite_similarity(music, emotion, **how))
        assert found["correct"]["e2m"] == pytest.approx(composite_similarity(emotion, music, **how))

    def test_as_published_kl_alone_answers_the_other_directions_question(self) -> None:
        train, (music, emotion) = _pairs()
        found = score_towers(train, Pair(music, emotion), weight=0.0)
        assert found["as_published"]["m2e"] == pytest.approx(-kl_divergence(music, emotion).T)
        e2m_by_item_first = -kl_divergence(music, emotion)
        alone = np.full(len(music), "")
        ranks = metrics_of({"correct": {"m2e": e2m_by_item_first.T}}, alone)["correct"]["m2e"]
        assert metrics_of(found, alone)["as_published"]["m2e"] == ranks

    def test_without_kl_both_are_one(self) -> None:
        train, asked = _pairs()
        found = score_towers(train, asked, weight=1.0)
        for way in ("m2e", "e2m"):
            assert found["correct"][way] == pytest.approx(found["as_published"][way])
            lines = found["as_published_lines"][way]
            assert lines == pytest.approx(found["correct_lines"][way])

    def test_linear_cca_makes_training_pairs_correlate_by_dimension(self) -> None:
        train, asked = _pairs()
        music, emotion = project(train, asked)[0]
        cross = music.embedding.T @ emotion.embedding / 29
        assert np.abs(cross - np.diag(np.diag(cross))).max() < 1e-3
        assert (np.diff(np.diag(cross)) < 1e-9).all()

    def test_cosines_compare_in_the_querys_modality(self, heard: Material) -> None:
        parts = heard.parts(0)
        perfect = np.eye(len(parts.held_out))
        found = cosines_of({"m2e": perfect, "e2m": perfect}, heard, parts)
        assert set(found) == {"m2e", "e2m_signed", "e2m_unit"}
        for values in found.values():  # the top 5 % of 12 pieces is one: the query's own
            assert values == pytest.approx([1.0] * 12)
        backwards = perfect[::-1]
        other = cosines_of({"e2m": backwards}, heard, parts)
        assert min(other["e2m_unit"]) > min(other["e2m_signed"])


class TestRows:
    @pytest.mark.parametrize(
        "system",
        [
            TowerSystem("mlp", 0.8, 1.0),
            TowerSystem("bigru", 0.0, 1.0),
            TowerSystem("mlp", 1.0, 1.0),
            TowerSystem("mlp", 0.5, 1.0, loss="published"),
            RegressionSystem("mlp", "m2e"),
            RegressionSystem("mlp", "e2m"),
            RegressionSystem("bigru", "m2e"),
            RegressionSystem("bigru", "e2m"),
        ],
        ids=lambda system: system.key,
    )
    def test_every_kind_of_system_learns(self, system: System, heard: Material) -> None:
        schedule = replace(TINY, epochs=25, e2m_widths=(16,))
        found = _run(system, heard, [0, 1], schedule)
        chance = chance_metrics(12)["mrr"]
        asked = found[0]["retrieved"]["correct"]
        for way in asked:
            mean = np.mean([run["retrieved"]["correct"][way]["mrr"] for run in found])
            assert mean > 1.2 * chance, way

    @pytest.mark.parametrize("key", ["mlp", "bigru"])
    def test_a_run_is_the_same_in_any_company(self, key: str, heard: Material) -> None:
        system = TowerSystem(key, 0.5, 1.0)  # type: ignore[arg-type]
        schedule, rows = replace(TINY, epochs=2), heard.parts(6).held_out
        together, alone = (_trained(system, heard, seeds, schedule) for seeds in ([5, 6, 7], [6]))
        company, single = together.encodings([rows] * 3)[1], alone.encodings([rows])[0]
        for one, other in zip(company, single, strict=True):
            assert one.mean == pytest.approx(other.mean, abs=1e-3)
            assert one.variance == pytest.approx(other.variance, abs=1e-3)
            # CCA does not see a shift, whose gradient is nothing but rounding.
            first, second = (side.embedding - side.embedding.mean(axis=0) for side in (one, other))
            assert first == pytest.approx(second, abs=1e-3)

    def test_same_seeds_give_the_same_figures_and_others_do_not(self, heard: Material) -> None:
        system, schedule = TowerSystem("mlp", 0.5, 1.0), replace(TINY, epochs=2)
        first, second = (_run(system, heard, [0, 1], schedule) for _ in range(2))
        assert first == second
        assert first[0] != first[1]

    def test_the_margins_sign_matters(self, heard: Material) -> None:
        schedule = replace(TINY, epochs=3)
        standard, printed = (
            _run(TowerSystem("mlp", 0.0, 1.0, margin_sign=sign), heard, [0], schedule)
            for sign in ("standard", "printed")
        )
        assert standard != printed

    def test_true_lengths_are_heard_and_cut_ones_are_not(
        self, pmemo: tuple[Corpus, Features]
    ) -> None:
        """All recordings tick the same, and only their lengths differ."""
        corpus = replace(pmemo[0], pieces=pmemo[0].pieces[:50])
        ticks = {
            piece.id: np.arange(len(pmemo[1][piece.id]), dtype=np.float32)[:, None]
            for piece in corpus.pieces
        }
        system, schedule = TowerSystem("bigru", 0.0, 1.0), replace(TINY, epochs=1)
        heard = {}
        for material in (whole_clips(corpus, ticks), one_length(corpus, ticks)):
            rows = material.parts(0).held_out
            music = _trained(system, material, [0], schedule).encodings([rows])[0].music
            heard[material.protocol] = len(np.unique(music.mean.round(5), axis=0))
        assert heard["true-lengths"] > 5
        assert heard["length-blind"] == 1


def _trained(
    system: TowerSystem, material: Material, seeds: list[int], schedule: Schedule
) -> TowerLearner:
    from training.stacked.loop import Steps, train_together

    parts = [material.parts(seed) for seed in seeds]
    learner = TowerLearner(system, schedule, material, parts, seeds, CPU)
    steps = Steps(schedule.epochs, schedule.learning_rate, schedule.falling, schedule.batch_size)
    train_together(learner, [part.train for part in parts], seeds, steps)
    return learner


def _run(system: System, material: Material, seeds: list[int], schedule: Schedule) -> list[Any]:
    parts = [material.parts(seed) for seed in seeds]
    return run_row(system, schedule, material, seeds, parts=parts, device=CPU)  # type: ignore[arg-type]
