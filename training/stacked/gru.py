"""One bidirectional GRU layer of R runs, padding masked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.stacked.recurrence import Workspace, recur


class StackedBiGRU(nn.Module):
    """R bidirectional GRU layers of one size, from R of torch's; parameters as torch has them.

    The two directions of all runs are one stack of 2R: the R forward ones, then the R backward.
    The last state forward is that after an item's last true step, and the pass backward begins
    there.
    """

    def __init__(self, layers: Sequence[nn.GRU]) -> None:
        super().__init__()
        self.hidden = layers[0].hidden_size

        def stacked(name: str) -> nn.Parameter:
            both = [
                layer.get_parameter(f"{name}_l0{side}").detach()
                for side in ("", "_reverse")
                for layer in layers
            ]
            return nn.Parameter(torch.stack(both))

        self.of_input = stacked("weight_ih")  # (2R, 3H, F)
        self.of_state = stacked("weight_hh")  # (2R, 3H, H)
        self.input_bias = stacked("bias_ih")  # (2R, 3H)
        self.state_bias = stacked("bias_hh")
        self._workspace = Workspace()

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """[h_1 backward, h_T forward] of each item: (R, B, T, F), (R, B) → (R, B, 2H)."""
        last = self._run(sequences, lengths, every_step=False)
        forward, backward = last.chunk(2)
        return torch.cat([backward, forward], dim=2)

    def states(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Return what is known at each step from both sides: (R, B, T, F) → (R, B, T, 2H).

        As in torch, the forward half comes first. Behind an item's last step nothing is defined.
        """
        every = self._run(sequences, lengths, every_step=True)  # (2R, T, B, H)
        forward, backward = every.transpose(1, 2).chunk(2)
        return torch.cat([forward, _reversed(backward, lengths)], dim=3)

    def _run(self, sequences: Tensor, lengths: Tensor, *, every_step: bool) -> Tensor:
        steps = torch.arange(sequences.shape[2], device=sequences.device)
        padding = steps[:, None] >= lengths[:, None]  # (R, T, B)
        inputs = sequences.where(~padding.transpose(1, 2)[..., None], 0.0)
        both = torch.cat([inputs, _reversed(inputs, lengths)]).transpose(1, 2)
        mask = torch.cat([padding, padding]) if bool(padding.any()) else None
        return recur(both, self._weights(), mask, self._workspace, every_step=every_step)

    def _weights(self) -> Tensor:
        """Arrange the parameters as the recurrence wants them: (2R, H + F + 1, 4H)."""
        gates = 2 * self.hidden
        state, of_input = self.of_state.transpose(1, 2), self.of_input.transpose(1, 2)
        bias = (self.input_bias + self.state_bias)[:, None]
        new_of_input = of_input[..., gates:]
        rows = (
            (state, torch.zeros_like(state[..., gates:])),
            (of_input[..., :gates], torch.zeros_like(new_of_input), new_of_input),
            (bias[..., :gates], self.state_bias[:, None, gates:], self.input_bias[:, None, gates:]),
        )
        return torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)


def _reversed(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Turn each item's true steps round and leave its padding behind them: (R, B, T, ·)."""
    steps = torch.arange(sequences.shape[2], device=sequences.device)
    mirrored = lengths[..., None] - 1 - steps
    index = torch.where(mirrored >= 0, mirrored, steps)  # (R, B, T)
    return sequences.gather(2, index[..., None].expand_as(sequences))
