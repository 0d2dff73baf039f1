"""Weights come from the given generator alone and from the distributions of the frameworks; BN is PyTorch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gpu_validation.ops import choice_block, nb201_cell
from gpu_validation.reference import nb1shot1, nb201
from gpu_validation.supernets.layers import BatchNorm, Conv, Linear, truncated_normal
from nasbench_sim.errors import SpecError

from .nets import DRAWN, gen, images


@pytest.mark.parametrize("name", DRAWN)
def test_weights_are_a_function_of_the_generator(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (DRAWN[name](gen(seed)) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    constant = ("norm.weight", "norm.bias") + (("classifier.bias",) if name == "nb101 network" else ())
    for (key, a), (_, b), (_, c) in zip(*(net.named_parameters() for net in (one, same, other)), strict=True):
        assert torch.equal(a, b) and a.dtype == torch.float32, key
        assert torch.equal(a, c) == key.endswith(constant), key


@pytest.mark.parametrize("name", DRAWN)
def test_a_network_without_numbers_has_the_same_shapes(name: str) -> None:
    drawn, meta = DRAWN[name](gen()), DRAWN[name](None)
    shapes = [{k: (t.shape, t.dtype) for k, t in net.state_dict().items()} for net in (drawn, meta)]
    assert shapes[0] == shapes[1]
    assert all(t.is_meta for t in meta.state_dict().values())


@pytest.mark.parametrize("name", ["nb201", "nb1shot1", "nb201 network"])
def test_initial_weights_are_those_of_pytorch(name: str) -> None:
    """Uniform on +-1/sqrt(fan_in): moments of every large tensor within 4 standard errors, and none outside."""
    net = DRAWN[name](gen(3))
    seen = 0
    for key, p in net.named_parameters():
        if "norm" in key or p.ndim == 1:
            continue
        bound = math.prod(p.shape[2:] if p.ndim == 5 else p.shape[1:]) ** -0.5
        u = p.detach().double().flatten() / bound
        assert u.abs().max() <= 1, key
        if u.numel() >= 500:
            seen += 1
            assert abs(float(u.mean())) < 4 / math.sqrt(3 * len(u)), key
            assert abs(float(u.square().mean()) - 1 / 3) < 4 * math.sqrt(4 / 45 / len(u)), key
    assert seen >= 3


def test_initial_weights_against_the_constructors_of_pytorch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pairs = [
            (nn.Conv2d(16, 64, 3).weight, Conv(16, 64, 3, generator=gen()).weight),
            (nn.Linear(64, 200).weight, Linear(64, 200, generator=gen()).weight),
            (nn.Linear(9, 4000).bias, Linear(9, 4000, generator=gen()).bias),
        ]
    for theirs, ours in pairs:
        assert float(ours.detach().std()) == pytest.approx(float(theirs.detach().std()), rel=0.03)
        assert float(ours.detach().max()) == pytest.approx(float(theirs.detach().max()), rel=0.01)


def test_truncated_normal_has_variance_one_over_fan_in() -> None:
    w = truncated_normal((200, 100), 25, gen()).detach().double()
    assert float(w.var()) == pytest.approx(1 / 25, rel=0.02)
    assert 0.99 < float(w.abs().max()) / (2 / 5 / 0.87962566103423978) <= 1


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("running", [True, False])
def test_batch_norm_is_that_of_pytorch(affine: bool, running: bool) -> None:
    ours = BatchNorm(3, affine=affine, running=running, momentum=0.2, generator=gen()).double()
    theirs = nn.BatchNorm2d(3, affine=affine, track_running_stats=running, momentum=0.2).double()
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        x = images() * 3 + 1
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_backends_are_imported_by_name(backend: str) -> None:
    modules = {"reference": nb201, "fused": pytest.importorskip("gpu_validation.ops.nb201_fused")}
    assert nb201_cell(backend) is modules[backend].cell
    assert choice_block(backend) is nb1shot1.choice_block


def test_triton_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'triton'", name="triton")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(SpecError, match="backend triton needs the package triton"):
        nb201_cell("triton")
