"""Training a stack: what `gpu_validation.training.train` does to each of its networks, for all of them in one pass.

Each network has the loss, gradient and step that it has alone (the losses are summed, so no gradient meets another);
all see the same mini-batches, those of their common training seed. A network that is not finite is found by computing
the epoch again with the networks apart, and taken out of the arithmetic (weights 0, curves NaN from then on); the
others go on as if it had never been there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.data import Dataset, batch, batches
from gpu_validation.stacks.network import GROUP, StackedNetworks, StackedNorm
from gpu_validation.training.spec import TrainSpec
from gpu_validation.training.trainer import CURVES
from nasbench_sim.errors import SpecError

FloatArray = npt.NDArray[np.float64]
#: `on_tick(epochs done)`
Tick = Callable[[int], None]
EVAL_SPLITS = ("valid", "test")


@dataclass(frozen=True)
class StackTrained:
    """A trained stack of `n` networks.

    curves: float64 `[n, epochs]` by name (`training.CURVES`), NaN from a divergence on.
    log_probabilities: float32 `[n, images, classes]` by split, after the last epoch (NaN where diverged).
    failed_epoch: `[n]`, the epoch (1, 2, ...) in which a network diverged, 0 for none.
    seconds: of the whole stack.
    """

    curves: dict[str, FloatArray]
    log_probabilities: dict[str, npt.NDArray[np.float32]]
    failed_epoch: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.int64]
    seconds: float


def check_spec(spec: TrainSpec, dataset: Dataset) -> None:
    """Raise `SpecError` for what a stack cannot do: other precisions, compiled steps, another data set."""
    plain = {"precision": "float32", "channels_last": False, "compiled": False}
    for name, value in plain.items():
        if getattr(spec, name) != value:
            raise SpecError(f"--all trains with {name} {value}, got {getattr(spec, name)}")
    if spec.dataset != dataset.name:
        raise SpecError(f"this is a training on {spec.dataset}, the images are of {dataset.name}")
    if spec.batch > dataset.size("train"):
        raise SpecError(
            f"{dataset.name} has {dataset.size('train')} training images, fewer than a batch of {spec.batch}"
        )


class StackTraining:
    """The state of a stack in training; `spec.arch` is ignored, `dtype` float64 is for comparisons."""

    def __init__(
        self, cells: npt.NDArray[np.int64], spec: TrainSpec, dataset: Dataset, dtype: torch.dtype = torch.float32
    ) -> None:
        check_spec(spec, dataset)
        self.spec, self.dataset, self.dtype = spec, dataset, dtype
        self.net = StackedNetworks(
            cells,
            channels=spec.channels,
            per_stage=spec.cells,
            classes=dataset.classes,
            in_channels=dataset.channels,
            seed=spec.seed,
        ).to(dtype)
        self.parameters: list[Tensor] = list(self.net.parameters())
        self.momentum = [torch.zeros_like(p) for p in self.parameters]
        self.steps = -(-dataset.size("train") // spec.batch)
        self.failed = np.zeros(len(cells), dtype=np.int64)

    def _apart(self, tensors: list[Tensor]) -> Tensor:
        """Whether all numbers of each network are finite, bool `[G]`."""
        n = self.net.networks
        return torch.stack([t.isfinite().reshape(n, -1).all(1) for t in tensors]).all(0)

    def _zero(self, lost: Tensor) -> None:
        n = self.net.networks
        for tensor in [*self.parameters, *self.momentum, *self.net.buffers()]:
            if tensor.numel() % n == 0 and tensor.dim() and tensor.shape[0] in (n, *self._channels()):
                tensor[lost.repeat_interleave(len(tensor) // n)] = 0

    def _channels(self) -> set[int]:
        return {m.mean.numel() for m in self.net.modules() if isinstance(m, StackedNorm)}

    def step(self, epoch: int, number: int, packed: bool = True) -> tuple[FloatArray, FloatArray] | None:
        """One SGD step: losses and shares of right answers `[G]` before it.

        None where a packed step met a number that is not finite: nothing was stepped, but statistics have moved.
        """
        s = self.spec
        images, y = batch(
            self.dataset, "train", seed=s.seed, step=epoch * self.steps + number, size=s.batch, augment=s.augment
        )
        n = self.net.networks
        logits = self.net(images.to(self.dtype), packed)
        each = F.cross_entropy(logits.reshape(n * len(y), -1), y.repeat(n), reduction="none").view(n, -1).mean(1)
        gradients = torch.autograd.grad(each.sum(), self.parameters, materialize_grads=True)
        right = (logits.argmax(2) == y).double().mean(1)
        rate = s.lr * 0.5 * (1 + math.cos(math.pi * epoch / s.epochs))
        size = torch.stack(torch._foreach_norm(gradients)).sum() + each.sum()
        good = bool(size.isfinite())
        if packed and not good:
            return None
        with torch.no_grad():
            if not packed:
                lost = ~(each.isfinite() & self._apart(list(gradients)))
                self._lose(lost, epoch)
                dead = torch.from_numpy(self.failed > 0)
                for g in gradients:
                    g[dead.repeat_interleave(len(g) // n)] = 0
            moved = torch._foreach_add(gradients, self.parameters, alpha=s.weight_decay)
            torch._foreach_mul_(self.momentum, s.momentum)
            torch._foreach_add_(self.momentum, moved)
            torch._foreach_add_(moved, self.momentum, alpha=s.momentum)
            torch._foreach_add_(self.parameters, moved, alpha=-rate)
            if (self.failed > 0).any():
                self._zero(torch.from_numpy(self.failed > 0))
        return each.detach().double().numpy(), right.numpy()

    def _lose(self, lost: Tensor, epoch: int) -> None:
        self.failed[(self.failed == 0) & lost.numpy()] = epoch + 1

    def _state(self) -> list[Tensor]:
        return [*self.parameters, *self.momentum, *(b for b in self.net.buffers())]

    def epoch(self, epoch: int) -> tuple[dict[str, FloatArray], dict[str, Tensor]]:
        """All steps, then the whole validation and test split: curves `[G]`, log-probabilities `[G, n, K]`."""
        before = [t.detach().clone() for t in self._state()]
        out = self._steps(epoch, packed=True)
        if out is None:  # somebody diverged, and its neighbours' numbers are lost with it: once more, apart
            with torch.no_grad():
                for tensor, value in zip(self._state(), before, strict=True):
                    tensor.copy_(value)
            out = self._steps(epoch, packed=False)
        assert out is not None
        said = {split: self.log_probabilities(split) for split in EVAL_SPLITS}
        for split, logs in said.items():
            y = self.dataset.labels[split]
            out[f"{split}_loss"] = -logs[:, torch.arange(len(y)), y].double().mean(1).numpy()
            out[f"{split}_accuracy"] = 100 * (logs.argmax(2) == y).double().mean(1).numpy()
        self._lose(torch.from_numpy(~np.isfinite(out["valid_loss"] + out["test_loss"])), epoch)
        for values in out.values():
            values[self.failed > 0] = np.nan
        return out, said

    def _steps(self, epoch: int, *, packed: bool) -> dict[str, FloatArray] | None:
        self.net.train()
        seen = []
        for number in range(self.steps):
            made = self.step(epoch, number, packed)
            if made is None:
                return None
            seen.append(made)
        # in evaluation, too, a network must not reach its neighbours
        with torch.no_grad():
            fine = self._apart([*self.parameters, *(b for b in self.net.buffers() if len(b) in self._channels())])
        if not bool(fine.all()):
            if packed:
                return None
            self._lose(~fine, epoch)
            with torch.no_grad():
                self._zero(~fine)
        losses, right = (np.array([pair[k] for pair in seen]) for k in (0, 1))
        return {"train_loss": losses.mean(axis=0), "train_accuracy": 100 * right.mean(axis=0)}

    def log_probabilities(self, split: str) -> Tensor:
        """Log-probabilities `[G, n, classes]` of a whole split, with running statistics."""
        self.net.eval()
        with torch.no_grad():
            parts = [
                self.net(x.to(self.dtype)).log_softmax(2) for x, _ in batches(self.dataset, split, self.spec.eval_batch)
            ]
            return torch.cat(parts, 1)


def train_stack(
    cells: npt.NDArray[np.int64],
    spec: TrainSpec,
    dataset: Dataset,
    *,
    on_tick: Tick | None = None,
    dtype: torch.dtype = torch.float32,
) -> StackTrained:
    """Train the networks of `cells` (official indices, see `cells.make_stacks`) as `spec` says.

    Raises `SpecError` for what `check_spec` refuses and for cells that are no stack. No exception for a network that
    diverges: see `StackTrained.failed_epoch`.
    """
    began, n = time.perf_counter(), len(cells)
    # whole groups of 16 channels: a rest would be computed network by network, 5 to 10 times as slowly
    rest = -n % max(1, GROUP // spec.channels)
    training = StackTraining(np.concatenate([cells, cells[:1].repeat(rest)]), spec, dataset, dtype)
    curves = {name: np.full((n, spec.epochs), np.nan) for name in CURVES}
    said: dict[str, Tensor] = {}
    for epoch in range(spec.epochs):
        last, said = training.epoch(epoch)
        for name, values in last.items():
            curves[name][:, epoch] = values[:n]
        if on_tick is not None:
            on_tick(epoch + 1)
    return StackTrained(
        curves,
        {split: logs[:n].float().numpy() for split, logs in said.items()},
        training.failed[:n],
        np.array(training.net.parameters_each[:n]),
        time.perf_counter() - began,
    )
