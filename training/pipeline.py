"""From a corpus to a bundle, and from a bundle to its figures: what the command line calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from models.bundle import Bundle, Manifest, ReferenceCurve, encode_sequences
from models.calibration import SimilarityCalibration
from models.curve import CURVE_RATE_HZ
from models.encoders import EncoderKind
from models.frontends import Frontend
from training.calibrating import calibrate_estimate, sample_pairs
from training.corpora.corpus import Corpus, CorpusError, Split, split_ids
from training.estimate_metrics import AxisError, Judged, axis_error
from training.evaluation import Evaluation, evaluate_retrieval
from training.examples import Example, aligned_examples
from training.features import Features
from training.pretraining import Pretrained, pretrain_tower
from training.recipes import Recipe
from training.trainer import train_towers, training_device

_SMALLEST_CORPUS = 10


class Figures(TypedDict):
    """What ``circumplex evaluate`` reports."""

    retrieval: Evaluation
    arousal: AxisError
    valence: AxisError


def train_bundle(
    corpus: Corpus,
    features: Features,
    frontend: Frontend | None,
    recipe: Recipe,
    encoder: EncoderKind,
    *,
    seed: int,
    split: Split | None = None,
    checkpoint: Path | None = None,
    device: torch.device | None = None,
    unlabelled: Features | None = None,
) -> tuple[Bundle, Figures]:
    """Train, calibrate on validation pieces, and report on the held-out part, once.

    A first training stops early by its validation pieces, and what it answers for them calibrates
    estimates and similarities. The towers that are kept then train on all pieces but the held-out
    ones, for as many epochs: validation pieces are too many to waste on small corpora. With
    ``unlabelled`` the music encoder is first pre-trained on those sequences and the training
    pieces' (without validation pieces, so that these still say when to stop).

    Raises:
        CorpusError: the corpus is too small, or its features are not those of the frontend, or the
            unlabelled ones are others.
        ValueError: ``checkpoint`` belongs to another training, or an mlp is to be pre-trained.
    """
    examples = _checked_examples(corpus, features, frontend)
    split = split or split_ids(list(examples), seed, corpus.train_share)
    train, validation, test = (
        [examples[i] for i in part] for part in (split.train, split.validation, split.test)
    )
    pretrained = None
    if unlabelled is not None:
        pretrained = _pretrain(recipe, encoder, features, split.train, unlabelled, seed, device)
    initial_music = None if pretrained is None else pretrained.weights
    scouts = train_towers(
        recipe,
        encoder,
        train,
        validation,
        seed=seed,
        checkpoint=_stage(checkpoint, "1"),
        device=device,
        initial_music=initial_music,
    )
    windows = [window.curve.values for item in train for window in item.curve.windows()]
    estimate = calibrate_estimate(
        scouts.music,
        encode_sequences(scouts.emotion, [values.astype(np.float32) for values in windows]),
        np.stack(windows),
        validation,
        weight=recipe.weight,
        divergence_scale=scouts.divergence_scale,
    )
    pairs = sample_pairs(scouts.music, scouts.emotion, validation, seed=seed)
    towers = train_towers(
        recipe,
        encoder,
        train + validation,
        [],
        seed=seed,
        last_epoch=scouts.best_epoch,
        checkpoint=_stage(checkpoint, "2"),
        device=device,
        initial_music=initial_music,
    )
    references = [
        ReferenceCurve(example.id, example.label, example.curve)
        for example in sorted(train + validation, key=lambda example: example.id)
    ]
    manifest = Manifest(
        recipe=recipe.name,
        corpus=corpus.name,
        seed=seed,
        weight=recipe.weight,
        margin=recipe.margin,
        divergence_scale=towers.divergence_scale,
        frontend=frontend.identity() if frontend else None,
        music_tower=towers.music.shape,
        emotion_tower=towers.emotion.shape,
        estimate=estimate,
        split={"train": len(train), "validation": len(validation), "test": len(test)},
        training={
            "licence": corpus.licence,
            "citation": corpus.citation,
            "best_epoch": scouts.best_epoch,
            "epochs_run": scouts.epochs_run,
            "validation_rank": scouts.validation_rank,
            "pretraining": None if pretrained is None else pretrained.as_json(),
        },
        metrics={},
    )
    bundle = Bundle(
        manifest,
        towers.music,
        towers.emotion,
        frontend,
        references,
        SimilarityCalibration(pairs, towers.divergence_scale),
    )
    figures = evaluate_bundle(bundle, test)
    manifest.metrics.update(figures)
    return bundle, figures


def _pretrain(
    recipe: Recipe,
    encoder: EncoderKind,
    features: Features,
    train: Sequence[str],
    unlabelled: Features,
    seed: int,
    device: torch.device | None,
) -> Pretrained:
    """Pre-train the music encoder on unlabelled sequences and on those of training pieces."""
    size = features[train[0]].shape[1]
    strangers = {sequence.shape[1] for sequence in unlabelled.values()} - {size}
    if strangers:
        raise CorpusError(
            f"the unlabelled features have {strangers.pop()} values, those of the corpus {size}: "
            "give features of the same frontend"
        )
    return pretrain_tower(
        [*(features[piece_id] for piece_id in train), *unlabelled.values()],
        recipe.music_shape(encoder, size),
        seed=seed,
        device=device or training_device(),
    )


def forget_checkpoints(checkpoint: Path) -> None:
    """Remove what an interrupted training would go on from, once its bundle is saved."""
    for stage in ("1", "2"):
        Path(f"{checkpoint}.{stage}").unlink(missing_ok=True)


def _stage(checkpoint: Path | None, number: str) -> Path | None:
    return None if checkpoint is None else Path(f"{checkpoint}.{number}")


def held_out(bundle: Bundle, corpus: Corpus, features: Features) -> list[Example]:
    """Return the examples that a bundle's training never saw, by its own seed and corpus.

    Raises:
        CorpusError: the corpus is not the one that the bundle was trained on.
    """
    examples = _checked_examples(corpus, features, bundle.frontend)
    if len(examples) != sum(bundle.manifest.split.values()):
        raise CorpusError(
            f"the corpus holds {len(examples)} pieces, the bundle was trained on a split of "
            f"{sum(bundle.manifest.split.values())}: give the corpus of its training"
        )
    split = split_ids(list(examples), bundle.manifest.seed, corpus.train_share)
    if {item.id for item in bundle.references} != {*split.train, *split.validation}:
        raise CorpusError("the bundle was trained on other pieces: give the corpus of its training")
    return [examples[i] for i in split.test]


def evaluate_bundle(bundle: Bundle, test: list[Example]) -> Figures:
    """Report retrieval in both directions and the estimates' errors on held-out pieces."""
    retrieval = evaluate_retrieval(
        bundle.music,
        bundle.emotion,
        test,
        weight=bundle.manifest.weight,
        divergence_scale=bundle.manifest.divergence_scale,
    )
    judged = [_judged(bundle, example) for example in test]
    valence, arousal = (axis_error(judged, axis) for axis in (0, 1))
    return {"retrieval": retrieval, "arousal": arousal, "valence": valence}


def _judged(bundle: Bundle, example: Example) -> Judged:
    encoded = bundle.encode_features(example.features, example.duration_s)
    estimate = bundle.estimator.estimate(encoded.encodings, encoded.starts_s, example.duration_s)
    steps = min(round(example.duration_s * CURVE_RATE_HZ), len(example.curve.values))
    return Judged(
        estimate.curve.values[:steps],
        estimate.sd[:steps],
        example.curve.values[:steps],
        estimate.overall,
        estimate.overall_sd,
    )


def _checked_examples(
    corpus: Corpus, features: Features, frontend: Frontend | None
) -> dict[str, Example]:
    if len(corpus.pieces) < _SMALLEST_CORPUS:
        raise CorpusError(
            f"{len(corpus.pieces)} pieces are too few to split and train: "
            f"give at least {_SMALLEST_CORPUS}"
        )
    size = next(iter(features.values())).shape[1]
    if frontend is not None and frontend.feature_size != size:
        raise CorpusError(
            f"the features have {size} values, those of the frontend '{frontend.name}' "
            f"{frontend.feature_size}: give the frontend that made them"
        )
    return {example.id: example for example in aligned_examples(corpus, features)}
