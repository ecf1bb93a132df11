"""Corpus → bundle → figures, against an independent float64 computation of every figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle, save_bundle
from tests.training.conftest import audible_corpus
from training.corpora.corpus import Corpus, CorpusError, split_ids
from training.features import Features
from training.pipeline import Figures, evaluate_bundle, held_out, train_bundle
from training.recipes import Recipe


@pytest.fixture(scope="module")
def trained(
    audible: tuple[Corpus, Features], quick_recipe: Recipe
) -> tuple[Bundle, Figures, Corpus, Features]:
    corpus, features = audible
    bundle, figures = train_bundle(corpus, features, None, quick_recipe, "bigru", seed=3)
    return bundle, figures, corpus, features


def _naive_score(
    bundle: Bundle, query: tuple[NDArray[np.floating], ...], item: tuple[NDArray[np.floating], ...]
) -> float:
    """λρ - (1 - λ)sKL of one pair, from the paper's formulas."""
    e_q, m_q, v_q = (part.astype(np.float64) for part in query)
    e_t, m_t, v_t = (part.astype(np.float64) for part in item)
    rho = np.corrcoef(e_q, e_t)[0, 1]
    kl = 0.5 * sum(
        np.log(v_t[d] / v_q[d]) + (v_q[d] + (m_q[d] - m_t[d]) ** 2) / v_t[d] - 1
        for d in range(len(m_q))
    )
    weight = bundle.manifest.weight
    return float(weight * rho - (1 - weight) * bundle.manifest.divergence_scale * kl)


def test_reported_figures_equal_a_naive_computation(
    trained: tuple[Bundle, Figures, Corpus, Features],
) -> None:
    bundle, figures, corpus, features = trained
    test_ids = split_ids([piece.id for piece in corpus.pieces], 3, 0.75).test
    curves = {piece.id: piece.curve for piece in corpus.pieces}
    heard, felt = [], []
    for piece_id in test_ids:
        music = bundle.encode_features(features[piece_id], 45.0).encodings
        emotion = bundle.encode_curve_windows(curves[piece_id].windows())
        heard.append(list(zip(music.embedding, music.mean, music.variance, strict=True)))
        felt.append(list(zip(emotion.embedding, emotion.mean, emotion.variance, strict=True)))
    for direction, queries, items in (("m2e", heard, felt), ("e2m", felt, heard)):
        places = []
        for i, query in enumerate(queries):
            scores = [
                max(_naive_score(bundle, q, t) for q in query for t in item) for item in items
            ]
            places.append(sum(score >= scores[i] for score in scores))
        reported = figures["retrieval"][direction]  # type: ignore[literal-required]
        assert reported["mrr"] == pytest.approx(np.mean([1 / place for place in places]))
        assert reported["ar"] == pytest.approx(np.mean(places))
        assert reported["recall_at_10"] == pytest.approx(np.mean([p <= 10 for p in places]))
    assert figures["retrieval"]["chance"]["ar"] == (len(test_ids) + 1) / 2


def test_estimates_follow_held_out_curves(
    trained: tuple[Bundle, Figures, Corpus, Features],
) -> None:
    _, figures, _, _ = trained
    for axis in (figures["arousal"], figures["valence"]):
        assert axis["spearman"] > 0.5
        assert axis["r2"] > 0.2
        assert axis["ccc"] > 0.4
        assert 0.4 < axis["covered"] < axis["covered_90"] <= 1
        assert axis["rmse_of_means"] < axis["rmse"] < 0.6


def test_reported_errors_are_those_of_the_answers(
    trained: tuple[Bundle, Figures, Corpus, Features],
) -> None:
    bundle, figures, corpus, features = trained
    test_ids = split_ids([piece.id for piece in corpus.pieces], 3, 0.75).test
    curves = {piece.id: piece.curve for piece in corpus.pieces}
    for column, axis in enumerate(("valence", "arousal")):
        squares, within, off, inside, truths = [], [], [], [], []
        for piece_id in test_ids:
            heard = bundle.encode_features(features[piece_id], 45.0)
            answer = bundle.estimator.estimate(heard.encodings, heard.starts_s, 45.0)
            truth = curves[piece_id].values[:, column]
            for step in range(90):
                error = abs(answer.curve.values[step, column] - truth[step])
                squares.append(error**2)
                within.append(error <= 1.645 * answer.sd[step, column])
            off.append(answer.overall[column] - sum(truth) / 90)
            inside.append(abs(off[-1]) <= 1.645 * answer.overall_sd[column])
            truths.append(sum(truth) / 90)
        reported = figures[axis]  # type: ignore[literal-required]
        assert reported["rmse"] == pytest.approx(np.sqrt(np.mean(squares)))
        assert reported["covered_90"] == pytest.approx(np.mean(within))
        assert reported["rmse_of_means"] == pytest.approx(np.sqrt(np.mean(np.square(off))))
        assert reported["r2"] == pytest.approx(1 - np.mean(np.square(off)) / np.var(truths))
        assert reported["means_covered_90"] == pytest.approx(np.mean(inside))


def test_bundle_keeps_its_figures_and_evaluates_to_the_same(
    trained: tuple[Bundle, Figures, Corpus, Features], tmp_path: Path
) -> None:
    bundle, figures, corpus, features = trained
    save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.manifest.metrics == figures
    assert evaluate_bundle(loaded, held_out(loaded, corpus, features)) == figures


def test_references_are_curves_of_the_training_part_only(
    trained: tuple[Bundle, Figures, Corpus, Features],
) -> None:
    bundle, _, corpus, _ = trained
    split = split_ids([piece.id for piece in corpus.pieces], 3, 0.75)
    assert [item.id for item in bundle.references] == sorted([*split.train, *split.validation])
    assert bundle.manifest.split == {"train": 31, "validation": 5, "test": 12}


def test_another_corpus_is_refused(trained: tuple[Bundle, Figures, Corpus, Features]) -> None:
    bundle, _, corpus, features = trained
    fewer = Corpus(corpus.name, corpus.licence, corpus.citation, corpus.pieces[:-1], 0.75)
    with pytest.raises(CorpusError, match="the corpus of its training"):
        held_out(bundle, fewer, features)


def test_too_small_a_corpus_is_refused(quick_recipe: Recipe) -> None:
    corpus, features = audible_corpus(6)
    with pytest.raises(CorpusError, match="too few"):
        train_bundle(corpus, features, None, quick_recipe, "mlp", seed=0)
