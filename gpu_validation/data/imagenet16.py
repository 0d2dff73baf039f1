"""ImageNet16-120: ImageNet at 16x16 pixels, its first 120 classes, from the published pickled batches.

Source: Chrabaszcz, Loshchilov & Hutter, A downsampled variant of ImageNet (2017); NAS-Bench-201 keeps classes 1 to 120:
151,700 training images and 6,000 validation images, which are halved into validation and test here (stratified; not the
published halves). md5 of the files as in AutoDL-Projects, DownsampledImageNet.py; nobody publishes a sha256.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpu_validation.data.cifar import Part, assembled
from gpu_validation.data.dataset import Dataset
from gpu_validation.data.files import check_digest, located
from gpu_validation.data.pickles import read_batch
from gpu_validation.data.splits import stratified

CLASSES = 120
_PIXELS = 3 * 16 * 16
#: file -> md5
TRAIN = {
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
}
VALID = {"val_data": "3410e3017fdaefba8d5073aaa65e4bd6"}
MEAN, STD = (122.68, 116.66, 104.01), (63.22, 61.26, 65.09)  # of NAS-Bench-201, pixels 0..255


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """The data set in three splits on `device`; `folder` holds the batches. Raises `TableError` for other files."""
    train, held = _read(name, folder, TRAIN), _read(name, folder, VALID)
    first, second = stratified(held[1], 2)
    parts = (train, (held[0][first], held[1][first]), (held[0][second], held[1][second]))
    about = "classes 1 to 120; val_data in stratified halves for validation and test (not the published halves)"
    return assembled(name, CLASSES, parts, (3, 16, 16), MEAN, STD, 2, device, about)


def _read(name: str, folder: Path | None, files: dict[str, str]) -> Part:
    """Images and labels 0..119; one file in memory at a time, of which the first classes are kept."""
    images, labels = [], []
    for file, md5 in files.items():
        path = located(name, folder, file)
        check_digest(path, "md5", md5)
        x, y = read_batch(path.read_bytes(), str(path), labels="labels", pixels=_PIXELS, classes=range(1, 1001))
        kept = y <= CLASSES
        images.append(x[kept])
        labels.append(y[kept] - 1)
    return np.concatenate(images), np.concatenate(labels)
