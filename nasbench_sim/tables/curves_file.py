"""The curve file: learning curves in one file that is mapped into memory and checked block by block.

The file is a safetensors file (https://github.com/huggingface/safetensors: 8 bytes of header length, a JSON header,
then the arrays, little-endian, without gaps), so any tool that knows the format reads it; there is nothing in it that
could run. Arrays are float32, [A, epochs] for curves and [A] for the values after the last epoch, and float64 [A] for
facts about a run (seconds an epoch, parameters); NaN is "never measured". The header's metadata holds a manifest, which
names every array and its sha256, and the manifest's own sha256. Two levels of checks follow from that:

- opening compares the file's size, the manifest's sha256, and the header with the one that the manifest implies, and
  reads no array: NATS-Bench has 296 in 644 MB (tests/benchmarks/test_curves_bench.py);
- an array is compared with its sha256 and its physical range when it is first asked for, once a process; `verify` does
  that for all.

float32 keeps what was measured: an accuracy is a number of images over 3,000 to 151,700 of them, so neighbours lie at
least 6.6e-4 percent apart where float32 is exact to 4e-6, and the count is recovered exactly. Counts as uint16 would
halve the file, but every read would have to decode, and the losses (seven digits) need float32 anyway.

A file that is cut short *while it is mapped* ends the process by a signal, as with any memory map; files written here
are replaced, never changed in place.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.errors import SpecError, TableError
from nasbench_sim.tables.manifest import cached_space
from nasbench_sim.tables.table import Source
from nasbench_sim.tables.tensor_file import header, json_text

Kind = Literal["fact", "curve", "final"]
Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]

MAX_HEADER = 1 << 22
MAX_EPOCHS = 1_000
MAX_PLANES = 5_000
_ALIGN = 4_096  # arrays begin at a page of the file
_MEND = "import the benchmark again"
_Text = Annotated[str, Field(max_length=10_000)]
_Part = Annotated[str, Field(max_length=64, pattern=r"^[\w.-]+$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

#: physical range of each metric; NaN is allowed in all of them
RANGES = {
    "accuracy": (0.0, 100.0),
    "loss": (0.0, np.inf),
    "seconds": (0.0, 1e9),
    "latency_s": (0.0, 1e6),
    "params_m": (0.0, 1e6),
    "flops_m": (0.0, 1e9),
}


class Plane(NamedTuple):
    """Name of one array: the training runs (data set, epochs, seed), the split, the metric, and the array's kind."""

    dataset: str
    epochs: int
    seed: int
    split: str
    metric: str
    kind: Kind

    @property
    def tensor(self) -> str:
        """Its name in the file, e.g. `cifar10-valid/200/777/valid/accuracy/curve`."""
        return "/".join(map(str, self))

    def shape(self, size: int) -> tuple[int, ...]:
        """`[A, epochs]` of a curve, `[A]` of anything else."""
        return (size, self.epochs) if self.kind == "curve" else (size,)

    @property
    def dtype(self) -> str:
        """`<f8` for facts, `<f4` for measurements."""
        return "<f8" if self.kind == "fact" else "<f4"

    def nbytes(self, size: int) -> int:
        """Bytes of the array for `size` architectures."""
        return math.prod(self.shape(size)) * int(self.dtype[-1])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlaneEntry(_Strict):
    """One array in the manifest, with the sha256 of its bytes."""

    dataset: _Part
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    seed: Annotated[int, Field(ge=0, lt=10**9)]
    split: _Part
    metric: _Part
    kind: Kind
    sha256: _Digest

    @property
    def plane(self) -> Plane:
        """Its name."""
        return Plane(self.dataset, self.epochs, self.seed, self.split, self.metric, self.kind)


class Manifest(_Strict):
    """What a curve file says about itself; arrays in file order."""

    format: Literal["nasbench-sim curves"] = "nasbench-sim curves"
    schema_version: Literal[1] = 1
    space: _Part
    size: int
    planes: list[PlaneEntry] = Field(min_length=1, max_length=MAX_PLANES)
    sources: list[Source]
    notes: list[_Text]


def file_order(planes: Sequence[Plane]) -> list[Plane]:
    """float64 first (so that all arrays are aligned), then by metric with the seeds of one metric side by side.

    >>> a, b = (Plane("cifar10", 200, seed, "test", "accuracy", "curve") for seed in (888, 777))
    >>> [p.seed for p in file_order([a, b])]
    [777, 888]
    """
    return sorted(planes, key=lambda p: (p.kind != "fact", p.dataset, p.epochs, p.split, p.metric, p.kind, p.seed))


