"""The recurrence of a GRU for S independent sequences' stacks, with its gradient by hand.

torch's own GRU knows no stack of weights, and automatic differentiation of a loop over steps keeps
and copies a dozen tensors a step. Here a step is one product [h, x, 1] @ W and six elementwise
operations into memory that is there; the backward pass is the textbook's, through time.

GRU as in torch (Cho et al. 2014, with the reset gate behind the product):

    r = sigmoid(W_r [h, x, 1])   z = sigmoid(W_z [h, x, 1])
    n = tanh(W_nx [x, 1] + r * W_nh [h, 1])   h' = (1 - z) * n + z * h
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Workspace:
    """Memory that a training's steps use again: fresh pages cost as much as the arithmetic.

    A forward pass takes buffers away and its backward pass brings them back, so that two passes
    under way at once never share any.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def take(self, size: int, like: Tensor) -> Tensor:
        """Return a flat buffer of at least ``size`` numbers of the kind of ``like``."""
        buffer = self._free.pop() if self._free else None
        if buffer is None or buffer.numel() < size or buffer.device != like.device:
            return like.new_empty(size)
        return buffer

    def give_back(self, buffer: Tensor) -> None:
        """Let a later pass use the buffer."""
        self._free.append(buffer)


def recur(
    inputs: Tensor,
    weights: Tensor,
    padding: Tensor | None,
    workspace: Workspace,
    *,
    every_step: bool,
) -> Tensor:
    """Run S stacks of sequences through a GRU from a zero state; only weights get a gradient.

    Args:
        inputs: (S, T, B, F).
        weights: (S, H + F + 1, 4H): rows h, x, 1; columns r, z, n of h, n of x.
        padding: (S, T, B) true where an item has ended: its state stays. None: nothing is padded.
        workspace: whose memory the pass uses.
        every_step: whether to return the states after all steps rather than the last.

    Returns:
        The states after every step (S, T, B, H), or the last ones (S, B, H).
    """
    states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
        inputs, weights, padding, workspace, every_step
    )
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weights: Tensor,
        padding: Tensor | None,
        workspace: Workspace,
        every_step: bool,
    ) -> Tensor:
        stack, steps, batch, _ = inputs.shape
        hidden = weights.shape[2] // 4
        kept_steps = steps if every_step else 1
        result = inputs.new_empty(stack, kept_steps, batch, hidden)
        kept: list[Tensor] = []
        for part in _parts(stack, inputs.device):
            states, gates, buffer = _views(inputs[part], weights[part], workspace)
            ended = None if padding is None else padding[part].transpose(0, 1)
            _forward(inputs[part].transpose(0, 1), weights[part], ended, states, gates)
            result[part] = states[-kept_steps:, ..., :hidden].transpose(0, 1)
            if ctx.needs_input_grad[1]:
                kept += [states, gates, buffer]
            else:
                workspace.give_back(buffer)
        ctx.kept, ctx.workspace, ctx.every_step = kept, workspace, every_step
        ctx.save_for_backward(weights)
        return result if every_step else result[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_states: Tensor) -> tuple[None, Tensor, None, None, None]:
        if not ctx.kept:
            raise RuntimeError("the memory of this pass went back with its first backward pass")
        (weights,) = ctx.saved_tensors
        gradient = torch.empty_like(weights)
        for part in _parts(len(weights), weights.device):
            states, gates, buffer = ctx.kept[:3]
            del ctx.kept[:3]
            every = by_states[part].transpose(0, 1) if ctx.every_step else None
            last = None if ctx.every_step else by_states[part]
            gradient[part] = _backward(weights[part], states, gates, every, last)
            ctx.workspace.give_back(buffer)
        return None, gradient, None, None, None


def _parts(stack: int, device: torch.device) -> list[slice]:
    """Cut the stack: one by one on a CPU, where a step then stays in the cache; else whole."""
    size = 1 if device.type == "cpu" else stack
    return [slice(first, first + size) for first in range(0, stack, size)]


def _views(inputs: Tensor, weights: Tensor, workspace: Workspace) -> tuple[Tensor, Tensor, Tensor]:
    """Take memory for states (T + 1, G, B, K) and gates (T, G, B, 4H)."""
    group, steps, batch, _ = inputs.shape
    states = (steps + 1, group, batch, weights.shape[1])
    gates = (steps, group, batch, weights.shape[2])
    first, second = math.prod(states), math.prod(gates)
    buffer = workspace.take(first + second, inputs)
    return buffer[:first].view(states), buffer[first : first + second].view(gates), buffer


def _forward(
    inputs: Tensor, weights: Tensor, ended: Tensor | None, states: Tensor, gates: Tensor
) -> None:
    """Fill states [h, x, 1] before each step, and gates, from inputs (T, G, B, F)."""
    hidden = gates.shape[3] // 4
    states[0, ..., :hidden] = 0
    states[:-1, ..., hidden:-1] = inputs
    states[..., -1] = 1
    befores, hiddens = states.unbind(0), states[..., :hidden].unbind(0)
    both = gates[..., : 2 * hidden].unbind(0)
    resets, updates, of_states, news = (part.unbind(0) for part in gates.chunk(4, dim=-1))
    for step, gate in enumerate(gates.unbind(0)):
        torch.bmm(befores[step], weights, out=gate)
        both[step].sigmoid_()
        if ended is not None:
            updates[step].masked_fill_(ended[step, ..., None], 1.0)  # the state stays
        new = news[step].addcmul_(resets[step], of_states[step]).tanh_()
        torch.lerp(new, hiddens[step], updates[step], out=hiddens[step + 1])


def _backward(
    weights: Tensor, states: Tensor, gates: Tensor, every: Tensor | None, last: Tensor | None
) -> Tensor:
    """Return the weights' gradient (G, K, 4H) from those of the states (T, G, B, H)."""
    hidden = gates.shape[3] // 4
    gradient = torch.zeros_like(weights)
    change = torch.empty_like(gates[0])  # the loss by a step's gates before their nonlinearity
    by_reset, by_update, by_state, by_new = change.chunk(4, dim=-1)
    by_both = change[..., : 2 * hidden]
    back = weights[:, :hidden].transpose(1, 2).contiguous()
    state = states.new_zeros(states.shape[1], states.shape[2], hidden)  # the loss by h'
    if last is not None:
        state += last
    befores, hiddens = states.transpose(2, 3).unbind(0), states[..., :hidden].unbind(0)
    both = gates[..., : 2 * hidden].unbind(0)
    resets, updates, of_states, news = (part.unbind(0) for part in gates.chunk(4, dim=-1))
    for step in range(len(gates) - 1, -1, -1):
        if every is not None:
            state += every[step]
        update, new = updates[step], news[step]
        torch.addcmul(state, state, update, value=-1, out=by_new)
        torch.ops.aten.tanh_backward.grad_input(by_new, new, grad_input=by_new)
        torch.mul(by_new, resets[step], out=by_state)
        torch.mul(by_new, of_states[step], out=by_reset)
        torch.sub(hiddens[step], new, out=by_update).mul_(state)
        torch.ops.aten.sigmoid_backward.grad_input(by_both, both[step], grad_input=by_both)
        gradient.baddbmm_(befores[step], change)
        state.mul_(update).baddbmm_(change, back)
    return gradient
