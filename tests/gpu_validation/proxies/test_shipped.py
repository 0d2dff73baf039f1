"""The file of SynFlow scores in `data/`: made by this package, and it is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gpu_validation.proxies import Options, run_proxies, score
from gpu_validation.proxies.score import DATASETS, Setting
from nasbench_sim.files import sha256_file
from nasbench_sim.resources import data_path
from nasbench_sim.spaces import NB201
from nasbench_sim.tables.shipped import FILE, shipped

CELLS = np.array([0, 1835, 6111, 9930, 15_624])


def test_five_cells_computed_again() -> None:
    for dataset in DATASETS:
        column = shipped("nb201")["synflow-mean", dataset]
        again = score("synflow-mean", NB201().at(CELLS), Setting.of(dataset))
        np.testing.assert_allclose(column[CELLS], again, rtol=2e-7)


def test_its_note_is_that_of_the_command_in_the_readme(tmp_path: Path) -> None:
    """The command with five cells in place of all, and the rows it writes are rows of the file."""
    note = json.loads(data_path(f"{FILE}.json").read_text())
    assert note["sha256"] == sha256_file(data_path(FILE))
    options = Options(
        tmp_path / "s.csv.gz", ("synflow-mean",), tuple(DATASETS), archs=CELLS.tolist(), strings=False, chunk=1024
    )
    here = json.loads(run_proxies(options).with_name("s.csv.gz.json").read_text())
    assert {k: v for k, v in note.items() if k in ("columns", "strings", "batches")} == {
        k: here[k] for k in ("columns", "strings", "batches")
    }
    assert note["cells"] == NB201().size
