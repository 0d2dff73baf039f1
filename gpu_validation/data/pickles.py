"""Pickled batches of images, as CIFAR and ImageNet16 are published, read by an allow-list and without running them.

A batch is a dict of a uint8 array `[n, pixels]`, a list of class numbers and things not needed here. CIFAR's were
written by Python 2, whose texts are byte strings; ImageNet16's by Python 3, some with a float64 array of the mean.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.tables.unpickle import Allowed, Record, read_pickle

_TYPES = {"u1": ("|", 1), "f8": ("<", 8)}


class _Type(Record):
    """Stand-in for a pickled `numpy.dtype`: uint8 or little-endian float64."""

    __slots__ = ("code",)
    code: str

    def __setstate__(self, state: object) -> None:
        order = _TYPES[self.code][0]
        if type(state) is not tuple or len(state) != 8 or _text(state[1]) != order:
            raise pickle.UnpicklingError(f"only the plain dtype {order}{self.code} is accepted")
        if (state[0], *state[2:]) != (3, None, None, None, -1, -1, 0):
            raise pickle.UnpicklingError("only plain dtypes are accepted")


class _Array(Record):
    """Stand-in for a pickled `numpy.ndarray`: a view of the bytes that are in the file."""

    __slots__ = ("values",)
    values: npt.NDArray[Any]

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise pickle.UnpicklingError("an array is built from (version, shape, dtype, order, bytes)")
        version, shape, kind, fortran, raw = state
        if version != 1 or type(fortran) is not bool or type(kind) is not _Type or type(raw) is not bytes:
            raise pickle.UnpicklingError("only plain uint8 and float64 arrays are accepted")
        if type(shape) is not tuple or len(shape) not in (1, 2) or any(type(n) is not int or n < 0 for n in shape):
            raise pickle.UnpicklingError("only arrays of one or two dimensions are accepted")
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if count * _TYPES[kind.code][1] != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} does not have {len(raw)} bytes")
        order = _TYPES[kind.code][0]
        self.values = np.frombuffer(raw, dtype=order + kind.code).reshape(shape, order="F" if fortran else "C")


class _Class(Record):
    """Stand-in for the class `numpy.ndarray` as an argument of `_reconstruct`; never built."""

    __slots__ = ()


def _text(value: object) -> object:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _dtype(*args: object) -> _Type:
    code = _text(args[0]) if len(args) == 3 and args[1:] == (0, 1) else None
    if not isinstance(code, str) or code not in _TYPES:
        raise pickle.UnpicklingError(f"the dtype {args[:1]!r} is neither uint8 nor float64")
    made = _Type()
    made.code = code
    return made


def _reconstruct(*args: object) -> _Array:
    if len(args) != 3 or args[:2] != (_Class, (0,)) or _text(args[2]) != "b":
        raise pickle.UnpicklingError("an array is not reconstructed the plain way")
    return _Array()


ARRAYS: Allowed = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Class,
    ("numpy", "dtype"): _dtype,
}


def read_batch(
    content: bytes, what: str, *, labels: str, pixels: int, classes: range
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images uint8 `[n, pixels]` and their class numbers `[n]` under the key `labels`.

    Raises `TableError` for a pickle that asks for anything but arrays, and for one that is no such batch.
    """
    document = read_pickle(content, what=what, cap=len(content), allowed=ARRAYS, python2=True)
    if type(document) is not dict:
        raise TableError(f"{what}: holds a {type(document).__name__}, not a batch of images; fetch it again")
    held = {_text(key): value for key, value in document.items()}
    data, numbers = held.get("data"), held.get(labels)
    images = data.values if isinstance(data, _Array) and hasattr(data, "values") else None
    if images is None or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != pixels:
        raise TableError(f"{what}: has no images uint8 [n, {pixels}] under 'data'; fetch it again")
    if type(numbers) is not list or len(numbers) != len(images) or any(type(n) is not int for n in numbers):
        raise TableError(f"{what}: has no {len(images)} class numbers under {labels!r}; fetch it again")
    if len(numbers) and not (classes.start <= min(numbers) and max(numbers) < classes.stop):
        raise TableError(f"{what}: class numbers are {classes.start} to {classes.stop - 1}, it has others")
    return images, np.array(numbers, dtype=np.int64)
