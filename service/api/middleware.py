"""What every request passes through, as plain ASGI: its id, its errors, the size of its body."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import REQUEST_SECONDS
from service.errors import (
    PROBLEM_MEDIA_TYPE,
    BodyTooLargeError,
    BodyTooSlowError,
    FieldError,
    ServiceError,
    problem,
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BODY_PAUSE_S = 30.0
_DRAINED_S = 2.0

logger = logging.getLogger("service.http")


class EdgeMiddleware:
    """Gives each request its id and a line in the log, and each error the one shape.

    Errors that some part of the framework wrote in a shape of its own are written anew.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            answer.note = "client gone"
        except Exception:
            if answer.status:
                raise  # too late for another answer; the server logs it and breaks the connection
            logger.exception("request %s failed", request_id)
            await answer.refuse(500, "something went wrong inside: tell us the request_id")
        finally:
            took_s = time.perf_counter() - started_s
            # By the route's pattern: paths with ids would be a series each.
            path = getattr(scope.get("route"), "path", "other")
            REQUEST_SECONDS.labels(scope["method"], path, str(answer.status)).observe(took_s)
            logger.info(
                "%s %s %s %.1f ms %s",
                scope["method"],
                quote(scope["path"]),
                answer.note or answer.status,
                took_s * 1_000,
                request_id,
            )


class _Answer:
    """Sends on what the application answers, with the headers and the error shape of us all."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self.note = ""
        self._send = send
        self._request_id = request_id
        self._replaced = False

    async def send(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message["headers"]))
            if self.status >= 400 and headers.get("content-type") != PROBLEM_MEDIA_TYPE:
                self._replaced = True
                await self._replace(headers)
                return
            headers["X-Request-ID"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            message = {**message, "headers": headers.raw}
        await self._send(message)

    async def refuse(self, status: int, detail: str) -> None:
        """Answer with an error."""
        await send_problem(self.send, status, detail, self._request_id)

    async def _replace(self, headers: MutableHeaders) -> None:
        kept = {
            name: headers[name]
            for name in ("allow", "content-range", "retry-after")
            if name in headers
        }
        detail = f"{HTTPStatus(self.status).phrase}: see /docs"
        self._replaced = False
        await send_problem(self.send, self.status, detail, self._request_id, headers=kept)
        self._replaced = True


class BodyLimitMiddleware:
    """Counts bodies as they arrive, whatever their headers say, and gives up on silent ones."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        """Take the most bytes of a body as a function of the path."""
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        body = _LimitedBody(receive, send, limit)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            body.refused = BodyTooLargeError(limit)
        else:
            try:
                await self._app(scope, body.receive, body.send)
            except ClientDisconnect:
                if body.refused is None:
                    raise
        if body.refused is not None and not body.answered:
            await self._refuse(scope, receive, send, body.refused)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, error: ServiceError
    ) -> None:
        await send_problem(
            send,
            error.status,
            error.detail,
            scope["state"]["request_id"],
            code=error.code,
            headers={"connection": "close"},
            finish=False,
        )
        # A connection closed with unread bytes is reset, and the client may lose the answer: read
        # on for a moment, then close.
        with anyio.move_on_after(_DRAINED_S):
            while (await receive()).get("more_body", False):
                continue
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _LimitedBody:
    """A body that ends in a disconnection where it is too large or too slow."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self.refused: ServiceError | None = None
        self.answered = False
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        if self.refused is not None:
            return {"type": "http.disconnect"}
        if self._complete:
            return await self._receive()
        try:
            with anyio.fail_after(_BODY_PAUSE_S):
                message = await self._receive()
        except TimeoutError:
            self.refused = BodyTooSlowError(_BODY_PAUSE_S)
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self._limit:
                self.refused = BodyTooLargeError(self._limit)
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.refused is not None and not self.answered:
            return  # what the application says of its broken body; we know better
        self.answered = True
        await self._send(message)


async def send_problem(
    send: Send,
    status: int,
    detail: str,
    request_id: str,
    *,
    code: str | None = None,
    errors: tuple[FieldError, ...] = (),
    headers: dict[str, str] | None = None,
    finish: bool = True,
) -> None:
    """Send an error; with ``finish`` false its body is whole but the answer left open."""
    body = problem(status, detail, request_id, code=code, errors=errors)
    fields = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        **(headers or {}),
    }
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": not finish})


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
