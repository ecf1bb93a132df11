"""Which exit status an error means, and the one line that says why."""

from __future__ import annotations

import os
import traceback
from typing import Any

_WRONG_INPUT = {
    "AudioError",
    "AudioRefusedError",
    "BundleError",
    "CorpusError",
    "CurveError",
    "FrontendError",
    "InputError",
    "InvalidRequestError",
    "WeightsError",
}
_NOT_READY = {"StartError"}


class InputError(ValueError):
    """Something that the caller gave cannot be used; the text says what to do."""


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit status and the line for an error.

    The errors are known by name, so that explaining one does not import what raised it. With
    ``CIRCUMPLEX_TRACEBACK`` set, an unforeseen error also shows its traceback.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    line = " ".join(str(error).split()) or type(error).__name__
    if names & _WRONG_INPUT:
        return 2, line
    if names & _NOT_READY:
        return 1, line
    if "ValidationError" in names and getattr(error, "title", None) == "Settings":
        return 2, _wrong_settings(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return 2, f"{error.filename}: {error.strerror}"
    if os.environ.get("CIRCUMPLEX_TRACEBACK"):
        traceback.print_exception(error)
    return 1, f"{type(error).__name__}: {line}"


def _wrong_settings(error: Any) -> str:
    """Name the environment variables that hold what no setting takes."""
    return "; ".join(
        f"CIRCUMPLEX_{'_'.join(map(str, each['loc'])).upper()}={each['input']}: {each['msg']}"
        for each in error.errors()
    )
