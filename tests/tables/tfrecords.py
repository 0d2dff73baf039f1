"""NAS-Bench-101 files in the official layout, written for tests: TFRecord framing, JSON, base64, protocol buffers."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nasbench_sim.errors import TableError
from nasbench_sim.spaces.nb101 import Module, module_hash, parse_module
from nasbench_sim.tables.tfrecord import masked_crc32c

CHAIN: Module = (np.eye(3, k=1, dtype=np.int8), ("input", "conv3x3-bn-relu", "output"))
FORK: Module = (
    np.array([[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=np.int8),
    ("input", "maxpool3x3", "conv1x1-bn-relu", "output"),
)
BIG: Module = parse_module("7:110100100001100100101:i3pp31o")
LINE: Module = (np.array([[0, 1], [0, 0]], dtype=np.int8), ("input", "output"))
MODULES = [LINE, CHAIN, FORK, BIG]
KEY: dict[str, Any] = {"epochs": 108, "run": "run0", "split": "valid", "when": "final"}


def varint(value: int) -> bytes:
    """A protocol-buffer varint."""
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: float | int | bytes) -> bytes:
    """A field of a message: double, varint or bytes by the type of its value."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def evaluation(numbers: Sequence[float], epoch: float = 0.0, checkpoint: bytes | None = None) -> bytes:
    """An EvaluationData of (seconds, train, valid, test)."""
    out = field(1, epoch) + b"".join(field(2 + i, float(x)) for i, x in enumerate(numbers))
    return out + (b"" if checkpoint is None else field(6, checkpoint))


def metrics(values: npt.ArrayLike, params: int, checkpoint: bytes | None = None) -> bytes:
    """A ModelMetrics of `values[2, 4]`: halfway and final."""
    halfway, final = np.asarray(values, dtype=np.float64).tolist()
    parts = [[0.0, 0.1, 0.1, 0.1], halfway, final]
    inner = [evaluation(part, i * 54.0, checkpoint) for i, part in enumerate(parts)]
    return b"".join(field(1, one) for one in inner) + field(2, params) + field(3, 5000.0)


def record(name: str, epochs: int, module: Module, message: bytes, *, lines: bool = True) -> bytes:
    """One record; `lines` breaks the base64 after 76 characters, as the published files do."""
    matrix, ops = module
    text = base64.encodebytes(message) if lines else base64.b64encode(message)
    adjacency = "".join(map(str, np.asarray(matrix).ravel().tolist()))
    return json.dumps([name, epochs, adjacency, ",".join(ops), text.decode()]).encode()


def frame(data: bytes) -> bytes:
    """A record's framing."""
    length = struct.pack("<Q", len(data))
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, data))


def write_tfrecord(path: Path, records: Iterable[bytes]) -> Path:
    """A TFRecord file."""
    with path.open("wb") as file:
        file.writelines(frame(one) for one in records)
    return path


def numbers(rng: np.random.Generator, count: int = 1) -> npt.NDArray[np.float64]:
    """`[count, 2, 4]` plausible measurements, each exactly a float32."""
    seconds = rng.uniform(200, 2000, (count, 2, 1)) * [[1], [2]]
    images = rng.integers(900, 9985, (count, 2, 3)) / 9984
    return np.concatenate([seconds, images], axis=2).astype(np.float32).astype(np.float64)


def runs_of(
    modules: Sequence[Module], budgets: Sequence[int] = (108,), repeats: int = 3, seed: int = 0
) -> tuple[list[bytes], dict[tuple[str, int, int], npt.NDArray[np.float64]]]:
    """Records of these modules in shuffled order, and what each says: (hash, epochs, run) -> `[2, 4]`."""
    rng = np.random.default_rng(seed)
    jobs = [(m, e) for m in range(len(modules)) for e in budgets for _ in range(repeats)]
    names = [module_hash(*module) for module in modules]
    out, said, done = [], {}, {}
    for i in rng.permutation(len(jobs)):
        m, epochs = jobs[i]
        values = numbers(rng)[0]
        run = done[m, epochs] = done.get((m, epochs), -1) + 1
        said[names[m], epochs, run] = values
        out.append(record(names[m], epochs, modules[m], metrics(values, 1_000_000 * (m + 1))))
    return out, said


def small_file(folder: Path) -> Path:
    """A file of `MODULES`, four budgets, three runs."""
    return write_tfrecord(folder / "small.tfrecord", runs_of(MODULES, (4, 12, 36, 108))[0])


def good_record(module: Module = CHAIN, params: int = 5, epochs: int = 108) -> bytes:
    """A record of a module with the same numbers always."""
    values = numbers(np.random.default_rng(9))[0]
    return record(module_hash(*module), epochs, module, metrics(values, params))


def one_line(call: Callable[[], Any], kind: type[Exception] = TableError) -> str:
    """What a refusal says: an error of this kind, in one line."""
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
