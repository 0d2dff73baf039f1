"""The Triton cell is the reference's function and gradients: all shapes, layouts, precisions, options, edge cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gpu_validation.kernels import shapes
from gpu_validation.reference import nb201 as reference
from gpu_validation.reference.nb201 import CONV1, CONV3, POOL, SKIP
from tests.gpu_validation.kernels.helpers import DTYPES, Inputs, compare, needs, run


def cell(*args: Any, **kwargs: Any) -> torch.Tensor:
    """Imported late: Triton must not be imported before the conftest has set its interpreter."""
    from gpu_validation.ops.nb201_triton import cell as function

    out: torch.Tensor = function(*args, **kwargs)
    return out


def only(*options: int) -> np.ndarray[Any, Any]:
    """All edges run these options alone."""
    active = np.zeros((6, 5), dtype=bool)
    active[:, list(options)] = True
    return active


@pytest.fixture
def one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger tiles: the interpreter's time is per operation, not per element."""
    monkeypatch.setattr(shapes, "ELEMENTS", 16384)


@pytest.mark.parametrize("shape", [(5, 3, 7, 8), (1, 16, 8, 7), (5, 17, 1, 7), (5, 16, 1, 1), (1, 3, 8, 1)], ids=str)
def test_odd_shapes(shape: tuple[int, ...], device: str) -> None:
    compare(cell, Inputs(shape, torch.float32, device))


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("shape", [(5, 17, 1, 7), (1, 3, 8, 8)], ids=str)
def test_16_bits(dtype: torch.dtype, shape: tuple[int, ...], device: str) -> None:
    needs(dtype)
    compare(cell, Inputs(shape, dtype, device))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_size_of_cifar(dtype: torch.dtype, device: str, one_program: None) -> None:
    needs(dtype)
    compare(cell, Inputs((1, 16, 32, 32), dtype, device))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_to_the_last_bits_where_no_rectifier_flips(dtype: torch.dtype, device: str) -> None:
    needs(dtype)
    given = Inputs((2, 16, 5, 7), dtype, device)
    given.x = given.x.abs() + 1
    given.gates = given.gates.abs() / 20
    given.gates[:, SKIP] = 2.0  # every node is at least twice its input but for a normalised convolution / 20
    compare(cell, given, flips=False)


def test_several_tiles_a_program_and_channels_beyond_a_block(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "PROGRAMS", 2)
    monkeypatch.setattr(shapes, "MAX_BLOCK_C", 8)
    monkeypatch.setattr(shapes, "ELEMENTS", 256)
    assert shapes.blocks(9) == (32, 8) and shapes.split(70, 32) == (2, 2)  # 3 tiles, the fourth is beyond the end
    active = only(SKIP, CONV1, CONV3, POOL)
    active[[0, 2, 3]] = False  # 0->2 and 1->3, 2->3: two inputs, and nodes without any
    compare(cell, Inputs((2, 9, 5, 7), torch.float32, device), active=active)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "broadcast gradient"])
def test_memory_layouts(layout: str, device: str) -> None:
    given = Inputs((2, 3, 5, 7), torch.float32, device)
    if layout == "channels_last":
        given.x = given.x.contiguous(memory_format=torch.channels_last)
        given.grad = given.grad.contiguous(memory_format=torch.channels_last)
    elif layout == "transposed":
        given.x = given.x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
        given.w3 = given.w3.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "sliced":
        given.x = torch.cat([given.x, given.x], 3)[..., :7]
        assert not given.x.is_contiguous()
    else:
        given.grad = given.grad[:1].expand(given.x.shape)
        given.gates = given.gates.T.contiguous().T
    compare(cell, given)


@pytest.mark.parametrize("option", [SKIP, CONV1, CONV3, POOL])
def test_one_option_on_every_edge(option: int, device: str) -> None:
    given = Inputs((2, 3, 7, 8), torch.float32, device)
    *_, dgates = compare(cell, given, active=only(option))
    others = [k for k in range(5) if k != option]
    assert (dgates[:, others] == 0).all() and (dgates[:, option] != 0).all()


