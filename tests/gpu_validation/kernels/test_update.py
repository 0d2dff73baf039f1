"""The stacked Adam and VAdam step has the bits of nasbench_sim's updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers.base import Estimate
from nasbench_sim.searchers.updates import SGD, Adam, VAdam

RULES = [
    Adam(),
    Adam(lr=0.1, betas=(0.9, 0.99), weight_decay=0.0),
    VAdam(),
    VAdam(denominator="plain"),
    VAdam(denominator="plain", second_rate=1e-3, init_precision=1.0, noise_scale=0.0),
]


def step() -> Any:
    from gpu_validation.ops import stacked_update

    return stacked_update


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{type(r).__name__}-{getattr(r, 'denominator', r.betas)}")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(70, 6, 5), (1, 3, 7)], ids=str)
def test_five_steps_bit_for_bit(rule: Any, dtype: str, shape: tuple[int, ...], device: str) -> None:
    random = np.random.default_rng(0)
    alpha: Any = random.normal(size=shape).astype(dtype)
    slots = rule.init(alpha)
    there = torch.from_numpy(alpha).to(device)
    memory = step().stacked_init(rule, there)
    before = there.clone()
    for _ in range(5):
        grad = random.normal(size=shape).astype(dtype)
        square = (random.normal(size=shape) ** 2 if isinstance(rule, VAdam) else grad**2).astype(dtype)
        alpha, slots = rule.apply(alpha, Estimate(grad[:, 0, 0], grad, square, grad), slots)
        grads = [torch.from_numpy(g).to(device) for g in (grad, square)]
        there, memory = step().stacked_update(rule, there, grads[0], memory, grads[1])
    assert np.array_equal(there.cpu().numpy(), alpha)
    assert set(memory) == set(slots)
    for name, slot in slots.items():
        assert np.array_equal(memory[name].cpu().numpy(), slot), name
    assert not torch.equal(before, there)


def test_a_search_restarted_alone_has_its_own_clock(device: str) -> None:
    rule, random = Adam(), np.random.default_rng(1)
    grads = torch.from_numpy(random.normal(size=(3, 4, 2, 3)).astype("float32")).to(device)
    alpha = torch.zeros(4, 2, 3, device=device)
    memory = step().stacked_init(rule, alpha)
    for grad in grads[:2]:
        alpha, memory = step().stacked_update(rule, alpha, grad, memory)
    fresh = step().stacked_init(rule, alpha)
    for name in memory:
        memory[name][1] = fresh[name][1]
    alpha[1] = 0.0
    alpha, memory = step().stacked_update(rule, alpha, grads[2], memory)
    alone, _ = step().stacked_update(rule, torch.zeros(4, 2, 3, device=device), grads[2], fresh)
    assert torch.equal(alpha[1], alone[1]) and not torch.equal(alpha[0], alone[0])
    assert memory["power1"].tolist() == [0.125, 0.5, 0.125, 0.125]


def test_bad_input_is_refused(device: str) -> None:
    update, start = step().stacked_update, step().stacked_init
    alpha = torch.zeros(2, 6, 5, device=device)
    slots = start(Adam(), alpha)
    half = torch.zeros(2, 6, 5, device=device, dtype=torch.float16)
    for said, arguments in {
        "is Adam or VAdam, got SGD": (SGD(), alpha, alpha, slots),
        "slots lack s": (VAdam(), alpha, alpha, slots, alpha),
        "VAdam needs `square`": (VAdam(), alpha, alpha, start(VAdam(), alpha)),
        "grad has shape": (Adam(), alpha, alpha[:1], slots),
        "grad holds": (Adam(), alpha, alpha.double(), slots),
        r"float32 or float64 \[S, D, K\]": (Adam(), half, half, slots),
        "power1 has shape": (Adam(), alpha, alpha, {**slots, "power1": slots["power1"][:1]}),
        "power1 and power2 are float64": (Adam(), alpha, alpha, {**slots, "power2": slots["power2"].float()}),
    }.items():
        with pytest.raises(SpecError, match=said):
            update(*arguments)
