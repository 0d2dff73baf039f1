"""Reading a YAML file of a user's: plain data or one clear line.

PyYAML's safe loader reads YAML 1.1, in which `1e4` is text, `5:30` is 330 and `off` is false. Here scalars follow the
core schema of YAML 1.2 (numbers as JSON writes them, true, false, null); `0:100` stays text. Aliases, duplicate keys,
tags that make other objects, numbers that are not finite, and large files are refused.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from nasbench_sim.errors import SpecError

MAX_BYTES = 1 << 18  # 10,000 axis values are about 100 KB
_WHOLE = r"[-+]?(?:0|[1-9][0-9]*)"
_SCALARS = (  # tag, pattern, first characters; the first that fits decides
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", _WHOLE, list("-+0123456789")),
    ("float", rf"(?:{_WHOLE}(?:\.[0-9]*)?|[-+]?\.[0-9]+)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML 1.2's core schema, without aliases, and with every key once."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (how PyYAML wants it: not those of YAML 1.1)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """No aliases: a few lines of them can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise SpecError(f"line {mark.line + 1}: aliases (*name) are not accepted; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Every key is text and stands once: YAML itself lets the last one win."""
        seen: set[str] = set()
        for key, _ in node.value:
            where = f"line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(f"{where}: a key is a name, not a list or mapping")
            if key.value in seen:
                raise SpecError(f"{where}: key {key.value!r} is given twice")
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"  # `null:` and `1:` are names here
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_yaml(text: str) -> dict[str, Any]:
    """The mapping that a YAML document holds, as plain data; raises `SpecError` with the line of the mistake.

    >>> parse_yaml("axes: {init_precision: [1, 1e4], reset: [all, none]}\\nseeds: 0:100")
    {'axes': {'init_precision': [1, 10000.0], 'reset': ['all', 'none']}, 'seeds': '0:100'}
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader
        _check_plain(data, "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise SpecError(f"{where}not YAML: {' '.join(str(what).split())}") from error
    except RecursionError as error:
        raise SpecError("nested too deeply; a specification has three levels") from error
    except ValueError as error:  # a number of 5,000 digits, a date that does not exist
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"a value cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(data, dict):
        raise SpecError("holds no `key: value` lines at its top level")
    return data


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where}: {value} is not a finite number")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise SpecError(f"{where}: a whole number lies between -2^63 and 2^63")
    elif not isinstance(value, (str, int, float, type(None))):
        raise SpecError(f"{where}: {type(value).__name__} is not accepted; give text, numbers, true, false or null")


def read_yaml(path: Path | str) -> tuple[dict[str, Any], str]:
    """The mapping in a YAML file and the file's text; raises `SpecError`, one line that names the file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise SpecError(f"{path} is a folder; give a YAML file") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from error
    if len(data) > MAX_BYTES:
        raise SpecError(f"{path}: larger than the {MAX_BYTES} bytes that a specification may have")
    try:
        text = data.decode("utf-8")
        return parse_yaml(text), text
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
