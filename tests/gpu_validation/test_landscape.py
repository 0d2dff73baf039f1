"""The supernet keeps the contract of a landscape: pure, row by row, bit for bit, with true gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpu_validation import second_order
from gpu_validation.data import load_dataset
from gpu_validation.landscape import SupernetLandscape
from gpu_validation.slab import Slab
from gpu_validation.supernets import make_supernet
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.landscapes import LandscapeState, Paths
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.base import replace, rows
from tests.gpu_validation.tiny import HORIZON, SEEDS, landscape, mixture, settings

LAND = landscape()
WIDE = landscape(precision="float64", backend="reference", curvature=1)


def flat(state: LandscapeState) -> dict[str, np.ndarray]:
    parts = {k: np.asarray(v) for k, v in state._asdict().items() if k != "extra"}
    return {**parts, **{k: np.asarray(v) for k, v in state.extra.items()}}


def same(a: LandscapeState, b: LandscapeState) -> bool:
    x, y = flat(a), flat(b)
    return set(x) == set(y) and all(x[k].dtype == y[k].dtype and np.array_equal(x[k], y[k]) for k in x)


def trained(land: Any = LAND, seeds: np.ndarray = SEEDS, steps: int = 3) -> LandscapeState:
    state = land.init(seeds, HORIZON)
    for i in range(steps):
        theta = mixture(i, len(seeds), land)[: len(seeds)]
        state = land.train_weights(state, np.broadcast_to(theta[:1], theta.shape), 1)
    return state


@pytest.mark.parametrize("values", [{}, {"batch_norm": "running"}, {"space": "nb1shot1-1"}], ids=str)
def test_a_seed_alone_equals_its_row_bit_for_bit(values: dict[str, Any]) -> None:
    land = landscape(**values)
    together = trained(land)
    theta = np.broadcast_to(mixture(9, 1, land), (3, land.space.D, land.space.K))
    loss, grad = land.loss_and_grad(together, theta)
    for s in (0, 2):
        alone = trained(land, SEEDS[s : s + 1])
        assert same(alone, rows(together, slice(s, s + 1)))
        one, slope = land.loss_and_grad(alone, theta[:1])
        assert one[0] == loss[s] and np.array_equal(slope[0], grad[s])


def test_training_is_pure_and_may_be_cut_anywhere() -> None:
    state = trained()
    before = {k: v.copy() for k, v in flat(state).items()}
    theta = mixture(1)
    once, again = LAND.train_weights(state, theta, 4), LAND.train_weights(state, theta, 4)
    assert same(once, again)
    assert all(np.array_equal(before[k], v) for k, v in flat(state).items())
    assert same(LAND.train_weights(LAND.train_weights(state, theta, 1), theta, 3), once)
    some = rows(state, np.array([0, 2]))
    ahead = replace(state, np.array([0, 2]), LAND.train_weights(some, theta[[0, 2]], 4))
    assert np.array_equal(np.asarray(ahead.extra["weights"])[2], np.asarray(once.extra["weights"])[2])
    assert np.array_equal(np.asarray(ahead.extra["weights"])[1], before["weights"][1])


def test_seeds_differ_in_weights_and_data() -> None:
    state = LAND.init(SEEDS, HORIZON)
    weights = np.asarray(state.extra["weights"])
    assert not np.array_equal(weights[0], weights[1])
    (a, _), (b, _) = LAND.images("train", 5, 0), LAND.images("train", 11, 0)
    assert not torch.equal(a, b)


@pytest.mark.parametrize("kind", ["mixture", "cell"])
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    state = trained(WIDE)
    theta = mixture(2).astype(np.float64)
    if kind == "cell":
        theta = np.stack([WIDE.one_hot(np.array(a)) for a in ([1, 3, 2, 0, 4, 3], [2, 1, 4, 1, 0, 2], [3] * 6)])
    loss, grad = WIDE.loss_and_grad(state, theta, discrete=kind == "cell")
    e = 1e-6
    for d, k in [(0, 1), (2, 3), (3, 2), (5, 4), (4, 0)]:
        up, down = theta.copy(), theta.copy()
        up[:, d, k] += e
        down[:, d, k] -= e
        want = (WIDE.loss_and_grad(state, up)[0] - WIDE.loss_and_grad(state, down)[0]) / (2 * e)
        assert np.allclose(grad[:, d, k], want, atol=1e-6, rtol=1e-5)
    assert np.isfinite(loss).all() and not grad[:, :, 0].any()  # `none` adds nothing


def test_draws_of_one_seed_share_a_batch() -> None:
    state = trained()
    theta = np.stack([mixture(3), mixture(4)], axis=1)
    loss, grad = LAND.loss_and_grad(state, theta)
    assert loss.shape == (3, 2) and grad.shape == theta.shape
    alone, slope = LAND.loss_and_grad(state, theta[:, 1])
    assert np.array_equal(loss[:, 1], alone) and np.array_equal(grad[:, 1], slope)


def test_a_weight_step_is_that_of_torch() -> None:
    """Against nn.Module, CrossEntropyLoss, clip_grad_norm_ and SGD(nesterov=True), three steps."""
    theta = mixture(5).astype(np.float64)
    state = WIDE.init(SEEDS[:1], HORIZON)
    module = WIDE.net.module
    names = [name for name, _ in module.named_parameters()]
    for p, v in zip(module.parameters(), WIDE.net.views(WIDE.row(state, 0).weights), strict=True):
        p.data = v.clone()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.025, momentum=0.9, nesterov=True, weight_decay=5e-4)
    total = 0.0
    for step in range(3):
        x, y = WIDE.images("train", int(SEEDS[0]), step)
        optimiser.zero_grad(set_to_none=False)
        loss = F.cross_entropy(module.train()(x, WIDE.gates(theta[0])), y)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), WIDE.settings.clip or 0)
        optimiser.step()
        state = WIDE.train_weights(state, theta[:1], 1)
        total += float(loss.detach()) * len(y)
        assert state.extra["meter"][0, 0] == pytest.approx(total, rel=1e-12) and float(norm) > 0
    got = WIDE.net.views(WIDE.row(state, 0).weights)
    for name, p, v in zip(names, module.parameters(), got, strict=True):
        assert torch.allclose(p.data, v, rtol=1e-9, atol=1e-12), name


def test_the_meter_counts_one_epoch() -> None:
    state = LAND.init(SEEDS, HORIZON)
    for images in (8, 16, 24, 32, 8, 16):
        state = LAND.train_weights(state, mixture(0), 1)
        assert (state.extra["meter"][:, 2] == images).all()
    assert (state.extra["meter"][:, 1] <= images).all() and (state.extra["meter"][:, 0] > 0).all()


def test_cells_weighed_together_train_as_their_weighted_losses_do() -> None:
    state = trained(WIDE)
    cells = np.array([[[3] * 6, [1, 3, 2, 1, 4, 3]]] * 3)
    shares = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    paths = Paths(cells, shares)
    usage = np.einsum("sm,smdk->sdk", shares, np.stack([[WIDE.one_hot(a) for a in row] for row in cells]))
    got = WIDE.train_weights(state, usage, 1, paths)
    row = WIDE.row(state, 0)
    leaves = WIDE.net.leaves(row.weights)
    x, y = WIDE.images("train", row.seed, row.step)
    parts = [
        share * F.cross_entropy(WIDE.net.call(leaves, row.buffers, x, WIDE.gates(WIDE.one_hot(cell)))[0], y)
        for cell, share in zip(cells[0], shares[0], strict=True)
    ]
    g = torch.cat([p.reshape(-1) for p in torch.autograd.grad(torch.stack(parts).sum(), leaves)])
    g = g * min(1.0, 5.0 / (float(g.norm()) + 1e-6)) + 5e-4 * row.weights
    momentum = 0.9 * row.momentum + g
    want = row.weights - WIDE.lr(state, row.step) * (g + 0.9 * momentum)
    assert torch.allclose(got.extra["weights"].tensor[0], want, rtol=1e-9, atol=1e-12)
    single = WIDE.train_weights(state, np.stack([WIDE.one_hot(cells[1, 0])] * 3), 1)
    assert torch.allclose(got.extra["weights"].tensor[1], single.extra["weights"].tensor[1], atol=1e-12)
    mixed = WIDE.train_weights(state, usage, 1)
    assert not torch.allclose(got.extra["weights"].tensor[0], mixed.extra["weights"].tensor[0], atol=1e-6)


def test_only_used_options_are_run_and_static_runs_all_to_the_same_end() -> None:
    usage = np.stack([LAND.one_hot(np.array([1, 3, 2, 0, 4, 3]))] * 3)
    seen: list[Any] = []
    net = LAND.net
    calls = net.call
    net.call = lambda t, b, *inputs, **how: seen.append(inputs[2]) or calls(t, b, *inputs, **how)  # type: ignore
    try:
        path = LAND.train_weights(LAND.init(SEEDS, HORIZON), usage, 1)
    finally:
        del net.call
    assert all(np.array_equal(a, usage[0] > 0) for a in seen) and len(seen) == 3
    static = landscape(static=True)
    full = static.train_weights(static.init(SEEDS, HORIZON), usage, 1)
    assert torch.allclose(path.extra["weights"].tensor, full.extra["weights"].tensor, atol=1e-5)


def test_single_cells_are_scored_on_shared_own_and_all_images() -> None:
    state = trained()
    archs = np.broadcast_to(np.array([[3] * 6, [1, 3, 2, 0, 4, 3], [3] * 6]), (3, 3, 6))
    batch = LAND.arch_loss(state, archs, batch=True)
    assert np.array_equal(batch[:, 0], batch[:, 2]) and not np.array_equal(batch[:, 0], batch[:, 1])
    mixture_loss, _ = LAND.loss_and_grad(state, np.stack([LAND.one_hot(archs[0, 0])] * 3), discrete=True)
    assert np.allclose(batch[:, 0], mixture_loss, rtol=1e-5)
    own = LAND.arch_loss(state, archs, own_batch=4)
    assert not np.array_equal(own[:, 0], own[:, 2])
    whole = LAND.arch_loss(state, archs)
    assert np.array_equal(whole[:, 0], whole[:, 2]) and np.isfinite(whole).all()


def test_curvature_is_that_of_its_gradient() -> None:
    state = trained(WIDE)
    theta = mixture(6).astype(np.float64)
    full = WIDE.hessian(state, theta)
    assert full.shape == (3, 30, 30) and np.allclose(full, full.transpose(0, 2, 1))
    e = 1e-5
    for d, k in [(0, 3), (4, 1), (5, 2)]:
        up, down = theta.copy(), theta.copy()
        up[:, d, k] += e
        down[:, d, k] -= e
        want = (WIDE.gradient(state, up) - WIDE.gradient(state, down)) / (2 * e)
        assert np.allclose(full[:, d * 5 + k], want.reshape(3, 30), atol=1e-6, rtol=1e-4)


def test_products_give_the_columns_and_the_dominant_eigenvalue(monkeypatch: pytest.MonkeyPatch) -> None:
    state, theta = trained(WIDE), mixture(6).astype(np.float64)
    full = WIDE.hessian(state, theta)
    v = mixture(7)[0].astype(np.float64)
    assert np.allclose(WIDE.hessian_vector(state, theta, v, 1).reshape(-1), full[1] @ v.reshape(-1), atol=1e-9)
    searcher = methods()["darts"].make()
    state = trained(WIDE, SEEDS[:1])
    search = searcher.init(WIDE.space, SEEDS[:1], np.float64)
    by_matrix = searcher.curvature(search, WIDE, state)
    monkeypatch.setattr("nasbench_sim.searchers.gradient.FEW", 1)
    assert np.allclose(searcher.curvature(search, WIDE, state), by_matrix, rtol=1e-3)
    idle = landscape(curvature=2)
    assert np.isnan(idle.gradient(trained(idle, steps=4), mixture(0))).all()
    assert np.isfinite(idle.gradient(trained(idle, steps=8), mixture(0))).all()
    assert np.isnan(searcher.curvature(searcher.init(LAND.space, SEEDS, np.float32), LAND, trained())).all()


def test_second_order_gradients_agree_on_the_supernet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finite difference at a radius that crosses no kink of a ReLU; at the published 0.01 it crosses many."""
    theta = mixture(7).astype(np.float64)
    seen = {}
    for way, radius in (("finite difference", 1e-6), ("hessian-vector", 0.01), ("unrolled", 0.01)):
        monkeypatch.setattr(second_order, "RADIUS", radius)
        land = landscape(precision="float64", backend="reference", second_order=way)
        seen[way] = land.unrolled(trained(land), theta, 1.0)
    exact = seen["unrolled"][1]
    assert np.allclose(seen["hessian-vector"][1], exact, rtol=1e-9, atol=1e-12)
    assert np.allclose(seen["finite difference"][1], exact, atol=1e-6 * np.abs(exact).max())
    first = WIDE.loss_and_grad(trained(WIDE), theta)[1]
    assert np.abs(first - exact).max() > 0.1 * np.abs(exact).max()


