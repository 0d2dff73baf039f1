"""A watched landscape answers as the one behind it, and its means are those of what was asked."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.landscapes import Horizon, Paths, SharedWeightsLandscape
from nasbench_sim.landscapes.watched import Watched
from nasbench_sim.runs import make_spec
from nasbench_sim.runs.engine import Batch
from tests.synthetic import VALID, synthetic_table

SEEDS = np.array([3, 2**40, 8])
FEW = {"table": "synthetic", "dataset": "cifar10", "seeds": 3, "epochs": 3, "steps_per_epoch": 4}


def land() -> SharedWeightsLandscape:
    return SharedWeightsLandscape(synthetic_table(), **VALID._asdict())


def points(n: int, *shape: int) -> np.ndarray:
    raw = np.random.default_rng(n).random((*shape, 6, 5))
    return (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("method", ["darts", "balenas", "gdas", "parsec", "rsps", "bpnas", "snas", "enas"])
def test_a_watched_search_is_the_unwatched_one_bit_for_bit(method: str) -> None:
    spec = make_spec(method=method, params=nb.methods()[method].test_params, **FEW)
    plain, watched = (Batch(spec, synthetic_table(), np.arange(3)) for _ in range(2))
    watched.landscape = Watched(watched.landscape)
    a, b = plain.start(), watched.start()
    for _ in range(3):
        a, b = plain.advance(a), watched.advance(b)
    assert all(np.array_equal(a.history[k], b.history[k], equal_nan=True) for k in a.history)
    assert np.array_equal(a.state.alpha, b.state.alpha, equal_nan=True)


def test_means_and_deviations_are_those_of_the_steps() -> None:
    inner, watched = land(), Watched(land())
    state = watched.init(SEEDS, Horizon(2, 5))
    grads, losses, thetas, usages = [], [], [], []
    for i in range(5):
        theta, usage = points(i, 3), points(10 + i, 3)
        loss, grad = inner.loss_and_grad(state, theta)
        watched.loss_and_grad(state, theta)
        state = watched.train_weights(state, usage, 1)
        grads.append(grad), losses.append(loss), thetas.append(theta), usages.append(usage)
    seen = watched.drain(SEEDS)
    wide = np.stack(grads).astype(np.float64)
    assert np.allclose(seen["gradient"], wide.mean(axis=0), rtol=1e-12, atol=0)
    assert np.allclose(seen["gradient_sd"], wide.std(axis=0, ddof=1), rtol=1e-9)
    assert np.allclose(seen["loss"], np.stack(losses).mean(axis=0)) and (seen["looks"] == 5).all()
    assert np.allclose(seen["point"], np.stack(thetas).mean(axis=0))
    assert np.allclose(seen["usage"], np.stack(usages).mean(axis=0))
    assert np.allclose(seen["usage_squared"], (np.stack(usages).astype(np.float64) ** 2).mean(axis=0))
    again = watched.drain(SEEDS)
    assert np.isnan(again["gradient"]).all() and (again["steps"] == 0).all()


def test_draws_of_one_step_count_as_one_look_and_rows_are_told_apart_by_seed() -> None:
    inner, watched = land(), Watched(land())
    state = watched.init(SEEDS, Horizon(2, 5))
    theta = points(0, 3, 4)
    watched.loss_and_grad(state, theta)
    some = inner.init(SEEDS[1:], Horizon(2, 5))
    watched.loss_and_grad(some, theta[1:])
    seen = watched.drain(SEEDS)
    assert seen["looks"].tolist() == [1, 2, 2]
    _, grad = inner.loss_and_grad(state, theta)
    assert np.allclose(seen["gradient"], grad.astype(np.float64).mean(axis=1))
    assert np.isnan(seen["gradient_sd"][0]).all() and np.isfinite(seen["gradient_sd"][1:]).all()


def test_cells_trained_one_by_one_do_not_mix() -> None:
    watched = Watched(land())
    state = watched.init(SEEDS, Horizon(2, 5))
    cells = np.random.default_rng(0).integers(0, 5, (3, 4, 6))
    usage = (cells[..., None] == np.arange(5)).mean(axis=1).astype(np.float32)
    watched.train_weights(state, usage, 1, Paths(cells, np.full((3, 4), 0.25)))
    seen = watched.drain(SEEDS)
    assert np.allclose(seen["usage_squared"].sum(axis=-1), 1)  # 1 - this is the mixing
