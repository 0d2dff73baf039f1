"""NSGA-II: the contract of a black-box method, pymoo's own loop step for step, and the paper's survival by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.reporting.pareto import trade_off
from nasbench_sim.reporting.pareto_found import found
from nasbench_sim.runs.evaluations import EvaluationBatch, history_of
from nasbench_sim.runs.record import Run
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.searchers.base import Slots, rows
from nasbench_sim.searchers.blackbox import History, Problem, make_problem
from nasbench_sim.searchers.blackbox.base import stream_seed
from nasbench_sim.searchers.blackbox.nsga2 import NSGA2, _Breeder, non_dominated
from nasbench_sim.searchers.recipes.nsga2 import nsga2
from nasbench_sim.searchers.registry import get_method
from nasbench_sim.streams import Streams
from nasbench_sim.tables.table import Table
from tests.landscapes.test_penalised import priced_table
from tests.searchers.helpers import same
from tests.synthetic import SPACE, VALID

SEEDS = np.array([11, 3, 2**40, 0, 5])
LATENCY = "latency_ms/made-up"


def timed_table() -> Table:
    """The priced synthetic table with a second number of epochs and training times of 1,000 to 2,000 seconds."""
    random = np.random.default_rng(9)
    full = priced_table()
    short = (full.accuracy[VALID] - 10 + random.normal(0, 1, SPACE.size)).clip(1, 100).astype(np.float32)
    times = random.uniform(1_000, 2_000, SPACE.size).astype(np.float32)
    return replace(
        full,
        accuracy={**full.accuracy, VALID._replace(epochs=12): short},
        metrics={**full.metrics, ("train_time_s", "cifar10"): times},
    )


TABLE = timed_table()
PROBLEM = make_problem(TABLE, "cifar10")


def run(
    method: NSGA2,
    seeds: np.ndarray,
    evaluations: int,
    resume: tuple[History, Slots] | None = None,
    problem: Problem = PROBLEM,
) -> tuple[History, Slots]:
    """So many evaluations in all, from nothing or from what `resume` holds."""
    streams = Streams(seeds)
    start: tuple[History, Slots] = (History.empty(len(seeds), 0, SPACE.D), method.init(SPACE, seeds))
    history, slots = resume or start
    for n in range(history.value.shape[1], evaluations):
        archs, fidelity, slots = method.propose(problem, history, slots, streams, n)
        assert archs.shape == (len(seeds), SPACE.D) and (fidelity == method.levels(problem)[0]).all()
        value, seconds = problem.evaluate(archs, fidelity)
        clock = seconds + (history.clock[:, -1] if n else 0.0)
        new = (archs.astype(np.int8), fidelity, value, clock)
        joined = [np.concatenate([old, x[:, None]], axis=1) for old, x in zip(history[:4], new, strict=True)]
        history = History(joined[0], joined[1], joined[2], joined[3], history.count + 1)
    return history, slots


def test_a_seed_alone_equals_its_row_bit_for_bit() -> None:
    method = nsga2(metrics=("params_m", LATENCY), population=8)
    together = run(method, SEEDS, 45)
    for row in range(len(SEEDS)):
        assert same(run(method, SEEDS[row : row + 1], 45), rows(together, slice(row, row + 1)))
    assert len({a.tobytes() for a in together[0].archs}) == len(SEEDS)


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 30])
def test_resumed_equals_uninterrupted_bit_for_bit(cut: int) -> None:
    method = nsga2(population=8)
    assert same(run(method, SEEDS, 45, resume=run(method, SEEDS, cut)), run(method, SEEDS, 45))


def test_proposing_is_pure_and_legal() -> None:
    method = nsga2(population=8)
    history, slots = run(method, SEEDS, 24)
    before = [x.copy() for x in (*history, *slots.values())]
    once, again = (method.propose(PROBLEM, history, slots, Streams(SEEDS), 24) for _ in range(2))
    assert same(once, again)
    assert all(np.array_equal(a, b) for a, b in zip(before, (*history, *slots.values()), strict=True))
    SPACE.check(history.archs)
    generations = history.archs.reshape(len(SEEDS), 3, 8, SPACE.D)
    assert all(len(np.unique(g, axis=0)) == 8 for seed in generations for g in seed)  # no repeats in a generation


def test_it_is_pymoos_own_loop() -> None:
    """`ask` and `tell` of one live pymoo object, given each generation's generator, propose the same cells."""
    from pymoo.core.population import Population
    from pymoo.core.termination import NoTermination

    method, seed = nsga2(metrics=("params_m", LATENCY), population=10), SEEDS[:1]
    history, _ = run(method, seed, 60)
    objectives = method.objectives(PROBLEM, history)[0]
    breeder = _Breeder(method, PROBLEM)
    live = breeder.algorithm
    live.setup(breeder.problem, termination=NoTermination())
    streams = Streams(seed)
    for generation in range(6):
        live.random_state = np.random.default_rng(int(stream_seed(streams, "nsga2", generation)[0]))
        made = slice(10 * generation, 10 * generation + 10)
        if generation:
            before = slice(made.start - 10, made.start)
            live.tell(infills=Population.new(X=history.archs[0, before].astype(np.int64), F=objectives[before]))
        assert np.array_equal(live.ask().get("X").astype(np.int64), history.archs[0, made]), generation


