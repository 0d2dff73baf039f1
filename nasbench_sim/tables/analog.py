"""`nb201-analog`: a complete NAS-Bench-201 accuracy column that needs no download, from the package analog-nasbench.

That package (0.1.3, on PyPI) ships one pickle with a digital full-precision accuracy on CIFAR-10 for every cell. The
source does not state the split, the number of epochs or the seed of it, so neither do we: the key is
`cifar10/baseline/unstated epochs/seed single`, and it is both what a search sees and what is reported.
"""

from __future__ import annotations

import importlib.metadata
import math
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from nasbench_sim.errors import TableError
from nasbench_sim.spaces.nb201 import NB201
from nasbench_sim.tables.columns import check_column
from nasbench_sim.tables.manifest import cached_space, stamped
from nasbench_sim.tables.nb201_costs import costs
from nasbench_sim.tables.table import Key, Source, Table
from nasbench_sim.tables.unpickle import Record, read_pickle

NAME = "nb201-analog"
KEY = Key("cifar10", "baseline", "unstated", "single")
REMARK = "nb201-analog has one accuracy column: search and report use the same numbers, so results on it are in-sample."
_PACKAGE, _VERSION = "analog-nasbench", "0.1.3"
_FILE = "analognasbench/data.anb"
_SIZE = 5_610_467
_SHA256 = "85f3435b877aa2d36268d55ce07f6ff6d73643d17a840f1941745da5eb80db32"
_MEND = f"reinstall it with `pip install --force-reinstall {_PACKAGE}=={_VERSION}`"

# The package's own order of operations and edges, by name (worked out from the data: the rank correlation with the
# NAS-Bench-201 test accuracy is 0.991 under this mapping, and the all-skip and best cells are where they should be).
_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_EDGES = ("0-1", "0-2", "0-3", "1-2", "1-3", "2-3")

_DRIFTS = frozenset(
    f"{kind}_drift_{seconds}" for kind in ("baseline", "analog") for seconds in (60, 3600, 86400, 2592000)
)


class _Drift(Record):
    """Stand-in for `analognasbench.data.DriftMeasurement`; not used further."""

    __slots__ = ()
    fields = frozenset({"value", "uncertainty"})


class _Architecture(Record):
    """Stand-in for `analognasbench.data.Architecture`."""

    __slots__ = ()
    fields = _DRIFTS | {
        "architecture",
        "baseline_accuracy",
        "ptq_accuracy",
        "qat_accuracy",
        "noisy_accuracy",
        "analog_accuracy",
    }


@lru_cache(maxsize=1)
def load_analog() -> Table:
    """The table, read from the installed package without importing it; kept for the life of the process.

    Raises `TableError` where the package is absent, of another version, or its file is not the pinned one.

    >>> table = load_analog()
    >>> table.query(1835, dataset="cifar10", split="baseline", epochs="unstated", seed="single")
    60.7836
    """
    return _build(_pinned_bytes(_locate()))


def _locate() -> Path:
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise TableError(f"the package {_PACKAGE} is not installed; {_MEND}") from error
    if package.version != _VERSION:
        raise TableError(f"{_PACKAGE} is version {package.version}, but {NAME} is made from {_VERSION}; {_MEND}")
    return Path(str(package.locate_file(_FILE)))


def _pinned_bytes(path: Path) -> bytes:
    """The bytes of data.anb, once they are the ones of version 0.1.3."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE + 1)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); {_MEND}") from error
    if len(data) != _SIZE or sha256(data).hexdigest() != _SHA256:
        raise TableError(f"{path} is not the file of {_PACKAGE} {_VERSION}: its size or sha256 differs; {_MEND}")
    return data


def _build(data: bytes) -> Table:
    allowed = {
        ("analognasbench.data", "Architecture"): _Architecture,
        ("analognasbench.data", "DriftMeasurement"): _Drift,
    }
    space = cached_space("nb201")
    assert isinstance(space, NB201)
    rows: Any = read_pickle(data, what=_FILE, cap=_SIZE, allowed=allowed)
    if type(rows) is not dict or not all(isinstance(r, _Architecture) for r in rows.values()):
        raise TableError(f"{_FILE}: not a dictionary of architecture records; {_MEND}")
    theirs = np.array(list(rows), dtype=np.int64)
    index = space.index(space.convert(theirs, ops=_OPS, edges=_EDGES))
    if sorted(index.tolist()) != list(range(space.size)):
        raise TableError(f"{_FILE}: does not hold each of the {space.size} cells once; {_MEND}")
    accuracy = np.full(space.size, math.nan)
    accuracy[index] = [r.state["baseline_accuracy"] for r in rows.values()]
    table = Table(
        name=NAME,
        space=space,
        accuracy={
            KEY: check_column(
                accuracy, what=f"{_FILE} baseline_accuracy", kind="accuracy", size=space.size, holes=False
            )
        },
        metrics={(name, "cifar10"): column for name, column in costs(space, "cifar10").items()},
        search_key=KEY,
        report_keys={"accuracy": KEY},
        sources=(
            Source(
                name=f"PyPI {_PACKAGE} {_VERSION}, {_FILE}",
                url=f"https://pypi.org/project/{_PACKAGE}/{_VERSION}/",
                version=_VERSION,
                sha256=_SHA256,
                licence="none stated in the package's metadata; read from your own installation, never redistributed",
                gives="accuracy cifar10/baseline: digital full-precision accuracy; split, epochs and seed not stated",
            ),
            Source(
                name="NAS-Bench-201 network definition",
                url="https://arxiv.org/abs/2001.00326",
                citation="Dong and Yang, NAS-Bench-201, ICLR 2020",
                gives="params_m and flops_m, by formula",
            ),
        ),
        remark=REMARK,
    )
    return stamped(table)
