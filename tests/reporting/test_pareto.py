"""The front of a table, hypervolumes and found sets against closed forms and brute force; the figure's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from nasbench_sim.errors import NotMeasured, RunError, SpecError
from nasbench_sim.reporting import save_figure
from nasbench_sim.reporting.pareto import TradeOff, trade_off
from nasbench_sim.reporting.pareto_figure import median_attainment, plot_pareto
from nasbench_sim.reporting.pareto_found import check_runs, families, found, measure
from nasbench_sim.runs.record import Run
from nasbench_sim.tables.table import Table
from tests.landscapes.test_penalised import priced_table
from tests.reporting.factory import make_run
from tests.synthetic import SPACE, TEST, VALID

TABLE = priced_table()
LATENCY = "latency_ms/made-up"
ONE = trade_off(TABLE, "cifar10", [LATENCY])
TWO = trade_off(TABLE, "cifar10", ["params_m", LATENCY])
cells_ = st.lists(st.integers(0, SPACE.size - 1), max_size=12)


def final_run(cells: Sequence[int], penalty: dict[str, float] | None = None, **fields: object) -> Run:
    """A search by gradient whose seeds ended on these official indices; -1 is a search that failed."""
    at = np.asarray(cells)
    run = make_run(seeds=len(at), epochs=2, table=TABLE.name, **fields)  # type: ignore[arg-type]
    lost = np.flatnonzero(at < 0)
    return replace(
        run,
        spec=run.spec.model_copy(update={"penalty": penalty or {}}),
        table={**run.table, "sha256": TABLE.sha256},
        archs=np.where(at[:, None] < 0, -1, SPACE.at(np.maximum(at, 0))),
        failures={"seed": run.seeds[lost]},
    )


def trained_run(cells: Sequence[Sequence[int]], epochs: Sequence[Sequence[int]] | None = None) -> Run:
    """A black-box search that trained these official indices one after another; -1: it had ended."""
    at = np.asarray(cells)
    made = np.where(at >= 0, 12, 0) if epochs is None else np.asarray(epochs)
    run = final_run([0] * len(at), method="nsga2", landscape="evaluations")
    valid = np.where(at >= 0, TABLE.accuracy[VALID][np.maximum(at, 0)], np.nan).astype(np.float32)
    archs = np.where(at[..., None] >= 0, SPACE.at(np.maximum(at, 0)), -1).astype(np.int8)
    return replace(run, final_state={"evaluated_archs": archs, "evaluated_epochs": made, "evaluated_valid": valid})


def dominates(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By definition: nowhere worse and somewhere better."""
    return np.asarray((a <= b).all(axis=-1) & (a < b).any(axis=-1))


def sweep(points: np.ndarray, reference: np.ndarray) -> float:
    """Hypervolume of minimised points in the plane: strips under the staircase."""
    inside = sorted(map(tuple, points[(points < reference).all(axis=1)].tolist()))
    area, top = 0.0, float(reference[1])
    for x, y in inside:
        area += (float(reference[0]) - x) * max(top - y, 0.0)
        top = min(top, y)
    return area


@pytest.mark.parametrize("plane", [ONE, TWO], ids=["plane", "space"])
def test_no_cell_beats_the_front_and_every_other_cell_is_beaten_by_it(plane: TradeOff) -> None:
    front, rest = plane.front, np.setdiff1d(np.arange(SPACE.size), plane.front)
    on = plane.objectives[front]
    assert 3 < len(front) < 500 and (np.diff(on[:, 1]) >= 0).all()
    assert not any(dominates(plane.objectives, point).any() for point in on)
    beaten = np.zeros(len(rest), dtype=bool)
    for point in on:
        beaten |= dominates(point, plane.objectives[rest])
    assert beaten.all()


@settings(max_examples=60, deadline=None)
@given(cells_, st.lists(st.floats(0.05, 1.5), min_size=2, max_size=2))
def test_hypervolume_in_the_plane_is_the_area_under_the_staircase(cells: list[int], scale: list[float]) -> None:
    plane = replace(ONE, reference=ONE.reference * np.array(scale))
    expected = sweep(plane.objectives[cells], plane.reference)
    assert plane.hypervolume(np.array(cells, dtype=int)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, SPACE.size - 1), min_size=1, max_size=3))
