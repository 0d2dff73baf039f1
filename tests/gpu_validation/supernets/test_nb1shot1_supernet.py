"""The NAS-Bench-1Shot1 supernets: an architecture's gates give its discrete cell, weights of parents, forward modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_validation.reference.nb1shot1 import choice_block
from gpu_validation.reference.nb201 import RunningStats
from gpu_validation.supernets.nb1shot1 import NB1Shot1Supernet
from gpu_validation.supernets.nb1shot1_cell import ChoiceCell, wire
from nasbench_sim.errors import SpecError
from nasbench_sim.spaces import NB1Shot1

from .nets import gate_differences, gen, images, mixture, nb1shot1, one_hot, slopes

NUMBERS = (1, 2, 3)


def normal(z: Tensor) -> Tensor:
    """Batch normalisation in so many words."""
    mean, var = z.mean(dim=(0, 2, 3), keepdim=True), z.var(dim=(0, 2, 3), keepdim=True, correction=0)
    return (z - mean) / (var + 1e-5).sqrt()


def test_choice_block_is_its_options() -> None:
    x, w1, w3 = images(channels=4), *(torch.randn(4, 4, k, k, generator=gen(k)).double() for k in (1, 3))
    options = [
        F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, stride=1),
        normal(F.conv2d(x, w3, padding=1)).clamp(min=0),
        normal(F.conv2d(x, w1)).clamp(min=0),
    ]
    gates = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)
    torch.testing.assert_close(choice_block(x, w1, w3, gates), sum(g * y for g, y in zip(gates, options, strict=True)))
    for k in range(3):
        torch.testing.assert_close(choice_block(x, w1, w3, gates, active=np.arange(3) == k), gates[k] * options[k])
    with pytest.raises(SpecError, match="it has 3 options"):
        choice_block(x, w1, w3, torch.zeros(5))


def test_choice_block_keeps_statistics_of_each_convolution() -> None:
    x, w1, w3 = images(channels=2), *(torch.randn(2, 2, k, k, generator=gen(k)).double() for k in (1, 3))
    stats = RunningStats(torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64))
    choice_block(x, w1, w3, torch.ones(3, dtype=torch.float64), stats, active=np.array([True, False, True]))
    torch.testing.assert_close(stats.mean[0], 0.1 * F.conv2d(x, w1).mean(dim=(0, 2, 3)))
    assert (stats.mean[1] == 0).all() and (stats.var[1] == 1).all()


def discrete(cell: ChoiceCell, x: Tensor, text: str) -> Tensor:
    """The cell of an architecture's string, one node after another."""
    *nodes, output = [block.split("~") for block in text.split("|")]
    states: list[Tensor] = []
    for i, (op, parents) in enumerate(nodes):
        total = sum(cell.projections[i](x) if p == "0" else states[int(p) - 1] for p in parents.split("+"))
        if op == "maxpool3x3":
            states.append(F.max_pool2d(total, 3, 1, 1))
        elif op == "conv3x3-bn-relu":
            states.append(F.relu(normal(F.conv2d(total, cell.w3[i], padding=1))))
        else:
            states.append(F.relu(normal(F.conv2d(total, cell.w1[i]))))
    taken = output[1].split("+")
    joined = torch.cat([s if str(i) in taken else 0 * s for i, s in enumerate(states, start=1)], dim=1)
    return joined + (cell.projections[-1](x) if "0" in taken else 0)


