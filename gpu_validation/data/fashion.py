"""Fashion-MNIST from its four IDX files: grey 28x28 images of clothes, 60,000 for training and 10,000 for test.

The files are found in `--data-folder`, or where the Debian package `dataset-fashion-mnist` puts them. What they unpack
to is pinned by sha256 (computed from that package; it repacks the published .gz files without their names, which are
24 bytes longer). Training images are halved, 30,000 to train and 30,000 to validate, stratified: the proportion of the
CIFAR-10 search of NAS-Bench-201.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpu_validation.data.cifar import assembled
from gpu_validation.data.dataset import Dataset
from gpu_validation.data.files import located, unpacked
from gpu_validation.data.splits import stratified
from nasbench_sim.errors import TableError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
#: file -> (shape, sha256 of what it unpacks to)
FILES: dict[str, tuple[tuple[int, ...], str]] = {
    "train-images-idx3-ubyte.gz": (
        (60_000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte.gz": ((60_000,), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte.gz": (
        (10_000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte.gz": ((10_000,), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """The data set in three splits on `device`; raises `TableError` for files that are missing or not these."""
    if folder is None and DEBIAN.is_dir():
        folder = DEBIAN
    if folder is None or folder.is_file():
        raise TableError(
            f"{name} is read from the folder of {', '.join(FILES)}; say where it is with --data-folder, or "
            "apt install dataset-fashion-mnist"
        )
    x, y, tx, ty = (read_idx(located(name, folder, file), shape, sha) for file, (shape, sha) in FILES.items())
    labels, test_labels = y.astype(np.int64), ty.astype(np.int64)
    images, test = x.reshape(len(x), -1), tx.reshape(len(tx), -1)
    first, second = stratified(labels, 2)
    parts = ((images[first], labels[first]), (images[second], labels[second]), (test, test_labels))
    mean, std = (float(images[first].mean()),), (float(images[first].std()),)
    about = "training images in stratified halves for training and validation"
    return assembled(name, 10, parts, (1, 28, 28), mean, std, 2, device, about)


def read_idx(path: Path, shape: tuple[int, ...], sha256: str | None = None) -> npt.NDArray[np.uint8]:
    """The uint8 array of an IDX .gz file, which has to be of this shape; a view of the unpacked bytes.

    An IDX file is two zero bytes, the type (8: uint8), the number of dimensions, each as a big-endian uint32, and the
    data. Raises `TableError` for another type or shape, for more or fewer bytes, and for another sha256.
    """
    count, start = int(np.prod(shape)), 4 + 4 * len(shape)
    data = unpacked(path, start + count)
    if data[:4] != bytes([0, 0, 8, len(shape)]):
        raise TableError(f"{path} is no IDX file of uint8 with {len(shape)} dimensions; fetch it again")
    found = tuple(int(n) for n in np.frombuffer(data[4:start], dtype=">u4")) if len(data) >= start else ()
    if found != shape or len(data) != start + count:
        raise TableError(
            f"{path} says it holds {' x '.join(map(str, found))} and has {len(data)} bytes; it should hold "
            f"{' x '.join(map(str, shape))} in {start + count}: fetch it again"
        )
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise TableError(f"{path}: what it unpacks to is not the published file (sha256 differs); fetch it again")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
