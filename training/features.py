"""Music features of a corpus: computed once per recording, cached, resumable, over all cores."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.audio import AUDIO_SUFFIXES, AudioError, decode
from models.frontends import Frontend, OpensmileFrontend
from models.opensmile_columns import DEAM_COLUMNS, at_common_level
from models.progress import Progress
from training.corpora.corpus import Corpus, CorpusError
from training.corpora.labels import first_few

Features = dict[str, NDArray[np.float32]]


def extract_features(corpus: Corpus, frontend: Frontend, cache: Path) -> Features:
    """Return the (T, F) features of every piece: :func:`extract_recordings` of its recordings.

    Raises:
        CorpusError: pieces have no recording, or one cannot be decoded.
    """
    _refuse_missing_recordings(corpus)
    recordings = {piece.id: piece.audio for piece in corpus.pieces if piece.audio is not None}
    return extract_recordings(recordings, frontend, cache)


def extract_recordings(recordings: Mapping[str, Path], frontend: Frontend, cache: Path) -> Features:
    """Return the (T, F) features of recordings by their names, from the cache where they are there.

    A cached file is named after the recording's content and the frontend's identity, and appears
    only when it is complete: an interrupted run goes on where it stopped.

    Raises:
        CorpusError: a recording cannot be decoded.
    """
    cache.mkdir(parents=True, exist_ok=True)
    identity = json.dumps(frontend.identity(), sort_keys=True)

    def one(recording: tuple[str, Path]) -> tuple[str, NDArray[np.float32]]:
        name, path = recording
        return name, _cached_features(path, frontend, identity, cache)

    features: Features = {}
    with (
        Progress("extracting features", len(recordings), "recordings") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,  # decoding, FFT and networks release the GIL
    ):
        for name, array in _bounded_map(pool, one, recordings.items()):
            features[name] = array
            progress.advance()
    return features


def load_unlabelled(path: Path, frontend: Frontend | None, cache: Path) -> Features:
    """Read music without curves: an NPZ of (T, F) arrays, or a folder of recordings to be heard.

    Raises:
        CorpusError: the NPZ cannot be used, the folder holds no recording or one that cannot be
            decoded, or there is no frontend to hear it with.
    """
    if not path.is_dir():
        return load_features(path)
    if frontend is None:
        raise CorpusError(f"{path} is a folder of recordings: say with --frontend how to hear them")
    recordings = {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in AUDIO_SUFFIXES
    }
    if not recordings:
        raise CorpusError(f"{path} holds no recordings")
    return extract_recordings(recordings, frontend, cache)


def load_features_for(frontend: Frontend | None, path: Path) -> Features:
    """Read precomputed features as ``frontend`` would have computed them.

    For the opensmile frontend a CSV is a table like DEAM's: its columns are found by their names.

    Raises:
        CorpusError: as :func:`load_features`.
    """
    if not isinstance(frontend, OpensmileFrontend) or path.suffix == ".npz":
        return load_features(path)
    table = load_features(path, DEAM_COLUMNS)
    return {piece_id: at_common_level(values) for piece_id, values in table.items()}


def load_features(path: Path, columns: Sequence[str] | None = None) -> Features:
    """Read precomputed features: CSV (id, then one vector) or NPZ (id → (T, F)).

    Of a CSV, ``columns`` are taken by the names in its first line, in the order given (default:
    all, as they come); an NPZ has no names, and is taken as it is.

    Raises:
        CorpusError: the file cannot be read, lacks a column, a row has another length or a value is
            not finite.
    """
    try:
        features, names = (_read_npz(path), None) if path.suffix == ".npz" else _read_csv(path)
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
    if columns is None or names is None:
        return features
    return _chosen(features, names, columns, path)


def _refuse_missing_recordings(corpus: Corpus) -> None:
    missing = [piece.id for piece in corpus.pieces if piece.audio is None]
    if missing:
        raise CorpusError(
            f"{len(missing):,} of {len(corpus.pieces):,} pieces have no recording "
            f"({first_few(missing)}). {corpus.source}. "
            "Or give --features, computed elsewhere"
        )


def _cached_features(
    path: Path, frontend: Frontend, identity: str, cache: Path
) -> NDArray[np.float32]:
    content = path.read_bytes()
    key = hashlib.sha256(content + identity.encode()).hexdigest()
    cached = cache / f"{key}.npy"
    if cached.exists():
        stored: NDArray[np.float32] = np.load(cached)
        return stored
    try:
        features = frontend.features(decode(content, rate_hz=frontend.sample_rate_hz).waveform)
    except AudioError as error:
        raise CorpusError(f"{path}: {error}") from error
    # Two pieces may be one recording, and two trainings may share a cache.
    partial = cached.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial.npy")
    np.save(partial, features)
    partial.replace(cached)
    return features


def _bounded_map(
    pool: ThreadPoolExecutor,
    function: Callable[[tuple[str, Path]], tuple[str, NDArray[np.float32]]],
    recordings: Iterable[tuple[str, Path]],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Map in order with a few calls in flight, so that an error stops the rest."""
    waiting = iter(recordings)
    flying = [pool.submit(function, item) for item in islice(waiting, 2 * (os.cpu_count() or 1))]
    while flying:
        result = flying.pop(0).result()
        flying += [pool.submit(function, item) for item in islice(waiting, 1)]
        yield result


def _read_npz(path: Path) -> Features:
    with np.load(path) as arrays:
        return {name: np.atleast_2d(np.asarray(arrays[name], np.float32)) for name in arrays.files}


def _read_csv(path: Path) -> tuple[Features, list[str]]:
    """Return one (1, F) vector an id, and the names of the F columns in the first line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])[1:]]
        return {row[0]: np.array([row[1:]], np.float32) for row in rows if row}, names


def _chosen(features: Features, names: list[str], columns: Sequence[str], path: Path) -> Features:
    size = next(iter(features.values())).shape[1]
    if len(names) != size:
        raise CorpusError(f"{path}: {len(names)} columns have names, its rows {size} values")
    missing = [column for column in columns if column not in names]
    if missing:
        raise CorpusError(
            f"{path} lacks {len(missing)} of the {len(columns)} columns that the frontend gives: "
            f"{first_few(missing)}"
        )
    places = [names.index(column) for column in columns]
    return {piece_id: array[:, places] for piece_id, array in features.items()}
