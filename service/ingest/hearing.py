"""One file → what becomes of it: known already, heard, or of no use. Knows no database."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from models.audio import AudioError, decode
from models.bundle import Bundle, EncodedRecording
from models.tempo import tempo_bpm
from service.tags import Tags, read_tags

logger = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What the catalogue lacks of a file's content."""

    encoding: bool
    tempo: bool


@dataclass(frozen=True, eq=False)
class Known:
    """The catalogue lacks nothing of this content."""

    sha256: str


@dataclass(frozen=True, eq=False)
class Heard:
    """A decoded file, without its samples; ``encoded`` and ``bpm`` are None where not wanted.

    ``bpm`` is also None for music without a beat.
    """

    sha256: str
    size_bytes: int
    tags: Tags
    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str
    encoded: EncodedRecording | None
    bpm: float | None


@dataclass(frozen=True)
class Failed:
    """A file that cannot be used, and why."""

    reason: str


Outcome: TypeAlias = Known | Heard | Failed


class Hearer:
    """Hears files with one bundle; may be called from several threads."""

    def __init__(
        self, bundle: Bundle, wanted: Callable[[str], Wanted], *, max_audio_s: float
    ) -> None:
        """Ask ``wanted`` with the SHA-256 of a file's content, in hexadecimal, before decoding."""
        self._bundle = bundle
        self._wanted = wanted
        self._max_audio_s = max_audio_s

    def hear(self, path: Path) -> Outcome:
        """Read, decode and encode a file, as far as it is wanted."""
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                wanted = self._wanted(sha256)
                if not any(wanted):
                    return Known(sha256)
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(0)
                recording = decode(
                    file, rate_hz=self._bundle.hearing_rate_hz, max_duration_s=self._max_audio_s
                )
        except AudioError as error:
            return Failed(str(error))
        except OSError as error:
            return Failed(error.strerror or str(error))
        except Exception as error:  # one strange file must not end a run over thousands
            logger.exception("decoding %s failed in an unforeseen way", path)
            return Failed(f"decoding failed: {error!r}")
        return Heard(
            sha256=sha256,
            size_bytes=size_bytes,
            tags=read_tags(path),
            duration_s=recording.duration_s,
            sample_rate_hz=recording.sample_rate_hz,
            channels=recording.channels,
            format=recording.format,
            encoded=self._bundle.encode_recording(recording) if wanted.encoding else None,
            bpm=(
                tempo_bpm(recording.waveform, recording.waveform_rate_hz) if wanted.tempo else None
            ),
        )
