"""ENAS: baselines against the published lines, when what is written and learned from, Adam, impossible settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Landscape
from nasbench_sim.searchers import State, get_method
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.controller import Controller
from nasbench_sim.searchers.enas import AHEAD, CHUNK, ControllerSearcher
from nasbench_sim.streams import Streams
from tests.searchers.helpers import HORIZON, LANDSCAPES, SPACE, run, same

SHARED, TABULAR = LANDSCAPES["shared"], LANDSCAPES["tabular"]
SEEDS = np.arange(3)


def loop(searcher: ControllerSearcher, plain: np.ndarray, entropy: np.ndarray) -> tuple[np.ndarray, float]:
    """Advantages `[updates, M]` of one seed by the published lines, a sample at a time; two updates an epoch."""
    previous: float | None = None
    out = np.empty_like(plain)
    for u in range(len(plain)):
        for m in range(plain.shape[1]):
            reward = plain[u, m] + searcher.entropy_weight * entropy[u, m]
            move = 1 - searcher.baseline_decay
            b = plain[u, m] if previous is None else previous - move * (previous - reward)
            out[u, m] = reward - b
            if searcher.baseline == "sample" or (u % 2 == 1 and m == plain.shape[1] - 1):
                kept = b
            if searcher.baseline == "sample":
                previous = kept
        if searcher.baseline == "epoch" and u % 2 == 1:
            previous = kept
    assert previous is not None
    return out, previous


@pytest.mark.parametrize("kind", ["epoch", "sample"])
def test_baselines_against_the_published_lines(kind: Any) -> None:
    random = np.random.default_rng(0)
    searcher = ControllerSearcher(Controller(hidden=2), baseline=kind, baseline_decay=0.9, entropy_weight=0.01)
    plain, entropy = random.random((6, 4)), 9 + random.random((6, 4))
    state = searcher.init(SPACE, np.array([0]), np.float64)
    before = state.slots["baseline"]
    seen, shares = np.empty((6, 4)), np.empty((6, 4))
    for u in range(6):
        power = np.array([searcher.beta2**u])
        now = state._replace(slots={**state.slots, "controller_power2": power})
        seen[u], shares[u], before = (
            x[0] if x.ndim == 2 else x
            for x in searcher.advantage(plain[u][None], entropy[u][None], before, u // 2, now, last=u % 2 == 1)
        )
    expected, last = loop(searcher, plain, entropy)
    assert np.allclose(seen, expected) and before[0] == pytest.approx(last)
    # the slope in the reward, by which the entropy's own gradient is scaled
    first = np.zeros((6, 4), bool)
    if kind == "epoch":
        first[:2] = True
    else:
        first[0, 0] = True
    assert np.allclose(shares, np.where(first, 1, 0.9))


def test_the_published_baseline_stays_behind_a_rising_reward() -> None:
    """Moved once an epoch by 1 %, it makes nearly every sample look good; moved with every sample, it follows."""
    share = {}
    for kind in ("epoch", "sample"):
        searcher = ControllerSearcher(Controller(hidden=2), baseline=kind)  # type: ignore[arg-type]
        state = searcher.init(SPACE, np.array([0]), np.float64)
        before, good = state.slots["baseline"], []
        for u in range(500):  # ten epochs of 50 controller steps, rewards from 0.2 to 0.7
            now = state._replace(slots={**state.slots, "controller_power2": np.array([0.5 if u else 1.0])})
            plain = 0.2 + 0.5 * u / 500 + 0.05 * np.random.default_rng(u).normal(size=(1, 20))
            advantage, _, before = searcher.advantage(plain, 0 * plain, before, u // 50, now, last=u % 50 == 49)
            good.append((advantage > 0).mean())
        share[kind] = np.mean(good[250:])
    assert share["epoch"] > 0.99 and 0.4 < share["sample"] < 0.7


@pytest.mark.parametrize(("per_epoch", "updates"), [(391, 50), (40, 50), (50, 50), (7, 3), (1, 50), (391, 1)])
def test_controller_steps_are_spread_evenly_and_the_last_ends_the_epoch(per_epoch: int, updates: int) -> None:
    searcher = ControllerSearcher(updates=updates)
    plan = [searcher._schedule(i, per_epoch) for i in range(per_epoch)]
    due = [i for i, (_, left) in enumerate(plan) if left == 0]
    assert len(due) == min(updates, per_epoch) and due[-1] == per_epoch - 1
    gaps = np.diff([-1, *due])
    assert gaps.max() - gaps.min() <= 1
    made = 0
    for i, (since, left) in enumerate(plan):
        assert since == made and left == min(j for j in due if j >= i) - i
        made = 0 if left == 0 else made + 1
    assert (per_epoch, updates) != (391, 50) or gaps.max() == AHEAD


def test_adam_is_the_textbook_one_without_first_moment_and_the_norm_is_clipped() -> None:
    random = np.random.default_rng(3)
    searcher = ControllerSearcher(lr=0.01, beta2=0.9, eps=1e-3, clip=5.0)
    w = random.normal(size=(6, 9))
    ours, v, power = w, np.zeros_like(w), np.ones(len(w))
    theirs, moment = w.copy(), np.zeros_like(w)
    for t in range(1, 8):
        g = random.normal(size=w.shape) * np.resize([0.1, 50.0], (len(w), 1))  # every second row's norm is far above 5
        power = power * 0.9
        new, new_v = np.empty_like(ours), np.empty_like(v)
        searcher._adam(ours, g, v, power, new, new_v)
        ours, v = new, new_v
        clipped = g * np.minimum(1, 5 / (np.linalg.norm(g, axis=1, keepdims=True) + 1e-6))
        moment = 0.9 * moment + 0.1 * clipped**2
        theirs = theirs - 0.01 * clipped / (np.sqrt(moment / (1 - 0.9**t)) + 1e-3)
        assert np.allclose(ours, theirs, atol=1e-14)


class Spied:
    """A landscape that notes the order of things: what is asked of it, at which weight step, with which batch."""

    def __init__(self, land: Landscape) -> None:
        self.land, self.asked = land, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.land, name)

    def arch_loss(self, state: Any, archs: np.ndarray, **how: Any) -> np.ndarray:
        self.asked.append((int(state.step[0]), archs.shape[1], how))
        return self.land.arch_loss(state, archs, **how)


def sharp(state: State, factor: float = 30.0) -> State:
    """The same search with larger controller weights: fresh ones are so small that all distributions look alike."""
    return state._replace(slots={**state.slots, "controller": np.float32(factor) * state.slots["controller"]})


def test_weights_first_then_the_controller_on_batches_of_its_own() -> None:
    searcher, land = get_method("enas").make(updates=4, hidden=4), Spied(SHARED)
    state, shared = searcher.init(SPACE, SEEDS, np.float32), SHARED.init(SEEDS, HORIZON)
    state, streams, seen = sharp(state), Streams(SEEDS), []
    for _ in range(10):  # 4 of 40: the first controller step follows the tenth weight step
        assert (state.alpha == 0).all() and np.allclose(searcher.distribution(state), 0.2)
        before = state
        state, shared, info = searcher.step(state, land, shared)
        assert (info.theta.sum(-1) == 1).all()
        seen.append(info.theta)
    assert [a[:2] for a in land.asked] == [*((t, 1) for t in range(10)), (10, 20)]
    assert land.asked[-1][2] == {"own_batch": 2.0}
    w = before.slots["controller"]
    assert not np.array_equal(w, state.slots["controller"])
    ahead = [searcher.controller.cells(w, streams.uniform("ahead", n, (AHEAD, 6)), SPACE.mask) for n in (0, AHEAD)]
    cells = np.concatenate(ahead, axis=1)[:, :10]
    assert np.array_equal(np.stack(seen, axis=1), np.eye(5, dtype=np.float32)[cells])
    samples = searcher.controller.write(w, streams.uniform("samples", 9, (20, 6)), SPACE.mask)
    assert np.allclose(searcher.distribution(state), samples.marginal, rtol=0, atol=1e-6)
    assert np.abs(samples.marginal - 0.2).max() > 0.05


def test_what_was_written_before_is_not_mistaken_for_what_is_due() -> None:
    """Cells and traces are kept until the controller step; other states that step in between change nothing."""
    params = {"updates": 3, "hidden": 4, "aggregate": 5}  # controller steps after 14, 27 and 40 of 40 weight steps
    one, other = (get_method("enas").make(**params) for _ in range(2))
    few, many = np.arange(4), np.arange(CHUNK + 6)
    a, b = run(one, SHARED, few, 0), run(one, SHARED, many, 0)
    for _ in range(30):
        a, b = run(one, SHARED, few, 1, resume=a), run(one, SHARED, many, 1, resume=b)
    assert same(a, run(other, SHARED, few, 30)) and same(b, run(other, SHARED, many, 30))
    assert same(a, rows(b, slice(0, 4)))
    # within reach of the controller step, where all is written that it needs: other weights, other seeds
    a = run(one, SHARED, few, 6, resume=a)
    changed = {**a[0].slots, "controller": a[0].slots["controller"] + np.float32(0.1)}
    for state in (a[0]._replace(slots=changed), a[0]._replace(seeds=a[0].seeds + 7)):
        fresh = get_method("enas").make(**params)
        assert same(run(one, SHARED, few, 6, resume=(state, a[1])), run(fresh, SHARED, few, 6, resume=(state, a[1])))
        assert same(run(one, SHARED, few, 6, resume=a), run(fresh, SHARED, few, 6, resume=a))


def test_cells_that_train_the_weights_are_written_by_the_controller() -> None:
    """With a controller that has made up its mind, so have the weights: no uniform paths, unlike RSPS and SETN."""
    searcher = get_method("enas").make(hidden=4, layers=1, lr=1e-9)
    many = np.arange(300)
    state, shared = searcher.init(SPACE, many, np.float32), SHARED.init(many, HORIZON)
    w = state.slots["controller"].copy()
    searcher.controller.views(w, 5)["head"][:, -1, 3] = 100  # tanh = 1: conv3x3 wherever it can be bent to
    state = state._replace(slots={**state.slots, "controller": w})
    usage = []
    for _ in range(5):
        state, shared, info = searcher.step(state, SHARED, shared)
        usage.append(info.theta)
    expected = np.exp(2.5) / (np.exp(2.5) + 4)  # the others' logits stay near 0
    assert np.mean(usage, axis=(0, 1))[:, 3] == pytest.approx(expected, abs=0.05)


def test_it_learns_where_there_is_no_noise() -> None:
    searcher = get_method("enas").make(hidden=8, lr=0.02, baseline="sample")
    state, _ = run(searcher, TABULAR, np.arange(8), 80)
    w = state.slots["controller"]
    uniform = Streams(np.arange(8)).uniform("test", 0, (400, 6))
    losses = TABULAR.arch_loss(None, searcher.controller.write(w, uniform, SPACE.mask).cells)
    everything = TABULAR.arch_loss(None, SPACE.all[None])[0]
    assert np.median(losses) < np.quantile(everything, 0.1)


def test_a_controller_that_diverged_shows_in_alpha() -> None:
    """The run's record counts a search as failed by its alpha; the other seeds go on as if alone."""
    searcher = get_method("enas").make(hidden=4, updates=40)
    state, shared = searcher.init(SPACE, SEEDS, np.float32), SHARED.init(SEEDS, HORIZON)
    w = state.slots["controller"].copy()
    w[1, 3] = np.nan
    broken, _, _ = searcher.step(state._replace(slots={**state.slots, "controller": w}), SHARED, shared)
    sound, _, _ = searcher.step(state, SHARED, shared)
    assert np.isfinite(broken.alpha).all(axis=(1, 2)).tolist() == [True, False, True]
    assert same(rows(broken, [0, 2]), rows(sound, [0, 2]))


