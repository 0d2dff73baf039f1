"""The 1,797 handwritten 8x8 digits that come with scikit-learn: the data set that needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.data.dataset import SPLITS, Dataset
from nasbench_sim.errors import SpecError


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """Thirds of every class for training, validation and test; not augmented (a moved digit leaves its 8x8 frame).

    Which image goes where is drawn once and for all. Raises `SpecError` where scikit-learn is missing.

    >>> data = load("digits", None, "cpu")
    >>> data.classes, tuple(data.images["train"].shape[1:]), data.size("train") + data.size("valid") + data.size("test")
    (10, (1, 8, 8), 1797)
    """
    if folder is not None:
        raise SpecError("digits come with scikit-learn and have no folder; leave --data-folder away")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SpecError(
            f"digits come with scikit-learn, which is missing ({error}); pip install scikit-learn"
        ) from None
    content: Any = load_digits()
    images = np.round(content.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = content.target.astype(np.int64)
    index = thirds(labels)
    train = images[index["train"]] / 255
    return Dataset(
        "digits",
        10,
        {split: torch.from_numpy(images[index[split]]).to(device) for split in SPLITS},
        {split: torch.from_numpy(labels[index[split]]).to(device) for split in SPLITS},
        (float(train.mean()),),
        (float(train.std()),),
        about="scikit-learn digits (UCI optical recognition of handwritten digits), stratified thirds",
    )


def thirds(labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    """Indices of three equal parts of every class, in random order, always the same.

    >>> {split: len(i) for split, i in thirds(np.repeat(np.arange(2), 6)).items()}
    {'train': 4, 'valid': 4, 'test': 4}
    """
    random = np.random.Generator(np.random.Philox(key=201))
    parts: dict[str, list[npt.NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        for split, some in zip(SPLITS, np.array_split(mine, 3), strict=True):
            parts[split].append(some)
    return {split: random.permutation(np.concatenate(some)) for split, some in parts.items()}
