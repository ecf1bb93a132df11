"""What a music encoder gains by hearing the course of a piece: BiGRU and attention beside an MLP.

Folds over the sorted pieces, trained as ``circumplex train`` does it; every piece is held out once.
The MLP hears only each window's mean features. With music without curves, the encoders over
sequences are trained a second time after pre-training on it and on the fold's own training pieces.

Retrieval is length-blind: every held-out piece is the one 30 s window in its middle, and pieces
shorter than that are left out. Its figures are means over the folds, each fold's own items apart.
The estimates' figures are over all pieces' mean valence and arousal.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.folds import fold_splits
from bench.timing import Report
from models.bundle import Bundle
from models.cache import cache_folder
from models.curve import CURVE_RATE_HZ, WINDOW_STEPS, Curve
from models.encoders import EncoderKind
from models.frontends import build_frontend
from models.windows import WINDOW_S, window_patches
from training.corpora.corpus import Corpus, Split
from training.estimate_metrics import concordance, r_squared, rank_correlation, rmse
from training.evaluation import evaluate_retrieval
from training.examples import Example, aligned_examples
from training.features import Features, load_unlabelled
from training.pipeline import train_bundle
from training.recipes import CIRCUMPLEX, Recipe

_DIRECTIONS = ("m2e", "e2m")
_AXES = ("valence", "arousal")

Floats64 = NDArray[np.float64]


class System(NamedTuple):
    """An encoder, pre-trained or not."""

    encoder: EncoderKind
    pretrained: bool

    @property
    def name(self) -> str:
        return f"{self.encoder} pretrained" if self.pretrained else self.encoder


def load_clips(shared: Path) -> Features:
    """Hear the real clips beside VGMIDI through YAMNet, which made VGMIDI's features."""
    frontend = build_frontend(str(shared / "frontends" / "yamnet.onnx"))
    return load_unlabelled(shared / "recordings", frontend, cache_folder() / "features")


def run(
    corpus: Corpus,
    features: Features,
    *,
    encoders: Sequence[EncoderKind] = ("mlp", "bigru", "attention"),
    unlabelled: Features | None = None,
    folds: int = 5,
    recipe: Recipe = CIRCUMPLEX,
    seed: int = 0,
    out: Path | None = None,
) -> Report:
    """Cross-validate every encoder, with ``unlabelled`` also pre-trained; takes an hour or so.

    With ``out`` each fold's record is written there, and a later call takes it from there where it
    is of the same recipe, seed, data and split.
    """
    examples = {
        example.id: example
        for example in sorted(aligned_examples(corpus, features), key=lambda example: example.id)
    }
    splits = fold_splits(list(examples), folds)
    systems = [System(encoder, False) for encoder in encoders]
    if unlabelled is not None:
        systems += [System(encoder, True) for encoder in encoders if encoder != "mlp"]
    records: dict[System, list[Report]] = {system: [] for system in systems}
    for number, split in enumerate(splits, start=1):
        for system in systems:
            print(f"fold {number} of {folds}, {system.name}", file=sys.stderr, flush=True)
            extra = unlabelled if system.pretrained else None
            identity = _identity(recipe, system, seed, split, features, extra)
            path = out and out / f"{system.name.replace(' ', '-')}-fold-{number}.json"
            record = _stored(path, identity)
            if record is None:
                started_s = time.process_time()
                bundle, _ = train_bundle(
                    corpus,
                    features,
                    None,
                    recipe,
                    system.encoder,
                    seed=seed,
                    split=split,
                    unlabelled=extra,
                )
                record = {
                    "identity": identity,
                    "training_cpu_s": time.process_time() - started_s,
                    **_record(bundle, [examples[i] for i in split.test]),
                }
                _store(path, record)
            records[system].append(record)
    return {
        "corpus": corpus.name,
        "pieces": len(examples),
        "folds": folds,
        "recipe": recipe.name,
        "seed": seed,
        "unlabelled_sequences": len(unlabelled or {}),
        "retrieval_items_per_fold": [r["retrieval"]["items"] for r in records[systems[0]]],
        "chance": _over_folds(records[systems[0]], "chance"),
        "systems": [
            {"system": system.name, **_figures(found)} for system, found in records.items()
        ],
    }


