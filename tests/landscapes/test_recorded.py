"""A recorded supernet as a landscape: its numbers, its snapshots over a search, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nasbench_sim as nb
from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes import Horizon, RecordedLandscape
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.tables.join import join
from nasbench_sim.tables.table import Key, Table
from tests.synthetic import SPACE, synthetic_table

RNG = np.random.default_rng(5)
EPOCHS = (10, 20, 40)
ONE_SHOT = {e: RNG.uniform(8, 80, SPACE.size).astype(np.float32) for e in EPOCHS}
SHORT = Horizon(30, 2)  # ends before the last snapshot
LONG = Horizon(50, 2)
THETA = RNG.dirichlet(np.ones(5), (7, 6))


@pytest.fixture(scope="module")
def table() -> Table:
    accuracy = {Key("cifar10", "one-shot", e, "single"): values for e, values in ONE_SHOT.items()}
    return join(synthetic_table(), "recorded", accuracy=accuracy, metrics={}, sources=())


def recorded(table: Table, **more: Any) -> RecordedLandscape:
    return RecordedLandscape(table, **{"dataset": "cifar10", "dtype": np.float64, **more})


def expected_error(epoch: int, theta: np.ndarray) -> np.ndarray:
    """The definition: the sum over all 15,625 cells."""
    weight = np.prod(theta[:, np.arange(6), SPACE.all], axis=2)
    return weight @ (1 - ONE_SHOT[epoch].astype(np.float64) / 100)


def at_step(land: RecordedLandscape, step: int | np.ndarray, horizon: Horizon = SHORT) -> Any:
    state = land.init(np.arange(7), horizon)
    return state._replace(step=np.broadcast_to(np.asarray(step), 7).copy())


def test_loss_is_the_expectation_under_the_snapshot_of_the_step(table: Table) -> None:
    land = recorded(table)
    assert land.epochs == EPOCHS
    # 30 epochs of 2 steps; epoch e, counted from 0, sees what was recorded after e + 1
    for step, epoch in ((0, 10), (19, 10), (37, 10), (38, 20), (59, 20), (60, 20), (99, 20)):
        loss, grad = land.loss_and_grad(at_step(land, step), THETA)
        np.testing.assert_allclose(loss, expected_error(epoch, THETA), rtol=1e-12)
        np.testing.assert_allclose((grad * THETA).sum(axis=2), np.repeat(loss[:, None], 6, axis=1), rtol=1e-12)
    np.testing.assert_array_equal(
        land.loss_and_grad(None, THETA)[0], land.loss_and_grad(at_step(land, 99, LONG), THETA)[0]
    )


def test_gradient_and_hessian_are_differences_of_the_loss(table: Table) -> None:
    land, step = recorded(table), 1e-5
    grad, hessian = land.gradient(at_step(land, 50), THETA), land.hessian(at_step(land, 50), THETA)
    for d, k in ((0, 0), (2, 4), (5, 1)):
        ahead, back = THETA.copy(), THETA.copy()
        ahead[:, d, k] += step
        back[:, d, k] -= step
        slope = (expected_error(20, ahead) - expected_error(20, back)) / (2 * step)
        np.testing.assert_allclose(grad[:, d, k], slope, rtol=1e-7)
        bend = (land.gradient(at_step(land, 50), ahead) - land.gradient(at_step(land, 50), back)) / (2 * step)
        np.testing.assert_allclose(hessian.reshape(7, 6, 5, 30)[:, d, k], bend.reshape(7, 30), atol=1e-7)


def test_searches_at_different_steps_see_each_its_own_snapshot(table: Table) -> None:
    """And to the bit what they see alone."""
    land = recorded(table, dtype=np.float32)
    steps = np.array([0, 99, 38, 38, 37, 78, 77])
    theta = THETA.astype(np.float32)
    archs = RNG.integers(0, 5, (7, 4, 6))
    together = land.loss_and_grad(at_step(land, steps, LONG), theta)
    cells, bend = land.arch_loss(at_step(land, steps, LONG), archs), land.hessian(at_step(land, steps, LONG), theta)
    for i, step in enumerate(steps.tolist()):
        alone = at_step(land, step, LONG)
        for mine, other in zip(together, land.loss_and_grad(alone, theta), strict=True):
            np.testing.assert_array_equal(mine[i], other[i])
        np.testing.assert_array_equal(cells[i], land.arch_loss(alone, archs)[i])
        np.testing.assert_array_equal(bend[i], land.hessian(alone, theta)[i])
        epoch = max([e for e in EPOCHS if e <= step // 2 + 1] or [10])
        np.testing.assert_allclose(cells[i], 1 - ONE_SHOT[epoch][SPACE.index(archs[i])] / 100, rtol=1e-6)


def test_one_snapshot_and_draws_of_a_batch(table: Table) -> None:
    land = recorded(table, epochs=20)
    draws = np.stack([THETA, THETA[::-1]], axis=1)
    loss, grad = land.loss_and_grad(at_step(land, 0), draws)
    assert loss.shape == (7, 2) and grad.shape == (7, 2, 6, 5)
    np.testing.assert_allclose(loss[:, 0], expected_error(20, THETA), rtol=1e-12)
    assert land.train_weights(at_step(land, 3), THETA, 4).step.tolist() == [7] * 7


def test_a_search_runs_on_it_and_ends_where_the_supernet_points(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """DARTS without noise ends near the cell that the recording holds best, whatever that cell is worth."""
    spec = make_spec(method="darts", params={"lr": 0.1}, table="recorded", dataset="cifar10", landscape="tabular",
                     seeds=4, epochs=30, steps_per_epoch=20)  # fmt: skip
    batch = Batch(spec, table, np.arange(4))
    land = RecordedLandscape(table, dataset="cifar10", epochs=40)
    monkeypatch.setattr(batch, "landscape", land)
    progress = batch.start()
    while progress.epoch < 30:
        progress = batch.advance(progress)
    cells = batch.searcher.derive(progress.state, land, progress.shared)
    share = (ONE_SHOT[40] > ONE_SHOT[40][SPACE.index(cells)][:, None]).mean(axis=1)
    assert (share < 0.02).all(), share


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"dataset": "cifar100"}, NotMeasured, "no one-shot accuracies of cifar100"),
        ({"seed": 777}, NotMeasured, "--map COLUMN=cifar10/one-shot/EPOCHS/777"),
        ({"split": "few-shot"}, NotMeasured, "no few-shot accuracies"),
        ({"epochs": 600}, NotMeasured, "600"),
        ({"epochs": []}, SpecError, "ascend"),
        ({"epochs": [20, 10]}, SpecError, "ascend"),
        ({"epochs": [10, 10]}, SpecError, "ascend"),
        ({"epochs": "20"}, SpecError, "whole numbers"),
        ({"epochs": 20.5}, SpecError, "whole numbers"),
        ({"epochs": True}, SpecError, "whole numbers"),
        ({"epochs": [[10, 20]]}, SpecError, "whole numbers"),
        ({"epochs": np.array(20)}, SpecError, "whole numbers"),
        ({"epochs": ["unstated", 10]}, SpecError, "whole numbers"),
        ({"epochs": "unstated"}, NotMeasured, "unstated"),
    ],
)
def test_what_it_refuses(table: Table, more: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        recorded(table, **more)
    assert "\n" not in str(caught.value)


def test_a_cell_that_was_not_asked_for_is_no_landscape(table: Table) -> None:
    values = ONE_SHOT[10].copy()
    values[3] = np.nan
    key = Key("cifar10", "one-shot", 50, "single")
    said = r"one-shot/50 epochs/seed single was recorded for 15624 of 15625 .* `gpu-validation record METHOD --cells 0`"
    with pytest.raises(NotMeasured, match=said):
        recorded(join(table, "x", accuracy={key: values}, metrics={}, sources=()))


def test_snapshots_of_a_source_that_does_not_say_when() -> None:
    key = Key("cifar10", "one-shot", "unstated", "single")
    alone = join(synthetic_table(), "x", accuracy={key: ONE_SHOT[20]}, metrics={}, sources=())
    for land in (recorded(alone), recorded(alone, epochs="unstated")):
        assert land.epochs == ("unstated",)
        np.testing.assert_allclose(
            land.loss_and_grad(at_step(land, 0), THETA)[0], expected_error(20, THETA), rtol=1e-12
        )
    both = join(alone, "y", accuracy={Key("cifar10", "one-shot", 10, "single"): ONE_SHOT[10]}, metrics={}, sources=())
    assert recorded(both).epochs == (10,)
    assert recorded(both, epochs=np.array([10])).epochs == (10,)


def test_asking_changes_nothing(table: Table) -> None:
    land = recorded(table, dtype=np.float32)
    state, theta = at_step(land, 38), THETA.astype(np.float32)
    before = land.loss_and_grad(state, theta)
    land.hessian(state, theta), land.arch_loss(state, np.zeros((7, 1, 6), int)), land.gradient(at_step(land, 0), theta)
    land.train_weights(state, theta, 20)
    for one, two in zip(before, land.loss_and_grad(state, theta), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(theta, THETA.astype(np.float32))
    assert state.step.tolist() == [38] * 7


def test_recorded_weights_do_not_unroll(table: Table) -> None:
    with pytest.raises(SpecError, match="recorded ones do not"):
        recorded(table).unrolled(None, THETA, 1.0)


@pytest.mark.real
def test_a_true_supernet(nb201_table: Any, shared_data: Any) -> None:
    """The exact optimum of a real recording is its best cell, 91.01 of 94.37: a supernet's ranking error."""
    from nasbench_sim.tables.join import join_file
    from nasbench_sim.tables.tabular_file import Mapped

    key = Key("cifar10", "one-shot", 600, "single")
    file = shared_data / "nb201_oneshot_supernet_c10.csv.gz"
    more = join_file(nb201_table, "supernet", file, Mapped({"oneshot_acc": key}, "percent"))
    land = nb.RecordedLandscape(more, dataset="cifar10")
    error = land.arch_loss(None, SPACE.all[None])[0]
    best = SPACE.all[error.argmin()]
    assert error.min() == pytest.approx(1 - 0.8182, abs=1e-4)
    assert more.query(
        int(SPACE.index(best)), dataset="cifar10", split="test", epochs=200, seed="mean"
    ) == pytest.approx(91.01, abs=0.1)
    theta = np.eye(5)[best][None].astype(np.float32)
    assert land.loss_and_grad(None, theta)[0][0] == pytest.approx(error.min(), abs=1e-6)
