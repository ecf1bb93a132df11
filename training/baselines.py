"""RegMLP and RegBiGRU: the paper's one-way baselines (Takashima et al. 2023, section IV).

One modality is predicted from the other, and candidates are ranked by the prediction, all values
standardised by the training part: M2E by the mean squared error over the steps that both have, E2M
by the cosine between features, of which a curve tells so little that by distance the least
remarkable recordings would come first for every query.

RegMLP predicts means from means: mean valence and arousal of a curve (2,), mean features of a
recording (F,). RegBiGRU reads a sequence: RegBiGRU-M2E predicts the curve (T, 2) step by step,
RegBiGRU-E2M the mean features (F,) from both last states.

Tables 3 and 4 of the paper give layer widths, of which only RegMLP-E2M's on DEAM are at hand:
[32, 2]. The last width of a table is the size of the target, so here an output layer of that size
follows the hidden layers, linear; hidden layers are softplus, as in the towers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.curve import CURVE_RATE_HZ
from models.windows import PATCH_S
from training.stacked.gru import StackedBiGRU
from training.stacked.layers import Generators, StackedDense, StackedLinear
from training.stacked.loop import Learner
from training.stacked.sequences import StackedSequences

Reads = Literal["means", "sequences", "sequences step by step"]
RanksBy = Literal["distance", "cosine"]


class Regression(Learner):
    """R networks that predict targets from inputs, both padded sequences (means: of one step).

    ``reads`` says what of the input is seen, and whether each step gets a prediction of its own;
    step t of a target then belongs to step t of its input. ``ranks_by``: see above; a cosine is of
    vectors, not of sequences.
    """

    def __init__(
        self,
        reads: Reads,
        inputs: StackedSequences,
        targets: StackedSequences,
        *,
        recurrent: int,
        widths: Sequence[int],
        dropout: float,
        ranks_by: RanksBy,
        seeds: Sequence[int],
    ) -> None:
        super().__init__()
        self._reads, self._ranks_by = reads, ranks_by
        self._inputs, self._targets = inputs, targets
        hidden = inputs.size if reads == "means" else 2 * recurrent
        sizes = [hidden, *widths]
        grus, dense, outputs = [], [], []
        with torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                grus.append(nn.GRU(inputs.size, recurrent, bidirectional=True))
                dense.append([nn.Linear(a, b) for a, b in pairwise(sizes)])
                outputs.append(nn.Linear(sizes[-1], targets.size))
        self.gru = None if reads == "means" else StackedBiGRU(grus)
        self.dense = StackedDense(dense, dropout)
        self.output = StackedLinear(outputs)
        self.to(inputs.device)

    def losses(self, rows: Tensor, generators: Generators) -> Tensor:
        """Return each run's mean squared error (R,) on its batch of rows (R, B)."""
        targets, lengths = self._targets.take(rows)
        inside = _inside(targets, lengths)
        error = ((self._predict(rows, generators) - targets) ** 2).mean(dim=-1) * inside
        return error.sum(dim=(1, 2)) / inside.sum(dim=(1, 2))

    @torch.no_grad()
    def scores(self, rows: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Score each run's rows as queries against the same rows as items: R of (N, N), float64."""
        index = torch.from_numpy(np.stack(rows)).to(self._inputs.device)
        predicted = self._predict(index, None).double().cpu().numpy()
        targets, lengths = (part.cpu().numpy() for part in self._targets.take(index))
        if self._ranks_by == "cosine":
            return [cosines(*run) for run in zip(predicted[:, :, 0], targets[:, :, 0], strict=True)]
        return [negative_distances(*run) for run in zip(predicted, targets, lengths, strict=True)]

    def _predict(self, rows: Tensor, generators: Generators | None) -> Tensor:
        """Predict the targets of rows (R, B): (R, B, T, size), T = 1 but step by step."""
        values, lengths = self._inputs.take(rows)
        runs, batch, steps = values.shape[:3]
        if self.gru is None:
            read = values[:, :, 0]
        elif self._reads == "sequences":
            read = self.gru(values, lengths)
        else:
            read = self.gru.states(values, lengths).flatten(1, 2)
        hidden = self.dense(read, generators)
        outputs: Tensor = self.output(hidden)
        each_step = steps if self._reads == "sequences step by step" else 1
        return outputs.view(runs, batch, each_step, -1)


def negative_distances(
    predicted: NDArray[np.floating], items: NDArray[np.floating], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Minus the mean squared error of predictions (Q, T, F) against items (N, T, F): (Q, N).

    Row and column n are one pair, of ``lengths`` (N,) true steps; a pair of different lengths is
    compared over the steps that both have.
    """
    inside = (np.arange(items.shape[1]) < lengths[:, None]).astype(np.float64)  # (N, T)
    size = items.shape[2]
    query = predicted.astype(np.float64) * inside[..., None]
    found = items.astype(np.float64) * inside[..., None]
    squares = (query**2).sum(axis=2) @ inside.T + inside @ (found**2).sum(axis=2).T
    cross = query.reshape(len(query), -1) @ found.reshape(len(found), -1).T
    distances: NDArray[np.float64] = (squares - 2 * cross) / (size * inside @ inside.T)
    return -distances


def cosines(predicted: NDArray[np.floating], items: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of every prediction (Q, F) with every item (N, F): (Q, N); with zeros it is zero."""
    query, found = (
        rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for rows in (predicted.astype(np.float64), items.astype(np.float64))
    )
    similarity: NDArray[np.float64] = query @ found.T
    return similarity


def features_at_curve_steps(
    features: NDArray[np.float32],
    feature_lengths: NDArray[np.int64],
    curve_lengths: NDArray[np.int64],
    curve_starts_s: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Give each 0.5 s step the 0.96 s patch that sounds in its middle: (N, T, F) → (N, T', F).

    Steps behind the last patch hold it, behind the curve are zero.
    """
    steps = np.arange(curve_lengths.max())
    middle_s = curve_starts_s[:, None] + (steps + 0.5) / CURVE_RATE_HZ
    index = np.minimum((middle_s / PATCH_S).astype(np.int64), feature_lengths[:, None] - 1)
    taken = features[np.arange(len(features))[:, None], index]
    return taken * (steps < curve_lengths[:, None]).astype(np.float32)[..., None]


def _inside(values: Tensor, lengths: Tensor) -> Tensor:
    steps = torch.arange(values.shape[2], device=values.device)
    return (steps < lengths[..., None]).to(values.dtype)  # (R, B, T)
