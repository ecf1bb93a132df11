"""What pieces are called in front of people: names out of a corpus' tables, and lists of ids."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

_ID_COLUMNS = ("id", "song_id", "musicid")
_ARTIST_COLUMNS = ("artist",)
_TITLE_COLUMNS = ("title", "song title", "track")
_NAMED = 5


def read_labels(path: Path) -> dict[str, str]:
    """Return "artist - title" by id, or what there is of it; nothing where there is no table.

    Columns are known by their names in any case: DEAM's three tables name them in three ways, and
    pad their cells with tabs and quotes.
    """
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        names = [name.strip().lower() for name in next(rows, [])]
        columns = [
            _find(names, wanted) for wanted in (_ID_COLUMNS, _ARTIST_COLUMNS, _TITLE_COLUMNS)
        ]
        labels = {}
        for row in rows:
            piece_id, artist, title = (_cell(row, column) for column in columns)
            if piece_id:
                labels[piece_id] = " - ".join(part for part in (artist, title) if part)
    return {piece_id: label for piece_id, label in labels.items() if label}


def first_few(items: Sequence[object]) -> str:
    """Name the first five items for a message: "a, b, c, d, e, ..."."""
    named = ", ".join(str(item) for item in items[:_NAMED])
    return f"{named}, ..." if len(items) > _NAMED else named


def _find(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _cell(row: list[str], column: int | None) -> str:
    if column is None or column >= len(row):
        return ""
    return " ".join(row[column].split()).strip('" ')
