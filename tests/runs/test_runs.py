"""Runs: specification, records, resume, kill -9, folders, and the same bits however the work is cut."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nasbench_sim as nb
from nasbench_sim.errors import RunError, SpecError, UserError
from nasbench_sim.files import atomic_path
from nasbench_sim.runs import Run, make_spec, search_all
from nasbench_sim.runs.checkpoint import flatten, load_checkpoint, save_checkpoint
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.plan import make_parts
from tests.searchers.helpers import NAMES
from tests.synthetic import SPACE, TEST, VALID, synthetic_table

TABLE = synthetic_table()
# every method on the model's defaults, and some where weights remember the mixture of the last step
STEADY = {"steadiness_power": 50.0, "none_fading": 4.0, "drive": "passes"}
CASES = [*((name, {}) for name in NAMES), *((name, STEADY) for name in ("darts", "drnas", "balenas", "parsec"))]
SMALL: dict[str, Any] = {"dataset": "cifar10", "epochs": 3, "steps_per_epoch": 12, "workers": 1}


def small(method: str = "darts", **more: Any) -> Run:
    params = nb.methods()[method].test_params
    return nb.search(method, table=TABLE, **{**SMALL, "params": params, "seeds": range(5), **more})


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("landscape", ["tabular", "shared"])
def test_history_is_what_the_states_say(method: str, landscape: Any) -> None:
    run = small(method, landscape=landscape)
    archs = run.history["archs"]
    assert archs.shape == (5, 3, 6) and np.array_equal(archs[:, -1], run.archs)
    index = SPACE.index(archs.astype(np.int64))
    assert np.array_equal(run.history["valid"], TABLE.accuracy[VALID][index])
    assert np.array_equal(run.history["test"], TABLE.accuracy[TEST][index])
    assert np.allclose(run.history["skip_ratio"], (archs == 1).mean(axis=2))
    family = nb.methods()[method].family
    assert np.isfinite(run.history["loss"]).any(axis=1).all() == (family != "training-free")
    assert ((run.history["entropy"] >= 0) & (run.history["entropy"] <= np.log(5) + 1e-6)).all()
    assert np.isnan(run.history["eigenvalue"]).all() == (family != "differentiable" and method != "setn")
    summary = run.summary()
    assert summary["n"] == 5 and summary["remark"] == "made-up numbers"
    assert summary["test"]["mean"] == pytest.approx(run.history["test"][:, -1].astype(float).mean())
    assert summary["test"]["sd"] == pytest.approx(run.history["test"][:, -1].astype(float).std(ddof=1))
    best = run.table["best"]["test"]
    assert best["accuracy"] == pytest.approx(float(TABLE.accuracy[TEST].max()), abs=1e-4)
    assert SPACE.resolve(best["arch"]) == int(TABLE.accuracy[TEST].argmax())


def test_eigenvalue_is_that_of_the_hessian_by_finite_differences() -> None:
    spec = make_spec(method="darts", table="synthetic", dataset="cifar10", landscape="tabular", seeds=2, epochs=2,
                     steps_per_epoch=10, dtype="float64")  # fmt: skip
    batch = Batch(spec, TABLE, np.arange(2))
    progress = batch.advance(batch.start())
    alpha = progress.state.alpha
    link = batch.searcher.relaxation.link  # type: ignore[attr-defined]

    def slope(a: np.ndarray) -> np.ndarray:
        theta = link.forward(a, None)
        return link.pullback(a, theta, batch.landscape.gradient(None, theta)).reshape(2, 30)

    h, hessian = 1e-5, np.zeros((2, 30, 30))
    for j in range(30):
        step = np.zeros(30)
        step[j] = h
        hessian[:, j] = (slope(alpha + step.reshape(6, 5)) - slope(alpha - step.reshape(6, 5))) / (2 * h)
    expected = np.abs(np.linalg.eigvalsh((hessian + hessian.transpose(0, 2, 1)) / 2)).max(axis=1)
    assert np.allclose(progress.history["eigenvalue"][:, 0], expected, rtol=1e-4)


def content_digest(progress: Any) -> str:
    """sha256 of every array of a progress: equal digests mean equal bits."""
    digest = hashlib.sha256(str(progress.epoch).encode())
    for name, value in sorted(flatten(progress).items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def equal(a: Run, b: Run) -> bool:
    """Equal bit for bit in everything that decides numbers."""
    pairs = [(a.archs, b.archs), (a.seeds, b.seeds)]
    pairs += [(a.history[k], b.history[k]) for k in a.history] + [(a.members[k], b.members[k]) for k in a.members]
    return a.history.keys() == b.history.keys() and all(
        x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs
    )


@pytest.mark.parametrize(("method", "model"), CASES)
def test_one_seed_alone_equals_its_row_of_the_run(method: str, model: dict[str, Any]) -> None:
    together, alone = small(method, landscape_params=model), small(method, seeds=[3], landscape_params=model)
    for name, values in together.history.items():
        assert np.array_equal(values[3:4], alone.history[name], equal_nan=values.dtype.kind == "f"), name
    for name, values in together.members.items():
        assert np.array_equal(values[3:4], alone.members[name]), name


@pytest.mark.parametrize(("method", "model"), CASES)
def test_checkpoint_round_trip_and_resume_bit_for_bit(method: str, model: dict[str, Any], tmp_path: Path) -> None:
    spec = make_spec(method=method, params=dict(nb.methods()[method].test_params), table="synthetic",
                     dataset="cifar10", seeds=4, epochs=3, steps_per_epoch=15, landscape_params=model)  # fmt: skip
    keys = {"digest": spec.digest, "table_sha256": TABLE.sha256}

    def finish(progress: Any) -> Any:
        batch = Batch(spec, TABLE, np.arange(4))  # a new batch: nothing may live in the old one
        while progress.epoch < batch.epochs:
            progress = batch.advance(progress)
        return progress

    batch = Batch(spec, TABLE, np.arange(4))
    whole = finish(batch.start())
    progress = batch.start()
    for epoch in range(batch.epochs):
        save_checkpoint(tmp_path / "c.h5", progress, **keys)
        back = load_checkpoint(tmp_path / "c.h5", **keys)
        assert content_digest(back) == content_digest(progress)
        assert content_digest(finish(back)) == content_digest(whole), epoch
        progress = batch.advance(progress)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_checkpoint_is_refused_or_harmless(position: int, bit: int, cut: bool, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    spec = make_spec(method="darts", table="synthetic", dataset="cifar10", seeds=2, epochs=2, steps_per_epoch=2)
    keys = {"digest": spec.digest, "table_sha256": TABLE.sha256}
    good = folder / "good.h5"
    progress = Batch(spec, TABLE, np.arange(2)).start()
    if not good.exists():
        save_checkpoint(good, progress, **keys)
    data = bytearray(good.read_bytes())
    at = position % len(data)
    data = data[:at] if cut else data
    if not cut:
        data[at] ^= 1 << bit
    (folder / "bad.h5").write_bytes(bytes(data))
    try:
        back = load_checkpoint(folder / "bad.h5", **keys)
    except UserError:
        return
    assert content_digest(back) == content_digest(progress)


def test_processes_and_parts_do_not_change_a_bit(tmp_path: Path) -> None:
    spec = make_spec(method="balenas", table="synthetic", dataset="cifar10", seeds=130, epochs=2, steps_per_epoch=10)
    here = next(iter(search_all([spec], TABLE, folders=[None], on_tick=lambda _: None, workers=1)))[1]
    ticks: list[Any] = []
    there = next(iter(search_all([spec], TABLE, folders=[tmp_path / "r"], on_tick=ticks.append, workers=2)))[1]
    assert make_parts(130, 2) == ((0, 65), (65, 130))
    assert equal(here, there)
    assert ticks and ticks[-1] == [(2, 2)]
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["record.h5", "run.json"]
    assert equal(Run.load(tmp_path / "r"), here)


SCRIPT = """
import sys, numpy as np
from pathlib import Path
from tests.synthetic import synthetic_table
from nasbench_sim.runs import make_spec, search_all
spec = make_spec(method="balenas", params={"samples": 2}, table="synthetic", dataset="cifar10", seeds=130,
                 epochs=40, steps_per_epoch=20)
