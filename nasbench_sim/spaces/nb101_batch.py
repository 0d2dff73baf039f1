"""NAS-Bench-101 hashes of many modules at once, and the join of a table's rows with them.

Hashes are arrays of `S32`, the 32 hexadecimal digits of the official names: they sort, compare and join as they are
(`np.unique`, `np.searchsorted`), equal the text of the files, and hold no zero byte, which NumPy would strip from raw
16-byte digests. Their 16 bytes more are 0.9 MB for the 55,854 modules of the largest NAS-Bench-1Shot1 space.

Equal modules are hashed once; modules of one size go through the rounds of `nb101.module_hash` together: 38,000
distinct modules of 7 vertices a second, 6,600 one by one (tests/benchmarks/test_spaces_bench.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError
from nasbench_sim.spaces.md5 import Bytes, md5
from nasbench_sim.spaces.nb101 import INPUT, LETTERS, MAX_VERTICES, OPS, OUTPUT, on_a_path, parse_module

Hashes = npt.NDArray[np.bytes_]
Labels = npt.NDArray[np.int8]
Bits = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]

CHUNK = 8192  # modules that go through the rounds together, which bounds the memory
_LABEL = {INPUT: -1, OPS[0]: 0, OPS[1]: 1, OPS[2]: 2, OUTPUT: -2}
_NO_LABEL = 99
_LABEL_OF = np.full(256, _NO_LABEL, dtype=np.int8)
_LABEL_OF[[ord(LETTERS[name]) for name in _LABEL]] = list(_LABEL.values())
_HEX = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], dtype=np.uint8).view(np.uint16)[:, 0]


def module_hashes(matrices: npt.ArrayLike, labels: npt.ArrayLike) -> Hashes:
    """Official hashes `[N]` (`S32`) of modules `matrices[N, V, V]` with `labels[N, V]`.

    Labels are the official ones: -1 input, 0 conv3x3, 1 conv1x1, 2 maxpool3x3, -2 output; what the first and the last
    vertex and vertices off every path are called does not matter. Modules of fewer vertices are padded with vertices
    without edges, before the output. Equal to `nb101.module_hash` row by row, which the tests compare.

    Raises `ArchError`, with the row, for a matrix that is not upper triangular and of zeros and ones, where the output
    is not reached, for a label outside 0, 1, 2, and for more than 7 vertices after pruning.

    >>> chain = np.triu(np.ones((1, 3, 3), dtype=int), 1)
    >>> module_hashes(chain, [[-1, 0, -2]]).tolist()
    [b'd32d0b26d534203b48d866facd98cc3e']
    """
    m, ops = _checked(matrices, labels)
    alive = on_a_path(m)
    count = alive.sum(axis=1)
    _refuse(count == 0, "its output is not reached from its input")
    _refuse(count > MAX_VERTICES, f"more than {MAX_VERTICES} vertices after pruning")
    inner = alive.copy()
    inner[:, [0, -1]] = False
    _refuse((inner & ((ops < 0) | (ops > 2))).any(axis=1), "a label of an inner vertex is not 0, 1 or 2")
    out = np.empty(len(m), dtype="S32")
    for v in np.unique(count).tolist():
        rows = np.flatnonzero(count == v)
        kept = np.nonzero(alive[rows])[1].reshape(-1, v)
        pruned = m[rows[:, None, None], kept[:, :, None], kept[:, None, :]]
        first, again = _distinct(pruned, ops[rows[:, None], kept])
        found = np.empty(len(first), dtype="S32")
        for i in range(0, len(first), CHUNK):
            part = first[i : i + CHUNK]
            found[i : i + CHUNK] = _hash(pruned[part], ops[rows[part, None], kept[part]])
        out[rows] = found[again]
    return out


def _checked(matrices: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Bits, Labels]:
    m, ops = np.asarray(matrices), np.asarray(labels)
    if m.ndim != 3 or m.shape[1] != m.shape[2] or m.shape[1] < 2 or m.dtype.kind not in "biu":
        raise ArchError(f"modules are 0/1 matrices [N, V, V] of 2 or more vertices; got {m.dtype} {m.shape}")
    if ops.shape != m.shape[:2] or ops.dtype.kind not in "iu":
        raise ArchError(f"{len(m)} modules of {m.shape[1]} vertices have integer labels [N, V]; got {ops.shape}")
    _refuse(((m != 0) & (m != 1)).any(axis=(1, 2)), "the matrix holds only 0 and 1")
    _refuse((np.tril(m) != 0).any(axis=(1, 2)), "the matrix is not upper triangular")
    return m != 0, np.clip(ops, -3, 3).astype(np.int8)


def _refuse(bad: npt.ArrayLike, why: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ArchError(f"module {rows[0]} of {np.size(bad)}: {why}")


def _distinct(matrix: Bits, ops: Labels) -> tuple[Index, Index]:
    """Rows of the first of each distinct module, and for every module the number of its own: 29 bits a module."""
    v = matrix.shape[1]
    key = np.zeros(len(matrix), dtype=np.int64)
    for i, j in zip(*np.triu_indices(v, 1), strict=True):
        key = key * 2 + matrix[:, i, j]
    for vertex in range(1, v - 1):
        key = key * 3 + ops[:, vertex]
    _, first, again = np.unique(key, return_index=True, return_inverse=True)
    return first, again


def _hash(matrix: Bits, ops: Labels) -> Hashes:
    """Hashes `[n]` of pruned modules `matrix[n, v, v]`, all of v vertices."""
    v = matrix.shape[1]
    digests = _first(matrix, ops)
    groups = _by_degree(matrix)
    for _ in range(v):
        order = _by_digest(digests)
        text = _hex(digests)
        digests = np.empty_like(digests)
        for rows, vertex, parts in groups:
            digests[rows, vertex] = md5(np.concatenate([_messages(text, order, part) for part in parts]))
    ordered = _hex(np.take_along_axis(digests, _by_digest(digests)[..., None], axis=1))
    quoted = _joined([ordered[:, i : i + 1] for i in range(v)], [b"['", *[b"', '"] * (v - 1)], b"']")
    return _hex(md5(quoted))


def _messages(text: Hashes, order: Index, part: Group) -> Bytes:
    """What a round hashes, `[m, L]`: sources in order, bar, targets in order, bar, the vertex itself."""
    place = order[part.rows]
    sides = [
        text[part.rows[:, None], place[np.take_along_axis(side, place, axis=1)].reshape(len(place), -1)]
        for side in (part.sources, part.targets)
    ]
    return _joined([*sides, text[part.rows, part.vertex][:, None]], [b"", b"|", b"|"])


def _first(matrix: Bits, ops: Labels) -> Bytes:
    """Digests `[n, v, 16]` before the first round: md5 of "(out-degree, in-degree, label)"."""
    label = ops.astype(np.int64)
    label[:, 0], label[:, -1] = -1, -2
    triples = np.stack([matrix.sum(axis=2), matrix.sum(axis=1), label], axis=-1)
    size = matrix.shape[1]
    kinds, kind = np.unique((triples[..., 0] * size + triples[..., 1]) * 5 + triples[..., 2] + 2, return_inverse=True)
    rows = [(k // 5 // size, k // 5 % size, k % 5 - 2) for k in kinds.tolist()]
    table = [hashlib.md5(str(row).encode(), usedforsecurity=False).digest() for row in rows]
    return np.frombuffer(b"".join(table), dtype=np.uint8).reshape(-1, 16)[kind.reshape(label.shape)]


class Group(NamedTuple):
    """m vertices with equally many sources and equally many targets."""

    rows: Index  # their modules [m]
    vertex: Index  # their numbers there [m]
    sources: Bits  # [m, v]
    targets: Bits  # [m, v]


def _by_degree(matrix: Bits) -> list[tuple[Index, Index, list[Group]]]:
    """For each number of neighbours (their messages have one length): modules, vertices, and groups by sources."""
    before = matrix.transpose(0, 2, 1)
    sources, targets = before.sum(axis=2), matrix.sum(axis=2)
    out = []
    for total in np.unique(sources + targets).tolist():
        parts = []
        for count in range(total + 1):
            rows, vertex = np.nonzero((sources == count) & (targets == total - count))
            parts.append(Group(rows, vertex, before[rows, vertex], matrix[rows, vertex]))
        parts = [part for part in parts if len(part.rows)]
        out.append((np.concatenate([p.rows for p in parts]), np.concatenate([p.vertex for p in parts]), parts))
    return out


def _by_digest(digests: Bytes) -> Index:
    """Vertices `[n, v]` of each module in the order of their digests, which is that of their hexadecimal text."""
    halves = digests.view(">u8").astype(np.uint64)
    return np.lexsort((halves[..., 1], halves[..., 0]), axis=-1)


def _hex(digests: Bytes) -> Hashes:
    """`[..., 16]` bytes as `[...]` texts of 32 digits."""
    return np.asarray(_HEX[digests].view("S32")[..., 0])


def _joined(parts: list[Hashes], fronts: Sequence[bytes], end: bytes = b"") -> Bytes:
    """Messages `[m, L]`: for each part its front, then its texts `[m, k]`; last the end."""
    m = len(parts[0])
    columns: list[npt.NDArray[Any]] = []
    for part, front in zip(parts, fronts, strict=True):
        columns.append(np.broadcast_to(np.frombuffer(front, dtype=np.uint8), (m, len(front))))
        columns.append(np.ascontiguousarray(part).view(np.uint8).reshape(m, -1))
    columns.append(np.broadcast_to(np.frombuffer(end, dtype=np.uint8), (m, len(end))))
    return np.concatenate(columns, axis=1)


def parse_modules(texts: Sequence[str]) -> tuple[Labels, Labels]:
    """`(matrices int8 [N, 7, 7], labels int8 [N, 7])` of texts `V:bits:letters`, padded before the output.

    Raises `ArchError` as `nb101.parse_module` does, with the row.

    >>> matrices, labels = parse_modules(["2:1:io", "3:111:ipo"])
    >>> labels.tolist()
    [[-1, 0, 0, 0, 0, 0, -2], [-1, 2, 0, 0, 0, 0, -2]]
    """
    matrices = np.zeros((len(texts), MAX_VERTICES, MAX_VERTICES), dtype=np.int8)
    labels = np.zeros((len(texts), MAX_VERTICES), dtype=np.int8)
    good = np.zeros(len(texts), dtype=np.bool_)
    for v in range(2, MAX_VERTICES + 1):
        pairs = v * (v - 1) // 2
        length = 3 + pairs + v
        rows = np.array([i for i, t in enumerate(texts) if len(t) == length and t[0] == str(v)], dtype=np.int64)
        joined = "".join(texts[i] for i in rows.tolist()).encode("ascii", "replace")  # "?" is refused below
        chars = np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), length)
        bits, ops = chars[:, 2 : 2 + pairs] - ord("0"), _LABEL_OF[chars[:, 3 + pairs :]]
        colons = (chars[:, [1, 2 + pairs]] == ord(":")).all(axis=1)
        good[rows] = colons & (bits <= 1).all(axis=1) & (ops != _NO_LABEL).all(axis=1)
        place = np.array([*range(v - 1), MAX_VERTICES - 1])
        i, j = np.triu_indices(v, 1)
        matrices[rows[:, None], place[i], place[j]] = bits
        labels[rows[:, None], place] = ops
    if not good.all():
        row = int(good.argmin())
        try:
            parse_module(texts[row])
        except ArchError as error:
            raise ArchError(f"row {row}: {error}") from None
    return matrices, labels


def rows_of(wanted: Hashes, table: Hashes) -> Index:
    """For each hash of `wanted[...]` its row in `table[R]` (distinct hashes), or -1 where the table does not have it.

    >>> rows_of(np.array([b"b", b"x"], dtype="S32"), np.array([b"c", b"b"], dtype="S32")).tolist()
    [1, -1]
    """
    order = np.concatenate([np.argsort(table), [-1]])
    ordered = table[order[:-1]]
    place = np.searchsorted(ordered, wanted)
    found = np.append(ordered, b"")[place] == wanted
    return np.where(found, order[place], -1)
