"""Matrix products whose columns are rounded alike wherever they stand, on the BLAS at hand.

BLAS kernels may round the columns at the ends of a call differently from those in between. OpenBLAS's float32 kernel
for Haswell does: in a call of 24 columns or more the first 8 and the last 8 differ from the rest, which are all alike;
its AVX-512 and float64 kernels treat all columns alike. So equal columns are fed in, and what comes out unequal is kept
out of use: by a margin of unused columns at both ends, or, where no margin helps, by calls of a few columns each.

Value and gradient of a seed on NB201 take 0.99 us with a margin of 8 and 1.36 us in blocks of 16 columns
(tests/benchmarks/test_parts_bench.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

Array = npt.NDArray[Any]

STEP = 16  # used columns come in multiples of this: a whole number of vector registers
_SIZES = (1, 2, 3, 4, 8, 16, 17)  # used columns tried, in steps: up to a full chunk and beyond


class Plan(NamedTuple):
    """`margin` unused columns at either end of one call; or, with `block` > 0, calls of `block` columns each."""

    margin: int
    block: int

    def width(self, used: int) -> int:
        """Columns to allocate for `used` ones."""
        step = self.block or STEP
        return -(-used // step) * step + 2 * self.margin

    def product(self, matrix: Array, columns: Array, out: Array) -> None:
        """`out = matrix @ columns` by this plan; both with `width(used)` columns."""
        if self.block:
            # one matmul over strided views is one BLAS call a block without a Python call each
            np.matmul(matrix, _blocks(columns, self.block), out=_blocks(out, self.block))
        else:
            np.matmul(matrix, columns, out=out)


def make_plan(shapes: tuple[tuple[int, int], ...], dtype: str) -> Plan:
    """The fastest plan that rounds all used columns alike for matrices of these shapes, with the BLAS threads of now.

    >>> plan = make_plan(((125, 125),), "float64")
    >>> plan.width(100) % (plan.block or STEP) == 2 * plan.margin % (plan.block or STEP)
    True
    """
    threads = max((info["num_threads"] for info in threadpool_info()), default=1)
    return _plan(shapes, dtype, threads)


@lru_cache(maxsize=64)
def _plan(shapes: tuple[tuple[int, int], ...], dtype: str, threads: int) -> Plan:
    plans = [Plan(margin, 0) for margin in (0, 8, 16, 32)] + [Plan(0, block) for block in (64, 32, 16, 8)]
    return next((plan for plan in plans if all(_alike(plan, shape, dtype) for shape in shapes)), Plan(0, 1))


def _alike(plan: Plan, shape: tuple[int, int], dtype: str) -> bool:
    """Whether equal columns come out equal at every used place, in calls of every size."""
    random = np.random.Generator(np.random.Philox(0))
    matrix = random.random(shape).astype(dtype)
    for _ in range(4):
        column = random.random((shape[1], 1)).astype(dtype)
        first: Array | None = None
        for size in _SIZES:
            width = plan.width(size * STEP)
            out = np.empty((shape[0], width), dtype=dtype)
            plan.product(matrix, column.repeat(width, axis=1), out)
            used = out[:, plan.margin : width - plan.margin]
            first = used[:, :1] if first is None else first
            if not (used == first).all():
                return False
    return True


def _blocks(x: Array, width: int) -> Array:
    """A view `[n / width, rows, width]` of the columns of `x[rows, n]`."""
    return x.reshape(len(x), -1, width).transpose(1, 0, 2)
