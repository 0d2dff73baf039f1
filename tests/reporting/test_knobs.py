"""plots/knobs.py: a newer map keeps the plan and what was predicted of it; recordings are held against both."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def knobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a copy of the maps in a root of its own."""
    spec = importlib.util.spec_from_file_location("knobs", ROOT / "plots" / "knobs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "knobs_bpnas.json", tmp_path / "data")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_a_newer_map_keeps_the_plan_and_its_predictions(knobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = knobs.read_map("bpnas")
    assert [p["label"] for p in before["picked"]] == [f"bpnas-{end}{n}" for end in ("least", "most") for n in range(3)]
    assert knobs.ends(before["points"], before["knobs"]) == [
        {k: v for k, v in point.items() if k != "label"} for point in before["picked"]
    ]
    newer = [{**point, "without_weights": 0.25} for point in before["points"]]
    monkeypatch.setattr(knobs, "predicted", lambda folder: newer)
    knobs.again(Path("anywhere"), "bpnas")
    after = knobs.read_map("bpnas")
    assert after["points"] == newer and after["picked"] == before["picked"] and after["knobs"] == before["knobs"]
    monkeypatch.setattr(knobs, "predicted", lambda folder: newer[1:])
    with pytest.raises(SystemExit, match="lacks settings of"):
        knobs.again(Path("anywhere"), "bpnas")
    assert knobs.read_map("bpnas") == after


def test_the_picked_ends_against_their_recordings(
    knobs: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picked = knobs.read_map("bpnas")["picked"]
    knobs.as_picked(picked, ROOT / "data" / "knobs" / "bpnas")
    said = capsys.readouterr().out
    assert "predicted 0.47 and 0.69, on supernets 0.37 and 0.80" in said
    assert "collapsed 0 of 9 and 5 of 9; recorded in 3385 s" in said
    knobs.as_picked(picked, tmp_path)
    assert "not tested" in capsys.readouterr().out


def test_nothing_to_map_or_to_draw(knobs: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished cell of an ablation"):
        knobs.choose(tmp_path, "bpnas")
    with pytest.raises(SystemExit, match="no recording of a setting"):
        knobs.draw("bpnas", tmp_path)
    assert json.loads((tmp_path / "data" / "knobs_bpnas.json").read_text())["points"]  # as it was
