"""The training loop, readable top to bottom: sample windows, two towers, one loss, best weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from models.committee import AnyTower
from models.encoders import EncoderKind, Tower
from models.progress import Progress
from training.evaluation import window_rank
from training.examples import Example
from training.losses import cca_projections
from training.objective import Objective
from training.pairs import CommitteePair, Pair, PlainPair
from training.recipes import Recipe

_GRADIENT_NORM = 5.0
_WARM_UP_EPOCHS = 20
_SMOOTHED_VALIDATIONS = 3
_MOST_VALIDATIONS = 60


@dataclass(frozen=True, eq=False)
class TrainedTowers:
    """Both towers with their best weights, and how they came about."""

    music: AnyTower
    emotion: AnyTower
    divergence_scale: float
    best_epoch: int
    epochs_run: int
    validation_rank: float


def training_device() -> torch.device:
    """Return the GPU where there is one, else the CPU; the loop is the same on both."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_towers(
    recipe: Recipe,
    encoder: EncoderKind,
    train: list[Example],
    validation: list[Example],
    *,
    seed: int,
    last_epoch: int | None = None,
    checkpoint: Path | None = None,
    device: torch.device | None = None,
    initial_music: Mapping[str, Tensor] | None = None,
) -> TrainedTowers:
    """Train both towers on ``train``, keeping the weights that rank ``validation`` best.

    What is kept has the lowest geometric mean rank of windows over both directions, averaged over
    the last three validations (few pieces make one of them noisy); training stops when that has
    not improved for ``recipe.patience`` validations. With ``last_epoch`` the schedule is
    followed up to that epoch instead, and its weights are kept. With ``checkpoint`` the state is
    written at each validation and a later call with the same arguments goes on from there, to the
    same weights as an uninterrupted run on the same device; removing the file is the caller's.
    ``initial_music``, entries of ``Tower.state_dict()``, is what the music tower begins with in
    place of random weights and the statistics of ``train``: see training/pretraining.py.

    Raises:
        ValueError: the checkpoint belongs to another training.
    """
    device = device or training_device()
    torch.manual_seed(seed)
    begin = PlainPair if recipe.committee is None else CommitteePair
    pair = begin(recipe, encoder, train, device, initial_music or {})
    run = _Run(recipe, encoder, pair, device)
    begun_with = _fingerprint(run.towers)
    ids = [example.id for example in train]
    identity = f"{recipe} {encoder} {seed} {last_epoch} {begun_with} {ids}"
    end = recipe.whole_epochs(len(train)) if last_epoch is None else last_epoch
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint, identity)

    validate_every = max(recipe.validate_every, end // _MOST_VALIDATIONS)
    label = "training the towers" if last_epoch is None else "training on all pieces"
    with Progress(label, end, "epochs") as progress:
        progress.reach(run.epoch)
        while run.epoch < end and run.since_best < recipe.patience:
            loss = run.one_epoch(np.random.default_rng([seed, run.epoch]))
            progress.advance()
            if run.epoch % validate_every and run.epoch != end:
                continue
            if last_epoch is None:
                run.validate(validation)
                progress.note(f"loss {loss:.3f}, validation rank {run.best_rank:.2f}")
            else:
                run.keep()
                progress.note(f"loss {loss:.3f}")
            if checkpoint is not None:
                run.save(checkpoint, identity)
    return run.finish(train)


class _Run:
    """The state of one training: towers, optimiser, averaged weights, the best so far."""

    def __init__(
        self, recipe: Recipe, encoder: EncoderKind, pair: Pair, device: torch.device
    ) -> None:
        self.recipe = recipe
        self.pair = pair
        self.device = device
        self.objective = Objective(recipe, encoder).to(device)
        self.towers = nn.ModuleDict({"music": pair.music, "emotion": pair.emotion})
        self.optimiser = _optimiser(pair, self.objective, recipe)
        self.averaged = _copy(self.towers)
        self.best = _copy(self.towers)
        self.best_scale = self.objective.divergence_scale()
        self.best_rank = math.inf
        self.best_epoch = 0
        self.since_best = 0
        self.recent_ranks: list[float] = []
        self.epoch = 0

    def one_epoch(self, rng: np.random.Generator) -> float:
        """Step once through all examples, in batches drawn by ``rng``; returns the mean loss."""
        torch.manual_seed(int(rng.integers(2**62)))  # dropout: the same after a resumption
        self.towers.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        order = rng.permutation(len(self.pair))
        losses = []
        for first in range(0, len(order), self.recipe.batch_size):
            rows = order[first : first + self.recipe.batch_size]
            if len(rows) < 2:
                continue  # ranking needs a negative
            loss: Tensor = self.objective(*self.pair.encode(rows, rng))
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.towers.parameters(), _GRADIENT_NORM)
            self.optimiser.step()
            losses.append(float(loss.detach()))
        self.epoch += 1
        for name, value in self.towers.state_dict().items():
            self.averaged[name].lerp_(value, 1 - self.recipe.averaging)
        return float(np.mean(losses))

    def validate(self, validation: list[Example]) -> None:
        """Rank the validation pieces with the averaged weights and keep them if they are best."""
        current = _copy(self.towers)
        self.towers.load_state_dict(self.averaged)
        self.recent_ranks.append(
            window_rank(
                self.pair.music,
                self.pair.emotion,
                validation,
                weight=self.recipe.weight,
                divergence_scale=self.objective.divergence_scale(),
            )
        )
        self.towers.load_state_dict(current)
        self.recent_ranks = self.recent_ranks[-_SMOOTHED_VALIDATIONS:]
        rank = float(np.exp(np.mean(np.log(self.recent_ranks))))
        self.since_best += 1
        if rank < self.best_rank:
            self.best_rank, self.since_best = rank, 0
            self.keep()

    def keep(self) -> None:
        """Take the averaged weights as they are now for the best."""
        self.best = {name: value.clone() for name, value in self.averaged.items()}
        self.best_scale = self.objective.divergence_scale()
        self.best_epoch = self.epoch

    def finish(self, train: list[Example]) -> TrainedTowers:
        """Return the best weights, with CCA's projections folded in where CCA was trained."""
        self.towers.load_state_dict(self.best)
        self.towers.eval().cpu()
        music, emotion = self.pair.music, self.pair.emotion
        if isinstance(music, Tower) and isinstance(emotion, Tower):
            _fold_cca(music, emotion, train)
        return TrainedTowers(
            music,
            emotion,
            self.best_scale,
            self.best_epoch,
            self.epoch,
            self.best_rank,
        )

    def save(self, path: Path, identity: str) -> None:
        """Write the whole state, atomically."""
        partial = path.with_suffix(".partial")
        torch.save({"identity": identity, **self._state()}, partial)
        partial.replace(path)

    def load(self, path: Path, identity: str) -> None:
        """Take up the state of an interrupted run of the same training."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != identity:
            raise ValueError(
                f"{path} is the checkpoint of another training (other data, recipe or seed): "
                "remove it, or choose another --out"
            )
        self.towers.load_state_dict(state["towers"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.averaged, self.best = state["averaged"], state["best"]
        (self.best_scale, self.best_rank, self.best_epoch, self.since_best, self.epoch) = state[
            "progress"
        ]
        self.recent_ranks = state["recent_ranks"]

    def _state(self) -> dict[str, object]:
        return {
            "towers": self.towers.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": self.averaged,
            "best": self.best,
            "recent_ranks": self.recent_ranks,
            "progress": [
                self.best_scale,
                self.best_rank,
                self.best_epoch,
                self.since_best,
                self.epoch,
            ],
        }

    def _learning_rate(self) -> float:
        """Constant for the paper's recipe; ours warms up and falls along half a cosine."""
        if self.recipe.objective == "composite":
            return self.recipe.learning_rate
        warm_up = min(1.0, (self.epoch + 1) / _WARM_UP_EPOCHS)
        whole = self.recipe.whole_epochs(len(self.pair))
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.epoch / whole, 1)))
        return self.recipe.learning_rate * warm_up * cosine


