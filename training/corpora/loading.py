"""Corpora by the name that the command line gives them."""

from __future__ import annotations

from pathlib import Path

from training.corpora.corpus import Corpus, CorpusError
from training.corpora.deam import load_deam
from training.corpora.folder import load_folder_corpus
from training.corpora.pmemo import load_pmemo
from training.corpora.synthetic import CITATION, LICENCE

_SYNTHETIC_TRAIN_SHARE = 0.75


def load_corpus(name: str, root: Path) -> Corpus:
    """Load the corpus ``name`` from its folder.

    Raises:
        CorpusError: there is no corpus of this name, or its folder cannot be used.
    """
    loaders = {
        "deam": load_deam,
        "pmemo": load_pmemo,
        "synthetic": _load_synthetic,
        "folder": load_folder_corpus,
    }
    if name not in loaders:
        raise CorpusError(f"unknown corpus '{name}': use one of {', '.join(loaders)}")
    return loaders[name](root)


def _load_synthetic(root: Path) -> Corpus:
    return load_folder_corpus(
        root,
        name="synthetic",
        licence=LICENCE,
        citation=CITATION,
        train_share=_SYNTHETIC_TRAIN_SHARE,
    )