def test_sampled_and_pruned_cells(device: str) -> None:
    random = np.random.default_rng(3)
    for density in (0.2, 0.6):
        active = random.random((6, 5)) < density
        active[3, SKIP] = True
        given = Inputs((2, 3, 4, 5), torch.float32, device, seed=int(10 * density))
        _, _, dw1, dw3, dgates = compare(cell, given, active=active)
        assert (dgates.cpu()[~torch.from_numpy(active)] == 0).all()
        assert (dw1[~active[:, CONV1]] == 0).all() and (dw3[~active[:, CONV3]] == 0).all()


def test_nothing_active_is_zero(device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    for tensor in run(cell, given, active=np.zeros((6, 5), dtype=bool)):
        assert (tensor == 0).all()


def test_what_is_not_active_is_not_run(device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    given.w3[:] = float("nan")
    for tensor in run(cell, given, active=only(SKIP, CONV1, POOL)):
        assert torch.isfinite(tensor).all()


def test_zero_weights_are_dead_convolutions(device: str) -> None:
    given = Inputs((2, 3, 7, 8), torch.float32, device)
    given.w1[:], given.w3[2:] = 0.0, 0.0
    _, _, _, _, dgates = compare(cell, given)
    assert (dgates[:, CONV1] == 0).all()


def test_constant_channels(device: str) -> None:
    """r is the constant over sqrt(eps), about 300 times as large: rounding is all that is left of such a channel."""
    given = Inputs((5, 3, 4, 4), torch.float32, device)
    given.x[:, 1] = 1.0
    given.w1[3, 0] = 0.0
    given.w1[3, 0, 1] = 1.0  # edge 0->3 puts that channel through unchanged
    active = np.zeros((6, 5), dtype=bool)
    active[3, 1:] = True
    compare(cell, given, stages=(1, 2), active=active)


def test_same_bits_every_time(device: str) -> None:
    given = Inputs((2, 3, 4, 4), torch.float32, device)
    for a, b in zip(run(cell, given), run(cell, given), strict=True):
        assert torch.equal(a, b)


def _moved(function: Any, given: Inputs, device: str, **options: Any) -> tuple[list[torch.Tensor], Any]:
    double = function is reference.cell
    kind = torch.float64 if double else torch.float32
    place = "cpu" if double else device
    c = given.channels
    mean = torch.linspace(-1, 1, 12 * c).to(kind).to(place).view(6, 2, c)
    stats = reference.RunningStats(mean, torch.linspace(0.5, 2, 12 * c).to(kind).to(place).view(6, 2, c))
    return run(function, given, double=double, stats=stats, **options), stats


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sampled", [False, True])
def test_running_statistics_move_and_are_used_as_in_the_reference(training: bool, sampled: bool, device: str) -> None:
    given = Inputs((5, 3, 4, 5), torch.float32, device)
    active = np.ones((6, 5), dtype=bool)
    if sampled:
        active[[0, 3], CONV3] = active[4, CONV1] = False
    got, stats = _moved(cell, given, device, training=training, active=active)
    wanted, truth = _moved(reference.cell, given, device, training=training, active=active)
    for a, b in zip([*got, *stats], [*wanted, *truth], strict=True):
        assert torch.allclose(a.cpu().double(), b, rtol=2e-5, atol=2e-5)
    assert torch.equal(stats.mean.cpu(), truth.mean.float()) == (not training)


@pytest.mark.gpu
def test_no_mask_or_gate_compiles_anything_anew(device: str) -> None:
    if device == "cpu":
        pytest.skip("nothing is compiled without a GPU")
    from gpu_validation.kernels.node import node_kernel

    def compiled() -> int:
        return sum(len(cache[0]) for cache in node_kernel.device_caches.values())

    given = Inputs((5, 16, 8, 8), torch.float32, device)
    run(cell, given)
    before, random = compiled(), np.random.default_rng(0)
    for _ in range(20):
        run(cell, given, active=random.random((6, 5)) < 0.5)
    assert compiled() == before
