"""What each part of the recipe is worth, on the synthetic corpus' training part only.

The published test part is set aside first; what is left is split once more the same way, and the
variants are compared on its inner test part. So a recipe may be chosen by this table.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import ConstantInputWarning

from bench.timing import Report
from models.encoders import EncoderKind
from models.frontends import LogMelFrontend
from models.progress import Progress
from training.corpora.corpus import Corpus, split_ids
from training.corpora.loading import load_corpus
from training.corpora.synthetic import SYNTHETIC_PIECES, synthesise
from training.features import Features, extract_features
from training.pipeline import Figures, train_bundle
from training.recipes import CIRCUMPLEX, Recipe


def load_synthetic(folder: Path) -> tuple[Corpus, Features]:
    """Synthesise the corpus and its features under ``folder``, or what is missing of them."""
    root = folder / "corpus"
    with Progress("synthesising music", SYNTHETIC_PIECES, "pieces") as progress:
        synthesise(root, on_piece=lambda done, _: progress.reach(done))
    corpus = load_corpus("synthetic", root)
    return corpus, extract_features(corpus, LogMelFrontend(), folder / "cache")


def variants(recipe: Recipe = CIRCUMPLEX) -> list[Recipe]:
    """Return the recipe and itself with one part changed in each."""
    committee = recipe.committee
    assert committee is not None
    alone = replace(
        recipe,
        name="one member",
        dimensions=recipe.dimensions // committee.members,
        committee=replace(committee, members=1),
    )
    regression = replace(recipe, name="with the estimate's error", curve_regression=1.0)
    textured = replace(recipe, name="textured", committee=replace(committee, textured=True))
    return [recipe, alone, regression, textured]


def run(
    corpus: Corpus,
    features: Features,
    *,
    recipes: Sequence[Recipe] | None = None,
    encoder: EncoderKind = "bigru",
    seeds: Sequence[int] = (0,),
) -> Report:
    """Train every variant on the inner split of each seed; figures are means over the seeds."""
    outer = split_ids([piece.id for piece in corpus.pieces], 0, corpus.train_share)
    inside = {*outer.train, *outer.validation}
    inner = replace(corpus, pieces=tuple(piece for piece in corpus.pieces if piece.id in inside))
    rows = []
    for recipe in recipes or variants():
        found = []
        for seed in seeds:
            print(f"{recipe.name}, seed {seed}", file=sys.stderr, flush=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConstantInputWarning)
                found.append(train_bundle(inner, features, None, recipe, encoder, seed=seed)[1])
        rows.append({"variant": recipe.name, **_row(found)})
    test = len(split_ids([piece.id for piece in inner.pieces], 0, inner.train_share).test)
    return {
        "corpus": corpus.name,
        "pieces": len(inner.pieces),
        "test_pieces": test,
        "encoder": encoder,
        "seeds": list(seeds),
        "chance_mrr": float(np.mean(1 / np.arange(1, test + 1))),
        "variants": rows,
    }


def _row(found: Sequence[Figures]) -> Report:
    def mean(*values: float) -> float:
        # A variant whose estimates are all the same has no rank correlation: it tells nothing.
        return float(np.mean(np.nan_to_num(values)))

    return {
        "m2e_mrr": mean(*(figures["retrieval"]["m2e"]["mrr"] for figures in found)),
        "m2e_ar": mean(*(figures["retrieval"]["m2e"]["ar"] for figures in found)),
        "e2m_mrr": mean(*(figures["retrieval"]["e2m"]["mrr"] for figures in found)),
        "e2m_ar": mean(*(figures["retrieval"]["e2m"]["ar"] for figures in found)),
        "valence_spearman": mean(*(figures["valence"]["spearman"] for figures in found)),
        "valence_rmse": mean(*(figures["valence"]["rmse"] for figures in found)),
        "arousal_spearman": mean(*(figures["arousal"]["spearman"] for figures in found)),
        "arousal_rmse": mean(*(figures["arousal"]["rmse"] for figures in found)),
    }
