"""What this machine can run, and why not: each backend of the cell, torch.compile, autocast, several processes.

As in `gpu_validation.doctor`, nothing here raises because something is missing, and torch is handed in, not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_validation.finding import Finding

#: parts of the doctor's answer that are told here, in order
ABILITIES = ("reference", "fused", "triton kernels", "torch.compile", "autocast", "distributed")
NEEDS_TORCH = "not here: it needs torch"


def abilities(
    torch: Any,
    devices: Sequence[Mapping[str, Any]],
    triton: str | None,
    interpreted: bool,
    compiler: str | None,
    headers: Path,
) -> list[Finding]:
    """One finding an ability.

    `torch`: the module or None; `devices`: as `doctor.cuda_devices` tells them; `triton`: its version; `compiler`: the
    C++ compiler, if any; `headers`: where Python.h should be.

    >>> [f.status for f in abilities(None, [], None, False, None, Path("nowhere"))]
    ['missing', 'missing', 'missing', 'missing', 'missing', 'missing']
    """
    if torch is None:
        return [Finding(part, "missing", {}, NEEDS_TORCH) for part in ABILITIES]
    where = ["cpu", *("cuda" for _ in devices[:1])]
    return [
        Finding("reference", "ok", {"devices": where}, f"plain PyTorch, the oracle: runs on {' and '.join(where)}"),
        check_fused(where),
        check_kernels(triton, bool(devices), interpreted),
        check_compile(compiler, headers, bool(devices), triton),
        check_autocast(devices, cpu_features(torch)),
        check_distributed(backends(torch), len(devices)),
    ]


def check_fused(where: Sequence[str]) -> Finding:
    """The fused cell: made for a CPU, plain autograd elsewhere.

    >>> check_fused(["cpu"]).verdict
    'the fast path of a CPU (float32, float64): runs here'
    """
    verdict = "the fast path of a CPU (float32, float64): runs here"
    if "cuda" in where:
        verdict += "; on cuda the same algebra without its own backward pass"
    return Finding("fused", "ok", {"devices": list(where)}, verdict)


def check_kernels(triton: str | None, has_device: bool, interpreted: bool) -> Finding:
    """Triton kernels: compiled, interpreted, or not at all.

    >>> check_kernels("3.3.0", False, False).mend
    'export TRITON_INTERPRET=1'
    """
    how = "interpreted" if interpreted else "compiled" if has_device else "not"
    found = {"runs": "not" if triton is None else how}
    if triton is None:
        verdict = "not here: triton is not installed; use the backends reference or fused"
        return Finding("triton kernels", "missing", found, verdict)
    if interpreted:
        return Finding("triton kernels", "limited", found, "interpreted, for tests of small shapes: very slow")
    if has_device:
        return Finding("triton kernels", "ok", found, "compiled for the GPU")
    verdict = "not here: compiled kernels need a GPU; they can be interpreted, slowly, or use the backend fused"
    return Finding("triton kernels", "limited", found, verdict, "export TRITON_INTERPRET=1")


def check_compile(compiler: str | None, headers: Path, has_device: bool, triton: str | None) -> Finding:
    """torch.compile: on a CPU it writes C++, on a GPU Triton, whose launchers are C as well.

    >>> check_compile(None, Path("nowhere"), False, None).mend
    'apt-get install g++'
    """
    has_headers = (headers / "Python.h").is_file()
    found = {"compiler": compiler, "python_headers": has_headers}
    if compiler is None:
        verdict = "not here: no C++ compiler ($CXX, g++ or clang++) is on the path"
        return Finding("torch.compile", "missing", found, verdict, "apt-get install g++")
    if not has_headers:
        verdict = f"perhaps not: {compiler} is here but Python.h is not"
        return Finding("torch.compile", "limited", found, verdict, "apt-get install python3-dev")
    if has_device and triton is None:
        return Finding("torch.compile", "limited", found, f"on the CPU ({compiler}); on cuda it needs triton")
    return Finding("torch.compile", "ok", found, f"works, with {compiler}; the first step takes minutes")


def check_autocast(devices: Sequence[Mapping[str, Any]], features: Mapping[str, bool]) -> Finding:
    """bfloat16 and float16 autocast, and whether the hardware gains by it.

    >>> check_autocast([{"capability": "9.0"}], {}).verdict
    'bfloat16 and float16 are native on the GPU'
    """
    found = {"cpu": dict(features), "devices": [d["capability"] for d in devices]}
    if devices:
        if min(int(d["capability"].split(".")[0]) for d in devices) >= 8:
            return Finding("autocast", "ok", found, "bfloat16 and float16 are native on the GPU")
        return Finding("autocast", "limited", found, "float16 is native on the GPU; bfloat16 is not: use float16")
    native = [name for name, here in features.items() if here]
    if native:
        return Finding("autocast", "ok", found, f"bfloat16 on the CPU ({', '.join(native)}); float16 without a gain")
    return Finding(
        "autocast", "limited", found, "works on this CPU, but without instructions for it: slower than float32"
    )


def check_distributed(available: Mapping[str, bool], devices: int) -> Finding:
    """Data parallelism over processes: gloo on CPUs, NCCL on GPUs.

    >>> check_distributed({"gloo": True, "nccl": False}, 0).verdict
    'gloo: several processes on CPUs'
    """
    found = {**available, "devices": devices}
    gloo, nccl = available.get("gloo", False), available.get("nccl", False)
    if nccl and devices > 1:
        return Finding("distributed", "ok", found, f"nccl on {devices} GPUs{', gloo on CPUs' if gloo else ''}")
    if gloo:
        why = " (no nccl in this torch)" if devices > 1 else ""
        return Finding("distributed", "limited" if why else "ok", found, f"gloo: several processes on CPUs{why}")
    return Finding("distributed", "missing", found, "this torch has neither gloo nor a use for nccl: one process only")


def cpu_features(torch: Any) -> dict[str, bool]:
    """Instructions for bfloat16 that torch sees on this CPU; empty where it cannot tell."""
    return {
        name: here
        for name, probe in (("avx512_bf16", "_is_avx512_bf16_supported"), ("amx", "_is_amx_tile_supported"))
        if (here := _ask(getattr(torch, "cpu", None), probe)) is not None
    }


def backends(torch: Any) -> dict[str, bool]:
    """Which backends of torch.distributed this torch was built with."""
    distributed = getattr(torch, "distributed", None)
    return {name: bool(_ask(distributed, f"is_{name}_available")) for name in ("gloo", "nccl")}


def find_compiler(environment: Mapping[str, str], which: Callable[[str], str | None]) -> str | None:
    """The C++ compiler that torch.compile would call.

    >>> find_compiler({"CXX": "mycc"}, {"mycc": "bin/mycc", "g++": "bin/g++"}.get)
    'bin/mycc'
    """
    names = [environment["CXX"]] if environment.get("CXX") else ["g++", "clang++"]
    return next((path for name in names if (path := which(name)) is not None), None)


def _ask(owner: Any, name: str) -> bool | None:
    """A question that older versions do not know and broken ones may fail at: None where there is no answer."""
    try:
        answer: Any = getattr(owner, name)()
    except Exception:
        return None
    return bool(answer)
