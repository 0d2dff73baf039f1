"""How much of a mixture forward weights are, and how alike they are from step to step.

    mixing = mean over d of (1 - sum_k usage[d, k]^2) / (1 - 1/K_d)      1 for a uniform mixture, 0 for a single path
    v      = mean over d of sum_k Var usage[d, k] / (1 - 1/K_d)          0 for one mixture, 1 for uniform single paths

v is estimated by half the squared change from step to step (for independent draws that is unbiased), as a running mean
over the first pass and of a pass from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.multilinear import over_options
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]


class Mixtures:
    """Both measures on a space, in the landscape's own precision; sums in a fixed order, whatever the batch.

    >>> import numpy as np
    >>> from nasbench_sim.spaces import NB201
    >>> mixtures = Mixtures(NB201(), np.float64)
    >>> usage = np.stack([np.full((6, 5), 0.2), np.eye(5)[[1] * 6]])
    >>> mixtures.mixing(usage).round(3).tolist()
    [1.0, 0.0]
    >>> extra = mixtures.seen(mixtures.unseen(2), usage, 0, 10)
    >>> mixtures.seen(extra, usage[::-1], 1, 10)["unsteady"].round(3).tolist()  # from the one to the other
    [0.5, 0.5]
    """

    def __init__(self, space: Space, dtype: npt.DTypeLike) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._shape = (space.D, space.K)
        # 1 / (D (1 - 1/K_d)); a decision of one option has nothing to mix
        several = np.maximum(space.counts, 2)
        self._spread = (several / (several - 1) / space.D * (space.counts > 1)).astype(self.dtype)

    def mixing(self, usage: Array) -> Array:
        """How far usage `[..., D, K]` is from a single path, `[...]`."""
        return self._mean(1 - over_options(usage * usage)[..., 0])

    def unseen(self, seeds: int) -> dict[str, Array]:
        """What is kept of the last step: its forward weights `usage` `[S, D, K]`, and v so far, `unsteady` `[S]`."""
        return {
            "usage": np.zeros((seeds, *self._shape), dtype=self.dtype),
            "unsteady": np.zeros(seeds, dtype=self.dtype),
        }

    def seen(self, extra: Mapping[str, Any], usage: Array, step: int, window: int) -> dict[str, Array]:
        """The same after weight step `step` = 0, 1, ... at `usage`; the first has nothing to differ from.

        `extra` of a state that another landscape made may be empty: its next step is then like a first one.
        """
        unsteady = extra.get("unsteady", np.zeros(len(usage), dtype=self.dtype))
        if step and "usage" in extra:
            change = usage - extra["usage"]
            half = self._mean(over_options(change * change)[..., 0]) / 2
            unsteady = unsteady + (half - unsteady) * self.dtype.type(1 / min(step, window))
        return {"usage": np.asarray(usage, dtype=self.dtype), "unsteady": unsteady}

    def _mean(self, values: Array) -> Array:
        total = values[..., 0] * self._spread[0]
        for d in range(1, len(self._spread)):
            total = total + values[..., d] * self._spread[d]
        return np.asarray(total)
