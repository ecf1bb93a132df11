"""``/v1/emotions``: named curves that recordings are matched with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.rendering import cursor_of, emotion_out, json_response, position_of
from service.api.state import Live, SearchGate
from service.repository import Position
from service.retrieval import Emotion
from service.schemas.answers import EmotionOut, EmotionPage
from service.schemas.requests import EmotionIn, PageIn

router = APIRouter(prefix="/v1/emotions", tags=["emotions"])


@router.post("", response_model=EmotionOut, status_code=201)
async def add_emotion(request: Request, body: EmotionIn, live: Live, gate: SearchGate) -> Response:
    """Add an emotion; searches find it from now on."""

    def work() -> Response:
        # Committed before there is an answer: a 201 survives whatever happens next.
        emotion = live.add_emotion(body.label, body.curve.to_curve("curve"))
        location = {"Location": f"/v1/emotions/{emotion.id}"}
        return json_response(emotion_out(emotion, body.curve.scale), 201, location)

    return await gate.run(request, work)


@router.get("", response_model=EmotionPage)
def list_emotions(page: Annotated[PageIn, Query()], live: Live) -> Response:
    """List the emotions, in the order of arrival."""
    rows, total = live.page_of_emotions(position_of(page.cursor), page.limit)
    full = len(rows) == page.limit
    cursor = cursor_of(Position(rows[-1].added_at, rows[-1].id)) if full else None
    items = [emotion_out(Emotion.of_row(row)) for row in rows]
    return json_response(EmotionPage(items=items, next_cursor=cursor, total=total))


@router.get("/{emotion_id}", response_model=EmotionOut)
def get_emotion(emotion_id: str, live: Live) -> Response:
    """Describe an emotion; its curve is on the signed scale."""
    return json_response(emotion_out(live.emotion(emotion_id)))
