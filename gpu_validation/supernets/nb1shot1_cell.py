"""A cell of the NAS-Bench-1Shot1 supernets, and the weights of its connections that follow from the gates.

    node_i = choice block of  v_i0 proj_i(x) + sum_{j<i} v_ij node_j
    output = v_o0 proj_o(x) + concat_i(v_oi node_i)

where proj is a 1x1 convolution, BN and ReLU of the cell's input x. Parents of a node are one categorical decision
over sets in our product space (`nasbench_sim.spaces.nb1shot1`), so v_ij is the sum of the gates of the sets that hold
j, and 1 for a parent that is not chosen but fixed. At an architecture v is 0 or 1, as in the published code.

Deviation: there v is a softmax over single parents, which sums to 1; ours sums to the number of parents (2 or 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from gpu_validation.contracts import Active
from gpu_validation.reference.nb201 import RunningStats
from gpu_validation.supernets.layers import ConvBNRelu, filled, uniform
from nasbench_sim.spaces import NB1Shot1

#: a gate's value; 1.0: fixed, 0.0: not run
Weight = Tensor | float


class Wiring(NamedTuple):
    """What every cell does at the present gates. Node 0 is the cell's input, node i = 1..n a choice block.

    `parents[i - 1][j]`: weight of node j in node i, the last row in the output; `ops`: gates `[3]` of each choice
    block; `active`: their options that are run; `used[i - 1]`: whether anything needs node i.
    """

    parents: list[list[Weight]]
    ops: list[Tensor]
    active: list[Active | None]
    used: list[bool]


def wire(space: NB1Shot1, gates: Tensor, active: Active | None) -> Wiring:
    """The wiring at `gates[D, K]`. With `active`, nodes on no path to the output are not used; without, all are.

    >>> space = NB1Shot1(1)
    >>> wiring = wire(space, torch.eye(10)[torch.tensor([1, 1, 1, 0, 3, 2, 8])], None)  # parents of node 3: 0 and 2
    >>> [float(w) for w in wiring.parents[2]]
    [1.0, 0.0, 1.0]
    """
    parents: list[list[Weight]] = []
    free = iter([d for d in range(space.D) if d not in space.op_decisions])
    for node, sets in enumerate(space.choices, start=1):
        if len(sets) == 1:
            parents.append([1.0 if j in sets[0] else 0.0 for j in range(node)])
            continue
        d = next(free)
        runs = [k for k in range(len(sets)) if active is None or active[d, k]]
        row = gates[d].unbind()
        parents.append([_sum([row[k] for k in runs if j in sets[k]]) for j in range(node)])
    ops = [gates[d, :3] for d in space.op_decisions]
    options = [None if active is None else active[d, :3] for d in space.op_decisions]
    used = [active is None] * space.nodes
    for node in range(space.nodes, 0, -1):
        for target in range(node + 1, space.nodes + 2):
            taken = target > space.nodes or used[target - 1]
            used[node - 1] |= taken and not _off(parents[target - 1][node])
    return Wiring(parents, ops, options, used)


def _sum(terms: Sequence[Tensor]) -> Weight:
    return torch.stack(list(terms)).sum() if terms else 0.0


def _off(weight: Weight) -> bool:
    return isinstance(weight, float) and weight == 0.0


class ChoiceCell(nn.Module):
    """A cell of `nodes` choice blocks of C channels on an input of `inputs` channels; its output has nodes * C.

    Weights `w1[nodes, C, C, 1, 1]`, `w3[nodes, C, C, 3, 3]`; `running`: buffers `mean`, `var` `[nodes, 2, C]` for
    (conv1x1, conv3x3); `projections`: one a node and, last, that of the output.
    """

    mean: Tensor | None
    var: Tensor | None

    def __init__(
        self,
        inputs: int,
        channels: int,
        nodes: int,
        run: Callable[..., Tensor],
        *,
        running: bool,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        self._run = run
        n, c = nodes, channels
        self.projections = nn.ModuleList(
            ConvBNRelu(inputs, width, 1, running=running, generator=generator) for width in [*([c] * n), n * c]
        )
        self.w1 = uniform((n, c, c, 1, 1), c, generator)
        self.w3 = uniform((n, c, c, 3, 3), 9 * c, generator)
        self.register_buffer("mean", filled((n, 2, c), 0.0, generator) if running else None)
        self.register_buffer("var", filled((n, 2, c), 1.0, generator) if running else None)

    def forward(self, x: Tensor, wiring: Wiring) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, nodes * C, H, W]`."""
        zero = x.new_zeros(len(x), self.w1.shape[1], *x.shape[2:])
        states: list[Tensor] = []
        for i, used in enumerate(wiring.used):
            weights = wiring.parents[i]
            terms = [] if not used or _off(weights[0]) else [_weigh(weights[0], self.projections[i](x))]
            if used:
                terms += [_weigh(w, s) for w, s in zip(weights[1:], states, strict=True) if not _off(w)]
            states.append(self._block(i, sum(terms, start=zero), wiring) if used else zero)
        weights = wiring.parents[-1]
        out = torch.cat([zero if _off(w) else _weigh(w, s) for w, s in zip(weights[1:], states, strict=True)], dim=1)
        return out if _off(weights[0]) else out + _weigh(weights[0], self.projections[-1](x))

    def _block(self, i: int, x: Tensor, wiring: Wiring) -> Tensor:
        stats = None if self.mean is None or self.var is None else RunningStats(self.mean[i], self.var[i])
        gates, active = wiring.ops[i], wiring.active[i]
        return self._run(x, self.w1[i], self.w3[i], gates, stats, training=self.training, active=active)


def _weigh(weight: Weight, x: Tensor) -> Tensor:
    return x if isinstance(weight, float) else weight * x
