"""Numbers on disk: safetensors beside a JSON file that says what they are, replaced atomically, the last two kept.

    NAME-00000012.safetensors    the arrays
    NAME-00000012.json           number, facts (what they belong to), sha256 of the arrays

The JSON file is written last: without it, or with another sha256, a checkpoint does not count and the one before it
does. A kill at any moment therefore loses at most the work since the last one, and loading runs no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_sim.errors import RunError
from nasbench_sim.files import atomic_path, sha256_file

FORMAT = "nasbench-sim checkpoint 1"
KEEP = 2
Arrays = Mapping[str, npt.NDArray[Any]]


class Checkpoint(NamedTuple):
    """What was found: `number` (epochs or steps done), arrays, facts, and a line for each damaged file passed over."""

    number: int
    arrays: dict[str, npt.NDArray[Any]]
    facts: dict[str, Any]
    skipped: tuple[str, ...]


def save(folder: Path, name: str, number: int, arrays: Arrays, facts: Mapping[str, Any]) -> Path:
    """Write checkpoint `number` of `name` into `folder` and remove all but the last two; returns the JSON file.

    Raises `RunError` where it cannot be written; earlier ones are then untouched.
    """
    from safetensors.numpy import save_file  # an optional extra; imported where it is used

    target = folder / f"{name}-{number:08d}.safetensors"
    with atomic_path(target) as part:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, part)
    document = {"format": FORMAT, "number": number, "facts": dict(facts), "sha256": sha256_file(target)}
    path = target.with_suffix(".json")
    with atomic_path(path) as part:
        part.write_text(json.dumps(document, indent=1) + "\n")
    for old in numbers(folder, name)[:-KEEP]:
        for suffix in (".json", ".safetensors"):
            (folder / f"{name}-{old:08d}{suffix}").unlink(missing_ok=True)
    return path


def numbers(folder: Path, name: str) -> list[int]:
    """Numbers of the checkpoints of `name` in `folder`, ascending, whether they can be read or not."""
    pattern = re.compile(re.escape(name) + r"-(\d{8})\.json")
    return sorted(int(m[1]) for path in folder.glob(f"{name}-*.json") if (m := pattern.fullmatch(path.name)))


def load(folder: Path, name: str, facts: Mapping[str, Any]) -> Checkpoint | None:
    """The newest checkpoint of `name` that is whole; None where there is none at all.

    Raises `RunError` for one that belongs to something else (other `facts`: it names the first that differs), and
    where there are only damaged ones.
    """
    skipped: list[str] = []
    for number in reversed(numbers(folder, name)):
        path = folder / f"{name}-{number:08d}.json"
        try:
            document, arrays = _read(path)
        except (OSError, ValueError, KeyError, RecursionError) as error:
            skipped.append(f"{path} is damaged ({error})")
            continue
        found = document["facts"]
        for key, value in facts.items():
            if found.get(key) != value:
                raise RunError(
                    f"{path} was made for {key} {_short(found.get(key))}, not {_short(value)}; give the options it was "
                    "made with, or choose another folder"
                )
        return Checkpoint(number, arrays, found, tuple(skipped))
    if skipped:
        raise RunError(f"no checkpoint of {name} can be read: {'; '.join(skipped)}; start again in another folder")
    return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_bytes

    document = json.loads(path.read_text())
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document["facts"], dict):
        raise ValueError(f"it is not a {FORMAT}")
    source = path.with_suffix(".safetensors")
    if sha256_file(source) != document["sha256"]:
        raise ValueError("its arrays have another sha256")
    try:
        return document, load_bytes(source.read_bytes())
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def clear(folder: Path, name: str) -> None:
    """Remove all checkpoints of `name`, also half-written ones, and the folder where nothing else is in it."""
    for path in folder.glob(f"*{name}-*"):
        if re.fullmatch(r"\.?" + re.escape(name) + r"-\d{8}\.(json|safetensors)(\..*\.part)?", path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or somebody keeps something in it
        folder.rmdir()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
