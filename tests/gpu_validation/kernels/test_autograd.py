"""The operations as citizens of autograd: finite differences, two backward passes, no second derivative, bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_validation.reference.nb201 import RunningStats
from nasbench_sim.errors import RunError, SpecError
from tests.gpu_validation.kernels.helpers import Inputs, error, run


def operation(name: str) -> Callable[..., Tensor]:
    """`cell` or `choice`."""
    from gpu_validation.ops.choice_triton import choice_block
    from gpu_validation.ops.nb201_triton import cell

    found: Callable[..., Tensor] = {"cell": cell, "choice": choice_block}[name]
    return found


def inputs(name: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Inputs:
    """Of that operation."""
    return Inputs(shape, dtype, device, edges=6 if name == "cell" else 0)


NAMES = pytest.mark.parametrize("name", ["cell", "choice"])


@NAMES
@pytest.mark.parametrize("by_batch", [True, False], ids=["batch", "running"])
def test_gradcheck_in_float64(name: str, by_batch: bool, device: str) -> None:
    given = inputs(name, (2, 2, 2, 3), torch.float64, device)
    given.gates = given.gates.double()
    lead = (6, 2) if name == "cell" else (2,)
    stats = RunningStats(*(torch.full((*lead, 2), v, dtype=torch.float64, device=device) for v in (0.1, 0.7)))
    leaves = [t.requires_grad_() for t in (given.x, given.w1, given.w3, given.gates)]
    options: dict[str, Any] = {} if by_batch else {"stats": stats, "training": False}
    assert torch.autograd.gradcheck(
        lambda *a: operation(name)(*a, **options), leaves, fast_mode=True, check_undefined_grad=False
    )


@NAMES
def test_two_backward_passes_give_the_same_bits(name: str, device: str) -> None:
    given = inputs(name, (2, 3, 3, 4), torch.float32, device)
    leaves = [t.requires_grad_() for t in (given.x, given.w1, given.w3, given.gates)]
    out = operation(name)(*leaves)
    kept = [out.detach().clone(), given.grad.clone()]
    first = torch.autograd.grad(out, leaves, given.grad, retain_graph=True)
    second = torch.autograd.grad(out, leaves, given.grad)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(out, kept[0]) and torch.equal(given.grad, kept[1])
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(out, leaves, given.grad)


@NAMES
def test_a_second_derivative_is_refused_with_the_way_out(name: str, device: str) -> None:
    given = inputs(name, (2, 3, 3, 4), torch.float32, device)
    leaves = [t.requires_grad_() for t in (given.x, given.w1, given.w3, given.gates)]
    out = operation(name)(*leaves)
    grads = torch.autograd.grad(out, leaves, given.grad, create_graph=True)
    for plain, graph in zip(torch.autograd.grad(operation(name)(*leaves), leaves, given.grad), grads, strict=True):
        assert torch.equal(plain, graph)
    for grad in grads:
        with pytest.raises(RunError, match="backend='reference'"):
            torch.autograd.grad(grad.sum(), leaves, retain_graph=True)


@NAMES
@pytest.mark.parametrize("wanted", [(1, 2), (3,)], ids=["weights", "gates"])  # the two kinds of step
def test_a_gradient_does_not_depend_on_which_others_are_asked_for(
    name: str, wanted: tuple[int, ...], device: str
) -> None:
    given = inputs(name, (2, 3, 3, 4), torch.float32, device)
    tensors = [given.x, given.w1, given.w3, given.gates]
    every = run(operation(name), given)[1:]
    leaves = [t.detach().requires_grad_(k in wanted) for k, t in enumerate(tensors)]
    found = torch.autograd.grad(operation(name)(*leaves), [leaves[k] for k in wanted], given.grad)
    assert all(torch.equal(a, every[k]) for a, k in zip(found, wanted, strict=True))


@NAMES
def test_a_weight_changed_before_backward_is_noticed(name: str, device: str) -> None:
    given = inputs(name, (2, 3, 3, 4), torch.float32, device)
    leaf = given.w1.requires_grad_()
    out = operation(name)(given.x, leaf, given.w3, given.gates)
    with torch.no_grad():
        leaf.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_autocast_computes_in_its_precision_and_returns_gradients_in_theirs(device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    exact = run(operation("cell"), given)
    with torch.autocast(device, torch.float16):
        half = run(lambda *a: operation("cell")(*a).float(), given)
        assert operation("cell")(given.x, given.w1, given.w3, given.gates).dtype == torch.float16
    for a, b in zip(half, exact, strict=True):
        assert a.dtype == torch.float32 and 0 < error(a, b) < 0.05


def test_learning_goes_down(device: str) -> None:
    """Three steps of gradient descent on weights and gates lower a squared loss: signs and scales fit together."""
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    leaves = [t.requires_grad_() for t in (given.w1, given.w3, given.gates)]
    losses = []
    for _ in range(3):
        loss = (operation("cell")(given.x, *leaves) - given.grad).square().mean()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for leaf, grad in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                leaf -= 0.02 * grad
    assert losses[2] < losses[1] < losses[0]


BAD: list[tuple[str, Callable[[Inputs], Any], str]] = [
    ("rank", lambda g: setattr(g, "x", g.x[0]), "asked for"),
    ("empty", lambda g: setattr(g, "x", g.x[:0]), "all at least 1"),
    ("w1", lambda g: setattr(g, "w1", g.w1[:, :2]), r"w1 has shape .* and \[6, 3, 3, 1, 1\] is asked for"),
    ("w3", lambda g: setattr(g, "w3", g.w1), "w3 has shape"),
    ("gates", lambda g: setattr(g, "gates", g.gates[:5]), r"gates has shape \[5, 5\]"),
    ("integers", lambda g: setattr(g, "gates", g.gates.long()), "floating-point"),
    ("precision", lambda g: setattr(g, "w3", g.w3.half()), "convert one of them"),
    ("complex", lambda g: setattr(g, "x", g.x.to(torch.complex64)), "computes in float16, bfloat16"),
    ("one value", lambda g: setattr(g, "x", g.x[:1, :, :1, :1]), "more than one value a channel"),
    ("device", lambda g: setattr(g, "w1", g.w1.to("meta")), "w1 is on meta"),
]


@pytest.mark.parametrize(("what", "spoil", "said"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_is_refused_in_one_line(what: str, spoil: Callable[[Inputs], Any], said: str, device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    spoil(given)
    with pytest.raises(SpecError, match=said) as caught:
        operation("cell")(given.x, given.w1, given.w3, given.gates)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("active", [np.ones((5, 6), dtype=bool), np.ones((6, 5)), np.full((6, 5), 2)], ids=str)
def test_bad_masks_and_statistics_are_refused(active: Any, device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    with pytest.raises(SpecError, match=r"active is .* bool\[6, 5\]"):
        operation("cell")(given.x, given.w1, given.w3, given.gates, active=active)
    short = RunningStats(torch.zeros(6, 2, 4, device=device), torch.ones(6, 2, 3, device=device))
    with pytest.raises(SpecError, match=r"stats\.mean has shape"):
        operation("cell")(given.x, given.w1, given.w3, given.gates, short)
    given = Inputs((2, 3, 4, 4), torch.float32, device, edges=0)
    with pytest.raises(SpecError, match=r"active is .* bool\[3\]"):
        operation("choice")(given.x, given.w1, given.w3, given.gates, active=active)


def test_a_cpu_without_the_interpreter_is_one_line() -> None:
    code = (
        "from torch import ones\nfrom gpu_validation.ops.nb201_triton import cell\n"
        "from nasbench_sim.errors import SpecError\n"
        "try:\n    cell(ones(2, 3, 4, 4), ones(6, 3, 3, 1, 1), ones(6, 3, 3, 3, 3), ones(6, 5))\n"
        "except SpecError as error:\n    print(error)"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stderr == "" and done.stdout.count("\n") == 1
    assert "runs on a CUDA device and this tensor is on 'cpu'" in done.stdout and "backend='fused'" in done.stdout
