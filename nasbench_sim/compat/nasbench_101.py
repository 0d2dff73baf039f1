"""A drop-in for google-research/nasbench: `from nasbench_sim.compat import nasbench_101 as api`.

    nasbench = api.NASBench("nasbench_only108.tfrecord", seed=0)
    spec = api.ModelSpec(matrix=[[0, 1, 0], [0, 0, 1], [0, 0, 0]], ops=["input", "conv3x3-bn-relu", "output"])
    nasbench.query(spec)["validation_accuracy"]

Reads the official tfrecords without TensorFlow, a CSV sample, or the file that `tables.modules.write_modules` made of
one; accuracies are fractions of 1, as in the original. A query answers with one of the runs of a module, drawn at
random, and counts its cost.

Written after the documented behaviour of google-research/nasbench at b94247037ee4 (Ying et al., NAS-Bench-101, ICML
2019, arXiv 1902.09635). Differences are listed in docs/migrating.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from nasbench_sim.compat.draws import Absent, as_draws
from nasbench_sim.errors import ArchError, NotMeasured, SpecError
from nasbench_sim.spaces.nb101 import MAX_EDGES, MAX_VERTICES, OPS, as_module, flaw, module_hash, prune
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.modules import NAME, RUNS, ModuleTable, Run, Split, When
from nasbench_sim.tables.nb101 import read_nb101

__all__ = ["Absent", "ModelSpec", "NASBench", "OutOfDomainError"]

_SPLITS: tuple[tuple[str, Split], ...] = (("train", "train"), ("validation", "valid"), ("test", "test"))
_WHENS: tuple[When, ...] = ("halfway", "final")


class OutOfDomainError(ArchError):
    """A module or a number of epochs that is not in the benchmark."""


class ModelSpec:
    """A module: upper-triangular `matrix` `[V, V]` of zeros and ones and V operations, pruned.

    Raises `ArchError` (a ValueError) for a matrix that is none, and for another number of operations.

    Attributes
    ----------
    matrix, ops: after pruning; None where no path leads from input to output, and then `valid_spec` is False.
    original_matrix, original_ops: as given.

    >>> spec = ModelSpec([[0, 1, 1], [0, 0, 0], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    >>> spec.matrix.tolist(), spec.ops, spec.valid_spec
    ([[0, 1], [0, 0]], ['input', 'output'], True)
    """

    def __init__(self, matrix: npt.ArrayLike, ops: Sequence[str], data_format: str = "channels_last") -> None:
        as_module(matrix, ops)
        self.original_matrix: npt.NDArray[Any] = np.array(matrix)
        self.original_ops = list(ops)
        self.data_format = data_format
        self.matrix: npt.NDArray[Any] | None = None
        self.ops: list[str] | None = None
        self.valid_spec = True
        try:
            pruned, names = prune(matrix, ops)
        except ArchError:
            self.valid_spec = False
        else:
            self.matrix, self.ops = pruned.astype(self.original_matrix.dtype), list(names)

    def hash_spec(self, canonical_ops: Sequence[str] = OPS) -> str:
        """The official hash, equal for modules that are one graph; raises `OutOfDomainError` for no module.

        Labels are numbered in the order of `canonical_ops`, which in the benchmark is conv3x3, conv1x1, maxpool3x3.
        """
        if self.matrix is None or self.ops is None:
            raise OutOfDomainError("invalid spec: this module's output is not reached from its input")
        if not isinstance(canonical_ops, Sequence) or set(canonical_ops) != set(OPS) or len(canonical_ops) != len(OPS):
            raise SpecError(f"canonical_ops are {', '.join(OPS)} in some order, got {canonical_ops!r:.120}")
        renamed = [OPS[list(canonical_ops).index(op)] if op in canonical_ops else op for op in self.ops]
        return module_hash(self.matrix, renamed)


class NASBench:
    """NAS-Bench-101 with the methods of the original class.

    `dataset_file` is a tfrecord, a CSV sample, a file of modules, or `nb101` for the kept one. Two objects with the
    same `seed` answer the same queries in the same order alike. `rng` (a numpy Generator, a seed, or the module
    `random`) is drawn from instead; with `strict_compat` it must be the module `random` or a `random.Random`, which is
    then seeded and drawn from as the original does. Raises `TableError` for no such file.

    Attributes
    ----------
    fixed_statistics: hash -> `module_adjacency`, `module_operations`, `trainable_parameters`.
    computed_statistics: hash -> epochs -> a list of runs, each a dictionary of `halfway_` and `final_` with
        `training_time` (seconds) and `train_`, `validation_` and `test_accuracy` (fractions of 1).
    valid_epochs: training budgets. training_time_spent, total_epochs_spent: what the queries cost.
    """

    def __init__(
        self,
        dataset_file: str | os.PathLike[str] | ModuleTable,
        seed: int | None = None,
        *,
        rng: object = None,
        strict_compat: bool = False,
    ) -> None:
        self._table = dataset_file if isinstance(dataset_file, ModuleTable) else _open(dataset_file)
        if rng is not None and seed is not None and not strict_compat:
            raise SpecError("give seed or rng, not both; strict_compat=True seeds rng, as the original does")
        self._draws = as_draws(seed if rng is None else rng, strict=strict_compat)
        if strict_compat:
            reseed = getattr(rng, "seed", None)
            if not callable(reseed):
                raise SpecError("strict_compat=True seeds rng, as the original does, and this one has no seed()")
            reseed(seed)
        self._strict = strict_compat
        self.config = {
            "available_ops": list(OPS),
            "module_vertices": MAX_VERTICES,
            "max_edges": MAX_EDGES,
            "num_repeats": len(RUNS),
        }
        self.valid_epochs = set(self._table.budgets)
        self.fixed_statistics: Mapping[str, dict[str, Any]] = _ByHash(self._table, self._fixed)
        self.computed_statistics: Mapping[str, dict[int, list[dict[str, float]]]] = _ByHash(self._table, self._computed)
        self.history: dict[str, Any] = {}
        self.reset_budget_counters()

    def query(self, model_spec: ModelSpec, epochs: int = 108, stop_halfway: bool = False) -> dict[str, Any]:
        """One run of a module, drawn at random, after `epochs` epochs of training or halfway through them.

        Adds its seconds and epochs to the budget counters. Raises `OutOfDomainError` for what is not in the search
        space, `NotMeasured` for a module or run that the file does not have.
        """
        if epochs not in list(self.valid_epochs):  # a list: what cannot be a key is not among them either
            known = ", ".join(map(str, sorted(self.valid_epochs)))
            raise OutOfDomainError(f"invalid number of epochs {epochs!r}, must be one of {known}")
        row = self._row(model_spec)
        runs = list(RUNS) if self._strict else self._runs(row, epochs)
        drawn = self._draws.randint(0, len(runs) - 1)
        when: When = "halfway" if stop_halfway else "final"
        numbers = self._numbers(row, epochs, runs[drawn], when)
        if numbers["training_time"] != numbers["training_time"]:
            raise NotMeasured(f"table {self._table.name}: {runs[drawn]} of {epochs} epochs was not measured here")
        self.training_time_spent += numbers["training_time"]
        self.total_epochs_spent += epochs // 2 if stop_halfway else epochs
        return {**self._fixed(row), **numbers}

    def is_valid(self, model_spec: ModelSpec) -> bool:
        """Whether a module is in the search space; costs nothing, and does not say that it was measured."""
        try:
            self._check(model_spec)
        except OutOfDomainError:
            return False
        return True

    def get_budget_counters(self) -> tuple[float, int]:
        """Seconds and epochs that the queries have cost."""
        return self.training_time_spent, self.total_epochs_spent

    def reset_budget_counters(self) -> None:
        """Begin counting anew."""
        self.training_time_spent: float = 0.0
        self.total_epochs_spent: int = 0

    def hash_iterator(self) -> Iterator[str]:
        """Every hash, ascending (the original: in the order of its file)."""
        return iter(self.fixed_statistics)

    def get_metrics_from_hash(self, module_hash: str) -> tuple[dict[str, Any], dict[int, list[dict[str, float]]]]:
        """What is fixed about a module, and all its runs; for analysis, costs nothing. Raises `Absent`."""
        return self.fixed_statistics[module_hash], self.computed_statistics[module_hash]

    def get_metrics_from_spec(self, model_spec: ModelSpec) -> tuple[dict[str, Any], dict[int, list[dict[str, float]]]]:
        """The same by module; raises as `query` does."""
        row = self._row(model_spec)
        return self._fixed(row), self._computed(row)

    def evaluate(self, model_spec: ModelSpec, model_dir: str) -> NoReturn:
        """Raises `SpecError`: training a module anew is not offered."""
        raise SpecError("evaluate trains a network from scratch; only what was measured can be had here")

    def _check(self, spec: ModelSpec) -> None:
        if not isinstance(spec, ModelSpec):
            raise SpecError(f"a module is a ModelSpec(matrix, ops), not a {type(spec).__name__}")
        if not spec.valid_spec or spec.matrix is None or spec.ops is None:
            raise OutOfDomainError("invalid spec: this module's output is not reached from its input")
        why = flaw(spec.matrix, spec.ops)
        if why:
            raise OutOfDomainError(why)

    def _row(self, spec: ModelSpec) -> int:
        self._check(spec)
        assert spec.matrix is not None and spec.ops is not None
        return self._table.row(spec.matrix, spec.ops)

    def _runs(self, row: int, epochs: int) -> list[Run]:
        final = (self._table.seconds(epochs=epochs, run=run, when="final")[row] for run in RUNS)
        found = [run for run, seconds in zip(RUNS, final, strict=True) if not np.isnan(seconds)]
        if not found:
            raise NotMeasured(f"table {self._table.name}: this module was not trained for {epochs} epochs")
        return found

    def _fixed(self, row: int) -> dict[str, Any]:
        matrix, ops = self._table.module(row)
        return {
            "module_adjacency": matrix,
            "module_operations": list(ops),
            "trainable_parameters": int(self._table.params[row]),
        }

    def _numbers(self, row: int, epochs: int, run: Run, when: When) -> dict[str, float]:
        seconds = self._table.seconds(epochs=epochs, run=run, when=when)
        out = {"training_time": float(seconds[row])}
        for name, split in _SPLITS:
            column = self._table.fractions(epochs=epochs, run=run, split=split, when=when)
            out[f"{name}_accuracy"] = float(column[row])
        return out

    def _computed(self, row: int) -> dict[int, list[dict[str, float]]]:
        out: dict[int, list[dict[str, float]]] = {}
        for epochs in self._table.budgets:
            every = [
                {f"{when}_{k}": v for when in _WHENS for k, v in self._numbers(row, epochs, run, when).items()}
                for run in RUNS
            ]
            there = [one for one in every if one["final_training_time"] == one["final_training_time"]]
            if there:
                out[epochs] = there
        return out


class _ByHash(Mapping[str, Any]):
    """Something about every module, worked out when it is asked for."""

    def __init__(self, table: ModuleTable, make: Any) -> None:
        self._table = table
        self._make = make

    def __getitem__(self, name: str) -> Any:
        row = -1
        if isinstance(name, str) and len(name) == 32 and name.isascii():
            row = int(self._table.rows(np.array([name.encode()], dtype="S32"))[0])
        if row < 0:
            raise Absent(f"table {self._table.name} has no module with the hash {name!r:.60}")
        return self._make(row)

    def __iter__(self) -> Iterator[str]:
        return (name.decode() for name in self._table.hashes.tolist())

    def __len__(self) -> int:
        return self._table.size


def _open(what: str | os.PathLike[str]) -> ModuleTable:
    if what == NAME:
        return catalogue.open_modules()
    if not isinstance(what, (str, os.PathLike)):
        raise SpecError(f"give a file, {NAME!r} or a ModuleTable, not a {type(what).__name__}")
    path = Path(what)
    return catalogue.open_modules(path) if path.suffix == ".safetensors" else read_nb101(path)