if __name__ == "__main__":
    for _, run in search_all([spec], synthetic_table(), folders=[Path(sys.argv[1])], workers=int(sys.argv[2]),
                             on_tick=lambda t: print(t, flush=True), resume="resume" in sys.argv, interval=0.0):
        print("finished", flush=True)
"""


@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGINT)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, workers: int, how: signal.Signals) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "run"), str(workers), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True,
        )  # fmt: skip

    job = start()
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 60
    while len(list(checkpoints.glob("part-*.h5"))) < workers and time.monotonic() < deadline:
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    if how == signal.SIGINT:
        os.killpg(job.pid, how)  # as a terminal does: to the whole group
    else:
        job.send_signal(how)
    job.communicate(timeout=60)
    assert job.returncode != 0 and not (tmp_path / "run" / "run.json").exists()
    time.sleep(0.5)  # orphaned workers notice at the end of their epoch
    with pytest.raises(RunError, match="--resume"):
        spec = json.loads((tmp_path / "run" / "plan.json").read_text())["spec"]
        next(iter(search_all([make_spec(**{**spec, "seeds": tuple(spec["seeds"])})], TABLE,
                             folders=[tmp_path / "run"], on_tick=lambda _: None)))  # fmt: skip
    again = start("resume")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    first = int(out.splitlines()[0].split("(")[1].split(",")[0])
    assert first > 0, "resume started from nothing"
    whole = nb.search("balenas", table=TABLE, dataset="cifar10", params={"samples": 2}, seeds=130, epochs=40,
                      steps_per_epoch=20, workers=1)  # fmt: skip
    assert equal(Run.load(tmp_path / "run"), whole)


def test_folders_are_never_overwritten_silently(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    small(out=folder)
    before = (folder / "run.json").read_bytes()
    with pytest.raises(RunError, match="already holds a finished run"):
        small(out=folder)
    assert (folder / "run.json").read_bytes() == before
    small(out=folder, epochs=2, overwrite=True)
    assert Run.load(folder).epochs == 2
    with pytest.raises(RunError, match="no unfinished run to resume"):
        small(out=tmp_path / "new", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        small(out=tmp_path / "other", overwrite=True)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file"):
        small(out=tmp_path / "file")


def test_a_record_or_checkpoint_of_another_table_is_refused(tmp_path: Path) -> None:
    spec = make_spec(method="darts", table="synthetic", dataset="cifar10", seeds=2, epochs=2, steps_per_epoch=2)
    progress = Batch(spec, TABLE, np.arange(2)).start()
    save_checkpoint(tmp_path / "c.h5", progress, digest=spec.digest, table_sha256="another")
    with pytest.raises(RunError, match="another table"):
        load_checkpoint(tmp_path / "c.h5", digest=spec.digest, table_sha256=TABLE.sha256)
    save_checkpoint(tmp_path / "c.h5", progress, digest="other", table_sha256=TABLE.sha256)
    with pytest.raises(RunError, match="another specification"):
        load_checkpoint(tmp_path / "c.h5", digest=spec.digest, table_sha256=TABLE.sha256)
    from nasbench_sim.runs.plan import Plan, open_folder

    plan = Plan(spec, TABLE.sha256, ((0, 2),))
    open_folder(tmp_path / "run", plan, resume=False, overwrite=False)
    with pytest.raises(RunError, match="on another table"):
        open_folder(tmp_path / "run", plan._replace(table_sha256="another"), resume=True, overwrite=False)


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "json", "swapped"])
def test_a_damaged_record_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "run"
    small(out=folder)
    record, meta = folder / "record.h5", folder / "run.json"
    if damage == "missing":
        record.unlink()
    elif damage == "truncated":
        record.write_bytes(record.read_bytes()[:-100])
    elif damage == "flipped":
        data = bytearray(record.read_bytes())
        data[len(data) // 2] ^= 1
        record.write_bytes(bytes(data))
    elif damage == "json":
        meta.write_text(meta.read_text()[:50])
    else:
        small("random", out=tmp_path / "b")
        record.write_bytes((tmp_path / "b" / "record.h5").read_bytes())
    with pytest.raises(RunError) as error:
        Run.load(folder)
    assert "\n" not in str(error.value)


def test_an_unwritable_folder_and_a_full_disk_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="cannot write /proc"):
        small(out=Path("/proc/nowhere"))
    target = tmp_path / "keep.txt"
    target.write_text("old")
    with pytest.raises(RunError, match="No space left"), atomic_path(target) as part:
        part.write_text("half of the new")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": 0}, "at least 1"),
        ({"seeds": -3}, "at least 1"),
        ({"seeds": 10**9}, "at most 1000000"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "repeated"),
        ({"seeds": (-1,)}, "0 .. 2"),
        ({"seeds": (2**63,)}, "0 .. 2"),
        ({"seeds": (1.5,)}, "seeds"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 10**9}, "epochs"),
        ({"epochs": "50"}, "epochs"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"landscape": "moon"}, "landscape"),
        ({"dtype": "float16"}, "dtype"),
        ({"colour": "red"}, "colour"),
        ({"seeds": 10**6, "epochs": 10**5, "steps_per_epoch": 100}, "exceeds"),
    ],
)
def test_impossible_specifications(fields: dict[str, Any], message: str) -> None:
    base = {"method": "darts", "table": "t", "dataset": "cifar10", "seeds": 3}
    with pytest.raises(SpecError, match=message) as error:
        make_spec(**{**base, **fields})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "dats"}, "did you mean 'darts'"),
        ({"dataset": "cifar11"}, "did you mean 'cifar10'"),
        ({"params": {"lrr": 1}}, "did you mean 'lr'"),
        ({"landscape": "tabular", "landscape_params": {"noise": 1.0}}, "no parameters"),
        ({"landscape_params": {"noise": "loud"}}, "noise"),
        ({"workers": 0}, "workers"),
    ],
)
def test_unknown_names_are_refused_before_anything_runs(words: dict[str, Any], message: str, tmp_path: Path) -> None:
    call = {"method": "darts", "table": TABLE, **SMALL, "seeds": 2, "out": tmp_path / "r", **words}
    with pytest.raises(UserError, match=message):
        nb.search(call.pop("method"), **call)
    assert not (tmp_path / "r").exists()


def test_members_of_bpnas_are_reported() -> None:
    params = {"delta": 0.02, "lr": 0.05, "members": 3, "member_epochs": 2}
    size = {**SMALL, "seeds": range(4), "epochs": 4, "steps_per_epoch": 120}
    run = nb.search("bpnas", table=TABLE, landscape="tabular", params=params, **size)
    archs, opened = run.members["archs"], run.members["opened"]
    assert archs.shape == (4, 3, 6) and opened.shape == (4, 3) and run.members["converged"].shape == (4, 3)
    differs = archs != run.archs[:, None]
    elsewhere = np.arange(6) != opened[..., None]
    assert not (differs & elsewhere).any(), "only the opened edge may change"
    assert np.array_equal(run.members["test"], TABLE.accuracy[TEST][SPACE.index(archs)])
    assert (run.history["active_ops"][:, -1] == 6).all()
