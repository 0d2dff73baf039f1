"""Landscapes over decisions of unequal option counts, without `none` and `skip`: NAS-Bench-1Shot1's."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import (
    Horizon,
    LandscapeState,
    SharedWeightsLandscape,
    SharedWeightsParams,
    TabularLandscape,
)
from nasbench_sim.landscapes.absence import absent_weights, by_option, extended, may_lack
from nasbench_sim.landscapes.multilinear import Multilinear
from nasbench_sim.searchers.base import rows
from nasbench_sim.spaces import NB201, Space
from tests.nb1shot1 import VALID, space_of, synthetic

PARAMS = SharedWeightsParams(
    scale=0.7,
    rate={"nor_conv_1x1": 4.0, "nor_conv_3x3": 2.0},
    rate_progress=0.2,
    none_visibility=0.3,
    preference={"skip_connect": 0.05, "avg_pool_3x3": 0.02, "none": 0.01, "nor_conv_3x3": -0.03},
    onset=0.4,
    noise=0.03,
    idiosyncrasy=0.01,
)
HORIZON = Horizon(10, 20)
SPACE = space_of(1)
OPS = list(SPACE.op_decisions)
PARENTS = [d for d in range(SPACE.D) if d not in OPS]
Land = TabularLandscape | SharedWeightsLandscape


def landscape(kind: str, dtype: str = "float64", quiet: bool = False) -> Land:
    table = synthetic(1)
    if kind == "tabular":
        return TabularLandscape(table, **VALID._asdict(), dtype=dtype)
    params = PARAMS.model_copy(update={"noise": 0.0, "idiosyncrasy": 0.0}) if quiet else PARAMS
    return SharedWeightsLandscape(table, **VALID._asdict(), params=params, dtype=dtype)


def halfway(land: Land, n: int = 3) -> LandscapeState:
    random = np.random.default_rng(0)
    state = land.init(np.arange(n), HORIZON)
    maturity = np.where(SPACE.parametric, random.random(state.maturity.shape), 1.0).astype(land.dtype)
    return state._replace(maturity=maturity, progress=random.random(n).astype(land.dtype))


def mixture(seed: int, *lead: int) -> np.ndarray:
    """theta `[*lead, D, K]`: a draw from the simplex a decision, 0 for options that are not there."""
    draws = np.random.default_rng(seed).exponential(size=(*lead, SPACE.D, SPACE.K)) * SPACE.mask
    return np.asarray(draws / draws.sum(axis=-1, keepdims=True))


def cells(seed: int, *lead: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SPACE.counts, (*lead, SPACE.D))


def gates(archs: np.ndarray) -> np.ndarray:
    return np.eye(SPACE.K)[archs]


def entries() -> list[tuple[int, int]]:
    return [(d, k) for d in range(SPACE.D) for k in range(SPACE.counts[d])]


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_noise_free_gradient_and_hessian_by_differences(kind: str) -> None:
    land = landscape(kind)
    state, theta = halfway(land), mixture(1, 3)
    loss = land.loss_and_grad(state, theta)[0]
    grad, hessian = land.gradient(state, theta), land.hessian(state, theta)
    for d, k in entries():
        moved = theta.copy()
        moved[:, d, k] += 0.25  # multilinear: exact for any step
        assert np.allclose((land.loss_and_grad(state, moved)[0] - loss) / 0.25, grad[:, d, k], atol=1e-11)
        change = (land.gradient(state, moved) - grad) / 0.25
        row = hessian[:, SPACE.K * d + k].reshape(grad.shape)
        assert np.allclose(np.where(SPACE.mask, change - row, 0), 0, atol=1e-11)
    assert np.abs(hessian).max() > 1e-3


def test_the_tabular_loss_is_the_expectation_over_all_cells() -> None:
    land, theta = landscape("tabular"), mixture(2, 2)
    error = 1 - synthetic(1).accuracy[VALID].astype(np.float64) / 100
    each = np.arange(SPACE.D)
    for one, loss in zip(theta, land.loss_and_grad(None, theta)[0], strict=True):
        assert loss == pytest.approx(float(error @ one[each, SPACE.all].prod(axis=1)), rel=1e-12)


def test_an_untrained_convolution_acts_as_the_average_of_its_options_and_parents_lack_nothing() -> None:
    land = landscape("shared")
    assert isinstance(land, SharedWeightsLandscape)
    fresh = land.init(np.arange(1), HORIZON)
    for op, name in enumerate(SPACE.options[OPS[0]]):
        vertex = np.zeros((1, SPACE.D, SPACE.K))
        vertex[:, OPS, op] = 1
        expected = [0, 0, 0] if name.startswith("conv") else [1, 0, 0]
        seen = land.effective(fresh, vertex)[0, OPS]
        assert np.allclose(seen[:, :3], np.array(expected) + (np.ones(3) / 3 if name.startswith("conv") else 0))
        assert (seen[:, 3:] == 0).all()
    theta = mixture(3, 1)
    assert np.array_equal(land.effective(fresh, theta)[:, PARENTS], theta[:, PARENTS])
    assert np.allclose(land.effective(halfway(land, 1), theta).sum(axis=-1), 1)
    ripe = fresh._replace(maturity=np.ones_like(fresh.maturity))
    assert np.allclose(land.effective(ripe, theta), theta)
    assert may_lack(SPACE).tolist() == [d in OPS for d in range(SPACE.D)]


def test_a_cell_under_shared_weights_by_brute_force() -> None:
    """Each untrained share 1 - m of a convolution is one of the three operations at random: 3^4 cells to average."""
    land = landscape("shared", quiet=True)
    state, archs = halfway(land), cells(4, 3, 6)
    error = 1 - synthetic(1).accuracy[VALID].astype(np.float64) / 100
    tilt = np.maximum(state.progress - PARAMS.onset, 0)
    prefer = {"maxpool3x3": 0.02, "conv3x3-bn-relu": -0.03, "conv1x1-bn-relu": 0.0}
    for s, m in product(range(3), range(6)):
        law = gates(archs[s, m]) * state.maturity[s]
        law[OPS, :3] += (1 - law.sum(axis=-1))[OPS, None] / 3
        expected = PARAMS.scale * float(error @ law[np.arange(SPACE.D), SPACE.all].prod(axis=1))
        expected -= tilt[s] * sum(prefer[SPACE.options[d][archs[s, m, d]]] for d in OPS)
        assert land.arch_loss(state, archs)[s, m] == pytest.approx(expected, rel=1e-12)
        vertex = gates(archs[s, m])[None]
        assert land.loss_and_grad(rows(state, slice(s, s + 1)), vertex)[0][0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("discrete", [False, True])
def test_gates_of_a_cell_have_its_loss_and_say_what_every_other_option_costs(discrete: bool) -> None:
    land = landscape("shared", quiet=True)
    state, archs = halfway(land), cells(5, 3, 8)
    loss, grad = land.loss_and_grad(state, gates(archs), discrete=discrete)
    assert np.allclose(loss, land.arch_loss(state, archs), atol=1e-12)
    for d, k in entries():
        other = archs.copy()
        other[..., d] = k
        here = np.take_along_axis(grad[..., d, :], archs[..., d, None], -1)[..., 0]
        assert np.allclose(land.arch_loss(state, other) - loss, grad[..., d, k] - here, atol=1e-12)


@pytest.mark.parametrize("draws", [0, 2])
def test_the_unrolled_gradient_is_the_total_derivative(draws: int) -> None:
    land = landscape("shared", quiet=True)
    state, theta = halfway(land), mixture(6, 3, draws) if draws else mixture(6, 3)
    _, grad = land.unrolled(state, theta, 3.0)
    plain = land.loss_and_grad(state, theta)[1]
    h, differs = 1e-6, 0.0
    for d, k in entries():
        step = np.zeros((SPACE.D, SPACE.K))
        step[d, k] = h
        numeric = (land.unrolled(state, theta + step, 3.0)[0] - land.unrolled(state, theta - step, 3.0)[0]) / (2 * h)
        assert np.allclose(numeric, grad[..., d, k], atol=1e-7)
        differs = max(differs, np.abs(grad[..., d, k] - plain[..., d, k]).max())
    assert differs > 1e-4, "second order must differ from first order"


def test_only_convolutions_ripen_and_a_uniform_mixture_has_full_progress() -> None:
    land = landscape("shared")
    usage = np.broadcast_to(SPACE.mask / SPACE.counts[:, None], (2, SPACE.D, SPACE.K)).copy()
    usage[1] = gates(cells(7))
    fresh = land.init(np.arange(2), HORIZON)
    after = land.train_weights(fresh, usage, 1)
    assert ((after.maturity > fresh.maturity) == SPACE.parametric & (usage > 0)).all()
    assert after.progress == pytest.approx([PARAMS.rate_progress / HORIZON.steps_per_epoch, 0])


def test_a_seed_alone_equals_its_row_bit_for_bit() -> None:
    land = landscape("shared", "float32")
    n, theta, archs = 300, mixture(8, 300).astype(np.float32), cells(9, 300, 5)
    state = land.train_weights(land.init(np.arange(n), HORIZON), theta, 3)

    def everything(some: slice) -> list[np.ndarray]:
        part, at = rows(state, some), theta[some]
        pairs = (
            land.loss_and_grad(part, at),
            land.loss_and_grad(part, at, discrete=True),
            land.unrolled(part, at, 1.0),
        )
        ones = land.arch_loss(part, archs[some], batch=True), land.arch_loss(part, archs[some], own_batch=8.0)
        return [*(x for pair in pairs for x in pair), *ones, land.hessian(part, at)]

    whole = everything(slice(None))
    for row in (0, 131, 299):
        alone = everything(slice(row, row + 1))
        assert all(np.array_equal(a[0], w[row]) for a, w in zip(alone, whole, strict=True))


def test_fitted_numbers_go_to_the_operations_that_are_alike_by_name() -> None:
    got = by_option(SPACE, {"nor_conv_3x3": 1.0, "nor_conv_1x1": 2.0, "avg_pool_3x3": 3.0, "skip_connect": 9.0}, "f8")
    assert SPACE.options[OPS[0]] == ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
    assert (got[OPS, :3] == [3.0, 1.0, 2.0]).all() and (got[OPS, 3:] == 0).all() and (got[PARENTS] == 0).all()
    own = by_option(SPACE, {"maxpool3x3": 5.0, "avg_pool_3x3": 3.0}, "f8")  # its own name goes first
    assert (own[OPS, 0] == 5.0).all()
    named = by_option(SPACE, {"0+1": 1.5}, "f8")
    assert {SPACE.options[d][k] for d, k in np.argwhere(named == 1.5)} == {"0+1"}
    shipped = SharedWeightsParams.load()
    SharedWeightsLandscape(synthetic(1), **VALID._asdict(), params=shipped)
    nb201 = NB201()
    for values in (shipped.rate, shipped.preference):
        expected = np.array([[values.get(o, 0.0) for o in options] for options in nb201.options], dtype=np.float32)
        assert np.array_equal(by_option(nb201, values, np.float32), expected)


@pytest.mark.parametrize("name", ["conv7", "conv3x3", "", "0+9"])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="nb1shot1-1 has no option"):
        by_option(SPACE, {name: 1.0}, "f8")
    with pytest.raises(SpecError, match="nb201 has no option maxpool3x3"):
        by_option(NB201(), {"maxpool3x3": 1.0}, "f8")
    with pytest.raises(SpecError, match="plain has no option none"):  # nothing there is like an operation of nb201
        by_option(Space("plain", ["a"], [["p", "q"]]), {"none": 1.0}, "f8")


@pytest.mark.parametrize("number", [1, 2])
def test_the_tensor_grows_by_what_can_be_missing_only(number: int) -> None:
    space = space_of(number)
    tensor = np.random.default_rng(number).normal(size=tuple(space.counts))
    weights = absent_weights(space, 0.3, "f8")
    more, where = extended(space, tensor, weights)
    assert more.shape == tuple(4 if d in space.op_decisions else space.counts[d] for d in range(space.D))
    assert (where >= 0).tolist() == [d in space.op_decisions for d in range(space.D)]
    assert np.allclose(np.take(more, 3, axis=space.op_decisions[0]).sum(), more.sum() / 4)
    archs = np.random.default_rng(5).integers(0, space.counts, (9, space.D))
    own = np.where(where >= 0, np.random.default_rng(6).random((9, space.D)), 1.0)
    law = np.eye(space.K)[archs] * own[..., None] + (1 - own)[..., None] * weights
    expected = Multilinear(tensor).value_and_grad(law)[0]
    assert np.allclose(Multilinear(more).two_point(archs, own, where), expected, rtol=1e-12)
