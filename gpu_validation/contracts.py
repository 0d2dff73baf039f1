"""What the parts of this package promise one another: a supernet's forward pass, batch statistics, and backends.

Everything below the landscape adapter is PyTorch; everything above it (searchers, runs, reports) is nasbench_sim and
does not know that a network is trained. Options and decisions are numbered as in `nasbench_sim.spaces`.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.spaces import Space

#: who computes a cell: plain PyTorch (the oracle), the same algebra with less traffic, or Triton kernels
Backend = Literal["reference", "fused", "triton"]
#: `batch`: normalise by the mini-batch always; `running`: also keep running means, used in evaluation mode
BatchNorm = Literal["batch", "running"]

BN_EPS = 1e-5
BN_MOMENTUM = 0.1

Active = npt.NDArray[np.bool_]


class Supernet(Protocol):
    """A weight-sharing network over a space; an `nn.Module` whose parameters are the shared weights.

    `forward(images[B, c, H, W], gates[D, K], active=None) -> logits[B, classes]`: option k of decision d enters with
    weight `gates[d, k]`, any real numbers, through which gradients flow. `active` bool `[D, K]` (NumPy, host side):
    options that are False are not run at all, enter with weight 0 and get a gate gradient of 0. `None`: all are run,
    so that nothing depends on the values of the gates (a static graph).
    """

    @property
    def space(self) -> Space:
        """The search space."""

    def __call__(self, images: Any, gates: Any, active: Active | None = None) -> Any:
        """Logits."""
