"""The byte model against bytes that were counted: PyTorch's operations, and the kernels' own addresses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.kernels import model, shapes
from gpu_validation.kernels.model import Layer
from gpu_validation.kernels.model_report import _residual, kernel_rows, model_report, node_row, step_row
from gpu_validation.reference import nb201 as reference
from nasbench_sim.errors import SpecError
from tests.gpu_validation.kernels.helpers import Inputs
from tests.gpu_validation.kernels.traffic import Traffic, kernel_traffic

LAYER = Layer(channels=8, side=16, batch=2)


def _passes(function: Any, device: str) -> tuple[list[Traffic], list[Counter[str]]]:
    """Bytes of the forward and the backward pass: of PyTorch's operations, and of the kernels."""
    given = Inputs((LAYER.batch, LAYER.channels, LAYER.side, LAYER.side), torch.float32, device)
    last: dict[str, Any] = {"memory_format": torch.channels_last}
    leaves = [t.requires_grad_() for t in (given.x.contiguous(**last), given.w1, given.w3, given.gates)]
    grad = given.grad.contiguous(**last)
    with kernel_traffic() as kernels:
        with Traffic() as forward:
            out = function(*leaves)
        so_far = kernels.copy()
        with Traffic() as backward:
            torch.autograd.grad(out, leaves, grad)
    return [forward, backward], [so_far, kernels - so_far]


def test_eager_bytes_are_those_of_the_operations() -> None:
    found, _ = _passes(reference.cell, "cpu")
    for moment, traffic in zip(model.PASSES, found, strict=True):
        assert model.total(model.eager_cell(LAYER), moment) == pytest.approx(traffic.total, rel=0.01)
    named = {cost.name: cost.bytes for cost in model.eager_cell(LAYER) if cost.moment == "forward"}
    for ours, theirs in {"add": "add.Tensor", "multiply": "mul.Tensor", "relu": "relu", "pool": "avg_pool2d"}.items():
        assert named[ours] == pytest.approx(found[0].bytes[theirs], rel=1e-3)


def test_fused_bytes_are_those_of_operations_and_kernels(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device != "cpu":
        pytest.skip("addresses are seen by the interpreter only")
    from gpu_validation.ops.nb201_triton import cell

    monkeypatch.setattr(shapes, "PROGRAMS", 2)  # 4 tiles, two a program
    operations, kernels = _passes(cell, device)
    fused = model.fused_cell(LAYER)
    for k, moment in enumerate(model.PASSES):
        moved = operations[k].total + sum(kernels[k].values())
        assert model.total(fused, moment) == pytest.approx(moved, rel=0.01)
    moved_by = kernels[0] + kernels[1]
    for name, kernel in {
        "statistics": ("statistics_kernel", "merge_kernel"),
        "node": ("node_kernel",),
        "sums": ("sums_kernel",),
        "convolutions": ("convolutions_kernel",),
        "source": ("source_kernel",),
    }.items():
        costs = [cost for cost in fused if cost.name.split()[0] == name and cost.name != name]
        assert len(costs) == 3
        found = sum(moved_by[f"{k} {way}"] for k in kernel for way in ("read", "written"))
        assert sum(cost.bytes for cost in costs) == pytest.approx(found, rel=0.01), name


def test_the_kernels_move_less_than_two_fifths_of_eager() -> None:
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        for itemsize in (2, 4):
            layer = Layer(channels, side, 64, itemsize)
            assert model.cell_row(layer)["fused_to_eager"] <= 0.4
            assert all(node_row(layer, n)["fused_to_eager"] <= 0.4 for n in (1, 2, 3))
    assert step_row()["fused_to_eager"] <= 0.4


def test_the_floor_is_below_and_the_parts_add_up() -> None:
    row = model.cell_row(LAYER)
    assert row["floor_bytes"] < row["fused_bytes"] < row["eager_bytes"]
    for moment in model.PASSES:
        assert row[f"floor_{moment}_bytes"] < row[f"fused_{moment}_bytes"] < row[f"eager_{moment}_bytes"]
    step = step_row(cells=2, batch=4)
    stages = sum(part["fused_bytes"] for part in step["cells_by_stage"])
    assert step["fused_bytes"] == pytest.approx(2 * stages + step["rest_bytes"])
    assert step["floor_bytes"] < step["fused_bytes"] < step["eager_bytes"]
    convolutions = 2 * 64 * 32 * 32 * (16 * 16 * 10) * 6 * 3  # multiply-adds of a cell, forward and backward
    cell = model.cell_row(Layer(16, 32, 64))
    assert convolutions < cell["flops"] < 1.5 * convolutions
    assert {r["name"] for r in kernel_rows(LAYER)} == {"statistics", "node", "sums", "convolutions", "source"}


def test_the_residual_block_is_roughly_counted() -> None:
    layer = Layer(8, 16, 4)
    x = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = [torch.ones(16, c, k, k).requires_grad_() for c, k in ((8, 3), (16, 3), (8, 1))]

    def norm(z: Tensor) -> Tensor:
        return F.batch_norm(z, None, None, training=True)

    with Traffic() as traffic:
        y = norm(F.conv2d(F.relu(x), weights[0], stride=2, padding=1))
        y = norm(F.conv2d(F.relu(y), weights[1], padding=1))
        out = y + F.conv2d(F.avg_pool2d(x, 2), weights[2])
        torch.autograd.grad(out, [x, *weights], torch.ones_like(out))
    assert _residual(layer, into=16) == pytest.approx(traffic.total, rel=0.2)


@pytest.mark.parametrize("wrong", [{"side": 30}, {"batch": 0}, {"cells": -1}, {"itemsize": 0}], ids=str)
def test_bad_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError, match=next(iter(wrong))):
        model_report(**wrong)
