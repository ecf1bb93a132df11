"""``circumplex demo``: from nothing to a page that finds music by emotion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cli.output import print_figures
from models.bundle import BundleError, load_bundle, save_bundle
from models.encoders import EncoderKind
from models.frontends import LogMelFrontend
from models.progress import Progress
from service import catalogue
from service.server import serve
from service.settings import Settings
from training.corpora.loading import load_corpus
from training.corpora.synthetic import SYNTHETIC_PIECES, synthesise
from training.features import extract_features
from training.pipeline import Figures, forget_checkpoints, train_bundle
from training.recipes import CIRCUMPLEX

_SEED = 0
_ENCODER: EncoderKind = "bigru"


def demo(options: argparse.Namespace) -> None:
    """Synthesise, train, ingest and serve; each stage only where it is not done yet."""
    settings = Settings()
    corpus_folder = settings.home / "corpus"
    bundle_folder = settings.home / "trained" / "demo"
    with Progress("synthesising music", SYNTHETIC_PIECES, "pieces") as progress:
        synthesise(corpus_folder, on_piece=lambda done, _: progress.reach(done))
        progress.reach(SYNTHETIC_PIECES)
    figures = _trained_figures(corpus_folder, bundle_folder, settings.home / "cache")
    report = catalogue.ingest(settings, [corpus_folder / "audio"], bundle=bundle_folder)
    for path, reason in report.failed:
        sys.stderr.write(f"not used: {path}: {reason}\n")
    print_figures(figures)
    if not options.no_serve:
        serve(settings, "127.0.0.1", options.port)


def _trained_figures(corpus_folder: Path, bundle_folder: Path, cache: Path) -> Figures:
    """Return the demo model's held-out figures, training it where no sound bundle is there."""
    try:
        metrics = load_bundle(bundle_folder).manifest.metrics
        return {
            "retrieval": metrics["retrieval"],
            "arousal": metrics["arousal"],
            "valence": metrics["valence"],
        }
    except BundleError:
        frontend = LogMelFrontend()
        corpus = load_corpus("synthetic", corpus_folder)
        features = extract_features(corpus, frontend, cache)
        bundle_folder.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = bundle_folder.with_name("demo.checkpoint")
        bundle, figures = train_bundle(
            corpus,
            features,
            frontend,
            CIRCUMPLEX,
            _ENCODER,
            seed=_SEED,
            checkpoint=checkpoint,
        )
        save_bundle(bundle, bundle_folder)
        forget_checkpoints(checkpoint)
        return figures
