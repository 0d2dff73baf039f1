"""Per-sample predictions of trained networks: the class probabilities of N models on one split of a data set.

Tables hold one accuracy an architecture; an ensemble averages what its members say of every sample. This is the object
(and `store` the file) that carries it, from wherever the networks were trained. Validation and test are separate
objects and separate files: members are selected on the one and reported on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from nasbench_sim.ensembles.checks import (
    UNSTATED,
    check_archs,
    check_distinct,
    check_integers,
    check_line,
    check_probabilities,
    known_space,
)
from nasbench_sim.errors import ArchError, NotMeasured, SpecError, unknown

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Split = Literal["valid", "test"]


class PredictionSource(Protocol):
    """Anything that can say what networks predict on one split: `Predictions`, or a supernet."""

    @property
    def labels(self) -> IntArray:
        """True classes `[I]`."""

    def predict(self, archs: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Class probabilities `[N, I, C]` of `archs[N, D]`; raises `NotMeasured` for one it has none of."""


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Class probabilities of `N` trained models on the `I` samples of one split.

    Attributes
    ----------
    probabilities: float32 `[N, I, C]`, each row sums to 1 within 1e-4.
    labels: int64 `[I]`, true classes `0..C-1`.
    archs: int64 `[N, D]`, one architecture a model; official indices `[N]` are taken for a space of this package.
    space: name of the search space; any name, checked against the space where this package knows it.
    dataset: e.g. `cifar10`.
    split: `valid` (selection sees it) or `test` (a report sees it).
    seeds: int64 `[N]`, training seed of each model, -1 where it is not stated.
    source: where the networks come from, in words.

    All arrays are read-only; a writable one that is passed in is copied. Raises `SpecError` or `ArchError`.

    Example
    -------
    >>> p = Predictions([[[0.9, 0.1]], [[0.4, 0.6]]], [1], [6111, 9930], "nb201", "cifar10", "valid", [777, 777], "toy")
    >>> p
    Predictions(nb201, cifar10 valid, 2 models, 1 samples, 2 classes)
    >>> p.archs.shape, p.rows([9930]).tolist()
    ((2, 6), [1])
    """

    probabilities: npt.NDArray[np.float32]
    labels: IntArray
    archs: IntArray
    space: str
    dataset: str
    split: Split
    seeds: IntArray
    source: str

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise SpecError(unknown("split of predictions", self.split, get_args(Split)))
        for name in ("space", "dataset", "source"):
            check_line(getattr(self, name), name)
        probabilities = check_probabilities(self.probabilities)
        n, samples, classes = probabilities.shape
        archs = check_archs(self.archs, self.space, n)
        seeds = check_integers(self.seeds, "seeds", n, UNSTATED, None)
        check_distinct(archs, seeds)
        for name, value in (
            ("probabilities", probabilities),
            ("labels", check_integers(self.labels, "labels", samples, 0, classes - 1)),
            ("archs", archs),
            ("seeds", seeds),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_logits(cls, logits: npt.ArrayLike, *args: Any, **named: Any) -> Predictions:
        """The same from pre-softmax outputs `[N, I, C]`; softmax in float64 with the maximum taken off.

        >>> p = Predictions.from_logits([[[1e4, 0.0]]], [0], [0], "nb201", "cifar10", "valid", [-1], "toy")
        >>> p.probabilities.tolist()
        [[[1.0, 0.0]]]
        """
        raw = np.asarray(logits)
        if raw.ndim != 3 or raw.dtype.kind not in "fiu" or not np.isfinite(raw).all():
            raise SpecError(f"logits are finite numbers [N, I, C]; got {raw.dtype} of shape {raw.shape}")
        out = np.empty(raw.shape, dtype=np.float32)
        for row, values in zip(out, raw, strict=True):  # one model at a time: float64 of all would be twice the file
            row[:] = softmax(values.astype(np.float64), axis=-1)
        out.setflags(write=False)
        return cls(out, *args, **named)

    def __repr__(self) -> str:
        n, samples, classes = self.probabilities.shape
        return (
            f"Predictions({self.space}, {self.dataset} {self.split}, {n} models, {samples} samples, {classes} classes)"
        )

    def __len__(self) -> int:
        """N, the number of models."""
        return len(self.probabilities)

    @cached_property
    def truth(self) -> npt.NDArray[np.float64]:
        """Probability of the true class, float64 `[N, I]`: all that the likelihood of an ensemble depends on."""
        out = self.probabilities[:, np.arange(len(self.labels)), self.labels].astype(np.float64, order="C")
        out.setflags(write=False)
        return out

    @cached_property
    def groups(self) -> tuple[IntArray, tuple[IntArray, ...]]:
        """Distinct architectures `[A, D]` in sorted order, and for each the rows of its models (training seeds)."""
        distinct, inverse = np.unique(self.archs, axis=0, return_inverse=True)
        order = np.argsort(inverse.ravel(), kind="stable")
        bounds = np.cumsum(np.bincount(inverse.ravel()))[:-1]
        return distinct, tuple(np.split(order, bounds))

    @cached_property
    def sha256(self) -> str:
        """sha256 of the content: numbers, labels, models and provenance; the same wherever it is stored."""
        from nasbench_sim.ensembles.store import describe, digest

        return digest(describe(self))

    def rows(self, archs: npt.ArrayLike) -> IntArray:
        """The row of each of `archs` (`[n, D]`, or official indices `[n]`).

        Raises `NotMeasured` for an architecture without predictions, and for one with several training seeds: take
        `with_seed` first, nothing is chosen or averaged silently.
        """
        wanted = check_archs(archs, self.space, None)
        distinct, models = self.groups
        if wanted.shape[1] != distinct.shape[1]:
            raise ArchError(f"{self.space}: these predictions' architectures have {distinct.shape[1]} decisions")
        at = {arch.tobytes(): i for i, arch in enumerate(distinct)}
        out = []
        for arch in wanted:
            found = at.get(arch.tobytes())
            if found is None:
                raise NotMeasured(
                    f"no predictions of architecture {self.name_of(arch)} among the {len(self)} models of these "
                    f"{self.dataset} {self.split} predictions; add it to the file"
                )
            if len(models[found]) > 1:
                seeds = ", ".join(str(s) for s in self.seeds[models[found]])
                raise NotMeasured(
                    f"architecture {self.name_of(arch)} has {len(models[found])} models (training seeds {seeds}); "
                    "choose one seed with with_seed"
                )
            out.append(int(models[found][0]))
        return np.array(out, dtype=np.int64)

    def predict(self, archs: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Class probabilities `[n, I, C]` of `archs`; see `rows` for what raises."""
        return np.asarray(self.probabilities[self.rows(archs)])

    def subset(self, rows: Sequence[int] | Array) -> Predictions:
        """The models of these rows only; raises `SpecError` for a row that is not there or is given twice."""
        index = check_integers(rows, "rows", None, 0, len(self) - 1)
        if len(set(index.tolist())) != len(index):
            raise SpecError("a row is given twice; a subset holds each model once")
        parts = (self.probabilities[index], self.labels, self.archs[index])
        return Predictions(*parts, self.space, self.dataset, self.split, self.seeds[index], self.source)

    def with_seed(self, seed: int) -> Predictions:
        """The models of one training seed; raises `NotMeasured` where there is none."""
        rows = np.nonzero(self.seeds == seed)[0]
        if not len(rows):
            raise NotMeasured(unknown("training seed", seed, sorted({int(s) for s in self.seeds})))
        return self.subset(rows)

    def name_of(self, arch: npt.ArrayLike) -> str:
        """One architecture `[D]` in words: the space's string, or its numbers where the space is not ours."""
        space = known_space(self.space)
        return space.format(arch) if space else " ".join(str(k) for k in np.asarray(arch))

    def save(self, path: Path | str) -> str:
        """Write a sealed file atomically; returns the content's sha256. See `store` for the format."""
        from nasbench_sim.ensembles.store import write_predictions

        return write_predictions(self, path)

    @staticmethod
    def load(path: Path | str) -> Predictions:
        """Read and check a file; raises `TableError`, one line, for anything that is not exactly one of ours."""
        from nasbench_sim.ensembles.store import read_predictions

        return read_predictions(path)


