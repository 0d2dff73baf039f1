"""Fashion-MNIST from its four IDX files, as its authors and the Debian package dataset-fashion-mnist give them."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.data.archives import halves
from gpu_validation.data.dataset import Dataset
from nasbench_sim.errors import TableError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train-{}-ubyte.gz", "test": "t10k-{}-ubyte.gz"}
#: sha256 of what the files unpack to (`zcat FILE | sha256sum` on the Debian package, which packs them anew): MNIST's
#: files have the same names, the same shapes and the same ten labels
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MAX_IMAGES = 100_000
_MEND = "get the original file again, or install the Debian package dataset-fashion-mnist"


def load(name: str, folder: Path | None, device: str, sha256: Mapping[str, str] = SHA256) -> Dataset:
    """30,000 training images for the weights, 30,000 for validation (halves drawn once), the 10,000 of the test split.

    28x28 pixels in one channel, padded with black to 32x32, moved by up to 4 pixels, not mirrored. Without a folder
    the place of the Debian package is looked at. Raises `TableError` for files that are missing, no IDX files, or of
    another data set (`sha256`: file -> digest; tests have files of their own).
    """
    where = DEBIAN if folder is None else folder
    parts: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = {}
    for part, pattern in FILES.items():
        x, y = (
            read_idx(where / file, rank=rank, sha256=sha256.get(file))
            for file, rank in ((pattern.format("images-idx3"), 3), (pattern.format("labels-idx1"), 1))
        )
        if len(x) != len(y) or x.shape[1:] != (28, 28) or len(x) < 4 or int(y.max(initial=0)) > 9:
            raise TableError(f"{where}: {part} has {len(y)} labels for images of shape {x.shape}; {_MEND}")
        parts[part] = (np.pad(x, ((0, 0), (2, 2), (2, 2)))[:, None], y.astype(np.int64))
    pixels, classes = parts["train"]
    first, second = halves(len(classes))
    split = {
        "train": (pixels[first], classes[first]),
        "valid": (pixels[second], classes[second]),
        "test": parts["test"],
    }
    images = {s: torch.from_numpy(a.copy()).to(device) for s, (a, _) in split.items()}
    labels = {s: torch.from_numpy(b).to(device) for s, (_, b) in split.items()}
    scaled = pixels[first] / np.float32(255)
    mean, sd = (float(scaled.mean()),), (float(scaled.std()),)
    about = f"Fashion-MNIST (MIT), padded to 32x32; training halves drawn once; {where.name}"
    return Dataset(name, 10, images, labels, mean, sd, pad=4, about=about)


def read_idx(path: Path, *, rank: int, sha256: str | None = None) -> npt.NDArray[np.uint8]:
    """The uint8 array of a gzipped IDX file; its header decides how much is unpacked, and a header can't ask for much.

    Raises `TableError`, one line, also where `sha256` is given and is not that of the unpacked bytes.
    """
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(4 + 4 * rank)
            if len(head) < 4 + 4 * rank or head[:3] != b"\0\0\x08" or head[3] != rank:
                raise TableError(f"{path} is no IDX file of bytes with {rank} dimensions; {_MEND}")
            shape = tuple(int.from_bytes(head[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
            if shape[0] > MAX_IMAGES or any(n > 256 for n in shape[1:]):
                raise TableError(f"{path} claims an array of shape {shape}; {_MEND}")
            size = int(np.prod(shape, dtype=object))
            data = file.read(size + 1)
    except FileNotFoundError:
        raise TableError(f"{path} is not there; {_MEND}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path} is damaged ({' '.join(str(error).split())[:120]}); {_MEND}") from error
    if len(data) != size:
        raise TableError(f"{path} holds {'more' if len(data) > size else 'fewer'} than its {size} bytes; {_MEND}")
    if sha256 is not None and hashlib.sha256(head + data).hexdigest() != sha256:
        raise TableError(f"{path} is of another data set, or changed (MNIST's files have the same names); {_MEND}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
