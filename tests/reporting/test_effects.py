"""Effects: closed forms, definitions by brute force, failures counted, verdicts, figures in which nothing is cut."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.reporting.effects import (
    ALPHA,
    LEAST,
    TRAINING_NOISE,
    corrected_p,
    effects,
    mean_interval,
    signed_rank,
    write_effects,
)
from nasbench_sim.reporting.effects_plot import heading, plot_effects
from nasbench_sim.reporting.effects_words import verdicts
from nasbench_sim.reporting.gallery import save_figure
from nasbench_sim.runs.ablate import ablate
from nasbench_sim.runs.ablate_results import Ablation, Outcomes
from nasbench_sim.runs.grid import Cell, cells, grid_axes, make_grid
from nasbench_sim.tables.store import write_table
from nasbench_sim.tables.table import Key
from tests.synthetic import synthetic_table

TABLE = synthetic_table()
AXES = {"init_precision": [100, 1e4, 1e6], "denominator": ["sqrt", "plain"]}
FLOATS = st.lists(st.floats(-50, 50).map(lambda x: round(x, 2)), min_size=1, max_size=40)


def ablation(accuracy: Any, *, seeds: int = 20, axes: Any = None, **more: Any) -> Ablation:
    """An ablation whose cells end on `accuracy(cell, seeds)`; NaN is a failed search."""
    grid = make_grid(**{"name": "x", "method": "balenas", "seeds": seeds, "axes": axes or AXES, **more})
    found = cells(grid, TABLE)

    def part(cell: Cell) -> Outcomes:
        values = np.asarray(accuracy(cell, np.arange(seeds)), dtype=np.float32) * np.ones(seeds, dtype=np.float32)
        best = {"test": {"accuracy": 94.0}, "valid": {"accuracy": 91.0}}
        facts = {"name": "synthetic", "remark": "", "best": best}
        both = {"valid": values - 3, "test": values}
        return Outcomes(np.arange(seeds), both, np.zeros(seeds), np.isnan(values), facts)

    return Ablation.gather(grid, grid_axes(grid), found, "test", [part(c) for c in found], Path("nowhere"))


def noise(cell: Cell, seeds: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """What a cell and seed have of their own."""
    return np.random.default_rng(cell.number).normal(0, scale, len(seeds))


def test_the_effect_is_the_mean_of_paired_differences() -> None:
    common = np.random.default_rng(0).normal(0, 5, 20)  # a seed's luck, the same in every cell
    shift = {"sqrt": 0.0, "plain": -2.0}

    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        return 80 + common + shift[cell.values["denominator"]] + np.log10(cell.values["init_precision"])

    found = {(e.axis, e.value): e for e in effects(ablation(accuracy))}
    assert set(found) == {("init_precision", "100"), ("init_precision", "1e+06"), ("denominator", "plain")}
    plain = found["denominator", "plain"]
    assert plain.difference == pytest.approx(-2, abs=1e-4) and plain.rank_biserial == -1
    assert plain.low == pytest.approx(-2, abs=1e-4) and plain.high == pytest.approx(-2, abs=1e-4)
    assert (plain.pairs, plain.seeds, plain.baseline) == (3, 20, "sqrt")  # 3 pairs of cells, but 20 units
    assert plain.p == pytest.approx(stats.wilcoxon(np.full(20, -2.0)).pvalue)
    assert found["init_precision", "1e+06"].difference == pytest.approx(2, abs=1e-4)
    assert found["init_precision", "1e+06"].baseline == "10000"
    assert plain.mean == pytest.approx(float((80 + common - 2 + 4).mean()), abs=1e-4)


def test_pairing_sees_what_the_spread_over_seeds_hides() -> None:
    common = np.random.default_rng(1).normal(0, 10, 20)

    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        return 70 + common + noise(cell, seeds, 0.3) + (cell.values["denominator"] == "plain")

    (effect,) = (e for e in effects(ablation(accuracy)) if e.axis == "denominator")
    assert effect.low is not None and effect.high is not None
    assert effect.differs and effect.high - effect.low < 0.5  # unpaired it would be 12 points wide
    assert effect.low < 1 < effect.high


def test_cells_of_one_seed_are_no_independent_pairs() -> None:
    """A hundred pairs of cells with one common luck must not look like a hundred observations."""
    luck = np.random.default_rng(2).normal(0, 1, 8)

    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        return 80 + (luck if cell.values["denominator"] == "plain" else 0)

    axes = {"lr": [i / 100 for i in range(1, 11)], "weight_decay": [0.1], "denominator": ["sqrt", "plain"]}
    del axes["weight_decay"]
    (effect,) = (e for e in effects(ablation(accuracy, axes=axes, seeds=8)) if e.axis == "denominator")
    assert (effect.pairs, effect.seeds) == (10, 8)
    assert effect.p == pytest.approx(stats.wilcoxon(luck).pvalue, rel=1e-6)


def test_one_axis_at_a_time_compares_with_the_centre_only() -> None:
    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        far = cell.values["init_precision"] == 1e6
        return 80.0 + 5 * (cell.values["denominator"] == "plain") - 30 * far + 0 * seeds

    found = {e.value: e for e in effects(ablation(accuracy, mode="one-at-a-time"))}
    assert found["plain"].difference == 5 and found["1e+06"].difference == -30
    assert {e.baseline_mean for e in found.values()} == {80} and {e.pairs for e in found.values()} == {1}


def test_failed_searches_leave_their_pairs_and_are_counted() -> None:
    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        out = np.full(len(seeds), 80.0) + (cell.values["denominator"] == "plain")
        if cell.values == {"init_precision": 100.0, "denominator": "plain"}:
            out[:4] = np.nan
        if cell.values["init_precision"] == 1e6:
            out[:] = np.nan
        return out

    found = {e.value: e for e in effects(ablation(accuracy))}
    plain, far, near = found["plain"], found["1e+06"], found["100"]
    assert (plain.difference, plain.seeds, plain.failed, plain.baseline_failed, plain.searches) == (1, 20, 24, 20, 60)
    assert (far.difference, far.p, far.p_corrected, far.low, far.seeds, far.failed) == (None, None, None, None, 0, 40)
    assert near.difference == 0 and near.p == 1 and near.seeds == 20 and near.failed == 4
    lines = verdicts(list(found.values()), "test")
    assert lines[0] == (
        "init_precision: every search ends on the same accuracy; 4 of 40 searches failed at 100; "
        "40 of 40 searches failed at 1e+06"
    )
    assert "24 of 60 searches failed at plain; 20 of 60 searches failed at the baseline sqrt" in lines[1]


def test_nothing_but_failures_is_said_so() -> None:
    lost = ablation(lambda cell, seeds: np.full(len(seeds), np.nan))
    found = effects(lost)
    assert all(e.difference is None for e in found)
    assert verdicts(found, "test")[1].startswith("denominator: nothing can be compared; 60 of 60")
    texts = [t.get_text() for ax in plot_effects(lost, found).axes for t in ax.texts]
    assert texts.count("every search failed") == 3


@settings(max_examples=60, deadline=None)
@given(FLOATS)
def test_signed_ranks_by_definition(values: list[float]) -> None:
    d = np.array(values)
    p, balance = signed_rank(d)
    moved = d[d != 0]
    if not len(moved):
        assert (p, balance) == (1, 0)
        return
    ranks = [1 + sum(abs(y) < abs(x) for y in moved) + (sum(abs(y) == abs(x) for y in moved) - 1) / 2 for x in moved]
    up = sum(r for r, x in zip(ranks, moved, strict=True) if x > 0)
    assert balance == pytest.approx((2 * up - sum(ranks)) / sum(ranks)) and 0 <= p <= 1
    if len(moved) <= 7:  # every sign pattern is equally likely: count those at least as far from the middle
        far = abs(up - sum(ranks) / 2) - 1e-9
        patterns = itertools.product((0, 1), repeat=len(moved))
        sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in patterns]
        assert p == pytest.approx(sum(abs(s - sum(ranks) / 2) >= far for s in sums) / len(sums))
    assert signed_rank(-d)[1] == pytest.approx(-balance) and signed_rank(-d)[0] == pytest.approx(p)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_by_definition(values: list[float]) -> None:
    p = np.array(values)
    holm, bh = corrected_p(p, "holm"), corrected_p(p, "bh")
    n = len(p)
    for i in range(n):  # Holm rejects at level a while p_(k) <= a / (n - k + 1) for all smaller ones
        rank = [sorted(range(n), key=lambda j: (p[j], j)).index(j) for j in range(n)]
        smaller = [p[j] * (n - rank[j]) for j in range(n) if rank[j] <= rank[i]]
        assert holm[i] == pytest.approx(min(1, max(smaller)))
        larger = [p[j] * n / (rank[j] + 1) for j in range(n) if rank[j] >= rank[i]]
        assert bh[i] == pytest.approx(min(1, min(larger)))
    assert (holm >= p - 1e-12).all() and (bh <= holm + 1e-12).all()
    assert corrected_p(np.array([]), "holm").size == corrected_p(np.array([]), "bh").size == 0


def test_intervals_cover_the_mean_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    inside = 0
    for trial in range(120):
        found = mean_interval(random.exponential(1, 30), trial)  # skewed: where BCa earns its name
        assert found is not None
        inside += found[0] < 1 < found[1]
    assert 0.87 <= inside / 120 <= 1.0  # 0.95 less what skewness costs at n = 30; sd of the share 0.02


def test_intervals_of_little_data() -> None:
    assert mean_interval(np.array([])) is None and mean_interval(np.array([3.0])) is None
    assert mean_interval(np.array([2.0, 2.0])) == (2.0, 2.0)
    found = mean_interval(np.array([0.0] * 30 + [1.0]))
    assert found is not None and 0 <= found[0] < 1 / 31 < found[1] < 0.3
    assert mean_interval(np.arange(9.0), 5) == mean_interval(np.arange(9.0), 5)


def test_an_unknown_correction_is_named() -> None:
    with pytest.raises(SpecError, match="did you mean 'holm'"):
        effects(ablation(noise), correction="holms")  # type: ignore[arg-type]


def test_data_sets_are_panels_of_their_own() -> None:
    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        up = {"shared": 1.0, "tabular": -1.0}[cell.spec.landscape] * (cell.values["denominator"] == "plain")
        return 80 + up + 0 * seeds

    both = ablation(accuracy, landscape=["shared", "tabular"])
    found = [e for e in effects(both) if e.axis == "denominator"]
    assert [(e.panel.landscape, e.difference) for e in found] == [("shared", 1.0), ("tabular", -1.0)]
    assert [(e.pairs, e.low, e.high) for e in found] == [(3, 1.0, 1.0), (3, -1.0, -1.0)]
    assert verdicts(found, "test")[0].startswith("cifar10, shared landscape: denominator: plain against sqrt")
    assert len(plot_effects(both, effects(both)).axes) == 4 + 2


@pytest.mark.parametrize(
    ("shift", "seeds", "said"),
    [
        (-3.1, 100, "denominator: plain against sqrt changes test by -3.10 points [-3.10, -3.10], p = "),
        (-3.1, 100, " (Holm): matters"),
        (0.1, 100, "real, but below the 0.2 points of training noise"),
        (0.0, 100, "denominator: every search ends on the same accuracy"),
        (1.0, 5, "no effect larger than 1.00 points can be seen (with 5 seeds no test can reach p < 0.05; "),
        (1.0, 1, "one seed tells nothing"),
    ],
)  # fmt: skip
def test_verdicts(shift: float, seeds: int, said: str) -> None:
    axes = {"denominator": ["sqrt", "plain"]}
    result = ablation(lambda c, s: 80 + shift * (c.values["denominator"] == "plain") + 0 * s, axes=axes, seeds=seeds)
    (line,) = verdicts(effects(result), "test")
    assert said in line and "\n" not in line


def test_ranks_and_mean_that_disagree_are_told_apart() -> None:
    """Most seeds gain half a point, a few collapse: the ranks rise, the mean does not."""

    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        return 90 + (cell.values["denominator"] == "plain") * np.where(seeds < 3, -30, 0.5 + seeds / 1000)

    (line,) = verdicts(effects(ablation(accuracy, axes={"denominator": ["sqrt", "plain"]}, seeds=60)), "test")
    assert line.endswith("most seeds rise, their mean need not")


def test_no_effect_bounds_what_could_be_there() -> None:
    result = ablation(lambda c, s: 80 + noise(c, s), axes={"denominator": ["sqrt", "plain"]}, seeds=50)
    (effect,) = effects(result)
    assert effect.low is not None and effect.high is not None and not effect.differs
    bound = max(abs(effect.low), abs(effect.high))
    assert verdicts([effect], "test") == [f"denominator: no effect larger than {bound:.2f} points can be seen"]


def test_effects_are_written_as_they_are(tmp_path: Path) -> None:
    found = effects(ablation(noise))
    with write_effects(found, tmp_path / "effects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["axis"], r["value"], r["dataset"]) for r in rows] == [(e.axis, e.value, "cifar10") for e in found]
    for row, effect in zip(rows, found, strict=True):
        assert float(row["difference"]) == pytest.approx(effect.difference, rel=1e-5)
        assert row["differs"] == str(effect.differs) and int(row["searches"]) == effect.searches


def nothing_is_cut_off(figure: Figure) -> bool:
    """Whether all that is drawn lies within the sheet (to a pixel)."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    edge = 1 / figure.dpi
    return bool(drawn.x0 > -edge and drawn.y0 > -edge and drawn.x1 < width + edge and drawn.y1 < height + edge)