def test_survivors_by_rank_and_crowding_distance_computed_by_hand() -> None:
    """Deb et al. 2002, section III: fronts in turn; of the front that does not fit whole, the least crowded."""
    method = nsga2(metrics=(LATENCY,), population=12)
    history, slots = run(method, SEEDS, 61)
    objectives = method.objectives(PROBLEM, history)
    split = 0
    for s in range(len(SEEDS)):
        before = run(method, SEEDS[s : s + 1], 49)[1]["parents"][0]
        left, survivors = np.concatenate([before, np.arange(48, 60)]), set(slots["parents"][s].tolist())
        assert len(survivors) == 12 and survivors <= set(left.tolist())
        room = 12
        while room:
            rivals = objectives[s, left]
            front = left[[not ((rivals <= o).all(axis=1) & (rivals < o).any(axis=1)).any() for o in rivals]]
            kept = np.isin(front, list(survivors))
            if len(front) <= room:
                assert kept.all()
            else:  # of equal distances, the infinite ones of both ends above all, chance decides
                distance = crowding(objectives[s, front])
                assert kept.sum() == room and distance[kept].min() >= distance[~kept].max()
                split += 1
            room -= int(kept.sum())
            left = np.setdiff1d(left, front)
    assert split  # the rule was needed


def crowding(points: np.ndarray) -> np.ndarray:
    """Sum over objectives of the normalised gap between an individual's neighbours; infinite at the ends."""
    out = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        out[order[[0, -1]]] = np.inf
        out[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / max(np.ptp(column), 1e-32)
    return out


def test_the_oldest_stays_while_nothing_beats_it() -> None:
    """What tells it from aging evolution, whose individuals die of age: the elite is never lost."""
    method = nsga2(metrics=(LATENCY,), population=8)
    history, slots = run(method, SEEDS, 81)
    objectives = method.objectives(PROBLEM, history)
    for s in range(len(SEEDS)):
        best = np.flatnonzero(non_dominated(objectives[s, :80]))
        if len(np.unique(objectives[s, best], axis=0)) <= 8:
            assert {tuple(o) for o in objectives[s, best]} <= {tuple(o) for o in objectives[s, slots["parents"][s]]}
        extremes = objectives[s, :80].min(axis=0)
        assert np.array_equal(objectives[s, slots["parents"][s]].min(axis=0), extremes)  # both ends of the front
        assert slots["parents"][s].min() < 64  # some parent is older than two generations


def test_the_record_holds_the_non_dominated_set() -> None:
    spec = make_spec(
        method="nsga2", params={"metrics": LATENCY, "population": 8}, table=TABLE.name, dataset="cifar10",
        landscape="evaluations", seeds=(4, 9, 1), epochs=3, budget=5_000.0,
    )  # fmt: skip
    batch = EvaluationBatch(spec, TABLE, np.array(spec.seeds))
    progress = batch.start()
    for _ in range(3):
        progress = batch.advance(progress)
    state = batch.final_state([progress])
    history, front = history_of(progress.state).first(int(state["evaluations"].max())), state["front"]
    assert front.shape == history.value.shape and front.dtype == np.bool_
    run_ = Run(
        spec=spec,
        table={"name": TABLE.name, "sha256": TABLE.sha256, "report_keys": {}},
        seeds=np.array(spec.seeds),
        archs=progress.history["archs"][:, -1].astype(np.int64),
        history=progress.history,
        final_state=state,
    )
    plane = trade_off(TABLE, "cifar10", [LATENCY])
    objectives = batch.searcher.objectives(batch.problem, history)  # type: ignore[attr-defined]
    for s, cells in enumerate(found(run_, plane)):
        chosen = np.flatnonzero(front[s])
        assert len(chosen) > 1 and (chosen < history.count[s]).all()
        assert sorted(SPACE.index(history.archs[s, chosen].astype(int)).tolist()) == sorted(cells.tolist())
        made = objectives[s, : history.count[s]]
        beaten = [((made <= o).all(axis=1) & (made < o).any(axis=1)).any() for o in made]
        assert not any(beaten[i] for i in chosen)
        cell = [tuple(a) for a in history.archs[s]]
        assert all(beaten[i] or cell[i] in {cell[j] for j in chosen} for i in range(len(made)))
    best = history.incumbent()  # the reported cell is that of the best validation accuracy, as for other methods
    assert np.array_equal(progress.history["archs"][:, -1], history.archs[np.arange(3), best])


def test_finds_more_of_the_front_than_random_cells_at_equal_evaluations() -> None:
    seeds, evaluations = np.arange(40), 200
    plane = trade_off(TABLE, "cifar10", ["params_m"], role="valid", reference="front")
    method = nsga2(epochs=200)
    history = run(method, seeds, evaluations)[0]
    drawn = np.random.default_rng(0).integers(0, SPACE.size, (len(seeds), evaluations))
    theirs = np.array([plane.share(cells) for cells in drawn])
    ours = np.array([plane.share(SPACE.index(archs.astype(int))) for archs in history.archs])
    # 40 pairs: the mean difference is beyond 5 standard errors
    assert (ours - theirs).mean() > 5 * (ours - theirs).std() / np.sqrt(len(seeds))


def test_operators_are_categorical() -> None:
    """Without mutation a child has its parents' options; with mutation 1 and no crossover options are uniform."""
    method = nsga2(population=50, mutation=0.0)
    first, later = np.split(run(method, SEEDS[:2], 100)[0].archs, 2, axis=1)
    for s in range(2):
        for d in range(SPACE.D):
            assert set(later[s, :, d]) <= set(first[s, :, d])
    method = nsga2(population=500, mutation=1.0, crossover=0.0)
    later = run(method, SEEDS[:1], 1_000)[0].archs[0, 500:]
    counts = np.stack([np.bincount(later[:, d], minlength=5) for d in range(SPACE.D)])
    assert np.abs(counts - 100).max() < 5 * np.sqrt(500 * 0.2 * 0.8)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"metrics": ()}, "one or more different costs"),
        ({"metrics": ["params_m", "params_m"]}, "one or more different costs"),
        ({"population": 3}, "population is 4 to 1000 cells, got 3"),
        ({"population": 1_001}, "population is 4 to 1000"),
        ({"crossover": 1.5}, "crossover is a probability"),
        ({"mutation": -0.1}, "mutation is a probability"),
        ({"metric": "params_m"}, "did you mean 'metrics'"),
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        get_method("nsga2").make(**params)


