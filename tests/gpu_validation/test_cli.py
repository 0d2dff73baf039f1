"""The commands as a user types them: what they print, what they leave, and every wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpu_validation.cli import app, main
from nasbench_sim.runs import Run

SMALL = ["--data", "synthetic", "--threads", "1", "--net", "channels=2", "--net", "cells=1", "--net", "batch=8"]
QUICK = [*SMALL, "--net", "eval_images=32", "--net", "curvature=0", "--steps-per-epoch", "2"]


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The one line of a call that is the user's mistake."""
    monkeypatch.setattr("sys.argv", ["gpu-validation", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.count("\n") == 1, err
    return err


def test_search_prints_epochs_and_leaves_a_record(tmp_path: Path) -> None:
    said = call("search", "darts", *QUICK, "--seeds", "2", "--epochs", "2", "--out", tmp_path / "run")
    assert said.count("epoch ") == 2 and "darts, supernet, synthetic, 2 seeds: valid" in said and "one-shot" in said
    assert Run.load(tmp_path / "run").spec.landscape == "supernet"
    document = json.loads(call("search", "gdas", *QUICK, "--epochs", "1", "--json"))
    assert document["n"] == 1 and document["landscape"] == "supernet" and document["out"] is None


def test_the_command_line_in_a_report_makes_the_run_again(tmp_path: Path) -> None:
    from nasbench_sim.reporting.html import command_line

    call("search", "darts", *QUICK, "--seeds", "5:7", "--epochs", "1", "--out", tmp_path / "a", "--set", "lr=0.01")
    run = Run.load(tmp_path / "a")
    words = command_line(run).split()
    assert words[:3] == ["gpu-validation", "search", "darts"]
    import shlex

    call(*shlex.split(command_line(run))[1:], "--out", tmp_path / "b")
    again = Run.load(tmp_path / "b")
    assert again.spec == run.spec and (again.history["loss"] == run.history["loss"]).all()


def test_record_leaves_a_table_and_predictions(tmp_path: Path) -> None:
    out = tmp_path / "recording"
    files = ["record.h5", "recording.h5", "run.json"]
    call("record", "rsps", *QUICK, "--epochs", "2", "--every", "1", "--cells", "5", "--out", out)
    assert sorted(p.name for p in out.iterdir()) == files
    call("record", "rsps", *QUICK, "--epochs", "2", "--cells", "5", "--predictions", "3", "--out", out, "--overwrite")
    assert sorted(p.name for p in out.iterdir()) == ["predictions-test.h5", "predictions-valid.h5", *files]


WRONG: list[tuple[list[object], str]] = [
    (["search", "dart"], "unknown method 'dart'; did you mean 'darts'"),
    (["search", "rea"], "use nasbench-sim search"),
    (["search", "darts", "--data", "digit"], "did you mean 'digits'"),
    (["search", "darts", "--space", "nb301"], "space"),
    (["search", "darts", "--net", "channels=0"], "channels"),
    (["search", "darts", "--net", "chanels=4"], "there is no such setting"),
    (["search", "darts", "--net", "channels"], "name=value"),
    (["search", "darts", "--set", "lr=-1"], "lr must be a positive number"),
    (["search", "darts", "--device", "cuda"], "no CUDA device is visible"),
    (["search", "darts", "--device", "gpu"], "gpu"),
    (["search", "darts", "--seeds", "x"], "--seeds"),
    (["search", "darts", "--epochs", "0"], "epochs"),
    (["search", "darts", "--resume"], "--resume needs --out"),
    (["search", "darts", "--threads", "-1"], "--threads"),
    (["search", "darts", "--table", "nb202"], "nb202"),
    (["search", "darts", "--data", "cifar10"], "--data-folder"),
    (["search", "darts", "--data", "digits", "--data-folder", "."], "no folder"),
    (["search", "darts", "--data", "synthetic", "--net", "batch=65"], "1 to 64 images"),
    (["record", "darts"], "--out"),
    (["bench", "--batch", "0"], "batch is 0"),
    (["bench", "--device", "cuda"], "CUDA"),
    (["bench", "--model", "--resources"], "give one of them"),
    (["bench", "--model", "--out", "x"], "--out keeps measurements"),
    (["proxies", "--out", "x.csv"], "--arch for some cells or --all"),
    (["proxies", "--out", "x.csv", "--arch", "99999"], "99999"),
    (["proxies", "--out", "x.txt", "--arch", "1"], "csv"),
    (["proxies", "--out", "x.csv", "--arch", "1", "--name", "magic"], "magic"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=lambda x: " ".join(map(str, x)) if isinstance(x, list) else ""
)
def test_every_wrong_input_is_one_line_and_leaves_nothing(
    arguments: list[object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, monkeypatch, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("")
    for command in (["search", "darts"], ["record", "rsps"]):
        for more in ([], ["--resume"], ["--overwrite"]):
            where = ["--out", tmp_path / "mine", *more]
            assert "mine" in refused(capsys, monkeypatch, *command, *QUICK, "--epochs", "1", *where)
        assert "is a file" in refused(capsys, monkeypatch, *command, *QUICK, "--out", tmp_path / "file")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"
    call("search", "darts", *QUICK, "--epochs", "1", "--out", tmp_path / "run")
    said = refused(capsys, monkeypatch, "search", "darts", *QUICK, "--epochs", "1", "--out", tmp_path / "run")
    assert "is not empty" in said
    said = refused(capsys, monkeypatch, "search", "darts", *QUICK, "--out", tmp_path / "run", "--resume")
    assert "no checkpoint to resume from" in said


def test_every_command_has_help_with_an_example() -> None:
    names = sorted(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)
    assert names == ["bench", "calibrate", "doctor", "proxies", "record", "search", "train"]
    for name in names:
        assert f"Example: gpu-validation {name}" in call(name, "--help").replace("\n", " ")


def test_the_byte_model_is_printed() -> None:
    document = json.loads(call("bench", "--model", "--json"))
    assert document["step"]["fused_to_eager"] < 0.4
    assert "node of 3 inputs" in call("bench", "--model")
