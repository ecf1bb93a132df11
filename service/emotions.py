"""Where emotions come from: mood words, the bundle's reference curves, and callers."""

from __future__ import annotations

import hashlib
import uuid

from sqlalchemy.orm import Session

from models.bundle import Bundle
from models.curve import Curve
from models.moods import MOOD_ANGLES_DEG, mood_curves, nearest_mood
from service import repository
from service.tables import EmotionRow

_CORPUS_IDS = uuid.UUID("0f2c3d7e-8b52-5b0e-9a43-4d2f5f6d1c77")


def seed_emotions(session: Session, bundle: Bundle) -> int:
    """Register the mood words and the bundle's reference curves; returns how many were new.

    Ids follow from the content, so that doing it again changes nothing.
    """
    known = repository.emotion_ids(session)
    new = {
        row.id: row for row in [*_mood_emotions(), *_corpus_emotions(bundle)] if row.id not in known
    }
    session.add_all(new.values())
    return len(new)


def user_emotion(label: str, curve: Curve) -> EmotionRow:
    """Make an emotion of a caller's curve, with an id of its own."""
    return _emotion(uuid.uuid4().hex, label, mood_of(curve), "user", curve)


def mood_of(curve: Curve) -> str:
    """Name the mood nearest to a curve's mean."""
    valence, arousal = curve.values.mean(axis=0)
    return nearest_mood(valence=float(valence), arousal=float(arousal))


def curve_of(row: EmotionRow) -> Curve:
    """Return the curve that a row holds."""
    return Curve(row.curve.reshape(-1, 2))


def _mood_emotions() -> list[EmotionRow]:
    rows = []
    for word in MOOD_ANGLES_DEG:
        for course, curve in mood_curves(word).items():
            label = word if course == "constant" else f"{word}, {course}"
            slug = word.replace(" ", "-")
            rows.append(_emotion(f"mood-{slug}-{course}", label, word, "mood", curve))
    return rows


def _corpus_emotions(bundle: Bundle) -> list[EmotionRow]:
    rows = []
    for reference in bundle.references:
        content = hashlib.sha256(reference.curve.values.tobytes()).hexdigest()
        name = f"{bundle.manifest.corpus}\n{reference.id}\n{content}"
        emotion_id = uuid.uuid5(_CORPUS_IDS, name).hex
        mood = mood_of(reference.curve)
        rows.append(_emotion(emotion_id, reference.label, mood, "corpus", reference.curve))
    return rows


def _emotion(emotion_id: str, label: str, mood: str, source: str, curve: Curve) -> EmotionRow:
    return EmotionRow(
        id=emotion_id,
        label=label,
        mood=mood,
        source=source,
        curve=curve.values.ravel(),
        added_at=repository.now(),
    )