def check_partner(valid: Predictions, test: Predictions) -> None:
    """Raise `SpecError` unless `test` is the test split of the very models of `valid`, row by row.

    Identical numbers under both names are refused as well: one of the files would be mislabelled.
    """
    if test.split != "test":
        raise SpecError(f"the report needs predictions of the test split, these are of {test.split!r}")
    for name in ("space", "dataset"):
        if getattr(valid, name) != getattr(test, name):
            raise SpecError(
                f"the two files differ in {name}: {getattr(valid, name)} (valid) and {getattr(test, name)} (test)"
            )
    if len(valid) != len(test):
        raise SpecError(f"{len(valid)} models in the validation file and {len(test)} in the test file; give the same")
    unlike = (valid.archs != test.archs).any(axis=1) | (valid.seeds != test.seeds)
    if unlike.any():
        row = int(unlike.argmax())
        raise SpecError(
            f"row {row} is {valid.name_of(valid.archs[row])} (training seed {valid.seeds[row]}) in the validation file "
            f"and {test.name_of(test.archs[row])} (seed {test.seeds[row]}) in the test file; give the same models in "
            "the same order"
        )
    if valid.probabilities.shape[2] != test.probabilities.shape[2]:
        raise SpecError("the two files have unlike numbers of classes")
    if np.array_equal(valid.probabilities, test.probabilities):
        raise SpecError("the validation and the test file hold the same predictions; one of them is mislabelled")
