"""Titles and artists of imaginary recordings, drawn from words that name no mood."""

from __future__ import annotations

import numpy as np


def _words(listing: str) -> list[str]:
    return listing.split()


_PLACES = _words(
    """
    Harbour Canal Meadow Station Orchard Lighthouse Market Quarry Viaduct Greenhouse Ferry
    Atlas Window Library Bridge Terrace Workshop Corridor Delta Island Platform Archive Garden
    Tower Kitchen Stairway Boulevard Field Reservoir Observatory
    """
)
_QUALITIES = _words(
    """
    Northern Second Paper Copper Distant Western Hidden Wooden Seventh Early Late Glass
    Borrowed Painted Numbered Folded Southern Amber Linen Parallel Silver Inland Third Eastern
    Woven Marbled Rural Granite Cobalt Printed
    """
)
_THINGS = _words(
    """
    Letters Maps Signals Lanterns Rivers Tides Engines Shadows Patterns Circles Postcards
    Wires Stones Birds Mirrors Clouds Ladders Threads Coins Keys Orbits Footsteps Seasons
    Ropes Tiles Feathers Trains Kites Anchors Compasses
    """
)
_GIVEN = _words(
    """
    Ada Bruno Clara Dario Edith Felix Greta Hugo Ines Jonas Kira Leon Maren Nils Olga Paul
    Runa Selma Theo Ursula Viktor Wanda Yara Zeno
    """
)
_FAMILY = _words(
    """
    Aalto Berger Castell Dunmore Eklund Farkas Grieve Holm Ivarsen Janda Keller Lindqvist
    Moreau Novak Okafor Petri Quint Rossi Sandoval Tanaka Ueda Vasari Winther Zeman
    """
)
_ENSEMBLES = ("Trio", "Quartet", "Ensemble", "Orchestra", "Collective", "Players")


def draw_title(rng: np.random.Generator) -> str:
    """Draw a title, such as "Copper Letters" or "Maps of the Canal"."""
    place, quality, thing = rng.choice(_PLACES), rng.choice(_QUALITIES), rng.choice(_THINGS)
    forms = (
        f"{quality} {thing}",
        f"{quality} {place}",
        f"{thing} of the {place}",
        f"The {quality} {place}",
        f"{place} {thing}",
    )
    return forms[int(rng.integers(len(forms)))]


def draw_artist(rng: np.random.Generator) -> str:
    """Draw the name of a person or of an ensemble."""
    given, family, other = rng.choice(_GIVEN), rng.choice(_FAMILY), rng.choice(_FAMILY)
    ensemble, quality, thing = rng.choice(_ENSEMBLES), rng.choice(_QUALITIES), rng.choice(_THINGS)
    forms = (
        f"{given} {family}",
        f"{given} {family} {ensemble}",
        f"{family} & {other}",
        f"{quality} {thing}",
        f"The {thing}",
    )
    return forms[int(rng.integers(len(forms)))]
