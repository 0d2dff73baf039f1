"""Intervals that cover, differences in pairs, the verdict on the published ordering, and the figure."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_sim.ensembles import score
from nasbench_sim.ensembles.by_size import BySize
from nasbench_sim.reporting.ensembles import (
    Interval,
    Scored,
    difference,
    differences,
    interval,
    ordering,
    published_ordering,
    record_of,
    score_members,
    single_networks,
    verdict,
)
from nasbench_sim.reporting.ensembles_figure import plot_ensembles
from nasbench_sim.runs.ensemble_study import Members, find_members, make_study
from tests.ensembles.synthetic import class_cells, make_pair

VALID, TEST = make_pair(class_cells()[::100], 80)
SPEC = make_study(sizes=(1, 2, 3), repetitions=30, pool=20, methods=("random", "nes-rs"))
FOUND = score_members(find_members(SPEC, VALID, {}), TEST)


def scored(hits: np.ndarray, *, pooled: bool = False) -> Scored:
    """A method of one size from what it gets right: 0 or 100 a repetition and image, `[n, I]`."""
    values = hits.mean(axis=1, keepdims=True)
    zero = np.zeros_like(values)
    images = {"accuracy": hits.mean(axis=0)[None], "nll": np.zeros((1, hits.shape[1]))}
    members = Members({1: np.zeros((len(hits), 1), dtype=np.int64)}, True, pooled, len(hits))
    return Scored(members, {1: BySize((1,), values, zero, zero, images)})


def draw(rng: np.random.Generator, lift: float, hard: np.ndarray, n: int) -> np.ndarray:
    """Hits: an image has its difficulty, a repetition its luck."""
    luck = 0.5 * rng.normal(size=(n, 1))
    return 100.0 * (rng.normal(size=(n, len(hard))) + luck + lift > hard)


@pytest.mark.parametrize("pooled", [False, True])
def test_intervals_cover_the_difference_of_the_populations(pooled: bool) -> None:
    """300 studies of 25 repetitions x 120 images: 95 % intervals hold the truth in 91..99 % (4 sd of 300 draws: 5)."""
    rng = np.random.default_rng(5)
    from scipy.stats import norm

    # image difficulty N(0, 1), luck 0.5, noise 1: P(hit) = Phi(lift / sqrt(1 + 0.25 + 1))
    truth = 100 * (norm.cdf(0.4 / 1.5) - norm.cdf(0.0))
    inside = narrow = 0
    for _ in range(300):
        hard = rng.normal(size=120)
        found = difference(
            scored(draw(rng, 0.4, hard, 25), pooled=pooled), scored(draw(rng, 0.0, hard, 25), pooled=pooled),
            "accuracy", 1,
        )  # fmt: skip
        inside += found.low <= truth <= found.high
        narrow += found.half < 12
    assert 0.91 <= inside / 300 <= 0.995 and narrow > 250


def test_intervals_without_images_are_too_narrow_for_a_mean() -> None:
    """The image part is not decoration: over repetitions alone the mean accuracy is covered in fewer than 60 %."""
    rng = np.random.default_rng(6)
    with_images = without = 0
    for _ in range(200):
        hits = draw(rng, 0.0, rng.normal(size=60), 200)
        values = hits.mean(axis=1)
        a, b = interval(values, hits.mean(axis=0)), interval(values, None)
        with_images += a.low <= 50 <= a.high
        without += b.low <= 50 <= b.high
    assert with_images >= 182 and without < 130


def test_pairs_make_a_difference_sharper() -> None:
    rng = np.random.default_rng(0)
    base = 100.0 * (rng.random((40, 200)) < rng.uniform(0.2, 0.8, (40, 1)))
    more = np.maximum(base, 100.0 * (rng.random((40, 200)) < 0.05))
    paired = difference(scored(more, pooled=True), scored(base, pooled=True), "accuracy", 1)
    apart = difference(scored(more), scored(base), "accuracy", 1)
    assert paired.mean == pytest.approx(apart.mean) and 5 * paired.half < apart.half


def test_scores_by_size_are_those_of_metrics() -> None:
    for name, each in FOUND.items():
        for size in (1, 3):
            rows = each.members.sets[size]
            assert [score(TEST.probabilities[r], TEST.labels).ece for r in rows] == each.values("ece", size).tolist()
        assert each.images("ece", 1) is None and record_of(FOUND, 20, {"hindsight": 50.0})[name]["n"] == 30


def test_difference_of_sizes_both_have_and_one_repetition_has_no_interval() -> None:
    found = differences(FOUND)
    assert [(d["first"], d["second"], d["size"]) for d in found] == [("nes-rs", "random", s) for s in (1, 2, 3)]
    means = [FOUND[n].values("nll", 2).mean() for n in ("nes-rs", "random")]
    assert found[1]["nll"]["mean"] == pytest.approx(means[0] - means[1])
    one = scored(np.array([[100.0, 0.0]]))
    assert interval(one.values("accuracy", 1), None) == Interval(50.0, None, None)
    assert difference(one, one, "accuracy", 1).low is None


@pytest.mark.parametrize(
    ("lows", "said"),
    [([0.1, 0.2], "holds"), ([0.1, -0.2], "open"), ([0.1, -2.0], "does not hold"), ([], "not tested")],
)
def test_verdict(lows: list[float], said: str) -> None:
    assert verdict([Interval(low + 0.5, low, low + 1) for low in lows]) == said
    assert verdict([Interval(1.0, None, None)]) == "open"


def test_ordering_with_a_known_answer() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(size=2000)
    best, middle, low = (scored(draw(rng, lift, hard, 50)) for lift in (1.5, 0.5, 0.0))
    assert [r["verdict"] for r in ordering({"bpnas": best, "nes-bs": middle, "nes-rs": low})] == ["holds"]
    assert [r["verdict"] for r in ordering({"bpnas": middle, "nes-bs": best, "nes-rs": low})] == ["does not hold"]
    assert [r["verdict"] for r in ordering({"bpnas": best, "nes-bs": best, "nes-rs": low})] == ["open"]
    assert ordering({"bpnas": best, "nes-rs": low}) == []


def test_the_published_table_says_bpnas_first_on_all_data_sets() -> None:
    found = {row["dataset"]: row["differences"] for row in published_ordering()}
    assert found["cifar100"] == {"bpnas - nes-bs": 2.47, "bpnas - nes-rs": 3.05}
    assert len(found) == 3 and all(d > 0 for each in found.values() for d in each.values())


def test_the_figure_shows_the_numbers() -> None:
    figure = plot_ensembles(FOUND, "made up")
    accuracy, nll, ece, apart = figure.axes
    assert [ax.get_ylabel() for ax in (accuracy, nll, ece)] == [
        "test accuracy (%)", "test NLL (nats)", "test ECE (fraction)",
    ]  # fmt: skip
    lines = {len(line.get_xdata()) for line in nll.lines}
    assert lines == {3} and nll.lines[1].get_ydata()[2] == pytest.approx(FOUND["nes-rs"].values("nll", 3).mean())
    assert apart.get_ylabel() == "accuracy minus nes-rs (points)"
    middle = next(line for line in apart.lines if len(line.get_xdata()) == 3).get_ydata()
    assert middle[0] == pytest.approx(difference(FOUND["random"], FOUND["nes-rs"], "accuracy", 1).mean)


def test_every_method_has_a_look_and_that_of_other_figures() -> None:
    from nasbench_sim.reporting.ensembles_figure import _LOOKS
    from nasbench_sim.reporting.style import looks
    from nasbench_sim.runs.ensemble_study import METHODS

    assert set(_LOOKS) == set(METHODS) and len(set(_LOOKS.values())) == len(METHODS)
    for name in ("bpnas", "random"):
        assert _LOOKS[name] == looks([(name, name)])[name]


def test_single_networks_and_the_share_above_the_best() -> None:
    single = single_networks(VALID, TEST)
    each = [score(p[None], TEST.labels).accuracy for p in TEST.probabilities]
    best = min(range(len(VALID)), key=lambda n: score(VALID.probabilities[n][None], VALID.labels).nll)
    assert single == {"chosen": each[best], "hindsight": max(each)}
    rows = record_of(FOUND, 20, {"hindsight": 70.0})["nes-rs"]["scores"]
    assert rows[1]["above_single"] == (FOUND["nes-rs"].values("accuracy", 2) > 70.0).mean()