def test_looking_at_the_cell_changes_nothing() -> None:
    searcher = get_method("enas").make(hidden=4, aggregate=3, evaluations=7)
    looked: tuple[State, Any] = run(searcher, SHARED, SEEDS, 0)
    for _ in range(6):
        cells = searcher.derive(looked[0], SHARED, looked[1])
        assert np.array_equal(cells, searcher.derive(looked[0], SHARED, looked[1]))
        looked = run(searcher, SHARED, SEEDS, 1, resume=looked)
    assert same(looked, run(searcher, SHARED, SEEDS, 6))
    written = searcher.controller.write(
        looked[0].slots["controller"], Streams(SEEDS).uniform("candidates", 6, (7, 6)), SPACE.mask
    ).cells
    losses = SHARED.arch_loss(looked[1], written, own_batch=2)
    best = searcher.derive(looked[0], SHARED, looked[1])
    assert np.array_equal(best, written[np.arange(3), losses.argmin(axis=1)])


@pytest.mark.parametrize(
    "params",
    [
        {"hidden": 0},
        {"layers": 0},
        {"temperature": 0.0},
        {"tanh_constant": -1.0},
        {"lr": 0.0},
        {"eps": 0.0},
        {"clip": 0.0},
        {"updates": 0},
        {"aggregate": 0},
        {"batch": 0},
        {"evaluations": 0},
        {"beta2": 1.0},
        {"baseline_decay": 1.0},
        {"entropy_weight": -1e-4},
        {"baseline": "step"},
    ],
    ids=lambda p: next(iter(p)),
)
def test_impossible_settings_are_refused_by_name(params: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(params))):
        get_method("enas").make(**params)
