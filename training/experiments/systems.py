"""The paper's systems: one row of a table each (Takashima et al. 2023, section IV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.losses import MarginSign

Direction = Literal["m2e", "e2m"]
Network = Literal["mlp", "bigru"]
Loss = Literal["paper", "published"]

DIRECTIONS: tuple[Direction, ...] = ("m2e", "e2m")
_NETWORKS: tuple[Network, ...] = ("mlp", "bigru")
_NETWORK_NAMES = {"mlp": "MLP", "bigru": "BiGRU"}


@dataclass(frozen=True)
class TowerSystem:
    """CMER-CL: two towers, the composite loss with λ = ``weight`` and α = ``margin``.

    λ = 1 is CCA alone, λ = 0 KL alone. ``loss`` is the paper's formulas, or what the published code
    computes in their place (training/published.py). The emotion tower is a BiGRU always.
    """

    encoder: Network
    weight: float
    margin: float
    margin_sign: MarginSign = "standard"
    loss: Loss = "paper"

    @property
    def key(self) -> str:
        """A name for files and programs."""
        tail = "-printed" if self.margin_sign == "printed" else ""
        tail += "-published-loss" if self.loss == "published" else ""
        return f"cmer-cl-{self.encoder}-w{self.weight:g}-m{self.margin:g}{tail}"

    @property
    def label(self) -> str:
        """A name for tables."""
        kinds = {0.0: "KL only", 1.0: "CCA only"}
        kind = kinds.get(self.weight, f"λ = {self.weight:g}")
        margin = "" if self.weight == 1 else f", α = {self.margin:g}"
        tail = ", printed margin" if self.margin_sign == "printed" else ""
        tail += ", published loss" if self.loss == "published" else ""
        return f"CMER-CL {_NETWORK_NAMES[self.encoder]}, {kind}{margin}{tail}"

    @property
    def needs_sequences(self) -> bool:
        """Whether one vector a song is too little for it."""
        return self.encoder == "bigru"


@dataclass(frozen=True)
class RegressionSystem:
    """RegMLP and RegBiGRU: one modality predicted from the other, items ranked by their distance.

    The paper's one-way baselines; see training/baselines.py.
    """

    network: Network
    direction: Direction

    @property
    def key(self) -> str:
        """A name for files and programs."""
        return f"reg-{self.network}-{self.direction}"

    @property
    def label(self) -> str:
        """A name for tables."""
        return f"Reg{_NETWORK_NAMES[self.network]}-{self.direction.upper()}"

    @property
    def needs_sequences(self) -> bool:
        """Whether one vector a song is too little for it."""
        return self.network == "bigru" and self.direction == "m2e"


@dataclass(frozen=True)
class RecipeSystem:
    """A recipe of the house, by its name, through its own training (ours.py).

    Towers of the paper see whole curves, and so does a ``textured`` recipe; without, it is what
    ``circumplex train`` makes.
    """

    recipe: str
    textured: bool

    @property
    def key(self) -> str:
        """A name for files and programs."""
        return self.recipe if self.textured else f"{self.recipe}-served"

    @property
    def label(self) -> str:
        """A name for tables."""
        sees = "" if self.textured else ", as it serves: no texture"
        return f"recipe {self.recipe} (ours{sees})"

    @property
    def needs_sequences(self) -> bool:
        """Whether one vector a song is too little for it."""
        return False


System = TowerSystem | RegressionSystem | RecipeSystem

CHOSEN: dict[str, tuple[float, float]] = {"deam": (0.8, 1.0), "pmemo": (0.6, 0.4)}
"""The paper's λ and α of each corpus, in its figures and comparisons."""

LOSSES: dict[Loss, str] = {"paper": "the paper's loss", "published": "the published code's loss"}

TABLES_1_AND_2 = (0.5, 1.0)
"""λ and α of the paper's Tables 1 and 2."""

_GRID = tuple(step / 10 for step in range(11))
_QUICK_GRID = (0.0, 0.5, 0.8, 1.0)
_MARGINS = (0.2, 0.4, 0.6, 0.8)
_QUICK_MARGINS = (0.4,)


def systems_of(corpus: str, *, quick: bool) -> list[System]:
    """List what is trained for a corpus, each once; ``quick`` thins out the grids of λ and α."""
    weight, margin = CHOSEN[corpus]
    weights = sorted({*(_QUICK_GRID if quick else _GRID), weight, TABLES_1_AND_2[0]})
    margins = sorted({*(_QUICK_MARGINS if quick else _MARGINS), margin, TABLES_1_AND_2[1]})
    towers = [TowerSystem("mlp", *TABLES_1_AND_2)]
    towers += [TowerSystem("mlp", share, margin) for share in weights]
    towers += [TowerSystem("mlp", weight, alpha) for alpha in margins]
    towers += [
        TowerSystem("mlp", share, margin, margin_sign="printed")
        for share in sorted({0.0, TABLES_1_AND_2[0], weight})
    ]
    towers += [TowerSystem("mlp", share, margin, loss="published") for share in weights]
    towers += [TowerSystem("bigru", *TABLES_1_AND_2)]
    towers += [TowerSystem("bigru", share, margin) for share in (0.0, weight, 1.0)]
    regressions = [
        RegressionSystem(network, direction) for network in _NETWORKS for direction in DIRECTIONS
    ]
    return [*dict.fromkeys(towers), *regressions]


def compared(systems: Sequence[System], corpus: str) -> list[System]:
    """Pick the rows of Tables 1, 2, 5 and 6: the composite, its parts, the baselines and ours."""
    weight, margin = CHOSEN[corpus]
    towers = [x for x in _towers(systems) if (x.loss, x.margin_sign) == ("paper", "standard")]
    chosen: list[System] = [
        *(x for x in towers if (x.weight, x.margin) == TABLES_1_AND_2),
        *(x for x in towers if x.margin == margin and x.weight in (0, weight, 1)),
        *(x for x in systems if not isinstance(x, TowerSystem)),
    ]
    return list(dict.fromkeys(chosen))


def every_weight(systems: Sequence[System], corpus: str, loss: Loss) -> list[TowerSystem]:
    """Pick the rows over λ, at the corpus' α, of an MLP (Figs. 3 and 4)."""
    _, margin = CHOSEN[corpus]
    rows = [
        x
        for x in _towers(systems)
        if (x.encoder, x.loss, x.margin_sign, x.margin) == ("mlp", loss, "standard", margin)
    ]
    return sorted(rows, key=lambda x: x.weight)


def every_margin(systems: Sequence[System], corpus: str) -> list[TowerSystem]:
    """Pick the rows over α, at the corpus' λ, of an MLP."""
    weight, _ = CHOSEN[corpus]
    rows = [
        x
        for x in _towers(systems)
        if (x.encoder, x.loss, x.margin_sign, x.weight) == ("mlp", "paper", "standard", weight)
    ]
    return sorted(rows, key=lambda x: x.margin)


def both_signs(systems: Sequence[System], corpus: str) -> list[TowerSystem]:
    """Pick what is trained with the printed margin, each behind its standard twin."""
    printed = [x for x in _towers(systems) if x.margin_sign == "printed"]
    twins = every_weight(systems, corpus, "paper")
    return [x for sign in printed for x in (*(t for t in twins if t.weight == sign.weight), sign)]


def _towers(systems: Sequence[System]) -> list[TowerSystem]:
    return [x for x in systems if isinstance(x, TowerSystem)]
