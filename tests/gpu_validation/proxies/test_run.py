"""`run_proxies`: the file, its note, resuming after a kill, and every wrong input I could think of."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpu_validation.proxies import Options, run_proxies
from gpu_validation.proxies.score import Setting, class_numbers, score
from nasbench_sim.errors import ArchError, RunError, SpecError
from nasbench_sim.files import sha256_file
from nasbench_sim.spaces import NB201
from tests.gpu_validation.proxies.networks import Network

SPACE = NB201()
CELLS = [0, 7, 3, 1651, 284, 284, 12_000, 9]
SMALL: dict[str, Any] = {"archs": CELLS, "channels": 2, "cells": 1, "chunk": 2, "datasets": ("ImageNet16-120",)}
SETTING = Setting.of("ImageNet16-120", channels=2, cells=1)


def rows(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return list(csv.DictReader(text.decode().splitlines()))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data package that has two data sets of noise and depends on all that it is told."""

    def batch(loaded: str, split: str, *, seed: int, step: int, size: int, augment: bool) -> Any:
        assert (split, step, augment) == ("train", 0, False)
        generator = torch.Generator().manual_seed(seed + len(loaded))
        size = min(size, 100)
        return torch.randn(size, 3, 16, 16, generator=generator), torch.arange(size) % 10

    fake = SimpleNamespace(load_dataset=lambda name, *, folder, device: name, batch=batch)
    monkeypatch.setitem(sys.modules, "gpu_validation.data", fake)


def test_the_file_holds_what_score_says(tmp_path: Path) -> None:
    out = tmp_path / "new" / "s.csv"
    calls: list[tuple[int, int]] = []
    names = ("synflow-mean", "SynFlow")
    assert run_proxies(Options(out, names, **SMALL), make=Network, progress=lambda *at: calls.append(at)) == out
    found = rows(out)
    assert [row["index"] for row in found] == [str(i) for i in sorted(set(CELLS))]
    assert [row["arch"] for row in found] == [SPACE.strings[i] for i in sorted(set(CELLS))]
    for name in ("synflow-mean", "synflow"):
        expected = score(name, SPACE.at(np.unique(CELLS)), SETTING, make=Network)
        got = [float(row[f"{name}/ImageNet16-120"]) for row in found]
        assert got == pytest.approx(expected.tolist(), rel=1e-8)
    classes = len(np.unique(class_numbers(SPACE.at(np.unique(CELLS)))))
    assert calls[-1] == (2 * classes, 2 * classes) and calls == sorted(calls)
    note = json.loads(out.with_name("s.csv.json").read_text())
    assert note["sha256"] == sha256_file(out) and note["columns"]["synflow/ImageNet16-120"]["seed"] == 42
    assert "seed" not in note["columns"]["synflow-mean/ImageNet16-120"]  # it decides nothing
    assert sorted(f.name for f in out.parent.iterdir()) == ["s.csv", "s.csv.json"]


def test_what_is_not_finite_is_empty_and_batches_are_in_the_note(tmp_path: Path, data: None) -> None:
    out = run_proxies(Options(tmp_path / "s.csv.gz", ("nwot", "jacov"), strings=False, **SMALL), make=Network)
    found = rows(out)
    assert list(found[0]) == ["index", "nwot/ImageNet16-120", "jacov/ImageNet16-120"]
    empty = {row["index"] for row in found if row["nwot/ImageNet16-120"] == ""}
    assert empty == {"1651"}
    note = json.loads(out.with_name("s.csv.gz.json").read_text())
    assert set(note["batches"]) == {"ImageNet16-120"} and note["batch_size"] == 64


