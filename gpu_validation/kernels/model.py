"""Bytes and operations of the NAS-Bench-201 cell: eager PyTorch, the kernels, and the floor; no GPU and no Triton.

What is counted is memory traffic with a perfect cache inside a launch and none between launches: every tensor that a
launch takes is read once, every tensor it makes is written once (PyTorch's batch normalisation is granted that too,
although it reads its input twice). With T = one feature map `[B, C, H, W]` and n inputs of a node:

    eager, forward   34 n + 1   relu 4, convolutions 4, BN 4, pool 2, multiply 8, add 12 an edge; zeros
    eager, backward  44 n + sum of the feature maps' gradients (3 an addition; 4 n - (inputs) additions)
    kernels, forward   statistics 2 n; node 3 n + 1; convolutions 2 + outputs; relu 2 a source
    kernels, backward  sums 2 n + 1; convolutions 4 n + 1; source 4 + targets; conv. gradients 2 outputs + 4 a source

The floor keeps what library convolutions force: their inputs, outputs and both gradients lie in memory and are written
once and read once; everything else is read once where it is needed: statistics come free with the convolution, the
backward sums with whatever made the gradient.

The counts are not taken on trust: tests/gpu_validation/kernels/test_model.py counts the bytes of every PyTorch
operation and the distinct addresses that the interpreted kernels touch, and finds these numbers
to 1%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_validation.kernels.shapes import blocks, split
from gpu_validation.reference.nb201 import EDGES

#: kernels and PyTorch operations a cell, forward and backward, from the same formulas
PASSES = ("forward", "backward")


@dataclass(frozen=True)
class Cost:
    """Bytes read and written and floating-point operations of one kernel or part, a pass."""

    name: str
    moment: str
    reads: float
    writes: float
    flops: float

    @property
    def bytes(self) -> float:
        """Both directions."""
        return self.reads + self.writes


@dataclass(frozen=True)
class Layer:
    """Feature maps of a cell: `[batch, channels, side, side]` of `itemsize` bytes an element."""

    channels: int
    side: int
    batch: int
    itemsize: int = 4

    @property
    def elements(self) -> int:
        """Of one map."""
        return self.channels * self.side * self.side * self.batch

    @property
    def map_bytes(self) -> int:
        """T."""
        return self.elements * self.itemsize

    @property
    def weight_bytes(self) -> int:
        """Both convolutions of an edge."""
        return 10 * self.channels * self.channels * self.itemsize

    @property
    def partial_bytes(self) -> int:
        """One row of partial sums, `[programs, C]` in float32 (float64 for float64)."""
        pixels = self.side * self.side * self.batch
        return split(pixels, blocks(self.channels)[0])[0] * self.channels * max(4, self.itemsize)

    def convolution_flops(self) -> int:
        """A 1x1 and a 3x3 convolution, forward; backward takes twice that."""
        return 20 * self.channels * self.elements


def node_kernels(layer: Layer, inputs: int) -> list[Cost]:
    """The kernels of one node with this many inputs; `source` for an input that this many nodes read.

    Operations an element are counted from the kernels' text (a fused multiply-add is two).

    >>> [round(cost.bytes / Layer(16, 32, 64).map_bytes) for cost in node_kernels(Layer(16, 32, 64), 3)]
    [6, 10, 7, 13, 7]
    """
    n, t, e, partial = inputs, layer.map_bytes, layer.elements, layer.partial_bytes
    rows = 2 * n
    return [
        Cost("statistics", "forward", rows * t + 2 * rows * partial, 2 * rows * partial, 7 * rows * e),
        Cost("node", "forward", 3 * n * t, t, (18 * n + 2 * n + 3 * rows + 1) * e),
        Cost("sums", "backward", (rows + 1) * t + (rows + 1) * partial, (rows + 1) * partial, (3 * rows + 1) * e),
        Cost("convolutions", "backward", (rows + 1) * t, rows * t, 7 * rows * e),
        Cost("source", "backward", (n + 3) * t, t, (26 * n + 2) * e),
    ]


def _library(layer: Layer, moment: str) -> list[Cost]:
    """PyTorch's part of the fused cell: rectifiers, merged convolutions and what joins and parts their weights."""
    t, w, flops = layer.map_bytes, layer.weight_bytes, 6 * layer.convolution_flops()
    laid_out = 2 * 6 * 0.9 * w  # 3x3 kernels copied to channels-last: read and written
    if moment == "forward":
        return [
            Cost("relu", moment, 3 * t, 3 * t, 3 * layer.elements),
            Cost("conv2d", moment, 6 * t + 6 * w, 12 * t, flops),
            Cost("weights", moment, 6 * w + laid_out / 2, 6 * w + laid_out / 2, 0),
        ]
    return [
        Cost("conv2d", moment, 12 * t + 6 * t + 6 * w, 6 * t + 6 * w, 2 * flops),
        Cost("weights", moment, 12 * w + laid_out / 2, 18 * w + laid_out / 2, 0),
    ]


