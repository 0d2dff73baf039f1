"""NES-BS by its distribution: closed forms of the sampling, what sets it apart from NES-RS, and who is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from nasbench_sim.ensembles import PosteriorSample, RandomPool, frequencies, nes_bs, nes_rs, posterior_mass
from nasbench_sim.ensembles.metrics import average, nll
from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.searchers import get_method
from tests.ensembles.helpers import CELLS, OPTIONS, UNIFORM, make, point_mass

THETA = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.0, 0.2, 0.1]])
modes = pytest.mark.parametrize("mode", ["mc", "svgd"])
FEW = 4000
#: parameters of SVGD by mode: a short one, and one that drives particles far apart
SHORT: dict[str, dict[str, Any]] = {"mc": {}, "svgd": {"steps": 60}}
FAR: dict[str, dict[str, Any]] = {"mc": {}, "svgd": {"steps": 50, "delta": 20.0}}


def test_monte_carlo_draws_the_conditional_posterior() -> None:
    """p(a) = prod_d theta[d, a_d] over the models that are there, shared between training seeds."""
    p = make(models=25)  # 16 cells, nine of them with a second training seed
    rows = nes_bs(p, THETA, range(FEW), size=1, rounds=1)[:, 0]
    weight = THETA[0, p.archs[:, 0]] * THETA[1, p.archs[:, 1]]
    seeds = np.array([(p.archs == arch).all(axis=1).sum() for arch in p.archs])
    expected = weight / seeds
    found = np.bincount(rows, minlength=len(p))
    assert found[expected == 0].sum() == 0
    assert chisquare(found[expected > 0], FEW * expected[expected > 0] / expected.sum()).pvalue > 1e-3


def test_models_that_are_not_there_are_never_drawn_and_the_rest_keep_their_odds() -> None:
    p = make(models=16).subset([1, 6, 10])  # cells 01, 12, 22: one of them impossible under theta
    rows = nes_bs(p, THETA, range(FEW), size=1, rounds=1)[:, 0]
    odds = np.array([0.0, 0.2 * 0.2, 0.3 * 0.2])
    found = np.bincount(rows, minlength=3)
    assert found[0] == 0
    assert chisquare(found[1:], FEW * odds[1:] / odds.sum()).pvalue > 1e-3
    assert posterior_mass(p, THETA)[0] == pytest.approx(odds.sum())
    assert posterior_mass(make(), THETA)[0] == pytest.approx(1)


@modes
def test_concentrated_on_one_model_it_returns_that_model_and_nes_rs_does_not(mode: Any) -> None:
    p = make()
    worst = int(np.argmax([nll(q, p.labels) for q in p.probabilities]))
    theta = point_mass(p.archs[worst])
    assert (nes_bs(p, theta, range(20), size=3, mode=mode) == worst).all()
    assert not (nes_rs(p, range(20), size=3, pool=8) == worst).all(axis=1).any()


def test_under_a_uniform_theta_one_member_is_distributed_as_in_nes_rs() -> None:
    p = make()
    pairs = [nes_bs(p, UNIFORM, range(FEW), size=1, rounds=1), nes_rs(p, range(FEW), size=1, pool=1)]
    table = np.stack([np.bincount(rows[:, 0], minlength=16) for rows in pairs])
    assert chi2_contingency(table).pvalue > 1e-3


def test_rounds_keep_the_best_set_on_validation() -> None:
    """One member, R uniform draws with replacement: P(rank of the best > r) = (1 - r / N)^R."""
    p, rounds, n = make(samples=200), 5, 16
    rank = np.argsort(np.argsort([nll(q, p.labels) for q in p.probabilities]))
    found = np.bincount(rank[nes_bs(p, UNIFORM, range(FEW), size=1, rounds=rounds)[:, 0]], minlength=n)
    expected = -np.diff((1 - np.arange(n + 1) / n) ** rounds)
    tail = 9  # the last ranks are too rare for the test one by one
    counts, shares = [np.append(x[:tail], x[tail:].sum()) for x in (found, FEW * expected)]
    assert chisquare(counts, shares).pvalue > 1e-3


@modes
def test_more_rounds_are_never_worse_on_validation(mode: Any) -> None:
    p = make()

    def losses(rounds: int) -> np.ndarray:
        members = nes_bs(p, THETA, range(12), mode=mode, rounds=rounds, **SHORT[mode])
        return np.array([nll(average(p.probabilities[m]), p.labels) for m in members])

    one, five, ten = losses(1), losses(5), losses(10)
    assert (five <= one).all() and (ten <= five).all() and ten.mean() < one.mean()


def test_selection_by_accuracy_keeps_the_most_accurate_set() -> None:
    from nasbench_sim.ensembles.metrics import accuracy

    p = make(samples=80)

    def mean_accuracy(metric: Any) -> float:
        members = nes_bs(p, UNIFORM, range(30), rounds=10, metric=metric)
        return float(np.mean([accuracy(average(p.probabilities[m]), p.labels) for m in members]))

    assert mean_accuracy("accuracy") > mean_accuracy("nll")


def different(p: Any, members: np.ndarray) -> float:
    """Mean number of decisions in which two members of an ensemble differ."""
    cells = p.archs[members]
    return float((cells[:, :, None] != cells[:, None]).sum(axis=3).mean())


def test_svgd_members_are_as_diverse_as_delta_says() -> None:
    p = make()
    values = [different(p, nes_bs(p, THETA, range(300), mode="svgd", rounds=1, delta=d)) for d in (-0.5, 0.0, 5.0)]
    assert values[0] < values[1] < values[2]


def test_svgd_with_every_cell_there_takes_the_nearest_option_of_each_decision() -> None:
    """A particle's cell is the argmax of each decision where nothing is missing."""
    from nasbench_sim.ensembles.posterior import _nearest

    x = np.random.default_rng(0).normal(size=(50, 3, 2, OPTIONS))
    places = _nearest(x, CELLS, np.ones((50, 16), dtype=bool))
    assert np.array_equal(CELLS[places], x.argmax(axis=3))


