"""Rules that end a search before it collapses: DARTS+ (skips, stable ranking) and RobustDARTS (curvature).

Each looks at the end of every epoch. What it remembers lives in slots that begin with `stop_`, so that a resumed
search decides as an uninterrupted one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Slots
from nasbench_sim.searchers.stopping import EpochEnd, Verdict
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SkipLimit:
    """Stop once the derived cell has `skips` skip connections or more: DARTS+, criterion 1.

    `first_epoch`: the first epoch (from 0) after which the rule looks. The search keeps the alpha of that moment.
    Source: Liang et al. 2019 (arXiv 1909.06035). Raises `SpecError` for `skips` below 1, and at the start of a search
    in a space without skip connections, where it would never stop anything.
    """

    skips: int = 2
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if self.skips < 1 or self.first_epoch < 0:
            raise SpecError(
                f"a limit is at least 1 skip connection, looked at from an epoch >= 0; got {self.skips} from "
                f"epoch {self.first_epoch}"
            )

    def init(self, space: Space, alpha: Array) -> Slots:
        """Which options are skips."""
        if not space.skip.any():
            raise SpecError(
                f"criterion='skips' counts skip connections, and {space.name} has none; use criterion='ranking'"
            )
        return {"stop_skip": np.broadcast_to(space.skip, alpha.shape).copy()}

    def look(self, end: EpochEnd, slots: Slots) -> Verdict:
        """Count the skips of each cell."""
        chosen = np.take_along_axis(slots["stop_skip"], end.archs[..., None], axis=-1)[..., 0]
        stop = chosen.sum(axis=1) >= self.skips if end.epoch >= self.first_epoch else np.zeros(len(chosen), dtype=bool)
        return Verdict(np.asarray(stop), end.alpha, {})


@dataclass(frozen=True)
class StableRanking:
    """Stop once the order of alpha among the learnable options has stood still for `epochs` epochs: DARTS+.

    Learnable are the options with weights, of which the order at every decision counts. Source: Liang et al. 2019
    (arXiv 1909.06035), criterion 2, "e.g. 10 epochs". Raises `SpecError` for less than one epoch.
    """

    epochs: int = 10

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SpecError(f"a ranking is stable after at least 1 epoch, got {self.epochs}")

    def init(self, space: Space, alpha: Array) -> Slots:
        """The order at the start, and a count of 0 epochs."""
        pairs = space.parametric[:, :, None] & space.parametric[:, None, :]
        among = np.broadcast_to(pairs, (len(alpha), *pairs.shape)).copy()
        count = np.zeros(len(alpha), dtype=np.int64)
        return {"stop_among": among, "stop_order": _above(alpha, among), "stop_stable": count}

    def look(self, end: EpochEnd, slots: Slots) -> Verdict:
        """Compare with the order of the epoch before."""
        order = _above(end.alpha, slots["stop_among"])
        same = (order == slots["stop_order"]).all(axis=(1, 2, 3))
        count = np.where(same, slots["stop_stable"] + 1, 0)
        return Verdict(count >= self.epochs, end.alpha, {"stop_order": order, "stop_stable": count})


def _above(alpha: Array, among: Array) -> Array:
    """bool `[S, D, i, j]`: alpha_i > alpha_j, for the pairs `among`."""
    return np.asarray(among & (alpha[..., :, None] > alpha[..., None, :]))


@dataclass(frozen=True)
class EigenvalueRule:
    """Stop when the dominant eigenvalue of the Hessian in alpha has grown by `factor`, and go back: RobustDARTS.

    Every `every` epochs the eigenvalue ev_n is noted. avg_n = mean of ev over the `window` values around n, which is
    known window // 2 values later. With i the newest n with a known average:

        stop where avg_i / avg_(i - delta) > factor and epoch(i - delta) >= first_epoch; return alpha of i - delta

    Defaults are those of DARTS-ES in automl/RobustDARTS (window 5, every 2 epochs, delta 4, factor 1.3, epoch 10): the
    earliest verdict falls after epoch 22 and returns the alpha of epoch 10. Source: Zela et al., ICLR 2020 (arXiv
    1909.09656), DARTS-ES; rule and settings of the code. Raises `SpecError` for impossible settings.
    """

    factor: float = 1.3
    delta: int = 4
    window: int = 5
    every: int = 2
    first_epoch: int = 10

    def __post_init__(self) -> None:
        if not (np.isfinite(self.factor) and self.factor > 0):
            raise SpecError(f"factor is a positive ratio of eigenvalues, got {self.factor}")
        if min(self.delta, self.window, self.every) < 1 or self.first_epoch < 0:
            raise SpecError(
                f"delta, window and every are at least 1 and first_epoch at least 0; got {self.delta}, {self.window}, "
                f"{self.every} and {self.first_epoch}"
            )

    @property
    def _back(self) -> int:
        """How many values ago the alpha was noted that a verdict returns."""
        return self.window // 2 + self.delta

    def init(self, space: Space, alpha: Array) -> Slots:
        """Room for the last window + delta eigenvalues and the alphas up to the one that may be returned."""
        return {
            "stop_eigenvalues": np.zeros((len(alpha), self.window + self.delta)),
            "stop_alphas": np.repeat(alpha[:, None], self._back + 1, axis=1),
        }

    def look(self, end: EpochEnd, slots: Slots) -> Verdict:
        """Note the eigenvalue where one is due, and compare the two averages."""
        go_on = Verdict(np.zeros(len(end.alpha), dtype=bool), end.alpha, {})
        if end.epoch % self.every:
            return go_on
        if end.eigenvalue is None:
            raise ValueError("the eigenvalue rule needs a method with a Hessian in alpha")
        values = np.concatenate([slots["stop_eigenvalues"][:, 1:], end.eigenvalue[:, None]], axis=1)
        alphas = np.concatenate([slots["stop_alphas"][:, 1:], end.alpha[:, None]], axis=1)
        kept = {"stop_eigenvalues": values, "stop_alphas": alphas}
        noted = end.epoch // self.every + 1
        target = noted - 1 - self._back
        if target < 0 or target * self.every < self.first_epoch:
            return go_on._replace(slots=kept)
        # the first windows are cut off at the start of the search, as in the code
        now = self._average(values, min(self.window, noted))
        before = self._average(values[:, : self.window], min(self.window, noted - self.delta))
        stop = now > self.factor * before
        return Verdict(stop, np.where(stop[:, None, None], alphas[:, 0], end.alpha), kept)

    @staticmethod
    def _average(values: Array, count: int) -> Array:
        """Mean `[S]` of the last `count` columns, added in order."""
        out = values[:, -count]
        for i in range(count - 1, 0, -1):
            out = out + values[:, -i]
        return np.asarray(out / count)
