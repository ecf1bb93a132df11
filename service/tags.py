"""Titles, artists and genres out of a recording's tags, which anyone may have written."""

from __future__ import annotations

import logging
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import mutagen

_LONGEST = 300
_LONGEST_GENRE = 100
_MOST_GENRES = 20
_GENRE_SEPARATORS = re.compile("[;,/\0]")
_KEYS = {
    "title": ("title", "TIT2"),
    "artist": ("artist", "TPE1"),
    "album": ("album", "TALB"),
}
_GENRE_KEYS = ("genre", "TCON")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tags:
    """What a recording calls itself; ``title`` falls back to the file's stem.

    ``genres`` are in lower case, each once, in the file's order.
    """

    title: str
    artist: str | None
    album: str | None
    genres: tuple[str, ...] = ()


def read_tags(path: Path) -> Tags:
    """Read the tags of a file; broken ones count as none."""
    try:
        found = mutagen.File(path, easy=True)
        tags = dict(found.tags) if found is not None and found.tags is not None else {}
    except Exception as error:  # noqa: BLE001 - parsers of hostile tags fail in any way
        logger.info("the tags of %s cannot be read: %s", path, error)
        tags = {}
    texts = {name: _first_text(tags, keys) for name, keys in _KEYS.items()}
    return Tags(
        texts["title"] or clean_text(path.stem) or "untitled",
        texts["artist"],
        texts["album"],
        _genres(tags),
    )


def clean_text(text: str) -> str:
    """Drop control characters and lone surrogates, join white space, cut at 300 characters."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(kept.split())[:_LONGEST].strip()


def _first_text(tags: dict[str, object], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        for value in _values(tags.get(key))[:1]:
            if text := clean_text(value):
                return text
    return None


def _genres(tags: dict[str, object]) -> tuple[str, ...]:
    """Split every genre of a file: many programs write several into one field."""
    genres: dict[str, None] = {}
    for key in _GENRE_KEYS:
        for value in _values(tags.get(key)):
            for part in _GENRE_SEPARATORS.split(value):
                if genre := clean_text(part).lower()[:_LONGEST_GENRE].strip():
                    genres[genre] = None
    return tuple(genres)[:_MOST_GENRES]


def _values(value: object) -> list[str]:
    # Most formats give lists of strings, ID3 in WAV and AIFF frames: with `.genres`, where numbers
    # have become names, or `.text`.
    value = getattr(value, "genres", None) or getattr(value, "text", value)
    values = value if isinstance(value, list) else [value]
    return [str(each) for each in values if each is not None]
