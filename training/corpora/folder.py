"""A corpus in a folder: ``curves.csv``, ``audio/<id>.*`` and, where there is one, ``tracks.csv``.

``curves.csv``: the first column is the item's id, then ``time_s,arousal,valence`` with values in
[-1, 1] at any sampling. ``tracks.csv``: ``id,title,artist,...``.
"""

from __future__ import annotations

import csv
from pathlib import Path

from models.audio import AUDIO_SUFFIXES
from models.curve import Curve, CurveError
from training.corpora.corpus import Corpus, CorpusError, Piece
from training.corpora.labels import read_labels

_COLUMNS = ("time_s", "arousal", "valence")


def load_folder_corpus(
    root: Path,
    *,
    name: str = "folder",
    licence: str = "as its owner says",
    citation: str = "",
    train_share: float = 0.8,
) -> Corpus:
    """Read a folder corpus; pieces without a recording are kept, for use with ``--features``.

    Raises:
        CorpusError: ``curves.csv`` is missing, lacks a column, or holds a curve that is invalid.
    """
    labels = read_labels(root / "tracks.csv")
    recordings = _find_recordings(root / "audio")
    pieces = []
    for piece_id, points in sorted(_read_points(root / "curves.csv").items()):
        times_s, arousal, valence = (list(column) for column in zip(*points, strict=True))
        try:
            curve = Curve.from_points(arousal, valence, times_s=times_s)
        except CurveError as error:
            raise CorpusError(f"{root / 'curves.csv'}, item {piece_id}: {error}") from error
        pieces.append(
            Piece(
                piece_id,
                labels.get(piece_id, piece_id),
                curve,
                times_s[0],
                recordings.get(piece_id),
            )
        )
    if not pieces:
        raise CorpusError(f"{root / 'curves.csv'} holds no curve")
    return Corpus(name, licence, citation, tuple(pieces), train_share)


def _read_points(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    points: dict[str, list[tuple[float, float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            missing = [column for column in _COLUMNS if column not in columns[1:]]
            if missing:
                raise CorpusError(f"{path} lacks the column {missing[0]}: expected id,time_s,...")
            for line, row in enumerate(rows, start=2):
                try:
                    point = (float(row["time_s"]), float(row["arousal"]), float(row["valence"]))
                except (TypeError, ValueError) as error:
                    raise CorpusError(f"{path}, line {line}: expected three numbers") from error
                points.setdefault(row[columns[0]], []).append(point)
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read ({error.strerror}): a folder corpus needs curves.csv with "
            "id,time_s,arousal,valence, and audio/<id>.* beside it"
        ) from error
    return points


def _find_recordings(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES
    }
