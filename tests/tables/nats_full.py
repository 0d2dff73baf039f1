"""A NATS-Bench benchmark of full size with made-up numbers, to time an import: `python -m tests.tables.nats_full DIR`.

Writes `NATS-tss-v1_0-3ffb9-simple/` of 15,625 architectures (every run, every epoch, 84 kB a file like the real ones,
1.5 GB in all) and, with `--tar`, the archive beside it. Sixteen architectures are made; the others have the numbers of
one of them under their own name, so that making them takes minutes and not an hour.

    python -m tests.tables.nats_full DIR --tar
    NASBENCH_SIM_HOME=DIR/home /usr/bin/time -v nasbench-sim tables import big --from DIR/NATS-tss-v1_0-3ffb9-simple.tar
"""

from __future__ import annotations

import argparse
import bz2
import pickle
import tarfile
from pathlib import Path

from tests.tables.nats_factory import FOLDER, META, SPACE, architecture

_MADE = 16


def main() -> None:
    """Write the folder, and the archive where asked for."""
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("folder", type=Path)
    about.add_argument("--tar", action="store_true", help="also the archive")
    given = about.parse_args()
    folder: Path = given.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.pickle.pbz2").write_bytes(META)
    made = [architecture(cell) for cell in range(_MADE)]
    for cell in range(SPACE.size):
        content = made[cell % _MADE]
        for results in content.values():
            results["arch_index"], results["arch_str"] = cell, SPACE.strings[cell]
        (folder / f"{cell:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(content, 4), 1))
        if cell % 1000 == 0:
            print(cell, flush=True)
    if given.tar:
        with tarfile.open(given.folder / f"{FOLDER}.tar", "w") as archive:
            archive.add(folder, FOLDER)


if __name__ == "__main__":
    main()