def test_a_loss_that_is_not_finite_stops_that_search_alone() -> None:
    state = trained()
    state.extra["weights"].tensor[1] *= 1e30
    after = LAND.train_weights(state, mixture(8), 2)
    assert after.extra["broken"].tolist() == [-1, 3, -1]
    assert np.array_equal(np.asarray(after.extra["weights"])[1], np.asarray(state.extra["weights"])[1])
    loss, grad = LAND.loss_and_grad(after, mixture(8))
    assert np.isnan(loss[1]) and np.isnan(grad[1]).all() and np.isfinite(loss[[0, 2]]).all()
    assert np.isnan(LAND.arch_loss(after, np.zeros((3, 1, 6), dtype=int), batch=True)[1]).all()


def test_channels_last_and_half_precision_see_the_same_loss() -> None:
    plain = landscape(backend="reference", batch=32)
    state, theta = plain.init(SEEDS, HORIZON), mixture(2)
    loss, grad = plain.loss_and_grad(state, theta)
    # one rounding of bfloat16 is 2^-9, of float16 2^-12; a loss of 2.3 nats is an average over 32 images
    for values, close in (({"channels_last": True}, 1e-5), ({"precision": "float16"}, 2e-2)):
        other, slope = landscape(backend="reference", batch=32, **values).loss_and_grad(state, theta)
        assert np.allclose(loss, other, rtol=close)
        assert np.linalg.norm(slope - grad) < 30 * close * np.linalg.norm(grad)
    rough, _ = landscape(backend="reference", batch=32, precision="bfloat16").loss_and_grad(state, theta)
    assert np.allclose(loss, rough, rtol=0.1) and not np.array_equal(loss, rough)
    for precision in ("bfloat16", "float16"):  # both train
        land = landscape(precision=precision)
        assert np.isfinite(np.asarray(land.train_weights(land.init(SEEDS, HORIZON), theta, 3).extra["weights"])).all()


