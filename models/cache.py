"""Where downloads and computed features are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache folder: ``CIRCUMPLEX_CACHE``, else ``circumplex`` in XDG's."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "circumplex"
    return Path(os.environ.get("CIRCUMPLEX_CACHE", default))
