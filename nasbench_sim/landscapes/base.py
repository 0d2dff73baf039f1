"""What a search sees: a loss over architecture distributions, and shared weights that learn while it looks.

A `Landscape` is the only thing a searcher talks to. A table is one (`TabularLandscape`), a model of weight sharing is
one (`SharedWeightsLandscape`), a true supernet is one (package `gpu_validation`). All state is explicit: it is a
NamedTuple of arrays with a leading seed axis, so that it can be sliced, checkpointed and resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]
_NOTHING: Mapping[str, Any] = {}  # never written to; a state is pickled between processes, so no MappingProxyType


class Horizon(NamedTuple):
    """Length of a search: the learning-rate schedule of the shared weights is laid out over it."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """All steps."""
        return self.epochs * self.steps_per_epoch


class LandscapeState(NamedTuple):
    """State of the shared weights for each seed.

    `seeds` int64 `[S]`; `step` int64 `[S]` weight steps done (also the noise's address); `epochs` and
    `steps_per_epoch` int64 `[S]`: the horizon; `maturity` `[S, D, K]` in [0, 1]: how far each option's weights are
    trained (1 where there are none to train); `progress` `[S]` in [0, 1]: the supernet's training progress. Both belong
    to the modelled supernet. `extra`: what a landscape keeps beside them, by name, each with leading axis S (the
    weights of a true supernet).
    """

    seeds: Array
    step: Array
    epochs: Array
    steps_per_epoch: Array
    maturity: Array
    progress: Array
    extra: Mapping[str, Any] = _NOTHING

    @property
    def horizon(self) -> Horizon:
        """The horizon (the same for all rows)."""
        return Horizon(int(self.epochs[0]), int(self.steps_per_epoch[0]))


class Paths(NamedTuple):
    """Single cells that the shared weights train on together: `cells[S, M, D]` with `weights[S, M]` of sum 1.

    Where a method trains on them (PARSEC), usage is their weighted sum; a supernet's loss is not that of the sum.
    """

    cells: Array
    weights: Array


class Landscape(Protocol):
    """The contract. `theta` is `[S, D, K]` or `[S, M, D, K]` (M draws of one seed, seen on the same batch).

    Implementations are pure: equal arguments give equal results, bit for bit and row by row.
    """

    @property
    def space(self) -> Space:
        """The search space."""

    @property
    def loss_name(self) -> str:
        """What the loss is, with its unit: `error (fraction)` or `cross-entropy (nats)`."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: the type of every array returned."""

    @property
    def offers(self) -> frozenset[str]:
        """What there is beside a loss and its gradient: `weights` (shared weights that learn)."""

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """Fresh shared weights for `seeds[S]`."""

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Expected validation loss `[S]` (or `[S, M]`) and its gradient in theta, as one mini-batch shows them.

        `discrete=True`: `theta` holds the gates of single cells, whose `none` edges pass nothing, as in `arch_loss`;
        otherwise it is a mixture that runs all options at once.
        """

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Loss and *total* gradient in theta after one virtual weight step of `xi` times the learning rate at theta.

        d/dtheta L(theta, w - xi lr grad_w L_train(theta, w)), DARTS eq. 7. Only where `offers` has `weights`.
        """

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Zero-cost proxy `[S, M]` of `archs[S, M, D]`, NaN where it was never computed; default data set: its own."""

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Loss `[S, M]` of discrete architectures `archs[S, M, D]` under the shared weights.

        `batch=True`: as this step's mini-batch shows it, with its noise, the same for all M. `own_batch=b` instead:
        each as a mini-batch of its own shows it, b times as large as the search's.
        """

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Hessian `[S, D*K, D*K]` of the noise-free expected loss in theta."""

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Noise-free gradient `[S, D, K]` of the expected loss in theta."""

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Shared weights after `steps` updates in which option k of decision d is used with weight `usage[S, D, K]`.

        `paths`: the single cells behind that usage, where the method trains on such; a model that looks at usage alone
        need not look at them.
        """


def fresh_state(space: Space, seeds: Array, horizon: Horizon, dtype: npt.DTypeLike) -> LandscapeState:
    """A state in which nothing is trained yet; every landscape's `init` starts from it."""
    s = np.asarray(seeds, dtype=np.int64)
    full = np.ones(len(s), dtype=np.int64)
    maturity = np.broadcast_to(np.where(space.parametric, 0.0, 1.0), (len(s), space.D, space.K)).astype(dtype)
    return LandscapeState(
        seeds=s,
        step=0 * full,
        epochs=horizon.epochs * full,
        steps_per_epoch=horizon.steps_per_epoch * full,
        maturity=maturity,
        progress=np.zeros(len(s), dtype=dtype),
    )


class StreamCache:
    """The `Streams` of a batch of seeds, kept between steps. A cache of a pure function, not state."""

    def __init__(self) -> None:
        self._seeds: Array | None = None
        self._streams = Streams([])

    def __call__(self, seeds: Array) -> Streams:
        if self._seeds is not seeds:
            if self._seeds is None or not np.array_equal(self._seeds, seeds):
                self._streams = Streams(seeds)
            self._seeds = seeds
        return self._streams
