"""One-shot accuracy: how single cells do with the shared weights of a supernet, and the judge that a search keeps.

With running statistics these are made anew for every cell, on `recalibration` training batches: the statistics of the
training mixture are no cell's. With batch statistics every evaluation batch normalises itself, as in NATS-Bench.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.contracts import BN_MOMENTUM
from gpu_validation.landscape import SupernetLandscape
from nasbench_sim.landscapes import LandscapeState
from nasbench_sim.runs.judge import TableJudge

Array = npt.NDArray[Any]


def one_shot_accuracy(
    land: SupernetLandscape, state: LandscapeState, archs: Array, split: str, *, recalibrate: bool = True
) -> npt.NDArray[np.float64]:
    """Accuracy in percent `[S, M]` of `archs[S, M, D]` on the evaluation images of `split`.

    `recalibrate=False` uses the running statistics of training (no difference with batch statistics). NaN for a search
    whose weights are broken.
    """
    out = np.full(archs.shape[:2], np.nan)
    with torch.no_grad():
        for s in range(len(archs)):
            if state.extra["broken"][s] >= 0:
                continue
            row = land.row(state, s)
            tensors = land.net.views(row.weights)
            for m, arch in enumerate(archs[s]):
                gates = land.one_hot(arch)
                buffers = row.buffers
                if len(buffers) and recalibrate:
                    buffers = recalibrated(land, row.seed, tensors, buffers, gates)
                right = count = 0
                for x, y in land.evaluation(split):
                    at = (land.gates(gates), land.active(gates))
                    logits, _ = land.forward(land.net, tensors, buffers, x, *at, training=not len(buffers))
                    right, count = right + int((logits.argmax(1) == y).sum()), count + len(y)
                out[s, m] = 100 * right / count
    return out


def mixture_score(
    land: SupernetLandscape, state: LandscapeState, theta: Array, split: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Loss (nats) and accuracy (percent) `[S]` of the mixture `theta[S, D, K]` on the evaluation images of `split`.

    Evaluation batches normalise themselves. NaN for a search whose weights are broken.
    """
    out = np.full((2, len(theta)), np.nan)
    with torch.no_grad():
        for s in np.flatnonzero(state.extra["broken"] < 0).tolist():
            row = land.row(state, s)
            tensors, at = land.net.views(row.weights), (land.gates(theta[s]), land.active(theta[s]))
            loss, right, count = 0.0, 0, 0
            for x, y in land.evaluation(split):
                logits, _ = land.forward(land.net, tensors, row.buffers, x, *at)
                loss += float(F.cross_entropy(logits, y, reduction="sum"))
                right, count = right + int((logits.argmax(1) == y).sum()), count + len(y)
            out[:, s] = loss / count, 100 * right / count
    return out[0], out[1]


def recalibrated(
    land: SupernetLandscape, seed: int, tensors: Sequence[Tensor], buffers: Tensor, gates: Array
) -> Tensor:
    """Running statistics `[m]` of a cell: the mean over training batches of each batch's own.

    A pass from statistics of 0 leaves momentum times those of the batch.
    """
    total = torch.zeros_like(buffers)
    for step in range(land.settings.recalibration):
        x, _ = land.images("train", seed, step)
        _, moved = land.forward(land.net, tensors, torch.zeros_like(buffers), x, land.gates(gates), land.active(gates))
        total += moved / BN_MOMENTUM
    return total / land.settings.recalibration


class SupernetJudge:
    """Scores derived cells by the supernet that found them: one-shot accuracy on the validation and the test split.

    With a `table` (of the same space and data set) `valid` and `test` are looked up there, those of the cell trained
    alone, and the one-shot accuracies become notes.
    """

    def __init__(self, land: SupernetLandscape, table: TableJudge | None = None) -> None:
        self._land, self._table = land, table
        self.space = land.space
        self.roles: tuple[str, ...] = ("valid", "test") if table is None else tuple(table.roles)
        shown = () if table is None else ("one_shot_valid", "one_shot_test")
        self.notes: tuple[str, ...] = ("train_loss", "train_accuracy", *shown)

    def score(self, shared: LandscapeState, archs: Array) -> Mapping[str, Array]:
        """Accuracies in percent and the epoch's training loss (nats) and accuracy, `[S]` each."""
        meter = shared.extra["meter"]
        images = np.where(meter[:, 2] > 0, meter[:, 2], np.nan)
        out: dict[str, Array] = {"train_loss": meter[:, 0] / images, "train_accuracy": 100 * meter[:, 1] / images}
        prefix = "" if self._table is None else "one_shot_"
        for split in ("valid", "test"):
            out[prefix + split] = one_shot_accuracy(self._land, shared, archs[:, None], split)[:, 0]
        return out if self._table is None else {**out, **self._table.score(shared, archs)}
