"""Targets: the files that this package writes itself, and reads again. Their seals are made to fit after damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import nasbench_sim as nb
from nasbench_sim.ensembles.predictions import Predictions
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.resources import data_path
from nasbench_sim.runs import Run, make_spec
from nasbench_sim.runs.ablate import _read_marker
from nasbench_sim.runs.checkpoint import load_checkpoint, save_checkpoint
from nasbench_sim.runs.engine import Batch
from nasbench_sim.runs.grid import load_grid
from nasbench_sim.runs.plan import FORMAT, PLAN, read_plan
from nasbench_sim.runs.record import _digest
from nasbench_sim.runs.trace import Trace, trace_of
from nasbench_sim.sealed import BLOCK, _seal
from nasbench_sim.tables.curves_file import PlaneFile
from nasbench_sim.tables.curves_writer import CurveWriter
from nasbench_sim.tables.curves_writer import Run as TrainingRun
from nasbench_sim.tables.modules import read_modules, verify_modules, write_modules
from nasbench_sim.tables.nb101 import read_nb101
from nasbench_sim.tables.store import read_table, write_table
from tests.fuzz.mutate import Rng
from tests.fuzz.target import target, written
from tests.synthetic import synthetic_table
from tests.tables.helpers import small_table
from tests.tables.tfrecords import MODULES, runs_of, write_tfrecord

_HDF5 = (
    b"\x89HDF\r\n\x1a\n", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"FADB", b"FAHD", b"TREE", b"SNOD", b"HEAP",
    b"/etc/passwd\0", b"manifest\0", b"accuracy\0",
)  # fmt: skip
_JSON = (b'"seeds":', b"[[", b"{}", b"1e400", b"-1", b"null", b'"spec":', b"9" * 30, b"[" * 2000, b'"\\ud800"')
_SPEC: dict[str, Any] = {"table": "synthetic", "dataset": "cifar10", "seeds": 2, "epochs": 2, "steps_per_epoch": 2}


def _sealed_again(data: bytes, rng: Rng) -> bytes:
    """The seal of an HDF5 file of ours, made to fit; one input in ten keeps one that does not."""
    if rng.random() < 0.1 or len(data) < BLOCK:
        return data
    kind = data[:BLOCK].split(b"\n", 1)[0].decode("latin-1")
    body = data[BLOCK:]
    return _seal(kind, body)[:BLOCK] + body if kind.isascii() and len(kind) < 64 else data


def _tables(folder: Path) -> list[bytes]:
    write_table(small_table(), folder / "a.h5")
    return [(folder / "a.h5").read_bytes()]


@target("table", "tables (HDF5), and `tables import --h5`", _tables, mend=_sealed_again, words=_HDF5)
def _(data: bytes, folder: Path) -> object:
    table = read_table(written(folder, "a.h5", data))
    return write_table(table, folder / "home" / "a.h5")


def _predictions(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    logits = rng.normal(size=(2, 20, 3))
    made = Predictions.from_logits(logits, labels, [6111, 9930], "nb201", "cifar10", "valid", [777, 777], "made up")
    made.save(folder / "a.h5")
    return [(folder / "a.h5").read_bytes()]


@target("predictions", "predictions of trained networks (HDF5)", _predictions, mend=_sealed_again, words=_HDF5)
def _(data: bytes, folder: Path) -> object:
    return Predictions.load(written(folder, "a.h5", data))


_META: dict[str, Any] = {}


def _run(folder: Path) -> Path:
    fields = {k: v for k, v in _SPEC.items() if k not in ("table", "seeds")}
    return nb.search("darts", table=synthetic_table(), seeds=range(2), workers=1, **fields).save(folder)


def _records(folder: Path) -> list[bytes]:
    _META.update(json.loads((_run(folder) / "run.json").read_text()))
    return [(folder / "record.h5").read_bytes()]


@target("record", "records of runs: record.h5", _records, mend=_sealed_again, words=_HDF5)
def _(data: bytes, folder: Path) -> object:
    written(folder, "record.h5", data)
    meta = {k: v for k, v in _META.items() if k != "sha256"}
    meta["record_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "run.json").write_text(json.dumps({**meta, "sha256": _digest(meta)}))
    return Run.load(folder).summary()


def _facts(folder: Path) -> list[bytes]:
    _run(folder)
    _RECORD.append((folder / "record.h5").read_bytes())
    return [(folder / "run.json").read_bytes()]


_RECORD: list[bytes] = []


def _signed_again(data: bytes, rng: Rng) -> bytes:
    """The sha256 of a record's facts, made to fit where they are JSON."""
    try:
        meta = json.loads(data)
        meta.pop("sha256", None)
        return json.dumps({**meta, "sha256": _digest(meta)}).encode() if rng.random() < 0.9 else data
    except (ValueError, AttributeError, TypeError, RecursionError):
        return data


@target("record-json", "records of runs: run.json", _facts, mend=_signed_again, words=_JSON)
def _(data: bytes, folder: Path) -> object:
    written(folder, "record.h5", _RECORD[0])
    written(folder, "run.json", data)
    return Run.load(folder).summary()


def _key(digest: str) -> dict[str, Any]:
    return {"digest": digest, "table_sha256": "0" * 64}


def _checkpoints(folder: Path) -> list[bytes]:
    spec = make_spec(method="darts", **_SPEC)
    save_checkpoint(folder / "a.h5", Batch(spec, synthetic_table(), np.arange(2)).start(), **_key("x"))
    return [(folder / "a.h5").read_bytes()]


