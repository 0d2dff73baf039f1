"""Evolution, local search and REINFORCE: what makes each the method it is, against plain loops and closed forms."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import Multilinear
from nasbench_sim.searchers.blackbox import History
from nasbench_sim.searchers.blackbox.cells import codes, neighbours
from nasbench_sim.searchers.blackbox.evolution import AgingEvolution
from nasbench_sim.searchers.blackbox.reinforce import Reinforce
from nasbench_sim.streams import Streams
from tests.blackbox.helpers import TABLE, batch, finish, result
from tests.synthetic import SPACE, VALID

COUNTED = {"cost": "evaluations", "fidelities": [200], "epochs": 1}


def made(archs: np.ndarray, value: np.ndarray, fidelity: int = 0) -> History:
    """A history `[S, n]` of these evaluations, a second each."""
    s, n = value.shape
    clock = np.cumsum(np.ones((s, n)), axis=1)
    return History(archs.astype(np.int8), np.full((s, n), fidelity, np.int8), value, clock, np.full(s, n))


def random_history(seeds: int, n: int, salt: int = 0) -> History:
    random = np.random.default_rng(salt)
    archs = random.integers(0, 5, (seeds, n, SPACE.D))
    return made(archs, TABLE.accuracy[VALID][SPACE.index(archs)])


# --- regularised evolution ------------------------------------------------------------------------------------------


def test_rea_parent_is_the_best_of_the_drawn_members_of_the_youngest() -> None:
    method, history, streams, n = AgingEvolution(population=7, sample=3), random_history(50, 30), Streams(range(50)), 30
    parents = method.parents(history, streams, n)
    drawn = streams.uniform("tournament", n, (3,))
    for s in range(50):
        members = [n - 7 + int(u * 7) for u in drawn[s].astype(np.float64)]
        best = max(members, key=lambda i: history.value[s, i])
        assert np.array_equal(parents[s], history.archs[s, best])


def test_rea_the_oldest_dies_not_the_worst() -> None:
    """The best cell is never a parent again once `population` cells are younger, and the worst young one still is."""
    p, n = 4, 12
    archs = np.arange(n)[:, None] * np.ones(SPACE.D, dtype=int)  # every cell bears its number; parents() reads no cell
    value = np.full(n, 50.0, dtype=np.float32)
    value[n - p - 1] = 99.0  # the best, just too old
    value[n - p :] = [20, 10, 30, 15]
    many = 400
    history = made(np.tile(archs, (many, 1, 1)), np.tile(value, (many, 1)))
    for sample in (1, 2):
        parents = AgingEvolution(p, sample).parents(history, Streams(range(many)), n)[:, 0]
        assert set(parents) <= set(range(n - p, n))
        if sample == 1:
            assert set(parents) == set(range(n - p, n))  # the worst lives as long as any
    assert (AgingEvolution(p, 1).parents(history, Streams(range(many)), n)[:, 0] == n - p + 1).any()


@pytest.mark.parametrize("mutate", ["edge", "node"])
def test_rea_children_differ_from_a_living_cell_in_exactly_one_edge(mutate: str) -> None:
    out = result(batch("rea", range(20), params={"population": 6, "mutate": mutate}, **COUNTED, budget=40))
    archs = out["evaluated_archs"].astype(int)
    for n in range(6, 40):
        apart = (archs[:, n, None] != archs[:, n - 6 : n]).sum(axis=2)
        assert (apart == 1).any(axis=1).all()


# --- local search ---------------------------------------------------------------------------------------------------


def optima(value: np.ndarray) -> set[int]:
    """Codes of the cells that no neighbour beats."""
    near = codes(SPACE, neighbours(SPACE, SPACE.all))
    by_code = value[SPACE.rank]
    here = codes(SPACE, SPACE.all)
    return set(here[(by_code[here][:, None] >= by_code[near]).all(axis=1)].tolist())


def first_stops(table: Any, dataset: str, seeds: int, budget: int) -> list[int]:
    """Code of the cell at which each search stopped for the first time, where it did."""
    about = {**COUNTED, "epochs": budget}  # one evaluation a point, to look at the memory in between
    searching = batch("local-search", range(seeds), params={}, table=table, dataset=dataset, budget=budget, **about)
    progress, before, found = searching.start(), None, {}
    while progress.epoch < searching.epochs:
        progress = searching.advance(progress)
        slots = progress.state.slots
        if before is not None:
            for s in np.nonzero((slots["method/stops"] == 1) & (before["method/stops"] == 0))[0]:
                found[int(s)] = int(codes(SPACE, slots["method/centre"][s]))
        before = slots
    return list(found.values())


def test_local_search_stops_at_local_optima_of_the_synthetic_table() -> None:
    stops = first_stops(TABLE, "cifar10", 20, 150)
    assert len(stops) == 20 and set(stops) <= optima(TABLE.accuracy[VALID])


def test_local_search_leaves_a_plateau_only_after_all_its_neighbours() -> None:
    """Where every cell is as good as any other, the centre stays, and 24 neighbours are trained before a restart."""
    flat = np.full(SPACE.size, 80, dtype=np.float32)
    table = dataclasses.replace(TABLE, accuracy={**TABLE.accuracy, VALID: flat})
    out = finish(batch("local-search", [4], params={"initial": 2}, table=table, **COUNTED, budget=29))
    archs = out.state.slots["history/archs"][0].astype(int)
    assert out.state.slots["method/stops"][0] == 1
    apart = (archs != archs[0]).sum(axis=1)
    assert (apart[2:26] == 1).all() and len({a.tobytes() for a in archs[2:26]}) == 24 and (apart[26:28] > 1).all()


@pytest.mark.real
@pytest.mark.parametrize(("dataset", "number"), [("cifar10", 18), ("cifar100", 27), ("ImageNet16-120", 46)])
def test_local_search_stops_at_local_optima_of_nb201(nb201_table: Any, dataset: str, number: int) -> None:
    """Cells that no neighbour beats; on ImageNet16-120 two of the 46 are neighbours of equal accuracy."""
    best = optima(nb201_table.values(dataset=dataset, split="valid", epochs=200, seed="mean"))
    assert len(best) == number
    stops = first_stops(nb201_table, dataset, 60, 150)
    assert len(stops) >= 55 and set(stops) <= best


def test_local_search_trains_nothing_twice_and_moves_only_upwards() -> None:
    out = result(batch("local-search", range(10), params={"initial": 5}, **COUNTED, budget=200))
    for archs in out["evaluated_archs"]:
        assert len({a.tobytes() for a in archs}) == 200
    archs, value = out["evaluated_archs"].astype(int), out["evaluated_valid"]
    for s in range(10):  # while the first descent lasts, each cell is a neighbour of the best so far
        best = int(value[s, :5].argmax())
        for n in range(5, 20):
            assert (archs[s, n] != archs[s, best]).sum() == 1
            best = n if value[s, n] > value[s, best] else best


# --- REINFORCE ------------------------------------------------------------------------------------------------------


def test_reinforce_gradient_is_that_of_the_log_probability() -> None:
    """Central differences of -(advantage) log p(cell), float64."""
    random = np.random.default_rng(0)
    alpha, arch, advantage = random.normal(size=(1, 6, 5)), random.integers(0, 5, (1, 6)), np.array([2.5])

    def loss(a: np.ndarray) -> float:
        logs = a - np.log(np.exp(a).sum(axis=-1, keepdims=True))
        return float(-advantage[0] * logs[0, np.arange(6), arch[0]].sum())

    theta = np.exp(alpha) / np.exp(alpha).sum(axis=-1, keepdims=True)
    ours = Reinforce.gradient(theta, arch, advantage)
    for d, k in product(range(6), range(5)):
        step = np.zeros_like(alpha)
        step[0, d, k] = 1e-6
        assert ours[0, d, k] == pytest.approx((loss(alpha + step) - loss(alpha - step)) / 2e-6, abs=1e-7)


def test_reinforce_is_the_policy_gradient_of_the_expected_accuracy() -> None:
    """Averaged over all 15,625 cells under the policy, the estimator is d E[R] / d alpha, whatever the baseline."""
    random = np.random.default_rng(1)
    alpha = random.normal(size=(6, 5))
    theta = np.exp(alpha) / np.exp(alpha).sum(axis=-1, keepdims=True)
    reward = TABLE.accuracy[VALID].astype(np.float64)
    p = np.prod(theta[np.arange(6), SPACE.all], axis=1)
    every = Reinforce.gradient(np.broadcast_to(theta, (SPACE.size, 6, 5)), SPACE.all, reward - 77.0)
    estimate = -(p[:, None, None] * every).sum(axis=0)
    form = Multilinear(reward[SPACE.rank].reshape((5,) * 6))
    _, by_theta = form.value_and_grad(np.repeat(theta[None], 8, axis=0))
    exact = theta * (by_theta[0] - (theta * by_theta[0]).sum(axis=1, keepdims=True))
    assert np.allclose(estimate, exact, atol=1e-9)


def test_reinforce_baseline_is_the_corrected_moving_average_with_the_reward_itself() -> None:
    method, rewards = Reinforce(lr=0.1), np.array([80.0, 90.0, 60.0])
    slots = method.init(SPACE, np.array([5]))
    arch = np.zeros((1, 6), dtype=np.int8)
    for n, reward in enumerate(rewards):
        slots = method.learn(SPACE, slots, arch, np.array([reward], dtype=np.float32))
        weights = 0.1 * 0.9 ** np.arange(n, -1, -1)
        mean = (weights * rewards[: n + 1]).sum() / weights.sum()
        assert slots["ema_sum"][0] / slots["ema_weight"][0] == pytest.approx(mean)


def test_reinforce_first_reward_teaches_nothing_and_a_better_one_is_repeated() -> None:
    """The first baseline equals the first reward; after it, a better cell becomes more likely and a worse one less."""
    method, arch = Reinforce(lr=0.1), np.full((2, 6), 3, dtype=np.int8)
    slots = method.init(SPACE, np.array([0, 1]))
    once = method.learn(SPACE, slots, arch, np.array([70, 70], dtype=np.float32))
    assert np.array_equal(once["alpha"], slots["alpha"])
    twice = method.learn(SPACE, once, arch, np.array([90, 20], dtype=np.float32))
    before, after = (method.policy(SPACE, x)[:, :, 3].prod(axis=1) for x in (once, twice))
    assert after[0] > before[0] and after[1] < before[1]


def test_progress_is_not_changed_by_advancing() -> None:
    searching = batch("local-search")
    first = searching.advance(searching.start())
    kept = {k: v.copy() for k, v in first.state.slots.items()}
    finish(searching, first)
    assert all(np.array_equal(kept[k], v, equal_nan=v.dtype.kind == "f") for k, v in first.state.slots.items())
