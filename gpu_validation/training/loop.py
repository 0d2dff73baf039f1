"""The training loop: one epoch after another, all state in arrays, so that what was stopped goes on bit for bit.

    v <- momentum v + (g + weight_decay w);  w <- w - lr (g + weight_decay w + momentum v)

with lr(epoch, i) = lr / 2 (1 + cos(pi (epoch + i / steps) / epochs)), as in AutoDL-Projects. The first weights are
drawn on the host and mini-batches are a function of (seed, step): a CPU and a GPU train the same run, to rounding.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.data import Dataset, batch, batches
from gpu_validation.training.spec import TrainSpec, make_network
from gpu_validation.weight_step import LOSS_SCALE
from nasbench_sim.errors import RunError

Array = npt.NDArray[Any]
SPLITS = ("train", "valid", "test")
#: columns of the curves: nats and percent
COLUMNS = tuple(f"{split}_{what}" for split in SPLITS for what in ("loss", "accuracy"))


class NotFinite(RunError):
    """A loss or the weights are not finite any more; `step` is the first one."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class Trainer:
    """A network with its optimiser, after `done` epochs; `curves` has a row of `COLUMNS` for each.

    >>> from gpu_validation.data import load_dataset
    >>> from gpu_validation.training import make_train_spec
    >>> spec = make_train_spec(1462, "short", epochs=2, channels=2, cells=1, batch=16)
    >>> trainer = Trainer(spec, load_dataset("synthetic"))
    >>> trainer.epoch()
    >>> trainer.done, len(trainer.curves)
    (1, 1)
    """

    def __init__(self, spec: TrainSpec, dataset: Dataset) -> None:
        self.spec, self.dataset, self.device = spec, dataset, dataset.device
        generator = torch.Generator().manual_seed(spec.seed)
        net = make_network(spec, classes=dataset.classes, in_channels=dataset.channels, generator=generator)
        self.number = torch.float64 if spec.precision == "float64" else torch.float32
        self.format = torch.channels_last if spec.channels_last else torch.contiguous_format
        self.net = net.to(self.device, self.number, memory_format=self.format)  # type: ignore[call-overload]
        self.forward: Any = torch.compile(self.net) if spec.compiled else self.net
        rule: dict[str, Any] = {"momentum": spec.momentum, "weight_decay": spec.weight_decay, "nesterov": True}
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=spec.lr, **rule)
        self.steps = -(-dataset.size("train") // spec.batch)
        self.done = 0
        self.curves: list[list[float]] = []

    @property
    def parameters(self) -> int:
        """Weights of the network."""
        return sum(p.numel() for p in self.net.parameters())

    def lr(self, step: int) -> float:
        """Learning rate of a step, counted from the beginning."""
        return self.spec.lr / 2 * (1 + math.cos(math.pi * step / (self.steps * self.spec.epochs)))

    def epoch(self) -> None:
        """Train one epoch and look at the other splits. Raises `NotFinite`; the network is then of no use any more."""
        self.net.train()
        seen = torch.zeros(self.steps, 2, device=self.device, dtype=torch.float64)
        for i in range(self.steps):
            step = self.done * self.steps + i
            x, y = batch(
                self.dataset, "train", seed=self.spec.seed, step=step, size=self.spec.batch, augment=self.spec.augment
            )
            seen[i] = self.step(x, y, self.lr(step))
        self._check(seen[:, 0].cpu())
        loss, right = seen.mean(dim=0).tolist()
        row = [loss, 100 * right]
        for split in SPLITS[1:]:
            row += self.evaluate(split)
        self.curves.append(row)
        self.done += 1

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """One step on normalised images; loss and share of right answers before it, float64 `[2]` on the device."""
        scale = LOSS_SCALE if self.spec.precision == "float16" else 1.0
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.logits(x)
        loss = F.cross_entropy(logits, y)
        (loss * scale).backward()  # type: ignore[no-untyped-call]
        if scale != 1:
            for p in self.net.parameters():
                if p.grad is not None:
                    p.grad /= scale
        self.optimiser.step()
        right = (logits.detach().argmax(1) == y).double().mean()
        return torch.stack([loss.detach().double(), right])

    def logits(self, x: Tensor) -> Tensor:
        """Pre-softmax outputs `[B, classes]` in full precision."""
        half = self.spec.precision in ("bfloat16", "float16")
        how = torch.autocast(self.device.type, getattr(torch, self.spec.precision)) if half else None
        with how or contextlib.nullcontext():
            out: Tensor = self.forward(x.to(self.number).contiguous(memory_format=self.format))
        return out.to(self.number)

    def outputs(self, split: str) -> tuple[Tensor, Tensor]:
        """Logits `[n, classes]` and labels `[n]` of all images of a split, in order, with the running statistics."""
        self.net.eval()
        with torch.no_grad():
            parts = [(self.logits(x), y) for x, y in batches(self.dataset, split, self.spec.eval_batch)]
        return torch.cat([a for a, _ in parts]), torch.cat([y for _, y in parts])

    def evaluate(self, split: str) -> list[float]:
        """Loss in nats and accuracy in percent on a split."""
        logits, y = self.outputs(split)
        loss = F.cross_entropy(logits.double(), y)
        return [float(loss), 100 * float((logits.argmax(1) == y).double().mean())]

    def _check(self, losses: Tensor) -> None:
        bad = torch.nonzero(~torch.isfinite(losses))
        finite = all(bool(torch.isfinite(p).all()) for p in self.net.parameters())
        if finite and not len(bad):
            return
        step = (self.done + 1) * self.steps - 1 if not len(bad) else self.done * self.steps + int(bad[0])
        raise NotFinite(
            f"{'the loss is' if len(bad) else 'the weights are'} not finite at step {step} (epoch {self.done + 1} of "
            f"{self.spec.epochs}); lower lr (now {self.spec.lr:g})",
            step,
        )

    def arrays(self) -> dict[str, Array]:
        """Everything that changes: weights, running statistics, momentum, curves `[done, 6]`."""
        named = dict(self.net.named_parameters())
        out = {f"weights/{name}": p for name, p in named.items()}
        out |= {f"buffers/{name}": b for name, b in self.net.named_buffers()}
        state = self.optimiser.state
        out |= {f"momentum/{name}": state[p]["momentum_buffer"] for name, p in named.items() if state.get(p)}
        arrays = {name: np.array(t.detach().cpu().numpy(), order="C") for name, t in out.items()}
        return {**arrays, "curves": np.array(self.curves, dtype=np.float64).reshape(-1, len(COLUMNS))}

    def restore(self, arrays: Mapping[str, Array], done: int) -> None:
        """Go on from `arrays` after `done` epochs; raises `RunError` where they are not of this network."""
        named = dict(self.net.named_parameters())
        targets = {f"weights/{name}": p for name, p in named.items()}
        targets |= {f"buffers/{name}": b for name, b in self.net.named_buffers()}
        momenta = {k.removeprefix("momentum/"): v for k, v in arrays.items() if k.startswith("momentum/")}
        shapes = {k: tuple(v.shape) for k, v in targets.items()}
        held = {k: tuple(v.shape) for k, v in arrays.items() if k in targets}
        rows = arrays.get("curves", np.empty((0, 0)))
        if shapes != held or not set(momenta) <= set(named) or rows.shape != (done, len(COLUMNS)):
            raise RunError("the checkpoint holds arrays of another network; start again in another folder")
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(torch.from_numpy(arrays[name]))
            for name, value in momenta.items():
                self.optimiser.state[named[name]]["momentum_buffer"] = torch.empty_like(named[name]).copy_(
                    torch.from_numpy(value)
                )
        self.curves = rows.tolist()
        self.done = done
