"""What only `tables import nb201 --from DIR` can add: 12 epochs, zero-cost proxies and hardware costs.

Their public forms are a pandas pickle and files keyed by another library's encoding, and no URL serves the converted
tables; so each is read where DIR (or its parent) holds it, byte for byte as pinned, and left out where it does not.

Zero-cost proxies
-----------------
13 of them on cifar10 and ImageNet16-120, none on cifar100, for 9,445 cells: those in which every operation other than
`none` lies on a path from the cell's input to its output. The source puts -1e8 where a score came out infinite or NaN
(NASLib, `predictors/zerocost.py`). That is a placeholder and no score, so it is NaN here: epe_nas, jacov, nwot and zen
of cell 1651, which is `none` on every edge. `synflow` is the natural logarithm of the score (same file), 0 for a score
of 0. Columns suite0_* of the file (accuracies) are not read.

Hardware costs
--------------
HW-NAS-Bench on six devices and three data sets for every cell, in the units of its README: milliseconds and
millijoules. The edge TPU has -1 for 4,699 cells, the same on all three data sets; a latency is not negative, so they
are NaN ("never measured").
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables.columns import PROXY, FloatArray, check_column, may_have_holes
from nasbench_sim.tables.nb201_csv import Float64, read_floats, read_rows, read_some_rows
from nasbench_sim.tables.nb201_sources import HARDWARE, PROXIES, TWELVE_EPOCHS, Original
from nasbench_sim.tables.table import Key, Source

PROXY_NAMES = (
    *("epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacov", "l2_norm", "nwot", "params", "plain", "snip"),
    *("synflow", "zen"),
)
LATENCY_DEVICES = ("edgegpu", "raspi4", "edgetpu", "pixel3", "eyeriss", "fpga")
ENERGY_DEVICES = ("edgegpu", "eyeriss", "fpga")
WITH_PROXIES = 9_445  # cells
_NOT_A_SCORE = -1e8  # what the source writes for an infinite score or NaN
_NOT_A_LATENCY = -1.0  # what it writes for an edge TPU that did not run the cell
_CELL = ("index", "arch")
_PREFIX = {"cifar10": "c10", "cifar100": "c100", "ImageNet16-120": "in16"}
_NO_TWELVE = (
    "12-epoch numbers were not imported: `tables import nb201 --from DIR` adds them where DIR has nb201_12ep.csv.gz"
)
_NO_CIFAR100 = "the source computed zero-cost proxies on cifar10 and ImageNet16-120 only, never on cifar100"
_PROXY_NOTE = (
    "zero-cost proxies exist for the 9,445 cells whose every operation lies on a path from input to output; "
    "synflow is the natural logarithm; epe_nas, jacov, nwot and zen of cell 1651 (all none) were not finite"
)
_EDGETPU_NOTE = "latency_ms/edgetpu was not measured for 4,699 cells"


class Extras(NamedTuple):
    """What the optional files add to the table; everything empty, but for `absent`, where there are none."""

    accuracy: dict[Key, Float64]
    metrics: dict[tuple[str, str], FloatArray]
    sources: list[Source]
    notes: list[str]
    absent: dict[str, str]


def read_optional(folder: Path, space: NB201) -> Extras:
    """Whatever of the three files `folder` or its parent holds; raises `TableError` for one with other bytes."""
    costs = read_costs(folder, space)
    twelve = _find(folder, TWELVE_EPOCHS)
    if twelve is None:
        return costs._replace(absent={"12": _NO_TWELVE, **costs.absent})
    accuracy = read_twelve(TWELVE_EPOCHS.read(twelve), space)
    return costs._replace(accuracy=accuracy, sources=[TWELVE_EPOCHS.source(), *costs.sources])


def read_costs(folder: Path, space: NB201) -> Extras:
    """As `read_optional`, the zero-cost proxies and hardware costs alone; `folder` may be a file, then its own."""
    found = Extras({}, {}, [], [], {})
    proxies, hardware = (_find(folder, original) for original in (PROXIES, HARDWARE))
    if proxies is not None:
        found.metrics.update(read_proxies(PROXIES.read(proxies), space))
        found.sources.append(PROXIES.source())
        found.notes.append(_PROXY_NOTE)
        found.absent[f"{PROXY}cifar100"] = _NO_CIFAR100
    if hardware is not None:
        found.metrics.update(read_hardware(HARDWARE.read(hardware), space))
        found.sources.append(HARDWARE.source())
        found.notes.append(_EDGETPU_NOTE)
    return found


def _find(folder: Path, original: Original) -> Path | None:
    return next((f for f in (folder / original.file, folder.parent / original.file) if f.is_file()), None)


def read_twelve(data: bytes, space: NB201) -> dict[Key, Float64]:
    """Accuracies `[A]` after 12 epochs, from the bytes of `TWELVE_EPOCHS`."""
    file = TWELVE_EPOCHS.file
    rows = read_rows(file, gzip.decompress(data).decode(), _CELL, space)  # pinned bytes: no bomb
    out = {}
    for column, keys in {
        "c10v_valid_acc": (("cifar10", "valid"), ("cifar10-valid", "valid")),
        "c10_test_acc": (("cifar10", "test"),),
        "c100_valid_acc": (("cifar100", "valid"),),
        "c100_test_acc": (("cifar100", "test"),),
        "in16_valid_acc": (("ImageNet16-120", "valid"),),
        "in16_test_acc": (("ImageNet16-120", "test"),),
    }.items():
        values = read_floats(file, rows, column)
        for dataset, split in keys:
            out[Key(dataset, split, 12, "mean")] = values
    return out


def read_proxies(data: bytes, space: NB201) -> dict[tuple[str, str], FloatArray]:
    """`proxy/NAME` columns `[A]` from the bytes of `PROXIES`, NaN where not computed or not finite."""
    file = PROXIES.file
    rows, index = read_some_rows(file, gzip.decompress(data).decode(), _CELL, space, count=WITH_PROXIES)
    out: dict[tuple[str, str], Float64] = {}
    for dataset in ("cifar10", "ImageNet16-120"):
        for name in PROXY_NAMES:
            scores = read_floats(file, rows, f"{_PREFIX[dataset]}_{name}")
            column = np.full(space.size, np.nan)
            column[index] = np.where(scores == _NOT_A_SCORE, np.nan, scores)
            out[PROXY + name, dataset] = column
    return _checked(file, out.items(), space)


def read_hardware(data: bytes, space: NB201) -> dict[tuple[str, str], FloatArray]:
    """`latency_ms/DEVICE`, `energy_mj/DEVICE` and `arithmetic_intensity/eyeriss` `[A]` from the bytes of `HARDWARE`."""
    file = HARDWARE.file
    rows = read_rows(file, gzip.decompress(data).decode(), _CELL, space)
    out: dict[tuple[str, str], Float64] = {}
    for dataset, prefix in _PREFIX.items():
        for device in LATENCY_DEVICES:
            values = read_floats(file, rows, f"{prefix}_{device}_latency")
            if device == "edgetpu":
                values[values == _NOT_A_LATENCY] = np.nan
            out[f"latency_ms/{device}", dataset] = values
        for device in ENERGY_DEVICES:
            out[f"energy_mj/{device}", dataset] = read_floats(file, rows, f"{prefix}_{device}_energy")
        intensity = read_floats(file, rows, f"{prefix}_eyeriss_arithmetic_intensity")
        out["arithmetic_intensity/eyeriss", dataset] = intensity
    return _checked(file, out.items(), space)


def _checked(
    file: str, columns: Iterable[tuple[tuple[str, str], Float64]], space: NB201
) -> dict[tuple[str, str], FloatArray]:
    return {
        (name, dataset): check_column(
            values, what=f"{file} {name} ({dataset})", kind=name, size=space.size, holes=may_have_holes(name)
        )
        for (name, dataset), values in columns
    }
