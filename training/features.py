"""Music features of a corpus: computed once per recording, cached, resumable, over all cores."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.audio import AudioError, decode
from models.frontends import Frontend
from models.progress import Progress
from training.corpora.corpus import Corpus, CorpusError, Piece
from training.corpora.labels import first_few

Features = dict[str, NDArray[np.float32]]


def extract_features(corpus: Corpus, frontend: Frontend, cache: Path) -> Features:
    """Return the (T, F) features of every piece, from the cache where they are there.

    A cached file is named after the recording's content and the frontend's identity, and appears
    only when it is complete: an interrupted run goes on where it stopped.

    Raises:
        CorpusError: pieces have no recording, or one cannot be decoded.
    """
    _refuse_missing_recordings(corpus)
    cache.mkdir(parents=True, exist_ok=True)
    identity = json.dumps(frontend.identity(), sort_keys=True)

    def one(piece: Piece) -> tuple[str, NDArray[np.float32]]:
        return piece.id, _cached_features(piece, frontend, identity, cache)

    features: Features = {}
    with (
        Progress("extracting features", len(corpus.pieces), "recordings") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,  # decoding, FFT and networks release the GIL
    ):
        for piece_id, array in _bounded_map(pool, one, corpus.pieces):
            features[piece_id] = array
            progress.advance()
    return features


def load_features(path: Path) -> Features:
    """Read precomputed features: CSV (id, then one vector) or NPZ (id → (T, F)).

    Raises:
        CorpusError: the file cannot be read, a row has another length or a value is not finite.
    """
    try:
        features = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{path}: {error}: expected a CSV of id,f1,f2,... or an NPZ") from error
    if not features:
        raise CorpusError(f"{path} holds no features")
    sizes = {array.shape[1] for array in features.values()}
    if len(sizes) > 1:
        raise CorpusError(f"{path}: features of different sizes: {sorted(sizes)}")
    for piece_id, array in features.items():
        if not np.isfinite(array).all():
            raise CorpusError(f"{path}: the features of {piece_id} are not finite")
    return features


def _refuse_missing_recordings(corpus: Corpus) -> None:
    missing = [piece.id for piece in corpus.pieces if piece.audio is None]
    if missing:
        raise CorpusError(
            f"{len(missing):,} of {len(corpus.pieces):,} pieces have no recording "
            f"({first_few(missing)}). {corpus.source}. "
            "Or give --features, computed elsewhere"
        )


def _cached_features(
    piece: Piece, frontend: Frontend, identity: str, cache: Path
) -> NDArray[np.float32]:
    assert piece.audio is not None
    content = piece.audio.read_bytes()
    key = hashlib.sha256(content + identity.encode()).hexdigest()
    cached = cache / f"{key}.npy"
    if cached.exists():
        stored: NDArray[np.float32] = np.load(cached)
        return stored
    try:
        features = frontend.features(decode(content).waveform)
    except AudioError as error:
        raise CorpusError(f"{piece.audio}: {error}") from error
    # Two pieces may be one recording, and two trainings may share a cache.
    partial = cached.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial.npy")
    np.save(partial, features)
    partial.replace(cached)
    return features


def _bounded_map(
    pool: ThreadPoolExecutor,
    function: Callable[[Piece], tuple[str, NDArray[np.float32]]],
    pieces: Iterable[Piece],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Map in order with a few calls in flight, so that an error stops the rest."""
    waiting = iter(pieces)
    flying = [pool.submit(function, piece) for piece in islice(waiting, 2 * (os.cpu_count() or 1))]
    while flying:
        result = flying.pop(0).result()
        flying += [pool.submit(function, piece) for piece in islice(waiting, 1)]
        yield result


def _read_npz(path: Path) -> Features:
    with np.load(path) as arrays:
        return {name: np.atleast_2d(np.asarray(arrays[name], np.float32)) for name in arrays.files}


def _read_csv(path: Path) -> Features:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        next(rows, None)
        return {row[0]: np.array([row[1:]], np.float32) for row in rows if row}
