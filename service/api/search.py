"""``/v1/search``: tracks for an emotion, emotions for a recording, tracks for a track."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service.api.problems import invalid_request
from service.api.rendering import emotions_answer, json_response, tracks_answer
from service.api.state import Live, SearchGate, SharedNetwork
from service.api.uploads import received
from service.listening import answer, listen, network_of
from service.retrieval import Limits
from service.schemas.answers import EmotionsAnswer, TracksAnswer
from service.schemas.requests import EmotionFieldsIn, SearchSimilarIn, SearchTracksIn

router = APIRouter(prefix="/v1/search", tags=["search"])

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["audio"],
                    "additionalProperties": False,
                    "properties": {
                        "audio": {"type": "string", "format": "binary"},
                        "k": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
                        "weight": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                }
            }
        },
    }
}


@router.post("/tracks", response_model=TracksAnswer)
async def search_tracks(
    request: Request, body: SearchTracksIn, live: Live, gate: SearchGate
) -> Response:
    """Find music for an emotion: a curve, a mood word or a point."""

    def work() -> Response:
        limits = Limits(
            body.k,
            body.weight,
            body.filter.to_filter() if body.filter is not None else None,
            frozenset(body.exclude_tracks),
            body.max_per_artist,
            body.exact,
        )
        return json_response(tracks_answer(live.search_tracks(body.to_curve(), limits)))

    return await gate.run(request, work)


@router.post("/emotions", response_model=EmotionsAnswer, openapi_extra=_UPLOAD)
async def search_emotions(
    request: Request, live: Live, gate: SearchGate, batcher: SharedNetwork
) -> Response:
    """Find emotions for a recording, and read its arousal and valence over time."""
    async with received(request, "audio") as upload:
        try:
            fields = EmotionFieldsIn.model_validate(upload.fields)
        except ValidationError as error:
            raise invalid_request(error.errors()) from error
        limits = Limits(fields.k, fields.weight)
        searcher = live.searcher
        network = network_of(searcher)

        def work() -> Response:
            return json_response(emotions_answer(live.search_emotions(upload.file, limits)))

        if network is None:
            return await gate.run(request, work)
        return await gate.run_in_company(
            request,
            lambda: listen(searcher, network, upload.file, live.settings.max_audio_s),
            lambda listened: batcher.submit(network, listened.patches),
            lambda listened, features: json_response(
                emotions_answer(answer(listened, features, limits))
            ),
        )


@router.post("/similar", response_model=TracksAnswer)
async def search_similar(
    request: Request, body: SearchSimilarIn, live: Live, gate: SearchGate
) -> Response:
    """Find music that is close to a track of the catalogue; the track itself is left out."""

    def work() -> Response:
        found = live.similar_tracks(body.track_id, Limits(body.k, body.weight))
        return json_response(tracks_answer(found))

    return await gate.run(request, work)
