"""What predictions have to be: probabilities that sum to 1, labels that are classes, models that are listed once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, SpecError
from nasbench_sim.spaces import Space, get_space

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]

#: how far a row may be from summing to 1: float32 is within 1e-6, three decimals are not
TOLERANCE = 1e-4
UNSTATED = -1  # training seed of a network whose source does not say


@cache
def known_space(name: str) -> Space | None:
    """The search space of this name, or None where the predictions come from a space that is not ours.

    >>> known_space("nb201").D, known_space("digits-mlp")
    (6, None)
    """
    try:
        return get_space(name)
    except SpecError:
        return None


def frozen(x: npt.ArrayLike, dtype: npt.DTypeLike) -> Array:
    """Read-only, contiguous and of this type; copied where the caller could still write to it."""
    array = np.asarray(x)
    with np.errstate(over="ignore"):  # 1e300 becomes infinity, which the check of probabilities names
        out = np.array(array, dtype=dtype, order="C", copy=True if array.flags.writeable else None)
    out.setflags(write=False)
    return out


def check_line(text: object, name: str) -> None:
    """Raise `SpecError` unless `text` is one printable line of 1 to 1,000 characters: it stands in messages."""
    if not isinstance(text, str) or not 0 < len(text) <= 1000 or not text.isprintable():
        raise SpecError(f"{name} of predictions is one line of 1 to 1000 characters, got {str(text)[:80]!r}")


def check_probabilities(x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Read-only float32 `[N, I, C]`; raises `SpecError` that names the first bad model and sample."""
    raw = np.asarray(x)
    if raw.ndim != 3 or raw.dtype.kind not in "fiu" or 0 in raw.shape or raw.shape[2] < 2:
        raise SpecError(f"probabilities are numbers [models, samples, classes >= 2]; got {raw.dtype} {raw.shape}")
    out = frozen(raw, np.float32)
    for n, rows in enumerate(out):
        with np.errstate(invalid="ignore"):
            off = np.abs(rows.sum(axis=1, dtype=np.float64) - 1)
            bad = ~(off <= TOLERANCE) | ~(rows.min(axis=1) >= 0)  # NaN fails both
        if bad.any():
            i = int(bad.argmax())
            what = "holds NaN or infinity" if not np.isfinite(rows[i]).all() else f"sums to {rows[i].sum():.6g}"
            what = f"holds {rows[i].min():.6g}" if rows[i].min() < 0 else what
            raise SpecError(
                f"model {n}, sample {i} {what}: probabilities are >= 0 and sum to 1 (from_logits takes logits)"
            )
    return out


def check_integers(x: npt.ArrayLike, name: str, length: int | None, low: int, high: int | None) -> IntArray:
    """Read-only int64 `[length]` within `low..high`; raises `SpecError` that names the first bad entry."""
    raw = np.asarray(x)
    if raw.dtype.kind not in "iu" or raw.ndim != 1 or not len(raw) or (length is not None and len(raw) != length):
        many = "a list of" if length is None else str(length)
        raise SpecError(f"{name} are {many} integers; got {raw.dtype} of shape {raw.shape}")
    bad = (raw < low) | (raw > (np.iinfo(np.int64).max if high is None else high))
    if bad.any():
        i = int(bad.argmax())
        raise SpecError(f"{name} lie in {low}..{'' if high is None else high}; entry {i} is {raw[i]}")
    return frozen(raw, np.int64)


def check_archs(x: npt.ArrayLike, space: str, length: int | None) -> IntArray:
    """Read-only int64 `[N, D]` of option vectors, or of official indices `[N]` where the space is known.

    Raises `ArchError` for what is not in the space, `SpecError` for another number of models than `length`.
    """
    raw = np.asarray(x)
    known = known_space(space)
    if raw.ndim == 1 and known is not None:
        raw = known.at(raw)
    elif known is not None:
        raw = known.check(raw)
    if raw.dtype.kind not in "iu" or raw.ndim != 2 or 0 in raw.shape or (raw < 0).any():
        raise ArchError(
            f"architectures of {space} are option numbers >= 0 [models, decisions]; got {raw.dtype} {raw.shape}"
        )
    if length is not None and len(raw) != length:
        raise SpecError(f"{len(raw)} architectures for the probabilities of {length} models")
    return frozen(raw, np.int64)


def check_distinct(archs: IntArray, seeds: IntArray) -> None:
    """The same architecture with the same stated seed is one model: listed twice it would count double."""
    seen: dict[bytes, int] = {}
    for row, (arch, seed) in enumerate(zip(archs, seeds, strict=True)):
        if seed == UNSTATED:
            continue
        first = seen.setdefault(arch.tobytes() + seed.tobytes(), row)
        if first != row:
            raise SpecError(
                f"rows {first} and {row} are the same architecture and training seed ({seed}); list it once"
            )
