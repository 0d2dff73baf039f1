"""Where a drop-in interface reads: official files in a folder, small files held in memory, or an imported benchmark.

A `Trials` gives the runs of one architecture, and knows which architectures it has. Nothing in a file is trusted: the
readers are those of `tables.nats_files` and `tables.nats_pth`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nasbench_sim.compat.draws import Absent
from nasbench_sim.compat.tabled import TableTrials
from nasbench_sim.compat.trials import CurveNumbers, RunNumbers, Trial
from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.curves import SUFFIX, Curves, open_curves
from nasbench_sim.tables.curves_writer import Run
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.nats_files import FOLDER, MAX_PACKED, MAX_UNPACKED, Member, check_meta, inflate
from nasbench_sim.tables.nats_pth import decoded_pth
from nasbench_sim.tables.nats_records import read_runs
from nasbench_sim.tables.unpickle import NATS_BENCH, read_pickle

MAX_HELD = 100_000_000  # bytes of a .pth file that is read into memory; the whole benchmark has 4.7 GB (its README)
_IMPORT = "import it once (`nasbench-sim tables import NAME --from FILE`) and give that NAME"


class Trials(Protocol):
    """What a drop-in interface needs to know of a benchmark."""

    name: str

    @property
    def cells(self) -> list[int]: ...

    @property
    def budgets(self) -> list[str]: ...

    def trials(self, cell: int) -> dict[str, list[Trial]]: ...

    def averaged(self, cell: int, budget: str) -> Mapping[str, Trial] | None: ...


class _Whole:
    """A source whose runs are single ones, so that means are worked out from them."""

    def averaged(self, cell: int, budget: str) -> None:
        """None: there are single runs."""


class FolderTrials(_Whole):
    """Official files of one architecture each, read when asked for."""

    def __init__(self, folder: Path) -> None:
        inner = folder / FOLDER
        self._folder = inner if not (folder / "meta.pickle.pbz2").is_file() and inner.is_dir() else folder
        self._space = cached_space("nb201")
        self.name = self._folder.name
        self.budgets = ["12", "200"]
        meta = self._folder / "meta.pickle.pbz2"
        check_meta(self._content(None, meta), self._space, str(meta))

    @property
    def cells(self) -> list[int]:
        """Architectures whose file is there."""
        stems = (p.name.removesuffix(".pickle.pbz2") for p in self._folder.glob("*.pickle.pbz2"))
        return sorted(int(s) for s in stems if s.isascii() and s.isdigit() and int(s) < self._space.size)

    def trials(self, cell: int) -> dict[str, list[Trial]]:
        """Trials of an architecture by budget; raises `Absent` where its file is missing."""
        path = next((p for p in self._paths(cell) if p.is_file()), None)
        if path is None:
            raise Absent(f"{self._folder} has no file of architecture {cell} ({self._paths(cell)[0].name})")
        content = self._content(cell, path)
        if type(content) is not dict or not content:
            raise TableError(f"{path}: not the results of an architecture; get the original file again")
        runs: list[Run] = []
        for results in content.values():
            runs += read_runs(results, cell=cell, space=self._space, where=str(path))[1]
        return by_budget(cell, runs)

    def _paths(self, cell: int) -> list[Path]:
        return [self._folder / f"{name}.pickle.pbz2" for name in (f"{cell:06d}", str(cell))]

    def _content(self, cell: int | None, path: Path) -> object:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PACKED + 1)
        except OSError as error:
            raise TableError(
                f"{path}: cannot be read ({error.strerror}); give {FOLDER}/, a .pth file, or a table's name"
            ) from error
        if len(data) > MAX_PACKED:
            raise TableError(f"{path}: larger than the {MAX_PACKED} bytes such a file may have")
        raw = inflate(Member(cell, str(path), data))
        return read_pickle(raw, what=str(path), cap=MAX_UNPACKED, allowed=NATS_BENCH)


class HeldTrials(_Whole):
    """Runs held in memory: of a small .pth file, or of a dictionary that the caller has loaded."""

    def __init__(self, name: str, runs: Mapping[int, list[Run]]) -> None:
        self.name = name
        self._trials = {cell: by_budget(cell, some) for cell, some in runs.items()}
        self.cells = sorted(self._trials)
        self.budgets = sorted({b for t in self._trials.values() for b in t}, key=int)

    def trials(self, cell: int) -> dict[str, list[Trial]]:
        """Trials of an architecture by budget; raises `Absent` where there are none."""
        if cell not in self._trials:
            raise Absent(f"{self.name} holds nothing on architecture {cell}, only on {len(self.cells)} others")
        return self._trials[cell]


class CurveTrials(_Whole):
    """Runs from the learning curves of an imported benchmark: memory-mapped, opened in milliseconds."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._kept: dict[Any, Any] = {}
        self.name = curves.name
        order = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
        runs = {(k.epochs, k.dataset, k.seed) for k in curves.available}
        self._runs = sorted((r for r in runs if r[1] in order), key=lambda r: (r[0], order.index(r[1]), r[2]))
        self.budgets = [str(e) for e in sorted({r[0] for r in self._runs})]
        self._ran: dict[tuple[int, str, int], Any] = {}

    def _mask(self, run: tuple[int, str, int]) -> Any:
        if run not in self._ran:
            epochs, dataset, seed = run
            series = self._curves.series(dataset=dataset, split="train", epochs=epochs, seed=seed, metric="accuracy")
            self._ran[run] = ~np.isnan(series.values(epoch=epochs, missing="nan"))
        return self._ran[run]

    @property
    def cells(self) -> list[int]:
        """Architectures with a run."""
        return [int(c) for c in np.flatnonzero(np.any([self._mask(run) for run in self._runs], axis=0))]

    def trials(self, cell: int) -> dict[str, list[Trial]]:
        """Trials of an architecture by budget; raises `Absent` where there are none."""
        out: dict[str, list[Trial]] = {}
        for run in self._runs:
            if self._mask(run)[cell]:
                epochs, dataset, seed = run
                numbers = CurveNumbers(self._curves, self._kept, cell, dataset, epochs, seed)
                trial = Trial(f"architecture {cell}", dataset, seed, epochs, _arch(cell), numbers)
                out.setdefault(str(epochs), []).append(trial)
        if not out:
            raise Absent(f"{self.name} holds nothing on architecture {cell}")
        return out


