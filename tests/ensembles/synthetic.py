"""Predictions of many cells with the structure of real ones: hard images, better and worse cells that err alike.

A network's logit of class c on image i: the image's own difficulty and confusion (shared by all networks), a part that
cells share option by option (so that alike cells make alike errors), and noise of the network itself.
"""

from __future__ import annotations

import numpy as np

from nasbench_sim.ensembles import Predictions
from nasbench_sim.spaces import NB201

QUALITY = np.array([-0.6, 0.0, 0.2, 0.35, 0.05])  # of none, skip, conv1x1, conv3x3, pooling: logit of the true class


def class_cells() -> np.ndarray:
    """The first cell of every class, official indices `[6466]`."""
    return np.unique(NB201().classes, return_index=True)[1]


def make_pair(
    cells: np.ndarray, images: int = 2000, *, seed: int = 0, second: int = 0, classes: int = 10
) -> tuple[Predictions, Predictions]:
    """Validation and test predictions of `cells` (official indices), every one trained with seed 0, the first `second`
    also with seed 1."""
    space = NB201()
    archs = space.at(np.concatenate([cells, cells[:second]]))
    seeds = np.concatenate([np.zeros(len(cells), dtype=np.int64), np.ones(second, dtype=np.int64)])
    rng = np.random.Generator(np.random.Philox(key=seed))
    out = []
    for split in ("valid", "test"):
        labels = np.arange(images) % classes
        confusion = rng.standard_normal((images, classes), dtype=np.float32)
        shared = 0.6 / np.sqrt(6) * rng.standard_normal((6, 5, images, classes), dtype=np.float32)
        probabilities = np.empty((len(archs), images, classes), dtype=np.float32)
        for n, arch in enumerate(archs):
            logits = confusion + 0.5 * rng.standard_normal((images, classes), dtype=np.float32)
            for d, option in enumerate(arch):
                logits += shared[d, option]
            logits[np.arange(images), labels] += 1.5 + QUALITY[arch].sum()
            np.exp(logits, out=logits)
            probabilities[n] = logits / logits.sum(axis=1, keepdims=True)
        probabilities.setflags(write=False)
        out.append(Predictions(probabilities, labels, archs, "nb201", "cifar10", split, seeds, "made for a test"))
    return out[0], out[1]