def header_bytes(manifest: Manifest) -> bytes:
    """The head of a file, up to its first array; its length does not depend on the sha256s."""
    text = json_text(manifest.model_dump())
    planes = [entry.plane for entry in manifest.planes]
    metadata = {"manifest": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return header(metadata, [(p.tensor, p.dtype, p.shape(manifest.size)) for p in planes], align=_ALIGN)


class PlaneFile:
    """An open curve file: its manifest, and its arrays as read-only views of the mapped file.

    Raises `TableError`, one line that names the file, for anything that is not exactly such a file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                head = file.read(8)
                length = int.from_bytes(head, "little")
                if len(head) < 8 or not 0 < length <= MAX_HEADER:
                    raise TableError(f"{self.path} is not a curve file (no header); {_MEND}")
                text = file.read(length)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as problem:
            if isinstance(problem, TableError):
                raise
            reason = getattr(problem, "strerror", None) or problem
            raise TableError(f"{self.path}: cannot be read ({reason}); {_MEND}") from problem
        self.manifest = _read_header(head + text, str(self.path))
        expected = 8 + length + sum(e.plane.nbytes(self.manifest.size) for e in self.manifest.planes)
        if len(mapped) != expected:
            raise TableError(f"{self.path} is truncated or padded: {len(mapped)} bytes instead of {expected}; {_MEND}")
        self.sha256 = hashlib.sha256(json_text(self.manifest.model_dump()).encode()).hexdigest()
        self._mapped = mapped
        self._where: dict[Plane, tuple[int, str]] = {}
        offset = 8 + length
        for entry in self.manifest.planes:
            self._where[entry.plane] = (offset, entry.sha256)
            offset += entry.plane.nbytes(self.manifest.size)
        self._checked: dict[Plane, Array] = {}

    def __contains__(self, plane: Plane) -> bool:
        return plane in self._where

    @property
    def planes(self) -> list[Plane]:
        """All arrays, in file order."""
        return list(self._where)

    def array(self, plane: Plane) -> Array:
        """One array, a read-only view of the file; checked when it is first asked for. Raises `TableError`."""
        found = self._checked.get(plane)
        if found is None:
            found = self._checked[plane] = self._check(plane)
        return found

    def _check(self, plane: Plane) -> Array:
        offset, sha256 = self._where[plane]
        size = self.manifest.size
        flat: Array = np.frombuffer(self._mapped, plane.dtype, plane.nbytes(size) // int(plane.dtype[-1]), offset)
        if hashlib.sha256(flat.data).hexdigest() != sha256:
            raise TableError(f"{self.path} is damaged: {plane.tensor} does not fit its sha256; {_MEND}")
        out = flat.reshape(plane.shape(size))
        check_range(out, plane, str(self.path))
        return out

    def verify(self) -> int:
        """Check every array anew; returns how many there are. Raises `TableError` naming the first damaged one."""
        for plane in self._where:
            self._check(plane)
        return len(self._where)


def check_range(values: Array, plane: Plane, where: str) -> None:
    """Raise `TableError` naming the first architecture whose number cannot be true."""
    low, high = RANGES[plane.metric]
    with np.errstate(invalid="ignore"):
        bad = (values < low) | (values > high)
    if bad.any():
        at = tuple(np.argwhere(bad)[0].tolist())
        raise TableError(
            f"{where}: {plane.tensor}: architecture {at[0]} holds {values[at]}, outside {low:g}..{high:g}; {_MEND}"
        )


def _read_header(data: bytes, where: str) -> Manifest:
    """The manifest of a header that is, byte for byte, the one that its manifest implies."""
    not_ours = f"{where} is not a curve file of schema 1"
    try:
        metadata = json.loads(data[8:])["__metadata__"]
        text, sha256 = metadata["manifest"], metadata["sha256"]
        whole = hashlib.sha256(text.encode()).hexdigest() == sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise TableError(f"{not_ours} (its header is damaged or of another kind); {_MEND}") from problem
    if not whole:
        raise TableError(f"{where} is damaged: its manifest does not fit its sha256; {_MEND}")
    try:
        manifest = Manifest.model_validate_json(text, strict=True)
        size = cached_space(manifest.space).size
    except ValidationError as problem:
        first = problem.errors()[0]
        at = ".".join(str(p) for p in first["loc"]) or "document"
        raise TableError(f"{not_ours}: {at}: {first['msg']}; {_MEND}") from problem
    except SpecError as problem:
        raise TableError(f"{where}: {problem}") from problem
    unknown = [e.metric for e in manifest.planes if e.metric not in RANGES]
    if manifest.size != size or unknown or header_bytes(manifest) != data:
        raise TableError(f"{where} is damaged: its header does not fit its manifest; {_MEND}")
    if len({e.plane for e in manifest.planes}) != len(manifest.planes):
        raise TableError(f"{where}: an array is listed twice; {_MEND}")
    return manifest
