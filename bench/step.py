"""One training step's composite loss with its gradients: ours against the plain definition.

The definition broadcasts every pair for KL, in chunks of rows whose graphs are freed one by one
(nothing else would fit), and takes CCA by symmetric inverse square roots and singular values in
float64, each differentiated by autograd. Each runs in a process of its own, warmed up on a small
batch, and its peak is how far the process grew beyond its inputs, as /proc tells (Linux, glibc).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.timing import Report, machine, require_close
from models.encoders import SMALLEST_VARIANCE, Encoded
from training.losses import composite_loss

BATCH = 1_441  # DEAM's training part
DIMENSIONS = 1_024
CHUNK_ROWS = 32
WEIGHT = 0.5
MARGIN = 1.0
LOSS_DIFFERENCE = 1e-5
GRADIENT_DIFFERENCE = 1e-3
_CCA_RIDGE = 1e-4
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def run(
    *,
    batch: int = BATCH,
    dimensions: int = DIMENSIONS,
    chunk_rows: int = CHUNK_ROWS,
    rounds: int = 7,
) -> Report:
    """Compare time and memory where loss and gradients agree; the definition runs only once.

    Raises:
        bench.timing.DisagreementError: the losses differ by more than 1e-5 or the gradients by more
            than 1e-3, relative to their lengths (KL is computed in float32).
    """
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return {
        "machine": machine(),
        "batch": batch,
        "dimensions": dimensions,
        "definition_chunk_rows": chunk_rows,
        **{device: _compare(device, batch, dimensions, chunk_rows, rounds) for device in devices},
    }


@dataclass(frozen=True, eq=False)
class _Measured:
    """``gradients`` are those of E, μ and σ of music, then of emotion.

    The processor's time, of all threads, tells more than the clock's where others use it too.
    """

    median_ms: float
    processor_ms: float
    peak_bytes: int
    loss: float
    gradients: list[NDArray[np.float32]]


def _compare(device: str, batch: int, dimensions: int, chunk_rows: int, rounds: int) -> Report:
    definition = partial(_definition_step, chunk_rows=chunk_rows)
    here = _in_own_process(_composite_step, device, batch, dimensions, rounds)
    plain = _in_own_process(definition, device, batch, dimensions, 1)
    return _beside(here, plain)


def _beside(here: _Measured, plain: _Measured) -> Report:
    loss_difference = require_close("losses", here.loss / plain.loss, 1.0, LOSS_DIFFERENCE)
    gradient_difference = max(
        float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        for ours, theirs in zip(here.gradients, plain.gradients, strict=True)
    )
    require_close("gradients", gradient_difference, 0.0, GRADIENT_DIFFERENCE)
    return {
        "here_ms": here.median_ms,
        "definition_ms": plain.median_ms,
        "definition_over_here": plain.median_ms / here.median_ms,
        "here_processor_ms": here.processor_ms,
        "definition_processor_ms": plain.processor_ms,
        "definition_processor_over_here": plain.processor_ms / here.processor_ms,
        "here_peak_bytes": here.peak_bytes,
        "definition_peak_bytes": plain.peak_bytes,
        "definition_peak_over_here": plain.peak_bytes / here.peak_bytes,
        "relative_loss_difference": loss_difference,
        "relative_gradient_difference": gradient_difference,
    }


_Step = Callable[[Encoded, Encoded], float]


def _in_own_process(
    step: _Step, device: str, batch: int, dimensions: int, rounds: int
) -> _Measured:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, step, device, batch, dimensions, rounds).result()


def _measure(step: _Step, device: str, batch: int, dimensions: int, rounds: int) -> _Measured:
    # What is freed goes back at once, so that a peak is what is held and not what malloc keeps.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)
    step(*_inputs(device, 48, 16))
    pair = _inputs(device, batch, dimensions)
    before = _restart_peak_bytes(device)
    taken_ms, processor_ms = [], []
    for _ in range(rounds):
        for part in (*pair[0], *pair[1]):
            part.grad = None
        started_ns, processor_ns = time.perf_counter_ns(), time.process_time_ns()
        loss = step(*pair)
        _finish(device)
        taken_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        processor_ms.append((time.process_time_ns() - processor_ns) / 1e6)
    peak = _peak_bytes(device) - before
    gradients = [part.grad for part in (*pair[0], *pair[1])]
    return _Measured(
        float(np.median(taken_ms)),
        float(np.median(processor_ms)),
        peak,
        loss,
        [gradient.cpu().numpy() for gradient in gradients if gradient is not None],
    )


def _inputs(device: str, batch: int, dimensions: int) -> tuple[Encoded, Encoded]:
    """Draw what towers could say that have begun to learn: about a third of all hinges is open."""
    generator = torch.Generator().manual_seed(0)
    shared, *own = torch.randn(3, 3, batch, dimensions, generator=generator)
    sides = []
    for apart in own:
        embedding, mean, spread = 0.2 * shared + apart
        parts = embedding, mean, functional.softplus(spread) + SMALLEST_VARIANCE
        sides.append(Encoded(*(part.clone().to(device).requires_grad_() for part in parts)))
    return sides[0], sides[1]


def _composite_step(music: Encoded, emotion: Encoded) -> float:
    loss = composite_loss(music, emotion, weight=WEIGHT, margin=MARGIN)
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _definition_step(music: Encoded, emotion: Encoded, *, chunk_rows: int) -> float:
    correlating = WEIGHT * _plain_cca_loss(music.embedding.double(), emotion.embedding.double())
    correlating.backward()  # type: ignore[no-untyped-call]
    total = float(correlating.detach())
    for query, items in ((music, emotion), (emotion, music)):
        for first in range(0, len(query.mean), chunk_rows):
            chunk = slice(first, first + chunk_rows)
            ranking = (1 - WEIGHT) * _plain_hinge_sum(query, items, chunk)
            ranking.backward()  # type: ignore[no-untyped-call]
            total += float(ranking.detach())
    return total


def _plain_hinge_sum(query: Encoded, items: Encoded, rows: slice) -> Tensor:
    """Hinges of some queries, from KL summed over (rows, B, D)."""
    mean, variance = query.mean[rows, None], query.variance[rows, None]
    terms = (variance + (mean - items.mean) ** 2) / items.variance - 1
    divergence = 0.5 * (
        terms.sum(dim=-1) + items.variance.log().sum(dim=-1) - variance.log().sum(dim=-1)
    )
    own = torch.arange(len(items.mean), device=mean.device)[rows, None]
    hinge = (MARGIN + divergence.gather(1, own) - divergence).clamp_min(0)
    return hinge.sum() - hinge.gather(1, own).sum()


def _plain_cca_loss(music: Tensor, emotion: Tensor) -> Tensor:
    music, emotion = music - music.mean(dim=0), emotion - emotion.mean(dim=0)
    cross = music.T @ emotion / (len(music) - 1)
    whitened = _inverse_root_of_covariance(music) @ cross @ _inverse_root_of_covariance(emotion)
    correlations: Tensor = torch.linalg.svdvals(whitened)
    return -correlations.sum()


def _inverse_root_of_covariance(centred: Tensor) -> Tensor:
    covariance = centred.T @ centred / (len(centred) - 1)
    ridge = _CCA_RIDGE * covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh(
        covariance
        + ridge * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    )
    root: Tensor = vectors * values**-0.5 @ vectors.T
    return root


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _restart_peak_bytes(device: str) -> int:
    """Forget the peak so far; returns what is in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes(device)


def _peak_bytes(device: str) -> int:
    """Peak since the restart. Not getrusage's, which a child inherits from its parent."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status").read_text().splitlines()
    (resident,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return 1024 * int(resident)
