"""Training one network alone, epoch by epoch, so that it can be stopped anywhere and goes on bit for bit."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_validation import checkpoint
from gpu_validation.data import Dataset, batch, batches
from gpu_validation.memory import told_what_fits
from gpu_validation.training.spec import TrainSpec
from nasbench_sim.errors import RunError, SpecError

Array = npt.NDArray[Any]
Tick = Callable[[int, int, Mapping[str, float]], None]

NAME = "training"
LOSS_SCALE = 1024.0  # float16: smaller gradients than 6e-8 would be lost
#: what is noted after every epoch: loss in nats, accuracy in percent
CURVES = tuple(f"{split}_{what}" for split in ("train", "valid", "test") for what in ("loss", "accuracy"))


class Diverged(RunError):
    """A loss, gradient or weight that is not finite: this network is lost, another may well train."""


@dataclass(frozen=True)
class Trained:
    """A network after its training: curves float64 `[epochs]` by name (see `CURVES`) and seconds of computing."""

    spec: TrainSpec
    curves: Mapping[str, Array]
    seconds: float
    network: nn.Module

    def summary(self) -> dict[str, Any]:
        """The specification, the last value of every curve, parameters and seconds, as plain data."""
        return {
            **self.spec.model_dump(),
            **{name: float(values[-1]) for name, values in self.curves.items()},
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "seconds": round(self.seconds, 3),
        }


class _Training:
    """A network, its momentum and how far it is."""

    def __init__(self, spec: TrainSpec, dataset: Dataset, network: nn.Module, device: str) -> None:
        self.spec, self.dataset, self.device = spec, dataset, torch.device(device)
        self.network = network.to(self.device)
        if spec.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.run: Callable[[Tensor], Tensor] = torch.compile(self.network) if spec.compiled else self.network
        self.momentum = [torch.zeros_like(p) for p in self.network.parameters()]
        self.curves = {name: np.full(spec.epochs, np.nan) for name in CURVES}
        self.steps = -(-dataset.size("train") // spec.batch)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, by name."""
        out = {f"network/{name}": t for name, t in self.network.state_dict().items()}
        names = [name for name, _ in self.network.named_parameters()]
        return {**out, **{f"momentum/{name}": m for name, m in zip(names, self.momentum, strict=True)}}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take over what a checkpoint holds; raises `RunError` where that is no state of this network."""
        mine = self.tensors()
        sizes = {**{k: t.numel() for k, t in mine.items()}, **{f"curves/{k}": v.size for k, v in self.curves.items()}}
        if sizes != {name: array.size for name, array in arrays.items()}:
            raise RunError("the checkpoint holds another network than its specification says; start in another folder")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(torch.from_numpy(arrays[name]).view(tensor.shape))
        for name in CURVES:
            self.curves[name][:] = arrays[f"curves/{name}"]

    def save(self, folder: Path, epoch: int, facts: Mapping[str, Any]) -> None:
        """Write a checkpoint of the state after `epoch` epochs."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.tensors().items()}
        checkpoint.save(folder, NAME, epoch, {**arrays, **{f"curves/{k}": v for k, v in self.curves.items()}}, facts)

    def forward(self, x: Tensor) -> Tensor:
        """Logits in float32."""
        half = self.spec.precision != "float32"
        how = torch.autocast(self.device.type, getattr(torch, self.spec.precision)) if half else None
        if self.spec.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with how or contextlib.nullcontext():
            logits = self.run(x)
        return logits.float()

    def step(self, epoch: int, number: int) -> tuple[float, float]:
        """One SGD step; loss and share of right answers on its mini-batch, both before it."""
        s, total = self.spec, epoch * self.steps + number
        x, y = batch(self.dataset, "train", seed=s.seed, step=total, size=s.batch, augment=s.augment)
        parameters: list[Tensor] = list(self.network.parameters())
        logits = self.forward(x)
        loss = F.cross_entropy(logits, y)
        scale = LOSS_SCALE if s.precision == "float16" else 1.0
        gradients = torch.autograd.grad(loss * scale, parameters, materialize_grads=True)  # 0 through a dead cell
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        right_share = (logits.argmax(1) == y).float().mean()
        seen, right, size = torch.stack([loss.detach(), right_share, norm]).tolist()
        for what, value in (("training loss", seen), ("norm of the gradient", size)):
            if not math.isfinite(value):  # before the step is made: the weights are still good
                raise Diverged(f"the {what} is {value} at step {total} (epoch {epoch + 1}): lower lr ({s.lr})")
        rate = s.lr * 0.5 * (1 + math.cos(math.pi * epoch / s.epochs))
        with torch.no_grad():
            moved = [g / scale + s.weight_decay * p for g, p in zip(gradients, parameters, strict=True)]
            torch._foreach_mul_(self.momentum, s.momentum)
            torch._foreach_add_(self.momentum, moved)
            torch._foreach_add_(moved, self.momentum, alpha=s.momentum)
            torch._foreach_add_(parameters, moved, alpha=-rate)
        return seen, right

    def probe(self, n: int) -> None:
        """A step's passes on `n` images, for measuring their memory."""
        x, y = batch(self.dataset, "train", seed=0, step=0, size=n, augment=False)
        torch.autograd.grad(F.cross_entropy(self.forward(x), y), list(self.network.parameters()), allow_unused=True)

    def probe_evaluation(self, n: int) -> None:
        """The pass of an evaluation on `n` images."""
        with torch.no_grad():
            self.network(batch(self.dataset, "valid", seed=0, step=0, size=n, augment=False)[0])

    def epoch(self, epoch: int) -> dict[str, float]:
        """All steps of an epoch, then the whole validation and test split."""
        self.network.train()
        with told_what_fits(self.spec.batch, self.probe, self.device):
            seen = np.array([self.step(epoch, i) for i in range(self.steps)])
        out = {"train_loss": float(seen[:, 0].mean()), "train_accuracy": 100 * float(seen[:, 1].mean())}
        with told_what_fits(self.spec.eval_batch, self.probe_evaluation, self.device):
            for split in ("valid", "test"):
                out[f"{split}_loss"], out[f"{split}_accuracy"] = evaluate(self.network, self.dataset, split, self.spec)
        whole = torch.stack([t.isfinite().all() for t in self.tensors().values()]).all()
        if not (whole and math.isfinite(out["valid_loss"])):  # e.g. a variance that overflowed: its losses are finite
            at = f"after step {(epoch + 1) * self.steps - 1} (epoch {epoch + 1})"
            raise Diverged(f"the network is not finite {at}: lower lr ({self.spec.lr})")
        for name, value in out.items():
            self.curves[name][epoch] = value
        return out


