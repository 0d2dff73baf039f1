"""The contract of a search method: a pure `init`, `step`, `derive` over a batch of seeds.

`State` is all that a checkpoint needs (the noise is addressed by (seed, step), so the step number is the RNG state);
`Info` is what one step saw, for the record. Every array has the seed axis first. A method is composed of parts:

    relaxation   alpha (and the posterior sd) -> what one mini-batch says: loss, gradient, forward weights
    update       gradient -> new alpha, and a posterior sd where the method has one
    pruning      which options stay in the race
    selection    the discrete cell that the distribution stands for
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.base import Landscape, LandscapeState, Paths
from nasbench_sim.landscapes.multilinear import over_options
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams

__all__ = [
    "Estimate",
    "Info",
    "Searcher",
    "Slots",
    "State",
    "View",
    "concatenate",
    "over_options",
    "replace",
    "rows",
]

Array = npt.NDArray[Any]
Slots = Mapping[str, Array]


class State(NamedTuple):
    """A batch of searches in progress.

    `seeds` int64 `[S]`; `step` int64 `[S]` architecture steps done; `alpha` `[S, D, K]` architecture parameters (the
    mean of the posterior where there is one); `mask` bool `[S, D, K]`: options still active; `slots`: arrays with
    leading axis S that belong to the update or the method.
    """

    seeds: Array
    step: Array
    alpha: Array
    mask: Array
    slots: Slots


class Info(NamedTuple):
    """What one step saw: `loss` `[S]` under the mini-batch, `theta` `[S, D, K]` the forward weights it used."""

    loss: Array
    theta: Array


class View(NamedTuple):
    """What a part may look at during a step: the landscape, its state, the seeds' noise and the step number.

    `memory`: the method's slots, among them those that the relaxation itself keeps; `xi`: weight steps that the
    gradient is unrolled through (0: first order).
    """

    landscape: Landscape
    state: LandscapeState
    streams: Streams
    step: int
    memory: Slots = MappingProxyType({})
    xi: float = 0.0

    @property
    def done(self) -> float:
        """Share of the search that lies behind this step, in [0, 1)."""
        return min(self.step / self.state.horizon.steps, 1.0)

    def look(self, theta: Array) -> tuple[Array, Array]:
        """Loss and gradient of this mini-batch at the mixture `theta[S, D, K]` or `[S, M, D, K]`."""
        if self.xi:
            return self.landscape.unrolled(self.state, theta, self.xi)
        return self.landscape.loss_and_grad(self.state, theta)

    def look_at_cells(self, gates: Array) -> tuple[Array, Array]:
        """Loss and gradient in the gates of single cells `gates[S, D, K]` or `[S, M, D, K]`, one-hot."""
        return self.landscape.loss_and_grad(self.state, gates, discrete=True)


class Estimate(NamedTuple):
    """What one mini-batch says about `alpha`.

    `loss` `[S]`; `grad` `[S, D, K]`: mean gradient of the loss in alpha; `square` `[S, D, K]`: mean over the draws of
    the squared gradient; `usage` `[S, D, K]`: forward weights at which the shared weights train; `memory`: the
    relaxation's own slots after this step; `paths`: the cells behind the usage, where weights train on several.
    """

    loss: Array
    grad: Array
    square: Array
    usage: Array
    memory: Slots = MappingProxyType({})
    paths: Paths | None = None


class Searcher(Protocol):
    """A search method. Pure: equal arguments give equal results, bit for bit, row by row."""

    @property
    def name(self) -> str:
        """Registry name."""

    @property
    def requires(self) -> frozenset[str]:
        """What the landscape or table must offer: `weights`, `proxy/<name>` or `proxy/<name>@<data set>`."""

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike) -> State:
        """Fresh searches for `seeds[S]`."""

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """One architecture step and one weight step."""

    def end_epoch(self, state: State, epoch: int, archs: Array, eigenvalue: Array | None) -> State:
        """What a rule of stopping makes of the epoch (from 0), its cells `[S, D]` and dominant eigenvalues `[S]`."""

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The cell `[S, D]` that the search would return now."""

    def finished(self, state: State) -> Array:
        """bool `[S]`: searches that have ended by their own rule; they are not stepped any more."""

    def distribution(self, state: State) -> Array:
        """Mean architecture distribution `theta[S, D, K]`."""

    def hessian(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """Hessian `[S, D*K, D*K]` of the noise-free loss in alpha, or None where the method has no alpha."""

    def curvature(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array | None:
        """Its dominant eigenvalue max |lambda| `[S]`, NaN where there is none to be had."""


def rows(tree: Any, index: Any) -> Any:
    """The rows `index` of every array of a (nested) tuple, NamedTuple or mapping of arrays."""
    if isinstance(tree, Mapping):
        return {k: rows(v, index) for k, v in tree.items()}
    if isinstance(tree, tuple):
        parts = [rows(v, index) for v in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree[index]


def replace(tree: Any, index: Any, new: Any) -> Any:
    """A copy of `tree` in which the rows `index` are those of `new`."""
    if isinstance(tree, Mapping):
        return {k: replace(v, index, new[k]) for k, v in tree.items()}
    if isinstance(tree, tuple):
        parts = [replace(v, index, n) for v, n in zip(tree, new, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    out = tree.copy()
    out[index] = new
    return out


def concatenate(trees: list[Any]) -> Any:
    """Rows of several equally shaped trees, one after the other."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {k: concatenate([t[k] for t in trees]) for k in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(concatenate([t[i] for t in trees]) for i in range(len(first))))
    return np.concatenate(trees)
