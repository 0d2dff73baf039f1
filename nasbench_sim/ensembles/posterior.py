"""NES-BS: members sampled from an architecture distribution, by Monte Carlo or by SVGD with regularised diversity.

Source: Shu, Chen, Dai & Low, Neural ensemble search via Bayesian sampling, UAI 2022 (arXiv 2109.02533). The posterior
theta is given (the final distribution of a search); what is sampled are models that have predictions, so the posterior
is conditioned on them: p(a | a among the models) is proportional to prod_d theta[d, a_d], shared evenly between the
training seeds of one architecture. An architecture without predictions is never stood in for by a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_sim.ensembles.checks import known_space
from nasbench_sim.ensembles.metrics import TINY
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.ensembles.selection import Metric, check_selectable, streams_of
from nasbench_sim.ensembles.svgd import svgd_rd
from nasbench_sim.errors import NotMeasured, SpecError, unknown
from nasbench_sim.streams import Streams

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Groups = tuple[IntArray, tuple[IntArray, ...]]
Mode = Literal["mc", "svgd"]

_SVGD = ("delta", "width", "lengthscale", "steps", "step_size")  # parameters of mode svgd only
_CELLS = 1 << 22  # particle-architecture scores a block, 32 MB in float64


@dataclass(frozen=True)
class PosteriorSample:
    """NES-BS: `rounds` sets of `size` members are sampled from theta; the set with the best validation score is kept.

    `mode`: `mc` draws members independently, so an architecture may come twice and then weighs twice; `svgd` moves
    `size` particles together (see `svgd`; `delta`, `width`, `lengthscale`, `steps`, `step_size` are its parameters)
    and takes for each the nearest architecture that has predictions; `mc` refuses them. `rounds` 1 uses no validation
    score at all.
    """

    size: int = 3
    mode: Mode = "mc"
    rounds: int = 10
    metric: Metric = "nll"
    delta: float = 1.0
    width: float = 0.5
    lengthscale: float | None = None
    steps: int = 500
    step_size: float = 0.05

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise SpecError(unknown("mode of nes-bs", self.mode, get_args(Mode)))
        for name, low in (("size", 1), ("rounds", 1), ("steps", 0)):
            if getattr(self, name) < low:
                raise SpecError(f"{name} is at least {low}, got {getattr(self, name)}")
        for name in ("width", "lengthscale", "step_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise SpecError(f"{name} is a positive number, got {value}")
        if not np.isfinite(self.delta):
            raise SpecError(f"delta is a finite number, got {self.delta}")
        idle = [f.name for f in fields(self) if f.name in _SVGD and getattr(self, f.name) != f.default]
        if self.mode == "mc" and idle:
            raise SpecError(f"nes-bs with mode mc has no {', '.join(idle)}; leave that out, or take mode=svgd")

    def select(
        self,
        predictions: Predictions,
        seeds: Sequence[int] | IntArray,
        theta: Array | None = None,
        groups: Groups | None = None,
    ) -> IntArray:
        """Members `[S, size]`, rows of `predictions`, in the order of sampling; a row may occur more than once.

        `theta`: `[D, K]` for all seeds or `[S, D, K]`, rows on the simplex. `groups`: the cells to sample from and
        the rows of the models of each; default those of the predictions, `coverage` gives equal cells their model
        too. Raises `SpecError`, and `NotMeasured` where no architecture with predictions has a positive probability.
        """
        check_selectable(predictions, self.metric)
        if theta is None:
            raise SpecError("nes-bs samples from an architecture distribution: give theta [D, K] or [S, D, K]")
        streams = streams_of(seeds)
        theta = check_theta(theta, predictions, len(streams.seeds))
        groups = groups or predictions.groups
        weights = _weights(groups[0], theta / theta.max(axis=2, keepdims=True))  # scaled: 28 small factors underflow
        total = _running_sum(weights)[:, -1]
        if not (total > 0).all():
            raise NotMeasured(
                f"none of the {len(groups[0])} architectures with predictions has a positive probability "
                f"under theta (seed {streams.seeds[int((total <= 0).argmax())]}); give predictions of those it favours"
            )
        sample = self._particles if self.mode == "svgd" else self._independent
        cells = sample(groups[0], streams, theta, weights)
        members = _models(groups[1], streams, cells)
        return self._best(predictions, members)

    def _independent(self, archs: IntArray, streams: Streams, theta: Array, weights: Array) -> IntArray:
        """Architectures `[S, rounds, size]` (places among the distinct ones) by inverting the cumulative weights."""
        running = _running_sum(weights)
        out = np.empty((len(streams.seeds), self.rounds, self.size), dtype=np.int64)
        for r in range(self.rounds):
            uniform = streams.uniform("nes-bs architectures", r, (self.size,)).astype(np.float64)
            for s, row in enumerate(np.broadcast_to(running, (len(uniform), running.shape[1]))):
                place = np.searchsorted(row, uniform[s] * row[-1], side="right")
                out[s, r] = np.minimum(place, np.searchsorted(row, row[-1]))  # never past the last one with weight
        return out

    def _particles(self, archs: IntArray, streams: Streams, theta: Array, weights: Array) -> IntArray:
        """The same from SVGD-RD: particles start at draws of theta plus noise of `width` and move together."""
        d, k = theta.shape[1:]
        seeds = len(streams.seeds)
        bounds = np.zeros((len(theta), d, k))
        for option in range(k):
            bounds[..., option] = theta[..., option] + (bounds[..., option - 1] if option else 0)
        start = np.empty((seeds, self.rounds, self.size, d, k))
        for r in range(self.rounds):
            uniform = streams.uniform("nes-bs particles", r, (self.size, d)).astype(np.float64)
            scaled = uniform * bounds[:, None, :, -1]  # a row of float32 numbers sums to 1 only nearly
            option = (scaled[..., None] >= bounds[:, None]).sum(axis=-1)
            start[:, r] = np.eye(k)[option] + self.width * streams.normal("nes-bs noise", r, (self.size, d, k))
        sets = seeds * self.rounds
        posterior = np.repeat(np.broadcast_to(theta, (seeds, d, k)), self.rounds, axis=0)
        x = svgd_rd(
            start.reshape(sets, self.size, d, k),
            posterior,
            delta=self.delta,
            width=self.width,
            lengthscale=self.lengthscale,
            steps=self.steps,
            step_size=self.step_size,
        )
        possible = np.repeat(np.broadcast_to(weights > 0, (seeds, weights.shape[1])), self.rounds, axis=0)
        return _nearest(x, archs, possible).reshape(seeds, self.rounds, self.size)

    def _best(self, predictions: Predictions, members: IntArray) -> IntArray:
        """Of the sets `[S, rounds, size]` the one with the best validation score; the first wins a tie."""
        if self.rounds == 1:
            return members[:, 0]
        out = np.empty((len(members), members.shape[2]), dtype=np.int64)
        for s, sets in enumerate(members):
            out[s] = sets[min(range(len(sets)), key=lambda r: self._loss(predictions, sets[r]))]
        return out

    def _loss(self, predictions: Predictions, members: IntArray) -> tuple[float, float]:
        """What a smaller value of is better: NLL, or wrong samples and then NLL."""
        truth = predictions.truth[members[0]].copy()
        for row in members[1:]:
            truth += predictions.truth[row]
        loss = float(-np.log(np.maximum(truth / len(members), TINY)).mean())
        if self.metric == "nll":
            return loss, 0.0
        total = predictions.probabilities[members[0]].astype(np.float64)
        for row in members[1:]:
            total += predictions.probabilities[row]
        return float(np.count_nonzero(total.argmax(axis=1) != predictions.labels)), loss


def nes_bs(
    predictions: Predictions,
    theta: Array,
    seeds: Sequence[int] | IntArray,
    *,
    size: int = 3,
    mode: Mode = "mc",
    rounds: int = 10,
    metric: Metric = "nll",
    **svgd: Any,
) -> IntArray:
    """NES-BS for every seed: members `[S, size]`; see `PosteriorSample`, whose other parameters are those of SVGD-RD.

    >>> p = Predictions([[[0.9, 0.1]], [[0.7, 0.3]]], [0], [[0, 1], [1, 0]], "toy", "toy", "valid", [-1, -1], "toy")
    >>> nes_bs(p, np.array([[0.0, 1.0], [1.0, 0.0]]), range(2), size=2).tolist()  # all mass on row 1
    [[1, 1], [1, 1]]
    """
    return PosteriorSample(size, mode, rounds, metric, **svgd).select(predictions, seeds, theta)


def frequencies(archs: npt.ArrayLike, options: int) -> npt.NDArray[np.float64]:
    """theta `[D, options]`: how often the cells `archs[S, D]` take each option, a product of their marginals.

    Rows of -1 (searches that failed) are left out; raises `SpecError` where no other is there.

    >>> frequencies([[0, 1], [0, 0], [-1, -1]], 2).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    cells = np.asarray(archs)
    cells = cells[(cells >= 0).all(axis=1)]
    if not len(cells):
        raise SpecError("no search ended with a cell, so there is no distribution of cells")
    if cells.max() >= options:
        raise SpecError(f"a cell takes option {cells.max()}, the space has {options} options a decision")
    return np.stack([np.bincount(column, minlength=options) for column in cells.T]) / len(cells)


