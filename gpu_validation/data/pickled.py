"""Image batches out of other people's pickles (CIFAR, ImageNet16), through the allow-list reader of nasbench_sim.

Such a file is a dictionary with a uint8 matrix `data[n, pixels]` and a list of labels. NumPy's three names are inert
stand-ins here: nothing but such a matrix, numbers and strings can be made. `_codecs.encode` is how Python 3 writes
bytes into a protocol-2 pickle: it turns latin-1 text into bytes, and only that.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import TableError
from nasbench_sim.tables.unpickle import Allowed, Record, read_pickle

MAX_ROWS = 1_300_000  # images of ImageNet


class _NDArray(Record):
    """Stand-in for the class `numpy.ndarray` as an argument of `_reconstruct`; never built."""

    __slots__ = ()


class _UInt8(Record):
    """Stand-in for a pickled uint8 or float64 `numpy.dtype`."""

    __slots__ = ("kind",)
    kind: str

    def __setstate__(self, state: object) -> None:
        plain = (
            type(state) is tuple and len(state) == 8 and state[0] == 3 and state[2:] == (None, None, None, -1, -1, 0)
        )
        if not plain or _text(state[1]) not in ("|", "<"):  # type: ignore[index]
            raise pickle.UnpicklingError("only the plain uint8 and little-endian float64 dtypes are accepted")


class _Matrix(Record):
    """Stand-in for a pickled `numpy.ndarray`: uint8 of one or two dimensions; float64 (means) is read and dropped."""

    __slots__ = ("values",)
    values: npt.NDArray[np.uint8] | None

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise pickle.UnpicklingError("an array is built from (version, shape, dtype, order, bytes)")
        version, shape, dtype, fortran, raw = state
        plain = version == 1 and type(fortran) is bool and not fortran
        if not plain or type(shape) is not tuple or type(dtype) is not _UInt8:
            raise pickle.UnpicklingError("only plain arrays, row by row, are accepted")
        if len(shape) not in (1, 2) or not all(type(n) is int and 0 <= n <= MAX_ROWS for n in shape):
            raise pickle.UnpicklingError("only arrays of one or two dimensions are accepted")
        size = int(np.prod(shape, dtype=object)) * (1 if dtype.kind == "u1" else 8)
        if type(raw) is not bytes or len(raw) != size:
            raise pickle.UnpicklingError(f"an array of shape {shape} needs {size} bytes")
        self.values = np.frombuffer(raw, dtype=np.uint8).reshape(shape) if dtype.kind == "u1" else None


def _text(value: object) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _dtype(*args: object) -> _UInt8:
    if len(args) != 3 or _text(args[0]) not in ("u1", "f8") or args[1] not in (0, False) or args[2] not in (1, True):
        raise pickle.UnpicklingError(f"the dtype {args[:1]!r} is neither uint8 nor float64")
    out = _UInt8()
    out.kind = _text(args[0])
    return out


def _reconstruct(*args: object) -> _Matrix:
    if len(args) != 3 or args[0] is not _NDArray or args[1] != (0,) or _text(args[2]) != "b":
        raise pickle.UnpicklingError("an array is not reconstructed the plain way")
    return _Matrix()


def _encode(*args: object) -> bytes:
    if len(args) != 2 or type(args[0]) is not str or _text(args[1]) != "latin1":
        raise pickle.UnpicklingError("only latin-1 text is turned into bytes")
    return args[0].encode("latin1")


#: the globals that these files need
IMAGES: Allowed = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


def read_images(
    data: bytes, *, what: str, cap: int, pixels: int, labels: str, highest: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images uint8 `[n, pixels]` and labels int64 `[n]` of one pickled batch; `labels` is the key of the labels.

    Raises `TableError`, one line that names `what`, for anything that is not exactly such a batch.
    """
    content = read_pickle(data, what=what, cap=cap, allowed=IMAGES, python2=True)
    if type(content) is not dict:
        raise TableError(f"{what}: not a dictionary of images and labels; get the original file again")
    named = {_text(key): value for key, value in content.items()}
    matrix: Any = named.get("data")
    images = matrix.values if isinstance(matrix, _Matrix) and hasattr(matrix, "values") else None
    numbers = named.get(labels)
    if isinstance(numbers, _Matrix) and hasattr(numbers, "values") and numbers.values is not None:
        numbers = numbers.values.tolist()
    if images is None or images.ndim != 2 or images.shape[1] != pixels or type(numbers) is not list:
        raise TableError(f"{what}: it should hold `data` of n x {pixels} bytes and a list `{labels}`")
    if len(numbers) != len(images) or not all(type(y) is int and 0 <= y <= highest for y in numbers):
        raise TableError(f"{what}: `{labels}` should be {len(images)} numbers from 0 to {highest}")
    return images, np.array(numbers, dtype=np.int64)
