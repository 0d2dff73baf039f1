"""Parameters and FLOPs of the stand-alone networks of all 15,625 NAS-Bench-201 cells, as whole numbers.

The linear costs are those of `nasbench_sim.tables.nb201_costs`, without its rounding to float32, which is off by up to
6 of 220 million FLOPs. Two conventions of FLOPs are in use, both of multiply-adds (what each counts: `counting`):

- `nats`: NATS-Bench. Convolutions, and the classifier with its bias.
- `nb201`: the first release of NAS-Bench-201, which most published tables repeat: the above without that bias, and 2
  for each number that a BN normalises and 1 for each that the global pooling reads. Every convolution but the two of
  1x1 in the shortcuts is followed by a BN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import NotMeasured, unknown
from nasbench_sim.spaces.nb201 import NB201, OPS
from nasbench_sim.tables.nb201_costs import FLOPS, PARAMS, Linear

Whole = npt.NDArray[np.int64]

#: data set -> classes, pixels a side
IMAGES = {"cifar10": (10, 32), "cifar10-valid": (10, 32), "cifar100": (100, 32), "ImageNet16-120": (120, 16)}
CELLS, CHANNELS = 5, 16


class NB201Counts(NamedTuple):
    """`[15625]` each in official index order: parameters that train; FLOPs of one image by either convention."""

    parameters: Whole
    nats: Whole
    nb201: Whole


def nb201_counts(space: NB201, dataset: str) -> NB201Counts:
    """Costs of every cell's network (C 16, N 5) for the classes and images of `dataset`.

    Raises `NotMeasured` for a data set that has no NAS-Bench-201 network.

    >>> costs = nb201_counts(NB201(), "cifar10")  # the public table: 0.129306 and 16.315008 million for cell 0
    >>> [int(column[0]) for column in costs]
    [129306, 15647370, 16315008]
    """
    if dataset not in IMAGES:
        raise NotMeasured(f"costs of nb201 networks: {unknown('data set', dataset, IMAGES)}")
    classes, pixels = IMAGES[dataset]
    stages = [(CHANNELS << s) * (pixels >> s) ** 2 for s in range(3)]  # numbers in a feature map
    # stem, two convolutions of each residual block, last BN
    fixed = stages[0] + 2 * (stages[1] + stages[2]) + stages[2]
    convolutions = ((space.all == OPS.index("nor_conv_1x1")) | (space.all == OPS.index("nor_conv_3x3"))).sum(axis=1)
    normalised = fixed + convolutions * CELLS * sum(stages)
    nats = _whole(space, FLOPS[dataset])
    return NB201Counts(_whole(space, PARAMS[dataset]), nats, nats - classes + 2 * normalised + stages[2])


def _whole(space: NB201, costs: Linear) -> Whole:
    """A linear cost in single units."""
    base, one, three = (round(millions * 1e6) for millions in costs)
    n1x1 = (space.all == OPS.index("nor_conv_1x1")).sum(axis=1)
    n3x3 = (space.all == OPS.index("nor_conv_3x3")).sum(axis=1)
    return np.asarray(base + one * n1x1 + three * n3x3, dtype=np.int64)
