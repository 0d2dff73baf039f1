"""The weight step of a supernet: SGD with Nesterov momentum on one training mini-batch, a seed at a time.

    g = clip(grad_w L_train) + weight_decay w;  v <- momentum v + g;  w <- w - lr (g + momentum v)

as `torch.optim.SGD(nesterov=True)` after `clip_grad_norm_`, on the joined row of weights. With `paths` the loss is
sum_m omega_m L_train(cell_m): PARSEC's gradient in the weights (Casale et al. 2019, algorithm 1, line 16).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gpu_validation.flat import gradient
from nasbench_sim.landscapes import LandscapeState, Paths

if TYPE_CHECKING:
    from gpu_validation.landscape import SupernetLandscape

Array = npt.NDArray[Any]

LOSS_SCALE = 1024.0  # float16: gradients below 6e-8 would be lost; sums of 64 images stay far from its 65,504


def train_rows(
    land: SupernetLandscape, state: LandscapeState, usage: Array, steps: int, paths: Paths | None
) -> LandscapeState:
    """The state after `steps` weight steps of every seed; a search whose loss is not finite keeps what it had."""
    extra = dict(state.extra)
    for name in ("weights", "momentum", "buffers", "meter", "broken"):
        extra[name] = extra[name].copy()
    for i in range(steps):
        now = state._replace(step=state.step + i, extra=extra)
        for s in range(len(usage)):
            if extra["broken"][s] < 0:
                cells = None if paths is None else Paths(paths.cells[s], paths.weights[s])
                with land.memory():
                    _step(land, now, s, usage[s], cells)
    return state._replace(step=state.step + steps, extra=extra)


def _step(land: SupernetLandscape, state: LandscapeState, s: int, usage: Array, paths: Paths | None) -> None:
    """One step of seed number `s`, written into the (fresh) rows of the state."""
    row, settings, extra = land.row(state, s), land.settings, state.extra
    x, y = land.images("train", row.seed, row.step)
    if paths is None:
        mixtures, shares = [usage], [1.0]
    else:
        mixtures = [land.one_hot(cell) for cell in paths.cells]
        shares = [float(w) for w in paths.weights]
    leaves, buffers = land.net.leaves(row.weights), row.buffers
    slope, seen = torch.zeros_like(row.weights), torch.zeros(2, device=y.device, dtype=torch.float64)
    scale = LOSS_SCALE if settings.precision == "float16" else 1.0
    for gates, share in zip(mixtures, shares, strict=True):
        if share == 0:
            continue
        for part, images, labels in land.shards(x, y):
            at = (images, land.gates(gates), land.active(gates))
            logits, buffers = land.forward(land.net, leaves, buffers, *at)
            loss = F.cross_entropy(logits, labels)
            slope += gradient(scale * share * part * loss, leaves) / scale
            seen += share * part * torch.stack([loss.detach().double(), (logits.argmax(1) == labels).double().mean()])
    slope, seen = land.group.sum(slope), land.group.sum(seen)
    norm = slope.norm()
    value, correct, size = torch.stack([*seen, norm.double()]).tolist()
    if not (math.isfinite(value) and math.isfinite(size)):
        extra["broken"][s] = row.step
        return
    if settings.clip is not None and size > settings.clip:
        slope *= settings.clip / (size + 1e-6)
    slope.add_(row.weights, alpha=settings.weight_decay)
    row.momentum.mul_(settings.momentum).add_(slope)
    ahead = slope.add(row.momentum, alpha=settings.momentum) if settings.nesterov else row.momentum
    row.weights.sub_(ahead, alpha=land.lr(state, row.step))
    row.buffers.copy_(buffers)
    if row.step % state.horizon.steps_per_epoch == 0:
        extra["meter"][s] = 0
    extra["meter"][s] += np.array([value, correct, 1.0]) * len(y)
