"""ProxylessNAS: pairs of sampled paths that leave the others alone, and REINFORCE against exact enumeration."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, Multilinear, TabularLandscape
from nasbench_sim.searchers import View, get_method
from nasbench_sim.searchers.gates import BASELINE, PAIR, BinaryGates, PolicyGradient
from nasbench_sim.searchers.gradient import gradient_searcher
from nasbench_sim.searchers.gumbel import GumbelHard, GumbelSoftmax, one_hot
from nasbench_sim.searchers.links import Softmax
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.relaxations import Deterministic
from nasbench_sim.searchers.updates import Adam
from nasbench_sim.streams import Streams
from tests.searchers.helpers import LANDSCAPES, SPACE, TABLE
from tests.synthetic import VALID

WIDE = TabularLandscape(TABLE, **VALID._asdict(), dtype=np.float64)
ROWS = 8
ALPHA = np.random.default_rng(0).normal(size=(ROWS, 6, 5))


def view(land: Any = WIDE, seeds: int = ROWS, step: int = 0, memory: Any = None) -> View:
    s = np.arange(seeds)
    state = land.init(s, Horizon(1, 100)) if land is not None else None
    return View(land, state, Streams(s), step, memory or {})


def softmax(x: np.ndarray) -> np.ndarray:
    return Softmax().forward(x, None)


class Linear:
    """Loss <f, gates> of one decision, repeated: what one pair says on average has a closed form."""

    def __init__(self, slope: np.ndarray) -> None:
        self.slope = slope

    def loss_and_grad(self, state: Any, theta: np.ndarray, *, discrete: bool = False) -> tuple[np.ndarray, np.ndarray]:
        assert discrete  # paths are single cells, never a mixture
        return np.zeros(len(theta)), np.broadcast_to(self.slope, theta.shape)


def test_paths_are_drawn_from_pi_and_the_mean_gradient_is_that_of_all_pairs() -> None:
    """E[dL/dalpha_a] = sum_b P({a, b}) q_a q_b (f_a - f_b), q the pair's renormalised probabilities."""
    n, logits, f = 60_000, np.array([0.3, -1.0, 0.0, 1.5, -0.2]), np.array([0.2, -0.5, 1.0, 0.4, 0.0])
    now = View(Linear(f), None, Streams([4]), 0)  # type: ignore[arg-type]
    seen = BinaryGates().estimate(now, np.tile(logits, (1, n, 1)), None, None)
    pi = softmax(logits[None])[0]
    assert stats.chisquare(seen.usage[0].sum(axis=0), n * pi).pvalue > 1e-3
    pair = seen.memory[PAIR][0]
    assert (pair.sum(axis=1) == 2).all() and (pair >= seen.usage[0]).all()
    ordered = pi[:, None] * pi / (1 - pi[:, None])
    np.fill_diagonal(ordered, 0)
    both = ordered + ordered.T
    count = np.array([[(pair[:, i] & pair[:, j]).sum() for j in range(i)] + [0] * (5 - i) for i in range(5)])
    below = np.tril_indices(5, -1)
    assert stats.chisquare(count[below], n * both[below]).pvalue > 1e-3
    q = pi[:, None] * pi / (pi[:, None] + pi) ** 2
    expected = (both * q * (f[:, None] - f)).sum(axis=1)
    error = seen.grad[0].std(axis=0) / np.sqrt(n)
    assert (np.abs(seen.grad[0].mean(axis=0) - expected) < 4.5 * error).all()


def test_two_path_gradient_is_the_difference_of_two_cells() -> None:
    """By hand from the table: q_a q_b (L(cell with a) - L(cell with b)), minus that for b, 0 for the others."""
    seen = BinaryGates().estimate(view(), ALPHA, None, None)
    cells, pair = seen.usage.argmax(-1), seen.memory[PAIR]
    assert np.allclose(seen.loss, WIDE.arch_loss(None, cells[:, None])[:, 0])
    for s in range(ROWS):
        for d in range(6):
            a = cells[s, d]
            b = next(k for k in range(5) if pair[s, d, k] and k != a)
            swapped = cells[s].copy()
            swapped[d] = b
            loss_a, loss_b = WIDE.arch_loss(None, np.stack([cells[s], swapped])[None])[0]
            e = np.exp(ALPHA[s, d])
            slope = e[a] * e[b] / (e[a] + e[b]) ** 2 * (loss_a - loss_b)
            expected = np.zeros(5)
            expected[a], expected[b] = slope, -slope
            assert np.allclose(seen.grad[s, d], expected, atol=1e-14)


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(1e-6, 5.0))
def test_probabilities_of_unsampled_paths_do_not_change(seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    before = random.normal(0, 2, (3, 4, 5))
    after = before + random.normal(0, size, before.shape)  # momentum and decay may have moved every entry
    pair = random.random(before.shape).argsort(axis=-1) < 2
    settled = BinaryGates().settle(view(), before, after, {PAIR: pair})
    assert (settled[~pair] == before[~pair]).all()
    assert np.allclose(softmax(settled)[~pair], softmax(before)[~pair], rtol=1e-12)
    ratio = (settled - after)[pair].reshape(3, 4, 2)  # the two are shifted together: their ratio is the update's
    assert np.allclose(ratio[..., 0], ratio[..., 1], atol=1e-12)


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_a_step_moves_two_probabilities_a_decision_where_gdas_moves_all(kind: str) -> None:
    land, seeds = LANDSCAPES[kind], np.arange(ROWS)
    for name, moved in (("proxylessnas", 2), ("gdas", 5)):
        params = {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 0.1}
        searcher = get_method(name).make(**params, **({"warmup": 0.0} if moved == 2 else {}))
        state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 10))
        for _ in range(6):
            new, shared, info = searcher.step(state, land, shared)
            changed = np.abs(searcher.distribution(new) - searcher.distribution(state)) > 1e-6
            assert changed.sum(-1).max() == moved, name
            assert (info.theta.max(-1) == 1).all()
            state = new


