"""Training-free search: the best of some uniform cells by a zero-cost proxy, a number computed before any training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes.base import Landscape, LandscapeState, StreamCache
from nasbench_sim.searchers.base import Info, State
from nasbench_sim.searchers.one_shot import WithoutAlpha, at_least_one
from nasbench_sim.searchers.random_variables import pick
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]

BLOCK = 64  # cells a seed drawn together: the address of a cell's randomness is (number // BLOCK, number % BLOCK)


@dataclass(frozen=True)
class ProxySearcher(WithoutAlpha):
    """The cell with the best `proxy` among `evaluations` uniform ones, drawn evenly over the search.

    No gradient, no loss and no shared weights are looked at: the landscape only hands over the proxy.

    Parameters
    ----------
    proxy: the table's column, as its source computed it. `better`: whether a `high` or a `low` score is good.
    proxy_dataset: whose proxies; default the searched data set's.
    covered: tables hold proxies only for cells whose every operation lies on a path from input to output (9,445 of
        15,625 on NAS-Bench-201). `draw`: uniform over all cells as published; one without a proxy is no candidate but
        counts as an evaluation, and where none of the draws has a proxy the first is returned. `condition`: uniform
        over the cells with a proxy, all `evaluations` of them candidates.

    Raises `NotMeasured` where the table has no such proxy. Ties go to the cell drawn first.
    """

    proxy: str
    evaluations: int = 100
    proxy_dataset: str | None = None
    covered: Literal["draw", "condition"] = "draw"
    better: Literal["high", "low"] = "high"
    name: str = "training-free"
    _streams: StreamCache = field(default_factory=StreamCache, repr=False, compare=False)

    def __post_init__(self) -> None:
        at_least_one(evaluations=self.evaluations)
        for name, value, allowed in (
            ("covered", self.covered, ("draw", "condition")),
            ("better", self.better, ("high", "low")),
        ):
            if value not in allowed:
                raise SpecError(f"{name} is one of {', '.join(allowed)}, got {value!r}")

    @property
    def requires(self) -> frozenset[str]:
        """The proxy's column."""
        return frozenset({f"proxy/{self.proxy}" + (f"@{self.proxy_dataset}" if self.proxy_dataset else "")})

    def init(self, space: Space, seeds: Array, dtype: npt.DTypeLike = np.float32) -> State:
        """No cell seen yet; `score` is the best so far, the larger the better."""
        none = np.full(len(seeds), np.finfo(dtype).min, dtype=dtype)  # finite: a state holds no infinities
        return self.start(space, seeds, dtype, {"best": np.zeros((len(seeds), space.D), dtype=np.int64), "score": none})

    def step(self, state: State, landscape: Landscape, shared: LandscapeState) -> tuple[State, LandscapeState, Info]:
        """Draw the cells that fall due at this step, keep the best."""
        number, total = int(state.step[0]), shared.horizon.steps
        # cell j falls due at step j * total / evaluations, the first at once
        before, now = (min(-(-n * self.evaluations // total), self.evaluations) for n in (number, number + 1))
        slots = state.slots
        if now > before:
            cells = self._cells(state, landscape, before, now)
            scores = self._scores(landscape, cells, state.alpha.dtype)
            first = scores.argmax(axis=1)
            seed = np.arange(len(cells))
            better = scores[seed, first] > slots["score"]
            if before == 0:  # the very first cell stands until one with a proxy comes
                first, better = np.where(better, first, 0), np.ones_like(better)
            slots = {
                "best": np.where(better[:, None], cells[seed, first], slots["best"]),
                "score": np.where(better, scores[seed, first], slots["score"]),
            }
        shared = landscape.train_weights(shared, self.distribution(state), 1)
        loss = np.full(len(state.seeds), np.nan, dtype=state.alpha.dtype)
        return state._replace(step=state.step + 1, slots=slots), shared, Info(loss, self.distribution(state))

    def _cells(self, state: State, landscape: Landscape, first: int, stop: int) -> Array:
        """Cells number first..stop-1 of each seed, `[S, stop - first, D]`."""
        streams, width = self._streams(state.seeds), landscape.space.D if self.covered == "draw" else 1
        blocks = range(first // BLOCK, -(-stop // BLOCK))
        uniform = np.concatenate([streams.uniform("cells", b, (BLOCK, width)) for b in blocks], axis=1)
        uniform = uniform[:, first - blocks.start * BLOCK : stop - blocks.start * BLOCK]
        if self.covered == "draw":
            return pick(uniform, self.distribution(state))
        everything = landscape.space.all
        with_proxy = everything[
            np.isfinite(landscape.proxy(self.proxy, everything[None], dataset=self.proxy_dataset)[0])
        ]
        return np.asarray(with_proxy[(uniform[..., 0].astype(np.float64) * len(with_proxy)).astype(np.int64)])

    def _scores(self, landscape: Landscape, cells: Array, dtype: npt.DTypeLike) -> Array:
        """Proxies `[S, M]`, larger is better, the least number where there is none."""
        scores = landscape.proxy(self.proxy, cells, dataset=self.proxy_dataset).astype(dtype)
        scores = scores if self.better == "high" else -scores
        return np.where(np.isfinite(scores), scores, np.finfo(dtype).min).astype(dtype)

    def derive(self, state: State, landscape: Landscape, shared: LandscapeState) -> Array:
        """The best cell so far `[S, D]`."""
        return np.asarray(state.slots["best"])
