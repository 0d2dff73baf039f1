"""The byte-and-flop model as data: every kernel, a node, a cell, and a whole supernet step.

A step here is a forward and a backward pass through the network for weights and gates; a first-order bilevel step is
two of them. The stem, the two stride-2 residual blocks and the head are PyTorch in every backend: they are counted
(roughly: convolutions, batch normalisation, rectifiers, additions) so that the ratio of a step is not flattered.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gpu_validation.kernels.model import (
    Layer,
    cell_row,
    eager_cell,
    fused_cell,
    node_kernels,
)
from nasbench_sim.errors import SpecError


def node_row(layer: Layer, inputs: int) -> dict[str, Any]:
    """A node on its own, with inputs that nothing else reads: eager and fused bytes, forward + backward, convolutions
    and rectifiers included.

    >>> [round(node_row(Layer(16, 32, 64), n)["fused_to_eager"], 2) for n in (1, 2, 3)]
    [0.35, 0.34, 0.33]
    """
    n, t, w = inputs, layer.map_bytes, layer.weight_bytes
    kernels = [cost for cost in node_kernels(layer, n) if cost.name != "source"]
    sources = [cost for cost in node_kernels(layer, 1) if cost.name == "source"] * n
    library = n * (2 + 4 + 6) * t + n * 8.6 * w  # relu; convolutions forward; backward; weights laid out
    fused = sum(cost.bytes for cost in [*kernels, *sources]) + library
    eager = (34 * n + 1 + 44 * n + 9 * n) * t + n * 3 * w
    return {"inputs": n, "eager_bytes": eager, "fused_bytes": fused, "fused_to_eager": fused / eager}


def kernel_rows(layer: Layer) -> list[dict[str, Any]]:
    """Bytes, operations and operations a byte of every kernel for nodes with 1, 2 and 3 inputs."""
    rows = []
    for n in (1, 2, 3):
        for cost in node_kernels(layer, n):
            rows.append({"inputs": n, **asdict(cost), "bytes": cost.bytes, "flops_per_byte": cost.flops / cost.bytes})
    return rows


def _residual(layer: Layer, *, into: int) -> float:
    """Bytes, forward + backward, of a stride-2 residual block into `into` channels of half the side."""
    small = Layer(into, layer.side // 2, layer.batch, layer.itemsize).map_bytes
    t = layer.map_bytes
    first = (t + t) + (t + small) + 2 * small  # relu, conv, BN
    second = 2 * small + 2 * small + 2 * small
    short = (t + t // 4) + (t // 4 + small)  # average pool, 1x1 conv
    return 3 * (first + second + short) + 3 * small  # backward moves about twice the forward; the sum


def step_row(
    *, channels: int = 16, cells: int = 5, batch: int = 64, side: int = 32, itemsize: int = 4
) -> dict[str, Any]:
    """Bytes of one forward and backward pass of the supernet: three stages of `cells` cells with C, 2 C, 4 C channels.

    SpecError for sizes below one or a side that two halvings do not divide.

    >>> row = step_row()
    >>> round(row["eager_bytes"] / 1e9, 1), round(row["fused_bytes"] / 1e9, 1), round(row["fused_to_eager"], 2)
    (20.0, 5.6, 0.28)
    """
    sizes = {"channels": channels, "cells": cells, "batch": batch, "side": side, "itemsize": itemsize}
    for name, value in sizes.items():
        if value < 1:
            raise SpecError(f"{name} must be at least 1, got {value}")
    if side % 4:
        raise SpecError(f"side must be a multiple of 4 (it is halved twice), got {side}")
    layers = [Layer(channels << k, side >> k, batch, itemsize) for k in range(3)]
    parts = [cell_row(layer) for layer in layers]
    stem = 3 * (4 + 2) * layers[0].map_bytes / 2 + 3 * 4 * layers[2].map_bytes / 2  # conv, BN; BN, relu, pool, head
    rest = stem + sum(_residual(layers[k], into=channels << (k + 1)) for k in (0, 1))
    out: dict[str, Any] = {**sizes, "rest_bytes": rest}
    for name in ("eager", "fused", "floor"):
        out[f"{name}_bytes"] = rest + cells * sum(part[f"{name}_bytes"] for part in parts)
    out["fused_to_eager"] = out["fused_bytes"] / out["eager_bytes"]
    out["fused_to_floor"] = out["fused_bytes"] / out["floor_bytes"]
    out["flops"] = cells * sum(part["flops"] for part in parts)
    out["cells_by_stage"] = parts
    return out


def model_report(
    *, channels: int = 16, cells: int = 5, batch: int = 64, side: int = 32, itemsize: int = 4
) -> dict[str, Any]:
    """Everything that `gpu-validation bench --model` prints: plain data."""
    step = step_row(channels=channels, cells=cells, batch=batch, side=side, itemsize=itemsize)
    layer = Layer(channels, side, batch, itemsize)
    return {
        "step": step,
        "nodes": [node_row(layer, n) for n in (1, 2, 3)],
        "kernels": kernel_rows(layer),
        "cell": {
            name: [asdict(cost) for cost in costs]
            for name, costs in (("eager", eager_cell(layer)), ("fused", fused_cell(layer)))
        },
    }
