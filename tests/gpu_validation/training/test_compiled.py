"""A compiled training is the same training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gpu_validation.training import train
from gpu_validation.training.trainer import CURVES
from tests.gpu_validation.training.small import DATA, maker, spec


def test_a_compiled_training_has_the_same_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is captured and run as it is: generating code takes a C++ compiler and a minute."""
    real, asked = torch.compile, []

    def compiled(net: Any) -> Any:
        asked.append(net)
        return real(net, backend="eager")

    monkeypatch.setattr(torch, "compile", compiled)
    plain, fast = (train(spec(epochs=2, compiled=c), DATA, maker(spec())) for c in (False, True))
    assert len(asked) == 1
    assert all(np.array_equal(plain.curves[name], fast.curves[name]) for name in CURVES)
