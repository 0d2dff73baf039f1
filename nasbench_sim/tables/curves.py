"""Learning curves of a benchmark: what every training run reached after every epoch, mapped from a file.

A table holds what runs reached at their end; this holds the way there. The key of a number has five parts and no
defaults: the run's data set, the split, `epochs` (the run's whole budget: a run of 12 epochs and the twelfth epoch of a
run of 200 are different trainings), the training seed, and the metric (`accuracy` in percent, `loss` in nats). A point
of a curve is an `epoch`, counted from 1 (the `iepoch` of NATS-Bench counts from 0).

Data sets are those of the *runs*, so `cifar10` (trained on train + valid) has no `valid`: that is `cifar10-valid`'s.
Splits are `train`, `valid` (x-valid in the official files), `test` (x-test; ori-test of the two cifar10 runs), and
`valtest` (ori-test of cifar100 and ImageNet16-120, the union of valid and test, which is never offered as either).
What exists, in NATS-Bench v1.0:

    epochs  run                        after every epoch           after the last only  seeds
    200     cifar10-valid              train, valid                test                 two or three of 777, 888, 999
    200     cifar10                    train, test                                      same
    200     cifar100, ImageNet16-120   train, valtest              valid, test          same
    12      cifar10-valid              train, valid, test                               777 and 111
    12      cifar10                    train, test                                      111
    12      cifar100, ImageNet16-120   train, valid, test, valtest                      111

Anything else raises `NotMeasured`. Made by `tables import` from the official files (see `nats`):

    curves = open_curves("nats-tss")
    series = curves.series(dataset="cifar100", split="valtest", epochs=200, seed=777, metric="accuracy")
    series.curves()              # float32 [15625, 200], a view of the file
    series.values(epoch=50)      # float32 [15625]
    series.query("|nor_conv_3x3~0|+|...", epoch=50)
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np

from nasbench_sim.errors import NotMeasured, SpecError, TableError, unknown
from nasbench_sim.tables import catalogue
from nasbench_sim.tables.curves_file import Plane, PlaneFile
from nasbench_sim.tables.curves_series import CurveKey, CurveSeed, Float64Array, Series, mean_of_runs
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.table import Source, Table

__all__ = ["FACTS", "SUFFIX", "CurveKey", "CurveSeed", "Curves", "Series", "curves_path", "open_curves"]

SUFFIX = ".safetensors"
_ENDING = f".curves{SUFFIX}"
#: facts about a run: parameters and FLOPs in millions as the source states them, seconds for one batch of 256
FACTS = ("params_m", "flops_m", "latency_s")
_GET = "`nasbench-sim tables import nats-tss --from DIR` makes them from the official files"


def curves_path(name: str) -> Path:
    """File of the curves of a table, whether or not it exists: beside the table's own.

    >>> curves_path("nats-tss").name
    'nats-tss.curves.safetensors'
    """
    return catalogue.table_path(name).with_name(name + _ENDING)


def open_curves(which: str | Path | Table) -> Curves:
    """Curves by the name of their table, from a file, or of an open table (then they must be those it was made of).

    Raises `TableError` where there are none, and for a file that is damaged or not a curve file. Opening reads only the
    file's head; see `curves_file` for what is checked when.
    """
    if isinstance(which, Table):
        said = which.extra.get("curves")
        if said is None:
            raise TableError(f"table {which.name} has no learning curves; {_GET}")
        out = open_curves(which.name)
        if out.sha256 != said:
            raise TableError(f"{out.path} is not what table {which.name} was made of; import the benchmark again")
        return out
    text = str(which)
    if isinstance(which, Path) or text.endswith(SUFFIX) or os.sep in text:
        return Curves(which)
    path = curves_path(text)
    if not path.is_file():
        here = sorted(f.name.removesuffix(_ENDING) for f in path.parent.glob(f"*{_ENDING}"))
        raise TableError(f"{unknown('table with learning curves', text, here)}; {_GET}")
    return Curves(path)


class Curves:
    """The curves of one file; arrays are views of the mapped file, read-only, NaN where nothing was measured.

    Attributes
    ----------
    name, path: of the file. space: the search space (`A = space.size`). sources, notes: provenance.
    sha256: of the manifest, which names the sha256 of every array: the same for the same content.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = PlaneFile(path)
        manifest = self._file.manifest
        self.path = self._file.path
        self.name = self.path.name.removesuffix(SUFFIX).removesuffix(".curves")
        self.sha256 = self._file.sha256
        self.space = cached_space(manifest.space)
        self.sources: tuple[Source, ...] = tuple(manifest.sources)
        self.notes: tuple[str, ...] = tuple(manifest.notes)
        self._series: dict[tuple[object, ...], Series] = {}

    @cached_property
    def available(self) -> tuple[CurveKey, ...]:
        """Every curve there is, in file order."""
        every = {p._replace(kind="final") for p in self._file.planes if p.kind == "curve"}
        finals = [p for p in self._file.planes if p.kind == "final"]
        return tuple(
            CurveKey(p.dataset, p.split, p.epochs, p.seed, p.metric, "every" if p in every else "last") for p in finals
        )

    def verify(self) -> int:
        """Check every array of the file anew; returns how many there are. Raises `TableError`."""
        return self._file.verify()

    def seeds(self, *, dataset: str, epochs: int) -> tuple[int, ...]:
        """Seeds of the runs on a data set with that budget, ascending; an architecture need not have all of them.

        Raises `NotMeasured` where there are no such runs.
        """
        return tuple(sorted({k.seed for k in self._narrow(dataset=dataset, epochs=epochs)}))

    def series(self, *, dataset: str, split: str, epochs: int, seed: CurveSeed, metric: str) -> Series:
        """The curves under one key, ready to be asked; kept, so that asking again costs a dictionary lookup.

        Raises `NotMeasured` naming the part of the key that nothing was measured on, and what was.
        """
        asked = (dataset, split, epochs, seed, metric)
        found = self._series.get(asked)
        if found is None:
            keys = self._narrow(dataset=dataset, epochs=epochs, split=split, metric=metric, seed=seed)
            found = self._series[asked] = Series(f"curves {self.name}", self._file, self.space, keys, seed)
        return found

    def seconds(self, *, dataset: str, split: str, epochs: int, seed: CurveSeed, epoch: int) -> Float64Array:
        """Seconds that the first `epoch` epochs took, float64 `[A]`: of training (`train`) or evaluating a split.

        The sources give one time for all epochs of a run; where one does not, its first `epoch` times are added. NaN
        where there is no such run or it has no times. Raises `NotMeasured` and `SpecError`.
        """
        keys = self._narrow(dataset=dataset, epochs=epochs, split=split, metric="accuracy", seed=seed)
        if type(epoch) is not int or not 1 <= epoch <= epochs:
            raise SpecError(f"curves {self.name}: epoch {epoch!r} is not a whole number in 1..{epochs}")
        columns = []
        for key in keys:
            fact = Plane(dataset, epochs, key.seed, split, "seconds", "fact")
            if fact not in self._file:
                raise NotMeasured(f"curves {self.name}: {dataset}/{split}/{epochs} epochs/seed {key.seed} has no times")
            column = self._file.array(fact) * np.float64(epoch)
            uneven = fact._replace(kind="curve")
            if uneven in self._file:
                added = self._file.array(uneven)[:, :epoch].sum(axis=1, dtype=np.float64)
                column = np.where(np.isnan(added), column, added)
            columns.append(column)
        return self._one_or_mean(keys, columns, seed)

    def fact(self, name: str, *, dataset: str, epochs: int, seed: CurveSeed) -> Float64Array:
        """One of `FACTS` about every run, float64 `[A]`, as the source states it; NaN where there is no such run.

        NATS-Bench v1.0 states the parameters and FLOPs of another architecture for 150 cells
        (D-X-Y/NATS-Bench#36), and tables take them from the layers instead. Raises `NotMeasured` and `SpecError`.
        """
        if name not in FACTS:
            raise SpecError(f"curves {self.name}: {unknown('fact', name, FACTS)}")
        keys = self._narrow(dataset=dataset, epochs=epochs, split="train", metric="accuracy", seed=seed)
        planes = [Plane(dataset, epochs, key.seed, "network", name, "fact") for key in keys]
        if not all(p in self._file for p in planes):
            raise NotMeasured(f"curves {self.name}: {dataset}/{epochs} epochs/seed {seed} has no {name}")
        return self._one_or_mean(keys, [self._file.array(p).astype(np.float64) for p in planes], seed)

    def _one_or_mean(self, keys: list[CurveKey], columns: list[Float64Array], seed: CurveSeed) -> Float64Array:
        if seed != "mean":
            return columns[0]
        return mean_of_runs(columns, [self._file.array(k.run) for k in keys])  # type: ignore[misc]

    def _narrow(self, **asked: object) -> list[CurveKey]:
        """The keys with these parts; raises `NotMeasured` naming the first part that nothing was measured on."""
        left, so_far = list(self.available), ""
        for name, value in asked.items():
            if name == "seed" and value == "mean":
                continue
            fits = [k for k in left if getattr(k, name) == value and type(getattr(k, name)) is type(value)]
            if not fits:
                known = list(dict.fromkeys(getattr(k, name) for k in left))
                where = f" (for {so_far})" if so_far else ""
                if str(value) in map(str, known):  # 200 and "200" look alike in a message; say which is meant
                    raise NotMeasured(
                        f"curves {self.name}: {name} must be of type {type(known[0]).__name__}, got {value!r}{where}"
                    )
                hint = "; its validation is the run cifar10-valid" if (asked["dataset"], value) == _NO_VALID else ""
                raise NotMeasured(f"curves {self.name}: {unknown(name, value, known)}{where}{hint}")
            left, so_far = fits, f"{so_far}, {name} {value}".removeprefix(", ")
        return left


_NO_VALID = ("cifar10", "valid")
