"""The price on cells: exact against sums over all cells, the bare landscape at weight 0, and what it does to DARTS."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes import Horizon, Landscape, LandscapeState, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.landscapes.penalised import PenalisedLandscape, cost_column, costs_of
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.base import rows
from nasbench_sim.tables.nb201_costs import costs
from nasbench_sim.tables.table import Table
from tests.landscapes.test_landscapes import PARAMS
from tests.searchers.helpers import same
from tests.synthetic import SPACE, VALID, synthetic_table

HORIZON = Horizon(10, 20)
WEIGHTS = {"params_m": 0.03, "latency_ms/made-up": 0.002}
KINDS = ("tabular", "shared")


def priced_table() -> Table:
    """The synthetic table with true parameters and FLOPs, a latency that is no sum, and columns that are no cost."""
    random = np.random.default_rng(8)
    latency = (5 + random.normal(size=SPACE.size)).clip(0.1).astype(np.float32)
    holes = latency.copy()
    holes[::7] = np.nan
    metrics = {
        **{(name, "cifar10"): column for name, column in costs(SPACE, "cifar10").items()},
        ("latency_ms/made-up", "cifar10"): latency,
        ("latency_ms/holed", "cifar10"): holes,
        ("proxy/synflow", "cifar10"): latency,
    }
    return replace(synthetic_table(), metrics=metrics)


TABLE = priced_table()


def bare(kind: str, dtype: str = "float64") -> Landscape:
    where = VALID._asdict()
    if kind == "tabular":
        return TabularLandscape(TABLE, **where, dtype=dtype)
    return SharedWeightsLandscape(TABLE, **where, params=PARAMS, dtype=dtype)


def priced(kind: str, weights: dict[str, float] | None = None, dtype: str = "float64") -> PenalisedLandscape:
    return PenalisedLandscape(bare(kind, dtype), TABLE, "cifar10", WEIGHTS if weights is None else weights)


def halfway(land: Landscape, n: int) -> LandscapeState:
    random = np.random.default_rng(0)
    state = land.init(np.arange(n), HORIZON)
    maturity = np.where(SPACE.parametric, random.random(state.maturity.shape), 1.0).astype(land.dtype)
    return state._replace(maturity=maturity, progress=random.random(n).astype(land.dtype))


def thetas(*lead: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(5), (*lead, 6)).astype(dtype)


def brute(theta: np.ndarray, weights: dict[str, float] = WEIGHTS) -> np.ndarray:
    """The expected penalty as a sum over all 15,625 cells in float64."""
    price = sum(w * TABLE.metrics[name, "cifar10"].astype(np.float64) for name, w in weights.items())
    odds = np.prod([theta[:, d, SPACE.all[:, d]] for d in range(6)], axis=0)
    return np.asarray(odds @ price)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_adds_the_expected_cost_over_all_cells(kind: str, dtype: str) -> None:
    land, theta = priced(kind, dtype=dtype), thetas(4, dtype=dtype)
    state = halfway(land, 4)
    added = land.loss_and_grad(state, theta)[0] - land.bare.loss_and_grad(state, theta)[0]
    assert np.allclose(added, brute(theta), rtol=0, atol=1e-13 if dtype == "float64" else 1e-6)
    value = land.expected_penalty(theta)[0]
    assert value.dtype == dtype and np.allclose(value, brute(theta), rtol=1e-13 if dtype == "float64" else 3e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_by_differences(kind: str) -> None:
    """Multilinear: the difference quotient is exact for any step."""
    land, theta = priced(kind), thetas(3)
    state = halfway(land, 3)
    loss, grad, hessian = land.loss_and_grad(state, theta)[0], land.gradient(state, theta), land.hessian(state, theta)
    for d in range(6):
        for k in range(5):
            moved = theta.copy()
            moved[:, d, k] += 0.25
            assert np.allclose((land.loss_and_grad(state, moved)[0] - loss) / 0.25, grad[:, d, k], atol=1e-11)
            change = (land.gradient(state, moved) - grad).reshape(3, 30) / 0.25
            assert np.allclose(change, hessian[:, 5 * d + k], atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_over_operations_bends_nothing_and_a_measured_latency_does(kind: str) -> None:
    """Along the simplex, where rows of theta keep their sum: off it the form multiplies by the other rows' sums."""
    theta = thetas(2)
    for name, bends in (("params_m", False), ("flops_m", False), ("latency_ms/made-up", True)):
        land = priced(kind, {name: 0.01})
        state = halfway(land, 2)
        added = (land.hessian(state, theta) - land.bare.hessian(state, theta)).reshape(2, 6, 5, 6, 5)
        along = added - added.mean(axis=2, keepdims=True)
        along -= along.mean(axis=4, keepdims=True)
        assert (np.abs(along).max() > 1e-6) == bends  # the columns are float32: 1e-8


