"""Fashion-MNIST made small: 14x14 pixels, 2,000 balanced images a split, so that a supernet takes seconds an epoch.

Here everything can be known at once on a laptop: all 6,466 cells trained alone, searches on the supernet, one-shot
accuracies and predictions (`data/plans/breadth.yaml`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gpu_validation.data import idx
from gpu_validation.data.dataset import Dataset

IMAGES = 2_000
SIDE = 14
BORDER = 2  # of black around the 28x28 pixels of the files, as `idx` gives them


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """The first 200 images of each class of each split of Fashion-MNIST, every 2x2 pixels averaged into one.

    Neither moved nor mirrored. Raises what `idx.load` raises: it reads the same files.
    """
    whole = idx.load("fashion-mnist", folder, "cpu")
    images, labels = {}, {}
    for split, y in whole.labels.items():
        chosen = balanced(y, IMAGES // whole.classes, whole.classes)
        images[split] = shrunk(whole.images[split][chosen]).to(device)
        labels[split] = y[chosen].to(device)
    pixels = images["train"].double() / 255
    about = f"Fashion-MNIST (MIT), {SIDE}x{SIDE} by averaging, the first {IMAGES // whole.classes} of a class and split"
    return Dataset(name, whole.classes, images, labels, (float(pixels.mean()),), (float(pixels.std()),), about=about)


def balanced(labels: Tensor, each: int, classes: int) -> Tensor:
    """Places of the first `each` images of every class, ascending.

    >>> balanced(torch.tensor([0, 1, 0, 1, 0, 1]), 2, 2).tolist()
    [0, 1, 2, 3]
    """
    return torch.cat([torch.nonzero(labels == c)[:each, 0] for c in range(classes)]).sort().values


def shrunk(images: Tensor) -> Tensor:
    """uint8 `[n, c, 32, 32]` to `[n, c, 14, 14]`: the mean of every 2x2 pixels within the border, rounded half up."""
    inner = images[:, :, BORDER:-BORDER, BORDER:-BORDER]
    n, c, side, _ = inner.shape
    part = side // SIDE
    sums = inner.reshape(n, c, SIDE, part, SIDE, part).to(torch.int32).sum(dim=(3, 5))
    return ((sums + part * part // 2) // (part * part)).to(torch.uint8)
