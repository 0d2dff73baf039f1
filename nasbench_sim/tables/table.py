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

from nasbench_sim.errors import ArchError, NotMeasured, unknown
from nasbench_sim.spaces import Space
from nasbench_sim.tables.columns import PROXY, RANGES, FloatArray, check_column
from nasbench_sim.tables.shipped import shipped

__all__ = ["RANGES", "Epochs", "FloatArray", "Handle", "Key", "Seed", "Source", "Table", "check_column"]

Epochs = int | Literal["unstated"]
Seed = int | Literal["mean", "single", "run0", "run1", "run2", "completed"]


_GET_PROXIES = (
    "`tables import nb201 --from DIR` adds the published ones where DIR has nb201_zero_cost_proxies.csv.gz, "
    "and `tables import NAME --csv FILE --metric COLUMN=proxy/PROXY/DATASET` takes your own"
)


class Key(NamedTuple):
    """What an accuracy was measured on: data set, split, training epochs, and which training seed.

    `seed` is one of

    - a training seed (777);
    - `"mean"`: the source's own mean over the training runs that source had (the table's `sources` say which);
    - `"run0"`, `"run1"`, `"run2"`: separate training runs in the order of a source that does not name their seeds;
    - `"single"`: one number of a source that does not say what it is;
    - `"completed"`: the mean where it was measured and a prediction elsewhere, only in tables that `complete` made.

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
    metrics: (metric, dataset) -> float32 `[A]`: `params_m` (millions), `flops_m` (millions), `train_time_s`
        (of the search key's epochs), `mean_runs` (how many training runs stand behind seed `"mean"`); `proxy/NAME`,
        `latency_ms/DEVICE`, `energy_mj/DEVICE` and `arithmetic_intensity/DEVICE`, NaN where never computed or measured
        (see `columns`).
    search_key: the accuracy a search is allowed to see.
    report_keys: role -> key of the accuracy printed for the derived cell (`valid`, `test`).
    sources: provenance, licences, citations.
    remark: one sentence that every output on this table repeats (empty where there is nothing to warn of).
    sha256: of the content (numbers, keys, provenance; `store.content_sha256`): the same wherever it was written.
    extra: JSON-able facts; `extra["absent"]` says why the table does not hold something: by epochs (as text), or by
        `proxy/DATASET`.
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
                    f"pass missing='nan' to get NaN for the others{mean}{self.remedy}"
                )
        return out

    def measured(self, *, dataset: str, split: str, epochs: Epochs, seed: Seed) -> npt.NDArray[np.bool_]:
        """Mask `[A]`: which architectures have this number measured; of a completed column those not predicted."""
        key = self._key(dataset, split, epochs, seed)
        return ~np.isnan(self.accuracy[key._replace(seed="mean") if seed == "completed" else key])

    @property
    def partial(self) -> bool:
        """Whether there are architectures that the search key was never measured for."""
        return bool(np.isnan(self.accuracy[self.search_key]).any())

    @property
    def remedy(self) -> str:
        """End of a message that refuses a partial table: what to do about it; empty for a table that is none."""
        if not self.partial:
            return ""
        return f"; or search the table that `nasbench-sim tables complete {self.name}` makes, flagged as predicted"

    def complete(self, how: str) -> Table:
        """A separate table without holes, whose unmeasured architectures are predicted: `how` is `"regressor"`.

        It is called `NAME+regressor` and carries a remark that every output repeats. Measured columns stay as they are;
        completed ones are added under seed `"completed"`, and only these are searched and reported. Raises `SpecError`
        for another `how`, and `TableError` for a table without holes or with too few measurements (see `partial`).
        """
        from nasbench_sim.tables.partial import complete  # it is built on tables

        return complete(self, how)

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

    def metric(self, name: str, *, dataset: str, missing: Literal["error", "nan"] = "error") -> FloatArray:
        """A cost column `[A]` by name (`params_m`, `train_time_s`, `latency_ms/edgegpu`; units in the name), read-only.

        Raises `NotMeasured` where absent, and for a column with holes unless `missing="nan"` asks for NaN there.

        >>> from nasbench_sim.tables import open_table
        >>> print(open_table("nb201-analog").metric("params_m", dataset="cifar10").max())
        1.531546
        """
        out = self.metrics.get((name, dataset))
        if out is None:
            where = list(dict.fromkeys(d for _, d in self.metrics))
            if dataset not in where:
                raise NotMeasured(f"table {self.name}: {unknown('data set', dataset, where)} (for metrics)")
            have = [n for n, d in self.metrics if d == dataset]
            raise NotMeasured(f"table {self.name}: {unknown('metric', name, have)} (for data set {dataset})")
        holes = int(np.isnan(out).sum())
        if holes and missing == "error":
            raise NotMeasured(
                f"table {self.name}: {name} ({dataset}) exists for {len(out) - holes} of {len(out)} architectures; "
                f"pass missing='nan' to get NaN for the others{self.remedy}"
            )
        return out

    def proxies(self, dataset: str) -> list[str]:
        """Names of the zero-cost proxies computed on a data set, sorted: the table's own, and those that are shipped.

        >>> from nasbench_sim.tables import open_table
        >>> open_table("nb201-analog").proxies("cifar10")
        ['synflow-mean']
        """
        return sorted(name for name, where in self._proxies if where == dataset)

    def proxy(self, name: str, *, dataset: str) -> FloatArray:
        """A zero-cost proxy `[A]` as its source computed it (unitless), NaN where it was not computed; read-only.

        The project's own SynFlow (`tables.shipped`) is there on every table of NAS-Bench-201, on the data sets that the
        table knows. Raises `NotMeasured` naming the proxies of that data set, or the data sets that have any.
        """
        out = self._proxies.get((name, dataset))
        if out is not None:
            return out
        where = list(dict.fromkeys(d for _, d in self._proxies))
        if not where:
            raise NotMeasured(f"table {self.name} has no zero-cost proxies; {_GET_PROXIES}")
        absent = self.extra.get("absent", {}).get(PROXY + dataset, "")
        if not absent and not any(n.startswith(PROXY) for n, _ in self.metrics):
            absent = _GET_PROXIES  # nothing but what is shipped
        why = f"; {absent}" if absent else ""
        if dataset not in where:
            raise NotMeasured(f"table {self.name}: {unknown('data set', dataset, where)} (for proxies){why}")
        have = unknown("proxy", name, self.proxies(dataset))
        raise NotMeasured(f"table {self.name}: {have} (for data set {dataset}){why}")

    @cached_property
    def _proxies(self) -> dict[tuple[str, str], FloatArray]:
        """All proxies by (name, data set): shipped ones, then the table's own, which go before them."""
        known = {key.dataset for key in self.accuracy}
        own = {(n.removeprefix(PROXY), d): column for (n, d), column in self.metrics.items() if n.startswith(PROXY)}
        return {**{at: c for at, c in shipped(self.space.name).items() if at[1] in known}, **own}

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


