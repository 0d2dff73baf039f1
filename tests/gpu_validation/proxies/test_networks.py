"""The package's own stand-alone network under the proxies: the same structure, met without hooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpu_validation.proxies.saliency import Batch
from gpu_validation.proxies.score import Setting, draw, score
from gpu_validation.proxies.synflow import synflow, synflow_forward
from gpu_validation.proxies.synflow_mean import synflow_mean
from tests.gpu_validation.proxies.networks import Network

pytest.importorskip("gpu_validation.supernets.nb201_network", reason="the stand-alone network is not there yet")

SETTING = Setting(classes=3, size=8, in_channels=2, channels=3, cells=2, seed=5)
CELLS = [[3, 3, 3, 3, 3, 3], [4, 2, 1, 2, 1, 1], [0, 0, 0, 0, 0, 0], [3, 4, 2, 0, 1, 3]]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_it_has_the_structure_that_the_closed_form_assumes(cell: list[int]) -> None:
    network = draw(cell, SETTING, None).double()
    assert synflow_forward(network, SETTING.shape) == pytest.approx(synflow(network, SETTING.shape), rel=1e-12)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() >= 2:
                parameter.fill_(0.5 * parameter[0].numel() ** -0.5)
    mean = synflow_mean([cell], size=8, classes=3, channels=3, depth=2, in_channels=2)[0]
    assert synflow(network, SETTING.shape) == pytest.approx(mean, rel=1e-12)


def test_weights_are_drawn_as_the_closed_form_assumes() -> None:
    """Every weight from U(-b, b), b = 1/sqrt(fan_in): the largest of many is near b, the mean of |w| near b / 2."""
    for parameter in draw([3] * 6, Setting(channels=16, cells=1), None).parameters():
        if parameter.dim() >= 2:
            bound, w = parameter[0].numel() ** -0.5, parameter.detach().abs()
            assert float(w.max()) <= bound and float(w.max()) > 0.97 * bound
            assert abs(float(w.mean()) - bound / 2) < 5 * bound / (12 * w.numel()) ** 0.5


@pytest.mark.parametrize("name", ["snip", "grasp", "fisher", "grad_norm", "jacov", "nwot"])
def test_the_same_weights_give_the_same_scores_as_in_a_network_of_modules(name: str) -> None:
    """Weights are carried over by order of construction: stem, cells and reductions, classifier."""
    generator = torch.Generator().manual_seed(1)
    x = Batch(torch.randn(5, 2, 8, 8, generator=generator), torch.randint(3, (5,), generator=generator))
    cell = [3, 4, 2, 0, 1, 3]

    def copied(arch: object, **how: object) -> torch.nn.Module:
        ours, theirs = Network(arch, **how), draw(cell, SETTING, None)  # type: ignore[arg-type]
        from_, to = ([p for p in n.parameters() if p.dim() >= 2] for n in (theirs, ours))
        if [p.shape for p in from_] != [p.shape for p in to]:
            pytest.skip("layers are registered in another order than in these tests")
        with torch.no_grad():
            for a, b in zip(from_, to, strict=True):
                b.copy_(a)
            ours.classifier.bias.copy_([p for p in theirs.parameters() if p.dim() == 1][-1])
        return ours

    one, other = score(name, cell, SETTING, batch=x), score(name, cell, SETTING, batch=x, make=copied)
    assert np.isclose(one, other, rtol=1e-4)
