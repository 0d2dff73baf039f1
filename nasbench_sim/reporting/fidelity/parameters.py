"""Parameters of the weight-sharing model from a file of a fit, also those fitted without the method to be predicted.

    {"what": "...", "runs": [{"method": "darts", ...}, ...], "params": {...}, "params_without": {"darts": {...}, ...}}

`runs` says what `params` were fitted to (not those with "gradients": false), `params_without.NAME` were fitted to the
recordings of all methods but NAME.
Both may be missing: then the page says that it is not known, and that no number of it is held out.
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
from nasbench_sim.landscapes.shared_params import fit_path
from nasbench_sim.resources import data_path

#: data set of a recording -> the project's own fit in that setting, part of its data
OWN_FIT = {"fashion-mini": "breadth", "cifar10-subset": "depth"}


class Fitted(NamedTuple):
    """A file of parameters: its name, sha256, what it says of itself, and the numbers."""

    name: str
    sha256: str
    what: str
    fitted_on: tuple[str, ...]
    params: SharedWeightsParams
    held_out: Mapping[str, SharedWeightsParams]

    def without(self, method: str) -> SharedWeightsParams | None:
        """Parameters that have not seen the method; None where the file holds none.

        Where fits without a method exist, those of a method that was never fitted to are `params` themselves.
        """
        if method in self.held_out or not self.held_out:
            return self.held_out.get(method)
        return None if method in self.fitted_on else self.params

    def about(self) -> dict[str, Any]:
        """The file as plain data."""
        return {
            "file": self.name,
            "sha256": self.sha256,
            "what": self.what,
            "fitted_on": list(self.fitted_on),
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
    try:
        found = {str(name): SharedWeightsParams(**one) for name, one in values.get("params_without", {}).items()}
        # a recording without gradients was not fitted to (RSPS takes none, PARSEC sees losses only)
        used = [run for run in values.get("runs", []) if run.get("gradients", True)]
        runs = tuple(sorted({str(run["method"]) for run in used}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpecError(f"{path}: runs or params_without are not those of a fit ({reason})") from error
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Fitted(path.name, sha256, " ".join(str(values.get("what", "")).split()), runs, params, found)


def own_parameters(dataset: str) -> Fitted:
    """The project's fit to recordings on `dataset`, else its general parameters; raises as `load_parameters`.

    >>> own_parameters("digits").name
    'shared_weights.json'
    """
    return load_parameters(fit_path(OWN_FIT[dataset]) if dataset in OWN_FIT else None)
