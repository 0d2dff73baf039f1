"""What a column of a table may hold: the kinds of numbers, their physical ranges, and which of them may have holes.

A kind is `accuracy` or the name of a metric. Five families of metrics have names of two parts:

    proxy/NAME                  zero-cost proxy (`proxy/synflow`); only its order counts, higher is meant to be better
    latency_ms/DEVICE           milliseconds for one inference
    energy_mj/DEVICE            millijoules for one inference
    arithmetic_intensity/DEVICE as its source gives it
    loss_nats/SPLIT/EPOCHS/SEED mean cross-entropy of the networks whose accuracy has that key

They come from other laboratories than the accuracies and need not cover every architecture: NaN is "never computed" or
"never measured". Costs of training (`params_m`, `flops_m`, `train_time_s`, `mean_runs`) never have holes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError

FloatArray = npt.NDArray[np.float32]
PROXY = "proxy/"

#: physical range of each kind of number; a value outside is a damaged file, not a measurement. A name that ends in a
#: slash is a family. Proxies end where float32 still has room to keep neighbours apart (see `in_order`).
RANGES: Mapping[str, tuple[float, float]] = {
    "accuracy": (0.0, 100.0),
    "params_m": (0.0, 1e6),
    "flops_m": (0.0, 1e9),
    "train_time_s": (0.0, 1e9),
    "mean_runs": (1.0, 1e3),
    PROXY: (-1e38, 1e38),
    "latency_ms/": (0.0, 1e9),
    "energy_mj/": (0.0, 1e9),
    "arithmetic_intensity/": (0.0, 1e9),
    "loss_nats/": (0.0, 1e9),
}


def family(kind: str) -> str:
    """The entry of `RANGES` that a kind belongs to: itself, or what stands up to its slash.

    >>> family("latency_ms/edgegpu"), family("params_m")
    ('latency_ms/', 'params_m')
    """
    return kind[: kind.find("/") + 1] or kind


def may_have_holes(kind: str) -> bool:
    """Whether NaN ("never measured") may stand in a column of this kind: accuracies and the families.

    >>> may_have_holes("proxy/synflow"), may_have_holes("params_m")
    (True, False)
    """
    return kind == "accuracy" or "/" in kind


def check_column(values: npt.ArrayLike, *, what: str, kind: str, size: int, holes: bool = True) -> FloatArray:
    """`values` as a read-only float32 `[size]`, or `TableError` naming the first row that cannot be true.

    `holes=False` refuses NaN. Infinite values and values outside the kind's range are always refused. A proxy keeps the
    order of wider values exactly (`in_order`); everything else is rounded.

    >>> check_column([90.5, 91.25], what="valid", kind="accuracy", size=2).tolist()
    [90.5, 91.25]
    """
    wide = np.asarray(values)
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite and is refused below
        out = np.array(wide, dtype=np.float32)
    if out.shape != (size,):
        raise TableError(f"{what}: expected {size} rows, got shape {out.shape}")
    low, high = RANGES.get(family(kind), (-np.inf, np.inf))
    nan = np.isnan(out)
    bad = np.isinf(out) | (~nan & ((out < low) | (out > high)))
    if not holes:
        bad |= nan
    if bad.any():
        row = int(np.argmax(bad))
        hint = "; only its order counts, so give its logarithm" if kind.startswith(PROXY) else ""
        raise TableError(f"{what}: row {row} holds {wide[row]}, outside {low:g}..{high:g}{hint}")
    if kind.startswith(PROXY):
        out = in_order(wide)
    out.setflags(write=False)
    return out


def in_order(values: npt.NDArray[np.generic]) -> FloatArray:
    """`values[n]` as float32 in which what differed still differs, in the same order; NaN stay NaN.

    A proxy is computed in float64 and used for its ranking alone, and rounding would tie 255 of 245,562 computed scores
    of NAS-Bench-201 (of NASWOT, jacov and SynFlow above all) with a neighbour. Where rounding ties two, the larger one
    moves to the next float32: one step (1e-7 relative), k - 1 for k tied together.

    >>> one = np.array([1.0, 1.0 + 1e-12, 2.0, 1.0])
    >>> in_order(one).tolist()
    [1.0, 1.0000001192092896, 2.0, 1.0]
    """
    distinct, where = np.unique(values, return_inverse=True)  # sorted, all NaN as one at the end
    out = distinct.astype(np.float32)
    while (tied := np.flatnonzero(out[1:] <= out[:-1])).size:
        out[tied + 1] = np.nextafter(out[tied], np.float32(np.inf))
    return np.asarray(out[where], dtype=np.float32)
