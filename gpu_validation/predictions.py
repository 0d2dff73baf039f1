"""Per-sample predictions of networks trained alone, in the file format that `nasbench-sim ensemble` opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gpu_validation.training import Trainer
from nasbench_sim.ensembles import Predictions
from nasbench_sim.errors import SpecError

Split = Literal["valid", "test"]
SPLITS: tuple[Split, ...] = ("valid", "test")


def predicted(trainer: Trainer, split: Split) -> Predictions:
    """Class probabilities of one trained network on all images of a split, in the data set's order, not augmented.

    Raises `SpecError` for outputs that are not finite.

    >>> from gpu_validation.data import load_dataset
    >>> from gpu_validation.training import make_train_spec
    >>> trainer = Trainer(make_train_spec(1462, "short", channels=2, cells=1), load_dataset("synthetic"))
    >>> predicted(trainer, "test")
    Predictions(nb201, synthetic test, 1 models, 64 samples, 10 classes)
    """
    spec, data = trainer.spec, trainer.dataset
    logits, labels = trainer.outputs(split)
    return Predictions.from_logits(
        logits.cpu().double().numpy()[None],
        labels.cpu().numpy(),
        np.array([spec.arch]),
        spec.space,
        data.name,
        split,
        [spec.seed],
        f"trained alone by gpu-validation train: {spec.recipe}; {data.about}"[:1000],
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The models of several predictions of the same split of the same data set, in this order.

    Raises `SpecError` where there are none, and where they are not of the same samples or trained by one recipe.

    >>> one = Predictions([[[0.9, 0.1]]], [1], [6111], "nb201", "cifar10", "valid", [777], "toy")
    >>> two = Predictions([[[0.2, 0.8]]], [1], [9930], "nb201", "cifar10", "valid", [777], "toy")
    >>> len(joined([one, two]))
    2
    """
    if not parts:
        raise SpecError("there are no predictions to join; train at least one network")
    first = parts[0]
    for part in parts[1:]:
        for name in ("space", "dataset", "split", "source"):
            if getattr(part, name) != getattr(first, name):
                raise SpecError(
                    f"predictions of unlike {name} cannot be joined: {getattr(first, name)} and {getattr(part, name)}"
                )
        if not np.array_equal(part.labels, first.labels):
            raise SpecError("the predictions are of different samples; train all networks on one data set")
    return Predictions(
        np.concatenate([part.probabilities for part in parts]),
        first.labels,
        np.concatenate([part.archs for part in parts]),
        first.space,
        first.dataset,
        first.split,
        np.concatenate([part.seeds for part in parts]),
        first.source,
    )
