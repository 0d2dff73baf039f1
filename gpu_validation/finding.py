"""What a check of the machine returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "limited", "missing"]


@dataclass(frozen=True)
class Finding:
    """One part of the machine: its name, `ok`/`limited`/`missing`, what was found, the verdict, how to mend it.

    `found` is plain data for machines (versions, devices); `mend` is empty where there is nothing to mend.
    """

    part: str
    status: Status
    found: Mapping[str, Any]
    verdict: str
    mend: str = ""