_PREPARED = 100_000


class Handle:
    """One accuracy column, ready for repeated questions: `handle(arch)` or `handle.gather(indices)`.

    A call answers with the shortest decimal that is the stored float32 (94.36, not 94.36000061035156). `gather` takes
    official indices of any shape and returns float32 of the same shape. What was never measured raises `NotMeasured`
    in both; whether the column has holes at all is found once, so that a full column's gather is a bare `take`.

    Answers and strings of a space are worked out beforehand up to `_PREPARED` architectures, so that a call takes under
    a microsecond (tests/benchmarks/test_tables_bench.py); in larger spaces (nb1shot1-3 has 1,312,200) each call works
    out its own.
    """

    __slots__ = ("_floats", "_has_holes", "_index", "_space", "_values", "key", "table_name")

    def __init__(self, table: Table, key: Key) -> None:
        self.key = key
        self.table_name = table.name
        self._values = table.accuracy[key]
        small = len(self._values) <= _PREPARED
        self._floats: list[float] = self._values.astype(str).astype(np.float64).tolist() if small else []
        self._index = table.index_of if small else {}
        self._space = table.space
        self._has_holes = bool(np.isnan(self._values).any())

    def __call__(self, arch: str | int | npt.ArrayLike) -> float:
        i = self._index.get(arch) if isinstance(arch, str) else None
        if i is None:
            # an index in range needs no search space; a negative one must not wrap around
            i = arch if type(arch) is int and 0 <= arch < len(self._floats) else self._space.resolve(arch)
        value = self._floats[i] if self._floats else float(str(self._values[i]))
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
