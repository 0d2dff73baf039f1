"""NAS-Bench-101 modules: graphs of at most 7 vertices and 9 edges, pruned, checked, written and named by their hash.

A module is `(matrix[V, V], ops[V])`: an upper-triangular 0/1 adjacency matrix (row = source, column = target) and one
operation a vertex, the first `input`, the last `output`. Vertices that are on no path from input to output compute
nothing and are pruned. Modules that differ only by the order of their inner vertices have one hash; 423,624 remain.

Modules are graphs, not products of decisions: the product spaces over them are those of `nb1shot1`.

Sources: Ying et al., NAS-Bench-101, ICML 2019 (arXiv 1902.09635), section 2; google-research/nasbench at b94247037ee4
(lib/model_spec.py, lib/graph_util.py, api.py) for what is pruned, refused and hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError, unknown

INPUT, OUTPUT = "input", "output"
OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")  # their numbers 0, 1, 2 are part of the hash
MAX_VERTICES, MAX_EDGES = 7, 9

Matrix = npt.NDArray[np.int8]
Module = tuple[Matrix, tuple[str, ...]]

LETTERS = {INPUT: "i", OPS[0]: "3", OPS[1]: "1", OPS[2]: "p", OUTPUT: "o"}
_NAMES = {letter: name for name, letter in LETTERS.items()}


def as_module(matrix: npt.ArrayLike, ops: Sequence[str]) -> Module:
    """The module as `(int8 [V, V], V names)`.

    Raises `ArchError` for a matrix that is not square, not of zeros and ones or not upper triangular, and for another
    number of operations than of vertices. The names are not looked at (`flaw` does).

    >>> as_module([[0, 1], [0, 0]], ["input", "output"])[1]
    ('input', 'output')
    """
    try:
        m = np.asarray(matrix)
    except ValueError:
        raise ArchError("a module's matrix has rows of different lengths") from None
    if m.ndim != 2 or m.shape[0] != m.shape[1] or len(m) < 2:
        raise ArchError(f"a module's matrix is square, of 2 or more vertices; got shape {m.shape}")
    if m.dtype.kind not in "biuf" or not ((m == 0) | (m == 1)).all():
        raise ArchError("a module's matrix holds only 0 and 1")
    below = np.argwhere(np.tril(m) != 0)
    if len(below):
        raise ArchError(f"a module's matrix is upper triangular, but has an edge {below[0][0]} -> {below[0][1]}")
    if isinstance(ops, str) or len(ops) != len(m):
        raise ArchError(f"a module of {len(m)} vertices has {len(m)} operations, got {ops!r}")
    return m.astype(np.int8), tuple(str(op) for op in ops)


def on_a_path(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Which vertices `[..., V]` of upper-triangular `matrix[..., V, V]` lie on a path from the first to the last.

    Where input and output are not connected, none does.
    """
    m = matrix != 0
    v = m.shape[-1]
    down = np.zeros(m.shape[:-1], dtype=np.bool_)
    up = np.zeros(m.shape[:-1], dtype=np.bool_)
    down[..., 0] = up[..., -1] = True
    for j in range(1, v):
        down[..., j] = (down[..., :j] & m[..., :j, j]).any(axis=-1)
        k = v - 1 - j
        up[..., k] = (up[..., k + 1 :] & m[..., k, k + 1 :]).any(axis=-1)
    return down & up


def prune(matrix: npt.ArrayLike, ops: Sequence[str]) -> Module:
    """The module without the vertices that are on no path from input to output, in their order.

    Raises `ArchError` where no path leads from input to output, and for what `as_module` refuses.

    >>> pruned, ops = prune([[0, 1, 1], [0, 0, 0], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    >>> pruned.tolist(), ops
    ([[0, 1], [0, 0]], ('input', 'output'))
    """
    m, names = as_module(matrix, ops)
    alive = np.flatnonzero(on_a_path(m))
    if not len(alive):
        raise ArchError("this module's output is not reached from its input")
    return m[np.ix_(alive, alive)], tuple(names[i] for i in alive)


def flaw(matrix: npt.ArrayLike, ops: Sequence[str]) -> str:
    """Why a well-formed module is not of NAS-Bench-101, in one line; empty where it is.

    After pruning it has at most 7 vertices and 9 edges, starts with `input`, ends with `output`, and everything between
    is one of `OPS` (`NASBench._check_spec`). Raises `ArchError` for what `as_module` refuses.

    >>> flaw([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv5x5", "output"])
    "unknown operation 'conv5x5'. Known: conv3x3-bn-relu, conv1x1-bn-relu, maxpool3x3"
    """
    as_module(matrix, ops)
    try:
        m, names = prune(matrix, ops)
    except ArchError as error:
        return str(error)
    edges = int(m.sum())
    if len(m) > MAX_VERTICES:
        return f"a module has at most {MAX_VERTICES} vertices after pruning, this one {len(m)}"
    if edges > MAX_EDGES:
        return f"a module has at most {MAX_EDGES} edges after pruning, this one {edges}"
    if (names[0], names[-1]) != (INPUT, OUTPUT):
        return f"a module starts with {INPUT!r} and ends with {OUTPUT!r}, this one with {names[0]!r} and {names[-1]!r}"
    wrong = [name for name in names[1:-1] if name not in OPS]
    return unknown("operation", wrong[0], OPS) if wrong else ""


