"""Jacobian covariance and NASWOT: how differently a network treats the images of one mini-batch. No labels.

    jacov  -sum_i [log(v_i + k) + 1/(v_i + k)],   k = 1e-5
    nwot   log |det K|,   K_ab = sum over ReLU units of [unit is on for both a and b, or off for both]

with v the eigenvalues of the correlation matrix of J_n = d(sum of the logits)/d(image n), and K the number of units
minus the Hamming distance of the activation patterns. Batch normalisation in training mode, so J is the derivative of
the whole batch's logits. Sources: mohsaied/zero-cost-nas, measures/jacob_cov.py; Mellor et al., Neural Architecture
Search without Training (arXiv 2006.04647, version 1 for jacov, 3 for nwot), BayesWatch/nas-without-training.

Deviations: the eigenvalues are those of a symmetric matrix (the source calls a general solver); NASWOT is also defined
where its source is not: a ReLU that nothing depends on is counted only if the network runs it (`score` never has such
networks, see `gpu_validation.proxies.graph`). NaN where the score is not finite: correlation of a Jacobian that is
constant, or images with one pattern (K singular).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.taps import RELUS, Taps, argument, undisturbed
from nasbench_sim.errors import SpecError

K = 1e-5


def jacov(network: nn.Module, batch: Batch) -> float:
    """Score of the input Jacobian's correlation; the more orthogonal the Jacobians the larger, at most -B.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> x = Batch(torch.eye(2, 4).reshape(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))
    >>> bool(jacov(net, x) < -1e4)  # linear: one Jacobian for every image, eigenvalues 2 and 0
    True
    """
    images = batch.images.detach().clone().requires_grad_()
    with undisturbed(network), torch.enable_grad():
        logits = network(images)
        if not logits.requires_grad:
            return float("nan")
        jacobian = torch.autograd.grad(logits.sum(), images, allow_unused=True)[0]
    if jacobian is None:
        return float("nan")
    rows = jacobian.flatten(1).double().cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.corrcoef(rows)
    if not np.isfinite(correlation).all():
        return float("nan")
    values = np.linalg.eigvalsh(correlation) + K
    if (values <= 0).any():
        return float("nan")
    return float(-np.sum(np.log(values) + 1 / values))


def nwot(network: nn.Module, batch: Batch) -> float:
    """Log-determinant of the agreement of activation patterns, over every ReLU that the network runs.

    >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> x = Batch(torch.eye(2).reshape(2, 1, 1, 2), torch.zeros(2, dtype=torch.int64))
    >>> round(nwot(net, x), 6), round(float(np.log(4)), 6)  # the two images agree on no unit: K = [[2, 0], [0, 2]]
    (1.386294, 1.386294)
    """
    agreement = torch.zeros(len(batch.images), len(batch.images), dtype=torch.float64)
    seen = 0

    def count(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        nonlocal agreement, seen
        on = (argument("input", 0, args, named) > 0).flatten(1)
        units = on.to(torch.float32)  # counts up to 2^24 are exact
        off = 1 - units
        agreement = agreement + (units @ units.T + off @ off.T).double().cpu()
        seen += 1
        return func(*args, **named)

    with undisturbed(network), Taps(dict.fromkeys(RELUS, count)), torch.no_grad():
        network(batch.images)
    if not seen:
        raise SpecError("NASWOT looks at ReLUs, and this network runs none")
    sign, log_det = np.linalg.slogdet(agreement.numpy())
    # K is positive semi-definite; one that is singular comes out as rounding, of either sign
    if sign <= 0 or np.linalg.matrix_rank(agreement.numpy(), hermitian=True) < len(batch.images):
        return float("nan")
    return float(log_det)
