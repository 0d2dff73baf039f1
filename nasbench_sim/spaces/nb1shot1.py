"""The three NAS-Bench-1Shot1 spaces: cells of choice blocks whose discrete architectures are NAS-Bench-101 modules.

Source: Zela, Siems and Hutter, NAS-Bench-1Shot1, ICLR 2020 (arXiv 2001.10422), section 3; automl/nasbench-1shot1 at
cb0f0ec61ce8 (nasbench_analysis/search_spaces) for parents, fixed parts, upscaling and the order of the operations.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, SpecError, unknown
from nasbench_sim.spaces import nb101
from nasbench_sim.spaces.base import IntArray, Space
from nasbench_sim.spaces.nb101_batch import Hashes, module_hashes, rows_of

OPS = ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")  # not the order of NAS-Bench-101
PARENTS = {1: (1, 2, 2, 2, 2), 2: (1, 1, 2, 2, 3), 3: (1, 1, 1, 2, 2, 2)}  # of nodes 1, 2, ..., last of the output

_LABELS = np.array([nb101.OPS.index(op) for op in OPS], dtype=np.int8)
_BLOCK = re.compile(r"([^~|]*)~([^~|]*)")


class NB1Shot1(Space):
    """Search space 1, 2 or 3 of NAS-Bench-1Shot1.

    Node 0 is the cell's input; node i = 1..n takes `PARENTS` earlier nodes and applies one operation; the output takes
    `PARENTS` of all nodes before it. Every cell has 9 edges. Decisions, in this order: for each node `parents of node
    i` (absent where only one choice exists: node 1, and node 2 of space 1) then `op of node i`, last `parents of
    output`. Parents are named `0+2`, in lexicographic order.

    | | n | parents | D | configurations | distinct modules |
    |---|---|---|---|---|---|
    | nb1shot1-1 | 4 | 1, 2, 2, 2; output 2 | 7 | 14,580 | 2,685 |
    | nb1shot1-2 | 4 | 1, 1, 2, 2; output 3 | 8 | 29,160 | 7,773 |
    | nb1shot1-3 | 5 | 1, 1, 1, 2, 2; output 2 | 10 | 1,312,200 | 55,854 |

    The product keeps cells with loose ends (nodes that nothing takes as parent): they are the same module whatever such
    a node does. The paper's 6,240 and 363,648 count the operations of used nodes only; its 29,160 counts all.

    There is no `none` and no `skip`: methods that need them refuse these spaces, and `skip_ratio` of a run is 0, which
    says nothing about collapse. The two convolutions are the options with weights.

    Deviation: the published searches weigh each parent by itself and keep the best k; here the set of parents is one
    categorical decision, so that an architecture is one option a decision and E[T](theta) is exact.

    Raises `SpecError` for another number than 1, 2, 3.

    Example
    -------
    >>> space = NB1Shot1(1)
    >>> cell = "conv3x3-bn-relu~0|conv3x3-bn-relu~0+1|maxpool3x3~0+2|conv1x1-bn-relu~1+2|output~2+4"
    >>> space.parse(cell).tolist(), space.size
    ([1, 1, 1, 0, 3, 2, 8], 14580)
    >>> matrix, ops = space.module(space.parse(cell))  # node 3 is a loose end, vertex 5 only pads
    >>> matrix.sum(axis=1).tolist(), ops[1:3]
    ([2, 2, 2, 0, 1, 0, 0], ('conv3x3-bn-relu', 'conv3x3-bn-relu'))
    """

    def __init__(self, number: int) -> None:
        if number not in PARENTS:
            raise SpecError(unknown("NAS-Bench-1Shot1 space", number, PARENTS))
        self.number = number
        self.nodes = len(PARENTS[number]) - 1
        self.choices = tuple(
            tuple(itertools.combinations(range(node), k)) for node, k in enumerate(PARENTS[number], start=1)
        )
        self._names = tuple([_joined(parents) for parents in choice] for choice in self.choices)
        names: list[str] = []
        options: list[Sequence[str]] = []
        for node, choice in enumerate(self.choices, start=1):
            output = node > self.nodes
            if len(choice) > 1:
                names.append("parents of output" if output else f"parents of node {node}")
                options.append(self._names[node - 1])
            if not output:
                names.append(f"op of node {node}")
                options.append(OPS)
        super().__init__(f"nb1shot1-{number}", names, options, parametric=OPS[1:])
        self.op_decisions = tuple(d for d, name in enumerate(names) if name.startswith("op"))

    def _parents(self, arch: IntArray) -> list[tuple[int, ...]]:
        """Parents of nodes 1, ..., n and of the output."""
        free = iter([int(k) for d, k in enumerate(arch) if d not in self.op_decisions])
        return [choice[next(free)] if len(choice) > 1 else choice[0] for choice in self.choices]

    def parse(self, text: str) -> IntArray:
        """Architecture `[D]` of `op~parents|...|output~parents`, one block a node.

        Parents may stand in any order; fixed ones must be written too. Raises `ArchError` with the position.
        """
        blocks = text.split("|")
        if len(blocks) != len(self.choices):
            raise ArchError(_bad(text, 0, f"expected {self.nodes} nodes and the output joined by '|'"))
        out, position = [], 0
        for node, (block, names) in enumerate(zip(blocks, self._names, strict=True), start=1):
            match = _BLOCK.fullmatch(block)
            known = OPS if node <= self.nodes else ("output",)
            if match is None:
                raise ArchError(_bad(text, position, "expected 'operation~parents'"))
            op, parents = match.groups()
            if op not in known:
                raise ArchError(_bad(text, position, f"expected {' or '.join(known)}, got {op!r}"))
            given = "+".join(sorted(parents.split("+")))
            if given not in names:
                start = position + len(op) + 1
                raise ArchError(_bad(text, start, f"parents {parents!r} are none of {', '.join(names)}"))
            if len(names) > 1:
                out.append(names.index(given))
            if node <= self.nodes:
                out.append(OPS.index(op))
            position += len(block) + 1
        return np.array(out, dtype=np.int64)

    def format(self, arch: npt.ArrayLike) -> str:
        """String of one architecture `[D]`: `op~parents` for every node, then `output~parents`."""
        a = self.check(arch)
        ops = [*(OPS[a[d]] for d in self.op_decisions), "output"]
        return "|".join(f"{op}~{_joined(p)}" for op, p in zip(ops, self._parents(a), strict=True))

    def module(self, arch: npt.ArrayLike) -> nb101.Module:
        """The NAS-Bench-101 module `(matrix int8 [7, 7], 7 names)` of one architecture `[D]`.

        The edges are traced back from the output, so loose ends have none; spaces 1 and 2, of 4 nodes, get a vertex 5
        without edges, called conv1x1-bn-relu. `nb101.prune` drops both, and the hash is that of the published mapping.
        """
        a = self.check(arch)
        parents = [(), *self._parents(a)]
        last = nb101.MAX_VERTICES - 1
        matrix = np.zeros((last + 1, last + 1), dtype=np.int8)
        wanted = {self.nodes + 1}
        for node in range(self.nodes + 1, 0, -1):
            if node in wanted:
                wanted.update(parents[node])
                matrix[list(parents[node]), last if node > self.nodes else node] = 1
        padding = [OPS[2]] * (last - 1 - self.nodes)
        return matrix, (nb101.INPUT, *(OPS[a[d]] for d in self.op_decisions), *padding, nb101.OUTPUT)

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """For each architecture `[A]` the number of its module, a row of `unique_hashes` (read-only)."""
        return _modules(self.number).classes

    @property
    def unique_hashes(self) -> Hashes:
        """Hashes `[U]` (`S32`, sorted) of the distinct modules (read-only)."""
        return _modules(self.number).hashes

    @cached_property
    def hashes(self) -> Hashes:
        """NAS-Bench-101 hash `[A]` (`S32`) of every architecture in official order (read-only).

        `unique_hashes[classes]`, 42 MB for space 3: join with the 1.8 MB of `unique_hashes` where that will do.
        """
        out = self.unique_hashes[self.classes]
        out.setflags(write=False)
        return out

    def rows_in(self, table: Hashes) -> IntArray:
        """For each architecture `[A]` the row of its module in `table[R]` (distinct hashes), -1 where it has none.

        >>> space = NB1Shot1(1)
        >>> bool((space.rows_in(space.unique_hashes) == space.classes).all())
        True
        """
        return rows_of(self.unique_hashes, table)[self.classes]


class _Modules(NamedTuple):
    classes: npt.NDArray[np.int32]
    hashes: Hashes


@lru_cache(maxsize=3)
def _modules(number: int) -> _Modules:
    """Classes `[A]` and sorted distinct hashes `[U]` of a space; kept for the process.

    Space 3 has 5,400 ways to choose parents, but only 876 distinct graphs of used nodes, whose operations give 135,900
    labelled modules; only these are hashed (tests/benchmarks/test_spaces_bench.py: how long, and what is kept).
    """
    space = NB1Shot1(number)
    n = space.nodes
    graphs = _graphs(space.choices)
    alive = nb101.on_a_path(graphs)[:, 1:-1]
    _, first, graph = np.unique(_pruned_keys(graphs, alive), return_index=True, return_inverse=True)
    ops = np.indices((len(OPS),) * n).reshape(n, -1).T  # [3^n, n]
    code = np.empty((len(graphs), len(ops)), dtype=np.int64)  # which of the labelled modules below
    matrices, labels, total = [], [], 0
    for used in np.unique(alive, axis=0):
        # operations of unused nodes do not matter: number those of the others
        weights = np.where(used, len(OPS) ** (np.cumsum(used[::-1])[::-1] - used), 0)
        named = ops @ weights
        kinds = np.unique(named, return_index=True)[1]
        mine = np.flatnonzero((alive[first] == used).all(axis=1))
        place = np.zeros(len(first), dtype=np.int64)
        place[mine] = total + len(kinds) * np.arange(len(mine))
        rows = np.flatnonzero((alive == used).all(axis=1))
        code[rows] = place[graph[rows], None] + named
        matrices.append(np.repeat(graphs[first[mine]], len(kinds), axis=0))
        labels.append(np.tile(_labels(ops[kinds]), (len(mine), 1)))
        total += len(matrices[-1])
    unique, inverse = np.unique(module_hashes(np.concatenate(matrices), np.concatenate(labels)), return_inverse=True)
    # parents first, then operations; now the decisions in their order, so that the flat place is the radix code
    axes = [d for d in range(space.D) if d not in space.op_decisions] + list(space.op_decisions)
    classes = inverse.astype(np.int32)[code].reshape([int(space.counts[d]) for d in axes])
    classes = np.ascontiguousarray(classes.transpose(np.argsort(axes))).reshape(-1)
    classes.setflags(write=False)
    unique.setflags(write=False)
    return _Modules(classes, unique)


def _labels(ops: IntArray) -> npt.NDArray[np.int8]:
    """Official labels `[m, n + 2]` of operations `[m, n]` in our order."""
    out = np.zeros((len(ops), ops.shape[1] + 2), dtype=np.int8)
    out[:, 1:-1] = _LABELS[ops]
    return out


def _graphs(choices: Sequence[Sequence[tuple[int, ...]]]) -> npt.NDArray[np.int8]:
    """Matrices `[C, n + 2, n + 2]` of all choices of parents, loose ends included, in lexicographic order."""
    vertices = len(choices) + 1
    out = np.zeros((1, vertices, vertices), dtype=np.int8)
    for node, choice in enumerate(choices, start=1):
        columns = np.zeros((len(choice), vertices), dtype=np.int8)
        for row, parents in enumerate(choice):
            columns[row, list(parents)] = 1
        out = np.repeat(out, len(choice), axis=0)
        out[:, :, node] = np.tile(columns, (len(out) // len(choice), 1))
    return out


def _pruned_keys(graphs: npt.NDArray[np.int8], alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """A number `[C]` for each graph without its loose ends: equal ones have the same edges between the same nodes."""
    kept = np.pad(alive, ((0, 0), (1, 1)), constant_values=True)
    edges = (graphs != 0) & kept[:, :, None] & kept[:, None, :]
    i, j = np.triu_indices(graphs.shape[1], 1)
    return np.asarray(edges[:, i, j] @ (1 << np.arange(len(i), dtype=np.int64)))


def _joined(parents: Sequence[Any]) -> str:
    return "+".join(str(p) for p in parents)


def _bad(text: str, position: int, what: str) -> str:
    shown = text if len(text) <= 160 else text[:157] + "..."
    return f"bad architecture string at position {position}: {what}; in {shown!r}"
