"""The ensemble accuracy of a search's members, and why no table can give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.metrics import accuracy, average
from nasbench_sim.ensembles.predictions import PredictionSource
from nasbench_sim.errors import NotMeasured, SpecError

#: C100 test accuracies in percent: the BPNAS ensemble (slides, ICML 2024 workshop) and the best single cell of nb201
PUBLISHED, BEST_CELL = 77.47, 73.51


def member_archs(of: Any) -> npt.NDArray[np.int64]:
    """Architectures `[S, M, D]` of the members of a run, its `members`, or plain cells `[M, D]` or `[S, M, D]`.

    Raises `SpecError` where there are none, e.g. for a run without restarts.

    >>> member_archs([[1, 2], [1, 3]]).shape
    (1, 2, 2)
    """
    held = getattr(of, "members", of)
    if isinstance(held, Mapping):
        if "archs" not in held:
            raise SpecError(
                "this run has no ensemble members; run bpnas with members=N, or select members with nes-rs or nes-bs"
            )
        held = held["archs"]
    archs = np.asarray(held)
    archs = archs[None] if archs.ndim == 2 else archs
    if archs.ndim != 3 or 0 in archs.shape or archs.dtype.kind not in "iu":
        raise SpecError(f"members are architectures [M, D] or [S, M, D]; got {archs.dtype} of shape {archs.shape}")
    return archs.astype(np.int64)


def ensemble_accuracy(of: Any, predictions: PredictionSource | None = None) -> npt.NDArray[np.float64]:
    """Accuracy in percent `[S]` of the equally weighted average of the members' probabilities, on that split.

    `of`: a run with members (BPNAS restarts), its `members`, or cells `[M, D]` or `[S, M, D]`; NaN for a search that
    failed (cells of -1). How BPNAS combines its members is not stated; probabilities are averaged, as in NES.

    Raises `NotMeasured` without predictions, whatever `of` is (a run, a table), and for a member they do not cover.

    >>> from nasbench_sim.ensembles import Predictions
    >>> p = Predictions([[[0.9, 0.1]], [[0.4, 0.6]]], [0], [6111, 9930], "nb201", "cifar10", "test", [-1, -1], "toy")
    >>> ensemble_accuracy(p.archs, p).tolist()
    [100.0]
    """
    if predictions is None:
        raise NotMeasured(
            "an ensemble's accuracy needs its members' predictions of every sample, and a table holds one accuracy a "
            f"cell: the {PUBLISHED} % on CIFAR-100 published by BPNAS exceeds the best single cell's {BEST_CELL} %, so "
            "it cannot come from a table; train the members and give their Predictions (see Predictions.from_logits)"
        )
    archs = member_archs(of)
    out = np.full(len(archs), np.nan)
    for s, cells in enumerate(archs):
        if (cells >= 0).all():
            out[s] = accuracy(average(predictions.predict(cells)), predictions.labels)
    return out