def evaluate(network: nn.Module, dataset: Dataset, split: str, spec: TrainSpec) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (percent) on a whole split, with running statistics."""
    network.eval()
    loss = right = 0.0
    with torch.no_grad():
        for x, y in batches(dataset, split, spec.eval_batch):
            logits = network(x)
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
            right += int((logits.argmax(1) == y).sum())
    n = dataset.size(split)
    return loss / n, 100 * right / n


def train(
    spec: TrainSpec,
    dataset: Dataset,
    make: Callable[[torch.Generator], nn.Module],
    *,
    device: str = "cpu",
    folder: Path | None = None,
    resume: bool = False,
    on_tick: Tick | None = None,
) -> Trained:
    """Train `make(generator)` as `spec` says; `folder` keeps the last two epochs meanwhile.

    `on_tick(epochs done, epochs in all, last values)` after every epoch. Raises `Diverged` for a loss that is not
    finite (the step is named, the last whole epoch stays on disk), `RunError` for a batch that does not fit into memory
    (it names one that would) and for a checkpoint of another specification, `SpecError` for a data set that is not the
    specification's, or has fewer images than a batch.
    """
    if spec.dataset != dataset.name:
        raise SpecError(f"this is a training on {spec.dataset}, the images are of {dataset.name}")
    if spec.batch > dataset.size("train"):
        raise SpecError(
            f"{dataset.name} has {dataset.size('train')} training images, fewer than a batch of {spec.batch}"
        )
    training = _Training(spec, dataset, make(torch.Generator().manual_seed(spec.seed)), device)
    facts = {**spec.model_dump(), "data": dataset.sha256}
    began, before, first = time.perf_counter(), 0.0, 0
    found = checkpoint.load(folder, NAME, facts) if folder is not None and resume else None
    if found is not None:
        training.restore(found.arrays)
        first, before = found.number, float(found.facts.get("seconds", 0.0))
    for epoch in range(first, spec.epochs):
        try:
            last = training.epoch(epoch)
        except RunError as error:
            kept = f"; the state after epoch {epoch} is kept in {folder}" if folder is not None and epoch else ""
            raise type(error)(f"{error}{kept}") from error
        if folder is not None:
            training.save(folder, epoch + 1, {**facts, "seconds": before + time.perf_counter() - began})
        if on_tick is not None:
            on_tick(epoch + 1, spec.epochs, last)
    training.network.eval()
    return Trained(spec, training.curves, before + time.perf_counter() - began, training.network)


def predict(network: nn.Module, dataset: Dataset, split: str, size: int) -> npt.NDArray[np.float32]:
    """Class probabilities `[n, classes]` of a whole split in order, with running statistics; softmax in float64."""
    network.eval()
    with torch.no_grad():
        parts = [network(x).double().softmax(1).cpu() for x, _ in batches(dataset, split, size)]
    return torch.cat(parts).numpy().astype(np.float32)
