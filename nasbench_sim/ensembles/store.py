"""The prediction file: the predictions of N models on one split, in one sealed HDF5 file.

Layout (schema 1), the same habits as a table file (`nasbench_sim.tables.store`): the seal is compared before HDF5 sees
a byte; behind it, in the root group and nothing else:

    manifest       uint8    [n]        JSON: space, dataset, split, sizes, source, sha256 of every array
    probabilities  float32  [N, I, C]  each row sums to 1 within 1e-4
    labels         int32    [I]        true classes
    archs          int32    [N, D]     option numbers
    seeds          int64    [N]        training seeds, -1 where not stated

each one chunk with fletcher32. A file made by hand with a valid seal still meets the checks of `sealed.read_dataset`,
only these names may be there, and then come the checks of `Predictions` itself.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.errors import SpecError, TableError, UserError
from nasbench_sim.sealed import add_dataset, read_dataset, read_sealed, write_sealed

SCHEMA = 1
MAX_BYTES = 1 << 31  # held in memory whole; 400 models x 10,000 samples x 10 classes are 160 MB
KIND = "nasbench-sim predictions"
_MEND = "write it again with Predictions.save, or fetch it again"
_TYPES = {"probabilities": "<f4", "labels": "<i4", "archs": "<i4", "seeds": "<i8"}

_Line = Annotated[str, Field(min_length=1, max_length=1000)]
_Size = Annotated[int, Field(ge=1, le=MAX_BYTES)]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["nasbench-sim predictions"]
    schema_version: Literal[1]
    space: _Line
    dataset: _Line
    split: Literal["valid", "test"]
    models: _Size
    samples: _Size
    classes: _Size
    decisions: _Size
    source: _Line
    sha256: dict[str, str]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What shape each array has."""
        return {
            "probabilities": (self.models, self.samples, self.classes),
            "labels": (self.samples,),
            "archs": (self.models, self.decisions),
            "seeds": (self.models,),
        }


def describe(predictions: Predictions) -> bytes:
    """The manifest of these predictions: canonical JSON, equal for equal content."""
    models, samples, classes = predictions.probabilities.shape
    document = {
        "format": KIND,
        "schema_version": SCHEMA,
        "space": predictions.space,
        "dataset": predictions.dataset,
        "split": predictions.split,
        "models": models,
        "samples": samples,
        "classes": classes,
        "decisions": predictions.archs.shape[1],
        "source": predictions.source,
        "sha256": {name: digest(_stored(predictions, name).data) for name in _TYPES},
    }
    return _json(document)


def digest(content: bytes | memoryview) -> str:
    """sha256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_predictions(predictions: Predictions, path: Path | str) -> str:
    """Write the file atomically; returns the content's sha256. Equal predictions give equal files.

    Raises `SpecError` for predictions that would not fit into a file and `RunError` where it cannot be written.

    >>> import tempfile
    >>> p = Predictions([[[0.9, 0.1]]], [1], [6111], "nb201", "cifar10", "valid", [777], "toy")
    >>> target = Path(tempfile.mkdtemp()) / "toy.h5"
    >>> write_predictions(p, target) == read_predictions(target).sha256
    True
    """
    if predictions.probabilities.nbytes > MAX_BYTES - (1 << 20):
        raise SpecError(
            f"these probabilities take {predictions.probabilities.nbytes} bytes and a file at most {MAX_BYTES}; "
            "save fewer models or samples a file"
        )
    if max(predictions.archs.max(), predictions.labels.max()) > np.iinfo(np.int32).max:
        raise SpecError("option and class numbers are stored in 32 bits; one of these is larger")
    manifest = describe(predictions)
    with write_sealed(path, KIND) as file:
        arrays = {name: _stored(predictions, name) for name in _TYPES}
        for name, data in {"manifest": np.frombuffer(manifest, dtype=np.uint8), **arrays}.items():
            add_dataset(file, name, data)
    return digest(manifest)


def _stored(predictions: Predictions, name: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(getattr(predictions, name), dtype=_TYPES[name])


def read_predictions(path: Path | str) -> Predictions:
    """Read and check a prediction file; it is closed before this returns.

    Raises `TableError`, one line that names the file, for anything that is not exactly such a file: absent, empty,
    truncated, damaged, of another kind or schema, rows that do not sum to 1, labels out of range.
    """
    with read_sealed(path, KIND, error=TableError, mend=_MEND, max_bytes=MAX_BYTES) as file:
        manifest, arrays = _contents(file, str(path))
    try:
        return Predictions(
            **arrays, space=manifest.space, dataset=manifest.dataset, split=manifest.split, source=manifest.source
        )
    except UserError as error:
        raise TableError(f"{path}: {error}") from error


def _contents(file: h5py.File, where: str) -> tuple[_Manifest, dict[str, npt.NDArray[Any]]]:
    read = partial(read_dataset, file, where=where, error=TableError)
    names = set(file)
    if "manifest" not in names:
        raise TableError(f"{where}: not a prediction file of schema {SCHEMA}: it has no manifest")
    manifest = _manifest(read("manifest", "|u1", None).tobytes(), where)
    expected = {"manifest", *_TYPES}
    if names != expected or len(file.attrs):
        raise TableError(
            f"{where}: holds {', '.join(sorted(names))}; a prediction file holds {', '.join(sorted(expected))}"
        )
    arrays = {name: read(name, _TYPES[name], shape) for name, shape in manifest.shapes().items()}
    for name, array in arrays.items():
        if digest(array.data) != manifest.sha256[name]:
            raise TableError(f"{where}: {name} does not fit its sha256 in the manifest; {_MEND}")
    return manifest, arrays


def _manifest(text: bytes, where: str) -> _Manifest:
    try:
        manifest = _Manifest.model_validate_json(text, strict=True)
        canonical = _json(json.loads(text)) == text
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "nested too deeply"}
        at = ".".join(str(part) for part in first["loc"]) or "document"
        raise TableError(f"{where}: not a prediction file of schema {SCHEMA}: {at}: {first['msg']}; {_MEND}") from error
    if not canonical or set(manifest.sha256) != set(_TYPES):
        raise TableError(f"{where}: its manifest is not in canonical form; {_MEND}")
    return manifest


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
