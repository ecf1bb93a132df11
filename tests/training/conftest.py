"""A small corpus of features whose curves can be heard: enough to train on in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import random_curve
from training.corpora.corpus import Corpus, Piece
from training.examples import Example, aligned_examples
from training.features import Features
from training.recipes import CIRCUMPLEX, COMMITTEE, Recipe


def audible_corpus(pieces: int, seed: int = 0) -> tuple[Corpus, Features]:
    """Make pieces of 45 s whose 6 features per patch are a noisy linear image of their curve."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, 6))
    made, features = [], {}
    for number in range(pieces):
        curve = random_curve(rng, 90)
        times = np.minimum((np.arange(46) + 0.5) * 0.96 * 2, 89).astype(int)
        heard = curve.values[times] @ image + 0.1 * rng.normal(size=(46, 6))
        name = f"{number:03d}"
        made.append(Piece(name, f"Piece {name}", curve, 0.0, None))
        features[name] = heard.astype(np.float32)
    return Corpus("audible", "CC0-1.0", "made here", tuple(made), 0.75), features


@pytest.fixture(scope="session")
def audible() -> tuple[Corpus, Features]:
    """Return 48 pieces and their features."""
    return audible_corpus(48)


@pytest.fixture(scope="session")
def audible_examples(audible: tuple[Corpus, Features]) -> list[Example]:
    """Return the same as aligned examples."""
    return aligned_examples(*audible)


@pytest.fixture(scope="session")
def quick_recipe() -> Recipe:
    """Return our recipe, cut down to seconds."""
    return replace(
        CIRCUMPLEX,
        name="quick",
        dimensions=16,
        bigru_recurrent=12,
        bigru_widths=(24,),
        learning_rate=5e-3,
        epochs=40,
        least_steps=0,
        validate_every=10,
        committee=replace(COMMITTEE, members=2, width=16),
    )