def middle_window(example: Example) -> Example:
    """Cut the 30 s in the middle of an example out of it."""
    first = int((example.duration_s - WINDOW_S) / 2 * CURVE_RATE_HZ)
    return replace(
        example,
        curve=Curve(example.curve.values[first : first + WINDOW_STEPS]),
        features=window_patches(example.features, first / CURVE_RATE_HZ),
    )


def _record(bundle: Bundle, held_out: Sequence[Example]) -> Report:
    """Return retrieval of held-out pieces, and each one's estimated and annotated means."""
    estimates = {}
    for example in held_out:
        heard = bundle.encode_features(example.features, example.duration_s)
        estimate = bundle.estimator.estimate(heard.encodings, heard.starts_s, example.duration_s)
        estimates[example.id] = [estimate.overall, example.curve.values.mean(axis=0).tolist()]
    retrieval = evaluate_retrieval(
        bundle.music,
        bundle.emotion,
        [middle_window(example) for example in held_out if example.duration_s >= WINDOW_S],
        weight=bundle.manifest.weight,
        divergence_scale=bundle.manifest.divergence_scale,
    )
    return {
        "retrieval": retrieval,
        "best_epoch": bundle.manifest.training["best_epoch"],
        "pretraining": bundle.manifest.training["pretraining"],
        "estimates_and_truths": estimates,
    }


def _figures(records: Sequence[Report]) -> Report:
    pairs = [pair for record in records for pair in record["estimates_and_truths"].values()]
    estimate, truth = np.array(pairs).transpose(1, 2, 0)  # each (axis, piece)
    figures: Report = {}
    for direction in _DIRECTIONS:
        for name, value in _over_folds(records, direction).items():
            figures[f"{direction}_{name}"] = value
    for axis, found, true in zip(_AXES, estimate, truth, strict=True):
        figures |= {f"{axis}_{name}": value for name, value in _agreement(found, true).items()}
    cpu_s = [record["training_cpu_s"] for record in records]
    figures["training_cpu_s_per_fold"] = float(np.mean(cpu_s))
    return figures


def _over_folds(records: Sequence[Report], of: str) -> Report:
    """Average MRR and AR over the folds; ``sd`` is the folds' standard deviation."""
    mrr, ar = (
        np.array([record["retrieval"][of][name] for record in records]) for name in ("mrr", "ar")
    )
    spread = float(mrr.std(ddof=1)) if len(mrr) > 1 else 0.0
    return {"mrr": float(mrr.mean()), "mrr_sd": spread, "ar": float(ar.mean())}


def _agreement(estimate: Floats64, truth: Floats64) -> Report:
    return {
        "spearman": rank_correlation(estimate, truth),
        "r2": r_squared(estimate, truth),
        "rmse": rmse(estimate, truth),
        "ccc": concordance(estimate, truth),
    }


def _identity(
    recipe: Recipe,
    system: System,
    seed: int,
    split: Split,
    features: Features,
    unlabelled: Features | None,
) -> str:
    """Tell records apart by everything that they depend on but the code."""
    digest = hashlib.sha256(f"{recipe} {system} {seed} {split}".encode())
    for name, array in [*sorted(features.items()), *sorted((unlabelled or {}).items())]:
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def _stored(path: Path | None, identity: str) -> Report | None:
    if path is None or not path.exists():
        return None
    record: Report = json.loads(path.read_text())
    if record["identity"] == identity:
        return record
    print(f"{path} is of another recipe, seed or data: made anew", file=sys.stderr)
    return None


def _store(path: Path | None, record: Report) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)
