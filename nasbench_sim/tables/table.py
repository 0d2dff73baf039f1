"""A tabulated benchmark in memory: what was measured, under a key that has no defaults.

The key of an accuracy is (dataset, split, epochs, seed). All four must be given; what was not measured raises
`NotMeasured` and says what exists. Nothing is ever filled in from another split, seed or budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, NotMeasured, TableError, unknown
from nasbench_sim.spaces import Space

FloatArray = npt.NDArray[np.float32]
Epochs = int | Literal["unstated"]
Seed = int | Literal["mean", "single", "run0", "run1", "run2"]


class Key(NamedTuple):
    """What an accuracy was measured on: data set, split, training epochs, and which training seed.

    `seed` is one of

    - a training seed (777);
    - `"mean"`: the source's own mean over the training runs that source had (the table's `sources` say which);
    - `"run0"`, `"run1"`, `"run2"`: separate training runs in the order of a source that does not name their seeds;
    - `"single"`: one number of a source that does not say what it is.

    `epochs` is `"unstated"` where the source does not say.
    """

    dataset: str
    split: str
    epochs: Epochs
    seed: Seed

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}/{self.epochs} epochs/seed {self.seed}"


@dataclass(frozen=True)
class Source:
    """Where numbers came from: shown by `tables info`, stored inside the file."""

    name: str  # what it is, e.g. "Zhenhan-Huang/NASGraph-Public data/nasbench201_cifar10.csv"
    url: str = ""
    version: str = ""  # commit or package version
    sha256: str = ""
    licence: str = ""
    citation: str = ""
    gives: str = ""  # which columns it provides


@dataclass(frozen=True)
class Table:
    """A benchmark: accuracies and costs of every architecture of a space, in official index order.

    Attributes
    ----------
    name: `nb201`, `nb201-analog`, or the name given on import.
    space: the search space; `A = space.size` rows.
    accuracy: key -> float32 `[A]` in percent, NaN where that number was never measured.
    metrics: (metric, dataset) -> float32 `[A]`: `params_m` (millions), `flops_m` (millions), `train_time_s`,
        `mean_runs` (how many training runs stand behind seed `"mean"`).
    search_key: the accuracy a search is allowed to see.
    report_keys: role -> key of the accuracy printed for the derived cell (`valid`, `test`).
    sources: provenance, licences, citations.
    remark: one sentence that every output on this table repeats (empty where there is nothing to warn of).
    sha256: of the content (numbers, keys, provenance; `store.content_sha256`): the same wherever it was written.
    extra: JSON-able facts; `extra["absent"]` maps epochs (as text) to why the table does not hold that budget.
    """

    name: str
    space: Space
    accuracy: Mapping[Key, FloatArray]
    metrics: Mapping[tuple[str, str], FloatArray]
    search_key: Key
    report_keys: Mapping[str, Key]
    sources: tuple[Source, ...] = ()
    remark: str = ""
    sha256: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def keys(self) -> list[Key]:
        """Every accuracy key of this table, sorted."""
        return sorted(self.accuracy, key=lambda k: (k.dataset, k.split, str(k.epochs).zfill(9), str(k.seed)))

    def _key(self, dataset: str, split: str, epochs: Epochs, seed: Seed) -> Key:
        key = Key(dataset, split, epochs, seed)
        if key in self.accuracy:
            return key
        have = self.keys()
        levels: tuple[tuple[str, object, Callable[[Key], object]], ...] = (
            ("data set", dataset, lambda k: k.dataset),
            ("split", split, lambda k: k.split),
            ("epochs", epochs, lambda k: k.epochs),
            ("seed", seed, lambda k: k.seed),
        )
        asked: list[str] = []
        for kind, value, part in levels:
            left = [k for k in have if part(k) == value]
            if not left:
                where = f" (for {', '.join(asked)})" if asked else ""
                known = dict.fromkeys(str(part(k)) for k in have)
                if str(value) in known:  # 200 and "200" look alike in a message; say which is meant
                    is_text = isinstance(value, str)
                    hint = f"{kind} must be the {'number' if is_text else 'text'} {value}, got {value!r}"
                    raise NotMeasured(f"table {self.name}: {hint}{where}")
                absent = self.extra.get("absent", {}).get(str(value), "") if kind == "epochs" else ""
                why = f"; {absent}" if absent else ""
                raise NotMeasured(f"table {self.name}: {unknown(kind, value, known)}{where}{why}")
            have = left
            asked.append(f"{kind} {value}")
        raise NotMeasured(f"table {self.name}: {key} was not measured")  # pragma: no cover - levels are exhaustive

    def values(
        self,
        *,
        dataset: str,
        split: str,
        epochs: Epochs,
        seed: Seed,
        missing: Literal["error", "nan"] = "error",
    ) -> FloatArray:
        """Accuracies `[A]` in percent, official index order, read-only.

        Raises `NotMeasured` for an absent key, and for a seed that some architectures were never trained with
        unless `missing="nan"` asks for NaN there.
        """
        key = self._key(dataset, split, epochs, seed)
        out = self.accuracy[key]
        if missing == "error":
            holes = int(np.isnan(out).sum())
            if holes:
                mean = ", or seed='mean'" if seed != "mean" and key._replace(seed="mean") in self.accuracy else ""
                raise NotMeasured(
                    f"table {self.name}: {key} was measured for {len(out) - holes} of {len(out)} architectures; "
                    f"pass missing='nan' to get NaN for the others{mean}"
                )
        return out

    def measured(self, *, dataset: str, split: str, epochs: Epochs, seed: Seed) -> npt.NDArray[np.bool_]:
        """Mask `[A]`: which architectures have this number."""
        return ~np.isnan(self.accuracy[self._key(dataset, split, epochs, seed)])

    def handle(self, *, dataset: str, split: str, epochs: Epochs, seed: Seed) -> Handle:
        """A prepared query: resolves the key once, then answers by string or index in about a microsecond.

        Handles are kept by the table: asking again for the same key costs a dictionary lookup.
        """
        asked = (dataset, split, epochs, seed)
        found = self._handles.get(asked)  # a Key is a tuple and equals its plain tuple
        if found is None:
            key = self._key(*asked)
            found = self._handles[key] = Handle(self, key)
        return found

    def query(self, arch: str | int | npt.ArrayLike, *, dataset: str, split: str, epochs: Epochs, seed: Seed) -> float:
        """Accuracy in percent of one architecture given as string, official index or vector `[D]`.

        `cifar10` `valid` is the published cifar10-valid x-valid number and `cifar10` `test` the published cifar10
        ori-test number: two different training runs. Raises `NotMeasured` or `ArchError`.
        """
        return self.handle(dataset=dataset, split=split, epochs=epochs, seed=seed)(arch)

    def metric(self, name: str, *, dataset: str) -> FloatArray:
        """A cost column `[A]`: `params_m`, `flops_m` or `train_time_s`; raises `NotMeasured` where absent."""
        if (name, dataset) not in self.metrics:
            have = [f"{n} ({d})" for n, d in self.metrics]
            raise NotMeasured(f"table {self.name}: {unknown('metric', f'{name} ({dataset})', have)}")
        return self.metrics[name, dataset]

    def datasets(self) -> list[str]:
        """Data sets with at least one accuracy."""
        return list(dict.fromkeys(k.dataset for k in self.keys()))

    def search_key_for(self, dataset: str) -> Key:
        """The key a search on `dataset` sees: the table's search split, budget and seed on that data set."""
        k = self.search_key
        return self._key(dataset, k.split, k.epochs, k.seed)

    def report_keys_for(self, dataset: str) -> dict[str, Key]:
        """The keys reported for a derived cell on `dataset`, by role (`valid`, `test`)."""
        return {role: self._key(dataset, k.split, k.epochs, k.seed) for role, k in self.report_keys.items()}

    @cached_property
    def _handles(self) -> dict[tuple[str, str, Epochs, Seed], Handle]:
        return {}

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Official index by architecture string."""
        strings = getattr(self.space, "strings", None)
        if strings is None:
            strings = [self.space.format(a) for a in self.space.all]
        return {s: i for i, s in enumerate(strings)}


class Handle:
    """One accuracy column, ready for repeated questions: `handle(arch)` or `handle.gather(indices)`.

    A call answers with the shortest decimal that is the stored float32 (94.36, not 94.36000061035156). `gather` takes
    official indices of any shape and returns float32 of the same shape. What was never measured raises `NotMeasured`
    in both; whether the column has holes at all is found once, so that a full column's gather is a bare `take`.
    """

    __slots__ = ("_floats", "_has_holes", "_index", "_space", "_values", "key", "table_name")

    def __init__(self, table: Table, key: Key) -> None:
        self.key = key
        self.table_name = table.name
        self._values = table.accuracy[key]
        self._floats: list[float] = self._values.astype(str).astype(np.float64).tolist()
        self._index = table.index_of
        self._space = table.space
        self._has_holes = bool(np.isnan(self._values).any())

    def __call__(self, arch: str | int | npt.ArrayLike) -> float:
        i = self._index.get(arch) if isinstance(arch, str) else None
        if i is None:
            # an index in range needs no search space; a negative one must not wrap around
            i = arch if type(arch) is int and 0 <= arch < len(self._floats) else self._space.resolve(arch)
        value = self._floats[i]
        if value != value:
            raise NotMeasured(f"table {self.table_name}: {self.key} was not measured for {arch!r}")
        return value

    def gather(self, indices: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Accuracies at official `indices[...]`, float32 `[...]`; raises `ArchError` for an index outside the space."""
        if indices.dtype.kind not in "iu":
            raise ArchError(f"official indices are integers, not {indices.dtype}")
        if indices.size and (indices.min() < 0 or indices.max() >= len(self._values)):
            raise ArchError(f"an index of {self._space.name} is an integer in 0..{len(self._values) - 1}")
        out = self._values.take(indices, mode="clip")  # in range already; "raise" would copy through a buffer
        if self._has_holes and bool(np.isnan(out).any()):
            raise NotMeasured(f"table {self.table_name}: {self.key} was not measured for every architecture asked")
        return out


#: physical range of each kind of number; a value outside is a damaged file, not a measurement
RANGES: Mapping[str, tuple[float, float]] = {
    "accuracy": (0.0, 100.0),
    "params_m": (0.0, 1e6),
    "flops_m": (0.0, 1e9),
    "train_time_s": (0.0, 1e9),
    "mean_runs": (1.0, 1e3),
}


def check_column(values: npt.ArrayLike, *, what: str, kind: str, size: int, holes: bool = True) -> FloatArray:
    """`values` as a read-only float32 `[size]`, or `TableError` naming the first row that cannot be true.

    `holes=False` refuses NaN. Infinite values and values outside `RANGES[kind]` are always refused.
    """
    out = np.array(values, dtype=np.float32)
    if out.shape != (size,):
        raise TableError(f"{what}: expected {size} rows, got shape {out.shape}")
    low, high = RANGES.get(kind, (-np.inf, np.inf))
    nan = np.isnan(out)
    bad = np.isinf(out) | (~nan & ((out < low) | (out > high)))
    if not holes:
        bad |= nan
    if bad.any():
        row = int(np.argmax(bad))
        raise TableError(f"{what}: row {row} holds {out[row]}, outside {low:g}..{high:g}")
    out.setflags(write=False)
    return out