def is_valid(matrix: npt.ArrayLike, ops: Sequence[str]) -> bool:
    """Whether a well-formed module is of NAS-Bench-101 after pruning; `flaw` says why not.

    >>> is_valid([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    True
    """
    return not flaw(matrix, ops)


def labels(ops: Iterable[str]) -> list[int]:
    """Official labels of a pruned module's operations: -1 input, 0, 1, 2 in the order of `OPS`, -2 output.

    As in `ModelSpec.hash_spec`, the first is the input and the last the output whatever they are called. Raises
    `ArchError` for an unknown operation between them.
    """
    names = list(ops)
    wrong = [name for name in names[1:-1] if name not in OPS]
    if wrong:
        raise ArchError(unknown("operation", wrong[0], OPS))
    return [-1, *(OPS.index(name) for name in names[1:-1]), -2]


def module_hash(matrix: npt.ArrayLike, ops: Sequence[str]) -> str:
    """The official hash of a module, 32 hexadecimal digits, equal for modules that are one graph.

    After pruning to V vertices, h_v = md5("(out-degree, in-degree, label)"); then V times, for all v at once,
    h_v = md5(sorted h of sources + "|" + sorted h of targets + "|" + h_v); the hash is md5 of the sorted list. Neither
    7 vertices nor 9 edges are insisted on (`is_valid` does). Raises `ArchError` as `prune` and `labels` do.

    For many modules `nb101_batch.module_hashes` is six times faster.

    >>> module_hash([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "conv3x3-bn-relu", "output"])
    'd32d0b26d534203b48d866facd98cc3e'
    """
    m, names = prune(matrix, ops)
    sources = [np.flatnonzero(m[:, v]).tolist() for v in range(len(m))]
    targets = [np.flatnonzero(m[v]).tolist() for v in range(len(m))]
    h = [
        _md5(str((len(after), len(before), label)))
        for before, after, label in zip(sources, targets, labels(names), strict=True)
    ]
    for _ in range(len(m)):
        h = [
            _md5("".join(sorted(h[u] for u in before)) + "|" + "".join(sorted(h[u] for u in after)) + "|" + own)
            for before, after, own in zip(sources, targets, h, strict=True)
        ]
    return _md5(str(sorted(h)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def format_module(matrix: npt.ArrayLike, ops: Sequence[str]) -> str:
    """The module as `V:bits:letters`: the upper triangle row by row, and i 3 1 p o for the operations.

    Raises `ArchError` for an operation that is none of these.

    >>> format_module([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    '3:111:ipo'
    """
    m, names = as_module(matrix, ops)
    wrong = [name for name in names if name not in LETTERS]
    if wrong:
        raise ArchError(unknown("operation", wrong[0], LETTERS))
    bits = "".join(str(int(bit)) for bit in m[np.triu_indices(len(m), 1)])
    return f"{len(m)}:{bits}:{''.join(LETTERS[name] for name in names)}"


def parse_module(text: str) -> Module:
    """The module of `V:bits:letters`; raises `ArchError` with the position of what is wrong.

    >>> matrix, ops = parse_module("3:111:ipo")
    >>> matrix.tolist(), ops
    ([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ('input', 'maxpool3x3', 'output'))
    """
    count, _, rest = text.partition(":")
    bits, _, letters = rest.partition(":")
    if len(count) != 1 or count not in "234567":
        raise ArchError(_bad(text, 0, f"expected a number of vertices from 2 to {MAX_VERTICES}"))
    v = int(count)
    pairs = v * (v - 1) // 2
    for part, start, length, known in ((bits, 2, pairs, "01"), (letters, 3 + len(bits), v, "".join(_NAMES))):
        wrong = next((i for i, char in enumerate(part) if char not in known), None)
        if wrong is not None:
            raise ArchError(_bad(text, start + wrong, f"expected one of {' '.join(known)}"))
        if len(part) != length:
            raise ArchError(_bad(text, start, f"expected {length} characters for {v} vertices, got {len(part)}"))
    matrix = np.zeros((v, v), dtype=np.int8)
    matrix[np.triu_indices(v, 1)] = [int(bit) for bit in bits]
    return matrix, tuple(_NAMES[letter] for letter in letters)


def _bad(text: str, position: int, what: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"bad module string at position {min(position, len(text))}: {what}; in {shown!r}"
