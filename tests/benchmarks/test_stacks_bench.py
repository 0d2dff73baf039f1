"""A training step of one small network alone and of 32 in a stack.

`pytest tests/benchmarks/test_stacks_bench.py --benchmark-enable --benchmark-only -s` prints the milliseconds.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

STEPS = 10


def step_seconds(cells: Any) -> float:
    """Processor seconds a network and step; wall time would count other jobs on the machine."""
    from gpu_validation.data.dataset import Dataset
    from gpu_validation.stacks.trainer import StackTraining
    from gpu_validation.training import make_train_spec

    torch.set_num_threads(1)
    noise = torch.Generator().manual_seed(0)
    splits = ("train", "valid", "test")
    images = {s: torch.randint(0, 256, (64, 1, 14, 14), generator=noise).to(torch.uint8) for s in splits}
    data = Dataset("noise", 10, images, {s: torch.arange(64) % 10 for s in splits}, (0.5,), (0.3,))
    spec = make_train_spec(arch="all", dataset="noise", epochs=1, channels=2, batch=64)
    training = StackTraining(np.asarray(cells), spec, data)
    training.net.train()
    training.step(0, 0)
    began = time.process_time()
    for _ in range(STEPS):
        training.step(0, 0)
    return (time.process_time() - began) / STEPS / len(cells)


@pytest.mark.benchmark(group="a training step of a network of 2 channels")
def test_a_stack_against_one_network(benchmark: Any) -> None:
    """A stack of cells with convolutions, and its first network alone, in one run."""
    from gpu_validation.stacks.cells import make_stacks, representatives

    if benchmark.disabled:
        pytest.skip("a benchmark: --benchmark-enable")
    cells = [s.cells for s in make_stacks(representatives()) if len(s.cells) == 32][60]
    stack = benchmark.pedantic(step_seconds, args=(cells,), rounds=1)
    alone = step_seconds(cells[:1])
    print(f"\nalone {1e3 * alone:.2f} ms, in a stack of 32 {1e3 * stack:.2f} ms a network and step")
    assert stack < alone
