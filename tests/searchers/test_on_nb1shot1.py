"""Every method on the NAS-Bench-1Shot1 spaces: it runs, or refuses for a reason that lies in the method."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.errors import NotMeasured, SpecError, UserError
from nasbench_sim.landscapes import Horizon, Landscape, LandscapeState, SharedWeightsLandscape, TabularLandscape
from nasbench_sim.searchers import Searcher, State, View, methods
from nasbench_sim.searchers.base import concatenate, rows
from nasbench_sim.searchers.blackbox.evolution import node_first
from nasbench_sim.searchers.channels import EDGE, bypass, incoming
from nasbench_sim.searchers.gumbel import GumbelHard, perturbed
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.stages import StagedPruning
from nasbench_sim.spaces import Space
from nasbench_sim.streams import Streams
from tests.landscapes.test_nb1shot1 import PARAMS
from tests.nb1shot1 import VALID, space_of, synthetic
from tests.searchers.helpers import leaves, same

SEEDS = np.array([11, 3, 2**40, 0, 5])
HORIZON = Horizon(3, 20)
FAMILIES = ("differentiable", "sampling", "training-free")
#: parameters with which a method runs here, beside its test parameters
ADAPTED: dict[str, dict[str, Any]] = {"darts-plus": {"criterion": "ranking"}}
BUDGET = 1_300.0  # about 20 evaluations of 4 epochs
#: what is in the nature of a method: proxies that nobody computed, cells that grow by edges which are absent at first
REFUSED = {"pnas": (SpecError, "none"), "balenas-tf": (NotMeasured, "proxies")} | {
    name: (NotMeasured, "proxies") for name, recipe in methods().items() if recipe.family == "training-free"
}
GRADIENT = sorted(n for n, r in methods().items() if r.family in FAMILIES and n not in REFUSED)
BLACK_BOX = sorted(n for n, r in methods().items() if r.family in ("black-box", "multi-objective") and n not in REFUSED)
each = pytest.mark.parametrize("name", GRADIENT)
on = pytest.mark.parametrize("kind", ["tabular", "shared"])


@lru_cache(maxsize=6)
def landscape(number: int, kind: str) -> Landscape:
    if kind == "tabular":
        return TabularLandscape(synthetic(number), **VALID._asdict())
    return SharedWeightsLandscape(synthetic(number), **VALID._asdict(), params=PARAMS)


def make(name: str) -> Searcher:
    recipe = methods()[name]
    return recipe.make(**{**recipe.test_params, **ADAPTED.get(name, {})})


def start(searcher: Searcher, land: Landscape, seeds: np.ndarray) -> tuple[State, LandscapeState]:
    return searcher.init(land.space, seeds, land.dtype), land.init(seeds, HORIZON)


def run(
    searcher: Searcher, land: Landscape, seeds: np.ndarray, steps: int, resume: Any = None
) -> tuple[State, LandscapeState]:
    state, shared = resume or start(searcher, land, seeds)
    for _ in range(steps):
        state, shared, info = searcher.step(state, land, shared)
        assert (info.theta[..., ~land.space.mask] == 0).all(), "weight on an option that is not there"
        assert np.allclose(info.theta.sum(axis=-1), 1, atol=1e-5) and (info.theta >= 0).all()
    return state, shared


def check(searcher: Searcher, land: Landscape, state: State, shared: LandscapeState) -> None:
    space, n = land.space, len(state.seeds)
    assert state.alpha.shape == state.mask.shape == (n, space.D, space.K) and state.alpha.dtype == land.dtype
    assert all(len(x) == n for x in leaves(state) + leaves(shared))
    assert all(np.isfinite(x).all() for x in leaves(state))
    assert not (state.mask & ~space.mask).any() and state.mask.any(axis=-1).all()
    theta = searcher.distribution(state)
    assert np.allclose(theta.sum(axis=-1), 1, atol=1e-6) and (theta >= 0).all() and (theta[~state.mask] == 0).all()
    archs = searcher.derive(state, land, shared)
    assert archs.shape == (n, space.D) and np.take_along_axis(state.mask, archs[..., None], -1).all()
    space.check(archs)
    assert (shared.maturity[:, ~space.parametric] == 1).all()


@each
@on
def test_shapes_and_the_simplex_on_space_1(name: str, kind: str) -> None:
    searcher, land = make(name), landscape(1, kind)
    state, shared = run(searcher, land, SEEDS, 45)
    check(searcher, land, state, shared)
    hessian = searcher.hessian(state, land, shared)
    if hessian is not None:
        assert hessian.shape == (len(SEEDS), 70, 70) and np.isfinite(hessian).all()
        assert np.allclose(hessian, hessian.transpose(0, 2, 1), atol=1e-6)
        absent = ~land.space.mask.reshape(-1)
        assert (hessian[:, absent] == 0).all(), "curvature in an option that is not there"


@each
@pytest.mark.parametrize("number", [2, 3])
def test_some_steps_on_the_larger_spaces(name: str, number: int) -> None:
    searcher, land = make(name), landscape(number, "shared")
    state, shared = run(searcher, land, SEEDS[:2], 4)
    check(searcher, land, state, shared)


@each
@on
def test_a_seed_alone_equals_its_row_and_resumed_equals_whole(name: str, kind: str) -> None:
    land = landscape(1, kind)
    whole = run(make(name), land, SEEDS, 45)
    assert same(run(make(name), land, SEEDS[3:4], 45), rows(whole, slice(3, 4)))
    first = run(make(name), land, SEEDS, 22)
    copied = tuple(concatenate([rows(part, slice(0, 2)), rows(part, slice(2, None))]) for part in first)
    assert same(run(make(name), land, SEEDS, 23, resume=copied), whole)


@each
def test_finds_good_cells_on_the_noise_free_table(name: str) -> None:
    """The oracle is the control: given time, every method must beat 95 % of random cells there."""
    recipe, land = methods()[name], landscape(1, "tabular")
    fast = {"lr": 0.03} if "lr" in recipe.parameters else {"evaluations": 60}
    searcher = recipe.make(**{**fast, **ADAPTED.get(name, {})})
    seeds = np.arange(16)
    state, shared = searcher.init(land.space, seeds, land.dtype), land.init(seeds, Horizon(2, 60))
    for _ in range(120):
        state, shared, _ = searcher.step(state, land, shared)
    archs = searcher.derive(state, land, shared)
    everything = land.arch_loss(None, land.space.all[None])[0]
    assert np.median(land.arch_loss(None, archs[:, None])) < np.quantile(everything, 0.05)


@pytest.mark.parametrize("name", BLACK_BOX)
@pytest.mark.parametrize("number", [1, 3])
def test_black_box_searches_train_legal_cells_and_rows_are_alike(name: str, number: int) -> None:
    table = synthetic(number)
    params = {**methods()[name].test_params}
    about: dict[str, Any] = {"table": table, "dataset": "cifar10", "epochs": 3, "budget": BUDGET, "params": params}
    together = nb.search(name, seeds=[3, 8], **about)
    assert together.final_state["evaluations"].min() >= 2
    made = together.final_state["evaluated_archs"]
    assert (made < table.space.counts).all() and len(np.unique(made[0], axis=0)) > 2
    alone = nb.search(name, seeds=[8], **about)
    assert np.array_equal(alone.archs[0], together.archs[1])
    assert np.array_equal(alone.history["test"][0], together.history["test"][1], equal_nan=True)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_run_says_why_in_one_line(name: str) -> None:
    kind, word = REFUSED[name]
    recipe = methods()[name]
    about: dict[str, Any] = {"budget": BUDGET} if recipe.family == "black-box" else {"steps_per_epoch": 5}
    with pytest.raises(kind, match=word) as told:
        nb.search(name, table=synthetic(1), dataset="cifar10", seeds=2, epochs=2, params=recipe.test_params, **about)
    assert isinstance(told.value, UserError) and "\n" not in str(told.value)


def test_darts_plus_counts_no_skips_where_there_are_none() -> None:
    about: dict[str, Any] = {"table": synthetic(1), "dataset": "cifar10", "seeds": 2, "epochs": 4, "steps_per_epoch": 5}
    with pytest.raises(SpecError, match=r"nb1shot1-1 has none; use criterion='ranking'"):
        nb.search("darts-plus", **about)
    stopped = nb.search("darts-plus", params={"criterion": "ranking", "patience": 1, "lr": 1e-9}, **about)
    assert np.isnan(stopped.history["loss"][:, -1]).all(), "a ranking that nothing moves is stable after one epoch"


def test_evolution_draws_a_node_and_then_its_operation_or_its_parents() -> None:
    space = space_of(3)
    weights = dict(zip(space.decisions, node_first(space), strict=True))
    assert weights["op of node 1"] == weights["parents of output"] == pytest.approx(1 / 6)
    assert weights["op of node 5"] == weights["parents of node 5"] == pytest.approx(1 / 12)
    assert sum(weights.values()) == pytest.approx(1)
    with pytest.raises(SpecError, match=r"space odd are neither edges.*mutate='edge'"):
        node_first(Space("odd", ["width", "op of node 1"], [["1", "2"], ["p", "q"]]))


def test_gdas_weighs_a_drawn_option_against_the_mean_of_its_decision() -> None:
    """The gradient by hand, from the cells of the table that differ in one decision: nothing else is looked at."""
    space = space_of(1)
    land, tau, seeds = TabularLandscape(synthetic(1), **VALID._asdict(), dtype=np.float64), 3.0, np.arange(4)
    alpha = np.random.default_rng(0).normal(size=(4, space.D, space.K))
    mask = np.broadcast_to(space.mask, alpha.shape)
    view = View(land, land.init(seeds, Horizon(1, 10)), Streams(seeds), 0)
    seen = GumbelHard(tau, tau).estimate(view, alpha, None, mask)
    p = Softmax().forward(perturbed(view, "gumbel", alpha, mask) / tau, mask)
    cells = seen.usage.argmax(-1)
    for s in range(4):
        for d in range(space.D):
            others = np.repeat(cells[s][None], space.counts[d], axis=0)
            others[:, d] = np.arange(space.counts[d])
            losses, c = land.arch_loss(None, others[None])[0], cells[s, d]
            advantage = losses[c] - losses.mean()
            expected = p[s, d] * ((np.arange(space.K) == c) - p[s, d, c]) * advantage / tau
            assert np.allclose(seen.grad[s, d], expected, atol=1e-14)


def test_partial_channels_mix_a_quarter_of_the_operations_and_all_of_the_parents() -> None:
    space, land = space_of(2), landscape(2, "tabular")
    share, past = bypass(space, 4, "float64")
    for d in range(space.D):
        op = d in space.op_decisions
        assert share[d, 0] == (0.25 if op else 1.0)
        assert np.allclose(past[d, : space.counts[d]], 0.25 if op else 0.0) and (past[d, space.counts[d] :] == 0).all()
    assert incoming(space.decisions, space.name) == tuple((d,) for d in range(space.D))
    searcher = make("pc-darts")
    fresh, _ = start(searcher, land, SEEDS)
    state, _ = run(searcher, land, SEEDS, 30)
    assert np.array_equal(state.slots[EDGE], fresh.slots[EDGE]), "there are no edges to weigh"
    assert not np.array_equal(state.alpha, fresh.alpha)


def test_stages_keep_at_most_what_a_decision_has() -> None:
    land = landscape(3, "tabular")
    searcher = methods()["p-darts"].make()
    state, shared = start(searcher, land, SEEDS[:2])
    seen = []
    for step in range(HORIZON.steps):
        if step % 20 == 10:
            seen.append(state.mask.sum(axis=-1)[0].tolist())
        state, shared, _ = searcher.step(state, land, shared)
    counts = land.space.counts
    assert seen == [counts.tolist(), np.minimum(counts, 3).tolist(), np.minimum(counts, 2).tolist()]
    view = View(land, shared, Streams([0]), 0)
    with pytest.raises(SpecError, match=r"starts with 2; give keep=\(2, 1\)"):
        StagedPruning((1, 1)).apply(view, state.alpha, np.broadcast_to(land.space.mask, state.mask.shape), Softmax())


def test_a_query_of_a_large_space_needs_no_dictionary_of_all_strings() -> None:
    table = synthetic(3)
    handle = table.handle(**VALID._asdict())
    for index in (0, 777_777, 1_312_199):
        text = table.space.format(table.space.at(index))
        assert handle(text) == handle(index) == pytest.approx(float(table.accuracy[VALID][index]), abs=1e-5)
    assert "index_of" not in table.__dict__