def test_hypervolume_in_space_is_inclusion_and_exclusion_of_boxes(cells: list[int]) -> None:
    points = TWO.objectives[cells]
    expected = 0.0
    for n in range(1, len(cells) + 1):
        for some in combinations(range(len(cells)), n):
            expected -= (-1) ** n * float(np.prod(TWO.reference - points[list(some)].max(axis=0)))
    assert TWO.hypervolume(np.array(cells)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(cells_, st.integers(0, SPACE.size - 1))
def test_shares_grow_with_the_set_and_end_at_the_front(cells: list[int], more: int) -> None:
    few, many = np.array(cells, dtype=int), np.array([*cells, more])
    for plane in (ONE, TWO):
        assert 0 <= plane.share(few) <= plane.share(many) + 1e-12 <= 1 + 2e-12
        assert plane.share(np.concatenate([few, plane.front])) == pytest.approx(1, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, SPACE.size - 1), min_size=1, max_size=6))
def test_distances_to_the_front_follow_their_definitions(cells: list[int]) -> None:
    on, some = TWO.objectives[TWO.front], TWO.objectives[cells]
    span = on.max(axis=0) - on.min(axis=0)
    short = (some[None] - on[:, None]) / span  # [front, cell, objective]
    igd_plus = np.sqrt((np.maximum(short, 0) ** 2).sum(axis=2)).min(axis=1).mean()
    assert TWO.igd_plus(np.array(cells)) == pytest.approx(igd_plus, rel=1e-9, abs=1e-12)
    epsilon = short.max(axis=2).min(axis=1).max()
    assert TWO.epsilon(np.array(cells)) == pytest.approx(epsilon, rel=1e-9, abs=1e-12)


def test_the_front_itself_is_at_no_distance_and_nothing_at_an_unknown_one() -> None:
    nothing = np.empty(0, dtype=int)
    assert ONE.igd_plus(ONE.front) == pytest.approx(0, abs=1e-12) and ONE.epsilon(ONE.front) == pytest.approx(0)
    assert np.isnan(ONE.igd_plus(nothing)) and np.isnan(ONE.epsilon(nothing)) and ONE.share(nothing) == 0


def test_reference_points() -> None:
    assert np.array_equal(ONE.reference, ONE.objectives.max(axis=0))
    assert ONE.role == "test" and np.allclose(100 - ONE.objectives[:, 0], TABLE.accuracy[TEST])
    valid = trade_off(TABLE, "cifar10", [LATENCY], role="valid")
    assert np.allclose(100 - valid.objectives[:, 0], TABLE.accuracy[VALID])
    front = trade_off(TABLE, "cifar10", [LATENCY], reference="front")
    assert np.array_equal(front.reference, ONE.objectives[ONE.front].max(axis=0))
    assert front.hypervolume(ONE.front[:1]) == 0  # the cheapest cell of the front has its worst error
    given_ = trade_off(TABLE, "cifar10", [LATENCY], reference=[75.0, 6.0])
    assert given_.reference.tolist() == [25.0, 6.0]


