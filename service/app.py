"""The application: routers, middleware, and a lifespan that loads everything once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api import catalogue, emotions, metrics, operation, page, problems, search, tracks
from service.api.middleware import BodyLimitMiddleware, EdgeMiddleware
from service.api.state import Gate, State
from service.batching import Batcher
from service.errors import PROBLEM_MEDIA_TYPE, DatabaseUnreachableError
from service.live import LiveService
from service.schemas.answers import ProblemOut
from service.settings import Settings
from service.upkeep import Upkeep

MAX_JSON_BYTES = 1_000_000
"""Twice the longest request: an hour's curve with its times, at full precision."""
_MULTIPART_FRAMING_BYTES = 65_536
_UPLOAD_PATHS = frozenset({"/v1/search/emotions"})
_FOLLOW_EVERY_S = 0.5
_AFTER_FAILURE_S = 2.0
_FIRST_INSPECTION_S = 5.0

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, *, live: LiveService | None = None) -> FastAPI:
    """Build the application; with ``live`` it serves that, and closes it at the end.

    Without it the lifespan loads one, and fails with StartError where that cannot be done.
    """
    settings = settings or (live.settings if live is not None else Settings())
    app = FastAPI(
        title="Circumplex",
        version="1",
        description="Finds music for an emotion and emotions for a piece of music.",
        lifespan=_lifespan(settings, live),
        redoc_url=None,
    )
    for resource in (search, tracks, emotions, catalogue, operation, metrics, page):
        app.include_router(resource.router)
    app.mount("/web", page.WebFiles(directory=page.WEB_FOLDER), name="web")
    problems.install(app)

    upload_bytes = settings.max_upload_bytes + _MULTIPART_FRAMING_BYTES

    def limit_of(path: str) -> int:
        return upload_bytes if path in _UPLOAD_PATHS else MAX_JSON_BYTES

    app.add_middleware(BodyLimitMiddleware, limit_of=limit_of)
    app.add_middleware(EdgeMiddleware)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _lifespan(
    settings: Settings, live: LiveService | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        service = live
        if service is None:
            service = await anyio.to_thread.run_sync(LiveService, settings)
        upkeep = Upkeep(service)
        watching = [asyncio.create_task(_follow(upkeep))]
        if settings.recall_every_s > 0:
            watching.append(asyncio.create_task(_inspect(upkeep, settings.recall_every_s)))
        batcher = Batcher()
        try:
            yield State(
                live=service,
                gate=Gate(settings.concurrent_encodings, settings.queued_encodings),
                batcher=batcher,
                upkeep=upkeep,
            )
        finally:
            await anyio.to_thread.run_sync(batcher.close)
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            upkeep.close()
            service.close()

    return lifespan


async def _follow(upkeep: Upkeep) -> None:
    """Take over what other processes change: tracks, and the search index."""
    while True:
        await asyncio.sleep(_FOLLOW_EVERY_S)
        try:
            await anyio.to_thread.run_sync(upkeep.follow)
        except DatabaseUnreachableError:  # which has said so in the log
            await asyncio.sleep(_AFTER_FAILURE_S)
        except Exception:  # whatever it was, it may be gone at the next look
            logger.exception("looking for changes failed")


async def _inspect(upkeep: Upkeep, every_s: float) -> None:
    """Look after the index, when the service has started and then from time to time."""
    await asyncio.sleep(min(_FIRST_INSPECTION_S, every_s))
    while True:
        try:
            await anyio.to_thread.run_sync(upkeep.inspect)
        except DatabaseUnreachableError:
            logger.warning("the search index was not inspected")
        except Exception:
            logger.exception("inspecting the search index failed")
        await asyncio.sleep(every_s)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the application, with the one shape of errors in place of FastAPI's own."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        problem = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        answer = {
            "description": "An error, as RFC 9457 writes it",
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for path in document["paths"].values():
            for operation_ in path.values():
                operation_["responses"].pop("422", None)
                operation_["responses"]["default"] = answer
        app.openapi_schema = document
    return app.openapi_schema
