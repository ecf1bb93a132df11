"""Which files are recordings: a walk that holds one folder's names at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from models.audio import AUDIO_SUFFIXES

NOT_UNICODE = "the file's name is not valid Unicode: rename it"

OnFailure = Callable[[Path, str], None]
"""Called with what cannot be walked and the reason."""


def audio_files(paths: Sequence[Path], on_failure: OnFailure) -> Iterator[Path]:
    """Yield every recording under ``paths``, once.

    Folders are walked in sorted order for files with an audio suffix, hidden ones left out; a file
    that is named itself needs no suffix.
    """
    roots: list[Path] = []
    for given in paths:
        root = given.expanduser().resolve()
        if not root.exists():
            on_failure(given, "there is no such file or folder")
        elif root not in roots:
            roots.append(root)
    for root in roots:
        if any(other != root and _walk_reaches(other, root) for other in roots):
            continue
        if root.is_file():
            yield root
        else:
            yield from _walk(root, on_failure)


def count_audio_files(paths: Sequence[Path]) -> int:
    """Return how many files :func:`audio_files` yields."""
    return sum(1 for _ in audio_files(paths, lambda _path, _reason: None))


def _walk_reaches(folder: Path, root: Path) -> bool:
    """Tell whether walking ``folder`` comes by ``root``; both are free of links."""
    if not root.is_relative_to(folder):
        return False
    if any(part.startswith(".") for part in root.relative_to(folder).parts):
        return False
    return root.is_dir() or root.suffix.lower() in AUDIO_SUFFIXES


def _walk(root: Path, on_failure: OnFailure) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        on_failure(Path(error.filename), error.strerror or "cannot be read")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith("."):
                yield path


def is_unicode(path: Path) -> bool:
    """Tell whether a path can be stored as text, which not every name on disk can."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