class Killed:
    """A network maker that stops the run after so many."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, arch: Any, **how: Any) -> nn.Module:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return Network(arch, **how)


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path: Path, data: None, after: int) -> None:
    names = ("synflow", "nwot")
    whole = run_proxies(Options(tmp_path / "whole.csv.gz", names, **SMALL), make=Network)
    out = tmp_path / "cut.csv.gz"
    with pytest.raises(KeyboardInterrupt):
        run_proxies(Options(out, names, **SMALL), make=Killed(after))
    assert not out.exists()
    rest = Killed(100)
    run_proxies(Options(out, names, resume=True, **SMALL), make=rest)
    assert out.read_bytes() == whole.read_bytes()
    total = 2 * len(np.unique(class_numbers(SPACE.at(CELLS))))
    assert 100 - rest.left <= total - after + 1  # no more than the chunk that was cut is done again
    assert not out.with_name("cut.csv.gz.part").exists()


def test_a_finished_run_is_left_alone_and_anothers_file_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    run_proxies(Options(out, **SMALL), make=Network)
    before = out.stat().st_mtime_ns
    run_proxies(Options(out, resume=True, **SMALL), make=Killed(0))
    assert out.stat().st_mtime_ns == before
    for change in ({"resume": False}, {"resume": True, "seed": 43}, {"resume": True, "names": ("synflow-mean",)}):
        with pytest.raises(RunError, match="exists and is not"):
            run_proxies(Options(out, **{**SMALL, **change}), make=Network)
    out.write_text("mine")
    with pytest.raises(RunError, match="exists and is not"):
        run_proxies(Options(out, resume=True, **SMALL), make=Network)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        ('{"spec": {}}', "another run"),
        ("\xff", "cannot be read"),
    ],
)
def test_parts_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    out = tmp_path / "s.csv"
    out.with_name("s.csv.part").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match="go on with it"):
        run_proxies(Options(out, **SMALL), make=Network)
    with pytest.raises(RunError, match=said):
        run_proxies(Options(out, resume=True, **SMALL), make=Network)


@pytest.mark.parametrize("values", [None, {"synflow/ImageNet16-120": {"x": 1}}, {"synflow/ImageNet16-120": [1]}])
def test_a_part_with_other_values_is_refused(tmp_path: Path, values: Any) -> None:
    out = tmp_path / "s.csv"
    with pytest.raises(KeyboardInterrupt):
        run_proxies(Options(out, **SMALL), make=Killed(3))
    part = out.with_name("s.csv.part")
    part.write_text(json.dumps({**json.loads(part.read_text()), "values": values}))
    with pytest.raises(RunError, match="damaged"):
        run_proxies(Options(out, resume=True, **SMALL), make=Network)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"names": ()}, SpecError, "names is a list"),
        ({"names": "synflow"}, SpecError, "names is a list"),
        ({"names": ("synflow", "synflow")}, SpecError, "different"),
        ({"names": ("nwot", "naswot")}, SpecError, "different"),
        ({"names": ("synflou",)}, SpecError, "did you mean 'synflow'"),
        ({"datasets": ("cifar",)}, SpecError, "cifar10"),
        ({"datasets": []}, SpecError, "datasets is a list"),
        ({"archs": []}, SpecError, "archs is a list"),
        ({"archs": "|none~0|"}, SpecError, "archs is a list"),
        ({"archs": ["|none~0|"]}, ArchError, "position"),
        ({"archs": [15_625]}, ArchError, "15624"),
        ({"archs": [-1]}, ArchError, "15624"),
        ({"archs": [1.5]}, ArchError, "6 integers"),
        ({"chunk": 0}, SpecError, "chunk"),
        ({"batch_size": 0}, SpecError, "batch_size"),
        ({"channels": 0}, SpecError, "channels"),
        ({"cells": -1}, SpecError, "cells"),
        ({"seed": -1}, SpecError, "seed"),
        ({"out": Path("s.txt")}, SpecError, "ends in"),
        ({"names": ("nwot",), "batch_size": 500}, SpecError, "100 images at most"),
        ({"names": ("nwot",), "device": "tpu7"}, SpecError, "unknown device"),
        ({"names": ("nwot",), "device": "cuda:99"}, SpecError, "CUDA device"),
        ({"names": ("nwot",), "datasets": ("cifar10",)}, SpecError, "but the network takes"),
    ],
)
def test_impossible_options_are_refused(
    tmp_path: Path, data: None, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run_proxies(Options(**{"out": tmp_path / "s.csv", **SMALL, **change}), make=Network)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        run_proxies(Options(tmp_path / "file" / "s.csv", **SMALL), make=Network)
