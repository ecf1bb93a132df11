"""The ladder to the default recipe, on the training part of DEAM's seed 0 alone.

That part is cut into folds, and every rung is trained on the others and asked about one, so that a
recipe may be chosen by this table: no test piece of that split is looked at. Each rung is ranked
among all pieces of a fold and within their annotation campaign (training/campaigns.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.timing import Report
from models.similarity import Encodings, correlation, kl_divergence
from training.campaigns import within_campaign
from training.corpora.corpus import Corpus, split_ids
from training.corpora.deam import load_deam
from training.evaluation import best_of_windows, encode_examples, piece_scores
from training.examples import CutWindows, Example, aligned_examples
from training.features import Features, load_features
from training.founding import fit_components
from training.kernel_fitting import fit_kernel
from training.metrics import chance_metrics, retrieval_metrics
from training.recipes import CIRCUMPLEX, CMER_CL, COMMITTEE, Recipe, textured
from training.trainer import TrainedTowers, train_towers

Floats64 = NDArray[np.float64]
Scores = tuple[Floats64, Floats64]
"""M2E and E2M score matrices (N, N)."""

Rung = Callable[[list[Example], list[Example]], Scores]

PLAIN = replace(
    CMER_CL,
    name="plain",
    objective="contrastive",
    dimensions=64,
    mlp_widths=(128, 128),
    emotion_recurrent=32,
    emotion_widths=(64, 64),
    dropout=0.3,
    emotion_dropout=0.3,
    learning_rate=3e-3,
    decay=0.1,
    epochs=100,
    averaging=0.9,
)
"""The paper's towers, smaller and trained shorter (training/experiments/schedules.py)."""

_ONE_MEMBER = replace(
    CIRCUMPLEX,
    dimensions=CIRCUMPLEX.dimensions // COMMITTEE.members,
    committee=replace(COMMITTEE, members=1),
)


def rungs() -> dict[str, Rung]:
    """Return every rung by its name, from the plainest to the default recipe and past it."""
    return {
        "kernel ridge, 4 components, log p(y|x) - log p(y)": _kernel_rung,
        "paper's towers, composite loss, λ = 0.8": _trained(
            replace(PLAIN, objective="composite", weight=0.8)
        ),
        "paper's towers, ρ and KL as InfoNCE": _trained(PLAIN),
        "kernel, one member": _trained(_ONE_MEMBER),
        "kernel, committee (the recipe)": _trained(CIRCUMPLEX),
        "the recipe and the estimate's error": _trained(replace(CIRCUMPLEX, curve_regression=1.0)),
        "the recipe with 32 components": _trained(
            replace(CIRCUMPLEX, committee=replace(COMMITTEE, components=32))
        ),
        "the recipe, textured": _trained(textured(CIRCUMPLEX)),
        "the recipe, KL transposed as published": _transposed(CIRCUMPLEX),
    }


def load(root: Path) -> tuple[Corpus, Features]:
    """Read DEAM's annotations and the table of song-level features beside them."""
    return load_deam(root), load_features(root / "features_song_level_opensmile.csv")


def run(
    corpus: Corpus, features: Features, *, chosen: dict[str, Rung] | None = None, folds: int = 4
) -> Report:
    """Climb every rung on the same folds; figures are means over the folds."""
    campaign = {piece.id: piece.campaign for piece in corpus.pieces}
    examples = {example.id: example for example in aligned_examples(corpus, features)}
    split = split_ids(list(examples), 0, corpus.train_share)
    parts = np.array_split(np.array([*split.train, *split.validation]), folds)
    rows = []
    for name, rung in (chosen or rungs()).items():
        found = []
        for number, held_out in enumerate(parts):
            print(f"{name}, fold {number + 1} of {folds}", file=sys.stderr, flush=True)
            train = [examples[i] for j, part in enumerate(parts) if j != number for i in part]
            scores = rung(train, [examples[i] for i in held_out])
            found.append(_figures(scores, np.array([campaign[i] for i in held_out])))
        rows.append({"rung": name, **{key: _mean(found, key) for key in found[0]}})
    sizes = [len(part) for part in parts]
    return {
        "corpus": corpus.name,
        "pieces_of_a_fold": sizes,
        "chance_mrr": chance_metrics(min(sizes))["mrr"],
        "chance_ar": chance_metrics(min(sizes))["ar"],
        "rungs": rows,
    }


def _figures(scores: Scores, campaigns: NDArray[np.str_]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for way, matrix in zip(("m2e", "e2m"), scores, strict=True):
        everyone = retrieval_metrics(matrix)
        own = retrieval_metrics(within_campaign(matrix, campaigns))
        figures |= {
            f"{way}_mrr": everyone["mrr"],
            f"{way}_ar": everyone["ar"],
            f"{way}_mrr_in_campaign": own["mrr"],
            f"{way}_ar_in_campaign": own["ar"],
        }
    return figures


def _mean(found: Sequence[dict[str, float]], key: str) -> float:
    return float(np.mean([figures[key] for figures in found]))


def _kernel_rung(train: list[Example], held_out: list[Example]) -> Scores:
    """Gaussian residuals around a kernel regression: pointwise mutual information, no network."""
    fitted_on, asked = CutWindows(train, len(train)), CutWindows(held_out, len(held_out))
    components = fit_components(fitted_on.curves.double(), 4, textured=False)
    targets = components(fitted_on.curves.double()).numpy()
    truth = components(asked.curves.double()).numpy()
    kernel = fit_kernel(fitted_on.mean_features().double().numpy(), targets, fitted_on.pieces)
    predicted = kernel.predict(asked.mean_features().double().numpy())
    residual = np.linalg.inv(np.cov((targets - kernel.left_out).T))
    prior = np.linalg.inv(np.cov(targets.T))
    error = truth[None, :] - predicted[:, None]  # (Q, N, K)
    given = -0.5 * np.einsum("qnk,kl,qnl->qn", error, residual, error)
    alone = -0.5 * np.einsum("nk,kl,nl->n", truth, prior, truth)
    scores: Floats64 = given - alone
    return scores, scores.T


def _trained(recipe: Recipe) -> Rung:
    def rung(train: list[Example], held_out: list[Example]) -> Scores:
        towers = _train(recipe, train)
        return piece_scores(
            towers.music,
            towers.emotion,
            held_out,
            weight=recipe.weight,
            divergence_scale=towers.divergence_scale,
        )

    return rung


def _transposed(recipe: Recipe) -> Rung:
    """Add KL(item ‖ query) transposed to ρ, as the published evaluation does."""

    def rung(train: list[Example], held_out: list[Example]) -> Scores:
        towers = _train(recipe, train)
        music, emotion, owner = encode_examples(towers.music, towers.emotion, held_out)

        def published(query: Encodings, items: Encodings) -> Floats64:
            # Row i of KL belongs to emotion i where row i of ρ belongs to the query i, and so on.
            divergence = kl_divergence(query, items).T
            scale = (1 - recipe.weight) * towers.divergence_scale
            scores = recipe.weight * correlation(query, items) - scale * divergence
            return best_of_windows(scores, owner, owner)

        return published(music, emotion), published(emotion, music)

    return rung


def _train(recipe: Recipe, train: list[Example]) -> TrainedTowers:
    last = recipe.whole_epochs(len(train))
    return train_towers(recipe, "mlp", train, [], seed=0, last_epoch=last)
