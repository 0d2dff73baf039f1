"""Without `active` the same operations run whatever the gates are: one graph to compile, record and replay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_validation.supernets.nb1shot1 import NB1Shot1Supernet
from gpu_validation.supernets.nb201 import NB201Supernet

from .nets import gate_differences, gen, images, mixture, nb1shot1, nb201, one_hot, slopes

NETS: dict[str, Callable[[], nn.Module]] = {
    "nb201": nb201,
    "nb201 fused": lambda: nb201(backend="fused"),
    "nb201 running": lambda: nb201(batch_norm="running"),
    "nb1shot1-1": lambda: nb1shot1(1),
    "nb1shot1-3": lambda: nb1shot1(3),
}


class Trace(TorchDispatchMode):
    """Names and output shapes of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, (tuple, list)) and out else out
        self.seen.append((str(func), tuple(getattr(first, "shape", ()))))
        return out


def operations(net: nn.Module, gates: Tensor, active: Any = None) -> list[tuple[str, tuple[int, ...]]]:
    """What runs forward and backward."""
    gates = gates.clone().requires_grad_()
    net.zero_grad()  # a first gradient is kept, a second one added
    with Trace() as trace:
        net(images(), gates, active).sum().backward()
    return trace.seen


@pytest.mark.parametrize("name", NETS)
def test_the_same_operations_run_at_all_gates(name: str) -> None:
    net = NETS[name]()
    space = net.space
    zeros = torch.zeros(space.D, space.K, dtype=torch.float64)
    arch = np.random.Generator(np.random.Philox(key=1)).integers(space.counts)
    operations(net, mixture(space))  # constants are made once
    traces = [operations(net, g) for g in (mixture(space), zeros, one_hot(space, arch), -mixture(space, 3), zeros / 0)]
    assert all(trace == traces[0] for trace in traces[1:])
    assert len(operations(net, one_hot(space, arch), one_hot(space, arch).numpy() > 0)) < len(traces[0])


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_gates_of_zero_still_have_slopes(backend: str) -> None:
    """A gate of 0 is a value like another, unlike an option that is not active.

    Of NAS-Bench-201 only: at an architecture, NAS-Bench-1Shot1 has no slope in its gates (ReLUs that are exactly
    0 meet max pools and another ReLU), and what autograd gives there is one of PyTorch's conventions.
    """
    net = nb201(backend=backend)
    gates = one_hot(net.space, [1, 3, 2, 0, 4, 3])
    x = images()
    _, grad, _ = slopes(net, x, gates)
    torch.testing.assert_close(grad, gate_differences(net, x, gates, 1e-6), rtol=1e-5, atol=1e-6)
    assert (grad[:, 1:] != 0).all()


@pytest.mark.parametrize("name", NETS)
def test_a_gate_that_is_no_number_shows(name: str) -> None:
    """Not refused, which would need a look at its value: the logits are NaN, unless the option does not run."""
    net, x = NETS[name](), images()
    decision = 0 if name.startswith("nb201") else net.space.op_decisions[-1]  # the last node always may feed the output
    gates = mixture(net.space)
    gates[decision, 1] = torch.nan
    assert net(x, gates).isnan().all()
    active = net.space.mask.copy()
    active[decision, 1] = False
    logits, slope, weights = slopes(net, x, gates, active)
    assert logits.isfinite().all() and slope.isfinite().all() and weights.isfinite().all()


@pytest.mark.parametrize(
    ("net", "digest"),
    [
        (lambda: NB201Supernet(channels=4, cells=1, generator=gen(201)), "68339a4fc14b6fa4"),
        (lambda: NB1Shot1Supernet(2, channels=2, generator=gen(101)), "56a939583b5b5965"),
    ],
    ids=["nb201", "nb1shot1-2"],
)
def test_initial_weights_keep_their_bits(net: Callable[[], nn.Module], digest: str) -> None:
    """Golden: a search of a seed starts from these very weights, whatever the device that it then moves to."""
    sha = hashlib.sha256()
    for name, p in net().named_parameters():
        sha.update(name.encode() + p.detach().numpy().astype("<f4").tobytes())
    assert sha.hexdigest()[:16] == digest
