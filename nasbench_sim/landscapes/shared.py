"""A small mechanistic model of weight sharing on top of a table: what a search sees while a supernet trains.

    L(theta; m, p) = scale (1 - (1 - mixed_scale) mu) G E_T[theta_eff] - sum_d sum_k w[d, k] theta[d, k]
    w[d, k]  = preference[k] f_d max(0, drive - onset) steady + bias[k] mu, f_d = input_factor where d leaves the input
    G        = 1 + scale_growth * epoch / 50
    mu       = mixing(theta)^none_fading, 0 for the gates of a single cell; 1 in mixtures unless `none_fading` is given
    theta_eff[d, k] = m[d, k] theta[d, k] for options with weights; what is missing acts as `none`
    `none` acts by 1 - mu as itself, else with weight none_visibility as itself and as the average of the other options
    with the rest; a decision without `none` lacks an option by the average of all of its options (see `absence`, also
    for options of other names)
    dm[d, k] = rate[k] * lr(t) * usage[d, k] * (1 - m[d, k])   a weight step; m = 0 at the start
    dp       = rate_progress * mixing^mixing_power * steady * (1 - p)^2 a pass over the training data
    drive    = p, or p / (1 - p), which grows by the rest of dp a pass without end; p = 0 at the start
    mixing   of usage: 1 for a uniform mixture, 0 for a single path; v = Var usage from step to step (see `mixtures`)
    steady   = (1 - v)^steadiness_power
    observed gradient = dL/dtheta + A noise * N(0, 1) a step and entry + A idiosyncrasy * N(0, 1) once a seed and entry
               the open gate of a single cell shows `open_gate` times its slope against `none`
    A        = noise_of[k] * (1 + noise_growth * p / (1 - p))

T is the table's error (fraction) and L is in modelled nats. The ingredients, each for a reason:
- a convolution that is not trained yet passes nothing useful on;
- in a mixture `none` only rescales its edge (batch-normalised terms follow), so a supernet does not see that the
  discrete cell loses the edge: true supernets do not disfavour `none`, although it is the table's worst option. A
  sample near a corner does lose the edge: mu, how much of a mixture theta is, goes between the two;
- a preference for some options that sets in once the options' weights have fitted part of the training data *together*
  (p > onset): the unrolled-estimation effect (Wang et al., Rethinking architecture selection in differentiable NAS,
  ICLR 2021). It collapses DARTS to skip connections. A supernet whose weights are trained on single paths shows none of
  it: its one-shot accuracy falls with the number of skip connections (54.8 % at none, 11.2 % at six). Nor, where
  steadiness_power is large, one whose mixtures are drawn anew each step (DrNAS, SNAS): weights adapt to each other in
  a mixture that stays, and only such a mixture shows it.

The parameters are fitted to recorded supernets, never to published search results: those are the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.landscapes.absence import LIKE, absent_weights, by_option, extended
from nasbench_sim.landscapes.base import Horizon, LandscapeState, Paths, StreamCache, fresh_state
from nasbench_sim.landscapes.mixtures import Mixtures
from nasbench_sim.landscapes.multilinear import Multilinear, over_options
from nasbench_sim.landscapes.shared_params import SharedWeightsParams
from nasbench_sim.landscapes.tabular import TabularLandscape
from nasbench_sim.spaces import NB201, Space, nb201
from nasbench_sim.tables.table import Epochs, Seed, Table

__all__ = ["SharedWeightsLandscape", "SharedWeightsParams"]

Array = npt.NDArray[Any]
GROWN = 50  # epochs after which the table's signal has grown by `scale_growth`


class SharedWeightsLandscape:
    """The model above on a table. Pure: noise is addressed by (seed, step), everything else is in the state.

    Parameters: as `TabularLandscape`, and `params` (default: the project's fit).

    Example
    -------
    >>> import numpy as np, nasbench_sim as nb
    >>> land = nb.SharedWeightsLandscape(
    ...     nb.open_table("nb201-analog"), dataset="cifar10", split="baseline", epochs="unstated", seed="single"
    ... )
    >>> state = land.init(np.arange(2), nb.Horizon(epochs=50, steps_per_epoch=391))
    >>> loss, grad = land.loss_and_grad(state, np.full((2, 6, 5), 0.2, dtype=np.float32))
    >>> state = land.train_weights(state, np.full((2, 6, 5), 0.2, dtype=np.float32), steps=1)
    >>> int(state.step[0]), bool((state.maturity[:, :, 3] > 0).all())
    (1, True)
    """

    loss_name = "modelled validation loss (nats)"
    offers = frozenset({"weights"})

    def __init__(
        self,
        table: Table,
        *,
        dataset: str,
        split: str,
        epochs: Epochs,
        seed: Seed = "mean",
        params: SharedWeightsParams | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.table_landscape = TabularLandscape(
            table, dataset=dataset, split=split, epochs=epochs, seed=seed, dtype=dtype
        )
        self.space, self.dtype = table.space, self.table_landscape.dtype
        self._set(SharedWeightsParams.load() if params is None else params)

    def with_params(self, params: SharedWeightsParams) -> SharedWeightsLandscape:
        """The same table under other parameters; the table's own preparations are shared."""
        other = copy(self)
        other.__dict__.pop("_extended", None)  # depends on none_visibility
        other._set(params)
        return other

    def _set(self, params: SharedWeightsParams) -> None:
        self.params = params
        self._rate = by_option(self.space, self.params.rate, self.dtype)
        self._preference = by_option(self.space, self.params.preference, self.dtype)
        if self.params.input_factor != 1:
            self._preference = self._preference * _of_input(self.space, self.params.input_factor).astype(self.dtype)
        self._bias = by_option(self.space, self.params.bias, self.dtype)
        self._noise = by_option(self.space, _all_but(self.space, self.params.noise_of), self.dtype)
        self._absent = absent_weights(self.space, self.params.none_visibility, self.dtype)
        self._closed = absent_weights(self.space, 1.0, self.dtype)  # `none`, or the average where there is none
        self._mixtures = Mixtures(self.space, self.dtype)
        self._streams = StreamCache()
        self._field: tuple[Array, Array] | None = None

    @cached_property
    def _extended(self) -> tuple[Multilinear, npt.NDArray[np.int64]]:
        """The table with "absent" as one more option, and its number `[D]`."""
        tensor, lacking = extended(self.space, self.table_landscape.tensor, self._absent)
        return Multilinear(tensor), lacking

    def _as(self, value: float) -> Any:
        """`value` in the landscape's own precision, so that no product is widened."""
        return self.dtype.type(value)  # type: ignore[call-overload]

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """Untrained shared weights for `seeds[S]`."""
        state = fresh_state(self.space, seeds, horizon, self.dtype)
        return state._replace(extra=self._mixtures.unseen(len(seeds))) if self.params.steadiness_power else state

    @property
    def rates(self) -> Array:
        """Rate of maturing `[D, K]` per unit of learning rate and usage."""
        return self._rate

    def _mu(self, theta: Array, mixing: Array | None = None) -> Array | None:
        """How much of a mixture theta is, `[S, 1, 1]` or `[S, M, 1, 1]`; None: wholly. A fact of the moment.

        Gradients do not go through it. `mixing`: that of the samples behind theta, where theta is their mean.
        """
        if self.params.none_fading is None:
            return None
        mixed = np.minimum(np.maximum(self._mixtures.mixing(theta) if mixing is None else mixing, 0), 1)
        return np.asarray((mixed ** self._as(self.params.none_fading))[..., None, None])

    def _own(self, state: LandscapeState, theta: Array, mu: Array | None) -> Array:
        """Share (of theta's rank) of an option's weight that acts as itself: its maturity; of `none`, 1 - mu."""
        maturity = state.maturity if theta.ndim == 3 else state.maturity[:, None]
        return np.where(self.space.none, self._as(0) if mu is None else 1 - mu, maturity)

    def effective(self, state: LandscapeState, theta: Array) -> Array:
        """`theta_eff[..., D, K]`: what the supernet behaves like; rows still sum to what they did."""
        return self._blend(theta, self._own(state, theta, self._mu(theta)))

    def _blend(self, theta: Array, own: Array) -> Array:
        kept = theta * own
        out = over_options(theta - kept) * self._absent
        out += kept
        return np.asarray(out)

    def _tilt(self, state: LandscapeState) -> Array:
        """The linear part of the noise-free gradient that single cells show as well, `[S, D, K]`."""
        drive = state.progress if self.params.drive == "progress" else _passes(state.progress)
        grown = np.maximum(drive - self._as(self.params.onset), 0)
        if self.params.steadiness_power:
            grown = grown * self._steady(state.extra.get("unsteady", np.zeros_like(grown)))
        return np.asarray(-grown[:, None, None] * self._preference)

    def _steady(self, unsteady: Array) -> Array:
        return np.asarray(np.maximum(1 - unsteady, 0) ** self._as(self.params.steadiness_power))

    def _linear(self, state: LandscapeState, theta: Array, mu: Array | None) -> Array:
        """The linear part of a mixture's gradient, of theta's rank."""
        tilt = self._tilt(state)
        tilt = tilt if theta.ndim == 3 else tilt[:, None]
        if not self.params.bias:
            return tilt
        return np.asarray(tilt - self._bias if mu is None else tilt - self._bias * mu)

    def _grown(self, state: LandscapeState) -> Any:
        """Weight of the table's signal in single cells: a number, or `[S, 1, 1]`."""
        if not self.params.scale_growth:
            return self._as(self.params.scale)
        epoch = (state.step / np.maximum(state.steps_per_epoch, 1)).astype(self.dtype)[:, None, None]
        return self._as(self.params.scale) * (1 + self._as(self.params.scale_growth / GROWN) * epoch)

    def _scale(self, state: LandscapeState, theta: Array, mu: Array | None) -> Any:
        """Weight of the table's signal in a mixture: a number, or `[..., 1, 1]` of theta's rank."""
        whole, mixed = self._grown(state), self._as(self.params.mixed_scale)
        if np.ndim(whole) and theta.ndim == 4:
            whole = whole[:, None]
        if self.params.mixed_scale == 1:
            return whole
        return whole * mixed if mu is None else whole * (1 - (1 - mixed) * mu)

    def _exact(
        self, theta: Array, own: Array, tilt: Array, scale: Any, moves: Array | None = None
    ) -> tuple[Array, Array]:
        """Noise-free loss and gradient at `theta[..., D, K]`, shares `own` and slope `tilt` of the same rank.

        `moves` = d own / d theta (element-wise) makes it the total gradient.
        """
        loss, g = self.table_landscape.loss_and_grad(None, self._blend(theta, own))
        # chain rule through theta_eff: an option's own share follows its own slope, the rest that of "absent"
        absent = over_options(g * self._absent)
        inner = g - absent
        inner *= own
        inner += absent
        if moves is not None:
            inner = inner + theta * (g - absent) * moves
        linear = over_options(over_options(tilt * theta)[..., 0])[..., 0]
        whole = scale if np.ndim(scale) == 0 else scale[..., 0, 0]
        inner *= scale
        inner += tilt
        return whole * loss + linear, inner

    def _at(
        self, state: LandscapeState, theta: Array, discrete: bool = False, mixing: Array | None = None
    ) -> tuple[Array, Array]:
        if discrete:  # `none` acts as itself, as an option without weights: its maturity is 1
            maturity, tilt = state.maturity, self._tilt(state)
            own, tilt = (maturity, tilt) if theta.ndim == 3 else (maturity[:, None], tilt[:, None])
            whole = self._grown(state)
            whole = whole[:, None] if np.ndim(whole) and theta.ndim == 4 else whole
            loss, grad = self._exact(theta, own, tilt, whole)
            return loss, self._seen_at_gates(theta, grad)
        mu = self._mu(theta, mixing)
        return self._exact(
            theta, self._own(state, theta, mu), self._linear(state, theta, mu), self._scale(state, theta, mu)
        )

    def _seen_at_gates(self, theta: Array, grad: Array) -> Array:
        """The open gate's slope against the closed edge, times `open_gate`; that of closed gates as it is."""
        if self.params.open_gate == 1:
            return grad
        closed = over_options(grad * self._closed)
        return np.asarray(grad - self._as(1 - self.params.open_gate) * theta * (grad - closed))

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Loss `[S]` or `[S, M]` (noise-free) and the gradient of this step's mini-batch.

        The M draws of a seed share one mini-batch, hence one noise.
        """
        state = _needed(state)
        return self._with_noise(state, theta, self._at(state, theta, discrete))

    def _with_noise(self, state: LandscapeState, theta: Array, exact: tuple[Array, Array]) -> tuple[Array, Array]:
        noise, grad = self._batch_noise(state), exact[1]
        grad += noise if theta.ndim == 3 else noise[:, None]
        return exact[0], grad

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Loss and total gradient after one virtual weight step at theta: through dm/dtheta = xi rate lr (1 - m).

        With m' = m + xi rate lr theta (1 - m): dL/dtheta + dL/dm' dm'/dtheta, at the present training progress. Each of
        M draws takes a virtual step of its own; all see one mini-batch.
        """
        state = _needed(state)
        rate = np.minimum(self._rate * self._as(xi * self._lr(state, 0)), 1)
        moves = np.where(self.space.none, self._as(0), rate * (1 - state.maturity))
        mu = self._mu(theta)
        own, tilt = self._own(state, theta, mu), self._linear(state, theta, mu)
        if theta.ndim == 4:
            moves = moves[:, None]
        return self._with_noise(
            state, theta, self._exact(theta, own + moves * theta, tilt, self._scale(state, theta, mu), moves)
        )

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Proxy scores of the table, see `TabularLandscape.proxy`."""
        return self.table_landscape.proxy(name, archs, dataset=dataset)

    def _own_field(self, state: LandscapeState) -> Array:
        if self._field is None or self._field[0] is not state.seeds:
            own = self._streams(state.seeds).normal("idiosyncrasy", 0, (self.space.D, self.space.K))
            self._field = (state.seeds, (own * np.float32(self.params.idiosyncrasy)).astype(self.dtype) * self._noise)
        return self._field[1]

    def _batch_noise(self, state: LandscapeState) -> Array:
        batch = self._streams(state.seeds).normal("gradient", int(state.step[0]), (self.space.D, self.space.K))
        out: Array = batch * (self._as(self.params.noise) * self._noise)
        out += self._own_field(state)
        if self.params.noise_growth:
            out *= self._growth(state)[:, None, None]
        return out

    def _growth(self, state: LandscapeState) -> Array:
        """Growth `[S]` of the noise with training progress."""
        return np.asarray(1 + self._as(self.params.noise_growth) * _passes(state.progress))

    def gradient(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False, mixing: Array | None = None
    ) -> Array:
        """Noise-free gradient `[S, D, K]`, without this seed's idiosyncrasy.

        `mixing` `[S]`: of the samples behind theta, where theta is a mean of such.
        """
        return self._at(_needed(state), theta, discrete, mixing)[1]

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Hessian `[S, D*K, D*K]` in theta of the noise-free loss: scale * J^T H_T J with J = d theta_eff/d theta."""
        state = _needed(state)
        n, d, k = len(theta), self.space.D, self.space.K
        inner = self.table_landscape.hessian(None, self.effective(state, theta)).reshape(n, d, k, d, k)
        mu = self._mu(theta)
        own = self._own(state, theta, mu)[..., None, None]
        for _ in range(2):  # apply J to each side; the transpose in between turns the other side to the front
            absent = (inner * self._absent[..., None, None]).sum(axis=2, keepdims=True)
            inner = (absent + own * (inner - absent)).transpose(0, 3, 4, 1, 2)
        return np.asarray(np.ascontiguousarray(inner).reshape(n, d * k, d * k) * self._scale(state, theta, mu))

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Loss `[S, M]` of discrete `archs[S, M, D]` under the shared weights of this moment.

        `batch=True` adds the mini-batch's noise of the chosen options (one noise for all M). `own_batch=b` adds one
        independent draw an architecture instead, of variance D noise^2 / b: the D chosen options of b mini-batches.
        """
        state = _needed(state)
        n, m, d = archs.shape
        seed, decision = np.arange(n)[:, None, None], np.arange(d)
        own = state.maturity[seed, decision, archs]  # 1 for `none`, as for every option without weights
        cells, shares = archs.reshape(n * m, d), own.reshape(n * m, d)
        form, lacking = self._extended
        error = form.two_point(cells, shares, lacking).reshape(n, m)
        linear = self._tilt(state)
        if batch or own_batch:
            linear = linear + (self._own_field(state) if own_batch else self._batch_noise(state))
        grown = self._grown(state)
        out: Array = (grown if np.ndim(grown) == 0 else grown[..., 0]) * error
        if own_batch:
            draw = self._streams(state.seeds).normal(f"evaluation of {m}", int(state.step[0]), (m,))
            draw = draw * self._as(self.params.noise * (d / own_batch) ** 0.5)
            out = out + (draw * self._growth(state)[:, None] if self.params.noise_growth else draw)
        for j in range(d):  # a fixed order of adding, whatever the batch
            out = out + linear[seed[:, :, 0], j, archs[:, :, j]]
        return out

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Maturity and progress after `steps` weight updates at forward weights `usage[S, D, K]`.

        The explicit Euler step of the model's equations, once a weight step; after the horizon lr stays at lr_min.
        """
        maturity, progress = state.maturity, state.progress
        gain = self._as(self.params.rate_progress / state.horizon.steps_per_epoch) * self._mixed(usage)
        extra, gains = state.extra, gain
        for i in range(steps):
            if self.params.steadiness_power:
                extra = self._mixtures.seen(extra, usage, int(state.step[0]) + i, state.horizon.steps_per_epoch)
                gains = gain * self._steady(extra["unsteady"])
            rate = np.minimum(self._rate * self._as(self._lr(state, i)), 1)
            gained = rate * usage
            gained *= 1 - maturity
            gained += maturity
            maturity = gained
            progress = progress + gains * (1 - progress) ** 2
        return state._replace(step=state.step + steps, maturity=maturity, progress=progress, extra=extra)

    def _lr(self, state: LandscapeState, ahead: int) -> float:
        """Cosine schedule of the shared weights, `ahead` steps from now."""
        p = self.params
        t = min((int(state.step[0]) + ahead) / state.horizon.steps, 1.0)
        return float(p.lr_min + 0.5 * (p.lr_max - p.lr_min) * (1 + np.cos(np.pi * t)))

    def _mixed(self, usage: Array) -> Array:
        mixing, power = self._mixtures.mixing(usage), self.params.mixing_power
        return mixing if power == 1 else np.clip(mixing, 0, 1) ** self._as(power)


def _of_input(space: Space, factor: float) -> Array:
    """`factor` for decisions that are edges out of the input of a NAS-Bench-201 cell, else 1; `[D, 1]`."""
    out = np.ones((space.D, 1))
    if isinstance(space, NB201):
        out[[edge.endswith("<-0") for edge in nb201.EDGES]] = factor
    return out


def _passes(progress: Array) -> Array:
    """p / (1 - p), at most 999."""
    p = np.minimum(progress, progress.dtype.type(0.999))
    return np.asarray(p / (1 - p))


def _all_but(space: Space, factors: Mapping[str, float]) -> dict[str, float]:
    """Factors by option: 1 where not named, also of an option whose like is named."""
    return {**{o: 1.0 for options in space.options for o in options if LIKE.get(o) not in factors}, **factors}


def _needed(state: LandscapeState | None) -> LandscapeState:
    if state is None:
        raise ValueError("the weight-sharing model needs its state: landscape.init(seeds, horizon)")
    return state
