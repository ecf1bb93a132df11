"""What every request may use: made once at the start, handed on by the lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Annotated, TypedDict, TypeVar

import anyio
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service.batching import Batcher
from service.errors import OverloadedError
from service.live import LiveService
from service.upkeep import Upkeep

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

_COMPANY = 4
"""Recordings for each thread that may be held in memory at once, decoded and waiting."""
_LOOK_S = 0.5


class Gate:
    """Runs CPU-heavy work in threads: so much at once, so much waiting, the rest refused.

    Used on the event loop only, so that its count needs no lock.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._company = anyio.CapacityLimiter(_COMPANY * at_once)
        self._most = at_once + waiting
        self._inside = 0

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread once there is room, unless its client is gone by then.

        Raises:
            OverloadedError: as many wait already as may.
        """
        with self._admitted():
            return await self._run(request, work)

    async def run_in_company(
        self,
        request: Request,
        before: Callable[[], T],
        shared: Callable[[T], Future[U]],
        behind: Callable[[T, U], V],
    ) -> V:
        """Run ``before``, await what ``shared`` hands to others, run ``behind`` with its result.

        A request that awaits holds no thread, so that several come together there.

        Raises:
            OverloadedError: as many wait already as may.
        """
        with self._admitted():
            async with self._company:
                prepared = await self._run(request, before)
                result = await _unless_gone(request, shared(prepared))
                return await self._run(request, lambda: behind(prepared, result))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._inside >= self._most:
            raise OverloadedError
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _run(self, request: Request, work: Callable[[], T]) -> T:
        async with self._limiter:
            if await request.is_disconnected():
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(work)


async def _unless_gone(request: Request, future: Future[T]) -> T:
    """Await a result; where the client leaves, cancel it."""
    waiting = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({waiting}, timeout=_LOOK_S))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
        return waiting.result()
    finally:
        future.cancel()


class State(TypedDict):
    """The lifespan's state, found in ``request.state``."""

    live: LiveService
    gate: Gate
    batcher: Batcher
    upkeep: Upkeep


# Coroutines, since FastAPI runs plain functions in a thread each, for every request.


async def _live(request: Request) -> LiveService:
    live: LiveService = request.state.live
    return live


async def _batcher(request: Request) -> Batcher:
    batcher: Batcher = request.state.batcher
    return batcher


async def _gate(request: Request) -> Gate:
    gate: Gate = request.state.gate
    return gate


async def _upkeep(request: Request) -> Upkeep:
    upkeep: Upkeep = request.state.upkeep
    return upkeep


Live = Annotated[LiveService, Depends(_live)]
SearchGate = Annotated[Gate, Depends(_gate)]
SharedNetwork = Annotated[Batcher, Depends(_batcher)]
Watching = Annotated[Upkeep, Depends(_upkeep)]
