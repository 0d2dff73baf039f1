"""NAS-Bench-101 modules as one number each, for arrays and files: `V | bits << 3 | operations << 24`.

V is the number of vertices (2..7); `bits` the upper triangle of the matrix row by row, first entry lowest (21 bits for
7 vertices); `operations` the numbers 0, 1, 2 of the inner vertices in the order of `nb101.OPS`, two bits each. 34 bits
in all. A module and its relabelling have different codes: it is the graph as its source wrote it that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError
from nasbench_sim.spaces.nb101 import INPUT, MAX_EDGES, MAX_VERTICES, OPS, OUTPUT, Module, as_module

Codes = npt.NDArray[np.uint64]
_OPS_AT = 24


def graph_code(adjacency: str) -> int:
    """The part of a code that an adjacency matrix gives, from its V * V digits row by row.

    Raises `ArchError` for another number of digits, another digit, an edge that does not lead onwards, more than 9.

    >>> graph_code("010001000")
    43
    """
    v = next((n for n in range(2, MAX_VERTICES + 1) if n * n == len(adjacency)), 0)
    if not v or adjacency.strip("01"):
        raise ArchError(f"an adjacency matrix is 4, 9, 16, 25, 36 or 49 digits 0 and 1, got {adjacency[:60]!r}")
    code, bit, edges = v, 3, adjacency.count("1")
    for i in range(v):
        if "1" in adjacency[i * v : i * v + i + 1]:
            raise ArchError(f"an adjacency matrix is upper triangular, row {i} of {adjacency!r} is not")
        for j in range(i + 1, v):
            code |= (adjacency[i * v + j] == "1") << bit
            bit += 1
    if edges > MAX_EDGES:
        raise ArchError(f"a module has at most {MAX_EDGES} edges, {adjacency!r} has {edges}")
    return code


def ops_code(ops: Sequence[str]) -> int:
    """The part of a code that V operations give, with V itself; raises `ArchError` for what is none.

    >>> ops_code(["input", "maxpool3x3", "output"]) == 3 | 2 << 24
    True
    """
    if not 2 <= len(ops) <= MAX_VERTICES or (ops[0], ops[-1]) != (INPUT, OUTPUT):
        got = ", ".join(op[:20] for op in ops[:9])
        raise ArchError(f"the operations of a module are 'input', up to 5 others and 'output', got {got!r}")
    code = len(ops)
    for i, op in enumerate(ops[1:-1]):
        if op not in OPS:
            raise ArchError(f"unknown operation {op[:40]!r}. Known: {', '.join(OPS)}")
        code |= OPS.index(op) << _OPS_AT + 2 * i
    return code


def module_code(matrix: npt.ArrayLike, ops: Sequence[str]) -> int:
    """The code of a module; raises `ArchError` for what is none of at most 7 vertices and 9 edges.

    >>> module_of(module_code([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv1x1-bn-relu", "output"]))[1]
    ('input', 'conv1x1-bn-relu', 'output')
    """
    m, names = as_module(matrix, ops)
    return graph_code("".join(map(str, m.ravel().tolist()))) | ops_code(names)


def module_of(code: int) -> Module:
    """`(matrix int8 [V, V], ops)` of a code; raises `ArchError` for a number that is none.

    >>> module_of(43)[0].tolist()
    [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    """
    check_codes(np.array([code], dtype=np.uint64))
    v = int(code) & 7
    matrix = np.zeros((v, v), dtype=np.int8)
    for bit, (i, j) in enumerate(combinations(range(v), 2)):
        matrix[i, j] = int(code) >> 3 + bit & 1
    inner = (OPS[int(code) >> _OPS_AT + 2 * i & 3] for i in range(v - 2))
    return matrix, (INPUT, *inner, OUTPUT)


def modules_of(codes: Codes) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """`(matrices int8 [N, 7, 7], labels int8 [N, 7])` of `codes[N]`, smaller modules padded before the output.

    The form that `nb101_batch.module_hashes` takes: labels are -1, 0, 1, 2, -2, and padding has no edges.
    """
    matrices = np.zeros((len(codes), MAX_VERTICES, MAX_VERTICES), dtype=np.int8)
    labels = np.zeros((len(codes), MAX_VERTICES), dtype=np.int8)
    labels[:, 0], labels[:, -1] = -1, -2
    size = (codes & np.uint64(7)).astype(np.int64)
    for v in np.unique(size).tolist():
        mine = np.flatnonzero(size == v)
        code = codes[mine]
        place = [*range(v - 1), MAX_VERTICES - 1]
        for bit, (i, j) in enumerate(combinations(range(v), 2)):
            matrices[mine, place[i], place[j]] = code >> np.uint64(3 + bit) & np.uint64(1)
        for i in range(v - 2):
            labels[mine, 1 + i] = code >> np.uint64(_OPS_AT + 2 * i) & np.uint64(3)
    return matrices, labels


def check_codes(codes: Codes) -> None:
    """Raise `ArchError` unless every code is that of a graph of 2..7 vertices, 9 edges and known operations."""
    v = (codes & np.uint64(7)).astype(np.int64)
    pairs, inner = v * (v - 1) // 2, v - 2
    graph = (codes >> np.uint64(3) & np.uint64((1 << 21) - 1)).astype(np.int64)
    ops = (codes >> np.uint64(_OPS_AT)).astype(np.int64)
    bad = (
        (v < 2) | (graph >> pairs != 0) | (ops >> 2 * np.maximum(inner, 0) != 0) | (ops & ops >> 1 & 0b0101010101 != 0)
    )
    bad |= np.bitwise_count(graph) > MAX_EDGES
    if bad.any():
        raise ArchError(f"{int(codes[np.argmax(bad)])} is not the code of a NAS-Bench-101 module")