MANY = {
    "init_precision": [1, 100, 1e4, 1e6], "denominator": ["sqrt", "plain"], "betas": [[0.5, 0.999], [0.9, 0.999]],
    "lr": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2], "landscape.preference": [{}, {"skip_connect": 0.5}],
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {}, {"axes": {"denominator": ["sqrt", "plain"]}},
        {"axes": MANY, "mode": "one-at-a-time", "params": {"train_at": "mean", "square_of": "mean"}},
        {"landscape": ["shared", "tabular"]},
        {"axes": {"run.epochs": [3, 50], "init_precision": list(range(1, 30))}, "params": {"denominator": "plain"}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("wide", [False, True])
def test_figures_show_every_value_and_cut_nothing_off(more: dict[str, Any], wide: bool) -> None:
    def accuracy(cell: Cell, seeds: np.ndarray) -> np.ndarray:
        out = 92 - (35 if wide and cell.levels[0] == 1 else 0) + noise(cell, seeds)
        out[:3] = np.nan if cell.levels[0] == 0 else out[:3]
        return out

    result = ablation(accuracy, **more)
    found = effects(result)
    figure = plot_effects(result, found)
    assert nothing_is_cut_off(figure)
    panels = len({cell.panel for cell in result.cells})
    maps = panels if len(result.axes) == 2 else 0
    assert len(figure.axes) == panels * len(result.axes) + maps
    for ax, axis in zip(figure.axes, list(result.axes) * panels, strict=False):
        assert ax.get_title(loc="left").startswith(axis.name) and len(ax.get_xticks()) == len(axis.values)
        assert len(ax.lines) >= 3 * len(axis.values) + 1  # quartiles, interval, mean; the baseline's line
        assert all(ax.get_ylim()[0] < y < ax.get_ylim()[1] for line in ax.lines for y in np.ravel(line.get_ydata()))
    first = figure.axes[0]
    assert "3 of" not in first.get_xticklabels()[-1].get_text() and "failed" in first.get_xticklabels()[0].get_text()
    notes = [" ".join(text.get_text().split()) for text in figure.texts]
    assert any("balenas" in text and "synthetic" in text and "20 seeds" in text for text in notes)
    assert any("1 point above" in text for text in notes) == wide


def test_what_is_too_much_to_draw_is_said_so() -> None:
    axes = {"init_precision": list(range(1, 72)), "denominator": ["sqrt", "plain"]}
    result = ablation(noise, axes=axes, seeds=6)
    texts = [t.get_text().replace("\n", " ") for ax in plot_effects(result, effects(result)).axes for t in ax.texts]
    assert texts == ["71 values: too many to draw; effects.csv holds them", "71 x 2 cells: too many to draw"]


def test_equal_ablations_give_equal_pictures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        result = ablation(noise)
        for suffix in ("svg", "png"):
            save_figure(plot_effects(result, effects(result)), tmp_path / f"{name}.{suffix}")
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.real
def test_training_noise_is_what_the_table_says(nb201_table: Any) -> None:
    keys = [Key("cifar10", "test", 200, f"run{i}") for i in range(3)]
    runs = np.stack([nb201_table.accuracy[key] for key in keys]).astype(np.float64)
    good = runs[:, (runs.mean(axis=0) > 88)]  # a cell that lacks a run has mean NaN
    assert good.shape[1] > 5000 and round(float(np.median(good.std(axis=0, ddof=1))), 1) == TRAINING_NOISE


def test_the_fewest_seeds_are_what_the_test_needs() -> None:
    assert signed_rank(np.arange(1.0, LEAST + 1))[0] < ALPHA < signed_rank(np.arange(1.0, LEAST))[0]


@pytest.mark.real
def test_the_gain_of_more_random_cells_is_that_of_order_statistics(nb201_table: Any, tmp_path: Path) -> None:
    """Best of n uniform cells by 200-epoch validation accuracy; FACTS: 93.05, 93.60 and 93.78 test at 10, 50, 100."""
    write_table(nb201_table, tmp_path / "nb201.h5")
    axes = {"evaluations": [10, 50, 100]}
    grid = make_grid(
        name="best-of-n", table=str(tmp_path / "nb201.h5"), method="random", landscape="tabular", seeds=300,
        epochs=1, steps_per_epoch=100, axes=axes, baseline={"evaluations": 10},
    )  # fmt: skip
    result = ablate(grid, out=tmp_path / "out", workers=1)
    key = {"dataset": "cifar10", "epochs": 200, "seed": "mean"}
    order = np.argsort(nb201_table.values(split="valid", **key), kind="stable")
    test = nb201_table.values(split="test", **key)[order].astype(np.float64)
    share = np.arange(len(order) + 1) / len(order)
    exact = {n: float((np.diff(share**n) * test).sum()) for n in axes["evaluations"]}  # the best of n has rank k
    assert [round(exact[n], 2) for n in (10, 50, 100)] == pytest.approx([93.05, 93.60, 93.78], abs=0.06)
    for effect, n in zip(effects(result), (50, 100), strict=True):
        assert effect.differs and effect.difference is not None and effect.low is not None and effect.high is not None
        error = (effect.high - effect.low) / 4  # about one standard error
        assert abs(effect.difference - (exact[n] - exact[10])) < 4 * error
    assert verdicts(effects(result), "test")[0].endswith("matters (2 of 2 values differ)")


def test_the_heading_says_what_was_run() -> None:
    result = ablation(noise, params={"samples": 2}, epochs=7)
    assert heading(result) == (
        "balenas (samples=2) on synthetic, cifar10, shared landscape: 20 seeds, 7 epochs of 391 steps"
    )