def test_only_open_paths_train_and_a_last_option_is_left_in_peace() -> None:
    land = LANDSCAPES["shared"]
    mask = np.ones((ROWS, 6, 5), dtype=bool)
    mask[:, 2] = np.arange(5) == 3
    mask[:, 4] = np.arange(5) < 2
    alpha = ALPHA.astype(np.float32)
    now = view(land)
    seen = BinaryGates().estimate(now, alpha, None, mask)
    assert not (seen.memory[PAIR] & ~mask).any()
    assert (seen.memory[PAIR].sum(-1)[:, [2, 4]] == [1, 2]).all()
    assert (seen.grad[:, 2] == 0).all() and (seen.grad[~mask] == 0).all()
    settled = BinaryGates().settle(now, alpha, alpha + np.float32(0.7), seen.memory)
    assert np.allclose(settled, alpha, atol=1e-6) and settled.dtype == np.float32
    after = land.train_weights(now.state, seen.usage, 1)
    assert ((after.maturity > now.state.maturity) == (seen.usage > 0) & SPACE.parametric).all()


def test_reinforce_is_unbiased_by_enumeration_of_a_tiny_space() -> None:
    """sum_cells p(cell) g(cell) is the exact gradient of the expected loss, whatever the baseline."""
    random = np.random.default_rng(5)
    table, alpha = random.normal(size=(3, 3)), random.normal(size=(1, 2, 3))
    pi = softmax(alpha)
    _, exact = Multilinear(table).value_and_grad(pi)
    cells = np.array([list(product(range(3), range(3)))])
    p = pi[0, 0, cells[0, :, 0]] * pi[0, 1, cells[0, :, 1]]
    for baseline in (0.0, 0.7, -3.0):
        each = PolicyGradient.draws(pi, cells, -table[cells[..., 0], cells[..., 1]] - baseline)
        mean = (p[:, None, None] * each[0]).sum(axis=0)
        assert np.allclose(mean, Softmax().pullback(alpha, pi, exact)[0], atol=1e-12)


def test_reinforce_averages_to_the_gradient_that_darts_computes_and_a_baseline_quietens_it() -> None:
    m, alpha = 40_000, ALPHA[:1]
    noise = {}
    exact = Deterministic().estimate(view(seeds=1), alpha, None, None)
    for baseline in (0.0, float(-exact.loss[0])):
        seen = PolicyGradient(m).estimate(view(seeds=1, memory={BASELINE: np.array([baseline])}), alpha, None, None)
        sd = np.sqrt(seen.square - seen.grad**2)
        assert (np.abs(seen.grad - exact.grad) < 4.5 * sd / np.sqrt(m)).all()
        noise[baseline] = sd.mean()
    assert noise[float(-exact.loss[0])] < 0.6 * noise[0.0]


class NoGradient:
    """A landscape that only scores cells."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def arch_loss(self, state: Any, archs: np.ndarray, *, batch: bool = False) -> np.ndarray:
        assert batch
        self.seen.append(archs)
        return np.asarray(archs.sum(axis=-1) / 10)


def test_baseline_is_a_running_mean_of_earlier_rewards_and_no_network_gradient_is_asked_for() -> None:
    land, relax = NoGradient(), PolicyGradient(samples=3, baseline_rate=0.9)
    memory = relax.init(ALPHA)
    expected = np.zeros(ROWS)
    for step in range(4):
        now = View(land, None, Streams(np.arange(ROWS)), step, memory)  # type: ignore[arg-type]
        seen = relax.estimate(now, ALPHA, None, None)
        cells = land.seen[-1]
        reward = -cells.sum(axis=-1) / 10
        by_hand = -((reward - expected[:, None])[..., None, None] * (one_hot(cells, ALPHA) - softmax(ALPHA)[:, None]))
        assert np.allclose(seen.grad, by_hand.mean(axis=1), atol=1e-12)
        expected = 0.9 * reward.mean(axis=1) + 0.1 * expected
        memory = seen.memory
        assert np.allclose(memory[BASELINE], expected)
        assert (seen.usage.argmax(-1) == cells[:, 0]).all()


@pytest.mark.parametrize(
    "relaxation", [BinaryGates(), PolicyGradient(4), GumbelSoftmax(), GumbelHard()], ids=lambda r: type(r).__name__
)
def test_sampled_paths_compose_with_pruning_and_never_draw_what_is_cut(relaxation: Any) -> None:
    land, seeds = LANDSCAPES["shared"], np.arange(ROWS)
    searcher = gradient_searcher("cut", relaxation=relaxation, update=Adam(lr=0.05), pruning=BPNASRule(delta=0.05))
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 80))
    for _ in range(80):
        new, shared, info = searcher.step(state, land, shared)
        assert (info.theta[~state.mask] == 0).all() and np.isfinite(new.alpha).all()
        state = new
    assert state.mask.sum() < state.mask.size - ROWS


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("proxylessnas", {"warmup": 1.0}, "warmup"),
        ("proxylessnas-reinforce", {"samples": 0}, "samples"),
        ("proxylessnas-reinforce", {"baseline_rate": 0.0}, "baseline_rate"),
        ("proxylessnas-reinforce", {"baseline_rate": 1.5}, "baseline_rate"),
    ],
)
def test_impossible_parameters_are_refused(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        get_method(method).make(**params)
