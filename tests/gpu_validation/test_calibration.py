"""Calibration: known parameters are found again, baselines lose there, noise supports nothing, bad input is told."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpu_validation.calibration.figure import draw
from gpu_validation.calibration.fit import bootstrap, fit
from gpu_validation.calibration.heldout import choose, held_out, recorded_one_shot
from gpu_validation.calibration.model import PASSES, Predictor, ladder, numbers
from gpu_validation.calibration.noise import with_noise
from gpu_validation.calibration.recordings import Recordings, load_traces, recordings
from gpu_validation.calibration.run import Options, calibrate
from gpu_validation.cli import app
from nasbench_sim.errors import RunError
from nasbench_sim.landscapes import Horizon, SharedWeightsLandscape, SharedWeightsParams
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.judge import TableJudge
from nasbench_sim.runs.problem import make_searcher
from nasbench_sim.runs.spec import make_spec
from nasbench_sim.runs.trace import Trace, trace_of
from nasbench_sim.spaces import nb201
from tests.synthetic import VALID, synthetic_table

TABLE = synthetic_table()
EPOCHS, STEPS = 12, 20
TRUE = SharedWeightsParams(
    scale=0.4,
    rate={"nor_conv_1x1": 1.5, "nor_conv_3x3": 1.5},
    rate_progress=1 / PASSES,
    none_visibility=0.3,
    preference={"skip_connect": 0.5, "nor_conv_3x3": -0.3, "avg_pool_3x3": 0.2, "nor_conv_1x1": 0.1},
    onset=0.05,
    drive="passes",
    bias={"skip_connect": 0.01, "avg_pool_3x3": 0.02},
    noise=0.02,
    noise_of={"none": 0.0, "nor_conv_3x3": 2.0},
    noise_growth=4.0,
    idiosyncrasy=0.0,
)
STEADY = TRUE.model_copy(update={"steadiness_power": 4.0})
NAMES = list(nb201.OPS)
# one start of the ladder's own steps: what TRUE switches on
STEPS_OF_TRUE = [
    step for step in ladder(NAMES) if step.adds[0] not in ("mixing_power", "none_fading", "steadiness_power")
][:4]
STEPS_OF_STEADY = [*STEPS_OF_TRUE, next(step for step in ladder(NAMES) if step.adds[0] == "steadiness_power")]


def land(params: SharedWeightsParams, dtype: Any = np.float64) -> SharedWeightsLandscape:
    return SharedWeightsLandscape(TABLE, **VALID._asdict(), params=params, dtype=dtype)


def traced(params: SharedWeightsParams, method: str, settings: dict[str, Any], seeds: range) -> Trace:
    spec = make_spec(
        method=method,
        params=settings,
        table=TABLE.name,
        dataset="cifar10",
        seeds=seeds,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
    )
    batch = Batch.on(spec, np.array(seeds), make_searcher(spec), land(params, np.float32), TableJudge(TABLE, "cifar10"))
    about = {"method": method, "params": settings, "space": "nb201", "epochs": EPOCHS, "steps_per_epoch": STEPS}
    return trace_of(batch, about)


@cache
def simulated(noise_only: bool = False, seeds: int = 3, steady: bool = False) -> tuple[Trace, ...]:
    """Traces of four methods on a landscape whose parameters are known; RSPS takes no gradients."""
    params = (
        (STEADY if steady else TRUE)
        if not noise_only
        else TRUE.model_copy(update={"scale": 0.0, "preference": {}, "bias": {}})
    )
    some = (("darts", {"lr": 0.01}), ("drnas", {"lr": 0.01}), ("gdas", {"lr": 0.01}), ("rsps", {}))
    # seeds of their own: equal seeds share their noise, which would not be held out with a method
    ranges = (range(seeds * n, seeds * (n + 1)) for n in range(len(some)))
    return tuple(traced(params, *one, seeds=given) for one, given in zip(some, ranges, strict=True))


def predictor(found: Recordings) -> Predictor:
    return Predictor(found.only(found.usable), land(TRUE))


def test_states_are_those_of_the_landscape() -> None:
    """The closed forms of maturity and progress against the landscape's own steps at the same forward weights."""
    found = recordings(simulated()[:1])
    maturity, progress = predictor(found).states(TRUE)
    model = land(TRUE)
    state = model.init(np.arange(len(found)), Horizon(EPOCHS, STEPS))
    for e in range(EPOCHS):
        state = model.train_weights(state, found.usage[:, e], STEPS // 2)
        assert np.allclose(state.maturity, maturity[:, e], atol=0.01)
        assert np.allclose(state.progress, progress[:, e], atol=2e-3)
        state = model.train_weights(state, found.usage[:, e], STEPS - STEPS // 2)


@pytest.mark.parametrize("steady", [False, True])
def test_true_parameters_leave_step_noise_only(steady: bool) -> None:
    exact = predictor(recordings(simulated(steady=steady)))
    chi2 = float((exact.residual(STEADY if steady else TRUE) ** 2).sum())
    assert 0.85 < chi2 / exact.dof < 1.25  # an sd of 20 steps is itself uncertain: t^2 has mean 1.12
    assert float((exact.recorded**2).sum()) > 5 * chi2


def test_parameters_are_recovered_within_their_errors() -> None:
    exact, free = predictor(recordings(simulated(steady=True))), numbers(NAMES)
    found = fit(exact, STEPS_OF_STEADY, free, STEADY)
    errors = bootstrap(exact, STEPS_OF_STEADY, free, STEADY, found, draws=6)
    true = {"scale": TRUE.scale, "rate": 1.5, "onset": 0.05, "none_visibility": 0.3}
    true |= {"steadiness_power": STEADY.steadiness_power}
    true |= {f"preference {name}": value for name, value in TRUE.preference.items()}
    true |= {f"bias {name}": TRUE.bias.get(name, 0.0) for name in NAMES[1:]}
    assert set(found.values) == set(true)
    for name, value in true.items():
        # six draws say the size of an error only; the pull to the start is worth a few hundredths
        assert abs(found.values[name] - value) < 5 * errors[name] + 0.1 * max(abs(value), 0.01), (name, found.values)


def test_step_noise_and_its_growth_are_recovered() -> None:
    exact = predictor(recordings(simulated()[:1]))  # of a method that draws nothing: a draw's spread would be in it
    noise = with_noise(exact, TRUE)
    growth = noise.noise_of["nor_conv_3x3"] / noise.noise_of["skip_connect"]
    assert noise.noise_of["none"] == 0
    assert growth == pytest.approx(2, rel=0.1)
    assert noise.noise * noise.noise_of["skip_connect"] == pytest.approx(TRUE.noise, rel=0.15)
    assert noise.noise_growth == pytest.approx(TRUE.noise_growth, rel=0.25)
    assert noise.idiosyncrasy < 0.1 * TRUE.noise


def test_a_lasting_pattern_of_a_run_is_told_from_noise() -> None:
    own = TRUE.model_copy(update={"idiosyncrasy": 0.01})
    exact = predictor(recordings([traced(own, "darts", {"lr": 0.01}, range(6))]))
    noise = with_noise(exact, own)
    size = noise.idiosyncrasy * noise.noise_of["skip_connect"]
    assert size == pytest.approx(own.idiosyncrasy, rel=0.3)


def test_baselines_lose_on_the_model_itself() -> None:
    traces, free = simulated(), numbers(NAMES)
    found = recordings(traces)
    held = held_out(found, land(TRUE), "method", STEPS_OF_TRUE, free, TRUE, traces)
    last = STEPS_OF_TRUE[-1].name
    assert set(held.zero) == {"darts", "drnas", "gdas"}  # RSPS shows no gradient
    assert held.explained(last) > 0.5
    assert held.explained(last) > held.explained("plain table") + 0.1
    assert "recorded one-shot" not in held.chi2  # these traces looked at no cells
    assert choose([held], STEPS_OF_TRUE) >= 3


def test_noise_supports_no_term() -> None:
    document = calibrate(simulated(noise_only=True), TABLE, "cifar10", Options(0, 0, terms=2))
    assert document["model"] == "gradient = noise" and document["fitted"] == {}
    assert abs(document["ceiling"]) < 0.2
    for row in document["ladder"]:
        assert row["method"] < 0.005 and row["seed"] < 0.005


def test_one_shot_accuracies_are_completed_by_main_effects() -> None:
    """A trace whose one-shot error is additive: the gradient is its effects, whichever cells were asked."""
    trace = simulated()[0]
    effects = np.random.default_rng(0).normal(size=(6, 5))
    cells = np.random.default_rng(1).choice(15_625, 400, replace=False)
    error = 0.5 + 0.01 * effects[np.arange(6), trace.space.at(cells)].sum(axis=1)
    seen = np.repeat(100 * (1 - error)[None, None], len(trace.seeds), axis=0).astype(np.float32)
    looked = Trace(trace.about, trace.seeds, trace.epoch, trace.archs, cells, np.array([5]), seen)
    given = recorded_one_shot(predictor(recordings([looked])), [looked])
    assert given is not None
    centred = given - given.mean(axis=3, keepdims=True)
    assert np.allclose(centred, 0.01 * (effects - effects.mean(axis=1, keepdims=True)), atol=5e-4)


def test_the_command_writes_parameters_that_load(tmp_path: Path) -> None:
    for trace in simulated()[:2]:
        trace.save(tmp_path / "traces" / f"{trace.method}.h5")
    document = calibrate([*simulated()[:2]], TABLE, "cifar10", Options(2, 3, terms=2))
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document))
    assert SharedWeightsParams.load(path).drive == "passes"
    assert {"darts", "drnas"} == set(document["trajectories"]["methods"]["fitted"])
    assert set(document["trajectories"]["pooled"]) >= {"fitted", "held out", "plain table", "gradient = noise"}
    draw(document, tmp_path / "calibration.png")
    assert (tmp_path / "calibration.png").stat().st_size > 10_000


