"""Every landscape: gradients, Hessians and discrete losses agree; the weight-sharing model does what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasbench_sim.errors import NotMeasured, SpecError
from nasbench_sim.landscapes import (
    Horizon,
    LandscapeState,
    SharedWeightsLandscape,
    SharedWeightsParams,
    TabularLandscape,
)
from nasbench_sim.searchers.base import rows
from nasbench_sim.tables.table import Table
from tests.synthetic import SPACE, VALID, synthetic_table

PARAMS = SharedWeightsParams(
    scale=0.7,
    rate={"nor_conv_1x1": 4.0, "nor_conv_3x3": 2.0},
    rate_progress=0.2,
    none_visibility=0.3,
    preference={"skip_connect": 0.05, "avg_pool_3x3": 0.02, "none": 0.01},
    onset=0.4,
    noise=0.03,
    idiosyncrasy=0.01,
)
HORIZON = Horizon(10, 20)


def landscape(kind: str, dtype: str = "float64") -> TabularLandscape | SharedWeightsLandscape:
    where = VALID._asdict()
    if kind == "tabular":
        return TabularLandscape(synthetic_table(), **where, dtype=dtype)
    return SharedWeightsLandscape(synthetic_table(), **where, params=PARAMS, dtype=dtype)


def halfway(land: TabularLandscape | SharedWeightsLandscape, n: int = 3) -> LandscapeState:
    random = np.random.default_rng(0)
    state = land.init(np.arange(n), HORIZON)
    maturity = np.where(SPACE.parametric, random.random(state.maturity.shape), 1.0).astype(land.dtype)
    return state._replace(maturity=maturity, progress=random.random(n).astype(land.dtype))


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_noise_free_gradient_and_hessian_by_differences(kind: str) -> None:
    land = landscape(kind)
    state = halfway(land)
    theta = np.random.default_rng(1).dirichlet(np.ones(5), (3, 6))
    loss = land.loss_and_grad(state, theta)[0]
    grad, hessian = land.gradient(state, theta), land.hessian(state, theta)
    for d in range(6):
        for k in range(5):
            moved = theta.copy()
            moved[:, d, k] += 0.25  # multilinear: exact for any step
            assert np.allclose((land.loss_and_grad(state, moved)[0] - loss) / 0.25, grad[:, d, k], atol=1e-11)
            change = (land.gradient(state, moved) - grad).reshape(3, 30) / 0.25
            assert np.allclose(change, hessian[:, 5 * d + k], atol=1e-11)


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_discrete_loss_is_the_loss_at_the_vertex(kind: str) -> None:
    """In the weight-sharing model for cells without `none`: a mixture hides `none`, a sampled cell does not."""
    land = landscape(kind)
    state = halfway(land)
    archs = np.random.default_rng(2).integers(1 if kind == "shared" else 0, 5, (3, 7, 6))
    assert np.allclose(land.arch_loss(state, archs), land.loss_and_grad(state, np.eye(5)[archs])[0], atol=1e-12)


def test_a_sampled_cell_with_none_loses_the_edge() -> None:
    land, table = landscape("shared"), synthetic_table()
    state = halfway(land)
    state = state._replace(maturity=np.ones_like(state.maturity), progress=np.zeros(3))  # no preference, all trained
    archs = np.random.default_rng(2).integers(0, 5, (3, 50, 6))
    error = 1 - table.accuracy[VALID][SPACE.index(archs)].astype(np.float64) / 100
    assert np.allclose(land.arch_loss(state, archs), PARAMS.scale * error, atol=1e-6)
    bare = land.arch_loss(state, archs)
    noisy = land.arch_loss(state, archs, batch=True)
    vertices = np.eye(5)[archs]
    batch = land.loss_and_grad(state, vertices)[1] - land._at(state, vertices)[1]  # type: ignore[union-attr]
    assert np.allclose(noisy - bare, (vertices * batch).sum(axis=(-2, -1)), atol=1e-12)


def test_tabular_vertex_loss_is_the_tables_error() -> None:
    land, table = landscape("tabular"), synthetic_table()
    for index in (0, 1835, 9930, 15624):
        error = 1 - table.accuracy[VALID][index] / 100
        assert land.arch_loss(None, SPACE.at(index)[None, None])[0, 0] == pytest.approx(error, abs=1e-7)


def test_several_draws_of_a_seed_equal_single_draws_and_share_the_batch_noise() -> None:
    land = landscape("shared")
    state = halfway(land)
    theta = np.random.default_rng(3).dirichlet(np.ones(5), (3, 4, 6))
    loss, grad = land.loss_and_grad(state, theta)
    for m in range(4):
        single_loss, single_grad = land.loss_and_grad(state, theta[:, m])
        assert np.allclose(loss[:, m], single_loss, atol=1e-14)
        assert np.allclose(grad[:, m], single_grad, atol=1e-14)


def test_what_is_not_trained_acts_as_none_and_none_as_the_average_of_the_others() -> None:
    land = landscape("shared")
    assert isinstance(land, SharedWeightsLandscape)
    state = land.init(np.arange(1), HORIZON)
    absent = [0.3, 0.175, 0.175, 0.175, 0.175]  # none_visibility 0.3, the rest over four options
    for option, expected in ((3, absent), (0, absent), (1, [0, 1, 0, 0, 0])):
        vertex = np.zeros((1, 6, 5))
        vertex[..., option] = 1
        assert np.allclose(land.effective(state, vertex), expected)
    ripe = state._replace(maturity=np.ones_like(state.maturity))
    vertex = np.zeros((1, 6, 5))
    vertex[..., 3] = 1
    assert np.array_equal(land.effective(ripe, vertex), vertex)
    random = np.random.default_rng(4).dirichlet(np.ones(5), (1, 6))
    assert np.allclose(land.effective(halfway(land, 1), random).sum(axis=-1), 1)
    visible = SharedWeightsLandscape(
        synthetic_table(), **VALID._asdict(), params=PARAMS.model_copy(update={"none_visibility": 1.0}), dtype="float64"
    )
    assert np.allclose(visible.effective(ripe, random), random)  # all mature and visible: the table itself


def test_weights_learn_where_they_are_used_and_towards_one() -> None:
    land = landscape("shared")
    state = land.init(np.arange(2), HORIZON)
    usage = np.full((2, 6, 5), 0.2)
    usage[0, 0] = [0, 0, 0, 1, 0]
    before = state.maturity
    for _ in range(HORIZON.steps):
        new = land.train_weights(state, usage, 1)
        assert (new.maturity >= state.maturity).all() and (new.maturity <= 1).all()
        assert (new.progress > state.progress).all() and (new.progress < 1).all()
        state = new
    assert state.maturity[0, 0, 3] > state.maturity[0, 1, 3]  # used 1.0 against 0.2
    assert state.maturity[0, 0, 2] == before[0, 0, 2] == 0  # never used
    assert (state.maturity[..., [0, 1, 4]] == 1).all()
    once = land.train_weights(land.init(np.arange(2), HORIZON), usage, HORIZON.steps)
    assert np.array_equal(once.maturity, state.maturity)


def test_progress_is_that_of_training_options_together() -> None:
    """A single path trains no option beside another: no progress; a uniform mixture has all of it."""
    land = landscape("shared")
    state = halfway(land, n=4)
    usage = np.stack(
        [
            np.eye(5)[[1, 0, 3, 3, 2, 4]],
            np.full((6, 5), 0.2),
            np.tile([0.5, 0.5, 0.0, 0.0, 0.0], (6, 1)),
            np.random.default_rng(3).dirichlet(np.ones(5), 6),
        ]
    )
    gained = (land.train_weights(state, usage, 1).progress - state.progress) / (1 - state.progress) ** 2
    full = PARAMS.rate_progress / HORIZON.steps_per_epoch
    assert gained[0] == 0 and gained[1] == pytest.approx(full)
    assert gained[2] == pytest.approx(full * 0.5 / 0.8)
    assert gained[3] == pytest.approx(full * np.mean(1 - (usage[3] ** 2).sum(axis=-1)) / 0.8)


def moving(power: float, dtype: str = "float64") -> SharedWeightsLandscape:
    params = PARAMS.model_copy(update={"steadiness_power": power, "drive": "passes"})
    return SharedWeightsLandscape(synthetic_table(), **VALID._asdict(), params=params, dtype=dtype)


def test_progress_in_mixtures_that_change_is_that_of_their_variance() -> None:
    """Unsteadiness is an unbiased estimate of Var usage; (1 - v)^power of what a steady mixture gains is gained."""
    random = np.random.default_rng(5)
    drawn = random.dirichlet(np.ones(5), (400, 3, 6))
    drawn[:, 1] = 0.2  # steady
    drawn[:, 2] = np.eye(5)[random.integers(0, 5, (400, 6))]  # uniform single paths
    land, horizon = moving(2.0), Horizon(1, 400)
    state, p, v = land.init(np.arange(3), horizon), np.zeros(3), np.zeros(3)
    for step, usage in enumerate(drawn):
        change = (np.square(usage - drawn[step - 1]).sum(axis=-1) / 2 / 0.8).mean(axis=-1) if step else np.zeros(3)
        v = v + (change - v) / max(step, 1)
        mixing = (1 - (usage**2).sum(axis=-1)).mean(axis=-1) / 0.8
        p = p + PARAMS.rate_progress / 400 * mixing * (1 - np.minimum(v, 1)) ** 2 * (1 - p) ** 2
        state = land.train_weights(state, usage, 1)
        assert np.allclose(state.progress, p, atol=1e-12)
    dirichlet = (1 / 5) * (4 / 5) / 6 * 5 / 0.8  # variance of Dirichlet(1, ..., 1), summed over options
    assert np.allclose(state.extra["unsteady"], [dirichlet, 0, 1], atol=0.02)
    steady = moving(0.0)
    assert np.array_equal(
        land.train_weights(land.init(np.arange(1), horizon), drawn[:1, 1], 400).progress,
        steady.train_weights(steady.init(np.arange(1), horizon), drawn[:1, 1], 400).progress,
    )


def test_a_seed_alone_is_its_row_where_mixtures_change() -> None:
    land, drawn = moving(50.0, "float32"), np.random.default_rng(6).dirichlet(np.ones(5), (30, 4, 6)).astype(np.float32)
    whole, alone = land.init(np.arange(4), HORIZON), land.init(np.array([2]), HORIZON)
    for usage in drawn:
        whole, alone = land.train_weights(whole, usage, 1), land.train_weights(alone, usage[2:3], 1)
    row = rows(whole, np.array([2]))
    assert np.array_equal(row.progress, alone.progress) and np.array_equal(row.extra["usage"], alone.extra["usage"])
    assert row.progress.dtype == np.float32 and row.progress[0] > 0


def test_only_a_steady_mixture_shows_the_preference() -> None:
    land = moving(3.0)
    passes = 0.7 / (1 - 0.7)
    late = land.init(np.arange(3), HORIZON)._replace(progress=np.full(3, 0.7))
    late = late._replace(extra={**late.extra, "unsteady": np.array([0.0, 0.25, 1.0])})
    early = late._replace(progress=np.zeros(3))
    wanted = -(passes - PARAMS.onset) * PARAMS.preference["skip_connect"] * np.array([1, 0.75**3, 0])
    cell = np.eye(5)[np.tile([1, 1, 1, 2, 3, 4], (3, 1))]
    for theta, discrete in ((np.full((3, 6, 5), 0.2), False), (cell, True)):
        after, before = (land.loss_and_grad(s, theta, discrete=discrete)[1] for s in (late, early))
        assert np.allclose((after - before)[:, :, 1], wanted[:, None], atol=1e-12)
    archs = np.ones((3, 1, 6), dtype=np.int64)
    assert np.allclose((land.arch_loss(late, archs) - land.arch_loss(early, archs))[:, 0], 6 * wanted, atol=1e-12)


def test_preference_sets_in_at_the_onset_and_grows_with_progress() -> None:
    land = landscape("shared")
    theta = np.full((1, 6, 5), 0.2)
    state = land.init(np.arange(1), HORIZON)
    fresh, at, late = (land.gradient(state._replace(progress=np.array([p])), theta) for p in (0.0, PARAMS.onset, 1.0))
    assert np.array_equal(fresh, at)
    assert np.allclose((late - at)[0, :, 1], -PARAMS.preference["skip_connect"] * (1 - PARAMS.onset))
    assert np.allclose((late - at)[0, :, 3], 0)


def test_gradient_noise_has_the_stated_size_and_is_addressed_by_seed_and_step() -> None:
    land = landscape("shared")
    n = 400
    state = land.init(np.arange(n), HORIZON)
    theta = np.full((n, 6, 5), 0.2)
    exact = land.gradient(state, theta)
    steps = [land.loss_and_grad(state._replace(step=state.step + t), theta)[1] - exact for t in range(3)]
    assert np.std(steps[1] - steps[0]) == pytest.approx(PARAMS.noise * np.sqrt(2), rel=0.05)
    persistent = np.mean(steps, axis=0)
    assert np.std(persistent) == pytest.approx(np.hypot(PARAMS.idiosyncrasy, PARAMS.noise / np.sqrt(3)), rel=0.05)
    some = rows(state, slice(7, 9))
    assert np.array_equal(land.loss_and_grad(some, theta[7:9])[1], steps[0][7:9] + exact[7:9])


@pytest.mark.parametrize("kind", ["tabular", "shared"])
def test_float32_follows_float64(kind: str) -> None:
    theta = np.random.default_rng(5).dirichlet(np.ones(5), (3, 6))
    single, double = landscape(kind, "float32"), landscape(kind)
    state = halfway(double)
    loss, grad = double.loss_and_grad(state, theta)
    as32 = LandscapeState(*(x.astype(np.float32) if x.dtype == np.float64 else x for x in state[:-1]))
    loss32, grad32 = single.loss_and_grad(as32, theta.astype(np.float32))
    assert loss32.dtype == grad32.dtype == np.float32
    assert np.allclose(loss32, loss, rtol=1e-5, atol=1e-6) and np.allclose(grad32, grad, rtol=1e-4, atol=1e-5)


def test_a_table_with_holes_is_refused() -> None:
    table = synthetic_table()
    values = table.accuracy[VALID].copy()
    values[5] = np.nan
    holed = Table(table.name, SPACE, {VALID: values}, {}, VALID, {"valid": VALID})
    with pytest.raises(NotMeasured, match="15624 of 15625"):
        TabularLandscape(holed, **VALID._asdict())


def test_parameter_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no parameter noize; it has"):
        SharedWeightsParams.load(noize=1.0)
    with pytest.raises(SpecError, match="noise"):
        SharedWeightsParams.load(noise=-1.0)
    bad = tmp_path / "p.json"
    for text in ("", "{}", json.dumps({"params": {"scale": "x"}}), "[]"):
        bad.write_text(text)
        with pytest.raises(SpecError):
            SharedWeightsParams.load(bad)
    with pytest.raises(SpecError, match="no option conv7"):
        SharedWeightsLandscape(
            synthetic_table(), **VALID._asdict(), params=PARAMS.model_copy(update={"rate": {"conv7": 1.0}})
        )


def test_the_shipped_fit_says_what_it_is_and_follows_its_recordings() -> None:
    fitted = json.loads((Path(__file__).parents[2] / "data" / "shared_weights.json").read_text())
    assert "ONE small supernet" in fitted["what"] and fitted["command"].startswith("python data/fit")
    assert SharedWeightsParams.load().noise > 0
    scores = fitted["r_squared"]
    assert min(v for k, v in scores.items() if "(fitted)" in k) > 0.8
    assert any("held out" in k for k in scores)