@pytest.mark.slow
def test_a_compiled_network_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as one graph by torch.compile; building the C++ that inductor makes of it takes minutes: left out."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, mode: compile_(module, backend="aot_eager"))
    plain, made = landscape(backend="reference"), landscape(backend="reference", compiled=True, static=True)
    state, theta = plain.init(SEEDS[:1], HORIZON), mixture(2, 1)
    for a, b in zip(plain.loss_and_grad(state, theta), made.loss_and_grad(state, theta), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "values", [{"compiled": True, "static": True}, {"backend": "triton"}, {"channels_last": True}], ids=str
)
def test_a_gpu_sees_what_the_cpu_sees(values: dict[str, Any]) -> None:
    """Also compiled, where steps are recorded as CUDA graphs, and with the Triton kernels."""
    made = settings(**{"backend": "reference", **values})
    gpu = load_dataset("synthetic", device="cuda")
    land = SupernetLandscape(made, gpu, make_supernet(made, gpu), device="cuda")
    theta = mixture(2)
    here, there = LAND.init(SEEDS, HORIZON), land.init(SEEDS, HORIZON)
    for _ in range(3):
        here, there = LAND.train_weights(here, theta, 1), land.train_weights(there, theta, 1)
    (a, g), (b, h) = LAND.loss_and_grad(here, theta), land.loss_and_grad(there, theta)
    assert np.allclose(a, b, rtol=1e-3) and np.linalg.norm(g - h) < 0.02 * np.linalg.norm(g)


