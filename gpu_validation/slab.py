"""Rows of numbers on a device, one row a seed, with the few manners of an array that a run's state needs.

A run slices, copies and replaces rows of its state (`nasbench_sim.searchers.base.rows`, `replace`, `concatenate`) and
writes it to disk. The weights of a supernet stay where they are trained: a slab is such an array over a torch tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Slab:
    """A tensor `[S, n]` that can be sliced by row, copied, and turned into a NumPy array.

    >>> slab = Slab(torch.arange(6.0).reshape(3, 2))
    >>> slab[np.array([2, 0])].tensor.tolist(), slab[:1].shape, len(slab)
    ([[4.0, 5.0], [0.0, 1.0]], (1, 2), 3)
    >>> other = slab.copy()
    >>> other[np.array([1])] = slab[:1]
    >>> np.asarray(other)[1].tolist(), np.asarray(slab)[1].tolist()
    ([0.0, 1.0], [2.0, 3.0])
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and numbers a row."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the NumPy array it would be."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: Any) -> Slab:
        return Slab(self.tensor[_index(index)])

    def __setitem__(self, index: Any, value: Slab) -> None:
        self.tensor[_index(index)] = value.tensor

    def copy(self) -> Slab:
        """An equal slab that shares no memory with this one."""
        return Slab(self.tensor.clone())

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        out = self.tensor.detach().cpu().numpy()
        out = out.copy() if copy else out
        return out if dtype is None else out.astype(dtype)


def _index(index: Any) -> Any:
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index
