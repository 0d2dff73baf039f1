"""Which of the two steps goes first, and what the shared weights are told of the cells they train on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nasbench_sim.landscapes import LandscapeState, Paths
from nasbench_sim.landscapes.blind import Blind
from nasbench_sim.searchers import GradientSearcher
from tests.searchers.helpers import HORIZON, LANDSCAPES, NAMES, SPACE, make, same

SEEDS = np.array([3, 8, 21])
GRADIENT = [name for name in NAMES if isinstance(make(name), GradientSearcher)]


class Spy:
    """The shared landscape, noting the order of looks and weight steps."""

    def __init__(self) -> None:
        self.land = LANDSCAPES["shared"]
        self.said: list[str] = []
        self.usage: list[Any] = []
        self.paths: list[Paths | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.land, name)

    def loss_and_grad(self, state: Any, theta: Any, **how: Any) -> Any:
        self.said.append("look")
        return self.land.loss_and_grad(state, theta, **how)

    def arch_loss(self, state: Any, archs: Any, **how: Any) -> Any:
        self.said.append("look")
        return self.land.arch_loss(state, archs, **how)

    def train_weights(self, state: LandscapeState, usage: Any, steps: int, paths: Paths | None = None) -> Any:
        self.said.append("train")
        self.usage.append(usage)
        self.paths.append(paths)
        return self.land.train_weights(state, usage, steps, paths)


def one_step(name: str, order: Any) -> tuple[Spy, Any, Any, Any]:
    spy = Spy()
    searcher = replace(make(name), order=order)
    state, shared = searcher.init(SPACE, SEEDS, np.float32), spy.init(SEEDS, HORIZON)
    for _ in range(3):  # past the first step, at which every distribution is nearly uniform
        state, shared, _ = searcher.step(state, LANDSCAPES["shared"], shared)
    return spy, searcher, state, shared


@pytest.mark.parametrize("name", ["darts", "drnas", "gdas", "snas", "balenas", "bpnas"])
def test_weights_first_looks_with_weights_that_have_stepped(name: str) -> None:
    spy, searcher, state, shared = one_step(name, "weights first")
    after, ahead, _ = searcher.step(state, spy, shared)
    assert spy.said[0] == "train" and set(spy.said[1:]) == {"look"}
    # by hand: the same forward weights train, then the same method steps with weights that stand still
    together = replace(searcher, order="together")
    _, trained, info = together.step(state, spy.land, shared)
    assert same(trained, ahead) and np.array_equal(spy.usage[0], info.theta)
    by_hand, _, _ = together.step(state, spy.land, trained)
    assert same(by_hand, after)


@pytest.mark.parametrize("name", ["darts", "drnas", "gdas", "snas", "balenas"])
def test_architecture_first_trains_at_the_moved_alpha(name: str) -> None:
    spy, searcher, state, shared = one_step(name, "architecture first")
    after, _, _ = searcher.step(state, spy, shared)
    assert spy.said[-1] == "train" and spy.said.count("train") == 1
    together = replace(searcher, order="together")
    moved, _, _ = together.step(state, spy.land, shared)
    assert same(moved, after)
    _, _, info = together.step(after._replace(step=state.step), spy.land, shared)  # the same noise at the new alpha
    assert np.array_equal(spy.usage[0], info.theta)
    before = together.step(state, spy.land, shared)[2].theta
    assert name == "gdas" or not np.array_equal(spy.usage[0], before)


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("order", ["weights first", "architecture first"])
def test_every_gradient_method_has_the_three_orders(name: str, order: Any) -> None:
    spy, searcher, state, shared = one_step(name, order)
    after, ahead, info = searcher.step(state, spy, shared)
    assert np.isfinite(after.alpha).all() and np.isfinite(info.loss).all()
    assert (ahead.step == shared.step + 1).all() and spy.said.count("train") == 1


def test_methods_that_draw_blindly_pay_for_no_second_look() -> None:
    for name, looks in (("darts", 1), ("gdas", 1), ("parsec", 2)):
        spy, searcher, state, shared = one_step(name, "weights first")
        searcher.step(state, spy, shared)
        assert spy.said.count("look") == looks


def test_parsec_says_which_cells_its_usage_is_made_of() -> None:
    spy, searcher, state, shared = one_step("parsec", "together")
    searcher.step(state, spy, shared)
    (paths,) = spy.paths
    assert paths is not None and np.allclose(paths.weights.sum(axis=1), 1, atol=1e-6)
    hot = paths.cells[..., None] == np.arange(SPACE.K)
    assert np.allclose((paths.weights[:, :, None, None] * hot).sum(axis=1), spy.usage[0], atol=1e-6)
    spy, searcher, state, shared = one_step("darts", "together")
    searcher.step(state, spy, shared)
    assert spy.paths == [None]


def test_a_blind_landscape_shows_nothing() -> None:
    blind = Blind(SPACE, np.dtype("float32"))
    theta = np.full((2, 6, 5), 0.2, dtype=np.float32)
    state = blind.init(np.arange(2), HORIZON)
    for loss, grad in (blind.loss_and_grad(state, theta), blind.unrolled(state, theta, 1.0)):
        assert loss.shape == (2,) and grad.shape == theta.shape and not grad.any() and not loss.any()
    assert not blind.arch_loss(state, np.zeros((2, 4, 6), dtype=int)).any()
    assert (blind.train_weights(state, theta, 3).step == 3).all()
    assert blind.hessian(state, theta).shape == (2, 30, 30) and not blind.gradient(state, theta).any()
