"""Answers out of what the service knows: called in worker threads, down to the bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from models.curve import Scale
from service.errors import FieldError, InvalidRequestError
from service.listening import EmotionAnswer
from service.live import RegisteredModel, TrackAnswer
from service.repository import Position
from service.retrieval import Answer, Emotion, Match
from service.schemas.answers import (
    AudioOut,
    CurveOut,
    EmotionOut,
    EmotionResult,
    EmotionsAnswer,
    EstimatedCurveOut,
    EstimateOut,
    ModelOut,
    SpanOut,
    TrackOut,
    TrackResult,
    TracksAnswer,
)
from service.tables import TrackRow


def json_response(
    model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Write an answer; made in a thread, it costs the event loop nothing."""
    return Response(model.model_dump_json(), status, headers, "application/json")


def track_out(row: TrackRow) -> TrackOut:
    """Write a track."""
    return TrackOut(
        id=row.id,
        title=row.title,
        artist=row.artist,
        album=row.album,
        duration_s=row.duration_s,
        sample_rate_hz=row.sample_rate_hz,
        channels=row.channels,
        format=row.format,
        bpm=row.bpm,
        tags=[each.tag for each in row.tags],
        audio_url=f"/v1/tracks/{row.id}/audio",
        curve_url=f"/v1/tracks/{row.id}/curve",
    )


def emotion_out(emotion: Emotion, scale: Scale = "signed") -> EmotionOut:
    """Write an emotion, its curve in a scale."""
    return EmotionOut(
        id=emotion.id,
        label=emotion.label,
        mood=emotion.mood,
        source=emotion.source,
        curve=CurveOut.of(emotion.curve, scale),
    )


def tracks_answer(found: TrackAnswer) -> TracksAnswer:
    """Write ranked tracks."""
    # Another server may have deleted a track that this one has still searched.
    present = [match for match in found.answer.matches if match.id in found.tracks]
    results = [
        TrackResult(track=track_out(found.tracks[match.id]), **{**_match(match), "rank": rank})
        for rank, match in enumerate(present, 1)
    ]
    return TracksAnswer(results=results, **_about(found.answer))


def emotions_answer(found: EmotionAnswer) -> EmotionsAnswer:
    """Write ranked emotions and the estimate."""
    recording = found.recording
    return EmotionsAnswer(
        audio=AudioOut(
            duration_s=recording.duration_s,
            sample_rate_hz=recording.sample_rate_hz,
            channels=recording.channels,
            format=recording.format,
        ),
        estimate=EstimateOut.of(found.estimate),
        timeline=EstimatedCurveOut.of_estimate(found.estimate),
        results=[
            EmotionResult(emotion=emotion_out(found.emotions[match.id]), **_match(match))
            for match in found.answer.matches
        ],
        **_about(found.answer),
    )


def model_out(model: RegisteredModel) -> ModelOut:
    """Write a registered bundle."""
    manifest = model.manifest
    return ModelOut(
        id=model.row.id,
        name=model.row.name,
        active=model.active,
        recipe=manifest["recipe"],
        corpus=manifest["corpus"],
        seed=manifest["seed"],
        frontend=manifest["frontend"],
        dimensions=manifest["music_tower"]["dimensions"],
        weight=manifest["weight"],
        margin=manifest["margin"],
        divergence_scale=manifest["divergence_scale"],
        split=manifest["split"],
        metrics=manifest["metrics"],
    )


def cursor_of(position: Position) -> str:
    """Write where a page ended as an opaque string."""
    text = json.dumps([position.added_at.isoformat(), position.id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def position_of(cursor: str | None) -> Position | None:
    """Read what :func:`cursor_of` wrote.

    Raises:
        InvalidRequestError: it is no such string.
    """
    if cursor is None:
        return None
    try:
        added_at, row_id = json.loads(base64.urlsafe_b64decode(cursor))
        moment = datetime.fromisoformat(added_at).astimezone(UTC)
        row_id.encode()  # a lone surrogate is no text to a database
        return Position(moment, row_id.replace("\0", ""))
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        found = FieldError("cursor", "is none that a page gave: leave it out to start over")
        raise InvalidRequestError([found], code="invalid_cursor") from error


def _match(match: Match) -> dict[str, Any]:
    return {
        "rank": match.rank,
        "window": SpanOut(start_s=match.window.start_s, end_s=match.window.end_s),
        "query_window": SpanOut(start_s=match.query_window.start_s, end_s=match.query_window.end_s),
        "score": match.score,
        "correlation": match.correlation,
        "kl_divergence": match.kl_divergence,
        "similarity": match.similarity,
    }


def _about(answer: Answer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "index": answer.index,
        "weight": answer.weight,
        "divergence_scale": answer.divergence_scale,
        "took_ms": round(answer.took_ms, 3),
    }
