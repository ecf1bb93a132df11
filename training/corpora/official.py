"""What corpora in an official layout share: one message of all that is wrong, and checksums."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from models.checksum import file_sha256
from training.corpora.corpus import CorpusError

logger = logging.getLogger(__name__)


def refuse_if_wrong(name: str, root: Path, problems: list[str], source: str) -> None:
    """Raise one error that names every problem found, and where the corpus comes from.

    Raises:
        CorpusError: there is a problem.
    """
    if problems:
        raise CorpusError(f"{root} is not the {name} corpus: {'; '.join(problems)}. {source}")


def warn_of_other_content(name: str, root: Path, checksums: Mapping[str, str]) -> None:
    """Log a warning for each file, by its path under ``root``, that has another SHA-256.

    The checksums are those of recovered copies, and annotations are re-published now and then: such
    a file is used, but figures on it may differ from ours.
    """
    for relative, expected in checksums.items():
        found = file_sha256(root / relative)
        if found != expected:
            logger.warning(
                "%s has another SHA-256 (%s...) than the copy of %s that our figures were measured "
                "on (%s...): it is used as it is",
                root / relative,
                found[:12],
                name,
                expected[:12],
            )
