"""PC-DARTS: partial channels, edge normalisation, and DARTS as its limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, Landscape, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.searchers import View, get_method
from nasbench_sim.searchers.channels import EDGE, PartialChannels, edge_gradient, edge_weights, incoming
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.updates import SGD, Adam
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams
from nasbench_sim.tables.table import Table
from tests.landscapes.test_landscapes import PARAMS
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE, run, same
from tests.synthetic import VALID

ROWS = 5
ALPHA = np.random.default_rng(0).normal(size=(ROWS, 6, 5))
BETA = np.random.default_rng(1).normal(size=(ROWS, 6, 1))
GROUPS = ((0,), (1, 2), (3, 4, 5))
QUIET = PARAMS.model_copy(update={"noise": 0.0, "idiosyncrasy": 0.0})
WIDE: dict[str, Landscape] = {
    "tabular": TabularLandscape(TABLE, **VALID._asdict(), dtype=np.float64),
    "shared": SharedWeightsLandscape(TABLE, **VALID._asdict(), params=QUIET, dtype=np.float64),
}


def view(land: Any, beta: np.ndarray | None = BETA, step: int = 0) -> View:
    seeds = np.arange(ROWS)
    state = land.init(seeds, Horizon(1, 100))
    if land is WIDE["shared"]:  # half ripe, past the onset
        state = state._replace(maturity=0.5 + 0.5 * state.maturity, progress=state.progress + 0.8)
    memory = {} if beta is None else {EDGE: beta, f"{EDGE}_m": np.zeros_like(beta)}
    return View(land, state, Streams(seeds), step, memory)


def partial(**changes: Any) -> PartialChannels:
    """SGD with lr 1 on beta: the step is the gradient."""
    return PartialChannels(**{"update": SGD(lr=1.0), **changes})


def test_edges_are_grouped_by_the_node_they_enter() -> None:
    assert incoming(SPACE.decisions, "nb201") == GROUPS
    with pytest.raises(SpecError, match=r"decision 'first'.*edge_normalisation=False"):
        incoming(("first", "1<-0"), "small")


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 30))
def test_edge_weights_are_the_softmax_over_a_node_relative_to_its_largest(seed: int, scale: float) -> None:
    beta = scale * np.random.default_rng(seed).normal(size=(2, 6, 1))
    weights, largest = edge_weights(beta, GROUPS)
    for group in GROUPS:
        part = list(group)
        soft = Softmax().forward(beta[:, part, 0], None)
        assert np.allclose(weights[:, part, 0], soft / soft.max(axis=1, keepdims=True), atol=1e-12)
        assert (largest[:, part].sum(axis=1) == 1).all() and (weights[:, part] <= 1).all()
    slope = np.random.default_rng(seed + 1).normal(size=beta.shape)
    back = edge_gradient(slope, weights, largest, GROUPS)
    for group in GROUPS:  # a constant added to all edges of a node changes nothing
        assert np.allclose(back[:, list(group)].sum(axis=1), 0, atol=1e-12)
    assert (back[:, 0] == 0).all()


@pytest.mark.parametrize("kind", list(WIDE))
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_both_gradients_by_finite_differences(kind: str, channels: int, masked: bool) -> None:
    land, relax = WIDE[kind], partial(channels=channels)
    mask = None
    if masked:
        mask = np.random.default_rng(2).random(ALPHA.shape) < 0.6
        mask[..., 3] = True
    seen = relax.estimate(view(land), ALPHA, None, mask)
    slope = BETA - seen.memory[EDGE]
    h = 1e-5
    for d in range(6):
        for k in range(5):
            up, down = ALPHA.copy(), ALPHA.copy()
            up[:, d, k] += h
            down[:, d, k] -= h
            gap = relax.estimate(view(land), up, None, mask).loss - relax.estimate(view(land), down, None, mask).loss
            assert np.allclose(gap / (2 * h), seen.grad[:, d, k], atol=1e-9)
        up, down = BETA.copy(), BETA.copy()
        up[:, d] += h
        down[:, d] -= h
        losses = [relax.estimate(view(land, beta), ALPHA, None, mask).loss for beta in (up, down)]
        assert np.allclose((losses[0] - losses[1]) / (2 * h), slope[:, d, 0], atol=1e-9)
    assert np.abs(slope[:, 1:]).max() > 1e-3 and np.abs(seen.grad).max() > 1e-4


@pytest.mark.parametrize("kind", list(LANDSCAPES))
def test_with_all_channels_and_equal_edges_it_is_darts_bit_for_bit(kind: str) -> None:
    land = LANDSCAPES[kind]
    darts = get_method("darts").make(lr=0.02)
    limit = get_method("pc-darts").make(channels=1, edge_normalisation=False, warmup=0.0, lr=0.02)
    assert same(run(darts, land, np.arange(ROWS), 40), run(limit, land, np.arange(ROWS), 40))
    one, state = Deterministic(), view(land)
    alpha = ALPHA.astype(np.float32)
    equal = partial(channels=1).estimate(view(land, np.zeros((ROWS, 6, 1), np.float32)), alpha, None, None)
    assert same(equal[:4], one.estimate(state, alpha, None, None)[:4])
    other = get_method("pc-darts").make(warmup=0.0, lr=0.02)
    assert not same(run(darts, land, np.arange(ROWS), 40)[0][2], run(other, land, np.arange(ROWS), 40)[0][2])


def test_bypass_has_no_parameters_and_shrinks_every_pull_by_k() -> None:
    """At theta' the skip share is at least 1 - 1/K; what alpha feels of a slope is 1/K of what DARTS feels there."""
    land, theta = WIDE["tabular"], Softmax().forward(ALPHA, None)
    relax = partial(channels=4, edge_normalisation=False)
    there = relax.mixed(SPACE, theta)
    assert (there[..., 1] >= 0.75).all() and np.allclose(there.sum(-1), 1)
    _, slope = land.loss_and_grad(None, there)
    seen = relax.estimate(view(land, None), ALPHA, None, None)
    assert np.allclose(seen.grad, Softmax().pullback(ALPHA, theta, slope) / 4, atol=1e-14)
    assert (seen.usage == theta).all()  # the mixed channels train as in DARTS, the bypass has nothing to train
    few, all_ = (partial(channels=k).estimate(view(land), ALPHA, None, None).usage for k in (4, 1))
    weights, _ = edge_weights(BETA, GROUPS)
    assert np.allclose(few, all_, atol=1e-15) and np.allclose(few[..., 1:], (weights * theta)[..., 1:])