def posterior_mass(predictions: Predictions, theta: Array) -> npt.NDArray[np.float64]:
    """How much of theta's probability the architectures with predictions hold, `[1]` or `[S]`, in 0..1.

    >>> p = Predictions([[[0.9, 0.1]]], [0], [[0, 1]], "toy", "toy", "valid", [-1], "toy")
    >>> posterior_mass(p, np.array([[0.5, 0.5], [0.5, 0.5]])).tolist()
    [0.25]
    """
    return np.asarray(_running_sum(_weights(predictions.groups[0], check_theta(theta, predictions, None)))[:, -1])


def check_theta(theta: npt.ArrayLike, predictions: Predictions, seeds: int | None) -> npt.NDArray[np.float64]:
    """theta as float64 `[1 or S, D, K]`; raises `SpecError` for another shape, or rows that are no distribution."""
    t = np.asarray(theta)
    d = predictions.archs.shape[1]
    space = known_space(predictions.space)
    k = space.K if space else int(predictions.archs.max()) + 1
    if t.ndim == 2:
        t = t[None]
    wide = t.ndim == 3 and t.shape[1] == d and (t.shape[2] == k if space else t.shape[2] >= k)
    if not wide or t.dtype.kind not in "fiu":
        at_least = "" if space else " or more"
        raise SpecError(
            f"theta for these predictions ({predictions.space}) has {d} decisions of {k}{at_least} options, "
            f"[D, K] or [S, D, K]; got {t.dtype} of shape {np.shape(theta)}"
        )
    if len(t) != 1 and seeds is not None and len(t) != seeds:
        raise SpecError(f"theta is for {len(t)} seeds, {seeds} were asked for")
    t = t.astype(np.float64)
    bad = ~(t >= 0).all(axis=2) | ~(np.abs(t.sum(axis=2) - 1) <= 1e-3)
    if space is not None:
        bad |= ((t > 0) & ~space.mask).any(axis=2)
    if bad.any():
        s, at = np.argwhere(bad)[0]
        raise SpecError(f"theta at decision {at} of seed row {s} is no distribution: probabilities >= 0 that sum to 1")
    return np.asarray(t)


