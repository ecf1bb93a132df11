"""``/livez`` and ``/readyz``: for whoever runs the service."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.api.rendering import json_response
from service.api.state import Live
from service.errors import IndexDamagedError
from service.schemas.answers import ReadyOut, StatusOut

router = APIRouter(tags=["operation"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> StatusOut:
    """Tell that the process answers."""
    return StatusOut(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=ReadyOut)
def readyz(live: Live) -> Response:
    """Tell that searches can be answered; asks the database."""
    if live.damaged is not None:
        raise IndexDamagedError
    searcher = live.searcher
    _, tracks = live.page_of_tracks(None, 1)
    return json_response(
        ReadyOut(
            status="ready",
            model=searcher.bundle.id,
            index=searcher.snapshot.id,
            tracks=tracks,
            emotions=len(searcher.emotions.emotions),
        )
    )
