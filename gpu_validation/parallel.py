"""Several processes train one supernet: each takes its shards of a mini-batch, and gradients are averaged.

A mini-batch is cut into `shards` that BatchNorm normalises apart (as every data-parallel training does). One process
computes all of them; W processes started by `torchrun --nproc-per-node W` compute shards / W each and join one vector,
the whole gradient. So W processes make the steps of one process, to rounding. Everything else (searcher, evaluation,
noise) each process does for itself from the same numbers; process 0 alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from nasbench_sim.errors import SpecError


@dataclass(frozen=True)
class Group:
    """Process number `rank` of `world`.

    >>> Group().sum(torch.ones(2)).tolist(), Group(1, 2).mine(4)
    ([1.0, 1.0], [2, 3])
    """

    rank: int = 0
    world: int = 1

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes (not differentiable); with one process `value` itself."""
        if self.world == 1:
            return value
        out = value.detach().clone()
        dist.all_reduce(out)
        return out

    def mine(self, shards: int) -> list[int]:
        """Which of the `shards` this process computes; raises `SpecError` where they cannot be shared out evenly."""
        if shards % self.world:
            raise SpecError(
                f"{shards} shards cannot be shared out among {self.world} processes; set shards to a multiple of it"
            )
        each = shards // self.world
        return list(range(self.rank * each, (self.rank + 1) * each))


@contextmanager
def process_group(device: str = "cpu") -> Iterator[tuple[Group, str]]:
    """The group that `torchrun` started this process in (its device named too), or a group of one.

    gloo on a CPU, nccl on GPUs, where process i takes device i.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group(), device
        return
    cuda = torch.device(device).type == "cuda"
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Group(dist.get_rank(), world), f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else device
    finally:
        dist.destroy_process_group()
