"""SVGD-RD: its closed-form gradients against finite differences and the formula written out; what delta does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import logsumexp

from nasbench_sim.ensembles.svgd import BLOCK, direction, log_posterior_gradient, svgd_rd
from nasbench_sim.errors import SpecError

RNG = np.random.default_rng(4)
D, K, WIDTH = 3, 4, 0.6
THETA = RNG.dirichlet(np.ones(K), D)
X = RNG.normal(size=(5, D, K))  # five particles of one set


def log_posterior(x: np.ndarray) -> float:
    """sum_d log sum_k theta_dk N(x_d; e_k, width^2 I), up to a constant."""
    square = ((x.reshape(D, 1, K) - np.eye(K)) ** 2).sum(axis=2)
    return float(logsumexp(np.log(THETA) - square / (2 * WIDTH**2), axis=1).sum())


def kernel(x: np.ndarray, y: np.ndarray, h: float) -> float:
    return float(np.exp(-((x - y) ** 2).sum() / (2 * h * h)))


def kernel_slope(x: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
    """Gradient of the kernel in its first argument."""
    return -(x - y) / h**2 * kernel(x, y, h)


def gradients(x: np.ndarray) -> np.ndarray:
    log_theta = np.log(THETA)[..., None]
    return log_posterior_gradient(x[..., None], log_theta, WIDTH)[..., 0]


def test_the_gradient_of_the_relaxed_posterior_is_that_of_finite_differences() -> None:
    for x, g in zip(X, gradients(X), strict=True):
        assert np.allclose(g.ravel(), approx_fprime(x.ravel(), log_posterior, 1e-7), atol=1e-5)


def test_an_option_without_probability_has_no_pull() -> None:
    theta = np.array([[0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        g = log_posterior_gradient(np.zeros((1, 1, 3, 1)), np.log(theta)[..., None], 1.0)[0, 0, :, 0]
    assert g.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("delta", [-0.7, 0.0, 1.3])
@pytest.mark.parametrize("h", [0.8, 2.5, None])
def test_the_direction_is_the_formula(delta: float, h: float | None) -> None:
    n, g = len(X), gradients(X)
    found = direction(X[..., None], g[..., None], delta, h)[..., 0]
    if h is None:
        pairs = [((X[i] - X[j]) ** 2).sum() for i, j in itertools.combinations(range(n), 2)]
        h = float(np.sqrt(np.median(pairs) / np.log(n) / 2))
    for i in range(n):
        phi = np.zeros((D, K))
        for j in range(n):
            spread = sum(kernel_slope(X[j], X[m], h) for m in range(n))
            phi += kernel(X[j], X[i], h) * (g[j] - 2 * delta * spread) + kernel_slope(X[j], X[i], h)
        assert np.allclose(found[i], phi / n, atol=1e-12)


def test_the_diversity_force_is_the_first_variation_of_the_objective() -> None:
    """d/dt of n delta E[k] along x + t v is -(1/n) sum_i <force_i, v_i>, force_i = -2 delta sum_l grad_i k_il."""
    n, h, delta = len(X), 1.1, 0.8

    def objective(x: np.ndarray) -> float:
        return n * delta * float(np.mean([[kernel(a, b, h) for b in x] for a in x]))

    v = RNG.normal(size=X.shape)
    slope = (objective(X + 1e-6 * v) - objective(X - 1e-6 * v)) / 2e-6
    force = np.stack([-2 * delta * sum(kernel_slope(a, b, h) for b in X) for a in X])
    assert slope == pytest.approx(-(force * v).sum() / n, rel=1e-6)


def test_one_particle_climbs_to_the_mode() -> None:
    start = np.eye(K)[[1, 2, 0]][None, None] + 0.3
    end = svgd_rd(start, THETA[None], width=WIDTH, steps=2000)[0, 0]
    assert np.abs(gradients(end[None])).max() < 1e-9
    assert log_posterior(end) > log_posterior(start[0, 0])


def test_many_particles_have_the_posterior_mean() -> None:
    """E[x_d] = theta_d under the relaxed posterior; SVGD (delta 0) with 40 particles comes near it."""
    theta = np.array([[[0.7, 0.3]]])
    start = np.random.default_rng(0).normal(0.5, 1, (1, 40, 1, 2))
    end = svgd_rd(start, theta, width=0.7, steps=500, step_size=0.3)
    assert np.allclose(end.mean(axis=1), theta[:, 0], atol=0.03)
    spread = end[0, :, 0].var(axis=0)  # width^2 + theta (1 - theta)
    assert np.allclose(spread, 0.7**2 + 0.21, rtol=0.25)


def batch(sets: int, width: float = 0.5, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    theta = rng.dirichlet(np.ones(K), (sets, D))
    cells = (rng.uniform(size=(sets, n, D, 1)) > theta.cumsum(axis=2)[:, None]).sum(axis=3).clip(0, K - 1)
    return np.eye(K)[cells] + width * rng.normal(size=(sets, n, D, K)), theta


def distance(x: np.ndarray) -> float:
    """Mean distance of the particles of a set."""
    pairs = itertools.combinations(range(x.shape[1]), 2)
    return float(np.mean([np.sqrt(((x[:, i] - x[:, j]) ** 2).sum(axis=(1, 2))) for i, j in pairs]))


def differing(x: np.ndarray) -> float:
    """Mean number of decisions in which the cells of a set differ."""
    cells = x.argmax(axis=3)
    pairs = itertools.combinations(range(x.shape[1]), 2)
    return float(np.mean([(cells[:, i] != cells[:, j]).sum(axis=1) for i, j in pairs]))


def test_delta_orders_the_diversity() -> None:
    start, theta = batch(128)
    ends = [svgd_rd(start, theta, delta=delta) for delta in (-0.5, 0.0, 1.0, 5.0)]
    assert all(distance(a) < distance(b) for a, b in itertools.pairwise(ends))
    assert differing(ends[0]) < differing(ends[1]) < differing(ends[3])


def test_the_defaults_let_particles_change_options_and_have_settled() -> None:
    start, theta = batch(128)
    end = svgd_rd(start, theta, delta=1.0)
    later = svgd_rd(start, theta, delta=1.0, steps=1000)
    moved = (end.argmax(axis=3) != start.argmax(axis=3)).mean()
    assert moved > 0.1 > 5 * (end.argmax(axis=3) != later.argmax(axis=3)).mean()


def test_narrow_gaussians_hold_their_particles() -> None:
    """At width 0.3 SVGD changes next to nothing: the barrier between options is too high."""
    start, theta = batch(128, width=0.3)
    end = svgd_rd(start, theta, delta=1.0, width=0.3)
    nearest = np.abs(end - np.eye(K)[start.argmax(axis=3)]).max()
    assert (end.argmax(axis=3) != start.argmax(axis=3)).mean() < 0.05 and nearest < 1.6


def test_a_set_alone_equals_its_row_in_a_batch_bit_for_bit() -> None:
    sets = 2 * BLOCK + 3
    start, theta = batch(sets)
    together = svgd_rd(start, theta, delta=1.0, steps=40)
    for row in (0, 5, BLOCK - 1, BLOCK, sets - 1):
        alone = svgd_rd(start[row : row + 1], theta[row : row + 1], delta=1.0, steps=40)
        assert np.array_equal(alone[0], together[row])


def test_identical_particles_stay_together() -> None:
    start, theta = batch(1)
    same = np.repeat(start[:, :1], 3, axis=1)
    end = svgd_rd(same, theta, delta=1.0)
    assert np.array_equal(end[:, 0], end[:, 1]) and np.isfinite(end).all()


def test_a_step_too_far_is_told() -> None:
    start, theta = batch(2)
    with pytest.raises(SpecError, match="left the finite numbers at step_size 2"):
        svgd_rd(start, theta, step_size=2.0, steps=2000)
