"""A whole bilevel step of a NAS-Bench-201 supernet, one candidate a backend and memory format, and the gate on it.

Architecture step: forward on a validation batch, gradient to the gates alone. Weight step: forward on a training batch,
gradient to the weights alone, SGD with momentum. No candidate computes a gradient that the step does not use.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.bench.options import BenchOptions
from gpu_validation.reference.nb201 import cell as reference_cell
from gpu_validation.supernets.nb201 import NB201Supernet, SearchCell

CellFunction = Callable[..., Tensor]

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
#: rounding of float32
UNIT = 2.0**-24
#: draws of weights and images that the gate looks at
DRAWS = 5


@dataclass(frozen=True)
class Candidate:
    """A way to compute the step: its name in reports, the cell, the memory format of the images."""

    name: str
    cell: CellFunction
    memory: str = "channels_last"


def candidates(options: BenchOptions) -> list[Candidate]:
    """The reference in both memory formats, the fused cell in both, and what else the options and the device allow.

    >>> [c.name for c in candidates(BenchOptions())]
    ['reference, contiguous', 'reference, channels_last', 'fused']
    """
    from gpu_validation.ops.nb201_fused import cell as fused_cell

    found = [Candidate(f"reference, {memory}", reference_cell, memory) for memory in FORMATS]
    found.append(Candidate("fused", fused_cell))
    if options.compile:
        found.append(Candidate("torch.compile", _compiled_cell()))
    if options.device != "cpu":
        from gpu_validation.ops import nb201_triton  # type: ignore[attr-defined,unused-ignore]

        found.append(Candidate("triton", nb201_triton.cell))
    return found


def _compiled_cell() -> CellFunction:
    """The reference cell through torch.compile; 13 graphs are needed, and past 8 it would quietly run eager ones."""
    compiled: Any = torch.compile(reference_cell, dynamic=False)

    def cell(*args: Any, **options: Any) -> Tensor:
        with torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
            out: Tensor = compiled(*args, **options)
        return out

    return cell


class BilevelStep:
    """One candidate's network, batches and optimiser, the same for every candidate of the same options."""

    def __init__(
        self,
        candidate: Candidate,
        options: BenchOptions,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        net = NB201Supernet(channels=options.channels, cells=options.cells, generator=generator)
        for cell in net.modules():
            if isinstance(cell, SearchCell):
                cell.compute = candidate.cell
        shape = (2, options.batch, 3, options.side, options.side)
        images = torch.randn(shape, generator=generator).to(device, dtype)
        memory = FORMATS[candidate.memory]
        self.net = net.to(device, dtype)
        self.valid, self.train = (batch.contiguous(memory_format=memory) for batch in images)
        self.labels = torch.randint(10, (options.batch,), generator=generator).to(device)
        self.alpha = (0.1 * torch.randn(6, 5, generator=generator)).to(device, dtype).requires_grad_()
        self.weights = list(self.net.parameters())
        self.optimiser = torch.optim.SGD(self.weights, lr=0.001, momentum=0.9, weight_decay=3e-4)

    def architecture_gradient(self) -> Tensor:
        """Gradient of the validation loss to the architecture parameters `[6, 5]`."""
        for weight in self.weights:
            weight.requires_grad_(False)
        try:
            loss = F.cross_entropy(self.net(self.valid, self.alpha.softmax(-1)), self.labels)
            (found,) = torch.autograd.grad(loss, self.alpha)
        finally:
            for weight in self.weights:
                weight.requires_grad_(True)
        return found

    def weight_gradients(self) -> tuple[Tensor, ...]:
        """Gradients of the training loss to the weights."""
        gates = self.alpha.detach().softmax(-1)
        loss = F.cross_entropy(self.net(self.train, gates), self.labels)
        return torch.autograd.grad(loss, self.weights)

    def weight_step(self) -> None:
        """Gradients to the weights, and the SGD update."""
        for weight, gradient in zip(self.weights, self.weight_gradients(), strict=True):
            weight.grad = gradient
        self.optimiser.step()


def gradients(step: BilevelStep) -> dict[str, Tensor]:
    """Both gradients of a step in float64 on the CPU, the weights' as one vector."""
    weights = torch.cat([g.flatten() for g in step.weight_gradients()])
    return {"architecture": step.architecture_gradient().double().cpu(), "weights": weights.double().cpu()}


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative root mean square distance.

    >>> round(distance(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 4.0])), 6)
    0.25
    """
    return float((found - expected).norm() / expected.norm())


def gate(named: Sequence[Candidate], options: BenchOptions, device: torch.device) -> dict[str, Any]:
    """Whether all candidates compute the reference's gradients to rounding; speeds are reported only where they do.

    With one cell a stage and at most 4 images, float32 gradients are held against the reference in float64. The median
    error over 5 draws may be 4 times that of the reference in float32 (the worse of its memory formats), plus 8
    roundings. The median, because rounding now and then (about once in 50 draws) moves one activation across the kink
    of relu, which changes the gradient by 1/sqrt(elements), 1e-3; a wrong formula is wrong in every draw. Not at full
    size, because every BN layer multiplies rounding: after 15 cells the reference differs from itself by 2e-3.
    """
    small = BenchOptions(options.device, options.channels, 1, min(options.batch, 4), options.side)
    measured: dict[str, dict[str, list[float]]] = {c.name: {"architecture": [], "weights": []} for c in named}
    for seed in range(DRAWS):
        exact = gradients(BilevelStep(named[0], small, device, torch.float64, seed))
        for candidate in named:
            found = gradients(BilevelStep(candidate, small, device, seed=seed))
            for key, values in measured[candidate.name].items():
                values.append(distance(found[key], exact[key]))
    errors = {name: {k: statistics.median(v) for k, v in by_key.items()} for name, by_key in measured.items()}
    plain = [errors[c.name] for c in named if c.cell is reference_cell]
    bounds = {key: 4 * max(error[key] for error in plain) + 8 * UNIT for key in ("architecture", "weights")}
    equal = {name: all(error[key] <= bounds[key] for key in bounds) for name, error in errors.items()}
    return {"equal": all(equal.values()), "by_candidate": equal, "errors": errors, "bounds": bounds}


def runs(named: Sequence[Candidate], options: BenchOptions, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is timed: `name | architecture` and `name | weights` of each candidate."""
    out: dict[str, Callable[[], object]] = {}
    for candidate in named:
        step = BilevelStep(candidate, options, device)
        out[f"{candidate.name} | architecture"] = step.architecture_gradient
        out[f"{candidate.name} | weights"] = step.weight_step
    return out
