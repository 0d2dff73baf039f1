"""Parameters of the weight-sharing model from a file of a fit, also those fitted without the method to be predicted.

    {"what": "...", "params": {...}, "held_out": {"method": {"darts": {"params": {...}}, ...}}}

`held_out.method.NAME.params` were fitted to the recordings of all methods but NAME. A file without them is fine: then
the page says that no number of it is held out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nasbench_sim.errors import SpecError
from nasbench_sim.files import MAX_JSON, read_text
from nasbench_sim.landscapes import SharedWeightsParams
from nasbench_sim.resources import data_path


class Fitted(NamedTuple):
    """A file of parameters: its name, sha256, what it says of itself, and the numbers."""

    name: str
    sha256: str
    what: str
    params: SharedWeightsParams
    held_out: Mapping[str, SharedWeightsParams]

    def about(self) -> dict[str, Any]:
        """The file as plain data."""
        return {
            "file": self.name,
            "sha256": self.sha256,
            "what": self.what,
            "params": self.params.model_dump(),
            "held_out": sorted(self.held_out),
        }


def load_parameters(path: Path | None = None) -> Fitted:
    """The file at `path`, default the project's own; raises `SpecError`, one line, for a bad one.

    >>> load_parameters().params == SharedWeightsParams.load()
    True
    """
    path = data_path("shared_weights.json") if path is None else path
    params = SharedWeightsParams.load(path)
    text = read_text(path, MAX_JSON)
    values: dict[str, Any] = json.loads(text)
    held_out = values.get("held_out", {})
    by_method = held_out.get("method", {}) if isinstance(held_out, dict) else {}
    try:
        found = {
            str(name): SharedWeightsParams(**entry["params"])
            for name, entry in by_method.items()
            if isinstance(entry, dict) and "params" in entry
        }
    except (AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"{path}: held_out.method holds impossible parameters ({reason})") from error
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Fitted(path.name, sha256, " ".join(str(values.get("what", "")).split()), params, found)
