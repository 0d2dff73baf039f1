"""A true weight-sharing supernet as a landscape: searchers written for tables drive it without a changed line.

The loss is the cross-entropy of one validation mini-batch, its gradient in the gates theta is taken by automatic
differentiation, and `train_weights` is an SGD step on one training mini-batch at the forward weights `usage`. All of it
is a pure function of (state, arguments): weights, momentum and running statistics of a seed are a row of the state, the
mini-batches are addressed by (seed, step). Seeds are trained one after another, with the same operations whatever their
number, so that a seed alone equals its row in a batch, bit for bit on one device and number of threads.

Options with usage 0 are not run (a sampled path costs one operation an edge), unless `static` asks for one graph. Their
weights still feel weight decay and momentum, as with gradients of zero in the published scripts.

Deviation: an architecture step does not move running statistics (the published scripts do it in both steps).
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_validation.contracts import Active
from gpu_validation.data import Dataset, batch, batches
from gpu_validation.flat import FlatNetwork
from gpu_validation.hessian import hessian, hessian_vector
from gpu_validation.memory import told_what_fits
from gpu_validation.parallel import Group
from gpu_validation.second_order import total_gradient
from gpu_validation.settings import SupernetSettings
from gpu_validation.slab import Slab
from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, LandscapeState, Paths
from nasbench_sim.landscapes.base import fresh_state
from nasbench_sim.spaces import Space

Array = npt.NDArray[Any]
Proxy = Callable[[str, Array], Array]

ONE = Group()
#: columns of `extra["meter"]`: sums over the training images of the present epoch
METER = ("loss", "correct", "images")


class _Row(NamedTuple):
    """One seed's share of the state."""

    seed: int
    step: int
    weights: Tensor
    momentum: Tensor
    buffers: Tensor


