"""The fused cell against the reference: outputs, all gradients, moved statistics, derivatives of derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from gpu_validation.ops import nb201_fused  # noqa: E402
from gpu_validation.ops._nb201_algebra import algebraic_cell, inverse_counts, pool  # noqa: E402
from gpu_validation.reference import nb201  # noqa: E402
from gpu_validation.reference.nb201 import CONV1, CONV3, NONE, POOL, SKIP, RunningStats  # noqa: E402
from nasbench_sim.errors import SpecError  # noqa: E402

NAMES = ("output", "x", "w1", "w3", "gates")
SHAPES = [(1, 3, 1, 2), (1, 3, 7, 7), (5, 16, 8, 8), (2, 17, 8, 5), (3, 1, 5, 5), (2, 16, 32, 32)]


def arguments(shape: tuple[int, ...], seed: int = 0, dtype: Any = torch.float64) -> list[Any]:
    """x, w1, w3, gates of unit scale, drawn in float64 so that both precisions start from the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    c = shape[1]
    sizes = (shape, (6, c, c, 1, 1), (6, c, c, 3, 3), (6, 5))
    draw = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    draw[1] /= c**0.5
    draw[2] /= (9 * c) ** 0.5
    return [t.to(torch.float32).to(dtype).requires_grad_() for t in draw]


def run(cell: Callable[..., Any], args: list[Any], **options: Any) -> dict[str, Any]:
    """Output and the gradients of a fixed random functional of it."""
    generator = torch.Generator().manual_seed(99)
    out = cell(*args, options.pop("stats", None), **options)
    direction = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    if not out.requires_grad:
        return {"output": out, **{n: torch.zeros_like(a) for n, a in zip(NAMES[1:], args, strict=True)}}
    grads = torch.autograd.grad(out, args, direction, allow_unused=True, materialize_grads=True)
    return dict(zip(NAMES, (out.detach(), *grads), strict=True))


def rms(a: Any, b: Any) -> float:
    """Relative root mean square distance of `a` from `b`, in float64."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm()) if b.norm() > 0 else float(a.norm())


def same(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    for name in NAMES:
        assert found[name].shape == expected[name].shape
        assert rms(found[name], expected[name]) <= tolerance, name


# A sum of n terms in another order differs by about sqrt(n) u; the longest here is a BN sum or a weight gradient, with
# n <= B H W = 2048: sqrt(n) u = 5e-15. Weight gradients lose digits where BN makes their sums cancel: with 2 values a
# channel BN(z) is +-1 whatever the weights are, their gradient is nearly 0, and its relative error is 2e-13. A factor
# 500 is left for draws of hypothesis that are worse still.
FLOAT64 = 1e-10


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float64_equals_the_reference(shape: tuple[int, ...]) -> None:
    same(run(nb201_fused.cell, arguments(shape)), run(nb201.cell, arguments(shape)), FLOAT64)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_float32_is_as_near_to_float64_as_the_reference_is(shape: tuple[int, ...]) -> None:
    """Both round the same sums in different orders, so errors are alike: 4 times the other's, plus 8 roundings."""
    exact = run(nb201.cell, arguments(shape))
    found = run(nb201_fused.cell, arguments(shape, dtype=torch.float32))
    plain = run(nb201.cell, arguments(shape, dtype=torch.float32))
    for name in NAMES:
        bound = 4 * rms(plain[name], exact[name]) + 8 * 2.0**-24
        assert found[name].dtype == torch.float32
        assert rms(found[name], exact[name]) <= bound, name


