"""Stand-alone networks: the supernet at an architecture is its network, and networks against plain PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpu_validation.supernets.nb101_network import Module101, NB101Network
from gpu_validation.supernets.nb201_macro import ResidualBlock
from gpu_validation.supernets.nb201_network import NB201Network
from nasbench_sim.errors import ArchError, SpecError
from nasbench_sim.spaces import NB201, NB1Shot1
from nasbench_sim.spaces.nb101 import parse_module

from .nets import CHAIN, gen, images, nb201, one_hot

SPACE = NB201()
CELLS = [
    [1, 1, 1, 1, 1, 1],
    [3, 3, 3, 3, 3, 3],
    [0, 0, 0, 0, 0, 0],
    *np.random.Generator(np.random.Philox(key=1)).integers(5, size=(6, 6)).tolist(),
]


def of_supernet(net: nn.Module, arch: list[int]) -> NB201Network:
    """The stand-alone network with a supernet's weights and running statistics."""
    alone = NB201Network(arch, channels=3, cells=2, classes=10, generator=gen(99)).double()
    weights = net.state_dict()
    for key in alone.state_dict():
        if ".convs." not in key:
            continue
        prefix, edge, part, name = *key.split(".convs.")[:1], *key.split(".convs.")[1].split(".")
        which = arch[int(edge)] - 2  # 0: conv1x1, 1: conv3x3
        if part == "conv":
            weights[key] = weights[f"{prefix}.{('w1', 'w3')[which]}"][int(edge)]
        elif name in ("mean", "var"):
            weights[key] = weights[f"{prefix}.{name}"][int(edge), which]
        else:
            weights[key] = alone.state_dict()[key]  # BN's affine part, still the identity
    alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
    return alone


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize("arch", CELLS, ids=str)
def test_the_supernet_at_an_architecture_is_its_network(arch: list[int], backend: str) -> None:
    net = nb201(cells=2, batch_norm="running", backend=backend)
    x, gates = images(), one_hot(SPACE, arch)
    net(x, torch.full((6, 5), 0.2, dtype=torch.float64))  # statistics that are not the initial ones
    alone = of_supernet(net, arch)
    for training in (False, True, False):  # in the end with statistics that both have moved
        a = net.train(training)(x, gates, gates.numpy() > 0)
        torch.testing.assert_close(alone.train(training)(x), a, rtol=1e-9, atol=1e-9)


def test_residual_block_is_that_of_plain_layers() -> None:
    ours = ResidualBlock(3, running=True, generator=gen()).double()
    conv = [nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.Conv2d(6, 6, 3, 1, 1, bias=False), nn.Conv2d(3, 6, 1, bias=False)]
    for layer, w in zip(conv, (ours.conv_a.conv, ours.conv_b.conv, ours.shortcut), strict=True):
        layer.weight = w.weight
    a, b = (nn.Sequential(nn.ReLU(), c, nn.BatchNorm2d(6).double()) for c in conv[:2])
    shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2, padding=0), conv[2])
    x = images()
    torch.testing.assert_close(ours(x), shortcut(x) + b(a(x)))
    assert ours(images(size=(7, 5))).shape == (4, 6, 4, 3)


def test_a_cell_as_string_or_numbers() -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    one, two = (NB201Network(a, channels=2, cells=1, classes=4, generator=gen()) for a in (text, SPACE.parse(text)))
    x = images().float()
    assert torch.equal(one(x), two(x))


@pytest.mark.parametrize("arch", ["|conv~0|", [0, 1, 2], [0, 0, 0, 0, 0, 5], [0.5] * 6, None])
def test_what_is_no_cell(arch: Any) -> None:
    with pytest.raises(ArchError):
        NB201Network(arch, classes=10, generator=gen())


def module(text: str, inputs: int = 4, outputs: int = 4) -> Module101:
    """A module of a few channels in float64."""
    return Module101(parse_module(text), inputs, outputs, generator=gen()).double()


def test_a_module_of_pools_is_a_chain() -> None:
    m, x = module("4:100101:ippo"), images(channels=4)
    pooled = F.max_pool2d(m.projections["1"](x), 5, stride=1, padding=2)  # two of 3 are one of 5
    torch.testing.assert_close(m(x), pooled)
    assert list(m.vertices) == []


def test_input_to_output_is_projected_and_added() -> None:
    m, x = module("3:111:i3o"), images(channels=4)
    expected = m.vertices["1"](m.projections["1"](x)) + m.projections["2"](x)
    torch.testing.assert_close(m(x), expected)
    bare = module("2:1:io", outputs=8)
    torch.testing.assert_close(bare(x), bare.projections["1"](x))
    assert list(bare.projections) == ["1"]


def test_channels_are_shared_and_surplus_ones_dropped() -> None:
    """Vertices 1, 2, 3 share 5 channels as 2, 2, 1; the edge from 2 to 3 drops one channel."""
    m, x = module("5:1010101111:i311o", outputs=5), images(channels=4)
    assert m.widths == [0, 2, 2, 1, 5]
    v1 = m.vertices["1"](m.projections["1"](x))
    v2 = m.vertices["2"](v1)
    v3 = m.vertices["3"](v2[:, :1] + m.projections["3"](x))
    torch.testing.assert_close(m(x), torch.cat([v1, v2, v3], dim=1))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_networks_of_nb1shot1_cells(number: int) -> None:
    space = NB1Shot1(number)
    arch = np.random.Generator(np.random.Philox(key=number)).integers(space.counts)
    net = NB101Network(*space.module(arch), stem=4, classes=7, in_channels=1, generator=gen()).double()
    logits = net(images(channels=1, size=(9, 9)))
    assert logits.shape == (4, 7) and logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())  # nothing is there that does not compute


def test_what_is_no_module() -> None:
    matrix, ops = CHAIN
    for bad, names, message in [
        (np.triu(np.ones((5, 5)), 1), ["input", *ops[1:2] * 3, "output"], "at most 9 edges"),
        (matrix, ["input", "conv5x5", "output"], "unknown operation 'conv5x5'"),
        (np.zeros((3, 3)), ops, "not reached"),
        (np.ones((3, 3)), ops, "upper triangular"),
        (matrix, ops[:2], "3 operations"),
    ]:
        with pytest.raises(ArchError, match=message):
            NB101Network(bad, names, generator=None)
    shared = parse_module("4:111011:i33o")
    with pytest.raises(SpecError, match="1 channels are too few"):
        NB101Network(*shared, stem=1, generator=gen())
    with pytest.raises(SpecError, match="stem is a whole number"):
        NB101Network(matrix, ops, stem=0, generator=gen())
    with pytest.raises(SpecError, match=r"takes \[batch, 3, height, width\]"):
        NB101Network(matrix, ops, stem=2, generator=gen())(torch.zeros(1, 1, 8, 8))
