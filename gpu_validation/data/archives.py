"""CIFAR-10 and CIFAR-100 from their official Python archives, and ImageNet16-120 from its pickled batches.

Archives are compared with their published sha256 before a byte is unpacked, members are read in memory by expected
name (nothing is extracted, so no path can lead anywhere), and pickles only through the allow-list reader.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.data.dataset import Dataset
from gpu_validation.data.pickled import read_images
from nasbench_sim.errors import TableError
from nasbench_sim.files import sha256_file

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class Archive(NamedTuple):
    """One official archive: file name, sha256, training members, test member, key of the labels, bytes a member."""

    file: str
    sha256: str
    train: tuple[str, ...]
    test: str
    labels: str
    cap: int
    classes: int


CIFAR: Mapping[str, Archive] = {
    "cifar10": Archive(
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "cifar-10-batches-py/test_batch",
        "labels",
        40_000_000,
        10,
    ),
    "cifar100": Archive(
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ("cifar-100-python/train",),
        "cifar-100-python/test",
        "fine_labels",
        170_000_000,
        100,
    ),
}
#: MD5 of ImageNet16's files, as the NAS-Bench-201 code (DownsampledImageNet.py) checks them; none stronger is published
IMAGENET16 = {
    "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
    "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
    "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
    "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
    "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
    "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
    "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
    "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
    "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
    "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
}
#: channel means and sds of pixels in [0, 1], as the NAS-Bench-201 code has them
NORM = {
    "cifar10": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
    "cifar100": ((129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)),
    "ImageNet16-120": ((122.68 / 255, 116.66 / 255, 104.01 / 255), (63.22 / 255, 61.26 / 255, 65.09 / 255)),
}
SPLIT_KEY = 201  # the halves below are drawn once and for all


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """CIFAR-10: 25,000 training images each for the weights and for validation; CIFAR-100 and ImageNet16-120: all
    training images for the weights, halves of the official test split for validation and test.

    These are the sizes of NAS-Bench-201; *which* images go where is drawn here (its lists of indices are not at hand),
    so that accuracies agree in distribution only. Raises `TableError` for what is missing, damaged or not the original.
    """
    if folder is None:
        raise TableError(f"{name} is read from its official files; say where they are with --data-folder")
    read = read_imagenet16(folder) if name == "ImageNet16-120" else read_cifar(name, folder)
    (x, y), (x_test, y_test), classes, side = read
    if name == "cifar10":
        first, second = halves(len(y))
        split = {"train": (x[first], y[first]), "valid": (x[second], y[second]), "test": (x_test, y_test)}
    else:
        first, second = halves(len(y_test))
        split = {"train": (x, y), "valid": (x_test[first], y_test[first]), "test": (x_test[second], y_test[second])}
    images = {s: torch.from_numpy(a.reshape(-1, 3, side, side).copy()).to(device) for s, (a, _) in split.items()}
    labels = {s: torch.from_numpy(b).to(device) for s, (_, b) in split.items()}
    mean, sd = NORM[name]
    about = f"{name}, official files; halves drawn by Philox({SPLIT_KEY}), not the published lists of indices"
    return Dataset(name, classes, images, labels, mean, sd, flip=True, pad=4 if side == 32 else 2, about=about)


def halves(n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two halves of 0..n-1, each ascending, always the same.

    >>> [len(half) for half in halves(10)]
    [5, 5]
    """
    order = np.random.Generator(np.random.Philox(key=SPLIT_KEY)).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def read_cifar(
    name: str, folder: Path, sha256: str | None = None
) -> tuple[tuple[Images, Labels], tuple[Images, Labels], int, int]:
    """Training and test images of an archive (a file, or the folder it is in), classes and side length.

    `sha256` replaces the published one (tests have archives of their own).
    """
    about = CIFAR[name]
    path = folder if folder.is_file() else folder / about.file
    if not path.is_file():
        raise TableError(f"{path} is not there; get {about.file} from its authors' page, or give its --data-folder")
    found = sha256_file(path)
    if found != (sha256 or about.sha256):
        raise TableError(f"{path} has sha256 {found[:16]}..., the original {about.sha256[:16]}...; get it again")
    wanted = {*about.train, about.test}
    parts: dict[str, tuple[Images, Labels]] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:  # one pass, nothing on disk
            for member in archive:
                if member.name not in wanted:
                    continue
                if not member.isfile() or member.size > about.cap or member.name in parts:
                    raise TableError(f"{path}: {member.name} is no plain file of at most {about.cap} bytes, once")
                file = archive.extractfile(member)
                data = file.read(about.cap + 1) if file is not None else b""
                what = f"{path.name}, {member.name}"
                how = {"cap": about.cap, "pixels": 3072, "highest": about.classes - 1}
                parts[member.name] = read_images(data, what=what, labels=about.labels, **how)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise TableError(f"{path} is damaged ({' '.join(str(error).split())[:120]}); get it again") from error
    missing = sorted(wanted - set(parts))
    if missing:
        raise TableError(f"{path} lacks {', '.join(missing)}; get it again")
    train = [parts[member] for member in about.train]
    joined = np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])
    return joined, parts[about.test], about.classes, 32


def read_imagenet16(
    folder: Path, md5: Mapping[str, str] | None = None
) -> tuple[tuple[Images, Labels], tuple[Images, Labels], int, int]:
    """The first 120 classes of ImageNet at 16x16: `train_data_batch_1` ... `_10` and `val_data`, labels from 1.

    `md5` replaces the published ones (tests have files of their own). MD5 tells a damaged file, not a forged one: what
    the files hold is checked all the same.
    """
    cap, parts = 200_000_000, []
    for name, expected in (IMAGENET16 if md5 is None else md5).items():
        path = folder / name
        try:
            with path.open("rb") as file:
                data = file.read(cap + 1)
        except OSError as error:
            raise TableError(
                f"{path} cannot be read ({error.strerror}); ImageNet16 has 10 batches and val_data"
            ) from None
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if found != expected:
            raise TableError(f"{path} has MD5 {found[:16]}..., the original {expected[:16]}...; get it again")
        x, y = read_images(data, what=name, cap=cap, pixels=768, labels="labels", highest=1000)
        some = (y >= 1) & (y <= 120)
        parts.append((x[some], y[some] - 1))
    joined = np.concatenate([x for x, _ in parts[:-1]]), np.concatenate([y for _, y in parts[:-1]])
    if min(len(joined[1]), len(parts[-1][1])) < 4:
        raise TableError(f"{folder}: hardly any image is of the first 120 classes; get the original files again")
    return joined, parts[-1], 120, 16
