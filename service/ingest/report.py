"""What an ingest did, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class IngestReport:
    """Tracks ``added`` and ``skipped``, files ``failed`` with their reasons, and what it took.

    ``windows`` counts those that were encoded, ``tempi`` the tempi that were found. ``heard`` files
    with ``heard_s`` seconds of music were decoded in ``wall_s`` seconds, which cost ``cpu_s``
    seconds on ``cores`` cores. Only ``failed`` grows with the number of files.
    """

    added: int = 0
    skipped: int = 0
    windows: int = 0
    tempi: int = 0
    heard: int = 0
    heard_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    cores: int = 1
    failed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def tracks_per_s(self) -> float:
        """Tracks heard in a second."""
        return self.heard / self.wall_s if self.wall_s else 0.0

    @property
    def times_real_time(self) -> float:
        """Seconds of music heard in a second."""
        return self.heard_s / self.wall_s if self.wall_s else 0.0

    @property
    def cores_busy(self) -> float:
        """The share of the cores' time that was used, 1 where all were busy all the time."""
        return self.cpu_s / (self.wall_s * self.cores) if self.wall_s else 0.0
