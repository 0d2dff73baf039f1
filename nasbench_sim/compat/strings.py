"""Architecture strings of the topology space in the other forms that the original packages give, and their reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.compat.arch_results import ArchResults
from nasbench_sim.compat.draws import Absent
from nasbench_sim.errors import ArchError, unknown
from nasbench_sim.spaces.nb201 import OPS

_REPORTED = {"cifar10-valid": ("x-valid",), "cifar10": ("ori-test",)}
_LABELS = {"x-valid": "valid", "x-test": "test", "ori-test": "test"}


def str2lists(arch_str: str) -> list[tuple[tuple[str, int], ...]]:
    """For each node the `(operation, source)` of its inputs; raises `ArchError` for what is none.

    >>> str2lists("|nor_conv_1x1~0|+|none~0|none~1|")
    [(('nor_conv_1x1', 0),), (('none', 0), ('none', 1))]
    """
    if not isinstance(arch_str, str):
        raise ArchError(f"an architecture is text here, not {arch_str!r:.60}")
    return [tuple(_edge(part, arch_str) for part in node.split("|") if part) for node in arch_str.split("+")]


def _edge(part: str, text: str) -> tuple[str, int]:
    op, _, source = part.partition("~")
    if not source.isascii() or not source.isdigit():
        raise ArchError(f"bad architecture string: {part!r:.60} is not operation~node; in {text!r:.120}")
    return op, int(source)


def str2matrix(arch_str: str, search_space: Sequence[str] = OPS) -> npt.NDArray[np.float64]:
    """Matrix `[V, V]` with the number of the operation from node j to node i at `[i, j]`; raises `ArchError`.

    >>> str2matrix("|nor_conv_1x1~0|+|none~0|skip_connect~1|").tolist()
    [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    nodes = str2lists(arch_str)
    out = np.zeros((len(nodes) + 1, len(nodes) + 1))
    for node, edges in enumerate(nodes, start=1):
        for op, source in edges:
            if op not in search_space:
                raise ArchError(unknown("operation", op, search_space))
            if source > len(nodes):
                raise ArchError(f"bad architecture string: node {source} of {len(nodes) + 1} in {arch_str!r:.120}")
            out[node, source] = list(search_space).index(op)
    return out


def report(results: ArchResults, extra: str | None = None, *, joint: str = " & ") -> list[str]:
    """Lines about an architecture: costs, loss and accuracy on every data set; `-` for what was not measured.

    `joint` stands between loss and accuracy, where the two original packages differ.
    """
    names = results.get_dataset_names()
    lines = [results.arch_str, f"datasets : {names}, extra-info : {extra}"]
    for dataset in names:
        costs = results.get_compute_costs(dataset)
        latency = costs["latency"]
        shown = f"{latency * 1000:.2f}" if latency is not None and latency > 0 else None
        flops, params = _or_dash(costs["flops"], "6.2f"), _or_dash(costs["params"], ".3f")
        lines.append(f"{dataset:14s} FLOP={flops} M, Params={params} MB, latency={shown} ms.")
        parts = [f"train : [{_metrics(results, dataset, 'train', joint)}]"]
        for official in _REPORTED.get(dataset, ("x-valid", "x-test")):
            gap = "  : " if dataset == "cifar10" else " : "
            parts.append(f"{_LABELS[official]}{gap}[{_metrics(results, dataset, official, joint)}]")
        lines.append(f"{dataset:14s} {', '.join(parts)}")
    return lines


def _metrics(results: ArchResults, dataset: str, official: str, joint: str) -> str:
    try:
        found: dict[str, Any] = results.get_metrics(dataset, official)
    except Absent:
        found = {}
    return f"loss = {_or_dash(found.get('loss'), '.3f')}{joint}top1 = {_or_dash(found.get('accuracy'), '.2f')}%"


def _or_dash(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)
