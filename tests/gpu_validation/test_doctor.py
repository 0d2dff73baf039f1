"""The doctor on machines with and without torch, a GPU and triton: it always answers, and never promises too much."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import gpu_validation
from gpu_validation import doctor
from gpu_validation.abilities import ABILITIES
from gpu_validation.cli import main
from gpu_validation.doctor import Finding, examine, report
from nasbench_sim.errors import SpecError
from tests.cli.helpers import call, document, good, refused, run_process

HERE = ["python", "torch", "cuda", "triton", "TRITON_INTERPRET", "safetensors", "scikit-learn"]
PARTS = [*HERE, *ABILITIES]
NEW = {"torch": "2.7.0+cu126", "triton": "3.3.0", "safetensors": "0.5.2", "scikit-learn": "1.6.1"}
H100 = ("NVIDIA H100 80GB HBM3", 9, 0, 80 << 30)
CODE = "from gpu_validation.cli import main; main()"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fake_torch(*devices: tuple[str, int, int, int], cuda: str | None = "12.6", broken: bool = False) -> Any:
    """A torch that sees these devices."""

    def properties(number: int) -> Any:
        if broken:
            raise RuntimeError("CUDA driver version is insufficient")
        name, major, minor, memory = devices[number]
        return SimpleNamespace(name=name, major=major, minor=minor, total_memory=memory)

    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        cpu=SimpleNamespace(_is_avx512_bf16_supported=lambda: True, _is_amx_tile_supported=lambda: False),
        distributed=SimpleNamespace(is_gloo_available=lambda: True, is_nccl_available=lambda: cuda is not None),
        cuda=SimpleNamespace(
            is_available=lambda: bool(devices), device_count=lambda: len(devices), get_device_properties=properties
        ),
    )


def look(
    torch: Any = None,
    versions: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    python: tuple[int, int, int] = (3, 11, 9),
    headers: Path | None = None,
    tools: tuple[str, ...] = ("g++",),
) -> dict[str, Finding]:
    """The findings, by part, on a machine with this torch (None: absent; an exception: broken) and these packages."""
    have = versions or {}

    def load(name: str) -> ModuleType:
        if torch is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        if isinstance(torch, Exception):
            raise torch
        out: ModuleType = torch
        return out

    def version(name: str) -> str:
        if name not in have:
            raise importlib.metadata.PackageNotFoundError(name)
        return have[name]

    def which(name: str) -> str | None:
        return f"bin/{name}" if name in tools else None

    found = examine(
        environment or {}, load=load, version=version, python=python, which=which, headers=headers or with_headers()
    )
    return {f.part: f for f in found}


def with_headers() -> Path:
    """A folder with a Python.h (the tests' own folder)."""
    Path("Python.h").touch()
    return Path()


def test_a_machine_with_nothing() -> None:
    found = look()
    assert list(found) == PARTS
    assert [found[p].status for p in HERE] == ["ok", "missing", "missing", "missing", "ok", "missing", "missing"]
    assert {(found[p].status, found[p].verdict) for p in ABILITIES} == {("missing", "not here: it needs torch")}
    assert "nasbench-sim works in full" in found["torch"].verdict
    assert found["torch"].mend == "pip install 'torch>=2.6'"
    assert found["scikit-learn"].mend == "pip install 'scikit-learn>=1.5'"
    assert not report(list(found.values()))["ready"]


def test_a_machine_with_everything() -> None:
    found = look(fake_torch(H100, H100), NEW)
    assert {f.status for f in found.values()} == {"ok"}
    assert {f.mend for f in found.values()} == {""}
    assert found["torch"].found["version"] == "2.7.0+cu126"
    assert found["cuda"].found["devices"] == [
        {"name": H100[0], "capability": "9.0", "memory_bytes": 80 << 30}, {"name": H100[0], "capability": "9.0",
         "memory_bytes": 80 << 30},
    ]  # fmt: skip
    assert "capability 9.0, 80 GiB" in found["cuda"].verdict
    assert report(list(found.values()))["ready"]


def test_torch_without_a_device() -> None:
    found = look(fake_torch(), NEW)
    assert (found["torch"].status, found["cuda"].status, found["triton"].status) == ("ok", "limited", "limited")
    assert "no CUDA device is visible" in found["cuda"].verdict
    assert "TRITON_INTERPRET=1" in found["triton"].verdict
    assert not report(list(found.values()))["ready"]


def test_torch_built_for_the_cpu() -> None:
    found = look(fake_torch(cuda=None), {**NEW, "torch": "2.7.0+cpu"})
    assert found["torch"].status == "ok"
    assert found["cuda"].status == "limited" and "built without CUDA" in found["cuda"].verdict
    assert found["cuda"].mend.startswith("pip install")


@pytest.mark.parametrize("error", [OSError("libcudart.so.12: cannot open\nshared object file"), ImportError("no _C")])
def test_a_broken_torch_is_told_with_its_reason(error: Exception) -> None:
    found = look(error, NEW)
    assert found["torch"].status == "missing"
    assert " ".join(str(error).split()) in found["torch"].verdict
    assert found["torch"].mend == "pip install --force-reinstall torch"
    assert "\n" not in found["torch"].verdict


def test_a_broken_driver_is_no_device() -> None:
    assert look(fake_torch(H100, broken=True), NEW)["cuda"].status == "limited"


def test_old_versions_are_named_with_the_oldest_that_will_do() -> None:
    found = look(fake_torch(H100), {"torch": "2.5.1", "triton": "3.1.0", "safetensors": "0.3.9", "scikit-learn": "1.4"})
    for part, oldest in (("torch", "2.6"), ("triton", "3.2"), ("safetensors", "0.4"), ("scikit-learn", "1.5")):
        assert found[part].status == "limited"
        assert found[part].mend == f"pip install '{part}>={oldest}'"
    assert not report(list(found.values()))["ready"]
    assert look(fake_torch(H100), {**NEW, "torch": "2.10.0"})["torch"].status == "ok"  # 10 > 6


def test_an_old_gpu_has_no_bfloat16() -> None:
    found = look(fake_torch(("Tesla V100", 7, 0, 16 << 30)), NEW)
    assert found["cuda"].status == "limited" and "bfloat16 is not native on Tesla V100" in found["cuda"].verdict


@pytest.mark.parametrize(("value", "on"), [(None, False), ("0", False), ("", False), ("1", True), ("true", True)])
def test_the_interpreter_switch(value: str | None, on: bool) -> None:
    environment = {} if value is None else {"TRITON_INTERPRET": value}
    finding = look(fake_torch(), NEW, environment)["TRITON_INTERPRET"]
    assert (finding.status, finding.found["on"], finding.found["set"]) == ("ok", on, value is not None)
    with_gpu = look(fake_torch(H100), NEW, environment)["TRITON_INTERPRET"]
    assert with_gpu.status == ("limited" if on else "ok")
    assert with_gpu.mend == ("unset TRITON_INTERPRET" if on else "")


def test_python_and_other_systems() -> None:
    assert look(python=(3, 10, 14))["python"].status == "missing"
    assert look(python=(3, 13, 0))["python"].status == "ok"
    assert "no packages for Darwin" in doctor.check_triton(None, False, "Darwin").verdict


def test_every_verdict_is_one_line_and_what_is_missing_has_a_remedy() -> None:
    for machine in (look(), look(fake_torch(), NEW), look(fake_torch(H100), NEW, {"TRITON_INTERPRET": "1"})):
        for part, finding in machine.items():
            assert finding.verdict and "\n" not in finding.verdict
            assert finding.mend or finding.status != "missing" or part in ("cuda", *ABILITIES)


def test_the_oldest_versions_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = {r.split(";")[0].strip() for r in project["optional-dependencies"]["gpu"]}
    assert extra == {f"{name}>={oldest}" for name, (oldest, _) in doctor.NEEDED.items()}
    assert project["requires-python"] == f">={'.'.join(map(str, doctor.PYTHON))}"


# the program -------------------------------------------------------------------------------------------------------


def test_the_program_answers_on_this_machine() -> None:
    text = good("doctor", program=main, name="gpu-validation")
    assert all(part in text for part in PARTS)
    said = document("doctor", program=main, name="gpu-validation")
    assert [f["part"] for f in said["findings"]] == PARTS
    for finding in said["findings"]:
        assert finding["verdict"] in text
        assert finding["status"] in ("ok", "limited", "missing")
    assert text.splitlines()[-1].endswith("yes." if said["ready"] else "no.")


def test_exit_code_is_0_whatever_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # import torch now fails
    said = document("doctor", program=main, name="gpu-validation")
    assert not said["ready"]
    monkeypatch.setitem(sys.modules, "torch", fake_torch(H100))
    said = document("doctor", program=main, name="gpu-validation")
    assert said["findings"][2]["found"]["devices"][0]["name"] == H100[0]


def test_help_version_and_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Example: gpu-validation doctor --json" in good("doctor", "--help", program=main, name="gpu-validation")
    version = f"gpu-validation {gpu_validation.__version__}\n"
    assert good("--version", program=main, name="gpu-validation") == version
    options: dict[str, Any] = {"program": main, "name": "gpu-validation"}
    refused("docter", said="No such command 'docter'", **options)
    refused("doctor", "--jsn", said="No such option: --jsn", **options)
    assert call(**options).code == 2

    def mistaken(environment: Any) -> Any:
        raise SpecError("a mistake\nin two lines")

    monkeypatch.setattr("gpu_validation.cli.examine", mistaken)
    refused("doctor", said="gpu-validation: a mistake in two lines", **options)


def test_importing_the_doctor_does_not_import_torch() -> None:
    code = "import sys, gpu_validation.doctor, gpu_validation.cli; print([m for m in sys.modules if m == 'torch'])"
    result = run_process(code=code)
    assert (result.code, result.out, result.err) == (0, "[]\n", "")
    assert run_process("--version", code=CODE).out == f"gpu-validation {gpu_validation.__version__}\n"
