"""Retrieval on held-out pieces, exactly as the service answers.

Each piece is cut into windows on both sides; the score of a pair of pieces is that of its best
(query window, item window) pair. Pieces of one length have equally many windows, so that their
number tells nothing; where lengths differ, an item with more windows is favoured a little.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from models.bundle import encode_sequences
from models.committee import AnyTower
from models.similarity import Encodings, composite_similarity
from training.examples import Example
from training.metrics import RetrievalMetrics, chance_metrics, ranks, retrieval_metrics

Floats64 = NDArray[np.float64]


class Evaluation(TypedDict):
    """Both directions and what chance gives, for ``items`` held-out pieces."""

    items: int
    m2e: RetrievalMetrics
    e2m: RetrievalMetrics
    chance: RetrievalMetrics


def encode_examples(
    music: AnyTower, emotion: AnyTower, examples: list[Example]
) -> tuple[Encodings, Encodings, NDArray[np.int64]]:
    """Encode every window of every example; returns both modalities and each window's piece."""
    windows = [example.windows() for example in examples]
    owner = np.repeat(np.arange(len(examples)), [len(cut) for cut in windows])
    flat = [window for cut in windows for window in cut]
    return (
        encode_sequences(music, [features for features, _ in flat]),
        encode_sequences(emotion, [curve.values.astype(np.float32) for _, curve in flat]),
        owner,
    )


def piece_scores(
    music: AnyTower,
    emotion: AnyTower,
    examples: list[Example],
    *,
    weight: float,
    divergence_scale: float,
) -> tuple[Floats64, Floats64]:
    """Score all pairs of pieces; returns M2E and E2M matrices (N, N), queries in rows."""
    heard, felt, owner = _encode_in_eval(music, emotion, examples)

    def best(query: Encodings, items: Encodings) -> Floats64:
        scores = composite_similarity(
            query, items, weight=weight, divergence_scale=divergence_scale
        )
        return best_of_windows(scores, owner, owner)

    return best(heard, felt), best(felt, heard)


def window_rank(
    music: AnyTower,
    emotion: AnyTower,
    examples: list[Example],
    *,
    weight: float,
    divergence_scale: float,
) -> float:
    """Geometric mean rank of every window's own counterpart, over both directions.

    Other windows of the same piece are left out: they are neither right nor wrong.
    """
    heard, felt, owner = _encode_in_eval(music, emotion, examples)
    others_of_piece = (owner[:, None] == owner[None, :]) & ~np.eye(len(owner), dtype=bool)
    logs = []
    for query, items in ((heard, felt), (felt, heard)):
        scores = composite_similarity(
            query, items, weight=weight, divergence_scale=divergence_scale
        )
        logs.append(np.log(ranks(np.where(others_of_piece, -np.inf, scores))))
    return float(np.exp(np.mean(logs)))


def _encode_in_eval(
    music: AnyTower, emotion: AnyTower, examples: list[Example]
) -> tuple[Encodings, Encodings, NDArray[np.int64]]:
    """Encode without dropout, and leave the towers in the mode they were in."""
    modes = music.training, emotion.training
    music.eval(), emotion.eval()
    encoded = encode_examples(music, emotion, examples)
    music.train(modes[0]), emotion.train(modes[1])
    return encoded


def best_of_windows(
    scores: Floats64, query_owner: NDArray[np.int64], item_owner: NDArray[np.int64]
) -> Floats64:
    """Reduce window scores to pieces by their best pair; owners are sorted piece numbers."""
    query_first = np.flatnonzero(np.diff(query_owner, prepend=-1))
    item_first = np.flatnonzero(np.diff(item_owner, prepend=-1))
    by_query = np.maximum.reduceat(scores, query_first, axis=0)
    best: Floats64 = np.maximum.reduceat(by_query, item_first, axis=1)
    return best


def evaluate_retrieval(
    music: AnyTower,
    emotion: AnyTower,
    examples: list[Example],
    *,
    weight: float,
    divergence_scale: float,
) -> Evaluation:
    """Report MRR, AR and recall@10 in both directions, with chance beside them."""
    m2e, e2m = piece_scores(
        music, emotion, examples, weight=weight, divergence_scale=divergence_scale
    )
    return {
        "items": len(examples),
        "m2e": retrieval_metrics(m2e),
        "e2m": retrieval_metrics(e2m),
        "chance": chance_metrics(len(examples)),
    }
