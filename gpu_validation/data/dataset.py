"""A data set on a device, and its mini-batches: a pure function of (split, seed, step).

Which images, whether they are flipped and where they are cropped is drawn on the host by a counter-based generator, so
that a CPU and a GPU see the same mini-batches; the gathering itself is done on the device, where the images live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasbench_sim.errors import SpecError, unknown

SPLITS = ("train", "valid", "test")
_TAGS = {"train": 1, "valid": 2, "test": 3}


@dataclass(frozen=True)
class Dataset:
    """Images uint8 `[n, c, H, W]` and labels int64 `[n]` of the splits `train`, `valid` and `test`, on one device.

    `mean` and `std` a channel are of pixels in [0, 1], over the training split. `flip`: training images are mirrored
    with probability 1/2; `pad`: they are moved by up to so many pixels each way (0: not at all). `about`: where it
    comes from and how the splits were made, for records. Raises `SpecError` for splits that do not fit together.
    """

    name: str
    classes: int
    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False
    pad: int = 0
    about: str = ""
    _norms: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for split in SPLITS:
            x, y = self.images.get(split), self.labels.get(split)
            if x is None or y is None:
                raise SpecError(f"data set {self.name} has no split {split}")
            if x.dtype != torch.uint8 or x.ndim != 4 or y.dtype != torch.int64 or len(x) != len(y) or len(x) < 2:
                raise SpecError(f"data set {self.name}, {split}: images are uint8 [n, c, H, W] with n labels, n >= 2")
            if int(y.min()) < 0 or int(y.max()) >= self.classes:
                raise SpecError(f"data set {self.name}, {split}: labels are 0..{self.classes - 1}")
        if len({tuple(self.images[split].shape[1:]) for split in SPLITS}) > 1:
            raise SpecError(f"data set {self.name}: its splits have images of different shapes")

    @property
    def channels(self) -> int:
        """Colour channels."""
        return int(self.images["train"].shape[1])

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images["train"].device

    def size(self, split: str) -> int:
        """Images of a split; raises `SpecError` for an unknown one."""
        if split not in SPLITS:
            raise SpecError(unknown("split", split, SPLITS))
        return len(self.labels[split])

    @cached_property
    def sha256(self) -> str:
        """sha256 of every pixel and label, and of how they are normalised and augmented."""
        digest = hashlib.sha256(repr((self.name, self.classes, self.mean, self.std, self.flip, self.pad)).encode())
        for split in SPLITS:
            digest.update(self.images[split].cpu().contiguous().numpy().data)
            digest.update(self.labels[split].cpu().numpy().data)
        return digest.hexdigest()

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images as float32, (pixel / 255 - mean) / std."""
        key = images.device
        if key not in self._norms:
            shape = (1, len(self.mean), 1, 1)
            scale = torch.tensor([255 * s for s in self.std], dtype=torch.float32, device=key).view(shape)
            shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], device=key).view(shape)
            self._norms[key] = (1 / scale, shift)
        scale, shift = self._norms[key]
        return images.float() * scale - shift


@lru_cache(maxsize=64)
def _permutation(n: int, seed: int, epoch: int, tag: int) -> npt.NDArray[np.int64]:
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, tag, epoch])))
    return random.permutation(n)


def batch(
    dataset: Dataset, split: str, *, seed: int, step: int, size: int, augment: bool = True
) -> tuple[Tensor, Tensor]:
    """Mini-batch number `step` of the stream `seed`: float32 images `[size, c, H, W]`, normalised, and labels.

    The stream goes through a new permutation of the split every ceil(n / size) steps; a last part that is too short
    is filled up from the beginning of the same permutation, so that every batch has `size` images. Raises `SpecError`
    for a size that is not 1 to n.

    >>> data = synthetic(8)
    >>> x, y = batch(data, "train", seed=0, step=3, size=4)
    >>> x.shape[0], bool((batch(data, "train", seed=0, step=3, size=4)[1] == y).all())
    (4, True)
    """
    n = dataset.size(split)
    if not 1 <= size <= n:
        raise SpecError(f"a batch of {dataset.name} {split} has 1 to {n} images, got {size}")
    if seed < 0 or step < 0:
        raise SpecError(f"seed and step are at least 0, got {seed} and {step}")
    epoch, place = divmod(step, -(-n // size))
    order = _permutation(n, seed, epoch, _TAGS[split])
    index = order[np.arange(place * size, (place + 1) * size) % n]
    where = torch.from_numpy(index).to(dataset.device)
    images = dataset.images[split][where]
    if augment and (dataset.flip or dataset.pad):
        images = _augmented(dataset, images, seed, step, _TAGS[split])
    return dataset.normalised(images), dataset.labels[split][where]


def _augmented(dataset: Dataset, images: Tensor, seed: int, step: int, tag: int) -> Tensor:
    """Images mirrored and moved, as padding with black, cropping and flipping would; one gather on the device.

    What goes to the device is a source row for every row and a source column for every column of each image: 131 KB for
    256 images of 32x32 pixels, where an index for every pixel would be 2.1 MB a step.
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, tag, step, 1])))
    b, c, height, width = images.shape
    flips = random.random(b) < 0.5
    moves = random.integers(-dataset.pad, dataset.pad + 1, size=(2, b)) if dataset.pad else np.zeros((2, b), dtype=int)
    rows = np.arange(height) + moves[0][:, None]
    columns = np.arange(width) + moves[1][:, None]
    if dataset.flip:
        columns = np.where(flips[:, None], columns[:, ::-1], columns)
    row, column = torch.from_numpy(rows).to(images.device), torch.from_numpy(columns).to(images.device)
    place = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None, :]
    moved = images.reshape(b, c, -1).gather(2, place.view(b, 1, -1).expand(b, c, -1)).view(images.shape)
    if dataset.pad:
        inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
        moved = moved * inside[:, None]
    return moved


def batches(dataset: Dataset, split: str, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All images of a split in order, normalised, `size` at a time; a last one alone joins the batch before it.

    (A batch of one image has no batch statistics.) Raises `SpecError` for a size below 2.
    """
    n = dataset.size(split)
    if size < 2:
        raise SpecError(f"an evaluation batch has at least 2 images, got {size}")
    start = 0
    while start < n:
        stop = n if n - (start + size) == 1 else min(start + size, n)
        yield dataset.normalised(dataset.images[split][start:stop]), dataset.labels[split][start:stop]
        start = stop


def synthetic(n: int = 64, device: str = "cpu") -> Dataset:
    """`n` made-up images a split: ten coloured 8x8 patterns under noise; for tests, of no other use."""
    random = np.random.Generator(np.random.Philox(key=1))
    patterns = random.uniform(60, 190, size=(10, 3, 8, 8))
    images, labels = {}, {}
    for split in SPLITS:
        y = random.permutation(np.arange(n) % 10)
        x = np.clip(patterns[y] + 30 * random.standard_normal((n, 3, 8, 8)), 0, 255).astype(np.uint8)
        images[split], labels[split] = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    about = "made up: ten patterns under noise"
    return Dataset("synthetic", 10, images, labels, (0.5,) * 3, (0.2,) * 3, flip=False, pad=1, about=about)