class SupernetLandscape:
    """The landscape of one network and data set.

    `make(backend, generator)` builds the module with weights drawn by `generator`; `proxy(name, archs[S, M, D])` gives
    zero-cost scores (None: there are none). `extra` of the state holds `weights`, `momentum` `[S, n]`, `buffers`
    `[S, m]`, `meter` `[S, 3]` and `broken` int64 `[S]`, the weight step at which a loss was not finite (-1: never).
    Such a search keeps the weights that it had, and its architecture loss is NaN from then on.
    """

    loss_name = "validation cross-entropy (nats)"

    def __init__(
        self,
        settings: SupernetSettings,
        dataset: Dataset,
        make: Callable[[str, torch.Generator], nn.Module],
        *,
        device: str = "cpu",
        proxy: Proxy | None = None,
        group: Group = ONE,
    ) -> None:
        self.settings, self.dataset, self.device = settings, dataset, torch.device(device)
        self.group, self._mine = group, group.mine(settings.shards)
        self._make, self._proxy = make, proxy
        self.number = torch.float64 if settings.precision == "float64" else torch.float32
        module = self._module(settings.backend, 0)
        self.space: Space = module.space  # type: ignore[assignment]
        self.dtype = np.dtype(str(self.number).removeprefix("torch."))
        # on a GPU the compiled graph is also recorded as CUDA graphs: a step is thousands of small launches
        mode = "reduce-overhead" if self.device.type == "cuda" else None
        self.net = FlatNetwork(cast(nn.Module, torch.compile(module, mode=mode)) if settings.compiled else module)
        plain = settings.backend == "reference" and not settings.compiled
        # double backward: only the plain network is sure to have it
        self.exact = self.net if plain else FlatNetwork(self._module("reference", 0))

    @property
    def offers(self) -> frozenset[str]:
        """Shared weights that learn, and products with the Hessian."""
        return frozenset({"weights", "hessian-vector"})

    def _module(self, backend: str, seed: int) -> nn.Module:
        return self._make(backend, torch.Generator().manual_seed(seed)).to(self.device, self.number)

    def init(self, seeds: Array, horizon: Horizon) -> LandscapeState:
        """Weights drawn for `seeds[S]`, nothing trained."""
        rows = [FlatNetwork(self._module("reference", _mixed(int(s), "weights"))).initial() for s in seeds]
        weights, buffers = (torch.stack([row[i] for row in rows]) for i in (0, 1))
        extra = {
            "weights": Slab(weights),
            "momentum": Slab(torch.zeros_like(weights)),
            "buffers": Slab(buffers),
            "meter": np.zeros((len(rows), len(METER))),
            "broken": np.full(len(rows), -1, dtype=np.int64),
        }
        return fresh_state(self.space, seeds, horizon, self.dtype)._replace(extra=extra)

    def memory(self) -> AbstractContextManager[None]:
        """Inside, a mini-batch that does not fit into memory is a `RunError` that names one that would."""

        def probe(n: int) -> None:
            weights, buffers = self.net.initial()
            leaves = self.net.leaves(weights)
            x, y = self.images("train", 0, 0, n)
            gates = self.gates(np.full((self.space.D, self.space.K), 1 / self.space.K))
            torch.autograd.grad(F.cross_entropy(self.forward(self.net, leaves, buffers, x, gates, None)[0], y), leaves)

        return told_what_fits(self.settings.batch, probe, self.device)

    def row(self, state: LandscapeState, s: int) -> _Row:
        """Seed number `s` of the state."""
        extra = state.extra
        tensors = (extra[name].tensor[s] for name in ("weights", "momentum", "buffers"))
        return _Row(int(state.seeds[s]), int(state.step[s]), *tensors)

    def gates(self, theta: Array) -> Tensor:
        """`theta[..., D, K]` on the device."""
        return torch.tensor(np.asarray(theta), device=self.device, dtype=self.number)  # a copy: theta may be read-only

    def active(self, theta: Array) -> Active | None:
        """Options that need to be run at these gates; None: all."""
        used = (theta != 0) & self.space.mask
        return None if self.settings.static or used[self.space.mask].all() else used

    def images(self, split: str, seed: int, step: int, size: int | None = None) -> tuple[Tensor, Tensor]:
        """The mini-batch of (seed, step), augmented as the settings say."""
        s = self.settings
        x, y = batch(self.dataset, split, seed=seed, step=step, size=size or s.batch, augment=s.augment)
        return self.shaped(x), y

    def shaped(self, x: Tensor) -> Tensor:
        """Images in the network's number type and memory format."""
        x = x.to(self.number)
        return x.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else x

    def forward(
        self,
        net: FlatNetwork,
        tensors: Sequence[Tensor],
        buffers: Tensor,
        x: Tensor,
        gates: Tensor,
        active: Active | None,
        training: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Logits in full precision, and the buffers afterwards."""
        half = self.settings.precision in ("bfloat16", "float16")
        how = torch.autocast(self.device.type, getattr(torch, self.settings.precision)) if half else None
        with how or contextlib.nullcontext():
            logits, moved = net.call(tensors, buffers, x, gates, active, training=training)
        return logits.to(self.number), moved

    def shards(self, x: Tensor, y: Tensor) -> list[tuple[float, Tensor, Tensor]]:
        """This process's parts of a mini-batch: share of its images, images, labels."""
        n = self.settings.shards
        parts = zip(x.tensor_split(n), y.tensor_split(n), strict=True)
        return [(len(b) / len(y), a, b) for i, (a, b) in enumerate(parts) if i in self._mine]

    def _loss(self, net: FlatNetwork, row: _Row, split: str) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
        """This process's share of the loss of a mini-batch, with every option run."""
        parts = self.shards(*self.images(split, row.seed, row.step))

        def loss(tensors: Sequence[Tensor], gates: Tensor) -> Tensor:
            seen = [
                share * F.cross_entropy(self.forward(net, tensors, row.buffers, x, gates, None)[0], y)
                for share, x, y in parts
            ]
            return torch.stack(seen).sum()

        return loss

    def loss_and_grad(
        self, state: LandscapeState | None, theta: Array, *, discrete: bool = False
    ) -> tuple[Array, Array]:
        """Loss `[S]` or `[S, M]` of this step's validation mini-batch, and its gradient in theta.

        All options are run: also the gate of an option that is not used has a slope. `discrete` makes no difference to
        a network, in which `none` passes nothing in a mixture too.
        """
        state = _needed(state)
        loss, grad = np.empty(theta.shape[:-2], dtype=self.dtype), np.empty(theta.shape, dtype=self.dtype)
        for s in range(len(theta)):
            if state.extra["broken"][s] >= 0:
                loss[s], grad[s] = np.nan, np.nan
                continue
            row = self.row(state, s)
            at = self._loss(self.net, row, "valid")
            tensors = self.net.views(row.weights)
            many = theta[s] if theta.ndim == 4 else theta[s][None]
            with self.memory():
                seen = [self._slope(at, tensors, self.gates(one)) for one in many]
            loss[s] = [v for v, _ in seen] if theta.ndim == 4 else seen[0][0]
            grad[s] = np.stack([g for _, g in seen]) if theta.ndim == 4 else seen[0][1]
        return loss, grad * self.space.mask

    def _slope(
        self, at: Callable[[Sequence[Tensor], Tensor], Tensor], tensors: Sequence[Tensor], gates: Tensor
    ) -> tuple[float, Array]:
        gates.requires_grad_()
        value = at(tensors, gates)
        (slope,) = torch.autograd.grad(value, gates)
        return float(self.group.sum(value.detach())), self.group.sum(slope).cpu().numpy()

    def gradient(self, state: LandscapeState | None, theta: Array) -> Array:
        """Gradient `[S, D, K]` on the fixed images of the curvature, not augmented; NaN where none is due."""
        state = _needed(state)
        out = np.full(theta.shape, np.nan, dtype=self.dtype)
        for s in self._curved(state):
            row = self.row(state, s)
            gates = self.gates(theta[s]).requires_grad_()
            value = self._fixed_loss(row)(self.exact.views(row.weights), gates)
            out[s] = torch.autograd.grad(value, gates)[0].cpu().numpy() * self.space.mask
        return out

    def hessian(self, state: LandscapeState | None, theta: Array) -> Array:
        """Hessian `[S, D*K, D*K]` in theta on the same images, one product with a unit vector an option."""
        state = _needed(state)
        n = self.space.D * self.space.K
        out = np.full((len(theta), n, n), np.nan, dtype=self.dtype)
        used = torch.from_numpy((self.space.mask & ~self.space.none).reshape(-1))
        for s in self._curved(state):
            out[s] = hessian(self._curve(state, s), self.gates(theta[s]), used).cpu().numpy()
        return out

    def hessian_vector(self, state: LandscapeState | None, theta: Array, v: Array, s: int) -> Array:
        """Hessian of seed number `s` at `theta[S, D, K]` times `v[D, K]`, `[D, K]`."""
        state = _needed(state)
        if s not in self._curved(state):
            return np.full(v.shape, np.nan, dtype=self.dtype)
        return hessian_vector(self._curve(state, s), self.gates(theta[s]), self.gates(v)).cpu().numpy()

    def _curved(self, state: LandscapeState) -> list[int]:
        """Seeds whose curvature is due: every `curvature` epochs, and with weights that are not broken."""
        every, per_epoch = self.settings.curvature, state.horizon.steps_per_epoch
        epochs = state.step // per_epoch
        return [s for s, e in enumerate(epochs) if every and e % every == 0 and state.extra["broken"][s] < 0]

    def _curve(self, state: LandscapeState, s: int) -> Callable[[Tensor], Tensor]:
        row = self.row(state, s)
        at, tensors = self._fixed_loss(row), self.exact.views(row.weights)
        return lambda gates: at(tensors, gates)

    def _fixed_loss(self, row: _Row) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
        x, y = next(iter(batches(self.dataset, "valid", self.settings.hessian_batch)))
        x = self.shaped(x)
        return lambda tensors, gates: F.cross_entropy(
            self.forward(self.exact, tensors, row.buffers, x, gates, None)[0], y
        )

    def unrolled(self, state: LandscapeState | None, theta: Array, xi: float) -> tuple[Array, Array]:
        """Loss and total gradient after one virtual weight step of `xi` times the learning rate (DARTS eq. 7).

        The virtual step is w - xi lr (momentum v + gradient + weight_decay w), without Nesterov and clipping, as in
        the published code. M draws of a seed take a virtual step of their own each.
        """
        state = _needed(state)
        loss, grad = np.empty(theta.shape[:-2], dtype=self.dtype), np.empty(theta.shape, dtype=self.dtype)
        for s in range(len(theta)):
            row = self.row(state, s)
            for m in np.ndindex(*theta.shape[1:-2]):
                loss[(s, *m)], grad[(s, *m)] = self._unrolled_row(state, row, theta[(s, *m)], xi)
        return loss, grad * self.space.mask

    def _unrolled_row(self, state: LandscapeState, row: _Row, theta: Array, xi: float) -> tuple[float, Array]:
        way, lr = self.settings.second_order, xi * self.lr(state, row.step)
        net = self.net if way == "finite difference" else self.exact
        drift = self.settings.momentum * row.momentum + self.settings.weight_decay * row.weights
        loss, grad = total_gradient(
            net,
            row.weights,
            self.gates(theta),
            self._loss(net, row, "train"),
            self._loss(net, row, "valid"),
            lambda g: row.weights - lr * (drift + g),
            lr,
            way,
            self.group.sum,
        )
        return float(loss), grad.cpu().numpy()

    def arch_loss(
        self, state: LandscapeState | None, archs: Array, *, batch: bool = False, own_batch: float = 0
    ) -> Array:
        """Loss `[S, M]` of single cells; without `batch` and `own_batch` on `eval_images` of the validation split.

        In training mode: BatchNorm sees the very images that the loss is taken on, as in the published searches.
        """
        state = _needed(state)
        out = np.empty(archs.shape[:2], dtype=self.dtype)
        size = max(2, round(own_batch * self.settings.batch))
        with torch.no_grad():
            for s in range(len(archs)):
                row = self.row(state, s)
                tensors = self.net.views(row.weights)
                shared = [self.images("valid", row.seed, row.step)] if batch else None
                for m, arch in enumerate(archs[s]):
                    if own_batch:
                        mine = _mixed(row.seed, f"evaluation {row.step} {m}")
                        look = [self.images("valid", mine, 0, size)]
                    else:
                        look = shared or list(self.evaluation("valid"))
                    out[s, m] = self._mean_loss(tensors, row, look, self.one_hot(arch))
        broken = np.asarray(state.extra["broken"] >= 0)
        return np.where(broken[:, None], self.dtype.type(np.nan), out)

    def _mean_loss(
        self, tensors: Sequence[Tensor], row: _Row, look: Sequence[tuple[Tensor, Tensor]], gates: Array
    ) -> float:
        total, count = 0.0, 0
        for x, y in look:
            logits, _ = self.forward(self.net, tensors, row.buffers, x, self.gates(gates), self.active(gates))
            total, count = total + float(F.cross_entropy(logits, y, reduction="sum")), count + len(y)
        return total / count

    def evaluation(self, split: str) -> Any:
        """The images of a split that evaluations look at, in order, batch by batch."""
        left = self.settings.eval_images
        for x, y in batches(self.dataset, split, self.settings.eval_batch):
            yield self.shaped(x[:left]), y[:left]
            left -= len(x)
            if left <= 1:  # a batch of one has no statistics
                return

    def one_hot(self, arch: Array) -> Array:
        """Gates `[D, K]` of a single cell."""
        return np.asarray(arch[:, None] == np.arange(self.space.K), dtype=self.dtype)

    def proxy(self, name: str, archs: Array, *, dataset: str | None = None) -> Array:
        """Zero-cost scores `[S, M]` of stand-alone networks; raises `SpecError` where there are none."""
        if self._proxy is None:
            raise SpecError(f"this supernet has no zero-cost proxy {name!r}: proxies are made for cells of nb201 only")
        return self._proxy(name, archs)

    def lr(self, state: LandscapeState, step: int) -> float:
        """Cosine schedule of the weights: constant within an epoch, as in the published scripts."""
        s, (epochs, per_epoch) = self.settings, state.horizon
        done = min(step // per_epoch / epochs, 1.0)
        return float(s.lr_min + 0.5 * (s.lr - s.lr_min) * (1 + np.cos(np.pi * done)))

    def train_weights(
        self, state: LandscapeState, usage: Array, steps: int, paths: Paths | None = None
    ) -> LandscapeState:
        """Weights after `steps` SGD steps at forward weights `usage[S, D, K]`, or on weighted cells (`paths`)."""
        from gpu_validation.weight_step import train_rows

        return train_rows(self, state, usage, steps, paths)


def _mixed(seed: int, purpose: str) -> int:
    """A seed for one purpose of one search."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def _needed(state: LandscapeState | None) -> LandscapeState:
    if state is None:
        raise ValueError("a supernet needs its state: landscape.init(seeds, horizon)")
    return state
