"""How good an ensemble is, from the class probabilities of its members: likelihood, accuracy, calibration, diversity.

An ensemble averages *probabilities* (after the softmax) with equal weights, as NES does (Zaidi et al., Neural ensemble
search for uncertainty estimation and dataset shift, NeurIPS 2021; automl/nes `form_ensemble_pred`). Shapes: `M`
members, `I` samples, `C` classes. Sums run in float64 and in a fixed order, whatever the type of the input.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import SpecError

Array = npt.NDArray[Any]

#: the smallest probability that counts (87 nats): a float32 softmax underflows to 0 there, which is no measurement
TINY = float(np.finfo(np.float32).tiny)
BINS = 10  # equal-width bins of the calibration error, as in automl/nes


def average(members: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Mean of the members' probabilities, `[M, I, C] -> float64 [I, C]`, added in the order of the members.

    >>> average([[[1.0, 0.0]], [[0.5, 0.5]]]).tolist()
    [[0.75, 0.25]]
    """
    p = _members(members)
    total = p[0].astype(np.float64)
    for member in p[1:]:
        total += member
    return np.asarray(total / len(p))


def nll(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Negative log-likelihood in nats, the mean over samples of -log p(true class); `[I, C]`, `[I]`.

    A probability below 2^-126 counts as 2^-126.

    >>> round(nll([[0.5, 0.5], [0.25, 0.75]], [0, 1]), 4)
    0.4904
    """
    p, y = _pair(probabilities, labels)
    truth = p[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(np.maximum(truth, TINY)).mean())


def accuracy(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Percent of samples whose most probable class is the true one; `[I, C]`, `[I]`. The first class wins a tie.

    >>> accuracy([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]], [0, 1, 0, 1])
    75.0
    """
    p, y = _pair(probabilities, labels)
    return 100 * int((p.argmax(axis=1) == y).sum()) / len(y)


def ece(probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS) -> float:
    """Expected calibration error, a fraction in [0, 1]: sum over bins of n_b / I |accuracy_b - confidence_b|.

    Bin b holds the samples whose confidence (largest probability) lies in (b / bins, (b + 1) / bins]; an empty bin
    adds nothing. Source: Naeini, Cooper & Hauskrecht, AAAI 2015; bins and bounds as in automl/nes `compute_ece`.

    >>> round(ece([[0.95, 0.05], [0.95, 0.05]], [0, 1]), 4)
    0.45
    """
    if bins < 1:
        raise SpecError(f"bins is at least 1, got {bins}")
    p, y = _pair(probabilities, labels)
    confidence = p.max(axis=1).astype(np.float64)
    place = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1
    place = np.clip(place, 0, bins - 1)  # a confidence of 1 + 1e-7, from float32 rounding, is in the last bin
    gap = np.bincount(place, weights=(p.argmax(axis=1) == y) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(y))


def disagreement(members: npt.ArrayLike) -> float:
    """Mean over pairs of members of the fraction of samples on which their classes differ; 0 for one member.

    With n_c members that predict class c, sum_c n_c (n_c - 1) of the M (M - 1) ordered pairs agree on a sample.

    >>> disagreement([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])
    0.5
    """
    p = _members(members)
    votes = p.argmax(axis=2)  # [M, I]
    m, samples = votes.shape
    if m == 1:
        return 0.0
    agree = 0
    for c in range(p.shape[2]):
        n = (votes == c).sum(axis=0)
        agree += int((n * (n - 1)).sum())
    return 1 - agree / int(m * (m - 1) * samples)


def oracle_accuracy(members: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Percent of samples that at least one member gets right: what a perfect choice of member would reach.

    >>> oracle_accuracy([[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.7, 0.3]]], [0, 0])
    100.0
    """
    p = _members(members)
    _, y = _pair(p[0], labels)
    return 100 * int((p.argmax(axis=2) == y).any(axis=0).sum()) / len(y)


@dataclass(frozen=True)
class Scores:
    """What an ensemble does on one split.

    Attributes
    ----------
    nll, accuracy, ece: of the averaged probabilities; nats, percent, a fraction.
    member_nll, member_accuracy: means of the members' own numbers; nats, percent.
    disagreement: see `disagreement`, a fraction.
    oracle_accuracy: see `oracle_accuracy`, percent.
    """

    nll: float
    accuracy: float
    ece: float
    member_nll: float
    member_accuracy: float
    disagreement: float
    oracle_accuracy: float

    @property
    def gain(self) -> float:
        """Predictive diversity in nats: mean NLL of the members minus that of the ensemble, >= 0 by Jensen."""
        return self.member_nll - self.nll

    def record(self) -> dict[str, float]:
        """All numbers as plain data, `gain` included."""
        return {**asdict(self), "gain": self.gain}


def score(members: npt.ArrayLike, labels: npt.ArrayLike) -> Scores:
    """All scores of the ensemble of `members[M, I, C]` on `labels[I]`.

    >>> s = score([[[0.9, 0.1]], [[0.1, 0.9]]], [0])
    >>> round(s.nll, 3), round(s.member_nll, 3), s.disagreement, s.oracle_accuracy
    (0.693, 1.204, 1.0, 100.0)
    """
    p = _members(members)
    mean = average(p)
    each = [(nll(member, labels), accuracy(member, labels)) for member in p]
    return Scores(
        nll=nll(mean, labels),
        accuracy=accuracy(mean, labels),
        ece=ece(mean, labels),
        member_nll=sum(n for n, _ in each) / len(each),
        member_accuracy=sum(a for _, a in each) / len(each),
        disagreement=disagreement(p),
        oracle_accuracy=oracle_accuracy(p, labels),
    )


def _members(members: npt.ArrayLike) -> Array:
    p = np.asarray(members)
    if p.ndim != 3 or 0 in p.shape:
        raise SpecError(f"the members' probabilities are an array [M, I, C], none of them 0; got shape {p.shape}")
    return p


def _pair(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array]:
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or 0 in p.shape:
        raise SpecError(f"probabilities are an array [I, C], none of them 0; got shape {p.shape}")
    if y.shape != p.shape[:1] or y.dtype.kind not in "iu":
        raise SpecError(f"labels are {len(p)} integers, one a sample; got {y.dtype} of shape {y.shape}")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise SpecError(f"labels are classes 0..{p.shape[1] - 1}; found {y.min()}..{y.max()}")
    return p, y
