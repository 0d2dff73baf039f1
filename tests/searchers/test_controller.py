"""ENAS: the LSTM against PyTorch's and finite differences, REINFORCE against enumeration, baselines against a loop."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Landscape
from nasbench_sim.searchers import State, get_method
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.controller import Controller, Trace
from nasbench_sim.searchers.enas import AHEAD, ControllerSearcher
from nasbench_sim.streams import Streams
from tests.searchers.helpers import HORIZON, LANDSCAPES, SPACE, run, same

SHARED, TABULAR = LANDSCAPES["shared"], LANDSCAPES["tabular"]
SEEDS = np.arange(3)


def weights(controller: Controller, options: int, scale: float = 1.0, seeds: np.ndarray = SEEDS) -> np.ndarray:
    return scale * controller.init(Streams(seeds), options, np.float64)


def uniforms(m: int, d: int, seeds: np.ndarray = SEEDS) -> np.ndarray:
    return Streams(seeds).uniform("test", 0, (m, d)).astype(np.float64)


def every_cell(controller: Controller, w: np.ndarray, mask: np.ndarray) -> Trace:
    """Each cell of a small space once, in order: the uniforms are put amid the intervals that lead to it."""
    d, k = mask.shape
    cells = np.array([c for c in product(range(k), repeat=d) if mask[np.arange(d), c].all()])
    uniform = np.zeros((len(w), *cells.shape))
    for t in range(d):
        log_p = controller.write(w, uniform, mask).steps[t].log_p
        p = np.broadcast_to(np.exp(log_p), (*uniform.shape[:2], k))
        at = np.broadcast_to(cells[:, t, None], (*uniform.shape[:2], 1))
        uniform[:, :, t] = np.take_along_axis(p.cumsum(axis=2) - p / 2, at, axis=2)[..., 0]
    trace = controller.write(w, uniform, mask)
    assert (trace.cells == cells).all()
    return trace


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradient_by_finite_differences(layers: int) -> None:
    random = np.random.default_rng(layers)
    controller = Controller(hidden=3, layers=layers)
    mask = np.ones((4, 5), bool)
    mask[1, 3:] = mask[3, 0] = False
    w, uniform = weights(controller, 5, 4.0), uniforms(6, 4)
    trace = controller.write(w, uniform, mask)
    assert np.take_along_axis(np.broadcast_to(mask, (3, 6, 4, 5)), trace.cells[..., None], -1).all()
    a, b = random.normal(size=(2, 3, 6))
    g = controller.gradient(w, trace, mask, a, b)
    numeric = np.empty_like(g)
    for p in range(w.shape[1]):
        up, down = w.copy(), w.copy()
        up[:, p] += 1e-6
        down[:, p] -= 1e-6
        high, low = controller.write(up, uniform, mask), controller.write(down, uniform, mask)
        assert np.array_equal(high.cells, trace.cells) and np.array_equal(low.cells, trace.cells)
        value = [(a * t.log_prob + b * t.entropy).sum(axis=1) for t in (high, low)]
        numeric[:, p] = (value[0] - value[1]) / 2e-6
    assert np.allclose(g, numeric, atol=2e-7)
    assert (np.abs(g) > 1e-6).mean() > 0.6  # a gradient of zeros would prove nothing


def test_probabilities_are_those_of_pytorch() -> None:
    """The same weights in torch.nn.LSTM, Embedding and Linear, as AutoDL-Projects composes them."""
    torch = pytest.importorskip("torch")
    controller, mask = Controller(hidden=8, layers=2), np.ones((6, 5), bool)
    w = weights(controller, 5, 3.0)
    trace = controller.write(w, uniforms(7, 6), mask)
    for s in range(3):
        v = {name: torch.tensor(x[s].copy()) for name, x in controller.views(w, 5).items()}
        lstm = torch.nn.LSTM(8, 8, 2).double()
        state = {"weight_ih_l0": v["input"].T, "weight_hh_l0": v["cell 0"].T}
        state |= {"weight_ih_l1": v["cell 1"][:8].T, "weight_hh_l1": v["cell 1"][8:].T}
        state |= {f"bias_{kind}_l{n}": v[f"bias {n}"][row] for n in (0, 1) for row, kind in enumerate(("ih", "hh"))}
        lstm.load_state_dict(state)
        for m in range(7):
            x, h, total, entropy = v["start"], None, 0.0, 0.0
            for d in range(6):
                out, h = lstm(x[None], h)
                logits = 2.5 * torch.tanh((out[0] @ v["predict"] + v["offset"]) / 5.0)
                choice = torch.distributions.Categorical(logits=logits[0])
                op = torch.tensor(int(trace.cells[s, m, d]))
                total, entropy = total + choice.log_prob(op).item(), entropy + choice.entropy().item()
                x = v["embed"][op][None]
            assert trace.log_prob[s, m] == pytest.approx(total, abs=1e-12)
            assert trace.entropy[s, m] == pytest.approx(entropy, abs=1e-12)


def test_it_is_a_distribution_and_cells_come_as_often_as_it_says() -> None:
    controller, mask = Controller(hidden=6, layers=2), np.ones((3, 3), bool)
    mask[2, 1] = False
    w = weights(controller, 3, 8.0)
    all_cells = every_cell(controller, w, mask)
    p = np.exp(all_cells.log_prob)
    assert np.allclose(p.sum(axis=1), 1)
    n = 40_000
    many = controller.write(w, uniforms(n, 3), mask)
    for s in range(3):
        codes, seen = np.unique(many.cells[s] @ [9, 3, 1], return_counts=True)
        assert np.array_equal(codes, all_cells.cells[s] @ [9, 3, 1])
        assert stats.chisquare(seen, n * p[s]).pvalue > 1e-3
    # the marginal is the mean of the distributions met on the way
    exact = np.stack([(p[..., None] * (all_cells.cells == k)).sum(axis=1) for k in range(3)], axis=-1)
    assert np.allclose(many.marginal, exact, atol=0.01) and np.allclose(many.marginal.sum(axis=-1), 1)


def test_decisions_depend_on_earlier_ones() -> None:
    """What an LSTM is for: the joint is not the product of its marginals, as any alpha[D, K] would have it."""
    controller, mask = Controller(hidden=6, layers=1), np.ones((2, 2), bool)
    trace = every_cell(controller, weights(controller, 2, 30.0), mask)
    joint = np.exp(trace.log_prob).reshape(3, 2, 2)
    apart = joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None]
    assert np.abs(joint - apart).max() > 0.01


def test_reinforce_is_the_gradient_of_the_expected_reward() -> None:
    """Exact: sum over cells of p R grad log p = d E[R]; and the sample mean of (R - b) grad log p agrees, for any b."""
    random = np.random.default_rng(5)
    controller, mask = Controller(hidden=3, layers=2), np.ones((3, 2), bool)
    w = weights(controller, 2, 6.0)
    cells = every_cell(controller, w, mask)
    table = random.normal(size=8)

    def expected(v: np.ndarray) -> np.ndarray:
        t = every_cell(controller, v, mask)
        return np.asarray((np.exp(t.log_prob) * table).sum(axis=1))

    exact = controller.gradient(w, cells, mask, np.exp(cells.log_prob) * table, np.zeros((3, 8)))
    for p in random.integers(0, w.shape[1], 40):
        up, down = w.copy(), w.copy()
        up[:, p] += 1e-5
        down[:, p] -= 1e-5
        assert np.allclose((expected(up) - expected(down)) / 2e-5, exact[:, p], atol=1e-6)
    n = 60_000
    sample = controller.write(w, uniforms(n, 3), mask)
    reward = table[sample.cells @ [4, 2, 1]]
    for b in (0.0, 1.7):
        mean = controller.gradient(w, sample, mask, (reward - b) / n, np.zeros((3, n)))
        spread = np.abs(reward - b).max() / np.sqrt(n) * 4  # no score passes 4 at these weights
        assert np.abs(mean - exact).max() < 4.5 * spread
        assert np.corrcoef(mean.ravel(), exact.ravel())[0, 1] > 0.98


def test_sizes_and_start_are_the_published_ones() -> None:
    controller = Controller()
    v = controller.views(controller.init(Streams(range(20)), 5, np.float32), 5)
    for name in ("start", "embed", "input", "cell 0", "predict"):
        assert 0.09 < np.abs(v[name]).max() <= 0.1 and abs(v[name].mean()) < 0.01
    for name in ("cell 1", "bias 0", "bias 1", "offset"):
        assert 0.16 < np.abs(v[name]).max() <= 32**-0.5
    start = controller.write(weights(controller, 5), uniforms(200, 6), SPACE.mask)
    assert start.marginal.min() > 0.17 and start.marginal.max() < 0.23  # close to uniform
    bound = np.exp(2.5) / (np.exp(2.5) + 4 * np.exp(-2.5))
    assert np.exp(controller.write(weights(controller, 5, 1e3), uniforms(50, 6), SPACE.mask).log_prob).max() <= bound**6


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
    due = [i for i, (is_due, _) in enumerate(plan) if is_due]
    assert len(due) == min(updates, per_epoch) and due[-1] == per_epoch - 1
    gaps = np.diff([-1, *due])
    assert gaps.max() - gaps.min() <= 1
    since = 0
    for is_due, said in plan:
        assert said == since
        since = 0 if is_due else since + 1
    assert (per_epoch, updates) != (391, 50) or gaps.max() == AHEAD


def test_adam_is_the_textbook_one_without_first_moment_and_the_norm_is_clipped() -> None:
    random = np.random.default_rng(3)
    searcher = ControllerSearcher(lr=0.01, beta2=0.9, eps=1e-3, clip=5.0)
    w = random.normal(size=(2, 9))
    ours, v, power = w, np.zeros_like(w), np.ones(2)
    theirs, moment = w.copy(), np.zeros_like(w)
    for t in range(1, 8):
        g = random.normal(size=w.shape) * np.array([[0.1], [50.0]])  # the second row's norm is far above 5
        power = power * 0.9
        ours, v = searcher._adam(ours, g, v, power)
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


def test_weights_first_then_the_controller_on_batches_of_its_own() -> None:
    searcher, land = get_method("enas").make(updates=4, hidden=4), Spied(SHARED)
    state, shared = searcher.init(SPACE, SEEDS, np.float32), SHARED.init(SEEDS, HORIZON)
    for _ in range(10):  # 4 of 40: the first controller step follows the tenth weight step
        assert (state.alpha == 0).all() and np.allclose(searcher.distribution(state), 0.2)
        before = state
        state, shared, info = searcher.step(state, land, shared)
        assert (info.theta.sum(-1) == 1).all() and set(np.unique(info.theta)) == {0.0, 1.0}
    assert [a[:2] for a in land.asked] == [*((t, 1) for t in range(10)), (10, 20)]
    assert land.asked[-1][2] == {"own_batch": 2.0}
    assert not np.array_equal(before.slots["controller"], state.slots["controller"])
    samples = searcher.controller.write(
        before.slots["controller"], Streams(SEEDS).uniform("samples", 9, (20, 6)), SPACE.mask
    )
    assert np.allclose(searcher.distribution(state), samples.marginal, atol=1e-6)


def test_cells_that_train_the_weights_are_written_by_the_controller() -> None:
    """With a controller that has made up its mind, so have the weights: no uniform paths, unlike RSPS and SETN."""
    searcher = get_method("enas").make(hidden=4, layers=1, lr=1e-9)
    many = np.arange(300)
    state, shared = searcher.init(SPACE, many, np.float32), SHARED.init(many, HORIZON)
    w = state.slots["controller"].copy()
    searcher.controller.views(w, 5)["offset"][:, 0, 3] = 100  # tanh = 1: conv3x3 wherever it can be bent to
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
