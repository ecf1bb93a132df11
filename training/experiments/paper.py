"""The paper's own figures, as far as they are at hand (Takashima et al. 2023, section IV).

Retrieval figures are those of the paper's text; the cosines of Fig. 5 are the table of means and
standard deviations in the authors' repository (results/README.md). Nothing here is ours, and what
is not here was not at hand.
"""

from __future__ import annotations

from training.experiments.systems import CHOSEN, Direction, TowerSystem

NOT_AT_HAND = "not at hand"

PaperFigures = dict[Direction, tuple[float, float]]
"""MRR and AR by direction."""


def paper_figures(corpus: str, system: object) -> PaperFigures | None:
    """Return what the paper reports of a system on a corpus, or None where it is not at hand."""
    if corpus != "deam" or not isinstance(system, TowerSystem):
        return None
    weight, margin = CHOSEN[corpus]
    if system == TowerSystem("mlp", weight, margin):
        return {"m2e": (0.108, 60.9), "e2m": (0.105, 62.0)}
    if system == TowerSystem("mlp", 0.0, margin):
        return {"m2e": (0.067, 69.6)}
    return None


REMARKS = {
    "deam": "The paper's composite is set beside λ = 0.8, its choice for DEAM, and its one figure "
    "for KL alone beside M2E; the paper used VGGish features of the recordings.",
    "pmemo": "The paper reports MRR 0.52 to 0.56 and AR 3.8 to 4.1 on PMEmo, which is what the "
    "number of steps alone gives: compare the length-only rows.",
}

COSINES: dict[str, dict[str, tuple[float, float]]] = {
    "deam": {"m2e": (0.740, 0.075), "e2m": (0.706, 0.406)},
    "pmemo": {"m2e": (0.831, 0.061), "e2m": (0.990, 0.013)},
}
"""Mean and standard deviation over queries of the average cosine of the top 5 % (Fig. 5); M2E of
music features, E2M of curves, PMEmo's as they are in [0, 1]."""
