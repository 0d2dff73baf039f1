"""Gaussian process, TPE, PNAS, and the methods that promote cells: against closed forms and plain counting."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from nasbench_sim.errors import SpecError
from nasbench_sim.searchers import methods
from nasbench_sim.searchers.blackbox.bohb import BOHB, model_level
from nasbench_sim.searchers.blackbox.cells import codes
from nasbench_sim.searchers.blackbox.encodings import encode, path_encoding, paths
from nasbench_sim.searchers.blackbox.gp import GaussianProcess, expected_improvement
from nasbench_sim.searchers.blackbox.halving import SuccessiveHalving, hyperband_brackets
from nasbench_sim.searchers.blackbox.pnas import ProgressiveSearch, blocks, grow, size
from nasbench_sim.searchers.blackbox.tpe import suggest
from tests.blackbox.helpers import TABLE, batch, problem, result
from tests.synthetic import SPACE, VALID

COUNTED = {"cost": "evaluations", "fidelities": [200], "epochs": 1}


# --- Gaussian process -----------------------------------------------------------------------------------------------


def test_gp_posterior_is_the_closed_form_and_interpolates() -> None:
    method = GaussianProcess()
    random = np.random.default_rng(0)
    archs = SPACE.all[random.choice(SPACE.size, 25, replace=False)]
    target, theta = random.normal(size=25), np.log([1.7, 1.3, 1e-5])
    model = method.fit(SPACE, archs, target, theta, tune=False)
    assert np.allclose(model.kernel_.theta, theta)
    x, new = SPACE.all[[0, 77, 4000]], archs

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        hamming = (a[:, None] != b[None]).sum(axis=2)
        return 1.7 * np.exp(-hamming / 1.3**2)  # with one-hot edges the RBF is exp(-H / l^2)

    scaled = (target - target.mean()) / target.std()
    inverse = np.linalg.inv(kernel(archs, archs) + 1e-5 * np.eye(25) + 1e-10 * np.eye(25))
    mean = kernel(x, archs) @ inverse @ scaled * target.std() + target.mean()
    variance = (1.7 + 1e-5 - np.einsum("ij,jk,ik->i", kernel(x, archs), inverse, kernel(x, archs))) * target.var()
    ours, sd = model.predict(encode(SPACE, x, "one-hot"), return_std=True)
    assert np.allclose(ours, mean, atol=1e-6) and np.allclose(sd**2, variance, atol=1e-6)
    at_data, sd = model.predict(encode(SPACE, new, "one-hot"), return_std=True)
    assert np.allclose(at_data, target, atol=1e-3) and (sd < 0.01 * target.std()).all()


@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_expected_improvement_is_its_integral(mean: float, sd: float, best: float) -> None:
    integral = quad(lambda y: (best - y) * norm.pdf(y, mean, sd), mean - 12 * sd, min(best, mean + 12 * sd))[0]
    expected = max(integral, 0.0) if best > mean - 12 * sd else 0.0
    assert expected_improvement(np.array([mean]), np.array([sd]), best)[0] == pytest.approx(expected, abs=1e-7)


def test_gp_tunes_every_refit_evaluations_and_keeps_its_kernel_in_between() -> None:
    searching = batch(
        "gp-bo", [3], params={"initial": 4, "refit": 3, "random": 10}, **{**COUNTED, "epochs": 14}, budget=14
    )
    progress, thetas = searching.start(), []
    for _ in range(14):
        progress = searching.advance(progress)
        thetas.append(progress.state.slots["method/theta"][0].copy())
    changed = [n for n in range(1, 14) if not np.array_equal(thetas[n], thetas[n - 1])]
    assert changed and all((b - a) % 3 == 0 for a, b in pairwise(changed))


@pytest.mark.parametrize("candidates", ["local", "all"])
def test_gp_trains_nothing_twice(candidates: str) -> None:
    params = {"initial": 4, "refit": 20, "candidates": candidates}
    out = result(batch("gp-bo", [1, 2], params=params, **COUNTED, budget=12))
    assert all(len({a.tobytes() for a in archs[4:]}) == 8 for archs in out["evaluated_archs"])


def test_gp_refuses_parameters_that_would_do_nothing() -> None:
    with pytest.raises(SpecError, match="gp-bo with all cells as candidates has no random; leave that out"):
        methods()["gp-bo"].make(candidates="all", random=10)


def test_path_encoding_counts_the_four_paths() -> None:
    assert paths(SPACE) == [[3], [0, 4], [1, 5], [0, 2, 5]]
    x = path_encoding(SPACE, SPACE.all)
    assert x.shape == (15_625, 155) and (x.sum(axis=1) == 4).all()
    twin = np.array([[3, 3, 1, 0, 2, 2]])  # 0->1->3 and 0->2->3 are both conv3x3, conv1x1
    assert path_encoding(SPACE, twin)[0, 5 + 3 * 5 + 2] == 2


# --- TPE ------------------------------------------------------------------------------------------------------------


def test_tpe_follows_the_good_cells() -> None:
    random = np.random.default_rng(0)
    archs = random.integers(0, 5, (60, 6))
    value = np.where(archs[:, 0] == 3, 90.0, 60.0) + random.normal(0, 0.1, 60)
    drawn = [suggest(SPACE, archs, value, seed=s, samples=24, joint=False, method="tpe")[0] for s in range(40)]
    assert np.mean(np.array(drawn) == 3) > 0.9


def test_tpe_joint_sees_what_goes_together_and_independent_does_not() -> None:
    """Good cells have equal options at two edges, 0-0 or 3-3, so that each edge by itself says nothing."""
    archs = np.ones((160, 6), dtype=np.int64)
    archs[:16, :2] = np.tile([[0, 0], [3, 3]], (8, 1))
    archs[16:, :2] = np.tile([[0, 3], [3, 0]], (72, 1))
    value = np.where(archs[:, 0] == archs[:, 1], 90.0, 60.0) + np.arange(160) / 1_000

    def share(joint: bool) -> float:
        cells = [suggest(SPACE, archs, value, seed=s, samples=24, joint=joint, method="tpe") for s in range(30)]
        return float(np.mean([cell[0] == cell[1] for cell in cells]))

    assert share(True) > 0.9 and share(False) < 0.7


# --- PNAS -----------------------------------------------------------------------------------------------------------


def test_pnas_blocks_and_children() -> None:
    assert blocks(SPACE) == [[3], [0, 4], [1, 2, 5]]
    nothing = np.zeros((1, 6), dtype=np.int8)
    assert len(grow(SPACE, nothing, 0)) == 5 and len(grow(SPACE, grow(SPACE, nothing, 0), 1)) == 125
    every = grow(SPACE, grow(SPACE, grow(SPACE, nothing, 0), 1), 2)
    assert len(np.unique(codes(SPACE, every))) == 15_625
    assert size(SPACE, np.array([[0] * 6, [0, 0, 0, 2, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])).tolist() == [
        0,
        0,
        1,
        2,
    ]


def test_pnas_goes_from_simple_to_complex_and_trains_nothing_twice() -> None:
    out = result(batch("pnas", range(3), params={"beam": 10, "predictor": "ridge"}, **COUNTED, budget=50))
    for archs in out["evaluated_archs"]:
        levels = size(SPACE, archs)
        assert (levels[:5] == 0).all() and (levels[5:15] == 1).all() and (levels[15:25] == 2).all()
        assert len({a.tobytes() for a in archs}) == 50


def test_pnas_children_are_the_best_predicted_ones_of_the_best_parents() -> None:
    method = ProgressiveSearch(beam=4, predictor="ridge")
    archs = grow(SPACE, np.zeros((1, 6), dtype=np.int8), 0)
    value = TABLE.accuracy[VALID][SPACE.index(archs)]
    got = method._batch(SPACE, archs, value, 1, seed=9)
    parents = archs[np.argsort(-value)[:4]]
    options = np.array([a for a in grow(SPACE, parents, 1) if a.tolist() not in archs.tolist()])
    score = method.predict(SPACE, archs, np.log(100 - value.astype(float)), options, 9)
    order = sorted(score[[options.tolist().index(a.tolist()) for a in got]])
    assert np.allclose(order, np.sort(score)[:4])


@pytest.mark.parametrize("predictor", ["mlp", "ridge"])
def test_pnas_predictor_ranks_cells_that_it_has_not_seen(predictor: Any) -> None:
    random = np.random.default_rng(0)
    some = random.permutation(SPACE.size)[:400]
    value = TABLE.accuracy[VALID].astype(np.float64)
    method = ProgressiveSearch(predictor=predictor)
    score = method.predict(SPACE, SPACE.all[some[:80]], -value[some[:80]], SPACE.all[some[80:]], 1)
    assert np.corrcoef(score, -value[some[80:]])[0, 1] > 0.9


# --- halving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("eta", "configs"), [(3, 9), (2, 8), (4, 12)])
def test_successive_halving_promotes_the_top_one_in_eta(eta: int, configs: int) -> None:
    params = {"eta": eta, "configs": configs}
    out = result(batch("successive-halving", range(8), params=params, budget=200_000.0, epochs=1))
    low, high = configs, configs // eta
    archs, epochs, value = out["evaluated_archs"], out["evaluated_epochs"], out["evaluated_valid"]
    for s in range(8):
        assert epochs[s, : low + high].tolist() == [12] * low + [200] * high
        best = np.argsort(-value[s, :low], kind="stable")[:high]
        assert np.array_equal(archs[s, low : low + high], archs[s, best])
    again = low + high  # the second round: other cells
    assert not np.array_equal(archs[:, again : again + low], archs[:, :low])


def test_successive_halving_needs_enough_cells() -> None:
    with pytest.raises(SpecError, match=r"configs is at least eta\^\(fidelities - 1\) = 5, got 4"):
        SuccessiveHalving(5, 4).levels(problem())
    with pytest.raises(SpecError, match="eta is at least 2"):
        methods()["hyperband"].make(eta=1)


def test_hyperband_brackets_are_the_papers_table_1() -> None:
    found = [[rung.cells for rung in bracket] for bracket in hyperband_brackets([1, 3, 9, 27, 81], 3)]
    assert found == [[81, 27, 9, 3, 1], [27, 9, 3, 1], [9, 3, 1], [6, 2], [5]]
    levels = [[rung.level for rung in bracket] for bracket in hyperband_brackets([1, 3, 9, 27, 81], 3)]
    assert levels == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4], [3, 4], [4]]


@given(st.lists(st.integers(1, 500), min_size=2, max_size=6, unique=True), st.integers(2, 5))
def test_hyperband_brackets_on_any_fidelities(epochs: list[int], eta: int) -> None:
    epochs = sorted(epochs)
    for bracket in hyperband_brackets(epochs, eta):
        assert bracket[-1].level == len(epochs) - 1  # every bracket ends with full training
        for a, b in pairwise(bracket):
            assert b.level > a.level and 1 <= b.cells <= a.cells // eta
    assert len(hyperband_brackets(epochs, eta)[-1]) == 1


def test_hyperband_runs_its_brackets_in_turn() -> None:
    out = result(batch("hyperband", [1], budget=100_000.0, epochs=1))
    assert out["evaluated_epochs"][0, :17].tolist() == [12] * 9 + [200] + [12] * 3 + [200] + [200] * 3
    archs, value = out["evaluated_archs"][0], out["evaluated_valid"][0]
    assert np.array_equal(archs[9], archs[value[:9].argmax()])
    assert np.array_equal(archs[13], archs[10 + value[10:13].argmax()])


def test_bohb_is_hyperband_with_cells_from_the_model_once_it_has_enough() -> None:
    uniform, model = result(batch("hyperband", range(4))), result(batch("bohb", range(4), params={}))
    n = int(min(model["evaluations"].min(), 10))
    assert np.array_equal(uniform["evaluated_archs"][:, :n], model["evaluated_archs"][:, :n])  # 9 = D + 3 are enough
    full = {"budget": 60_000.0, "epochs": 1}
    uniform, model = result(batch("hyperband", [0], **full)), result(batch("bohb", [0], params={}, **full))
    m = int(min(uniform["evaluations"][0], model["evaluations"][0]))
    assert not np.array_equal(uniform["evaluated_archs"][0, :m], model["evaluated_archs"][0, :m])
    explored = result(batch("bohb", [0], params={"random_fraction": 1.0}, **full))
    assert np.array_equal(explored["evaluated_archs"], uniform["evaluated_archs"])
    assert model_level(np.array([0] * 9 + [1] * 8), 9) == 0 and model_level(np.array([0] * 9 + [1] * 9), 9) == 1
    assert BOHB().brackets(problem()) == hyperband_brackets([12, 200], 3)