def test_what_the_table_does_not_hold_is_refused_before_anything_runs() -> None:
    with pytest.raises(NotMeasured, match=r"unknown cost metric 'latency_ms/pixel9'.*latency_ms/made-up"):
        nsga2(metrics="latency_ms/pixel9").levels(PROBLEM)
    with pytest.raises(NotMeasured, match="latency_ms/holed was measured for 13392 of 15625"):
        nsga2(metrics="latency_ms/holed").levels(PROBLEM)
    with pytest.raises(SpecError, match="proxy/synflow is not a cost"):
        nsga2(metrics="proxy/synflow").levels(PROBLEM)
    with pytest.raises(SpecError, match="no fidelity of 50 epochs"):
        nsga2(epochs=50).levels(PROBLEM)


def test_an_old_pymoo_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "nasbench_sim.searchers.blackbox.nsga2.version"
    monkeypatch.setattr(where, lambda _: "0.6.1.5")
    for make in (lambda: nsga2(), lambda: trade_off(TABLE, "cifar10", ["params_m"])):
        with pytest.raises(SpecError, match=r"0.6.2 or later, and 0.6.1.5.*; pip install 'nasbench-sim\[blackbox\]'"):
            make()
    monkeypatch.setattr(where, lambda _: "0.7.0rc1")
    nsga2()


def test_a_generation_is_filled_where_repeats_were_dropped() -> None:
    breeder = _Breeder(nsga2(population=8), PROBLEM)
    few = np.array([[3, 3, 3, 1, 3, 3], [0, 0, 0, 0, 0, 0]])
    out = breeder._filled(few, np.random.default_rng(0))
    assert out.shape == (8, 6) and len(np.unique(out, axis=0)) == 8 and np.array_equal(out[:2], few)
    SPACE.check(out)