def fused_cell(layer: Layer) -> list[Cost]:
    """Everything that moves for one cell with the kernels, forward and backward (batch statistics, all options)."""
    out = []
    for moment in PASSES:
        out += _library(layer, moment)
        for n in (1, 2, 3):
            out += [
                Cost(f"{cost.name} {n}", moment, cost.reads, cost.writes, cost.flops)
                for cost in node_kernels(layer, n)
                if cost.moment == moment
            ]
    return out


def eager_cell(layer: Layer) -> list[Cost]:
    """The same for `gpu_validation.reference.nb201.cell`, operation by operation."""
    t, w, e, edges = layer.map_bytes, layer.weight_bytes, layer.elements, len(EDGES)
    flops = layer.convolution_flops()
    joins = sum(4 * sum(i == source for i, _ in EDGES) - 1 for source in range(3))
    forward = [
        ("relu", 2, 2, 2 * e),
        ("conv2d", 2, 2, flops),
        ("batch norm", 2, 2, 14 * e),
        ("pool", 1, 1, 9 * e),
        ("multiply", 4, 4, 4 * e),
        ("add", 8, 4, 4 * e),
    ]
    backward = [
        ("multiply", 12, 8, 8 * e),
        ("sum", 4, 0, 4 * e),
        ("batch norm", 4, 2, 20 * e),
        ("conv2d", 4, 2, 2 * flops),
        ("relu", 4, 2, 2 * e),
        ("pool", 1, 1, 9 * e),
    ]
    out = [Cost(name, "forward", edges * r * t, edges * s * t, edges * f) for name, r, s, f in forward]
    out += [Cost("zeros", "forward", 0, 3 * t, 0), Cost("weights", "forward", edges * w, 0, 0)]
    out += [Cost(name, "backward", edges * r * t, edges * s * t, edges * f) for name, r, s, f in backward]
    out += [Cost("add", "backward", 2 * joins * t, joins * t, joins * e)]
    # a convolution reads and makes w; `weights[edge]` turns w into 6 w of mostly zeros, five of which are added
    out += [Cost("weights", "backward", edges * 2 * w + 5 * 12 * w, edges * 7 * w + 5 * 6 * w, 0)]
    return out


def floor_cell(layer: Layer) -> list[Cost]:
    """The least that a cell moves as long as convolutions are library calls (module docstring)."""
    t, w, flops = layer.map_bytes, layer.weight_bytes, 6 * layer.convolution_flops()
    return [
        Cost("convolutions", "forward", 3 * t + 6 * w, 12 * t + 3 * t, flops),
        Cost("nodes", "forward", 12 * t + 6 * t, 3 * t, 60 * layer.elements),
        Cost("convolutions", "backward", 12 * t + 3 * t + 6 * w, 12 * t + 3 * t + 6 * w, 2 * flops),
        Cost("nodes", "backward", 3 * t + 12 * t + 6 * t + 3 * t + 3 * t, 3 * t, 200 * layer.elements),
    ]


def total(costs: list[Cost], moment: str | None = None) -> float:
    """Bytes of a list, of one pass if named."""
    return sum(cost.bytes for cost in costs if moment in (None, cost.moment))


def cell_row(layer: Layer) -> dict[str, Any]:
    """Eager, fused and floor bytes of a cell, forward and backward, and their ratios.

    >>> row = cell_row(Layer(channels=16, side=32, batch=64))
    >>> round(row["fused_to_eager"], 2), round(row["fused_to_floor"], 2)
    (0.27, 1.43)
    """
    eager, fused, floor = eager_cell(layer), fused_cell(layer), floor_cell(layer)
    out: dict[str, Any] = {"channels": layer.channels, "side": layer.side, "batch": layer.batch}
    for name, costs in (("eager", eager), ("fused", fused), ("floor", floor)):
        for moment in PASSES:
            out[f"{name}_{moment}_bytes"] = total(costs, moment)
        out[f"{name}_bytes"] = total(costs)
    out["fused_to_eager"] = out["fused_bytes"] / out["eager_bytes"]
    out["fused_to_floor"] = out["fused_bytes"] / out["floor_bytes"]
    out["flops"] = sum(cost.flops for cost in fused)
    return out
