"""NAS-Bench-201 (= NATS-Bench topology space): 6 edges, 5 operations, 15,625 cells, 6,466 distinct ones.

Sources: Dong & Yang, NAS-Bench-201, ICLR 2020 (arXiv 2001.00326), section 2; the index order is that of the
published files. Operations and edges are always converted from another tool's order *by name*, never by index.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import ArchError
from nasbench_sim.spaces.base import IntArray, Space

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
_TOKEN = re.compile(r"\|([^~|+]*)~(\d+)")


class NB201(Space):
    """The NAS-Bench-201 cell: node j sums its incoming operations; the cell's output is node 3.

    Example
    -------
    >>> space = NB201()
    >>> best = space.parse(
    ...     "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    ... )
    >>> int(space.index(best)), best.tolist()
    (9930, [3, 3, 3, 1, 3, 3])
    """

    def __init__(self) -> None:
        super().__init__(
            "nb201",
            EDGES,
            [OPS] * 6,
            parametric=("nor_conv_1x1", "nor_conv_3x3"),
            none="none",
            skip="skip_connect",
        )

    @cached_property
    def order(self) -> IntArray:
        """Official order: the radix order shuffled by Python's Mersenne Twister seeded with 88.

        The published file list was made this way; the tests compare all 15,625 rows with the original files.
        """
        codes = list(range(self.size))
        random.Random(88).shuffle(codes)
        return np.array(codes, dtype=np.int64)

    def parse(self, text: str) -> IntArray:
        """Architecture `[6]` of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`; raises `ArchError` with the position."""
        out: list[int] = []
        position = 0
        for node in (1, 2, 3):
            if node > 1:
                position = _expect(text, "+", position)
            for source in range(node):
                match = _TOKEN.match(text, position)
                if match is None:
                    raise ArchError(_bad(text, position, f"expected '|operation~{source}'"))
                op, at = match.group(1), match.start(1)
                if op not in OPS:
                    raise ArchError(_bad(text, at, f"unknown operation {op!r}; operations: {', '.join(OPS)}"))
                if match.group(2) != str(source):
                    raise ArchError(_bad(text, match.start(2), f"expected input node {source} of node {node}"))
                out.append(OPS.index(op))
                position = match.end()
            position = _expect(text, "|", position)
        if position != len(text):
            raise ArchError(_bad(text, position, "unexpected text after the cell"))
        return np.array(out, dtype=np.int64)

    def format(self, arch: npt.ArrayLike) -> str:
        """Official string of one architecture `[6]`."""
        o = [OPS[k] for k in self.check(arch)]
        return f"|{o[0]}~0|+|{o[1]}~0|{o[2]}~1|+|{o[3]}~0|{o[4]}~1|{o[5]}~2|"

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """All 15,625 strings in official index order."""
        return tuple(self.format(a) for a in self.all)

    def canonical(self, arch: npt.ArrayLike) -> str:
        """The cell as an expression; cells with equal expressions are one class of the published count of 6,466.

        A skip substitutes its source, the terms of a sum are sorted, `none` contributes the term `#`, and an
        operation on a node that is nothing but `#` is `#`. Sums that contain `#` are deliberately *not* simplified
        further: that is the published rule (NATS-Bench, arXiv 2009.00437), so more cells may compute one function.

        >>> NB201().canonical([3, 1, 0, 0, 3, 1])
        '#+#+0+((0)@nor_conv_3x3)@nor_conv_3x3'
        """
        a = self.check(arch)
        nodes = ["0"]
        edge = 0
        for node in (1, 2, 3):
            terms: list[str] = []
            for source in range(node):
                op = OPS[a[edge]]
                if op == "none" or nodes[source] == "#":
                    terms.append("#")
                elif op == "skip_connect":
                    terms.append(nodes[source])
                else:
                    terms.append(f"({nodes[source]})@{op}")
                edge += 1
            nodes.append("+".join(sorted(terms)))
        return nodes[3]

    @cached_property
    def classes(self) -> IntArray:
        """Isomorphism class `[A]` of every architecture in official order, numbered by first appearance."""
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(self.canonical(a), len(seen)) for a in self.all], dtype=np.int64)

    def convert(self, archs: npt.ArrayLike, *, ops: Sequence[str], edges: Sequence[str]) -> IntArray:
        """Our `arch[..., 6]` from another tool's vectors, given that tool's operation and edge *names* in its order.

        `ops` may use our names or the aliases in `OP_ALIASES`; `edges` name both ends with the source first
        (`0-1`) or the target first (`1<-0`). Raises `ArchError` for names that are unknown, missing or repeated.

        >>> naslib = dict(ops=["skip", "none", "c3", "c1", "avg"], edges=["0-1", "0-2", "0-3", "1-2", "1-3", "2-3"])
        >>> NB201().convert([2, 2, 0, 2, 2, 2], **naslib).tolist()
        [3, 3, 3, 1, 3, 3]
        """
        op_map = np.array([_op_number(o) for o in ops], dtype=np.int64)
        edge_map = [_edge_number(e) for e in edges]
        if sorted(op_map.tolist()) != list(range(5)):
            raise ArchError(f"an operation order names each of {', '.join(OPS)} once, got {', '.join(ops)}")
        if sorted(edge_map) != list(range(6)):
            raise ArchError(f"an edge order names each of {', '.join(EDGES)} once, got {', '.join(edges)}")
        theirs = self.check(archs)
        out = np.empty_like(theirs)
        out[..., edge_map] = op_map[theirs]
        return out


OP_ALIASES: Mapping[str, str] = {
    **{o: o for o in OPS},
    "zero": "none",
    "skip": "skip_connect",
    "identity": "skip_connect",
    "c1": "nor_conv_1x1",
    "conv1x1": "nor_conv_1x1",
    "c3": "nor_conv_3x3",
    "conv3x3": "nor_conv_3x3",
    "avg": "avg_pool_3x3",
    "avgpool": "avg_pool_3x3",
}


def _op_number(name: str) -> int:
    if name not in OP_ALIASES:
        raise ArchError(f"unknown operation name {name!r}; known: {', '.join(OP_ALIASES)}")
    return OPS.index(OP_ALIASES[name])


def _edge_number(name: str) -> int:
    match = re.fullmatch(r"(\d)-(\d)", name)
    ours = f"{match.group(2)}<-{match.group(1)}" if match else name
    if ours not in EDGES:
        raise ArchError(f"unknown edge {name!r}; write source-target (0-1) or target<-source (1<-0)")
    return EDGES.index(ours)


def _expect(text: str, char: str, position: int) -> int:
    if not text.startswith(char, position):
        raise ArchError(_bad(text, position, f"expected {char!r}"))
    return position + 1


def _bad(text: str, position: int, what: str) -> str:
    shown = text if len(text) <= 120 else text[:117] + "..."
    return f"bad architecture string at position {position}: {what}; in {shown!r}"
