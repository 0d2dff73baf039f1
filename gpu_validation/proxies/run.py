"""`gpu-validation proxies`: scores of many cells into one CSV file, resumable, with a note of how it was made.

Rows are cells in ascending official index, columns `PROXY/DATASET`, empty where a score is not finite. The file goes
into a table with `nasbench-sim tables import NAME --csv FILE --metric snip/cifar10=proxy/snip/cifar10`; `FILE.json`
holds the specification, the versions and the file's sha256.

Work is done in chunks of classes of equal cells; after each, `FILE.part` is replaced as a whole, so that a kill loses
one chunk at most and a resumed run ends in the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gpu_validation import __version__
from gpu_validation.proxies.batches import load_batch
from gpu_validation.proxies.registry import Proxy, get_proxy
from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.score import Cache, MakeNetwork, Setting, class_numbers, scores_of_classes
from nasbench_sim.errors import RunError, SpecError
from nasbench_sim.files import atomic_path, sha256_file
from nasbench_sim.spaces import NB201

DIGITS = 9  # significant ones: all of a float32, which is what a table keeps
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """What to compute and where to put it.

    Attributes
    ----------
    out: a new `.csv` or `.csv.gz`. names, datasets: one column for each pair. archs: strings, official indices or
        vectors `[6]`; None: all 15,625 cells.
    resume: go on with `out`.part where there is one. chunk: classes between two writes of it.
    channels, cells, seed: see `Setting`. batch_size: images of the mini-batch (seed, step 0, no augmentation) for the
        proxies that look at data; folder: where data sets are; device: where networks run.
    strings: a column with the cells' strings, which `tables import` asks for.
    """

    out: Path
    names: Sequence[str] = ("synflow",)
    datasets: Sequence[str] = ("cifar10",)
    archs: Sequence[Any] | None = None
    resume: bool = False
    chunk: int = 32
    channels: int = 16
    cells: int = 5
    seed: int = 42
    batch_size: int = 64
    folder: Path | None = None
    device: str = "cpu"
    strings: bool = True


@dataclass(frozen=True)
class _Column:
    proxy: Proxy
    dataset: str
    setting: Setting
    batch: Batch | None

    @property
    def name(self) -> str:
        return f"{self.proxy.name}/{self.dataset}"


def run_proxies(options: Options, *, progress: Progress | None = None, make: MakeNetwork | None = None) -> Path:
    """Compute and write; returns the file. `progress(done, total)`: columns times classes, after each chunk.

    Raises `SpecError` for a proxy, data set or option that does not exist, `ArchError` for a cell of another space,
    `RunError` for a file that is in the way, a part of another run, or a folder that cannot be written.
    """
    columns, index = _columns(options), _index(options.archs)
    spec = _spec(options, columns, index)
    if _finished(options, spec):
        return options.out
    done = _read_part(options, spec)
    numbers = class_numbers(NB201().at(index))
    wanted = np.unique(numbers)
    total, before = len(columns) * len(wanted), 0
    for column in columns:
        cache: Cache = {(n, column.proxy.name, column.setting): v for n, v in done.get(column.name, {}).items()}
        missing = [int(n) for n in wanted if (int(n), column.proxy.name, column.setting) not in cache]
        for start in range(0, len(missing), options.chunk):
            part = np.array(missing[start : start + options.chunk], dtype=np.int64)
            scores_of_classes(column.proxy, part, column.setting, batch=column.batch, make=make, cache=cache)
            done[column.name] = {n: v for (n, _, _), v in cache.items()}
            _write_part(options, spec, done)
            if progress is not None:
                progress(before + len(cache), total)
        done[column.name] = {n: v for (n, _, _), v in cache.items()}
        before += len(wanted)
        if progress is not None and not missing:
            progress(before, total)
    _write(options, columns, index, numbers, done)
    _write_json(_note(options.out), {**_made(spec), "sha256": sha256_file(options.out)})
    _part(options.out).unlink(missing_ok=True)
    return options.out


def _columns(options: Options) -> list[_Column]:
    for what in ("names", "datasets"):
        given = getattr(options, what)
        if isinstance(given, str) or not given or len(set(given)) != len(given):
            raise SpecError(f"{what} is a list of one or more different ones, got {given!r}")
    if not options.out.name.endswith((".csv", ".csv.gz")):
        raise SpecError(f"{options.out}: the file's name ends in .csv or .csv.gz")
    for what in ("chunk", "batch_size"):
        if type(getattr(options, what)) is not int or getattr(options, what) < 1:
            raise SpecError(f"{what} is a positive whole number, got {getattr(options, what)!r}")
    proxies = [get_proxy(name) for name in options.names]
    if len({proxy.name for proxy in proxies}) != len(proxies):
        raise SpecError(f"names is a list of different proxies, got {', '.join(options.names)}")
    out = []
    for dataset in options.datasets:
        setting = Setting.of(dataset, channels=options.channels, cells=options.cells, seed=options.seed)
        batch = None
        if any(proxy.data for proxy in proxies):
            batch = load_batch(
                dataset, seed=options.seed, size=options.batch_size, folder=options.folder, device=options.device
            )
        out += [_Column(proxy, dataset, setting, batch if proxy.data else None) for proxy in proxies]
    return sorted(out, key=lambda column: list(options.names).index(_asked(options, column.proxy)))


def _asked(options: Options, proxy: Proxy) -> str:
    return next(name for name in options.names if get_proxy(name) is proxy)


def _index(archs: Sequence[Any] | None) -> npt.NDArray[np.int64]:
    space = NB201()
    if archs is None:
        return np.arange(space.size)
    if isinstance(archs, str) or not len(archs):
        raise SpecError(f"archs is a list of one or more cells, got {archs!r}")
    return np.unique(np.array([space.resolve(arch) for arch in archs], dtype=np.int64))


def _spec(options: Options, columns: list[_Column], index: npt.NDArray[np.int64]) -> dict[str, Any]:
    """All that decides the numbers, JSON-able."""
    batches = {column.dataset: _digest(column.batch) for column in columns if column.batch is not None}
    return {
        "schema": 1,
        "columns": {column.name: _setting(column) for column in columns},
        "batches": batches,
        "batch_size": options.batch_size if batches else None,
        "cells": len(index),
        "cells_sha256": hashlib.sha256(index.astype("<i8").tobytes()).hexdigest(),
        "strings": options.strings,
    }


def _setting(column: _Column) -> dict[str, Any]:
    setting = asdict(column.setting)
    if not column.proxy.draws:
        del setting["seed"]  # it decides nothing
    return setting


def _digest(batch: Batch) -> str:
    """sha256 of a batch: images, then labels."""
    digest = hashlib.sha256(np.ascontiguousarray(batch.images.cpu().numpy()).tobytes())
    digest.update(batch.labels.cpu().numpy().tobytes())
    return digest.hexdigest()


def _made(spec: dict[str, Any]) -> dict[str, Any]:
    made = {"gpu_validation": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return {**spec, "made_with": made}


def _part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _note(out: Path) -> Path:
    return out.with_name(out.name + ".json")


def _finished(options: Options, spec: dict[str, Any]) -> bool:
    """Whether the file is there already, of this very run; raises `RunError` for one that is in the way."""
    out = options.out
    if not out.exists():
        return False
    if options.resume and out.is_file() and _note(out).is_file():
        note = _read_json(_note(out))
        if {key: note.get(key) for key in spec} == spec and note.get("sha256") == sha256_file(out):
            return True
    raise RunError(f"{out} exists and is not the result of this run; choose another name, or remove it")


def _read_part(options: Options, spec: dict[str, Any]) -> dict[str, dict[int, float]]:
    part = _part(options.out)
    if not part.exists():
        return {}
    if not options.resume:
        raise RunError(f"{part} holds the beginning of a run; go on with it by resume, or remove it")
    found = _read_json(part)
    if found.get("spec") != spec:
        raise RunError(f"{part} is of another run (other proxies, cells, network, seed or batch); remove it")
    try:
        values = {
            name: {int(n): math.nan if v is None else float(v) for n, v in column.items()}
            for name, column in found["values"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{part} is damaged ({error}); remove it") from error
    return values


def _write_part(options: Options, spec: dict[str, Any], done: dict[str, dict[int, float]]) -> None:
    values = {name: {str(n): None if math.isnan(v) else v for n, v in c.items()} for name, c in done.items()}
    _write_json(_part(options.out), {"spec": spec, "values": values})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged (no JSON object); remove it")
    return found


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(document, indent=1 if path.suffix == ".json" else None) + "\n", encoding="utf-8")


def _write(
    options: Options,
    columns: list[_Column],
    index: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    done: dict[str, dict[int, float]],
) -> None:
    space, text = NB201(), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", *(["arch"] if options.strings else []), *(column.name for column in columns)])
    for cell, number in zip(index.tolist(), numbers.tolist(), strict=True):
        values = [done[column.name][number] for column in columns]
        row = ["" if math.isnan(v) else f"{v:.{DIGITS}g}" for v in values]
        writer.writerow([cell, *([space.strings[cell]] if options.strings else []), *row])
    data = text.getvalue().encode()
    if options.out.name.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)  # no time of day: the same run gives the same bytes
    with atomic_path(options.out) as part:
        part.write_bytes(data)
