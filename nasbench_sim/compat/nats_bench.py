"""A drop-in for the topology benchmark of `nats_bench` 1.8: `from nasbench_sim.compat.nats_bench import create`.

    api = create("nats-tss", "tss", verbose=False, rng=0)               # an imported benchmark, by its table's name
    api = create("NATS-tss-v1_0-3ffb9-simple", "tss", fast_mode=True)   # the official folder, read as it is asked

Same signatures and values, without the pickles that run code and without the global random state. What differs, and
why, is in docs/migrating.md; `strict_compat=True` brings the original's ways back where they can mislead a search.

Written after the documented behaviour of nats_bench 1.8 (Dong et al., NATS-Bench, TPAMI 2021, arXiv 2009.00437).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasbench_sim.compat.draws import Absent, CompatWarning
from nasbench_sim.compat.sources import FolderTrials, open_trials
from nasbench_sim.compat.strings import str2lists, str2matrix
from nasbench_sim.compat.topology import TopologyAPI
from nasbench_sim.errors import SpecError, unknown
from nasbench_sim.spaces.nb201 import OPS

__all__ = ["Absent", "CompatWarning", "NATStopology", "create", "search_space_info", "version"]

Where = str | os.PathLike[str] | Mapping[str, Any] | None
_TSS, _SSS = ("tss", "topology"), ("sss", "size")


def version() -> str:
    """The release of nats_bench whose interface this is."""
    return "v1.8"


def create(
    file_path_or_dict: Where,
    search_space: str,
    fast_mode: bool = False,
    verbose: bool = True,
    *,
    rng: object = None,
    strict_compat: bool = False,
) -> NATStopology:
    """The topology benchmark in an imported table (by name), an official folder, a small .pth or a loaded dictionary.

    `rng` is a seed, a numpy Generator, or the module `random` (whose global draws the original makes). Raises
    `SpecError` for another search space (the size space is not here) and `TableError` for no such source.

    >>> api = create("nb201-analog", "tss", verbose=False)
    >>> api.query_index_by_arch(api.arch(9930))
    9930
    """
    if search_space in _SSS:
        raise SpecError(f"search space {search_space!r}, NATS-Bench's size space, is not offered here; only 'tss' is")
    if search_space not in _TSS:
        raise SpecError(unknown("search space", search_space, _TSS))
    return NATStopology(file_path_or_dict, fast_mode, verbose, rng=rng, strict_compat=strict_compat)


def search_space_info(main_tag: str, aux_tag: str | None = None) -> dict[str, Any]:
    """Operations and number of nodes of the topology space; raises `SpecError` for another one.

    >>> search_space_info("nats-bench", "tss")["num_nodes"]
    4
    """
    if (main_tag, aux_tag) in [*(("nats-bench", tag) for tag in _TSS), ("nas-bench-201", None)]:
        return {"op_names": list(OPS), "num_nodes": 4}
    raise SpecError(f"unknown search space {main_tag!r}, {aux_tag!r}; known: ('nats-bench', 'tss'), ('nas-bench-201',)")


class NATStopology(TopologyAPI):
    """The topology benchmark with the methods of `nats_bench.NATStopology`; see `create`."""

    def __init__(
        self,
        file_path_or_dict: Where = None,
        fast_mode: bool = False,
        verbose: bool = True,
        *,
        rng: object = None,
        strict_compat: bool = False,
    ) -> None:
        source = open_trials(file_path_or_dict)
        folder = isinstance(source, FolderTrials)
        if fast_mode and isinstance(file_path_or_dict, (str, os.PathLike)) and Path(file_path_or_dict).is_file():
            raise SpecError(f"fast_mode=True reads a folder, and {file_path_or_dict} is a file; leave out fast_mode")
        if strict_compat and folder and not fast_mode:
            raise SpecError(f"{file_path_or_dict} is a folder, which nats_bench reads with fast_mode=True only")
        super().__init__(source, fast_mode=bool(fast_mode), verbose=verbose, rng=rng, strict_compat=strict_compat)
        self._archive_dir = str(file_path_or_dict) if folder else None

    is_size = False
    is_topology = True
    search_space_name = "topology"
    full_epochs_in_paper = 200
    full_train_epochs = 200

    @property
    def fast_mode(self) -> bool:
        """Whether `evaluated_indexes` holds only what was asked for."""
        return self._fast_mode

    @property
    def archive_dir(self) -> str | None:
        """The folder that is read; None for another source."""
        return self._archive_dir

    def reset_archive_dir(self, archive_dir: str | os.PathLike[str]) -> None:
        """Read from another folder from now on; what was read is forgotten."""
        self._source = FolderTrials(Path(archive_dir))
        self._archive_dir = str(archive_dir)
        self._forget(None)

    def reset_fast_mode(self, fast_mode: bool) -> None:
        """Change what `evaluated_indexes` holds from now on."""
        self._fast_mode = bool(fast_mode)

    def reload(self, archive_root: str | os.PathLike[str] | None = None, index: int | None = None) -> None:
        """Read one or all architectures anew, from `archive_root` if given; a folder only. Raises `SpecError`."""
        if archive_root is not None and str(archive_root) != self._archive_dir:
            self.reset_archive_dir(archive_root)
        if self._archive_dir is None:
            raise SpecError(f"{self.filename} is not a folder of official files, so there is nothing to read anew")
        self._forget(None if index is None else self._index(index))
        if index is not None:
            self._results(index)
        else:
            self.evaluated_indexes.update(self._source.cells)

    def _forget(self, index: int | None) -> None:
        self._answers.clear()
        for cell in list(self._cells) if index is None else [index]:
            self._cells.pop(cell, None)

    def get_unique_str(self, arch: Any) -> str:
        """The string that isomorphic cells share (6,466 different ones); raises `ArchError`.

        >>> create("nb201-analog", "tss", verbose=False).get_unique_str(1835)
        '0+0+0+0'
        """
        return self._space.canonical(self._space.at(self._index(arch)))

    def simulate_train_eval(
        self, arch: Any, dataset: str, iepoch: int | None = None, hp: str | int = "12", account_time: bool = True
    ) -> tuple[float, float | None, float, float]:
        """`(validation accuracy, latency, seconds of training and one validation, seconds used so far)` of one trial.

        `dataset` is cifar10 (whose cifar10-valid runs it uses), cifar100 or ImageNet16-120. Raises `Absent` where there
        is no validation accuracy: the original then gives that on validation and test together, as this does with
        strict_compat.
        """
        return self._simulate(arch, dataset, iepoch, hp, hp, account_time)

    def find_best(
        self,
        dataset: str,
        metric_on_set: str,
        flop_max: float | None = None,
        param_max: float | None = None,
        hp: str | int = "12",
        enforce_all: bool | None = None,
    ) -> tuple[int, float | None]:
        """`(index, accuracy)` of the best architecture under bounds on FLOPs and parameters (millions).

        Over `evaluated_indexes`, in fast mode over all. Raises `Absent` where one of them lacks the number.
        """
        if enforce_all and not self._fast_mode:
            raise SpecError("enforce_all=True is for fast_mode=True; without it every architecture is looked at anyway")
        every = self._fast_mode if enforce_all is None else enforce_all
        cells = list(range(len(self))) if every else sorted(self.evaluated_indexes)
        return self._best_of(dataset, metric_on_set, flop_max, param_max, hp, cells)

    def _commented(self, answer: dict[str, Any], dataset: str, epochs: int) -> dict[str, Any]:
        trained = {"cifar10-valid": "the train set", "cifar10": "the train and validation sets"}.get(dataset)
        if trained is None:
            return answer
        what = f"trained on {trained} of CIFAR-10 for {epochs} epochs; test is its test set; times are in seconds"
        return {**answer, "comment": what}

    str2lists = staticmethod(str2lists)
    str2matrix = staticmethod(str2matrix)
