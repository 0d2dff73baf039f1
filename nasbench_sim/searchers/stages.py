"""A search in stages: fewer options in each, as in P-DARTS and the progressive form of DrNAS.

Stages are equally long. The stage of a step is a function of the step number and the horizon, so that nothing about
it needs to be stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import View
from nasbench_sim.searchers.links import Link
from nasbench_sim.searchers.pruning import Cut

Array = npt.NDArray[Any]


def stage_of(step: int, steps: int, stages: int) -> int:
    """Number of the stage, from 0, of `step` in a search of `steps`.

    >>> [stage_of(step, 10, 3) for step in range(12)]
    [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2]
    """
    return min(step * stages // steps, stages - 1)


def into_stage(view: View, stages: int) -> float:
    """Share of the present stage that lies behind this step, in [0, 1); 1 beyond the horizon."""
    steps = view.state.horizon.steps
    return 1.0 if view.step >= steps else view.step * stages % steps / steps


def strongest(alpha: Array, mask: Array, keep: int) -> Array:
    """bool `[S, D, K]`: the `keep` active options with the largest alpha at each decision, the first where equal.

    >>> strongest(np.array([[[1.0, 3.0, 2.0]]]), np.array([[[True, False, True]]]), 1).tolist()
    [[[False, False, True]]]
    """
    order = np.argsort(np.where(mask, -alpha, np.inf), axis=-1, kind="stable")
    rank = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), axis=-1)
    return np.asarray(mask & (rank < keep))


@dataclass(frozen=True)
class StagedPruning:
    """Stage i runs with at most `keep[i]` options at each decision; at a stage's end the weakest alphas are cut.

    `keep[0]` is the number of options that the search starts with. `reset`: alpha restarts at 1e-3 N(0, 1) with the
    update's memory fresh in each stage (P-DARTS trains a new supernet); otherwise the values are kept (DrNAS).

    Where decisions have unequal numbers of options, the first stage runs with all there are, and a later one with
    min(keep[i], K_d): `keep` (5, 3, 2) is 3, 3, 2 of an operation of nb1shot1-3 and 15, 3, 2 of its output's parents.

    Raises `SpecError` where `keep` is empty, grows or falls below 1, and, at the first step, where every decision has
    more options than `keep[0]`: which of them to start with would be chance.
    """

    keep: tuple[int, ...] = (5, 3)
    reset: bool = False

    def __post_init__(self) -> None:
        falls = all(a >= b for a, b in zip(self.keep, self.keep[1:], strict=False))
        if not self.keep or min(self.keep) < 1 or not falls:
            raise SpecError(f"keep is the number of options of each stage, never growing, at least 1: got {self.keep}")

    def into_stage(self, view: View) -> float:
        """Share of the present stage that lies behind this step."""
        return into_stage(view, len(self.keep))

    def apply(self, view: View, alpha: Array, mask: Array, link: Link) -> Cut | None:
        """The cut after the last step of a stage; None at every other step."""
        if view.step == 0:
            fewest = int(mask.sum(axis=-1).min())
            if fewest > self.keep[0]:
                raise SpecError(
                    f"the first stage keeps {self.keep[0]} options, and the search starts with {fewest}; "
                    f"give keep={(fewest, *self.keep[1:])}"
                )
        steps, stages = view.state.horizon.steps, len(self.keep)
        following = stage_of(view.step + 1, steps, stages)
        if following == stage_of(view.step, steps, stages):
            return None
        return Cut(strongest(alpha, mask, self.keep[following]), np.full(mask.shape[:2], self.reset))
