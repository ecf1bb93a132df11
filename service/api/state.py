"""What every request may use: made once at the start, handed on by the lifespan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypedDict, TypeVar

import anyio
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service.errors import OverloadedError
from service.live import LiveService

T = TypeVar("T")


class Gate:
    """Runs CPU-heavy work in threads: so much at once, so much waiting, the rest refused.

    Used on the event loop only, so that its count needs no lock.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._most = at_once + waiting
        self._inside = 0

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread once there is room, unless its client is gone by then.

        Raises:
            OverloadedError: as many wait already as may.
        """
        if self._inside >= self._most:
            raise OverloadedError
        self._inside += 1
        try:
            async with self._limiter:
                if await request.is_disconnected():
                    raise ClientDisconnect
                return await anyio.to_thread.run_sync(work)
        finally:
            self._inside -= 1


class State(TypedDict):
    """The lifespan's state, found in ``request.state``."""

    live: LiveService
    gate: Gate


def _live(request: Request) -> LiveService:
    live: LiveService = request.state.live
    return live


def _gate(request: Request) -> Gate:
    gate: Gate = request.state.gate
    return gate


Live = Annotated[LiveService, Depends(_live)]
SearchGate = Annotated[Gate, Depends(_gate)]
