"""`gpu-validation train`: what it writes, and one line with exit code 2 for every wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from gpu_validation.cli import app
from gpu_validation.cli.training import _cells
from nasbench_sim.cli.program import run_program
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import UserError
from tests.gpu_validation.training.small import SPACE

SMALL = ["--data", "synthetic", "--epochs", "2", "--set", "channels=2", "--set", "batch=16"]


def call(*args: str) -> Any:
    torch.set_num_threads(1)
    return CliRunner().invoke(app, ["train", *args])


def document(*args: str) -> Any:
    result = call(*args, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.output)


def refused(*args: str) -> str:
    result = call(*args)
    assert result.exit_code != 0
    if isinstance(result.exception, UserError):
        assert "\n" not in str(result.exception)
        return str(result.exception)
    return str(result.output)


def test_a_cell_is_trained_kept_and_not_trained_again(tmp_path: Path) -> None:
    out = tmp_path / "one"
    first = document("9930", *SMALL, "--seed", "3", "--out", str(out))
    assert sorted(p.name for p in out.iterdir()) == [
        "members",
        "predictions-test.h5",
        "predictions-valid.h5",
        "training.json",
    ]
    assert [(m["index"], m["seed"], m["epochs"], m["channels"]) for m in first["members"]] == [(9930, 3, 2, 2)]
    kept = json.loads((out / "training.json").read_text())
    assert len(kept["members"][0].pop("curves")["valid_loss"]) == 2
    assert {**kept, "files": first["files"]} == first
    again = document(SPACE.format(SPACE.at(9930)), *SMALL, "--seed", "3", "--out", str(out), "--resume")
    assert again == first  # the seconds too: nothing was computed
    anew = document("9930", *SMALL, "--seed", "4", "--out", str(out), "--overwrite")
    assert [m["seed"] for m in anew["members"]] == [4] and not list(out.glob("members/*seed3*"))


def test_a_pool_from_a_file_several_seeds_and_words(tmp_path: Path) -> None:
    listed = tmp_path / "cells.txt"
    listed.write_text(f"# two cells\n9930\n\n{SPACE.format(SPACE.at(1462))}  # all convolutions\n")
    out = tmp_path / "pool"
    result = call("--pool", str(listed), *SMALL, "--seeds", "0:2", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert result.output.count("epoch 2: train") == 4 and "predictions valid" in result.output
    said = Predictions.load(out / "predictions-test.h5")
    assert SPACE.index(said.archs).tolist() == [9930, 9930, 1462, 1462] and said.seeds.tolist() == [0, 1, 0, 1]
    assert _cells([], "3") == _cells([], "40")[:3] and len(set(_cells([], "40"))) == 40


def test_without_a_folder_nothing_is_kept_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("9930", *SMALL)
    assert result.exit_code == 0 and "Nothing was kept" in result.output and not list(tmp_path.iterdir())


NB101 = "7:110100010110001000011:i331p3o"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give cells to train, or --pool"),
        (["9930", "--pool", "3"], "give cells to train, or --pool"),
        (["15625"], "integer in 0..15624, got 15625"),
        (["9" * 5000], "cells of NAS-Bench-201 are trained"),
        (["--pool", "9" * 5000], "is no number, and no file that can be read"),
        ([NB101], "cells of NAS-Bench-201 are trained"),
        (["conv3x3|skip"], "cells of NAS-Bench-201 are trained"),
        (["|nor_conv_7x7~0|+|none~0|none~1|+|none~0|none~1|none~2|"], "unknown operation 'nor_conv_7x7'"),
        (["1", "2", "1"], "cell 1 is given twice"),
        (["--pool", "0"], "--pool is 1 to 15625 cells, got 0"),
        (["--pool", "20000"], "--pool is 1 to 15625 cells"),
        (["--pool", "nowhere.txt"], "is no number, and no file that can be read"),
        (["1", "--seed", "1", "--seeds", "2"], "give one of the two"),
        (["1", "--seeds", "0"], "give at least one"),
        (["1", "--seeds", "1,1"], "each once"),
        (["1", "--seed", "-1"], "impossible training: seed"),
        (["1", "--epochs", "0"], "impossible training: epochs"),
        (["1", "--epochs", "2", "--set", "epochs=3"], "given twice"),
        (["1", "--set", "lr=fast"], "impossible training: lr"),
        (["1", "--set", "speed=3"], "impossible training: speed"),
        (["1", "--set", "seed=3"], "there is an option for it"),
        (["1", "--set", "batch=1000"], "64 training images, fewer than a batch of 1000"),
        (["1", "--protocol", "long"], "unknown protocol 'long'"),
        (["1", "--data", "cifar11"], "unknown data set 'cifar11'; did you mean 'cifar10'"),
        (["1", "--data", "cifar10"], "--data-folder"),
        (["1", "--device", "tpu"], "unknown device 'tpu'"),
        (["1", "--threads", "-1"], "--threads is at least 0"),
        (["1", "--resume"], "--resume needs --out"),
        (["1", "--overwrite"], "--overwrite needs --out"),
    ],
)
def test_wrong_input_is_one_line(args: list[str], message: str) -> None:
    assert message in refused(*args, *([] if "--data" in args else ["--data", "synthetic"]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device here")
def test_cuda_without_a_gpu() -> None:
    assert "no CUDA device is visible" in refused("1", "--device", "cuda", "--data", "synthetic")


def test_folders_of_others_and_broken_ones(tmp_path: Path) -> None:
    out = tmp_path / "out"
    document("9930", *SMALL, "--out", str(out))
    base = ["9930", "--data", "synthetic", "--set", "channels=2", "--set", "batch=16", "--out", str(out)]
    assert "is not empty; continue it with --resume" in refused(*base, "--epochs", "2")
    assert "was made for epochs 2, not 3" in refused(*base, "--epochs", "3", "--resume")
    for path in (out / "members").glob("*.json"):
        path.write_text("{")
    assert "no checkpoint of 09930-seed0 can be read" in refused(*base, "--epochs", "2", "--resume")
    search = tmp_path / "search"
    search.mkdir()
    (search / "run.json").write_text("{}")
    for how in ("--resume", "--overwrite"):
        assert "holds run.json, which no training writes" in refused("1", *SMALL, "--out", str(search), how)
    assert "is a file; give a folder" in refused("1", *SMALL, "--out", str(search / "run.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no cell"),
        (b"9930\n1462 12\n", "line 2"),
        (b"\xff\xfe\x00", "is no text"),
        (b"#" * 2_000_001, "is larger than"),
        (b"3\n3\n", "cell 3 is given twice"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cells.txt"
    path.write_bytes(content)
    assert message in refused("--pool", str(path), *SMALL)
    assert "is no number, and no file" in refused("--pool", str(tmp_path), *SMALL)


def test_the_exit_code_is_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu-validation", "train", "15625"])
    with pytest.raises(SystemExit) as stopped:
        run_program(app, "gpu-validation")
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1
