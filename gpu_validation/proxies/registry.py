"""The proxies by name: what each needs, what computes it, and where its definition stands.

Names are those of the published columns of table nb201 (`jacov`, `nwot`, `grad_norm`), so that a file of ours imports
as the same proxy; the names of the papers are understood too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from gpu_validation.proxies.patterns import jacov, nwot
from gpu_validation.proxies.saliency import Batch, fisher, grad_norm, grasp, snip
from gpu_validation.proxies.synflow import synflow, synflow_forward
from nasbench_sim.errors import SpecError, unknown

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Proxy:
    """One proxy.

    Attributes
    ----------
    name, title: as above. data: whether it looks at a mini-batch (`of_batch`) or only at a shape (`of_shape`).
    logarithm: whether `score` gives the natural logarithm, 0 for a score of 0, as the published table does.
    of_batch(network, batch), of_shape(network, shape): the raw score of one network; neither for `synflow-mean`, which
        needs no network.
    """

    name: str
    title: str
    of_batch: Callable[[nn.Module, Batch], float] | None = None
    of_shape: Callable[[nn.Module, Shape], float] | None = None
    logarithm: bool = False

    @property
    def data(self) -> bool:
        """Whether it looks at a mini-batch."""
        return self.of_batch is not None

    @property
    def draws(self) -> bool:
        """Whether it looks at a network with drawn weights."""
        return self.of_batch is not None or self.of_shape is not None


def _synflow_bn(network: nn.Module, shape: Shape) -> float:
    return synflow(network, shape, batch_norm=True)


PROXIES: Mapping[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        Proxy("synflow", "SynFlow, one initialisation", of_shape=synflow_forward, logarithm=True),
        Proxy("synflow-mean", "SynFlow, mean over all initialisations", logarithm=True),
        Proxy("synflow-bn", "SynFlow with batch normalisation left in", of_shape=_synflow_bn, logarithm=True),
        Proxy("snip", "SNIP", of_batch=snip),
        Proxy("grasp", "GraSP", of_batch=grasp),
        Proxy("fisher", "Fisher", of_batch=fisher),
        Proxy("grad_norm", "gradient norm", of_batch=grad_norm),
        Proxy("jacov", "Jacobian covariance", of_batch=jacov),
        Proxy("nwot", "NASWOT", of_batch=nwot),
    )
}
ALIASES: Mapping[str, str] = {"jacob_cov": "jacov", "naswot": "nwot", "synflow_bn": "synflow-bn"}


def get_proxy(name: str) -> Proxy:
    """A proxy by its name or one of its other names; `-` and `_` are alike. Raises `SpecError` naming those there are.

    >>> get_proxy("grad-norm").name, get_proxy("NASWOT").name
    ('grad_norm', 'nwot')
    """
    plain = {key.replace("-", "_"): key for key in PROXIES} | dict(ALIASES)
    found = plain.get(str(name).lower().replace("-", "_"))
    if found is None:
        raise SpecError(unknown("proxy", str(name), PROXIES))
    return PROXIES[found]


def as_published(proxy: Proxy, raw: float) -> float:
    """What a table holds of a raw score: its logarithm where that is the custom; NaN for what is not finite.

    >>> as_published(PROXIES["synflow"], 1.0), as_published(PROXIES["synflow"], 0.0)
    (0.0, 0.0)
    """
    if not math.isfinite(raw):
        return math.nan
    if not proxy.logarithm:
        return raw
    return math.log(raw) if raw > 0 else 0.0