@pytest.mark.parametrize("number", NUMBERS)
def test_gates_of_an_architecture_are_its_cell(number: int) -> None:
    net, x = nb1shot1(number), images(size=(8, 8))
    space, random = net.space, np.random.Generator(np.random.Philox(key=number))
    for _ in range(3):
        arch = random.integers(space.counts)
        y = net.stem(x)
        for i, cell in enumerate(net.cells):
            y = discrete(cell, F.max_pool2d(y, 2) if i in (3, 6) else y, space.format(arch))
        assert y.shape == (4, space.nodes * 8, 2, 2)
        expected = net.classifier(normal(net.last(F.relu(y))).mean(dim=(2, 3)))
        gates = one_hot(space, arch)
        torch.testing.assert_close(net(x, gates), expected, rtol=1e-9, atol=1e-9)
        active = gates.numpy() > 0
        torch.testing.assert_close(net(x, gates, active), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("number", NUMBERS)
def test_weights_of_parents_add_up_to_their_number(number: int) -> None:
    space = NB1Shot1(number)
    gates = mixture(space)
    gates = gates / gates.sum(dim=1, keepdim=True)
    wiring = wire(space, gates, None)
    sums = [float(sum(row)) for row in wiring.parents]
    assert sums == pytest.approx([len(choice[0]) for choice in space.choices])
    fixed = [row for row, choice in zip(wiring.parents, space.choices, strict=True) if len(choice) == 1]
    assert fixed and all(row == [1.0] * len(row) for row in fixed)


@pytest.mark.parametrize(("number", "backend"), [(1, "reference"), (2, "fused"), (3, "reference")])
def test_gate_gradient_is_the_slope(number: int, backend: str) -> None:
    net = nb1shot1(number, channels=1, backend=backend)
    x, gates = images(2, size=(6, 6)), mixture(net.space)
    _, grad, _ = slopes(net, x, gates)
    torch.testing.assert_close(grad, gate_differences(net, x, gates, 1e-6), rtol=1e-4, atol=1e-6)
    inside = torch.from_numpy(net.space.mask)
    assert (grad[~inside] == 0).all() and (grad[inside] != 0).all()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_sampled_path_is_a_mask(number: int) -> None:
    net, x = nb1shot1(number), images()
    active = np.random.Generator(np.random.Philox(key=number)).random(net.space.mask.shape) < 0.4
    gates = mixture(net.space)
    masked = slopes(net, x, gates * torch.from_numpy(active))
    sampled = slopes(net, x, gates, active)
    torch.testing.assert_close(sampled[0], masked[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sampled[2], masked[2], rtol=1e-7, atol=1e-8)
    assert (sampled[1][~active] == 0).all()
    torch.testing.assert_close(sampled[1][active], masked[1][active], rtol=1e-7, atol=1e-8)


def test_nodes_that_nothing_takes_are_not_run() -> None:
    net = nb1shot1(1, batch_norm="running")
    arch = net.space.parse("conv3x3-bn-relu~0|conv3x3-bn-relu~0+1|conv3x3-bn-relu~0+2|conv1x1-bn-relu~1+2|output~2+4")
    gates = one_hot(net.space, arch)
    net(images(), gates, gates.numpy() > 0)
    moved = (net.cells[0].mean != 0).all(dim=2)  # [node, (conv1x1, conv3x3)]
    assert moved.tolist() == [[False, True], [False, True], [False, False], [True, False]]
    net(images(), gates)
    assert (net.cells[0].mean != 0).all()  # a static graph runs all


def test_statistics_modes() -> None:
    x = images()
    batch, running = nb1shot1(2), nb1shot1(2, batch_norm="running")
    gates = mixture(batch.space)
    assert list(batch.buffers()) == []
    assert torch.equal(batch.train()(x, gates), batch.eval()(x, gates))
    torch.testing.assert_close(running.train()(x, gates), batch(x, gates))
    torch.testing.assert_close(running.eval()(x, gates)[:1], running(x[:1], gates))
    assert not torch.allclose(running(x, gates), batch(x, gates))


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (28, 28)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    net = nb1shot1(1, in_channels=1, classes=4)
    logits = net(images(channels=1, size=size), mixture(net.space))
    assert logits.shape == (4, 4) and logits.isfinite().all()


@pytest.mark.parametrize(
    ("number", "values", "message"),
    [
        (4, {}, "unknown NAS-Bench-1Shot1 space '4'"),
        ("1", {}, "unknown NAS-Bench-1Shot1 space '1'"),
        (1, {"channels": 0}, "channels is a whole number"),
        (1, {"batch_norm": "none"}, "unknown batch_norm 'none'"),
        (1, {"backend": "eager"}, "unknown backend 'eager'"),
    ],
)
def test_impossible_networks(number: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        NB1Shot1Supernet(number, **{"generator": gen(), **values})


def test_inputs_that_do_not_fit() -> None:
    net = nb1shot1(1)
    with pytest.raises(SpecError, match=r"gates have shape \(6, 5\); this space needs \(7, 10\)"):
        net(images(), torch.zeros(6, 5))
    with pytest.raises(SpecError, match="active is int64"):
        net(images(), mixture(net.space), np.ones((7, 10), dtype=np.int64))
    with pytest.raises(SpecError, match="give at least 4x4"):
        net(images(size=(2, 8)), mixture(net.space))
