"""The curve file: every byte of it counts, and nothing in it is believed before its sum fits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench_sim.errors import TableError
from nasbench_sim.tables.curves_file import Manifest, Plane, PlaneFile, header_bytes
from tests.tables.helpers import SPACE
from tests.tables.test_curves import EPOCHS, a_run, write


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("curves") / "tiny.curves.safetensors"
    rng = np.random.default_rng(0)
    write(target, {0: [a_run(rng, 777), a_run(rng, 888), a_run(rng, 777, dataset="cifar100", every=False)]})
    return target


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy.curves.safetensors"
    target.write_bytes(path.read_bytes())
    return target


def data_start(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_every_array_is_checked_before_it_is_used(copy: Path) -> None:
    start, size = data_start(copy), SPACE.size
    offset = start
    for plane in PlaneFile(copy).planes:
        for at in (offset, offset + plane.nbytes(size) - 1):
            flip(copy, at)
            file = PlaneFile(copy)  # reads no array, so it opens
            with pytest.raises(TableError, match=rf"is damaged: {plane.tensor} does not fit its sha256"):
                file.array(plane)
            with pytest.raises(TableError, match=f"is damaged: {plane.tensor}"):
                file.verify()
            others = [p for p in file.planes if p != plane]
            file.array(others[0])
            flip(copy, at)
        offset += plane.nbytes(size)
    assert offset == copy.stat().st_size
    assert PlaneFile(copy).verify() == len(PlaneFile(copy).planes)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_byte_of_the_head_counts(
    path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    start = data_start(path)
    at = data.draw(st.integers(0, start - 1))
    value = data.draw(st.integers(0, 255))
    content = bytearray(path.read_bytes()[: start + 4])
    if content[at] == value:
        return
    content[at] = value
    target = tmp_path_factory.getbasetemp() / "head.safetensors"
    target.write_bytes(content)
    with target.open("r+b") as file:
        file.truncate(path.stat().st_size)
    with pytest.raises(TableError) as caught:
        PlaneFile(target)
    assert "\n" not in str(caught.value)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize(
    ("said", "edit"),
    [
        ("is not a curve file (no header)", lambda b: b""),
        ("is not a curve file (no header)", lambda b: b"\xff" * 100),
        ("is not a curve file (no header)", lambda b: b[:5]),
        ("its header is damaged or of another kind", lambda b: b[:1000]),
        ("its header is damaged or of another kind", lambda b: b"\x02" + bytes(7) + b"{}"),
        ("its header is damaged or of another kind", lambda b: b"\x10\x27" + bytes(6) + b"[" * 10_000),
        ("is truncated or padded", lambda b: b[:-1]),
        ("is truncated or padded", lambda b: b + b"\0"),
    ],
)
def test_other_files_are_refused(copy: Path, said: str, edit: Any) -> None:
    copy.write_bytes(edit(copy.read_bytes()))
    with pytest.raises(TableError) as caught:
        PlaneFile(copy)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(TableError, match="cannot be read"):
            PlaneFile(path)


def crafted(path: Path, **changes: Any) -> None:
    """A file whose seals all fit, made by hand."""
    data, manifest = path.read_bytes(), PlaneFile(path).manifest
    entries = manifest.planes
    for key, value in changes.items():
        if key in Manifest.model_fields:
            manifest = manifest.model_copy(update={key: value})
        else:
            entries = [entries[0].model_copy(update={key: value}), *entries[1:]]
    if "planes" not in changes:
        manifest = manifest.model_copy(update={"planes": entries})
    path.write_bytes(header_bytes(manifest) + data[data_start(path) :])


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ("unknown search space", {"space": "nb999"}),
        ("its header does not fit its manifest", {"size": 15_624}),
        ("its header does not fit its manifest", {"metric": "top1"}),
        ("schema_version", {"schema_version": 2}),
        ("format", {"format": "something else"}),
        ("planes.0.kind", {"kind": "pickle"}),
        ("planes.0.epochs", {"epochs": 10**6}),
        ("planes.0.seed", {"seed": -1}),
        ("planes.0.sha256", {"sha256": "no"}),
        ("is truncated or padded", {"epochs": 900, "kind": "curve"}),
    ],
)
def test_files_made_by_hand_meet_the_same_checks(copy: Path, said: str, changes: dict[str, Any]) -> None:
    crafted(copy, **changes)
    with pytest.raises(TableError) as caught:
        PlaneFile(copy)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_array_that_is_listed_twice_is_refused(copy: Path) -> None:
    entries = PlaneFile(copy).manifest.planes
    crafted(copy, planes=[entries[0], *entries])
    with pytest.raises(TableError):
        PlaneFile(copy)


def test_numbers_out_of_range_are_refused_though_their_sum_fits(copy: Path) -> None:
    file = PlaneFile(copy)
    plane = Plane("cifar10", EPOCHS, 777, "test", "accuracy", "curve")
    offset, _ = file._where[plane]
    data = bytearray(copy.read_bytes())
    data[offset : offset + 4] = np.float32(100.5).tobytes()
    sha256 = hashlib.sha256(data[offset : offset + plane.nbytes(SPACE.size)]).hexdigest()
    copy.write_bytes(data)
    planes = [e.model_copy(update={"sha256": sha256}) if e.plane == plane else e for e in file.manifest.planes]
    crafted(copy, planes=planes)
    with pytest.raises(TableError, match=r"architecture 0 holds 100\.5, outside 0\.\.100"):
        PlaneFile(copy).array(plane)


def test_the_head_says_where_every_array_is(path: Path) -> None:
    raw = path.read_bytes()
    document = json.loads(raw[8 : data_start(path)])
    assert data_start(path) % 4096 == 0
    ends = [0]
    for name, entry in document.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] == ends[-1]
            ends.append(entry["data_offsets"][1])
    assert data_start(path) + ends[-1] == len(raw)
