"""Scores of many ensembles at many sizes: the first k members of each, for every k asked for, in one pass.

The numbers are those of `metrics` bit for bit. Members are added class by class over all images (`[C, I]`), so that
no step runs over the ten classes of one image: 1.0 ms an ensemble of ten members, 2,000 images and 10 classes, where
`metrics.score` takes 30 ms for the ten sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.metrics import BINS, TINY
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.errors import SpecError

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METRICS = ("accuracy", "nll", "ece")


class BySize(NamedTuple):
    """Scores `[S, Z]` of `S` ensembles at `Z` sizes, and what each image contributes on average over ensembles.

    `accuracy` in percent, `nll` in nats, `ece` a fraction; `images` holds for accuracy and NLL the mean over the S
    ensembles of each image's own number, `[Z, I]` (ECE is no mean over images).
    """

    sizes: tuple[int, ...]
    accuracy: Floats
    nll: Floats
    ece: Floats
    images: dict[str, Floats]


def score_by_size(predictions: Predictions, members: IntArray, sizes: Sequence[int]) -> BySize:
    """Scores of the first k of `members[S, K]` (rows) for every k of `sizes`; equal lists are scored once.

    >>> p = Predictions([[[0.9, 0.1]], [[0.2, 0.8]]], [0], [5, 6], "nb201", "cifar10", "test", [-1, -1], "toy")
    >>> scores = score_by_size(p, np.array([[0, 1], [1, 0]]), [1, 2])
    >>> scores.accuracy.tolist(), scores.nll.round(3).tolist()
    ([[100.0, 100.0], [0.0, 100.0]], [[0.105, 0.598], [1.609, 0.598]])
    """
    if members.ndim != 2 or not len(members) or not sizes or min(sizes) < 1 or max(sizes) > members.shape[1]:
        raise SpecError(f"sizes {list(sizes)} of members of shape {members.shape}: give 1..{members.shape[-1]}")
    distinct, inverse, count = np.unique(members, axis=0, return_inverse=True, return_counts=True)
    scores = np.empty((3, len(distinct), len(sizes)))
    shape = (len(sizes), len(predictions.labels))
    images = {"accuracy": np.zeros(shape), "nll": np.zeros(shape)}
    for u, rows in enumerate(distinct):
        hits, loss, scores[2, u] = _one(predictions, rows, sizes)
        scores[0, u] = [100 * int(h.sum()) / len(h) for h in hits]
        scores[1, u] = [x.mean() for x in loss]
        images["accuracy"] += (100 * count[u]) * hits
        images["nll"] += count[u] * loss
    accuracy, nll, ece = scores[:, inverse.ravel()]
    return BySize(tuple(sizes), accuracy, nll, ece, {name: x / len(members) for name, x in images.items()})


def _one(predictions: Predictions, rows: IntArray, sizes: Sequence[int]) -> tuple[Array, Array, list[float]]:
    """Hits bool and NLL `[Z, I]`, ECE `[Z]` of one list of members."""
    labels = predictions.labels
    at = np.arange(len(labels))
    total = np.zeros(predictions.probabilities.shape[:0:-1])  # [C, I]
    hits = np.empty((len(sizes), len(labels)), dtype=bool)
    loss = np.empty(hits.shape)
    ece = [0.0] * len(sizes)
    for k, row in enumerate(rows[: max(sizes)], 1):
        total += np.ascontiguousarray(predictions.probabilities[row].T)
        for z in (z for z, size in enumerate(sizes) if size == k):
            mean = total / k
            confidence, first = mean[0].copy(), np.zeros(len(labels), dtype=np.int64)
            for c in range(1, len(mean)):
                np.copyto(first, c, where=mean[c] > confidence)  # the first class wins a tie
                np.maximum(confidence, mean[c], out=confidence)
            np.equal(first, labels, out=hits[z])
            np.negative(np.log(np.maximum(mean[labels, at], TINY)), out=loss[z])
            ece[z] = _ece(confidence, hits[z])
    return hits, loss, ece


def _ece(confidence: Array, right: Array) -> float:
    """As `metrics.ece`, from the largest probability and whether its class is right."""
    place = np.searchsorted(np.linspace(0, 1, BINS + 1), confidence, side="left") - 1
    gap = np.bincount(np.clip(place, 0, BINS - 1), weights=right - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / len(right))
