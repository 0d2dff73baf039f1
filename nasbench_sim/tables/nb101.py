"""`nb101`: NAS-Bench-101 from the files of its authors, without TensorFlow, or from a CSV sample of it.

The official files are TFRecords of one record a training run (`tfrecord`, `nb101_records`, `nb101_metrics`); the sample
is a CSV of one row a module (`nb101_csv`). Both give a `ModuleTable`. What is read is checked on the way: every CRC,
every number's range, that a module is always one graph and one number of parameters, and that every module's official
hash is the hash of its graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from nasbench_sim.errors import TableError
from nasbench_sim.files import sha256_file
from nasbench_sim.tables.module_builder import ModuleBuilder
from nasbench_sim.tables.modules import ALL_MODULES, NAME, ModuleTable, read_modules, verify_modules
from nasbench_sim.tables.nb101_csv import read_csv
from nasbench_sim.tables.nb101_records import RecordDecoder
from nasbench_sim.tables.nb101_sources import FILES, FULL, ONLY_108, SAMPLE, SAMPLE_SHA256
from nasbench_sim.tables.table import Source
from nasbench_sim.tables.tfrecord import read_records

Progress = Callable[[str, int, int], None]
"""Called with (file, bytes so far, bytes in all) while a TFRecord is read."""

MAX_BYTES = 1 << 32
_KNOWN = {ONLY_108.sha256: ONLY_108.source(), FULL.sha256: FULL.source(), SAMPLE_SHA256: SAMPLE}


def read_nb101(path: Path, *, progress: Progress | None = None) -> ModuleTable:
    """The table of a `.tfrecord`, `.csv`, `.csv.gz` or exported `.safetensors` file, or of the best one in a folder.

    Raises `TableError` for a path that is none of these, a folder without such a file, and as the readers do.
    """
    file = _choose(path)
    if file.suffix == ".safetensors":  # what `tables export nb101` wrote
        table = read_modules(file)
        verify_modules(table)
        return table
    builder = ModuleBuilder(str(file))
    if file.suffix == ".tfrecord":
        digest = _read_tfrecord(file, builder, progress)
    else:
        read_csv(file, builder)
        digest = sha256_file(file)
    source = _KNOWN.get(digest) or Source(
        name=file.name,
        sha256=digest,
        gives="every number of NAS-Bench-101 here; by its sha256 it is none of the published files",
    )

    table = builder.finish([source])
    table.notes = notes(table)
    return table


def notes(table: ModuleTable) -> tuple[str, ...]:
    """What a reader of a table should know, one line each."""
    out = [
        "train, validation and test accuracy are each over 9,984 images (39 batches of 256), so in steps of 0.01 %",
        "halfway is within the same training, whose learning rate does not reach 0 there",
        "run0, run1, run2 are in the order of the file; NAS-Bench-101 names no seeds",
    ]
    if table.size < ALL_MODULES:
        share = 100 * table.size / ALL_MODULES
        out.insert(
            0, f"{table.size:,} of the {ALL_MODULES:,} modules of NAS-Bench-101 ({share:.1f} %), the others absent"
        )
    return tuple(out)


def _choose(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise TableError(
                f"{path} holds none of {', '.join(FILES)}; give one of these, or `nasbench-sim tables fetch {NAME}`"
            )
        return found[0]
    if not path.exists():
        raise TableError(f"{path} does not exist; give a file of NAS-Bench-101, or `nasbench-sim tables fetch {NAME}`")
    if not path.name.endswith((".tfrecord", ".csv", ".csv.gz", ".safetensors")):
        raise TableError(f"{path} is not a .tfrecord, .csv, .csv.gz or .safetensors file of NAS-Bench-101")
    return path


def _read_tfrecord(path: Path, builder: ModuleBuilder, progress: Progress | None) -> str:
    """Add every run of the file; returns the sha256 of all its bytes."""
    digest = hashlib.sha256()
    decoder = RecordDecoder(str(path))
    done = 0
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TableError(
                f"{path} has {size} bytes, more than the {MAX_BYTES} that a file of NAS-Bench-101 may have"
            )
        with path.open("rb") as file:

            def seen(chunk: bytes) -> None:
                nonlocal done
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(path.name, done, size)

            for first, records in read_records(file, str(path), seen=seen):
                runs = decoder.decode(first, records)
                builder.add(runs, lambda i, first=first: f"{path}: record {first + i}")  # type: ignore[misc]
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    return digest.hexdigest()
