"""What this machine can do for GPU runs: each part, its version, a verdict in one line, and the command that mends it.

Nothing here raises because something is missing or broken: a doctor who faints is of no use. torch is imported by
`examine` only, never by importing this module.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from gpu_validation.abilities import abilities, find_compiler
from gpu_validation.finding import Finding

__all__ = ["Finding", "examine", "report"]

PYTHON = (3, 11)
#: package -> (oldest version that the extra `gpu` takes, what it is for)
NEEDED: Mapping[str, tuple[str, str]] = {
    "torch": ("2.6", "tensors, automatic differentiation and devices"),
    "triton": ("3.2", "fused kernels"),
    "safetensors": ("0.4", "checkpoints of networks that hold numbers and no code"),
    "scikit-learn": ("1.5", "small regressions over network statistics"),
}
MIN_CAPABILITY = (8, 0)
_GIB = 1 << 30


def examine(
    environment: Mapping[str, str],
    *,
    load: Callable[[str], ModuleType] = importlib.import_module,
    version: Callable[[str], str] = importlib.metadata.version,
    python: tuple[int, int, int] = sys.version_info[:3],
    which: Callable[[str], str | None] = shutil.which,
    headers: Path | None = None,
) -> list[Finding]:
    """Look at Python, torch, CUDA, triton, the interpreter switch, safetensors and scikit-learn, then at their use.

    `environment` is `os.environ`; the other arguments stand in for the machine in tests.

    >>> [finding.part for finding in examine({})][:7]
    ['python', 'torch', 'cuda', 'triton', 'TRITON_INTERPRET', 'safetensors', 'scikit-learn']
    >>> [finding.part for finding in examine({})][7:]
    ['reference', 'fused', 'triton kernels', 'torch.compile', 'autocast', 'distributed']
    """
    torch, reason = _load("torch", load)
    devices = cuda_devices(torch) if torch is not None else []
    interpreter = check_interpreter(environment.get("TRITON_INTERPRET"), bool(devices))
    include = headers if headers is not None else Path(sysconfig.get_paths()["include"])
    triton = _version("triton", version)
    return [
        check_python(python),
        check_torch(_version("torch", version), torch is not None, reason),
        check_cuda(torch is not None, devices, getattr(getattr(torch, "version", None), "cuda", None)),
        check_triton(triton, bool(devices), platform.system()),
        interpreter,
        check_package("safetensors", _version("safetensors", version)),
        check_package("scikit-learn", _version("scikit-learn", version)),
        *abilities(torch, devices, triton, interpreter.found["on"], find_compiler(environment, which), include),
    ]


def check_python(found: tuple[int, int, int]) -> Finding:
    """Python itself.

    >>> check_python((3, 12, 1)).status
    'ok'
    """
    text = ".".join(map(str, found))
    if found[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        verdict = f"Python {text} is too old: this project needs {wanted} or newer"
        return Finding("python", "missing", {"version": text}, verdict, f"python{wanted} -m venv .venv")
    return Finding("python", "ok", {"version": text}, f"Python {text} will do")


def check_torch(version: str | None, loads: bool, reason: str = "") -> Finding:
    """torch: whether it is installed, new enough, and can be imported.

    >>> check_torch(None, False).mend
    "pip install 'torch>=2.6'"
    """
    found = {"installed": version is not None, "version": version, "imports": loads}
    if version is None and not loads:
        verdict = "torch is not installed: nasbench-sim works in full, nothing that needs a network or a GPU will"
        return Finding("torch", "missing", found, verdict, _install("torch"))
    if not loads:
        verdict = f"torch {version} is installed but cannot be imported ({reason}): nothing that needs it will work"
        return Finding("torch", "missing", found, verdict, "pip install --force-reinstall torch")
    return _aged("torch", version or "of unknown version", found)


def check_cuda(has_torch: bool, devices: list[dict[str, Any]], built_for: str | None) -> Finding:
    """CUDA devices, as torch sees them.

    >>> check_cuda(False, [], None).verdict
    'not looked at: CUDA devices are found through torch'
    """
    found = {"available": bool(devices), "built_for": built_for, "devices": devices}
    if not has_torch:
        return Finding("cuda", "missing", found, "not looked at: CUDA devices are found through torch")
    if not devices and built_for is None:
        verdict = "this torch was built without CUDA: it will compute on the CPU only"
        return Finding("cuda", "limited", found, verdict, "pip install --force-reinstall torch")
    if not devices:
        verdict = "no CUDA device is visible: torch will compute on the CPU only (is there a driver? try nvidia-smi)"
        return Finding("cuda", "limited", found, verdict)
    names = ", ".join(
        f"{d['name']} (capability {d['capability']}, {d['memory_bytes'] / _GIB:.0f} GiB)" for d in devices
    )
    old = [d["name"] for d in devices if _numbers(d["capability"]) < MIN_CAPABILITY]
    if old:
        wanted = ".".join(map(str, MIN_CAPABILITY))
        verdict = f"{names}: below capability {wanted} bfloat16 is not native on {', '.join(old)}; float32 will work"
        return Finding("cuda", "limited", found, verdict)
    return Finding("cuda", "ok", found, f"{names}: float32, float16 and bfloat16 will work")


def check_triton(version: str | None, has_device: bool, system: str) -> Finding:
    """Triton, which compiles kernels for a GPU, or interprets them on a CPU.

    >>> check_triton("3.3.0", True, "Linux").status
    'ok'
    """
    found = {"installed": version is not None, "version": version, "system": system}
    if version is None and system != "Linux":
        return Finding("triton", "missing", found, f"triton has no packages for {system}: no fused kernels here")
    if version is None:
        return Finding(
            "triton", "missing", found, "triton is not installed: fused kernels will not run", _install("triton")
        )
    aged = _aged("triton", version, found)
    if aged.status != "ok" or has_device:
        return aged
    verdict = f"triton {version} has no device to run on: kernels can be interpreted (TRITON_INTERPRET=1), slowly"
    return Finding("triton", "limited", found, verdict)


def check_interpreter(value: str | None, has_device: bool) -> Finding:
    """The switch that makes Triton interpret kernels instead of compiling them.

    >>> check_interpreter("1", True).status
    'limited'
    """
    on = value is not None and value.lower() in ("1", "true", "on", "yes", "y")
    found = {"set": value is not None, "value": value, "on": on}
    if on and has_device:
        verdict = "TRITON_INTERPRET is on although there is a GPU: kernels will be interpreted, very slowly"
        return Finding("TRITON_INTERPRET", "limited", found, verdict, "unset TRITON_INTERPRET")
    if on:
        return Finding("TRITON_INTERPRET", "ok", found, "on: kernels will be interpreted on the CPU (not in bfloat16)")
    return Finding("TRITON_INTERPRET", "ok", found, "off: kernels will be compiled, which needs a GPU to run them")


def check_package(name: str, version: str | None) -> Finding:
    """A package that is only asked whether it is there and new enough.

    >>> check_package("safetensors", "0.5.2").verdict
    'safetensors 0.5.2 will do'
    """
    found = {"installed": version is not None, "version": version}
    if version is None:
        verdict = f"{name} is not installed: no {NEEDED[name][1]}"
        return Finding(name, "missing", found, verdict, _install(name))
    return _aged(name, version, found)


def cuda_devices(torch: Any) -> list[dict[str, Any]]:
    """Name, capability and memory of each CUDA device; empty where torch sees none or its driver is broken."""
    try:
        if not torch.cuda.is_available():
            return []
        found = []
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            capability = f"{about.major}.{about.minor}"
            found.append({"name": about.name, "capability": capability, "memory_bytes": int(about.total_memory)})
        return found
    except Exception:  # drivers fail in their own ways; none of them is a reason not to report the rest
        return []


def report(findings: list[Finding]) -> dict[str, Any]:
    """The findings as one document: `ready` says whether all that a run on a GPU needs is here."""
    ready = all(f.status == "ok" for f in findings if f.part in ("python", "torch", "cuda", "triton"))
    return {"ready": ready, "findings": [asdict(finding) for finding in findings]}


def _aged(name: str, version: str, found: Mapping[str, Any]) -> Finding:
    oldest = NEEDED[name][0]
    if _numbers(version) and _numbers(version) < _numbers(oldest):
        verdict = f"{name} {version} is older than {oldest}, the oldest that this project is made for"
        return Finding(name, "limited", found, verdict, _install(name))
    return Finding(name, "ok", found, f"{name} {version} will do")


def _install(name: str) -> str:
    return f"pip install '{name}>={NEEDED[name][0]}'"


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version.

    >>> _numbers("2.6.0+cu124"), _numbers("3.2rc1"), _numbers("unknown")
    ((2, 6, 0), (3, 2), ())
    """
    out: list[int] = []
    for word in version.split("+")[0].split("."):
        digits = word[: len(word) - len(word.lstrip("0123456789"))]
        if not digits:
            break
        out.append(int(digits))
        if digits != word:
            break
    return tuple(out)


def _load(name: str, load: Callable[[str], ModuleType]) -> tuple[ModuleType | None, str]:
    try:
        return load(name), ""
    except Exception as error:  # a broken installation fails in many ways: ImportError, OSError (a library), ...
        return None, " ".join(str(error).split())[:200]


def _version(name: str, version: Callable[[str], str]) -> str | None:
    try:
        return version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
