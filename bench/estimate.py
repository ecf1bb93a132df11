"""M2E's estimate against a ridge regression, on held-out VGMIDI pieces: quality, not speed.

Five folds over the sorted pieces; both systems fit all that a fold trains on. Ours is trained as
``circumplex train`` does it: the last 15 % of a seeded permutation of that part say when to stop
and calibrate the answers. The ridge sees each piece's mean features, standardised, fits its mean
valence and arousal, and chooses its penalty by leave-one-out. Every piece is held out once, and the
figures are over all pieces' means.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV

from bench.folds import fold_splits
from bench.timing import Report
from models.encoders import EncoderKind
from training.corpora.corpus import Corpus
from training.corpora.folder import load_folder_corpus
from training.examples import aligned_examples
from training.features import Features, load_features
from training.pipeline import train_bundle
from training.recipes import CIRCUMPLEX, Recipe

_PENALTIES = np.logspace(-2, 6, 30)
_SCALE_FLOOR = 0.01
_AXES = ("valence", "arousal")

Floats64 = NDArray[np.float64]


def load_vgmidi(root: Path) -> tuple[Corpus, Features]:
    """Read VGMIDI's curves and YAMNet features from its folder."""
    return load_folder_corpus(root, name="vgmidi"), load_features(root / "features_yamnet.npz")


def run(
    corpus: Corpus,
    features: Features,
    *,
    encoders: Sequence[EncoderKind] = ("mlp", "bigru"),
    folds: int = 5,
    recipe: Recipe = CIRCUMPLEX,
    seed: int = 0,
) -> Report:
    """Cross-validate the estimate of each encoder beside the ridge; takes minutes."""
    examples = sorted(aligned_examples(corpus, features), key=lambda example: example.id)
    truth = np.stack([example.curve.values.mean(axis=0) for example in examples])
    means = np.stack([example.features.mean(axis=0) for example in examples]).astype(np.float64)
    estimates = {name: np.zeros_like(truth) for name in ("ridge", *encoders)}
    places = {example.id: place for place, example in enumerate(examples)}
    for fold, split in enumerate(fold_splits(list(places), folds)):
        training = np.sort([places[i] for i in (*split.train, *split.validation)])
        held_out = np.array([places[i] for i in split.test])
        estimates["ridge"][held_out] = _ridge(means, truth, training, held_out)
        for encoder in encoders:
            print(f"fold {fold + 1} of {folds}, {encoder}", file=sys.stderr, flush=True)
            bundle, _ = train_bundle(
                corpus, features, None, recipe, encoder, seed=seed, split=split
            )
            for i in held_out:
                heard = bundle.encode_features(examples[i].features, examples[i].duration_s)
                estimates[encoder][i] = bundle.estimator.estimate(
                    heard.encodings, heard.starts_s, examples[i].duration_s
                ).overall
    figures = {name: _figures(estimate, truth) for name, estimate in estimates.items()}
    return {
        "corpus": corpus.name,
        "pieces": len(examples),
        "folds": folds,
        "recipe": recipe.name,
        "seed": seed,
        **figures,
        "beside_ridge": {name: _beside(figures[name], figures["ridge"]) for name in encoders},
    }


def _ridge(
    means: Floats64, truth: Floats64, training: NDArray[np.int64], held_out: NDArray[np.int64]
) -> Floats64:
    """Fit mean features to mean valence and arousal; returns estimates of what is held out.

    Scales far below the usual one count as it: some of YAMNet's channels are almost always zero,
    and would shout where they are not.
    """
    scale = means[training].std(axis=0)
    scale = np.maximum(scale, max(_SCALE_FLOOR * float(np.median(scale)), 1e-9))
    standard = (means - means[training].mean(axis=0)) / scale
    model = RidgeCV(_PENALTIES).fit(standard[training], truth[training])
    estimates: Floats64 = model.predict(standard[held_out])
    return estimates


def _figures(estimate: Floats64, truth: Floats64) -> Report:
    return {
        axis: {
            "spearman": float(spearmanr(estimate[:, column], truth[:, column])[0]),
            "rmse": float(np.sqrt(np.mean((estimate[:, column] - truth[:, column]) ** 2))),
        }
        for column, axis in enumerate(_AXES)
    }


def _beside(ours: Report, ridge: Report) -> Report:
    return {
        axis: {
            "spearman_less_ridge": ours[axis]["spearman"] - ridge[axis]["spearman"],
            "rmse_over_ridge": ours[axis]["rmse"] / ridge[axis]["rmse"],
        }
        for axis in _AXES
    }
