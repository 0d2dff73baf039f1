"""What to measure. Importing this does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from nasbench_sim.errors import SpecError

#: most of each number: what a large machine could still hold
LIMITS = {"channels": 256, "cells": 20, "batch": 4096, "side": 256, "repeats": 1000, "warmup": 100, "threads": 1024}


@dataclass(frozen=True)
class BenchOptions:
    """A bench run: network (`channels` C, `cells` N a stage), `batch` of `side` x `side` images, and how to time it.

    `threads`: of PyTorch on the CPU, default as it is. `compile`: also time `torch.compile` of the reference cell,
    which takes minutes to compile on a CPU. `profile`: also say where the time goes. `out`: a folder for bench.json
    and bench.png. Raises `SpecError` on a number out of range, an unknown device, or an `out` that is a file.

    >>> BenchOptions(batch=0)
    Traceback (most recent call last):
    nasbench_sim.errors.SpecError: batch is 0; give a whole number from 1 to 4096
    """

    device: str = "cpu"
    channels: int = 16
    cells: int = 5
    batch: int = 64
    side: int = 32
    repeats: int = 7
    warmup: int = 1
    threads: int | None = None
    compile: bool = False
    profile: bool = True
    out: Path | None = None

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            value = getattr(self, name)
            if name == "threads" and value is None:
                continue
            least = {"warmup": 0, "side": 4}.get(name, 1)  # two stride-2 blocks: 4 pixels leave one
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise SpecError(f"{name} is {value!r}; give a whole number from {least} to {most}")
        if self.side % 4:
            raise SpecError(f"side is {self.side}; the network halves images twice: give a multiple of 4")
        if self.batch * (self.side // 4) ** 2 < 2:
            raise SpecError("batch 1 of 4 x 4 images leaves one value a channel, which BN cannot normalise; give more")
        if self.device not in ("cpu", "cuda") and not self.device.removeprefix("cuda:").isdecimal():
            raise SpecError(f"device {self.device!r} is unknown; give cpu, cuda or cuda:0")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise SpecError(f"{self.out} is a file; give a folder for bench.json and bench.png")

    def memory(self) -> float:
        """Bytes that the reference holds for one backward pass, at least.

        42 tensors of `[B, C, H, W]` a cell: 12 rectified, 12 convolved, 12 normalised, 6 pooled.

        >>> round(BenchOptions().memory() / 2**30, 1)
        1.4
        """
        tensor = 4.0 * self.batch * self.channels * self.side**2
        return 42 * self.cells * tensor * math.fsum(0.5**stage for stage in range(3))
