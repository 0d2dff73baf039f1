"""`nasbench-sim ensemble`: what it prints, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.ensembles import Predictions, forward_select, nes_rs, score
from nasbench_sim.spaces import NB201
from tests.cli import helpers
from tests.ensembles.helpers import make


def good(*args: object) -> str:
    return helpers.good("ensemble", *args)


def document(*args: object) -> Any:
    return helpers.document("ensemble", *args)


def refused(*args: object, said: str) -> str:
    return helpers.refused("ensemble", *args, said=said)


VALID, TEST = make(), make(seed=5, split="test")
CELLS = NB201().all[:: 15_625 // 24][:24]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with a pair of files on the toy space."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    VALID.save("v.h5")
    TEST.save("t.h5")
    return tmp_path / "work"


def test_the_record_is_that_of_the_library() -> None:
    said = document("v.h5", "--test", "t.h5", "--set", "pool=6", "--seeds", "5")
    members = nes_rs(VALID, range(5), size=3, pool=6)
    assert said["members"] == members.tolist() and said["seeds"] == [0, 1, 2, 3, 4]
    for split, p in (("valid", VALID), ("test", TEST)):
        values = [score(p.probabilities[m], p.labels).record() for m in members]
        for name in ("nll", "accuracy", "ece", "gain", "oracle_accuracy"):
            each = [v[name] for v in values]
            assert said["scores"][split][name]["mean"] == pytest.approx(np.mean(each))
            assert said["scores"][split][name]["sd"] == pytest.approx(np.std(each, ddof=1))
    assert said["sha256"] == VALID.sha256


def test_selection_does_not_see_the_test_file() -> None:
    with_test = document("v.h5", "--test", "t.h5", "--set", "pool=6")
    without = document("v.h5", "--set", "pool=6")
    assert with_test["members"] == without["members"] and list(without["scores"]) == ["valid"]


def test_what_is_printed() -> None:
    out = good("v.h5", "--test", "t.h5", "--seeds", "1")
    members = forward_select(VALID, 3).members
    s = score(TEST.probabilities[members], TEST.labels)
    assert "nes-rs, 16 models of toy on noise, 3 members, 1 seeds" in out
    assert f"{s.accuracy:.2f} %" in out and f"{s.nll:.4f} nats" in out and "+-" not in out.partition("ECE")[2]
    assert document("v.h5", "--seeds", "1")["scores"]["valid"]["nll"]["sd"] is None  # one seed has no spread
    assert "test (mean +- sd)" in out and "Source of the predictions: made for a test" in out
    row = VALID.archs[members[0]]
    assert f"1 x row {members[0]}: {row[0]} {row[1]}, training seed 777" in out
    assert "same members" not in out
    assert "every seed selected the same members" in good("v.h5")
    assert "test (" not in good("v.h5")


def test_theta_of_a_run(tmp_path: Path) -> None:
    """A finished search's final cells give nes-bs its distribution."""
    run = tmp_path / "run"
    helpers.good("search", "darts", "--seeds", "4", *helpers.QUICK, "--landscape", "tabular", "--out", run)
    import nasbench_sim as nb

    archs = np.unique(np.concatenate([nb.Run.load(run).archs, CELLS]), axis=0)
    make(models=len(archs), archs=archs, space="nb201").save("n.h5")
    said = document("n.h5", "--method", "nes-bs", "--theta", run, "--seeds", "3")
    assert 0 < said["posterior_mass"] <= 1 and np.shape(said["members"]) == (3, 3)
    assert "% of theta's probability" in good("n.h5", "--method", "nes-bs", "--theta", run, "--seeds", "3")
    refused("n.h5", "--method", "nes-rs", "--theta", run, said="takes no theta")
    refused("v.h5", "--method", "nes-bs", "--theta", run, said="run over 6 decisions")


def test_files_that_cannot_be_used(folder: Path) -> None:
    refused("none.h5", said="none.h5: cannot be read (No such file or directory)")
    refused(folder, said="is a folder")
    (folder / "d.h5").write_bytes((folder / "v.h5").read_bytes()[:-1] + b"\1")
    refused("d.h5", said="d.h5 is damaged: its content does not fit its sha256")
    (folder / "s.h5").write_bytes((folder / "v.h5").read_bytes()[:-1])
    refused("s.h5", said="s.h5 is truncated")
    refused("v.h5", "--test", "d.h5", said="d.h5 is damaged")
    refused("v.h5", "--method", "nes-bs", "--theta", "none", said="none holds no finished run")
    refused(said="give a file of validation predictions, or --example FILE")


def test_splits_are_not_mixed_up() -> None:
    refused("t.h5", said="members are selected on validation predictions, these are of the test split")
    refused("v.h5", "--test", "v.h5", said="the report needs predictions of the test split")
    Predictions(VALID.probabilities, VALID.labels, VALID.archs, "toy", "noise", "test", VALID.seeds, "relabelled").save(
        "copy.h5"
    )
    refused("v.h5", "--test", "copy.h5", said="hold the same predictions; one of them is mislabelled")


def test_a_test_file_of_other_models_is_refused() -> None:
    make(models=15, seed=5, split="test").save("few.h5")
    refused("v.h5", "--test", "few.h5", said="16 models in the validation file and 15 in the test file")
    make(seed=5, split="test", seeds=np.full(16, 1)).save("seeds.h5")
    refused("v.h5", "--test", "seeds.h5", said="row 0 is 0 0 (training seed 777)")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--size", "17"), "16 models are fewer than the 17 asked for"),
        (("--size", "0"), "size is at least 1"),
        (("--set", "pool=17"), "16 models are fewer than the 17"),
        (("--set", "pool=2"), "a pool of 2 models has no ensemble of 3"),
        (("--set", "pol=2"), "unknown parameter 'pol'; did you mean 'pool'"),
        (("--set", "pool=two"), "method nes-rs: pool"),
        (("--set", "size=2"), "give the size as --size"),
        (("--set", "metric=loss"), "metric"),
        (("--seeds", "0"), "--seeds 0: give 1..10000"),
        (("--seeds", "1,1"), "different seeds"),
        (("--seeds=-1"), "--seeds -1"),
        (("--seeds", "many"), "give a number (200), a range"),
        (("--method", "nes-br"), "unknown ensemble method 'nes-br'; did you mean"),
        (("--method", "darts"), "unknown ensemble method 'darts'"),
        (("--method", "nes-bs"), "give --theta, the folder of a run"),
        (("--method", "nes-bs", "--set", "mode=x"), "mode"),
        (("--example", "x.h5"), "leave out the file to read"),
    ],
)
def test_values_that_make_no_sense(args: tuple[str, ...] | str, said: str) -> None:
    refused("v.h5", *([args] if isinstance(args, str) else args), said=said)


def test_the_example_is_small_honest_and_works(folder: Path) -> None:
    out = good("--example", "digits.h5")
    assert "an example of the format, not of NAS" in out
    valid, test = Predictions.load("digits.h5"), Predictions.load("digits-test.h5")
    assert len(valid) == 24 and valid.probabilities.shape == test.probabilities.shape == (24, 600, 10)
    assert (folder / "digits.h5").stat().st_size < 1_000_000
    assert "not of architecture search" in valid.source
    said = document("digits.h5", "--test", "digits-test.h5", "--set", "pool=12", "--seeds", "4")
    assert said["scores"]["test"]["accuracy"]["mean"] > 90
    refused("--example", "digits.h5", said="digits.h5 exists; choose another name")
    refused("--example", "digits.csv", said="ends in .h5")
