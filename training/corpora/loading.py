"""Corpora by the name that the command line gives them."""

from __future__ import annotations

from pathlib import Path

from training.corpora.corpus import Corpus, CorpusError
from training.corpora.folder import load_folder_corpus
from training.corpora.synthetic import CITATION, LICENCE

_SYNTHETIC_TRAIN_SHARE = 0.75


def load_corpus(name: str, root: Path) -> Corpus:
    """Load the corpus ``name`` from its folder.

    Raises:
        CorpusError: there is no corpus of this name, or its folder cannot be used.
    """
    if name == "synthetic":
        return load_folder_corpus(
            root,
            name=name,
            licence=LICENCE,
            citation=CITATION,
            train_share=_SYNTHETIC_TRAIN_SHARE,
        )
    if name == "folder":
        return load_folder_corpus(root)
    raise CorpusError(f"unknown corpus '{name}': use synthetic or folder")