def by_budget(cell: int, runs: list[Run]) -> dict[str, list[Trial]]:
    """Trials of one architecture by budget (`12`, `200`), in the order of the runs."""
    out: dict[str, list[Trial]] = {}
    for run in runs:
        trial = Trial(f"architecture {cell}", run.dataset, run.seed, run.epochs, _arch(cell), RunNumbers(run))
        out.setdefault(str(run.epochs), []).append(trial)
    return dict(sorted(out.items(), key=lambda item: int(item[0])))


def _arch(cell: int) -> str:
    space = cached_space("nb201")
    return str(space.strings[cell])  # type: ignore[attr-defined]


def open_trials(what: str | os.PathLike[str] | Mapping[str, Any] | None) -> Trials:
    """The benchmark behind a path, a table's name, or a dictionary as the original packages load it.

    None is `$TORCH_HOME/NATS-tss-v1_0-3ffb9-simple` where that exists, else the imported table nats-tss. Raises
    `TableError` for what is no such source.
    """
    if what is None:
        folder = Path(os.environ.get("TORCH_HOME", "")) / FOLDER
        return open_trials(folder if os.environ.get("TORCH_HOME") and folder.is_dir() else "nats-tss")
    if isinstance(what, Mapping):
        return HeldTrials("a dictionary", _of_dictionary(what))
    if not isinstance(what, (str, os.PathLike)):
        raise SpecError(f"give a folder, a file, a table's name or a dictionary, not a {type(what).__name__}")
    path = Path(what)
    if path.is_dir():
        return FolderTrials(path)
    if path.suffix == ".pth":
        return _of_pth(path)
    if path.suffix == SUFFIX:
        return CurveTrials(Curves(path))
    if path.suffix == ".h5":
        return TableTrials(catalogue.open_table(path))
    if path.is_file() or os.sep in str(what):
        hint = f"{_IMPORT}, or give the folder {FOLDER}/" if path.is_file() else "check the path"
        raise TableError(f"{path} is not a folder, .pth, {SUFFIX} or .h5 file that can be read here; {hint}")
    table = catalogue.open_table(str(what))
    return CurveTrials(open_curves(table)) if "curves" in table.extra else TableTrials(table)


def _of_pth(path: Path) -> HeldTrials:
    if not path.is_file():
        raise TableError(f"{path} does not exist; give a NAS-Bench-201 .pth file or a table's name")
    if path.stat().st_size > MAX_HELD:
        raise TableError(f"{path} is too large to be held in memory; {_IMPORT}")
    return HeldTrials(path.name, dict(decoded_pth(path, cached_space("nb201"))))


def _of_dictionary(content: Mapping[str, Any]) -> dict[int, list[Run]]:
    for key in ("meta_archs", "arch2infos", "evaluated_indexes"):
        if key not in content:
            raise TableError(f"a benchmark as a dictionary needs meta_archs, arch2infos, evaluated_indexes; no {key}")
    space = cached_space("nb201")
    archs, infos = content["meta_archs"], content["arch2infos"]
    check_meta({"meta_archs": list(archs) if isinstance(archs, Sequence) else archs}, space, "a dictionary")
    if not isinstance(infos, Mapping) or not all(isinstance(one, Mapping) for one in infos.values()):
        raise TableError(
            "a benchmark as a dictionary: arch2infos maps indices to dictionaries by budget; load it again"
        )
    out: dict[int, list[Run]] = {}
    for cell, budgets in infos.items():
        out[cell] = [
            run
            for results in budgets.values()
            for run in read_runs(_plain(results), cell=cell, space=space, where="a dictionary")[1]
        ]
    return out


def _plain(results: Any) -> object:
    """The state with ordered and default dictionaries as plain ones, which the reader insists on."""
    if not isinstance(results, Mapping) or not isinstance(results.get("all_results"), Mapping):
        return results
    runs = {
        key: {k: dict(v) if isinstance(v, Mapping) else v for k, v in run.items()} if isinstance(run, Mapping) else run
        for key, run in results["all_results"].items()
    }
    seeds = results.get("dataset_seed")
    return {**results, "all_results": runs, "dataset_seed": dict(seeds) if isinstance(seeds, Mapping) else seeds}