def test_the_command_line(tmp_path: Path) -> None:
    simulated()[0].save(tmp_path / "darts.h5")
    out = tmp_path / "calibration.json"
    words = ["calibrate", str(tmp_path / "darts.h5"), "--table", "nb201-analog", "--terms", "1", "--draws", "0"]
    result = CliRunner().invoke(app, [*words, "--searches", "0", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert document == json.loads(out.read_text())
    assert list(document["traces_sha256"]) == ["darts.h5"] and "--table nb201-analog" in document["command"]
    shown = CliRunner().invoke(app, [*words, "--searches", "2"])
    assert shown.exit_code == 0 and "\n table " in shown.output


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^no traces \(\*\.h5\) in .*record"):
        load_traces([tmp_path])
    damaged = simulated()[0].save(tmp_path / "damaged.h5")
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(RunError, match="damaged"):
        load_traces([damaged])
    damaged.unlink()
    simulated()[0].save(tmp_path / "a.h5")
    other = Trace({"method": "darts", "space": "nb1shot1-1"}, np.arange(1), {}, np.zeros((1, 0, 9), dtype=np.int8))
    d = other.space.D
    Trace(other.about, other.seeds, {}, np.zeros((1, 0, d), dtype=np.int8)).save(tmp_path / "b.h5")
    with pytest.raises(RunError, match="different spaces"):
        load_traces([tmp_path])
    with pytest.raises(RunError, match="no trace has an architecture gradient"):
        calibrate(simulated()[3:], TABLE, "cifar10", Options(0, 0))
    with pytest.raises(RunError, match="no finished epoch"):
        recordings([other])
