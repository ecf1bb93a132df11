"""``circumplex train`` and ``circumplex evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.failure import InputError
from cli.output import print_figures, print_json
from models.bundle import load_bundle, save_bundle
from models.cache import cache_folder
from models.encoders import EncoderKind
from models.frontends import Frontend, build_frontend
from training.corpora.corpus import Corpus, CorpusError
from training.corpora.loading import load_corpus
from training.features import Features, extract_features, load_features_for, load_unlabelled
from training.pipeline import evaluate_bundle, forget_checkpoints, held_out, train_bundle
from training.recipes import RECIPES


def train(options: argparse.Namespace) -> None:
    """Train a model, write its bundle, print its figures."""
    corpus = load_corpus(options.corpus, options.root)
    frontend = _chosen_frontend(options)
    features = _features(options, corpus, frontend)
    encoder = _chosen_encoder(options, features)
    if options.pretrain is not None and encoder == "mlp":
        raise InputError("--pretrain needs a sequence: --encoder bigru or attention")
    unlabelled = None
    if options.pretrain is not None:
        unlabelled = load_unlabelled(options.pretrain, frontend, cache_folder() / "features")
    out: Path = options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_name(out.name + ".checkpoint")
    bundle, figures = train_bundle(
        corpus,
        features,
        frontend,
        RECIPES[options.recipe],
        encoder,
        seed=options.seed,
        checkpoint=checkpoint,
        unlabelled=unlabelled,
    )
    bundle_id = save_bundle(bundle, out)
    forget_checkpoints(checkpoint)
    if options.json:
        print_json({"bundle": str(out), "id": bundle_id, **figures})
        return
    print(f"Bundle {bundle_id[:12]} written to {out}")
    print_figures(figures)
    if options.encoder is None and encoder == "mlp":
        print("Its music encoder is an MLP, since --features has one vector a song.")
    if frontend is None:
        print("It was trained on features alone, without --frontend: it cannot hear recordings.")


def evaluate(options: argparse.Namespace) -> None:
    """Report a bundle's figures on the part of its corpus that its training never saw."""
    bundle = load_bundle(options.bundle)
    corpus = load_corpus(options.corpus, options.root)
    features = _features(options, corpus, bundle.frontend)
    figures = evaluate_bundle(bundle, held_out(bundle, corpus, features))
    if options.json:
        print_json({"bundle": str(options.bundle), "id": bundle.id, **figures})
    else:
        print_figures(figures)


def _chosen_frontend(options: argparse.Namespace) -> Frontend | None:
    if options.frontend is None:
        if options.features:
            return None
        return build_frontend("logmel", precision=options.precision)
    return build_frontend(options.frontend, options.weights, options.precision)


def _chosen_encoder(options: argparse.Namespace, features: Features) -> EncoderKind:
    song_level = options.features is not None and all(len(each) == 1 for each in features.values())
    encoder: EncoderKind = options.encoder or ("mlp" if song_level else "bigru")
    if song_level and encoder != "mlp":
        raise InputError(
            f"--features has one vector a song, and --encoder {encoder} reads sequences: "
            "use --encoder mlp"
        )
    return encoder


def _features(options: argparse.Namespace, corpus: Corpus, frontend: Frontend | None) -> Features:
    if options.features is not None:
        return load_features_for(frontend, options.features)
    if frontend is None:
        raise CorpusError("this bundle has no frontend: give the --features of its training")
    return extract_features(corpus, frontend, cache_folder() / "features")
