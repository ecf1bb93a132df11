"""``/v1/moods`` and ``/v1/models``: the words and the models that searches use."""

from __future__ import annotations

from fastapi import APIRouter, Response

from models.moods import MOOD_ANGLES_DEG, mood_point
from service.api.rendering import json_response, model_out
from service.api.state import Live
from service.schemas.answers import ModelsOut, MoodOut, MoodsOut

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/moods", response_model=MoodsOut)
def list_moods() -> Response:
    """List the mood words and their places on the circumplex, on the signed scale."""
    items = [
        MoodOut(word=word, valence=valence, arousal=arousal)
        for word, (valence, arousal) in ((word, mood_point(word)) for word in MOOD_ANGLES_DEG)
    ]
    return json_response(MoodsOut(items=items))


@router.get("/models", response_model=ModelsOut)
def list_models(live: Live) -> Response:
    """List the registered models, the newest first."""
    return json_response(ModelsOut(items=[model_out(model) for model in live.models()]))
