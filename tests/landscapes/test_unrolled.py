"""Second order and single cells: the unrolled gradient is the total derivative, gates of a cell are the cell."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_sim.errors import SpecError
from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape, TabularLandscape
from tests.landscapes.test_landscapes import PARAMS, halfway
from tests.synthetic import SPACE, VALID, synthetic_table

QUIET = PARAMS.model_copy(update={"noise": 0.0, "idiosyncrasy": 0.0})


def quiet() -> SharedWeightsLandscape:
    return SharedWeightsLandscape(synthetic_table(), **VALID._asdict(), params=QUIET, dtype=np.float64)


@pytest.mark.parametrize("draws", [0, 2])
@pytest.mark.parametrize("xi", [1.0, 7.0])
def test_the_unrolled_gradient_is_the_total_derivative_by_finite_differences(draws: int, xi: float) -> None:
    land = quiet()
    state = halfway(land)
    shape = (3, draws, 6) if draws else (3, 6)
    theta = np.random.default_rng(3).dirichlet(np.ones(5), shape)
    _, grad = land.unrolled(state, theta, xi)
    partial = land.loss_and_grad(state, theta)[1]
    h, differs = 1e-6, 0.0
    for d in range(6):
        for k in range(5):
            step = np.zeros((6, 5))
            step[d, k] = h
            numeric = (land.unrolled(state, theta + step, xi)[0] - land.unrolled(state, theta - step, xi)[0]) / (2 * h)
            assert np.allclose(numeric, grad[..., d, k], atol=1e-7)
            differs = max(differs, np.abs(grad[..., d, k] - partial[..., d, k]).max())
    assert differs > 1e-4, "second order must differ from first order"


def test_the_unrolled_loss_is_the_loss_after_a_weight_step_at_theta() -> None:
    land = quiet()
    state = halfway(land)
    theta = np.random.default_rng(4).dirichlet(np.ones(5), (3, 6))
    after = land.train_weights(state, theta, 1)._replace(progress=state.progress)
    assert np.allclose(land.unrolled(state, theta, 1.0)[0], land.loss_and_grad(after, theta)[0], atol=1e-14)


def test_a_table_has_nothing_to_unroll() -> None:
    land = TabularLandscape(synthetic_table(), **VALID._asdict())
    assert "weights" not in land.offers and "weights" in quiet().offers
    with pytest.raises(SpecError, match="no"):
        land.unrolled(None, np.full((1, 6, 5), 0.2, dtype=np.float32), 1.0)


def test_gates_of_a_cell_have_the_cells_loss_and_its_derivative() -> None:
    land = quiet()
    state = halfway(land)
    archs = np.random.default_rng(5).integers(0, 5, (3, 20, 6))
    gates = np.eye(5)[archs]
    loss, grad = land.loss_and_grad(state, gates, discrete=True)
    assert np.allclose(loss, land.arch_loss(state, archs), atol=1e-12)
    for d in (0, 3, 5):  # the gradient says what each other option would cost: linear in one edge's gates
        for k in range(5):
            other = archs.copy()
            other[..., d] = k
            change = np.take_along_axis(grad[..., d, :], archs[..., d, None], -1)[..., 0]
            assert np.allclose(land.arch_loss(state, other) - loss, grad[..., d, k] - change, atol=1e-12)
    hidden, _ = land.loss_and_grad(state, gates)
    with_none = SPACE.none[np.arange(6), archs].any(axis=-1)
    assert (np.abs(hidden - loss) > 1e-6)[with_none].all() and np.allclose(hidden[~with_none], loss[~with_none])


def test_the_horizon_decides_the_virtual_learning_rate() -> None:
    land = quiet()
    early, late = halfway(land), halfway(land)
    late = late._replace(step=late.step + Horizon(10, 20).steps)
    theta = np.full((3, 6, 5), 0.2)
    first = land.loss_and_grad(early, theta)[1]
    moved = [np.abs(land.unrolled(s, theta, 1.0)[1] - first).max() for s in (early, late)]
    assert moved[0] > 10 * moved[1], "at the end of the schedule a weight step hardly moves anything"