@pytest.mark.real
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "ImageNet16-120"])
def test_on_the_real_table_the_bypass_takes_skip_connections_advantage(nb201_table: Table, dataset: str) -> None:
    """At uniform theta, skip is the third best option of five on most edges, and fourth or fifth past a bypass."""
    land = TabularLandscape(nb201_table, dataset=dataset, split="valid", epochs=200, dtype=np.float64)
    theta = np.full((1, 6, 5), 0.2)
    rank = {}
    for channels in (1, 4):
        _, slope = land.loss_and_grad(None, PartialChannels(channels).mixed(SPACE, theta))
        rank[channels] = (slope[0] < slope[0, :, 1:2]).sum(axis=1)
    assert (rank[4] >= rank[1]).all() and rank[4].mean() >= rank[1].mean() + 0.8


def test_an_edge_of_small_weight_acts_as_none_and_neither_trains_nor_learns() -> None:
    land, beta = WIDE["tabular"], np.zeros((ROWS, 6, 1))
    beta[:, 4] = -40.0
    seen = partial(channels=1).estimate(view(land, beta), ALPHA, None, None)
    theta = Softmax().forward(ALPHA, None)
    cut = theta.copy()
    cut[:, 4] = SPACE.none[4]
    loss, _ = land.loss_and_grad(None, cut)
    assert np.allclose(seen.loss, loss, atol=1e-12) and np.allclose(seen.usage, cut, atol=1e-12)
    assert np.allclose(seen.grad[:, 4], 0, atol=1e-15) and np.abs(seen.grad[:, 3]).max() > 1e-4


def test_a_restart_by_pruning_starts_the_edges_afresh_too() -> None:
    land, seeds = LANDSCAPES["shared"], np.arange(ROWS)
    searcher = gradient_searcher(
        "cut", relaxation=PartialChannels(), update=Adam(lr=0.05), pruning=BPNASRule(delta=0.1, reset="edge")
    )
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 60))
    for _ in range(60):
        new, shared, _ = searcher.step(state, land, shared)
        again = (new.mask != state.mask).any(axis=2)
        fresh = searcher.relaxation.init(new.alpha)[EDGE]
        assert (new.slots[EDGE][again] == fresh[again]).all()
        assert (new.slots[f"{EDGE}_m"][again] == 0).all() and (new.slots[f"{EDGE}_m"][~again] != 0).any()
        state = new
    assert not state.mask.all()


def test_alpha_and_beta_wait_for_the_warm_up_and_then_move() -> None:
    land, seeds = LANDSCAPES["shared"], np.arange(ROWS)
    searcher = get_method("pc-darts").make(warmup=0.5)
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 20))
    first = state
    for step in range(20):
        new, shared, _ = searcher.step(state, land, shared)
        for now, then in ((new.alpha, state.alpha), (new.slots[EDGE], state.slots[EDGE])):
            assert (now == then).all() == (step < 10)
        state = new
    assert (np.abs(state.slots[EDGE] - first.slots[EDGE])[:, 1:] > 1e-4).all()


def test_beta_starts_small_and_normal_and_independent_of_theta() -> None:
    searcher = get_method("pc-darts").make()
    state = searcher.init(SPACE, np.arange(3000), np.float64)
    beta = state.slots[EDGE][..., 0]
    assert beta.std() == pytest.approx(1e-3, rel=0.03) and abs(beta.mean()) < 3e-5
    theta = searcher.distribution(state)
    correlation = [np.corrcoef(beta[:, 0], theta[:, 0, k])[0, 1] for k in range(5)]
    assert np.abs(correlation).max() < 0.08


def test_without_a_skip_the_bypass_is_a_constant_and_without_operations_there_is_none() -> None:
    theta = np.random.default_rng(4).dirichlet(np.ones(2), (3, 2))
    bare = Space("bare", ["op", "parents"], [["conv", "pool"], ["0", "1"]], parametric=["conv"])
    mixed = PartialChannels(4).mixed(bare, theta)
    assert np.allclose(mixed[:, 0], theta[:, 0] / 4 + 3 / 8)
    assert np.array_equal(mixed[:, 1], theta[:, 1])
    assert np.array_equal(PartialChannels(1).mixed(bare, theta), theta)


def test_spaces_it_cannot_search_are_refused_by_name() -> None:

    class Flat:
        space = Space("flat", ["1<-0"], [["conv", "skip"]], skip="skip")

    now = View(Flat(), None, Streams([0]), 0, {EDGE: np.zeros((1, 1, 1))})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"flat does not have.*edge_normalisation=False"):
        PartialChannels(4).estimate(now, np.zeros((1, 1, 2)), None, None)
    with pytest.raises(SpecError, match="channels"):
        get_method("pc-darts").make(channels=0)
