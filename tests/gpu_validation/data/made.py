"""Small archives in the formats of the published ones: pickles of Python 2 opcode by opcode, .tar.gz, IDX."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from gpu_validation.data.cifar import Archive

LABELS = 10


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"U" + bytes([len(raw)]) + raw  # SHORT_BINSTRING


def _int(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def python2_batch(images: np.ndarray, labels: np.ndarray, key: str = "labels") -> bytes:
    """A batch as cPickle of Python 2 writes it at protocol 2: `{'batch_label': ..., key: [...], 'data': array}`."""
    raw = images.tobytes()
    dtype = (
        b"cnumpy\ndtype\n" + _text("u1") + b"K\x00K\x01\x87R(K\x03" + _text("|") + b"NNN" + _int(-1) * 2 + b"K\x00tb"
    )
    shape = _int(images.shape[0]) + _int(images.shape[1]) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text("b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([int(n)]) for n in labels) + b"e"
    items = _text("batch_label") + _text("training batch 1 of 1") + _text(key) + listed + _text("data") + array
    return b"\x80\x02}(" + items + b"u."


def images(n: int, pixels: int = 3072, key: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` random images `[n, pixels]` and labels, every class equally often."""
    random = np.random.Generator(np.random.Philox(key=key))
    return random.integers(0, 256, size=(n, pixels), dtype=np.uint8), np.arange(n) % LABELS


def tar_gz(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of these members."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def archive_of(path: Path, **changes: object) -> Archive:
    """What `cifar.read` needs to know to open this archive of `data/a`, `data/b` and `data/test`."""
    import hashlib

    values: dict[str, object] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "train": ("data/a", "data/b"),
        "test": ("data/test",),
        "labels": "labels",
        "classes": LABELS,
        "mean": (125.0, 125.0, 125.0),
        "std": (60.0, 60.0, 60.0),
        "limit": 1 << 20,
    }
    return Archive(**{**values, **changes})  # type: ignore[arg-type]


def idx(path: Path, values: np.ndarray, shape: tuple[int, ...] | None = None, kind: int = 8) -> Path:
    """An IDX .gz file that says it has `shape`."""
    shape = values.shape if shape is None else shape
    head = bytes([0, 0, kind, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    path.write_bytes(gzip.compress(head + values.tobytes(), 1))
    return path