def _optimiser(pair: Pair, objective: nn.Module, recipe: Recipe) -> AdamW:
    """Adam, with a weight decay of its own for a committee's trunk."""
    towers, trunk = pair.without_trunk()
    groups = [
        {"params": list(objective.parameters()), "weight_decay": 0.0},
        {"params": towers, "weight_decay": recipe.decay},
    ]
    if trunk:
        groups.append({"params": trunk, "weight_decay": recipe.trunk_decay})
    return AdamW(groups, lr=recipe.learning_rate)


def _fingerprint(towers: nn.Module) -> str:
    """Tell towers apart by their weights."""
    digest = hashlib.sha256()
    for value in towers.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@torch.no_grad()
def _fold_cca(music: Tower, emotion: Tower, train: list[Example]) -> None:
    """Fit linear CCA on the training windows' embeddings and fold it into both heads."""
    pairs = [pair for example in train for pair in example.windows()]
    music_rows = torch.cat([_embedding(music, features) for features, _ in pairs])
    emotion_rows = torch.cat(
        [_embedding(emotion, curve.values.astype(np.float32)) for _, curve in pairs]
    )
    music_map, emotion_map = cca_projections(music_rows, emotion_rows)
    music.fold_embedding(music_map.float(), music_rows.mean(dim=0))
    emotion.fold_embedding(emotion_map.float(), emotion_rows.mean(dim=0))


def _embedding(tower: Tower, sequence: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    features = torch.from_numpy(np.ascontiguousarray(sequence))[None]
    embedding: Tensor = tower(features, torch.tensor([len(sequence)])).embedding
    return embedding