@target("checkpoint", "checkpoints of runs (HDF5)", _checkpoints, mend=_sealed_again, words=_HDF5)
def _(data: bytes, folder: Path) -> object:
    return load_checkpoint(written(folder, "a.h5", data), **_key("x"))


def _traces(folder: Path) -> list[bytes]:
    batch = Batch(make_spec(method="darts", **_SPEC), synthetic_table(), np.arange(2))
    trace = trace_of(batch, {"method": "darts", "space": "nb201"})
    looked = trace.extended({}, trace.archs[:, -1], np.full((2, 3), 50.0), np.arange(3))
    return [looked.save(folder / "a.h5").read_bytes()]


@target("trace", "traces of searches (HDF5)", _traces, mend=_sealed_again, words=_HDF5)
def _(data: bytes, folder: Path) -> object:
    return Trace.load(written(folder, "a.h5", data)).skip_ratio


def _plans(folder: Path) -> list[bytes]:
    spec = json.loads(make_spec(method="darts", **_SPEC).model_dump_json())
    plan = {"format": FORMAT, "spec": spec, "table_sha256": "0" * 64, "parts": [[0, 1], [1, 2]]}
    return [json.dumps(plan).encode()]


@target("plan", "plans of unfinished runs (JSON)", _plans, words=_JSON)
def _(data: bytes, folder: Path) -> object:
    written(folder, PLAN, data)
    return read_plan(folder)


def _markers(folder: Path) -> list[bytes]:
    facts = {"format": "nasbench-sim ablation", "name": "a", "table": "t", "table_sha256": "0" * 64, "grid": {}}
    from nasbench_sim.runs import ablate

    return [json.dumps({**facts, "format": ablate.FORMAT}).encode()]


@target("ablation", "what an ablation's folder says of itself (JSON)", _markers, words=_JSON)
def _(data: bytes, folder: Path) -> object:
    known = _read_marker(written(folder, "ablation.json", data))
    if not isinstance(known["name"], str):
        raise AssertionError("a name that is no text was accepted")
    return known


def _weights(folder: Path) -> list[bytes]:
    return [data_path("shared_weights.json").read_bytes()]


@target("weights", "parameters of the weight-sharing model (JSON)", _weights, words=(b'"params":', *_JSON))
def _(data: bytes, folder: Path) -> object:
    return SharedWeightsParams.load(written(folder, "a.json", data))


_YAML = (
    b"&a ", b"*a", b"!!python/object/apply:os.system ", b"<<: ", b"- ", b": ", b"? ", b"|\n", b">\n", b"---\n",
    b"%YAML 1.1\n", b"[" * 300, b"{a: " * 300, b"0x1f", b"1_000", b"5:30", b"2020-01-01", b".inf", b"\t",
)  # fmt: skip


def _grids(folder: Path) -> list[bytes]:
    return [
        b"name: a\nmethod: darts\naxes:\n  lr: [1e-4, 3e-4]\nseeds: 0:100\nepochs: 5\n",
        b"name: b\nmethod: balenas\naxes: {run.epochs: [1, 2], landscape.decay: [0.1]}\n"
        b"params: {samples: 3}\ndatasets: [cifar10]\nmode: grid\n",
        b'{"name": "c", "method": "bpnas", "axes": {"reset": ["all", "none"]}}',
    ]


@target("grid", "ablation grids (YAML)", _grids, words=_YAML)
def _(data: bytes, folder: Path) -> object:
    return load_grid(written(folder, "grid.yaml", data))


def _modules(folder: Path) -> list[bytes]:
    table = read_nb101(write_tfrecord(folder / "a.tfrecord", runs_of(MODULES[:2])[0]))
    write_modules(table, folder / "a.safetensors")
    return [(folder / "a.safetensors").read_bytes()]


def _head_again(data: bytes, rng: Rng) -> bytes:
    """The seal of a head, made to fit."""
    end = 8 + int.from_bytes(data[:8], "little")
    if end + 32 > len(data) or rng.random() < 0.1:
        return data
    return data[:end] + hashlib.sha256(data[:end]).digest() + data[end + 32 :]


@target("modules", "NAS-Bench-101 as kept and exported (safetensors)", _modules, mend=_head_again, words=_JSON)
def _(data: bytes, folder: Path) -> object:
    table = read_modules(written(folder, "a.safetensors", data))
    verify_modules(table)
    return write_modules(table, folder / "home" / "a.safetensors")


def _curves(folder: Path) -> list[bytes]:
    run = TrainingRun("cifar10", 1, 777, {("train", "accuracy"): np.array([40.0])}, {})
    with CurveWriter("nb201", folder) as writer:
        writer.add(5, [run])
        writer.finish(folder / "a.safetensors", sources=(), notes=())
    return [(folder / "a.safetensors").read_bytes()]


def _manifest_again(data: bytes, rng: Rng) -> bytes:
    """The sum of the manifest, made to fit where the head is JSON; the length of the head in most inputs."""
    length = int.from_bytes(data[:8], "little")
    try:
        document = json.loads(data[8 : 8 + length])
        about = document["__metadata__"]
        about["sha256"] = hashlib.sha256(about["manifest"].encode()).hexdigest()
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % 8)
        return len(text).to_bytes(8, "little") + text + data[8 + length :]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return data


@target("curves", "learning curves (safetensors, mapped)", _curves, mend=_manifest_again, words=_JSON)
def _(data: bytes, folder: Path) -> object:
    return PlaneFile(written(folder, "a.safetensors", data)).verify()