@pytest.mark.parametrize(
    ("metrics", "options", "error", "said"),
    [
        ([], {}, RunError, "one or more different costs"),
        (["params_m", "params_m"], {}, RunError, "one or more different costs"),
        (["latency_ms/pixel9"], {}, NotMeasured, "unknown cost metric"),
        (["proxy/synflow"], {}, SpecError, "is not a cost"),
        (["params_m"], {"role": "train"}, RunError, "unknown accuracy role 'train'.*valid, test"),
        (["params_m"], {"reference": "nadir"}, RunError, "unknown reference 'nadir'.*table, front, or numbers"),
        (["params_m"], {"reference": [80.0]}, RunError, r"2 finite numbers \(accuracy in percent, params_m\)"),
        (["params_m"], {"reference": [80.0, np.inf]}, RunError, "2 finite numbers"),
        (["params_m"], {"reference": [99.9, 1.0]}, RunError, "no cell of synthetic is better than the reference"),
    ],
)
def test_impossible_planes_are_refused(
    metrics: list[str], options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        trade_off(TABLE, "cifar10", metrics, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_a_search_by_gradient_found_its_final_cell_and_a_failed_one_nothing() -> None:
    assert [cells.tolist() for cells in found(final_run([5, 17, -1]), ONE)] == [[5], [17], []]


def test_a_black_box_search_found_what_no_other_cell_it_trained_beats_in_validation() -> None:
    trained = np.random.default_rng(3).integers(0, SPACE.size, (4, 30))
    trained[0, 20:], trained[1], trained[2, 15:] = -1, trained[1, 0], trained[2, :15]  # ended; one cell; each twice
    for row, cells in zip(trained, found(trained_run(trained.tolist()), ONE), strict=True):
        own = np.unique(row[row >= 0])
        seen = np.stack([100 - TABLE.accuracy[VALID][own].astype(float), ONE.objectives[own, 1]], axis=1)
        best = own[[not dominates(seen, point).any() for point in seen]]
        assert sorted(cells.tolist()) == best.tolist()
        assert (np.diff(ONE.objectives[cells, 1]) >= 0).all()


def test_what_was_found_does_not_depend_on_test_accuracies() -> None:
    run = trained_run(np.random.default_rng(4).integers(0, SPACE.size, (3, 25)).tolist())
    other = replace(TABLE, accuracy={VALID: TABLE.accuracy[VALID], TEST: TABLE.accuracy[TEST][::-1].copy()})
    upside_down = trade_off(other, "cifar10", [LATENCY])
    assert [c.tolist() for c in found(run, ONE)] == [c.tolist() for c in found(run, upside_down)]


def test_accuracies_after_unlike_epochs_are_not_compared() -> None:
    cheap, dear = int(ONE.objectives[:, 1].argmin()), int(ONE.objectives[:, 1].argmax())
    run = trained_run([[cheap, dear], [cheap, dear], [cheap, -1]], [[12, 200], [12, 12], [-1, 0]])
    assert [cheap in cells for cells in found(run, ONE)] == [False, True, True]
    assert dear in found(run, ONE)[0]


def test_runs_that_differ_in_their_penalty_alone_are_one_family() -> None:
    runs = [
        final_run([1, 2], {"params_m": 0.1}),
        final_run([1, 2], {"params_m": 0.1}, landscape="tabular"),
        final_run([3, 4, 5]),
        final_run([3, 4], method="random"),
    ]
    assert families(runs) == {"darts, shared": [0, 2], "darts, tabular": [1], "random, shared": [3]}
    assert families(runs[:1]) == {"darts": [0]}


def test_measured_rows() -> None:
    best = int(ONE.front[-1])
    runs = [final_run([best, 7, -1]), final_run([11, int(ONE.front[0]), 12], {LATENCY: 0.1})]
    free, priced, both = measure(runs, ONE)
    assert (free["seeds"], free["failed"], free["cells"], free["on_front"]) == (3, 1, 1.0, 0.5)
    shares = [ONE.share(np.array([c])) for c in (best, 7)]
    assert free["share"] == {
        "mean": pytest.approx(np.mean(shares), abs=1e-6),
        "sd": pytest.approx(np.std(shares, ddof=1), abs=1e-6),
        "n": 2,
    }
    assert free["penalty"] == {} and priced["penalty"] == {LATENCY: 0.1} and both["penalty"] is None
    pooled = [ONE.share(np.array(pair)) for pair in ((best, 11), (7, int(ONE.front[0])))]
    assert both["share"]["mean"] == pytest.approx(np.mean(pooled), abs=1e-6) and both["failed"] == 1
    assert free["together"]["share"] == pytest.approx(ONE.share(np.array([best, 7])), abs=1e-6)
    lost = measure([final_run([-1, -1])], ONE)[0]
    assert lost["share"] == {"mean": None, "sd": None, "n": 0} and lost["cells"] is None and lost["failed"] == 2


def test_only_runs_of_one_data_set_and_of_this_table() -> None:
    runs = [final_run([1]), final_run([1], method="random")]
    assert check_runs(runs, TABLE) == "cifar10"
    with pytest.raises(RunError, match="no run to report"):
        check_runs([], TABLE)
    with pytest.raises(RunError, match="on cifar10, cifar100; a trade-off is of one data set"):
        check_runs([runs[0], final_run([1], dataset="cifar100")], TABLE)
    with pytest.raises(RunError, match=r"made on synthetic with sha256 ababab.*--table FILE"):
        check_runs([make_run(table=TABLE.name)], TABLE)


def _lines(figure: object) -> dict[str, np.ndarray]:
    ax = figure.axes[0]  # type: ignore[attr-defined]
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in ax.get_lines()}


def test_the_figure_shows_the_front_the_means_and_the_median_of_the_sets() -> None:
    trained = np.random.default_rng(6).integers(0, SPACE.size, (5, 40)).tolist()
    runs = [final_run([10, 20, 30]), final_run([40, 50, -1], {LATENCY: 0.02}), trained_run(trained)]
    lines = _lines(plot_pareto(runs, TABLE, [LATENCY]))
    cost, accuracy = ONE.objectives[:, 1], 100 - ONE.objectives[:, 0]
    assert np.array_equal(lines["_all"], np.stack([cost, accuracy], axis=1))
    corners = lines["_front"]
    for x in np.linspace(cost.min(), cost.max(), 50):
        assert corners[corners[:, 0] <= x][-1, 1] == accuracy[cost <= x].max()
    means = [[cost[cells].mean(), accuracy[cells].mean()] for cells in ([10, 20, 30], [40, 50])]
    assert np.allclose(lines["_means darts, shared"], means)
    steps, sets = lines["_nsga2, evaluations"], found(runs[2], ONE)
    for x in np.linspace(steps[0, 0], cost.max(), 50):
        best = [max(accuracy[cells][cost[cells] <= x], default=-np.inf) for cells in sets]
        assert steps[steps[:, 0] <= x][-1, 1] == np.median(best)


def test_median_attainment_of_few_seeds() -> None:
    by_cost = np.argsort(ONE.objectives[:, 1])
    cheap, dear = by_cost[:1], by_cost[-1:]
    x, y = median_attainment([cheap, dear], ONE)
    worse = min(100 - ONE.objectives[cheap[0], 0], 100 - ONE.objectives[dear[0], 0])
    assert x.tolist() == [ONE.objectives[dear[0], 1]] and y.tolist() == [worse]  # both seeds have a cell only there
    assert [a.size for a in median_attainment([], ONE)] == [0, 0]
    assert [a.size for a in median_attainment([cheap, cheap[:0]], ONE)] == [0, 0]


def test_the_figure_says_what_is_drawn_with_units() -> None:
    runs = [final_run([10, 20]), final_run([40, 50], {LATENCY: 0.02}), final_run([60, 60], {LATENCY: 0.5})]
    for role, word in ((None, "test"), ("valid", "validation")):
        figure = plot_pareto([*runs, trained_run([[1, 2, 3]])], TABLE, [LATENCY, "params_m"], role=role)
        figure.draw_without_rendering()
        text = " ".join(t.get_text() for t in figure.findobj(Text)).replace("\n", " ")
        assert f"Drawn: {word} accuracy of cells chosen on validation accuracy." in text
        assert [ax.get_xlabel() for ax in figure.axes] == ["latency on made-up (ms)", "parameters (millions)"]
        assert {ax.get_ylabel() for ax in figure.axes} == {f"{word} accuracy (%)"}
        assert "0.02" in text and "0.5" in text and "nsga2, evaluations" in text and "the table's front" in text


def test_equal_runs_give_equal_bytes_and_the_cloud_is_an_image(tmp_path: Path) -> None:
    for suffix in ("svg", "png"):
        a, b = (
            save_figure(plot_pareto([trained_run([[1, 2, 3]])], TABLE, [LATENCY, "params_m"]), tmp_path / name)
            for name in (f"a.{suffix}", f"b.{suffix}")
        )
        assert a.read_bytes() == b.read_bytes() and a.stat().st_size < 600_000  # 2 x 15,625 marks would be 2 MB


def test_odd_runs_are_drawn(tmp_path: Path) -> None:
    for runs in ([final_run([-1])], [final_run([3])], [trained_run([[-1, -1]])], [trained_run([[4, -1]])]):
        save_figure(plot_pareto(runs, TABLE, ["flops_m"]), tmp_path / "f.png")
    with pytest.raises(RunError, match="no run"):
        plot_pareto([], TABLE, ["flops_m"])
    with pytest.raises(RunError, match="at least one cost"):
        plot_pareto([final_run([3])], TABLE, [])


@pytest.mark.real
def test_the_front_of_the_real_table(nb201_table: Table) -> None:
    """Cell 6111 is the published optimum of CIFAR-10 (94.373 %), so it ends the front; all-none is the cheapest."""
    plane = trade_off(nb201_table, "cifar10", ["params_m"])
    assert 6111 in plane.front and 1462 not in plane.front  # all 3x3: most parameters, 93.76 %
    assert 100 - plane.objectives[plane.front[-1], 0] == pytest.approx(94.373, abs=5e-4)
    assert (plane.objectives[plane.front[0], 1] == plane.objectives[:, 1].min()) and plane.share(plane.front) == 1
