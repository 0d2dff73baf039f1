"""What is added to the loss as a function of alpha alone."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from nasbench_sim.searchers.base import View

Array = npt.NDArray[Any]


class Regulariser(Protocol):
    """r(alpha), given by its gradient."""

    def gradient(self, view: View, alpha: Array, mask: Array | None) -> Array:
        """dr/dalpha `[S, D, K]`; 0 for pruned options."""