def test_a_batch_that_does_not_fit_names_one_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    land = landscape()

    def full(*inputs: Any, **how: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    state = trained()
    monkeypatch.setattr(land.net, "call", full)
    for call in (lambda: land.loss_and_grad(state, mixture(0)), lambda: land.train_weights(state, mixture(0), 1)):
        with pytest.raises(RunError, match="a batch of 8 images does not fit into the memory of cpu; try a batch of 4"):
            call()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "channels"),
        ({"batch": 4, "shards": 3}, "a shard has at least 2 images"),
        ({"lr_min": 1.0}, "which is larger"),
        ({"shards": 2, "second_order": "unrolled"}, "use second_order hessian-vector"),
        ({"backend": "cuda"}, "backend"),
        ({"backend": "triton", "precision": "float64"}, "float64 has backend reference or fused"),
        ({"colour": 3}, "there is no such setting; there are space, channels"),
        ({"lr": float("nan")}, "lr"),
        ({"order": "backwards"}, "order"),
    ],
)
def test_impossible_settings_are_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        landscape(**values)
    assert "\n" not in str(caught.value)


def test_a_slab_has_the_manners_of_an_array() -> None:
    slab = Slab(torch.arange(12.0).reshape(4, 3))
    assert slab.dtype == np.float32 and slab.shape == (4, 3) and len(slab) == 4
    assert np.array_equal(np.asarray(slab[np.array([True, False, True, False])]), np.asarray(slab)[[0, 2]])
    assert np.asarray(slab, dtype=np.float64).dtype == np.float64
    again = slab.copy()
    again[np.array([1])] = slab[:1]
    assert np.asarray(again)[1].tolist() == [0, 1, 2] and np.asarray(slab)[1].tolist() == [3, 4, 5]
