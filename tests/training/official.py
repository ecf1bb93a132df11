"""Corpora in their official layouts for tests: real annotations, real or generated recordings."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from tests.models.sounds import noise, sine
from training.corpora.corpus import Corpus

Rows = list[list[str]]
RATE_HZ = 16_000


def copy_table(source: Path, target: Path, change: Callable[[Rows], Rows]) -> None:
    """Write ``source`` to ``target`` with its rows, header first, as ``change`` returns them."""
    with source.open(newline="") as file:
        rows = list(csv.reader(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))


def copy_folder(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copy files by their paths under ``source``."""
    for relative in files:
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        (target / relative).write_bytes((source / relative).read_bytes())


def write_mp3(path: Path, duration_s: float, seed: int) -> None:
    """Write a tone over noise as a mono MP3 of this duration."""
    rng = np.random.default_rng(seed)
    samples = sine(RATE_HZ, duration_s, frequency_hz=rng.uniform(100, 2_000), amplitude=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples + noise(len(samples), seed=seed), RATE_HZ, format="MP3")


def only(corpus: Corpus, ids: Iterable[str]) -> Corpus:
    """Return the corpus with these pieces only, in its order."""
    wanted = set(ids)
    return replace(corpus, pieces=tuple(piece for piece in corpus.pieces if piece.id in wanted))
