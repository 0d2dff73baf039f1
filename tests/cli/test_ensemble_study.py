"""`nasbench-sim ensemble-study`: what it writes and prints, and one clear line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_sim.ensembles import nes_rs, score
from tests.cli import helpers
from tests.ensembles.synthetic import class_cells, make_pair

VALID, TEST = make_pair(class_cells(), 10, second=600)
SEARCH = ("--table", "nb201-analog", "--searches", "4", "--epochs", "2", "--steps-per-epoch", "10", "--workers", "1")
SMALL = ("--sizes", "1..3", "--repetitions", "20", "--pool", "60", *SEARCH)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair of files."""
    folder = tmp_path_factory.mktemp("predictions")
    VALID.save(folder / "v.h5")
    TEST.save(folder / "t.h5")
    return folder


@pytest.fixture(autouse=True)
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run beside the files."""
    monkeypatch.chdir(tmp_path)
    for name in ("v.h5", "t.h5"):
        (tmp_path / name).symlink_to(made / name)
    return tmp_path


def refused(*args: object, said: str) -> str:
    return helpers.refused("ensemble-study", *args, said=said)


def test_record_figure_and_print(folder: Path) -> None:
    out = helpers.good("ensemble-study", "v.h5", "--test", "t.h5", *SMALL, "--show", "1,3", "--out", "study")
    assert "Test accuracy (%)" in out and "nes-rs - random" in out and "size 1" in out
    assert "size 2" not in out.partition("Accuracy difference")[0]
    assert "Published, cifar100: bpnas - nes-bs +2.47, bpnas - nes-rs +3.05 points" in out
    assert "Ordering bpnas > nes-bs, nes-rs with 3 members:" in out
    assert (
        "4 of bpnas on nb201-analog, landscape shared, 2 x 10 steps: simulated; scores are those of the files." in out
    )
    assert "Networks trained for one ensemble, at most: random 3 (size 3), nes-rs 60 (size 3), deep 61 (size 2)" in out
    assert "Best single network, test accuracy: " in out and "ensembles above the latter: random" in out
    assert "Source of the predictions: made for a test" in out
    document = json.loads((folder / "study" / "study.json").read_text())
    assert (folder / "study" / "ensembles.svg").read_text().startswith("<?xml")
    assert set(document["methods"]) == {"random", "nes-rs", "deep", "nes-bs", "bpnas"}
    base = VALID.subset(np.arange(6466))
    members = nes_rs(base, range(20), size=3, pool=60)
    each = [score(TEST.probabilities[rows], TEST.labels).accuracy for rows in members]
    assert document["methods"]["nes-rs"]["scores"][2]["accuracy"]["mean"] == pytest.approx(np.mean(each))
    # the searches were kept and can be taken up again; they give the same study
    again = helpers.document(
        "ensemble-study", "v.h5", "--test", "t.h5", *SMALL, "--bpnas-run", "study/bpnas", "--posterior-run",
        "study/posterior",
    )  # fmt: skip
    assert again["methods"] == document["methods"] and again["ordering"] == document["ordering"]
    refused("v.h5", "--test", "t.h5", *SMALL, "--out", "study", said="study.json exists; choose another folder")


def test_methods_without_searches_need_no_table() -> None:
    args = ("v.h5", "--test", "t.h5", "--sizes", "1,2", "--repetitions", "3", "--pool", "5", "--table", "none")
    said: Any = helpers.document("ensemble-study", *args, "--methods", "random,nes-rs")
    assert said["ordering"] == [] and said["searches"] == {}
    out = helpers.good("ensemble-study", *args, "--methods", "random")
    assert "not tested; it needs all three methods" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--sizes", "a"), "--sizes 'a': give a range (1..10) or a list (1,3,5)"),
        (("--sizes", "0..3"), "sizes are different numbers 1..100"),
        (("--show", "x"), "--show 'x'"),
        (("--repetitions", "0"), "repetitions: Input should be greater"),
        (("--methods", "nes-r"), "unknown ensemble method 'nes-r'; did you mean 'nes-rs'"),
        (("--methods", ","), "methods are different names"),
        (("--methods", "random", "--pool", "7000"), "a pool of 7000 from 6466 trained cells"),
        (("--methods", "random", "--pool", "9"), "for ensembles of up to 10: choose --pool 10..6466"),
        (("--table", "none"), "unknown table 'none'"),
        (("--table", "nb201-analog", "--dataset", "cifar11"), "cifar11"),
        (("--table", "nb201-analog", "--posterior", "parsek"), "unknown method 'parsek'"),
        (("--table", "nb201-analog", "--landscape-set", "x"), "write --landscape-set name=value"),
        (("--table", "nb201-analog", "--landscape-set", "nois=1"), "nois"),
        (("--posterior-run", "none"), "none holds no finished run"),
    ],
)
def test_values_that_make_no_sense(args: tuple[str, ...], said: str) -> None:
    refused("v.h5", "--test", "t.h5", *args, said=said)


def test_files_that_cannot_be_used() -> None:
    refused("t.h5", "--test", "t.h5", said="members are selected on validation predictions")
    refused("v.h5", "--test", "v.h5", said="the report needs predictions of the test split")
    refused("none.h5", "--test", "t.h5", said="none.h5: cannot be read")
    refused("v.h5", said="--test")
