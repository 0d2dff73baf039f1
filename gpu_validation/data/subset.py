"""A small balanced part of CIFAR-10 in one .npz file: 10,000 training and 2,000 test images of 32x32 pixels."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation.data.dataset import Dataset
from nasbench_sim.errors import TableError

FILE = "cifar10_jpeg_subset.npz"
MAX_IMAGES = 60_000
#: array -> rank and type of an entry
ARRAYS = {"x_train": (4, "uint8"), "y_train": (1, "uint8"), "x_test": (4, "uint8"), "y_test": (1, "uint8")}


def load(name: str, folder: Path | None, device: str) -> Dataset:
    """The first half of the training images trains the weights, the second is the validation split; flipped, not moved.

    That is the setting of the recorded supernets in `data/shared_weights.json`. Raises `TableError` for a file that is
    missing or is not such an archive; sizes are read from the arrays' headers before anything is unpacked.
    """
    if folder is None:
        raise TableError(f"{name} is read from {FILE}; say where it is with --data-folder")
    path = folder if folder.suffix == ".npz" else folder / FILE
    arrays = read(path)
    images, labels = arrays["x_train"], arrays["y_train"].astype(np.int64)
    half = len(images) // 2
    x = {"train": images[:half], "valid": images[half:], "test": arrays["x_test"]}
    y = {"train": labels[:half], "valid": labels[half:], "test": arrays["y_test"].astype(np.int64)}
    scaled = x["train"].reshape(-1, 3) / 255
    mean, std = tuple(map(float, scaled.mean(0))), tuple(map(float, scaled.std(0)))
    tensors = {s: torch.from_numpy(np.ascontiguousarray(v.transpose(0, 3, 1, 2))).to(device) for s, v in x.items()}
    numbers = {s: torch.from_numpy(v).to(device) for s, v in y.items()}
    about = f"{path.name}: balanced, JPEG-recompressed CIFAR-10; first half trains, second validates"
    return Dataset(name, 10, tensors, numbers, mean, std, flip=True, about=about)


def read(path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """The four arrays of the archive, checked; raises `TableError`, one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename: info.file_size for info in archive.infolist()}
            if set(names) != {f"{key}.npy" for key in ARRAYS}:
                raise TableError(f"{path} holds {', '.join(sorted(names)[:6])}; it should hold {', '.join(ARRAYS)}")
            for key, (rank, _) in ARRAYS.items():
                limit = MAX_IMAGES * (32 * 32 * 3 if rank == 4 else 1) + 4096
                if names[f"{key}.npy"] > limit:
                    raise TableError(f"{path}: {key} unpacks to {names[f'{key}.npy']} bytes, at most {limit} are read")
                with archive.open(f"{key}.npy") as member:
                    _check(path, key, *header(member))
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in ARRAYS}
    except FileNotFoundError:
        raise TableError(f"{path} is not there; say where {FILE} is with --data-folder") from None
    except TableError:
        raise
    # NotImplementedError: zipfile's own, of a compression method that it does not read
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise TableError(f"{path} is damaged or no archive of arrays ({' '.join(str(error).split())[:120]})") from error
    except Exception as error:  # zlib.error and the like: whatever the archive does to its reader, it is the archive
        raise TableError(f"{path} is damaged ({type(error).__name__})") from error
    for part in ("train", "test"):
        if not 4 <= len(arrays[f"x_{part}"]) == len(arrays[f"y_{part}"]) or arrays[f"y_{part}"].max() > 9:
            raise TableError(f"{path}: {part} has {len(arrays[f'y_{part}'])} labels that do not fit its images")
    return arrays


def header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that a .npy file claims, from its first bytes; raises `ValueError` for what is no such file."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array in version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype


def _check(path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    rank, kind = ARRAYS[key]
    most = len(shape) == rank and shape[0] <= MAX_IMAGES
    if dtype != kind or not most or (rank == 4 and shape[1:] != (32, 32, 3)):
        raise TableError(f"{path}: {key} is {dtype} of shape {shape}, not {kind} images or labels")
