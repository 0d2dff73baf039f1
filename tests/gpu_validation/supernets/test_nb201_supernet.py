"""The NAS-Bench-201 supernet: its forward modes, statistics, gradients and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpu_validation.flat import FlatNetwork
from gpu_validation.supernets.nb201 import NB201Supernet
from nasbench_sim.errors import SpecError

from .nets import gate_differences, gen, images, mixture, nb201, slopes

BACKENDS = ("reference", "fused")
SPACE = nb201().space


@pytest.mark.parametrize("backend", BACKENDS)
def test_gate_gradient_is_the_slope(backend: str) -> None:
    net, x, gates = nb201(backend=backend), images(), mixture(SPACE)
    _, grad, _ = slopes(net, x, gates)
    torch.testing.assert_close(grad, gate_differences(net, x, gates), rtol=2e-6, atol=2e-7)
    assert (grad[:, 1:] != 0).all() and (grad[:, 0] == 0).all()  # `none` passes nothing


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_backends_agree(norm: str) -> None:
    x, gates = images(size=(7, 5)), mixture(SPACE)
    plain, fused = (nb201(backend=b, cells=2, batch_norm=norm) for b in BACKENDS)
    for a, b in zip(slopes(plain, x, gates), slopes(fused, x, gates), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    for (name, a), (_, b) in zip(plain.named_buffers(), fused.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sampled_path_is_a_mask(backend: str) -> None:
    """Options that do not run are options of weight 0, in the logits and in the gradients of all weights."""
    net, x = nb201(backend=backend), images()
    active = np.random.Generator(np.random.Philox(key=4)).random((6, 5)) < 0.5
    gates = mixture(SPACE)
    masked = slopes(net, x, gates * torch.from_numpy(active))
    sampled = slopes(net, x, gates, active)
    torch.testing.assert_close(sampled[0], masked[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(sampled[2], masked[2], rtol=1e-8, atol=1e-10)
    assert (sampled[1][torch.from_numpy(~active)] == 0).all()
    torch.testing.assert_close(sampled[1][active], masked[1][active], rtol=1e-8, atol=1e-10)


def test_nothing_active_is_the_network_without_cells() -> None:
    net = nb201()
    assert torch.equal(net(images(), mixture(SPACE), np.zeros((6, 5), dtype=bool)), net(images(), torch.zeros(6, 5)))


def test_batch_statistics_leave_nothing_behind() -> None:
    net, x, gates = nb201(), images(), mixture(SPACE)
    assert list(net.buffers()) == []
    assert torch.equal(net.train()(x, gates), net.eval()(x, gates))


def test_running_statistics_move_by_a_tenth_and_are_used() -> None:
    net, x, gates = nb201(batch_norm="running"), images(), mixture(SPACE)
    shapes = {name: tuple(b.shape) for name, b in net.named_buffers()}
    assert shapes["body.layers.0.mean"] == (6, 2, 3) and shapes["body.layers.4.var"] == (6, 2, 12)
    assert all(b.is_floating_point() for b in net.buffers())
    inputs: list[torch.Tensor] = []
    cell = net.body.layers[0]
    cell.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    net.train()(x, gates)
    z = F.conv2d(F.relu(inputs[0]), cell.w3[3], padding=1).detach()  # edge 3 leaves the cell's input
    torch.testing.assert_close(cell.mean[3, 1], 0.1 * z.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(cell.var[3, 1], 0.9 + 0.1 * z.var(dim=(0, 2, 3)))
    before = [b.clone() for b in net.buffers()]
    net.eval()
    whole = net(x, gates)
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    torch.testing.assert_close(whole[:1], net(x[:1], gates))  # an image's logits do not depend on the others
    assert not torch.allclose(whole, net.train()(x, gates))


def test_it_runs_on_a_row_of_weights() -> None:
    net, x, gates = nb201(batch_norm="running"), images(), mixture(SPACE)
    flat = FlatNetwork(net)
    weights, buffers = flat.initial()
    logits, moved = flat.call(flat.views(weights), buffers, x, gates, None)
    assert torch.equal(flat.initial()[1], buffers) and not torch.equal(moved, buffers)
    assert torch.equal(logits, net(x, gates)) and torch.equal(flat.initial()[1], moved)


@pytest.mark.parametrize("size", [(4, 4), (5, 5), (7, 9), (4, 17), (28, 28)])
@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_any_size(size: tuple[int, int], channels: int) -> None:
    net = nb201(in_channels=channels, classes=3)
    logits = net(images(channels=channels, size=size), mixture(SPACE))
    assert logits.shape == (4, 3) and logits.isfinite().all() and logits.std() > 0


def test_one_channel_and_memory_format() -> None:
    x, gates = images(), mixture(SPACE)
    assert nb201(channels=1)(x, gates).isfinite().all()
    for backend in BACKENDS:
        net = nb201(backend=backend)
        last = net(x.contiguous(memory_format=torch.channels_last), gates)
        torch.testing.assert_close(last, net(x, gates), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "channels is a whole number of 1 or more, got 0"),
        ({"cells": -1}, "cells is a whole number"),
        ({"classes": 2.5}, "classes is a whole number"),
        ({"in_channels": True}, "in_channels is a whole number"),
        ({"batch_norm": "batches"}, "did you mean 'batch'"),
        ({"backend": "cuda"}, "unknown backend 'cuda'. Known: reference, fused, triton"),
    ],
)
def test_impossible_networks(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NB201Supernet(**{"generator": gen(), **values})


@pytest.mark.parametrize(
    ("x", "gates", "active", "message"),
    [
        (images(), torch.zeros(5, 6), None, r"gates have shape \(5, 6\); this space needs \(6, 5\)"),
        (images(), torch.zeros(2, 6, 5), None, "gates have shape"),
        (images(), torch.zeros(6, 5), np.ones((6, 4), bool), r"active is bool of shape \(6, 4\)"),
        (images(), torch.zeros(6, 5), np.ones((6, 5)), "active is float64"),
        (images(), torch.zeros(6, 5), [[True] * 5] * 6, "active is list"),
        (images(channels=1), torch.zeros(6, 5), None, r"takes \[batch, 3, height, width\]"),
        (images()[0], torch.zeros(6, 5), None, r"images have shape \(3, 8, 8\)"),
        (images(size=(8, 3)), torch.zeros(6, 5), None, "images of 8x3 pixels; give at least 4x4"),
        (images(batch=0), torch.zeros(6, 5), None, "images have shape"),
        (images(batch=1, size=(4, 4)), torch.zeros(6, 5), None, "one image of 4x4 pixels has no batch statistics"),
        (images().to(torch.uint8), torch.zeros(6, 5), None, "images are torch.uint8"),
    ],
)
def test_inputs_that_do_not_fit(x: torch.Tensor, gates: torch.Tensor, active: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        nb201()(x, gates, active)


def test_one_small_image_in_evaluation() -> None:
    net, x = nb201(batch_norm="running").eval(), images(batch=1, size=(4, 4))
    assert net(x, mixture(SPACE)).isfinite().all()
    assert nb201()(images(batch=1, size=(4, 5)), mixture(SPACE)).isfinite().all()