@modes
def test_a_model_without_probability_is_never_a_member(mode: Any) -> None:
    p = make()
    members = nes_bs(p, THETA, range(100), mode=mode, rounds=1, **FAR[mode])
    assert (p.archs[members][..., 1] != 1).all()


@modes
@pytest.mark.parametrize("metric", ["nll", "accuracy"])
def test_a_seed_alone_equals_its_row_in_a_batch(mode: Any, metric: Any) -> None:
    p, seeds = make(models=25, samples=37), [11, 3, 2**40, 0, 5]
    each = np.random.default_rng(0).dirichlet(np.ones(OPTIONS), (5, 2))
    chosen = PosteriorSample(mode=mode, metric=metric, rounds=3, **SHORT[mode])
    together = chosen.select(p, seeds, each)
    shared = chosen.select(p, seeds, THETA)
    for i, seed in enumerate(seeds):
        assert np.array_equal(chosen.select(p, [seed], each[i : i + 1])[0], together[i])
        assert np.array_equal(chosen.select(p, [seed], THETA)[0], shared[i])


def test_theta_of_a_space_of_ours_has_its_options() -> None:
    p = make(models=4, space="nb201", archs=[0, 1, 2, 3])
    nes_bs(p, np.full((6, 5), 0.2, dtype=np.float32), [0])
    with pytest.raises(SpecError, match="6 decisions of 5 options"):
        nes_bs(p, np.full((6, 4), 0.25), [0])


@pytest.mark.parametrize(
    ("theta", "said"),
    [
        (np.full((2, 3), 1 / 3), "2 decisions of 4 or more options"),
        (np.full((3, 4), 1 / 4), "2 decisions of 4 or more options"),
        (np.full(4, 1 / 4), "2 decisions"),
        (np.full((2, 2, 4), 1 / 4), "theta is for 2 seeds, 3 were asked for"),
        (UNIFORM * 2, "decision 0 of seed row 0 is no distribution"),
        (np.array([[0.5, 0.5, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0]]), "decision 1 of seed row 0"),
        (np.full((2, 4), np.nan), "is no distribution"),
        (np.array([["a"] * 4] * 2), "2 decisions"),
        (None, "give theta"),
    ],
)
def test_what_is_no_distribution_is_refused(theta: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        nes_bs(make(), theta, range(3))


def test_a_posterior_that_no_model_has_a_share_in_raises() -> None:
    p = make().subset([5, 13])  # cells 11 and 31, impossible under THETA
    with pytest.raises(NotMeasured, match=r"none of the 2 architectures with predictions .* \(seed 4\)"):
        nes_bs(p, THETA, [4, 5])


def test_tiny_probabilities_do_not_underflow() -> None:
    archs = np.zeros((2, 200), dtype=np.int64)
    archs[1, 0] = 1
    p = make(models=2, archs=archs, seeds=[1, 1])
    theta = np.full((200, 100), 0.01)  # 1e-400 each
    assert set(nes_bs(p, theta, range(40), size=1, rounds=1)[:, 0].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "mcmc"}, "unknown mode of nes-bs 'mcmc'; did you mean 'mc'"),
        ({"size": 0}, "size is at least 1"),
        ({"rounds": 0}, "rounds is at least 1"),
        ({"steps": -1}, "steps is at least 0"),
        ({"width": 0.0}, "width is a positive number"),
        ({"lengthscale": -1.0}, "lengthscale is a positive number"),
        ({"step_size": float("inf")}, "step_size is a positive number"),
        ({"delta": float("nan")}, "delta is a finite number"),
        ({"delta": 2.0, "steps": 3}, "mode mc has no delta, steps; leave that out, or take mode=svgd"),
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        PosteriorSample(**change)


def test_the_test_split_and_a_theta_for_nes_rs_are_refused() -> None:
    with pytest.raises(SpecError, match="these are of the test split"):
        nes_bs(make(split="test"), UNIFORM, [0])
    with pytest.raises(SpecError, match="takes no theta"):
        RandomPool().select(make(), [0], UNIFORM)


def test_frequencies_are_those_of_the_cells() -> None:
    theta = frequencies(CELLS[[0, 1, 6, 6]], OPTIONS)
    assert theta.tolist() == [[0.5, 0.5, 0, 0], [0.25, 0.25, 0.5, 0]]
    with pytest.raises(SpecError, match="no search ended"):
        frequencies(np.full((3, 2), -1), OPTIONS)
    with pytest.raises(SpecError, match="takes option 3"):
        frequencies(CELLS, 3)


@pytest.mark.parametrize("name", ["nes-rs", "nes-bs"])
def test_the_recipe_makes_what_it_says(name: str) -> None:
    recipe = get_method(name)
    selector = recipe.make(**recipe.test_params)
    p = make()
    theta = UNIFORM if name == "nes-bs" else None
    members = selector.select(p, [4, 7], theta)
    assert members.shape == (2, recipe.test_params["size"]) and members.dtype == np.int64
    assert recipe.family == "ensemble" and recipe.card()["unknowns"] and recipe.summary.endswith(".")
    made = recipe.make()
    assert {k: getattr(made, k) for k in recipe.parameters} == recipe.parameters
    with pytest.raises(SpecError, match="metric"):
        recipe.make(metric="nlll")
    with pytest.raises(SpecError, match="unknown parameter 'sise'; did you mean 'size'"):
        recipe.make(sise=3)