@pytest.mark.parametrize("how", ["channels_last", "sliced", "transposed"])
def test_memory_formats_of_the_input(how: str) -> None:
    wide = torch.randn(3, 8, 6, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = {
        "channels_last": wide[:, :4, :, :6].contiguous(memory_format=torch.channels_last),
        "sliced": wide[:, ::2, :, ::2],
        "transposed": wide[:, :4, :, :6].transpose(2, 3),
    }[how]
    args = [x.detach().requires_grad_(), *arguments((3, 4, 6, 6))[1:]]
    same(run(nb201_fused.cell, args), run(nb201.cell, args), FLOAT64)


@given(st.lists(st.booleans(), min_size=30, max_size=30), st.sampled_from(["none", "train", "eval"]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_any_set_of_active_options(flags: list[bool], mode: str, seed: int) -> None:
    active = np.array(flags).reshape(6, 5)
    results, buffers = [], []
    for cell in (nb201_fused.cell, nb201.cell):
        stats = None if mode == "none" else statistics(3)
        results.append(run(cell, arguments((2, 3, 4, 5), seed), stats=stats, training=mode == "train", active=active))
        buffers.append(stats)
    same(*results, FLOAT64)
    assert not results[0]["gates"][~torch.from_numpy(active)].any()
    if mode != "none":
        for moved, expected in zip(*buffers, strict=True):
            torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-14)


def statistics(channels: int) -> RunningStats:
    generator = torch.Generator().manual_seed(7)
    shape = (6, 2, channels)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    return RunningStats(mean, torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_moved_as_the_reference_moves_them(training: bool) -> None:
    ours, theirs, before = statistics(4), statistics(4), statistics(4)
    for seed in range(3):  # several batches, the buffers carried on
        found = run(nb201_fused.cell, arguments((4, 4, 6, 6), seed), stats=ours, training=training)
        same(found, run(nb201.cell, arguments((4, 4, 6, 6), seed), stats=theirs, training=training), FLOAT64)
    for moved, expected, old in zip(ours, theirs, before, strict=True):
        torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-14)
        assert (moved == old).all() != training


def test_constant_channels_and_zero_weights_and_gates() -> None:
    """A channel without variance is normalised by sqrt(eps): no infinity, and the reference's numbers."""
    args = arguments((2, 4, 6, 6))
    with torch.no_grad():
        args[0][:, 1] = 3.0
        args[0][:, 2] = -1.0
        args[1][0], args[2][1] = 0.0, 0.0
        args[3][3] = 0.0
    found = run(nb201_fused.cell, args)
    same(found, run(nb201.cell, args), FLOAT64)
    assert all(torch.isfinite(t).all() for t in found.values())
    assert found["gates"][3, SKIP] != 0  # a gate of 0 has a gradient all the same


def test_only_wanted_gradients_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture step wants no weight gradient, a weight step no gate gradient: neither pays for the other."""
    x, w1, w3, gates = arguments((2, 4, 6, 6))
    weights: list[int] = []
    reductions: list[bool] = []
    gradient, normalise = nb201_fused._weight_gradient, nb201_fused._normalise_backward

    def counted(*args: Any) -> Any:
        weights.append(1)
        return gradient(*args)

    def watched(*args: Any) -> Any:
        reductions.append(args[-1])
        return normalise(*args)

    monkeypatch.setattr(nb201_fused, "_weight_gradient", counted)
    monkeypatch.setattr(nb201_fused, "_normalise_backward", watched)
    expected = run(nb201.cell, [x, w1, w3, gates])
    (found,) = torch.autograd.grad(nb201_fused.cell(x.detach(), w1.detach(), w3.detach(), gates).square().sum(), gates)
    (other,) = torch.autograd.grad(nb201.cell(x.detach(), w1.detach(), w3.detach(), gates).square().sum(), gates)
    assert rms(found, other) < FLOAT64 and weights == [] and reductions == [True] * 12
    reductions.clear()
    out = nb201_fused.cell(x, w1, w3, gates.detach())
    torch.autograd.grad(out, [x, w1, w3], torch.ones_like(out))
    assert len(weights) == 12 and reductions == [False] * 12 and expected["output"].equal(nb201.cell(x, w1, w3, gates))


def test_inactive_options_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, int]] = []
    convolve = nb201_fused._convolve

    def watched(r: Any, w1: Any, w3: Any, edge: int, option: int, stats: Any) -> Any:
        ran.append((edge, option))
        return convolve(r, w1, w3, edge, option, stats)

    monkeypatch.setattr(nb201_fused, "_convolve", watched)
    active = np.zeros((6, 5), dtype=bool)
    active[0, CONV3] = active[4, CONV1] = active[3, SKIP] = active[5, NONE] = True
    x, w1, w3, gates = arguments((2, 4, 6, 6))
    poisoned = w3.detach().clone()
    poisoned[1:] = float("nan")
    out = nb201_fused.cell(x, w1, poisoned, gates, active=active)
    assert ran == [(0, CONV3), (4, CONV1)] and torch.isfinite(out).all()


def test_the_backward_pass_can_be_run_twice() -> None:
    args = arguments((2, 4, 6, 6))
    out = nb201_fused.cell(*args)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    kept = [t.detach().clone() for t in (*args, out, direction)]
    first = torch.autograd.grad(out, args, direction, retain_graph=True)
    again = torch.autograd.grad(out, args, direction)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert all(a.equal(b) for a, b in zip(kept, (*args, out, direction), strict=True))  # nothing was written to


def test_weights_changed_before_the_backward_pass_are_noticed() -> None:
    args = arguments((2, 4, 6, 6))
    for changed in args:
        out = nb201_fused.cell(*args)
        with torch.no_grad():
            changed.mul_(1.5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_gradcheck_and_gradgradcheck() -> None:
    args = [a.detach().requires_grad_() for a in arguments((2, 2, 3, 3), seed=2)]
    assert torch.autograd.gradcheck(nb201_fused.cell, args, eps=1e-6, atol=1e-5, rtol=1e-4)
    assert torch.autograd.gradgradcheck(nb201_fused.cell, args, eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_second_derivatives_through_two_cells() -> None:
    """The second cell's input depends on the gates as well: no path may be counted twice."""
    found = []
    for cell in (nb201_fused.cell, nb201.cell):
        x, w1, w3, gates = arguments((2, 3, 4, 4))
        value = cell(cell(x, w1, w3, gates), w1, w3, gates).pow(3).mean()
        (slope,) = torch.autograd.grad(value, gates, create_graph=True)
        direction = torch.linspace(-1, 1, 30, dtype=torch.float64).view(6, 5)
        found.append((slope.detach(), *torch.autograd.grad((slope * direction).sum(), [gates, w3, x])))
    for ours, theirs in zip(*found, strict=True):
        assert rms(ours, theirs) < FLOAT64


def test_second_derivatives_where_nothing_is_active() -> None:
    args = arguments((2, 3, 4, 4))
    out = nb201_fused.cell(*args, active=np.zeros((6, 5), dtype=bool))
    (slope,) = torch.autograd.grad(out.sum(), args[3], create_graph=True)
    assert not out.any() and not slope.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_takes_the_algebraic_path(dtype: Any) -> None:
    """Errors are within twice the reference's own in that precision, plus 8 of its roundings."""
    exact = run(nb201.cell, arguments((2, 8, 8, 8)))["output"]
    args = arguments((2, 8, 8, 8), dtype=dtype)
    out, plain = nb201_fused.cell(*args), nb201.cell(*args)
    assert out.dtype == plain.dtype == dtype
    assert rms(out, exact) <= 2 * rms(plain, exact) + 8 * torch.finfo(dtype).eps / 2


def test_autocast_is_heeded() -> None:
    args = arguments((2, 8, 8, 8), dtype=torch.float32)
    exact = run(nb201.cell, arguments((2, 8, 8, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        found, plain = run(nb201_fused.cell, args), run(nb201.cell, args)
    for name in NAMES:
        error = rms(found[name], exact[name])
        assert error <= 2 * rms(plain[name], exact[name]) + 8 * 2.0**-8, name
    assert rms(found["output"], exact["output"]) > 1e-4  # it did compute in bfloat16


def test_autocast_and_inference_leave_nothing_behind() -> None:
    """Window counts are cached by size and type: those made under autocast or in inference mode serve training."""
    inverse_counts.cache_clear()
    args = arguments((2, 4, 9, 11), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        nb201_fused.cell(*args)
    exact = run(nb201.cell, arguments((2, 4, 9, 11)))
    assert rms(run(nb201_fused.cell, args)["output"], exact["output"]) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pool_is_average_pooling(size: tuple[int, int], dtype: Any) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    expected = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(pool(x), expected)


def test_the_algebraic_path_equals_the_reference() -> None:
    def algebra(x: Any, w1: Any, w3: Any, gates: Any, stats: Any, **options: Any) -> Any:
        return algebraic_cell(x, w1, w3, gates, stats, training=True, active=None)

    same(run(algebra, arguments((5, 16, 8, 8))), run(nb201.cell, arguments((5, 16, 8, 8))), FLOAT64)


def test_wrong_arguments_are_refused() -> None:
    x, w1, w3, gates = arguments((2, 3, 4, 4))
    for args, said in [
        ((x[0], w1, w3, gates), r"input has shape \(3, 4, 4\)"),
        ((x, w1[:5], w3, gates), r"w1 has shape \(5, 3, 3, 1, 1\); this input needs \(6, 3, 3, 1, 1\)"),
        ((x, w1, w3[:, :, :2], gates), r"w3 has shape"),
        ((x, w3, w1, gates), r"w1 has shape"),
        ((x, w1, w3, gates.T), r"gates have shape \(5, 6\)"),
    ]:
        with pytest.raises(SpecError, match=said):
            nb201_fused.cell(*args)
    with pytest.raises(SpecError, match="active has shape"):
        nb201_fused.cell(x, w1, w3, gates, active=np.ones((5, 6), dtype=bool))
    one = arguments((1, 3, 1, 1))
    for cell in (nb201.cell, nb201_fused.cell):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            cell(*one)
    alone = np.zeros((6, 5), dtype=bool)
    alone[:, (SKIP, POOL)] = True
    assert rms(nb201_fused.cell(*one, active=alone), nb201.cell(*one, active=alone)) < FLOAT64
