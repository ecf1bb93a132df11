"""Real towers of any D, and any number of items for them: trained on DEAM, fed mixed songs.

An item is the mix of the features of two songs at a random share, a query a mix of two songs or of
two curves; towers are trained as ``circumplex train --corpus deam`` does it, with D changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle, save_bundle
from models.cache import cache_folder
from models.committee import AnyTower
from models.progress import Progress
from models.similarity import Encodings
from training.corpora.deam import load_deam
from training.features import load_features
from training.pipeline import train_bundle
from training.recipes import CIRCUMPLEX, COMMITTEE, Recipe

Kind = Literal["committee", "mlp"]
KINDS: tuple[Kind, ...] = ("committee", "mlp")

_MEMBERS = 8
_ROWS_AT_ONCE = 8_192
_SEED = 11
_RECIPES: dict[Kind, Recipe] = {
    "committee": replace(CIRCUMPLEX, committee=replace(COMMITTEE, members=_MEMBERS)),
    "mlp": replace(
        CIRCUMPLEX,
        committee=None,
        mlp_widths=(256, 256),
        emotion_recurrent=64,
        emotion_widths=(128, 128),
        dropout=0.4,
        learning_rate=1e-3,
        decay=0.01,
        trunk_decay=0.01,
        least_steps=400,
        epochs=60,
    ),
}


@dataclass(frozen=True, eq=False)
class Material:
    """Towers, the features of songs (S, F) and the curves of their first windows (C, 60, 2)."""

    bundle: Bundle
    songs: NDArray[np.float32]
    curves: NDArray[np.float32]

    @property
    def dimensions(self) -> int:
        """D."""
        return self.bundle.manifest.music_tower.dimensions

    @property
    def divergence_scale(self) -> float:
        """The s of the composite similarity."""
        return self.bundle.manifest.divergence_scale

    def items(self, count: int, seed: int = _SEED) -> Iterator[Encodings]:
        """Yield ``count`` encoded mixes of the features of songs, block by block."""
        rng = np.random.default_rng(seed)
        for first in range(0, count, _ROWS_AT_ONCE):
            mixed = _mixed(self.songs, min(_ROWS_AT_ONCE, count - first), rng)
            yield _encode(self.bundle.music, mixed[:, None])

    def queries(self, count: int, seed: int) -> dict[str, Encodings]:
        """Return ``count`` queries of each kind, none of them an item."""
        rng = np.random.default_rng(seed)
        return {
            "curves": _encode(self.bundle.emotion, _mixed(self.curves, count, rng)),
            "recordings": _encode(self.bundle.music, _mixed(self.songs, count, rng)[:, None]),
        }


def load_material(deam: Path, dimensions: int, kind: Kind = "committee") -> Material:
    """Train towers of ``dimensions`` (a multiple of 8), or take them from the cache.

    A ``committee`` is what ``circumplex train`` makes, over a dozen numbers; an ``mlp`` sees all
    features, and its encodings vary in many more directions.

    Raises:
        training.corpora.corpus.CorpusError: ``deam`` is not DEAM in its official layout.
    """
    corpus = load_deam(deam)
    features = load_features(deam / "features_song_level_opensmile.csv")
    kept = cache_folder() / f"bench-towers-{kind}-{dimensions}"
    if not kept.is_dir():
        recipe = replace(_RECIPES[kind], dimensions=dimensions)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_bundle(train_bundle(corpus, features, None, recipe, "mlp", seed=0)[0], kept)
    songs = np.stack([features[song][0] for song in sorted(features)]).astype(np.float32)
    curves = np.stack(
        [piece.curve.windows()[0].curve.values.astype(np.float32) for piece in corpus.pieces]
    )
    return Material(load_bundle(kept), songs, curves)


def write_encodings(material: Material, file: Path, count: int) -> None:
    """Write ``count`` items as an array (N, 3, D) of float32, never holding more than a block."""
    written = np.lib.format.open_memmap(file, "w+", "<f4", (count, 3, material.dimensions))
    with Progress("Encoding mixed songs", count, "items") as progress:
        first = 0
        for block in material.items(count):
            part = slice(first, first + len(block))
            for place, values in enumerate((block.embedding, block.mean, block.variance)):
                written[part, place] = values
            first += len(block)
            progress.advance(len(block))
    written.flush()


def _mixed(known: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    first, second = rng.integers(0, len(known), (2, count))
    share = rng.random((count, *([1] * (known.ndim - 1))), np.float32)
    mixed: NDArray[np.float32] = known[second]
    mixed += share * (known[first] - mixed)
    return mixed


@torch.inference_mode()
def _encode(tower: AnyTower, sequences: NDArray[np.float32]) -> Encodings:
    parts = []
    for first in range(0, len(sequences), _ROWS_AT_ONCE):
        block = torch.from_numpy(sequences[first : first + _ROWS_AT_ONCE])
        encoded = tower(block, torch.full((len(block),), block.shape[1]))
        parts.append(Encodings(*(part.numpy() for part in encoded)))
    return Encodings.stack(parts)
