"""The published files of NAS-Bench-101: where each is, its sha256, its licence, what it gives."""

from __future__ import annotations

from typing import NamedTuple

from nasbench_sim.tables.table import Source

NB101_PAPER = (
    "Ying, Klein, Christiansen, Real, Murphy and Hutter, NAS-Bench-101: Towards Reproducible Neural Architecture "
    "Search, ICML 2019 (arXiv 1902.09635)"
)
NB1SHOT1_PAPER = (
    "Zela, Siems and Hutter, NAS-Bench-1Shot1: Benchmarking and Dissecting One-shot Neural Architecture Search, "
    "ICLR 2020 (arXiv 2001.10422)"
)
HOST = "https://storage.googleapis.com"
MIRRORS = (f"{HOST}/nasbench", "https://nasbench.storage.googleapis.com")  # the bucket's two addresses


class Published(NamedTuple):
    """One file of the benchmark's authors; for `fetch` an original like those of nb201.

    The sha256 is the one that the authors state (google-research/nasbench, README). They state the sizes only roughly
    (499 MB, 1.95 GB); `size` is what others report, so it serves for progress and a cap and does not decide.
    """

    file: str
    size: int
    sha256: str
    licence: str
    gives: str
    table: str = "nb101"
    exact: bool = False

    def urls(self, host: str | None = None) -> list[str]:
        """Where the file can be fetched from, best first: `host` alone, or the public host and its other name."""
        fronts = MIRRORS if host is None else (f"{host.rstrip('/')}/nasbench",)
        return [f"{front}/{self.file}" for front in fronts]

    def source(self) -> Source:
        """This file as the provenance entry that travels inside the table."""
        return Source(
            name=f"google-research/nasbench {self.file}",
            url=self.urls()[0],
            sha256=self.sha256,
            licence=self.licence,
            citation=NB101_PAPER,
            gives=self.gives,
        )


ONLY_108 = Published(
    "nasbench_only108.tfrecord",
    522_767_376,
    "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
    "Apache-2.0",
    "all 423,624 modules, 108 epochs, three runs: train, validation and test accuracy and training time, halfway and "
    "final; parameters",
)
FULL = Published(
    "nasbench_full.tfrecord",
    2_085_986_016,
    "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
    "Apache-2.0",
    "as nasbench_only108.tfrecord, after 4, 12, 36 and 108 epochs",
)
#: 36 % of the benchmark, put together by hand from public files, so that no public URL serves these bytes
SAMPLE_FILE = "nb101_sample_108ep.csv.gz"
SAMPLE_SHA256 = "d964e86d2aaf81292b28810e3f882a723d2c30c81313747b9708d75d1523cfc0"
SAMPLE = Source(
    name="apourchot/to_share_or_not_to_share results_paper/*/*/*/eval_results.pkl, converted to CSV",
    url="https://github.com/apourchot/to_share_or_not_to_share",
    version="538a50636c2d",
    sha256=SAMPLE_SHA256,
    licence="MIT (the numbers are NAS-Bench-101's, Apache-2.0)",
    citation=f"{NB101_PAPER}; Pourchot, Ducarouge and Sigaud, To Share or Not To Share, 2020 (arXiv 2002.04289)",
    gives="151,644 of the 423,624 modules, not a uniform sample; 108 epochs, three runs, halfway and final",
)
#: what `tables import nb101 --from DIR` looks for in a folder, best first
FILES = (FULL.file, ONLY_108.file, SAMPLE_FILE)
