"""Parameters and FLOPs of NAS-Bench-201 networks, exactly: both are linear in the number of 1x1 and 3x3 convolutions.

The network of the tables is a 3x3 stem, three stages of five cells with 16, 32 and 64 channels, a residual block of
stride 2 between stages, and a linear classifier (NAS-Bench-201, section 2). Of the five operations only the two
convolutions have weights, so a cell costs base + n1x1 * a + n3x3 * b.

FLOPs follow NATS-Bench, whose files hold 15.64737, 113.95137 and 11.71521 million for architectures 0, 11 and 284:
convolutions and the classifier's multiply-adds, no batch norm, no pooling. (The first NAS-Bench-201 release also
counted batch norm and pooling; its numbers are larger.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nasbench_sim.errors import NotMeasured, unknown
from nasbench_sim.spaces.nb201 import NB201, OPS
from nasbench_sim.tables.columns import FloatArray


class Linear(NamedTuple):
    """Millions: `base + per_1x1 * (1x1 convolutions in the cell) + per_3x3 * (3x3 convolutions in the cell)`."""

    base: float
    per_1x1: float
    per_3x3: float


#: parameters in millions, by data set: classifiers of 10, 100 and 120 classes differ in the base
PARAMS = {
    "cifar10": Linear(0.073306, 0.028000, 0.243040),
    "cifar100": Linear(0.079156, 0.028000, 0.243040),
    "ImageNet16-120": Linear(0.080456, 0.028000, 0.243040),
}
#: FLOPs in millions, by data set: images of 32x32, 32x32 and 16x16 pixels
FLOPS = {
    "cifar10": Linear(7.78305, 3.93216, 35.38944),
    "cifar100": Linear(7.78890, 3.93216, 35.38944),
    "ImageNet16-120": Linear(1.95340, 0.98304, 8.84736),
}
for _costs in (PARAMS, FLOPS):
    _costs["cifar10-valid"] = _costs["cifar10"]  # the same network, trained on half of the training set


def costs(space: NB201, dataset: str) -> dict[str, FloatArray]:
    """`params_m` and `flops_m` in millions, float32 `[15625]` in official index order.

    Raises `NotMeasured` for a data set that has no NAS-Bench-201 network.

    >>> round(float(costs(NB201(), "cifar10")["flops_m"][11]), 5)
    113.95137
    """
    if dataset not in PARAMS:
        raise NotMeasured(f"costs of nb201 networks: {unknown('data set', dataset, PARAMS)}")
    n1x1 = (space.all == OPS.index("nor_conv_1x1")).sum(axis=1)
    n3x3 = (space.all == OPS.index("nor_conv_3x3")).sum(axis=1)
    out = {}
    for name, table in (("params_m", PARAMS), ("flops_m", FLOPS)):
        c = table[dataset]
        out[name] = (c.base + c.per_1x1 * n1x1 + c.per_3x3 * n3x3).astype(np.float32)
    return out
