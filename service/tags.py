"""Titles and artists out of a recording's tags, which anyone may have written."""

from __future__ import annotations

import logging
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import mutagen

_LONGEST = 300
_KEYS = {
    "title": ("title", "TIT2"),
    "artist": ("artist", "TPE1"),
    "album": ("album", "TALB"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tags:
    """What a recording calls itself; ``title`` falls back to the file's stem."""

    title: str
    artist: str | None
    album: str | None


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
        texts["title"] or clean_text(path.stem) or "untitled", texts["artist"], texts["album"]
    )


def clean_text(text: str) -> str:
    """Drop control characters and lone surrogates, join white space, cut at 300 characters."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return " ".join(kept.split())[:_LONGEST].strip()


def _first_text(tags: dict[str, object], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = tags.get(key)
        # Most formats give lists of strings, ID3 in WAV and AIFF frames with `.text`.
        value = getattr(value, "text", value)
        if isinstance(value, list) and value:
            value = value[0]
        if value is not None and (text := clean_text(str(value))):
            return text
    return None
