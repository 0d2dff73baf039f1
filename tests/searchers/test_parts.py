"""The parts against closed forms: links, updates, Dirichlet draws, importance weights, the BPNAS rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon
from nasbench_sim.searchers import Estimate, View, get_method, methods
from nasbench_sim.searchers.base import rows
from nasbench_sim.searchers.links import Concentration, Link, Softmax
from nasbench_sim.searchers.pruning import BPNASRule
from nasbench_sim.searchers.random_variables import dirichlet_path, pick
from nasbench_sim.searchers.relaxations import Gaussian, ImportanceWeighted
from nasbench_sim.searchers.updates import SGD, Adam, VAdam
from nasbench_sim.streams import Streams
from tests.searchers.helpers import LANDSCAPES, SPACE

LINKS: list[Link] = [Softmax(), Concentration()]


@pytest.mark.parametrize("link", LINKS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_pullback_and_jets_by_finite_differences(link: Link, masked: bool) -> None:
    random = np.random.default_rng(0)
    alpha, weight = random.normal(size=(4, 3, 5)), random.normal(size=(4, 3, 5))
    mask = None
    if masked:
        mask = random.random((4, 3, 5)) < 0.6
        mask[..., 2] = True
    theta, first, second = link.jets(alpha, mask)
    assert np.allclose(theta, link.forward(alpha, mask), atol=1e-14) and np.allclose(theta.sum(-1), 1)
    pulled = link.pullback(alpha, theta, weight)
    h = 1e-5
    for k in range(5):
        up, down = alpha.copy(), alpha.copy()
        up[..., k] += h
        down[..., k] -= h
        slope = (link.forward(up, mask) - link.forward(down, mask)) / (2 * h)
        assert np.allclose(slope, first[..., k], atol=1e-8)
        assert np.allclose((slope * weight).sum(-1), pulled[..., k], atol=1e-8)
        bend = (link.jets(up, mask)[1] - link.jets(down, mask)[1]) / (2 * h)
        assert np.allclose(bend, second[..., k], atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(shift=st.floats(-50, 50), seed=st.integers(0, 100))
def test_softmax_ignores_a_constant_a_decision(shift: float, seed: int) -> None:
    alpha = np.random.default_rng(seed).normal(size=(2, 3, 5))
    assert np.allclose(Softmax().forward(alpha + shift, None), Softmax().forward(alpha, None), atol=1e-12)


def estimate(grad: np.ndarray, square: np.ndarray | None = None) -> Estimate:
    return Estimate(np.zeros(len(grad)), grad, grad * grad if square is None else square, grad)


def reference_adam(grads: list[Any], x: Any, lr: float, betas: tuple[float, float], eps: float) -> Any:
    """Textbook Adam (Kingma & Ba, algorithm 1) on given gradient functions, independent of ours."""
    m = v = np.zeros_like(x)
    for t, gradient in enumerate(grads, start=1):
        g = gradient(x)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        x = x - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return x


def test_adam_is_the_textbook_one_with_l2() -> None:
    random = np.random.default_rng(1)
    x0, target = random.normal(size=(2, 3, 4)), random.normal(size=(50, 2, 3, 4))
    update = Adam(lr=0.01, betas=(0.5, 0.999), weight_decay=0.1)
    x, slots = x0, update.init(x0)
    for t in target:
        x, slots = update.apply(x, estimate(x - t), slots)
    expected = reference_adam([lambda x, t=t: (x - t) + 0.1 * x for t in target], x0, 0.01, (0.5, 0.999), 1e-8)
    assert np.allclose(x, expected, rtol=1e-12)


def test_vadam_without_noise_is_adam_on_loss_plus_prior() -> None:
    """lambda~ = prior / N enters the gradient and stands where Adam has eps.

    The second moment is that of the loss alone (VAdam's definition), so equality to rounding needs lambda~ mu to be
    below rounding in g^2; with a prior that is not, it equals Adam's step with v taken from the loss gradient.
    """
    random = np.random.default_rng(2)
    x0, target = random.normal(size=(2, 3, 4)), random.normal(size=(60, 2, 3, 4))
    tiny = VAdam(lr=0.01, train_size=10**6, prior_precision=1e-6, init_precision=1e-6, noise_scale=0.0)
    assert (tiny.sd(tiny.init(x0)) == 0).all()
    x, slots = x0, tiny.init(x0)
    for t in target:
        x, slots = tiny.apply(x, estimate(x - t), slots)
    grads = [lambda x, t=t: (x - t) + 1e-12 * x for t in target]
    assert np.allclose(x, reference_adam(grads, x0, 0.01, (0.5, 0.999), 1e-12), rtol=1e-10)

    prior = VAdam(lr=0.01, train_size=10, prior_precision=2.0, init_precision=2.0, noise_scale=0.0)
    x, slots = x0, prior.init(x0)
    m = s = np.zeros_like(x0)
    y = x0
    for n, t in enumerate(target, start=1):
        x, slots = prior.apply(x, estimate(x - t), slots)
        m, s = 0.5 * m + 0.5 * (y - t + 0.2 * y), 0.999 * s + 0.001 * (y - t) ** 2
        y = y - 0.01 * (m / (1 - 0.5**n)) / (np.sqrt(s / (1 - 0.999**n)) + 0.2)
    assert np.allclose(x, y, rtol=1e-12)


class Identity:
    """theta = alpha: turns a landscape's loss into a loss in alpha."""

    def forward(self, alpha: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        return alpha

    def pullback(self, alpha: np.ndarray, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return grad

    def jets(self, alpha: np.ndarray, mask: np.ndarray | None) -> Any:
        raise AssertionError("not needed")


class Quadratic:
    """L(alpha) = h / 2 |alpha - a|^2 summed over entries."""

    dtype = np.dtype(np.float64)

    def __init__(self, h: float, a: np.ndarray) -> None:
        self.h, self.a = h, a

    def loss_and_grad(self, state: Any, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        diff = theta - self.a
        return 0.5 * self.h * (diff**2).sum(axis=(-2, -1)), self.h * diff


@pytest.mark.parametrize("denominator", ["sqrt", "plain"])
@pytest.mark.parametrize("samples", [1, 3])
def test_balenas_on_a_quadratic_converges_to_the_known_posterior(denominator: Any, samples: int) -> None:
    """Loss N h/2 (alpha - a)^2 and prior N(0, 1/lambda): the posterior mean is N h a / (N h + lambda), exactly.

    VAdam's precision uses squared gradients, not the Hessian h: E[g^2] = h^2 sigma^2 + (h (mean - a))^2, so its
    fixed point solves sigma^2 (N h^2 sigma^2 + N (h (mean - a))^2 + lambda) = 1, a closed form that we check; the
    exact posterior's 1 / (N h + lambda) is what it approximates.
    """
    h, n, prior = 2.0, 50, 4.0
    a = np.linspace(-1, 1, 12).reshape(3, 4)
    land = Quadratic(h, a)
    relax = Gaussian(samples, link=Identity())
    update = VAdam(
        lr=0.003 if denominator == "sqrt" else 0.002,
        betas=(0.9, 0.999),
        train_size=n,
        prior_precision=prior,
        init_precision=20.0,
        denominator=denominator,
        second_rate=0.002,
    )
    seeds = np.arange(64)
    streams = Streams(seeds)
    alpha = np.zeros((64, 3, 4))
    slots = update.init(alpha)
    means, variances = [], []
    for step in range(6000):
        view = View(land, None, streams, step)  # type: ignore[arg-type]
        alpha, slots = update.apply(alpha, relax.estimate(view, alpha, update.sd(slots), None), slots)
        if step >= 4000:
            means.append(alpha.mean(axis=0))
            sd = update.sd(slots)
            assert sd is not None
            variances.append((sd**2).mean(axis=0))
    mean = n * h * a / (n * h + prior)
    assert np.allclose(np.mean(means, axis=0), mean, atol=0.01)
    q = n * (h * (mean - a)) ** 2 + prior
    fixed = (-q + np.sqrt(q**2 + 4 * n * h**2)) / (2 * n * h**2)
    assert np.allclose(np.mean(variances, axis=0), fixed, rtol=0.06)


def test_balenas_denominators_differ_and_impossible_precisions_are_refused() -> None:
    alpha = np.ones((1, 1, 2))
    seen = estimate(np.array([[[0.1, 0.2]]]))
    steps = {d: VAdam(denominator=d).apply(alpha, seen, VAdam(denominator=d).init(alpha))[0] for d in ("sqrt", "plain")}
    assert not np.allclose(steps["sqrt"], steps["plain"])
    lr, prior = 3e-4, 1 / 25_000
    s = (1 - lr) * (1e4 - 1) / 25_000 + lr * seen.square
    assert np.allclose(steps["plain"], alpha - lr * (seen.grad + prior * alpha) / (s + prior), rtol=1e-12)  # eq. 17-18
    with pytest.raises(SpecError, match="init_precision"):
        VAdam(prior_precision=2.0, init_precision=1.0)


def test_dirichlet_draws_have_the_right_law() -> None:
    c = np.array([0.3, 1.0, 2.5, 0.8, 1.1])
    theta, _ = dirichlet_path(Streams([1]), "t", 0, np.tile(c, (1, 20_000, 1)), None)
    for k in range(5):
        assert stats.kstest(theta[0, :, k], stats.beta(c[k], c.sum() - c[k]).cdf).pvalue > 1e-3
    mask = np.array([True, False, True, True, False])
    theta, path = dirichlet_path(Streams([1]), "t", 0, np.tile(c, (1, 20_000, 1)), np.tile(mask, (1, 20_000, 1)))
    assert (theta[..., ~mask] == 0).all() and (path[..., ~mask] == 0).all()
    on = c[mask]
    assert stats.kstest(theta[0, :, 0], stats.beta(on[0], on.sum() - on[0]).cdf).pvalue > 1e-3


def test_dirichlet_path_gradient_against_the_closed_form() -> None:
    """d/dc E[<f, theta>^2] in closed form; 200,000 draws; the neglected acceptance term must stay below 2 %."""
    c, f = np.array([0.3, 1.0, 2.5, 0.8, 1.1]), np.array([0.1, 0.5, -0.3, 0.8, 0.2])

    def exact(c: np.ndarray) -> float:
        mean = c / c.sum()
        second = (np.diag(mean) - np.outer(mean, mean)) / (c.sum() + 1) + np.outer(mean, mean)
        return float(f @ second @ f)

    theta, path = (x[0] for x in dirichlet_path(Streams([3]), "t", 0, np.tile(c, (1, 200_000, 1)), None))
    grad = 2 * (theta @ f)[:, None] * f
    ours = Softmax().pullback(theta, theta, grad) * path
    expected = np.array([(exact(c + e) - exact(c - e)) / 2e-5 for e in 1e-5 * np.eye(5)])
    noise = ours.std(axis=0) / np.sqrt(len(ours))
    assert (abs(ours.mean(axis=0) - expected) < 4 * noise + 0.02 * abs(expected).max()).all()


def test_pick_follows_theta_and_never_lands_on_probability_zero() -> None:
    theta = np.array([[[0.0, 0.5, 0.0, 0.25, 0.25], [1.0, 0, 0, 0, 0]]])
    u = np.random.default_rng(0).random((1, 40_000, 2))
    u[0, 0], u[0, 1] = 0.0, 1 - 2**-24
    chosen = pick(u, theta)
    share = np.bincount(chosen[0, :, 0], minlength=5) / 40_000
    assert np.allclose(share, theta[0, 0], atol=0.01) and share[0] == share[2] == 0
    assert (chosen[0, :, 1] == 0).all()


def test_parsec_weights_are_a_softmax_of_losses_in_log_space() -> None:
    relax = ImportanceWeighted(samples=4, temperature=1 / 64)
    losses = np.array([[0.3, 0.35, 0.5, 0.3], [1e4, 2e4, 3e4, 1e4]])
    w = relax.weights(losses)
    assert np.allclose(w.sum(axis=1), 1) and np.isfinite(w).all()
    assert w[0, 0] / w[0, 1] == pytest.approx(np.exp(64 * 0.05))  # a gap of .05 nats at batch 64: e^3.2 = 25
    assert w[1].tolist() == [0.5, 0, 0, 0.5]


def test_parsec_gradient_is_the_score_function_estimate() -> None:
    land = LANDSCAPES["tabular"]
    seeds = np.arange(5)
    streams, alpha = Streams(seeds), np.random.default_rng(0).normal(size=(5, 6, 5)).astype(np.float32)
    relax = ImportanceWeighted(samples=8)
    view = View(land, land.init(seeds, Horizon(1, 1)), streams, 0)
    seen = relax.estimate(view, alpha, None, None)
    pi = Softmax().forward(alpha, None)
    cells = pick(streams.uniform("cells", 0, (8, 6)), pi)
    omega = relax.weights(land.arch_loss(None, cells))
    expected = sum(omega[:, k, None, None] * (np.eye(5)[cells[:, k]] - pi) for k in range(8))
    assert np.allclose(seen.grad, -expected, atol=1e-6)
    assert np.allclose(seen.usage.sum(-1), 1, atol=1e-6)


def rule_case(rule: BPNASRule, alpha: np.ndarray, mask: np.ndarray) -> Any:
    land = LANDSCAPES["tabular"]
    seeds = np.arange(len(alpha))
    view = View(land, land.init(seeds, Horizon(1, 1)), Streams(seeds), 0)
    return rule.apply(view, alpha.astype(np.float32), mask, Concentration())


def test_bpnas_rule_cuts_the_argmin_of_the_triggering_edge() -> None:
    alpha = np.zeros((1, 6, 5))
    alpha[0, 2] = [0.5, 0.1, 0.0, -0.6, 0.2]
    alpha[0, 4, 1] = -0.7  # the smallest alpha of all, on an edge that is nearer to uniform
    mask = np.ones((1, 6, 5), dtype=bool)
    cut = rule_case(BPNASRule(delta=0.12), alpha, mask)
    assert np.argwhere(~cut.mask).tolist() == [[0, 2, 3]] and cut.reset.all()
    everywhere = rule_case(BPNASRule(delta=0.12, scope="all", reset="edge"), alpha, mask)
    assert np.argwhere(~everywhere.mask).tolist() == [[0, 4, 1]]
    assert np.argwhere(everywhere.reset).tolist() == [[0, 4]]
    theta = Concentration().forward(alpha, mask)
    distance = float(np.sqrt(((theta[0, 2] - 0.2) ** 2).sum()))
    assert rule_case(BPNASRule(delta=distance + 1e-4), alpha, mask) is None
    assert rule_case(BPNASRule(delta=distance - 1e-4), alpha, mask) is not None


def test_bpnas_rule_never_takes_the_last_option() -> None:
    alpha = np.zeros((1, 6, 5))
    alpha[0, 0, 0] = -5.0
    alpha[0, 1, :2] = [0.9, -0.9]
    mask = np.ones((1, 6, 5), dtype=bool)
    mask[0, 0] = [True, False, False, False, False]
    mask[0, 1] = [True, True, False, False, False]
    cut = rule_case(BPNASRule(delta=0.2, scope="all"), alpha, mask)
    assert cut.mask[0, 0].sum() == 1 and not cut.mask[0, 1, 1]


def test_bpnas_prior_adds_a_map_test() -> None:
    """Cutting the option the table likes best raises the loss: a small c forbids it, a large one allows it."""
    alpha = np.zeros((1, 6, 5))
    alpha[0, 0] = [0.4, 0.4, 0.4, -0.9, 0.4]  # conv 3x3, the best option of the made-up table, has the smallest alpha
    mask = np.ones((1, 6, 5), dtype=bool)
    assert rule_case(BPNASRule(delta=0.1, c=0.1), alpha, mask) is None
    assert rule_case(BPNASRule(delta=0.1, c=1e6), alpha, mask) is not None


def test_bpnas_converges_to_one_option_an_edge_and_its_members_reopen_one() -> None:
    land = LANDSCAPES["tabular"]
    searcher = get_method("bpnas").make(delta=0.02, lr=0.05, members=3, member_epochs=1)
    seeds = np.arange(10)
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, 400))
    for _ in range(400):
        state, shared, _ = searcher.step(state, land, shared)
    assert (state.mask.sum(axis=-1) == 1).all()
    cells = searcher.derive(state, land, shared)
    again, edge = searcher.reopen(state, cells, SPACE)
    assert len(edge) == 30 and len(set(again.seeds.tolist())) == 30
    counts = again.mask.sum(axis=-1)
    assert (counts.sum(axis=1) == 10).all() and (counts[np.arange(30), edge] == 5).all()
    assert len(set(edge.tolist())) > 2
    kept = np.repeat(cells, 3, axis=0)
    assert np.take_along_axis(again.mask, kept[..., None], -1).all()
    alone, edge_alone = searcher.reopen(rows(state, slice(4, 5)), cells[4:5], SPACE)
    assert np.array_equal(edge_alone, edge[12:15]) and np.array_equal(alone.alpha, again.alpha[12:15])


def test_random_search_matches_the_order_statistics_of_the_table() -> None:
    """Best of n uniform draws: the median of its rank quantile is 1 - 2^(-1/n)."""
    land = LANDSCAPES["tabular"]
    n = 20
    searcher = get_method("random").make(evaluations=n)
    seeds = np.arange(2000)
    state, shared = searcher.init(SPACE, seeds, land.dtype), land.init(seeds, Horizon(1, n))
    for _ in range(n):
        state, shared, _ = searcher.step(state, land, shared)
    losses = land.arch_loss(None, searcher.derive(state, land, shared)[:, None])[:, 0]
    everything = np.sort(land.arch_loss(None, SPACE.all[None])[0])
    rank = np.searchsorted(everything, losses) / len(everything)
    assert np.median(rank) == pytest.approx(1 - 2 ** (-1 / n), rel=0.1)


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("darts", {"lr": -1.0}, "lr must be a positive number"),
        ("darts", {"betas": (0.5, 1.0)}, "betas"),
        ("darts", {"learning_rate": 0.1}, "unknown parameter 'learning_rate'"),
        ("darts", {"lr": "fast"}, "lr"),
        ("balenas", {"samples": 0}, "samples"),
        ("balenas", {"denominator": "cube"}, "denominator"),
        ("balenas", {"init_precision": 0.5}, "init_precision"),
        ("bpnas", {"delta": 1.5}, "delta"),
        ("bpnas", {"scope": "node"}, "scope"),
        ("bpnas", {"members": -1}, "members"),
        ("parsec", {"temperature": 0.0}, "temperature"),
        ("random", {"evaluations": 0}, "evaluations"),
    ],
)
def test_impossible_parameters_are_refused_by_name(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        methods()[method].make(**params)


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'balenas'"):
        get_method("balena")


def test_sgd_with_momentum() -> None:
    alpha = np.ones((1, 1, 1))
    update = SGD(lr=0.1, momentum=0.5, weight_decay=0.2)
    one, slots = update.apply(alpha, estimate(np.full((1, 1, 1), 2.0)), update.init(alpha))
    two, _ = update.apply(one, estimate(np.full((1, 1, 1), 2.0)), slots)
    assert one[0, 0, 0] == pytest.approx(1 - 0.1 * 2.2)
    assert two[0, 0, 0] == pytest.approx(one[0, 0, 0] - 0.1 * (0.5 * 2.2 + 2 + 0.2 * one[0, 0, 0]))
