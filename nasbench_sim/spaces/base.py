"""A search space is a product of categorical decisions; an architecture is one option index a decision.

Notation used everywhere: `D` decisions, `K` options (the most any decision has), `A` architectures, `S` seeds.
An architecture is `arch[..., D]` (integers); its *code* is the mixed-radix number of that vector, first decision
most significant, so that an array over all codes reshapes to `[K_0, ..., K_{D-1}]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Space:
    """A product of `D` named decisions with `K_d` named options each.

    Subclasses add the string form (`parse`, `format`), the benchmark's own index order (`order`) and, where cells
    can be the same function, `canonical`. Sizes stay at the product of the option counts: no isomorphism is merged.

    Parameters
    ----------
    name: name of the space, e.g. `nb201`.
    decisions: one name a decision.
    options: for each decision the names of its options.
    parametric: option names that carry trainable weights (used by the weight-sharing model).
    none: option name that removes the connection, or None where the space has no such option.
    skip: option name that is the identity, or None.
    """

    def __init__(
        self,
        name: str,
        decisions: Sequence[str],
        options: Sequence[Sequence[str]],
        *,
        parametric: Sequence[str] = (),
        none: str | None = None,
        skip: str | None = None,
    ) -> None:
        if len(decisions) != len(options) or not decisions:
            raise ValueError("a space needs one list of options for each decision")
        self.name = name
        self.decisions = tuple(decisions)
        self.options = tuple(tuple(o) for o in options)
        self.counts = np.array([len(o) for o in self.options], dtype=np.int64)
        self.D = len(self.decisions)
        self.K = int(self.counts.max())
        self.size = int(np.prod(self.counts))
        self.mask: BoolArray = np.arange(self.K) < self.counts[:, None]
        self.parametric: BoolArray = self._where(parametric)
        self.none: BoolArray = self._where([none] if none else [])
        self.skip: BoolArray = self._where([skip] if skip else [])

    def _where(self, names: Sequence[str]) -> BoolArray:
        out = np.zeros((self.D, self.K), dtype=np.bool_)
        for d, opts in enumerate(self.options):
            for k, option in enumerate(opts):
                out[d, k] = option in names
        return out

    @cached_property
    def radix(self) -> IntArray:
        """Weights `[D]` with `code = arch @ radix`."""
        return np.concatenate([np.cumprod(self.counts[::-1])[::-1][1:], [1]]).astype(np.int64)

    @cached_property
    def order(self) -> IntArray:
        """Codes `[A]` in the benchmark's official index order: `order[index] = code`. Default: the radix order."""
        return np.arange(self.size, dtype=np.int64)

    @cached_property
    def rank(self) -> IntArray:
        """Inverse of `order`: `rank[code] = official index`."""
        out = np.empty_like(self.order)
        out[self.order] = np.arange(self.size)
        return out

    def check(self, archs: npt.ArrayLike) -> IntArray:
        """Return `archs[..., D]` as integers, or raise `ArchError` naming the first bad entry."""
        a = np.asarray(archs)
        if a.dtype.kind not in "iu":
            raise ArchError(f"an architecture of {self.name} is {self.D} integers, not {a.dtype}")
        if a.ndim == 0 or a.shape[-1] != self.D:
            raise ArchError(f"an architecture of {self.name} has {self.D} decisions, got an array of shape {a.shape}")
        bad = np.argwhere((a < 0) | (a >= self.counts))
        if len(bad):
            where, d = tuple(bad[0]), int(bad[0][-1])
            raise ArchError(
                f"option {int(a[where])} at decision {d} ({self.decisions[d]}) is outside 0..{self.counts[d] - 1} "
                f"({', '.join(self.options[d])})"
            )
        return a.astype(np.int64)

    def code(self, archs: npt.ArrayLike) -> IntArray:
        """Mixed-radix code of `archs[..., D]`, shape `[...]`."""
        return np.asarray(self.check(archs) @ self.radix)

    def arch(self, codes: npt.ArrayLike) -> IntArray:
        """Architecture `[..., D]` of mixed-radix `codes[...]`; raises `ArchError` outside `0..size-1`."""
        c = np.asarray(codes)
        if c.dtype.kind not in "iu" or np.any(c < 0) or np.any(c >= self.size):
            raise ArchError(f"a code of {self.name} is an integer in 0..{self.size - 1}")
        return np.asarray(c[..., None] // self.radix % self.counts, dtype=np.int64)

    def index(self, archs: npt.ArrayLike) -> IntArray:
        """Official index of `archs[..., D]`, shape `[...]`."""
        return np.asarray(self.rank[self.code(archs)])

    def at(self, indices: npt.ArrayLike) -> IntArray:
        """Architecture `[..., D]` at official `indices[...]`."""
        i = np.asarray(indices)
        if i.dtype.kind not in "iu" or np.any(i < 0) or np.any(i >= self.size):
            raise ArchError(f"an index of {self.name} is an integer in 0..{self.size - 1}")
        return self.arch(self.order[i])

    @cached_property
    def all(self) -> IntArray:
        """Every architecture `[A, D]` in official index order (read-only)."""
        out = self.arch(self.order)
        out.setflags(write=False)
        return out

    def neighbours(self, arch: npt.ArrayLike) -> IntArray:
        """All architectures `[n, D]` that differ from `arch[D]` in exactly one decision."""
        a = self.check(arch)
        rows = [
            np.concatenate([a[:d], [k], a[d + 1 :]]) for d in range(self.D) for k in range(self.counts[d]) if k != a[d]
        ]
        return np.array(rows, dtype=np.int64)

    def parse(self, text: str) -> IntArray:
        """Architecture `[D]` of a string; the default form is option names joined by `|`."""
        parts = text.split("|")
        if len(parts) != self.D:
            raise ArchError(f"{self.name}: expected {self.D} options joined by '|', got {len(parts)} in {text!r}")
        out, position = [], 0
        for d, part in enumerate(parts):
            if part not in self.options[d]:
                raise ArchError(
                    f"{self.name}: unknown option {part!r} at position {position} ({self.decisions[d]}); "
                    f"options: {', '.join(self.options[d])}"
                )
            out.append(self.options[d].index(part))
            position += len(part) + 1
        return np.array(out, dtype=np.int64)

    def format(self, arch: npt.ArrayLike) -> str:
        """String of one architecture `[D]`."""
        return "|".join(self.options[d][k] for d, k in enumerate(self.check(arch)))

    def resolve(self, arch: Any) -> int:
        """Official index of a string, an index or one architecture vector `[D]`."""
        if isinstance(arch, str):
            return int(self.index(self.parse(arch)))
        if isinstance(arch, (int, np.integer)) and not isinstance(arch, bool):
            if not 0 <= arch < self.size:
                raise ArchError(f"an index of {self.name} is an integer in 0..{self.size - 1}, got {arch}")
            return int(arch)
        a = self.check(arch)
        if a.ndim != 1:
            raise ArchError(f"one architecture is a vector of {self.D} integers, got shape {a.shape}")
        return int(self.index(a))
