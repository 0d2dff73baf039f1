"""CIFAR-10 and CIFAR-100 from their official archives of pickled batches.

The sha256 of both archives is the one that Keras checks, their md5 (c58f3010..., eb9058c3...) that of the official page
and torchvision; a file with another sha256 is not opened.

Splits. CIFAR-10: 25,000 training images train, 25,000 validate, stratified by class with a fixed generator. This is
not the published cifar-split.txt, which is not at hand: accuracies are of the same kind, not of the same images.
CIFAR-100: 50,000 train; the test images are halved, 5,000 each, as in NAS-Bench-201 but again not the same halves.
Means and deviations are those of NAS-Bench-201 (AutoDL-Projects, get_dataset_with_transform.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.data.dataset import SPLITS, Dataset
from gpu_validation.data.files import check_digest, located, members
from gpu_validation.data.pickles import read_batch
from gpu_validation.data.splits import stratified

_PIXELS = 3 * 32 * 32
Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Archive:
    """What is where in an archive: its sha256, members of the training and the test set, the key of the labels."""

    file: str
    sha256: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    limit: int = 160_000_000  # bytes of a member; CIFAR-100's training batch has 155 MB


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        ("cifar-10-batches-py/test_batch",),
        "labels",
        10,
        (125.3, 123.0, 113.9),
        (63.0, 62.1, 66.7),
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ("cifar-100-python/train",),
        ("cifar-100-python/test",),
        "fine_labels",
        100,
        (129.3, 124.1, 112.4),
        (68.2, 65.4, 70.4),
    ),
}


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """The data set in three splits on `device`; raises `TableError` for an archive that is not the published one."""
    archive = ARCHIVES[name]
    path = located(name, folder, archive.file)
    train, test = read(path, archive)
    if name == "cifar10":
        first, second = stratified(train[1], 2)
        parts = (_of(train, first), _of(train, second), test)
        how = "training images in stratified halves (not the published cifar-split.txt)"
    else:
        first, second = stratified(test[1], 2)
        parts = (train, _of(test, first), _of(test, second))
        how = "test images in stratified halves for validation and test (not the published halves)"
    return assembled(name, archive.classes, parts, (3, 32, 32), archive.mean, archive.std, 4, device, how)


def read(path: Path, archive: Archive) -> tuple[Part, Part]:
    """Images `[n, 3072]` and labels `[n]` of the training and the test set; see `load` for what raises."""
    check_digest(path, "sha256", archive.sha256)
    found = members(path, dict.fromkeys((*archive.train, *archive.test), archive.limit))
    out = []
    for names in (archive.train, archive.test):
        read_parts = [
            read_batch(
                found.pop(member),
                f"{path}, {member}",
                labels=archive.labels,
                pixels=_PIXELS,
                classes=range(archive.classes),
            )
            for member in names
        ]
        out.append((np.concatenate([x for x, _ in read_parts]), np.concatenate([y for _, y in read_parts])))
    return out[0], out[1]


def _of(part: Part, index: npt.NDArray[np.int64]) -> Part:
    return part[0][index], part[1][index]


def assembled(
    name: str,
    classes: int,
    parts: tuple[Part, Part, Part],
    shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    pad: int,
    device: str,
    about: str,
) -> Dataset:
    """A flipped and moved data set from flat images of its three splits; `mean` and `std` of pixels in 0..255."""
    images = {
        s: torch.from_numpy(x.reshape(-1, *shape).copy()).to(device) for s, (x, _) in zip(SPLITS, parts, strict=True)
    }
    labels = {s: torch.from_numpy(y).to(device) for s, (_, y) in zip(SPLITS, parts, strict=True)}
    scaled = tuple(m / 255 for m in mean), tuple(d / 255 for d in std)
    return Dataset(name, classes, images, labels, *scaled, flip=True, pad=pad, about=about)