def test_the_penalty_sees_neither_maturity_nor_noise() -> None:
    land, theta = priced("shared"), thetas(3)
    seen = []
    for state in (land.init(np.arange(3), HORIZON), halfway(land, 3), land.init(np.arange(7, 10), HORIZON)):
        seen.append(land.loss_and_grad(state, theta)[1] - land.bare.loss_and_grad(state, theta)[1])
        assert np.allclose(seen[-1], seen[0], atol=1e-13)
        moved, exact = land.unrolled(state, theta, 1.0), land.bare.unrolled(state, theta, 1.0)
        assert np.allclose(moved[0] - exact[0], brute(theta), atol=1e-12)
        assert np.allclose(moved[1] - exact[1], seen[0], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_costs_what_the_table_says(kind: str) -> None:
    land = priced(kind)
    state = halfway(land, 2)
    archs = np.random.default_rng(2).integers(0, 5, (2, 50, 6))
    price = sum(w * TABLE.metrics[name, "cifar10"][SPACE.index(archs)] for name, w in WEIGHTS.items())
    for seen in ({}, {"batch": True}, {"own_batch": 2.0}):
        added = land.arch_loss(state, archs, **seen) - land.bare.arch_loss(state, archs, **seen)
        assert np.allclose(added, price, atol=1e-6)
    vertices = np.eye(5)[archs]
    assert np.allclose(land.expected_penalty(vertices)[0], price, atol=1e-6)
    several = land.loss_and_grad(state, vertices, discrete=True)[0]
    assert np.allclose(several - land.bare.loss_and_grad(state, vertices, discrete=True)[0], price, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [{}, {"params_m": 0.0, "flops_m": 0.0}])
def test_weight_0_is_the_bare_landscape_bit_for_bit(kind: str, weights: dict[str, float]) -> None:
    land = priced(kind, weights, "float32")
    state, theta = halfway(land, 3), thetas(3, dtype="float32")
    archs = np.random.default_rng(2).integers(0, 5, (3, 4, 6))
    assert same(land.loss_and_grad(state, theta), land.bare.loss_and_grad(state, theta))
    assert same(land.gradient(state, theta), land.bare.gradient(state, theta))
    assert same(land.hessian(state, theta), land.bare.hessian(state, theta))
    assert same(land.arch_loss(state, archs, batch=True), land.bare.arch_loss(state, archs, batch=True))
    assert land.loss_name == land.bare.loss_name and land.offers == land.bare.offers
    if kind == "shared":
        assert same(land.unrolled(state, theta, 1.0), land.bare.unrolled(state, theta, 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch(kind: str) -> None:
    land, theta = priced(kind, dtype="float32"), thetas(300, dtype="float32")
    state = halfway(land, 300)
    archs = np.random.default_rng(2).integers(0, 5, (300, 3, 6))
    whole = land.loss_and_grad(state, theta), land.arch_loss(state, archs, batch=True), land.hessian(state, theta)
    for some in (slice(0, 1), slice(123, 124), slice(255, 300)):
        s, t, a = rows(state, some), theta[some], archs[some]
        assert same((land.loss_and_grad(s, t), land.arch_loss(s, a, batch=True), land.hessian(s, t)), rows(whole, some))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_else_is_the_bare_landscapes(kind: str) -> None:
    land = priced(kind)
    usage = thetas(3)
    assert land.space is land.bare.space and land.dtype == land.bare.dtype and land.offers == land.bare.offers
    assert same(
        land.train_weights(land.init(np.arange(3), HORIZON), usage, 2),
        land.bare.train_weights(land.bare.init(np.arange(3), HORIZON), usage, 2),
    )
    archs = SPACE.all[None, :5]
    assert np.array_equal(land.proxy("synflow", archs)[0], TABLE.metrics["proxy/synflow", "cifar10"][:5])
    assert land.loss_name.endswith("+ 0.03 params_m + 0.002 latency_ms/made-up")


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ({"latency_ms/pixel9": 1.0}, NotMeasured, r"unknown cost metric 'latency_ms/pixel9'.*latency_ms/made-up"),
        ({"params": 0.0}, NotMeasured, r"did you mean 'params_m'"),
        ({"latency_ms/holed": 1.0}, NotMeasured, r"measured for 13392 of 15625 cells"),
        ({"proxy/synflow": 1.0}, SpecError, r"proxy/synflow is not a cost.*params_m"),
        ({"params_m": -1.0}, SpecError, r"finite number >= 0, got -1"),
        ({"params_m": float("nan")}, SpecError, r"got nan"),
        ({"params_m": 1e39}, SpecError, r"beyond what float32 holds"),
    ],
)
def test_impossible_prices_are_refused(weights: dict[str, float], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        priced("tabular", weights, "float32")
    assert "\n" not in str(raised.value)


def test_costs_are_listed_and_looked_up_by_data_set() -> None:
    assert costs_of(TABLE, "cifar10") == ["flops_m", "latency_ms/holed", "latency_ms/made-up", "params_m"]
    assert costs_of(TABLE, "cifar100") == []
    with pytest.raises(NotMeasured, match="unknown data set 'cifar9'"):
        cost_column(TABLE, "cifar9", "params_m")
    with pytest.raises(NotMeasured, match=r"Known: \(none\)"):
        cost_column(synthetic_table(), "cifar10", "params_m")


def test_darts_finds_cheaper_cells_the_higher_the_price() -> None:
    """The edges differ in what a convolution is worth, so one after the other gives it up as the price rises."""
    worth, edges = np.array([-3.0, -0.5, 0.5, 1.0, -1.0]), np.array([0.4, 0.8, 1.2, 1.6, 2.0, 2.4])
    accuracy = 75 + (edges * worth[SPACE.all]).sum(axis=1)
    table = replace(TABLE, accuracy={VALID: accuracy.astype(np.float32)})
    searcher = methods()["darts"].make(lr=0.02)
    params, seeds, mean = TABLE.metrics["params_m", "cifar10"], np.arange(24), []
    for weight in (0.0, 0.02, 0.04, 0.3, 2.0):
        land = PenalisedLandscape(TabularLandscape(table, **VALID._asdict()), table, "cifar10", {"params_m": weight})
        state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, HORIZON)
        for _ in range(200):
            state, shared, _ = searcher.step(state, land, shared)
        cells = SPACE.index(searcher.derive(state, land, shared))
        mean.append(float(params[cells].mean(dtype=np.float64)))
    assert all(dearer > cheaper for dearer, cheaper in pairwise(mean)), mean
    assert mean[0] == pytest.approx(params.max(), abs=1e-6) and mean[-1] == pytest.approx(params.min(), abs=1e-6)


def test_the_price_at_which_a_convolution_stops_paying() -> None:
    """Closed form: with error sum_d e[d, k] the best cell takes op k where e + weight * cost is least."""
    worth = {"none": 0.0, "skip_connect": 0.01, "nor_conv_1x1": 0.02, "nor_conv_3x3": 0.03, "avg_pool_3x3": 0.0}
    gain = np.array([worth[op] for op in SPACE.options[0]])
    accuracy = (80 + 100 * gain[SPACE.all].sum(axis=1)).astype(np.float32)
    table = replace(TABLE, accuracy={VALID: accuracy})
    land = TabularLandscape(table, **VALID._asdict(), dtype="float64")
    # 1x1 against skip: 0.01 for 0.028 million; 3x3 against skip: 0.02 for 0.24304 million; against 1x1: 0.01 for 0.215
    for weight, best in ((0.04, 3), (0.05, 2), (0.35, 2), (0.36, 1)):
        searched = PenalisedLandscape(land, table, "cifar10", {"params_m": weight})
        losses = searched.arch_loss(None, SPACE.all[None])[0]
        assert (SPACE.all[losses.argmin()] == best).all(), weight
