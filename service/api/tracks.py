"""``/v1/tracks``: the catalogue's recordings, their sound and their curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from service.api.rendering import cursor_of, json_response, position_of, track_out
from service.api.state import Live, SearchGate
from service.errors import AudioMissingError
from service.repository import Position
from service.schemas.answers import EstimatedCurveOut, TrackOut, TrackPage
from service.schemas.requests import PageIn

router = APIRouter(prefix="/v1/tracks", tags=["tracks"])

_MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "mov,mp4,m4a,3gp,3g2,mj2": "audio/mp4",
    "matroska,webm": "audio/webm",
}
_AUDIO: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file", "content": {"audio/*": {}}},
    206: {"description": "The range that was asked for", "content": {"audio/*": {}}},
}


@router.get("", response_model=TrackPage)
def list_tracks(page: Annotated[PageIn, Query()], live: Live) -> Response:
    """List the catalogue, in the order of arrival."""
    rows, total = live.page_of_tracks(position_of(page.cursor), page.limit)
    full = len(rows) == page.limit
    cursor = cursor_of(Position(rows[-1].added_at, rows[-1].id)) if full else None
    items = [track_out(row) for row in rows]
    return json_response(TrackPage(items=items, next_cursor=cursor, total=total))


@router.get("/{track_id}", response_model=TrackOut)
def get_track(track_id: str, live: Live) -> Response:
    """Describe a track."""
    return json_response(track_out(live.track(track_id)))


@router.delete("/{track_id}", status_code=204)
def delete_track(track_id: str, live: Live) -> Response:
    """Take a track out of the catalogue; the file of the recording stays where it is."""
    live.delete_track(track_id)
    return Response(status_code=204)


@router.head("/{track_id}/audio", include_in_schema=False)
@router.get("/{track_id}/audio", response_class=FileResponse, responses=_AUDIO)
def get_audio(track_id: str, live: Live) -> FileResponse:
    """Play a track: the file as it was ingested; ranges can be asked for."""
    track = live.track(track_id)
    path = Path(track.path)
    try:
        found = path.stat()
    except OSError as error:
        raise AudioMissingError(track_id) from error
    if not path.is_file():
        raise AudioMissingError(track_id)
    media_type = _MEDIA_TYPES.get(track.format, "application/octet-stream")
    return FileResponse(path, media_type=media_type, stat_result=found)


@router.get("/{track_id}/curve", response_model=EstimatedCurveOut)
async def get_curve(request: Request, track_id: str, live: Live, gate: SearchGate) -> Response:
    """Read a track's arousal and valence over its whole length, with standard deviations."""

    def work() -> Response:
        return json_response(EstimatedCurveOut.of_estimate(live.track_estimate(track_id)))

    return await gate.run(request, work)
