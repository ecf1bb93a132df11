"""Every exception that a request may end in, as a problem document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.errors import (
    PROBLEM_MEDIA_TYPE,
    FieldError,
    InvalidRequestError,
    ServiceError,
    problem,
)

_PLACES = ("body", "query", "path", "header")
_NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")


def install(app: FastAPI) -> None:
    """Let every error of an application be answered in the one shape."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def invalid_request(errors: Iterable[Mapping[str, Any]]) -> InvalidRequestError:
    """Name the fields of pydantic's errors the way a caller writes them."""
    return InvalidRequestError([_field_error(error) for error in errors])


def _field_error(error: Mapping[str, Any]) -> FieldError:
    message = str(error["msg"]).removeprefix("Value error, ")
    place = list(error["loc"])
    if place and place[0] in _PLACES:
        place.pop(0)
    if error["type"] == "json_invalid":
        reason = error.get("ctx", {}).get("error", message)
        return FieldError("body", f"is no JSON, from character {place[-1]} on: {reason}")
    if error["type"] in _NO_OBJECT:
        message = "send a JSON object, with Content-Type: application/json"
    elif error["type"] == "extra_forbidden":
        message = "there is no such field"
    index = place.pop() if place and isinstance(place[-1], int) else None
    return FieldError(_path(place), message, index)


def _path(place: Sequence[str | int]) -> str:
    path = ""
    for step in place:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "body"


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return _response(
        request, error.status, error.detail, error.code, errors=error.errors, headers=error.headers
    )


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _service_error(request, invalid_request(error.errors()))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {
        404: f"there is nothing at {request.url.path}: see /docs",
        405: f"{request.method} is not for this path: see /docs",
    }
    detail = details.get(error.status_code, str(error.detail))
    return _response(request, error.status_code, detail, None, headers=error.headers or {})


def _response(
    request: Request,
    status: int,
    detail: str,
    code: str | None,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str],
) -> Response:
    body = problem(status, detail, request.state.request_id, code=code, errors=errors)
    return Response(body, status, dict(headers), PROBLEM_MEDIA_TYPE)