def _weights(archs: IntArray, theta: Array) -> npt.NDArray[np.float64]:
    """prod_d theta[s, d, a_d] of the architectures `[A, D]`, `[1 or S, A]`."""
    out = theta[:, 0, archs[:, 0]].copy()
    for d in range(1, archs.shape[1]):
        out *= theta[:, d, archs[:, d]]
    return np.asarray(out)


def _running_sum(weights: Array) -> npt.NDArray[np.float64]:
    """Cumulative sums along each row, one after the other: the last is the mass."""
    return np.asarray(np.cumsum(weights, axis=1))


def _nearest(x: Array, archs: IntArray, possible: Array) -> IntArray:
    """Place among `archs[A, D]` of the one nearest to each particle `[B, n, D, K]`: the largest sum_d x[d, a_d].

    |x - onehot(a)|^2 = |x|^2 + D - 2 sum_d x[d, a_d]. Architectures that are not `possible[B, A]` are left out.
    """
    out = np.empty(x.shape[:2], dtype=np.int64)
    block = max(1, _CELLS // (len(archs) * x.shape[1]))
    for begin in range(0, len(x), block):
        some = x[begin : begin + block]
        reach = some[:, :, 0, archs[:, 0]]
        for d in range(1, archs.shape[1]):
            reach = reach + some[:, :, d, archs[:, d]]
        out[begin : begin + block] = np.where(possible[begin : begin + block, None], reach, -np.inf).argmax(axis=2)
    return out


def _models(rows: tuple[IntArray, ...], streams: Streams, cells: IntArray) -> IntArray:
    """A model (row) of each architecture `[S, rounds, size]`: a uniform draw among its training seeds."""
    count = np.array([len(r) for r in rows])
    first = np.cumsum(count) - count
    flat = np.concatenate(rows)
    out = np.empty_like(cells)
    for r in range(cells.shape[1]):
        uniform = streams.uniform("nes-bs training seed", r, (cells.shape[2],)).astype(np.float64)
        n = count[cells[:, r]]
        out[:, r] = flat[first[cells[:, r]] + np.minimum((uniform * n).astype(np.int64), n - 1)]
    return out
