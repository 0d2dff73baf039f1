"""When a search ends before its last epoch: never, or by a rule that looks at every epoch's end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.searchers.base import Slots
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


class EpochEnd(NamedTuple):
    """What a rule may look at: the epoch (from 0), alpha `[S, D, K]`, cells `[S, D]`, eigenvalues `[S]` or None."""

    epoch: int
    alpha: Array
    archs: Array
    eigenvalue: Array | None


class Verdict(NamedTuple):
    """`stop` bool `[S]`; `alpha` `[S, D, K]`: what the search goes on with, or ends with; the rule's own slots."""

    stop: Array
    alpha: Array
    slots: Slots


class Stopping(Protocol):
    """A rule that looks once an epoch. Its memory lives in slots whose names begin with `stop_`."""

    def init(self, space: Space, alpha: Array) -> Slots:
        """Fresh memory."""

    def look(self, end: EpochEnd, slots: Slots) -> Verdict:
        """The verdict of this epoch; pure."""


@dataclass(frozen=True)
class NeverStop:
    """Every search goes on to its last epoch."""

    def init(self, space: Space, alpha: Array) -> Slots:
        """Nothing."""
        return {}

    def look(self, end: EpochEnd, slots: Slots) -> Verdict:
        """Go on."""
        return Verdict(np.zeros(len(end.alpha), dtype=bool), end.alpha, {})
