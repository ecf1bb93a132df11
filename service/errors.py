"""What can go wrong, each with its HTTP status and a stable code, and how it is written.

    ServiceError
    ├── InvalidRequestError      422 and the field that is wrong
    ├── AudioRefusedError        413 or 422, the code of models.audio.AudioError
    ├── NotFoundError            404
    │   ├── TrackNotFoundError
    │   ├── TrackNotIndexedError
    │   ├── EmotionNotFoundError
    │   └── AudioMissingError
    ├── BodyTooLargeError        413
    ├── BodyTooSlowError         408
    ├── UnsupportedBodyError     415
    ├── IndexDamagedError        503
    ├── IndexUnreachableError    503
    ├── DatabaseUnreachableError 503
    └── OverloadedError          503

    StartError                   never reaches HTTP: one line for whoever starts the service

Every one of them, and every error that the web framework makes itself, is rendered by
:func:`problem` as RFC 9457 ``application/problem+json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from models.audio import AudioError
from models.curve import CurveError

PROBLEM_MEDIA_TYPE = "application/problem+json"
_ERRORS_LISTED = 20


class StartError(RuntimeError):
    """The service, or a piece of offline work, cannot begin; the text says what to run."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; ``index`` is the first offending element of a list."""

    field: str
    message: str
    index: int | None = None

    @property
    def where(self) -> str:
        """The field as a caller writes it: ``curve.valence[3]``."""
        return self.field if self.index is None else f"{self.field}[{self.index}]"


class ServiceError(Exception):
    """An error that a caller sees; ``detail`` says what to do about it."""

    status = 500
    code = "internal_error"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail
        self.errors = tuple(errors)
        super().__init__(detail)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer."""
        return {}


class InvalidRequestError(ServiceError):
    """The request is well-formed and means nothing; ``errors`` name the fields."""

    status = 422
    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], *, code: str = "invalid_request") -> None:
        self.code = code
        first = errors[0]
        super().__init__(f"{first.where}: {first.message}", errors=errors)

    @classmethod
    def of_curve(cls, error: CurveError, parent: str = "") -> InvalidRequestError:
        """Name the field of a curve error as the request spells it, below ``parent``."""
        field = f"{parent}.{error.field}" if parent else error.field
        return cls([FieldError(field, error.detail, error.index)], code="invalid_curve")


class AudioRefusedError(ServiceError):
    """An upload that is no usable recording."""

    def __init__(self, error: AudioError) -> None:
        self.status = 413 if error.code == "audio_too_long" else 422
        self.code = error.code
        super().__init__(f"audio: {error}", errors=[FieldError("audio", str(error))])


class NotFoundError(ServiceError):
    """There is nothing of this name."""

    status = 404
    code = "not_found"


class TrackNotFoundError(NotFoundError):
    """No track of this id."""

    code = "track_not_found"

    def __init__(self, track_id: str) -> None:
        super().__init__(f"there is no track '{track_id}': GET /v1/tracks lists them")


class TrackNotIndexedError(NotFoundError):
    """The track is in the catalogue, but the search index does not hold it yet."""

    code = "track_not_indexed"

    def __init__(self, track_id: str) -> None:
        super().__init__(
            f"track '{track_id}' is not in the search index of the active model: ingest it again"
        )


class EmotionNotFoundError(NotFoundError):
    """No emotion of this id."""

    code = "emotion_not_found"

    def __init__(self, emotion_id: str) -> None:
        super().__init__(f"there is no emotion '{emotion_id}': GET /v1/emotions lists them")


class AudioMissingError(NotFoundError):
    """The track is known, but its file is gone."""

    code = "audio_missing"

    def __init__(self, track_id: str) -> None:
        super().__init__(
            f"the file of track '{track_id}' is no longer where it was ingested: ingest it again"
        )


class BodyTooLargeError(ServiceError):
    """The request's body goes on beyond what is read."""

    status = 413
    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {limit_bytes:,} bytes: send less")


class BodyTooSlowError(ServiceError):
    """The request's body stopped coming."""

    status = 408
    code = "body_too_slow"

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"nothing of the body came for {waited_s:g} s: send it again")


class UnsupportedBodyError(ServiceError):
    """The body is of another kind than the call takes."""

    status = 415
    code = "unsupported_media_type"


class IndexDamagedError(ServiceError):
    """A file of the search index is not as it was written; found while serving."""

    status = 503
    code = "index_damaged"

    def __init__(self) -> None:
        super().__init__("a file of the search index is damaged: build the index again")


class IndexUnreachableError(ServiceError):
    """The search engine that holds the index runs elsewhere and does not answer."""

    status = 503
    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("the search engine does not answer: try again in a moment")


class DatabaseUnreachableError(ServiceError):
    """The database does not answer, or not in time."""

    status = 503
    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("the database does not answer: try again in a moment")


class OverloadedError(ServiceError):
    """As many searches wait as may; nothing is wrong with the request."""

    status = 503
    code = "overloaded"
    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__("too many searches are waiting: try again in a moment")

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come again."""
        return {"Retry-After": str(self.retry_after_s)}


CODE_BY_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
}


def problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    code: str | None = None,
    errors: Sequence[FieldError] = (),
) -> bytes:
    """Write an RFC 9457 problem document.

    Pure ASCII, so that a lone surrogate that a caller sent and we quote cannot break the answer.
    """
    code = code or CODE_BY_STATUS.get(status, "error")
    body: dict[str, object] = {
        "type": f"urn:circumplex:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if errors:
        body["errors"] = [
            {"field": error.field, "index": error.index, "message": error.message}
            for error in errors[:_ERRORS_LISTED]
        ]
    return json.dumps(body).encode("ascii")
